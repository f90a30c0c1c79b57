"""How channels and users are named, and which name decides where they live (WuKongIM v2.2).

Pure functions over strings. A *route key* is ``kind byte ‖ id``: kind 0 for users, else the channel
type; `zmqim.ring` hashes it to a partition.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zlib_ng.zlib_ng import crc32

from zmqim.chat.codes import ChannelType
from zmqim.limits import UID_BYTES_MAX

COMMAND_SUFFIX: Final = "____cmd"
TEMPORARY_SUFFIX: Final = "@tmp"
SYSTEM_UID: Final = "____system"
SYSTEM_UIDS: Final = (0, SYSTEM_UID)
"""The channel whose members are the system uids. No message is of type 0, and it lives where the
user `____system` does."""
FORBIDDEN_UID_CHARACTERS: Final = frozenset("@#&")
USER_KIND: Final = 0


def person_channel_id(one: str, other: str) -> str:
    """The id that both directions share: the uid with the larger CRC-32 first, joined by ``@``.

    Equal CRCs: the lexicographically greater uid first.
    """
    a, b = crc32(one.encode()), crc32(other.encode())
    if a > b or (a == b and one > other):
        return f"{one}@{other}"
    return f"{other}@{one}"


def peers_of(person_channel: str) -> tuple[str, str]:
    """The two uids of a person channel's canonical id."""
    first, _, second = person_channel.partition("@")
    return first, second


def peer_of(person_channel: str, uid: str) -> str:
    """The other side of a person channel as `uid` sees it."""
    first, second = peers_of(person_channel)
    return second if uid == first else first


def named_in(channel_type: int, channel_id: str) -> tuple[str, ...]:
    """The uids that a canonical id names: they belong to the channel without being its members.

    Both sides of a person and of an agent channel, the visitor of the others.
    """
    if channel_type in (ChannelType.PERSON, ChannelType.AGENT):
        one, other = peers_of(channel_id)
        return (one, other) if one != other else (one,)
    if channel_type == ChannelType.VISITORS:
        return (channel_id,)
    if channel_type == ChannelType.CUSTOMER_SERVICE:
        return (channel_id.partition("|")[0],)
    return ()


def members_channel(channel_type: int, channel_id: str) -> tuple[int, str]:
    """The channel whose members hear this one: a topic has those of its community."""
    if channel_type == ChannelType.COMMUNITY_TOPIC:
        return int(ChannelType.COMMUNITY), channel_id.partition("@")[0]
    return channel_type, channel_id


def uid_list_id(uids: Iterable[str]) -> str:
    """The temporary channel (type 8) of a send to exactly these uids, none of them twice: FNV-1a of
    64 bits over the uids joined by commas, in decimal."""
    number = 0xCBF29CE484222325
    for byte in ",".join(uids).encode():
        number = (number ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return str(number)


def canonical_channel_id(channel_type: int, channel_id: str, uid: str) -> str:
    """The canonical id of the channel that `uid` calls `channel_id` on the wire.

    A person channel is named by the peer, or by its joined id if `uid` is one of the two; an agent
    channel by ``uid@agent``, which the uid may call by the agent alone.
    """
    if channel_type == ChannelType.AGENT and "@" not in channel_id:
        return f"{uid}@{channel_id}"
    if channel_type != ChannelType.PERSON:
        return channel_id
    if "@" in channel_id:
        return person_channel_id(*peers_of(channel_id))
    return person_channel_id(uid, channel_id)


def is_valid_uid(uid: str) -> bool:
    """Something printable, not too long, and without the characters that joined ids are made of."""
    return (
        uid.isprintable()
        and bool(uid.strip())
        and FORBIDDEN_UID_CHARACTERS.isdisjoint(uid)
        and len(uid.encode()) <= UID_BYTES_MAX
    )


_PLAIN: Final = f"printable characters without @ # &, at most {UID_BYTES_MAX} bytes"
_JOINED: Final = {
    int(ChannelType.PERSON): ("@", "two uids joined by @"),
    int(ChannelType.CUSTOMER_SERVICE): ("|", "the visitor's uid, | and a name"),
    int(ChannelType.COMMUNITY_TOPIC): ("@", "the community's id, @ and the topic's name"),
    int(ChannelType.AGENT): ("@", "two uids joined by @"),
}
"""Types whose ids have two parts: by what they are joined, and what they are."""


def fault_of_name(channel_type: int, channel_id: str) -> str:
    """Why a channel of that type cannot have that canonical id, as a sentence; empty if it can."""
    if channel_id.endswith(COMMAND_SUFFIX):
        return f"no channel_id may end with {COMMAND_SUFFIX}"
    joint, rule = _JOINED.get(channel_type, ("", _PLAIN))
    if joint:
        first, found, second = channel_id.partition(joint)
        right = bool(found) and is_valid_uid(first) and is_valid_uid(second)
    else:
        is_temporary = channel_type == ChannelType.TEMPORARY
        name = channel_id.removesuffix(TEMPORARY_SUFFIX) if is_temporary else channel_id
        right = is_valid_uid(name)
    if right:
        return ""
    return f"channel_id {channel_id[:64]!r} cannot be of type {channel_type}: it is {rule}"


def route_key_of_channel(channel_type: int, channel_id: str) -> bytes:
    """What decides the channel's partition: a topic lives with its community, a command channel
    with its channel."""
    channel_id = channel_id.removesuffix(COMMAND_SUFFIX)
    if channel_type == ChannelType.COMMUNITY_TOPIC:
        return b"\x04" + channel_id.partition("@")[0].encode()
    return bytes((channel_type,)) + channel_id.encode()


def route_key_of_user(uid: str) -> bytes:
    """What decides the partition of a user's rows and presence shard."""
    return b"\x00" + uid.encode()
