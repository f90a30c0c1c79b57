"""How channels and users are named, and which name decides where they live (wukongim.md 1.9).

Pure functions over strings. A *route key* is ``kind byte ‖ id``: kind 0 for users, else the channel
type; `zmqim.ring` hashes it to a partition.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from zmqim.chat.codes import ChannelType
from zmqim.limits import UID_BYTES_MAX

COMMAND_SUFFIX: Final = "____cmd"
SYSTEM_UID: Final = "____system"
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


def canonical_channel_id(channel_type: int, channel_id: str, uid: str) -> str:
    """The canonical id of the channel that `uid` calls `channel_id` on the wire.

    A person channel is named by the peer, or by its joined id if `uid` is one of the two.
    """
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
