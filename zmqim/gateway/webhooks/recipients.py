"""Who of a message's recipients is offline: members of its channel without any session anywhere.

Members and presence are asked for when the event is made, not when the message was sent: who came
online in between, or left the channel, is told nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.channels import SYSTEM_UID, members_channel, named_in, route_key_of_channel
from zmqim.chat.codes import ChannelType
from zmqim.chat.encoding import encode
from zmqim.chat.operations import decode_send
from zmqim.chat.queries import MembersQuery
from zmqim.chat.results import MembersPage, MessageRow, decode_result
from zmqim.errors import DeadlinePassed
from zmqim.gateway.plugin import GatewayPort
from zmqim.limits import (
    MEMBERS_PAGE_MAX,
    READ_DEADLINE_MS,
    WEBHOOK_OFFLINE_MEMBERS_MAX,
    WEBHOOK_OFFLINE_UIDS_MAX,
)

ONLINE_ASKED_MAX = 10_000
"""Uids of one question to a router."""


_Name = tuple[int, str]
"""Type and id of a channel."""


class Unanswered(Exception):
    """A partition or router could not be asked now: try the page again."""


class Offline:
    """Who is offline of the members of some channels."""

    def __init__(self, members: Mapping[_Name, Sequence[str]], online: Container[str]) -> None:
        self._uids = {
            name: [uid for uid in uids if uid not in online] for name, uids in members.items()
        }

    def slices(self, row: MessageRow) -> Iterator[list[str]]:
        """Those whom the message did not reach, without its sender, as many as fit one event."""
        message = decode_send(row.operation)
        uids = self._uids[message.channel_type, message.channel_id]
        if message.from_uid in uids:
            uids = [uid for uid in uids if uid != message.from_uid]
        for first in range(0, len(uids), WEBHOOK_OFFLINE_UIDS_MAX):
            yield uids[first : first + WEBHOOK_OFFLINE_UIDS_MAX]


async def offline_of(port: GatewayPort, rows: Sequence[MessageRow]) -> Offline:
    """Who of the channels of these messages is offline, each channel and uid asked for once.

    Raises `Unanswered`.
    """
    members: dict[_Name, list[str]] = {}
    for row in rows:
        message = decode_send(row.operation)
        name = (message.channel_type, message.channel_id)
        if name not in members:
            members[name] = await _members(port, *name)
    wanted = sorted({uid for uids in members.values() for uid in uids})
    return Offline(members, await _online(port, wanted))


async def _members(port: GatewayPort, channel_type: int, channel_id: str) -> list[str]:
    """Who hears a channel: its members or, of a topic, those of its community; and whom its id
    names, such as a visitor."""
    named = [uid for uid in dict.fromkeys(named_in(channel_type, channel_id)) if uid != SYSTEM_UID]
    if channel_type in (ChannelType.PERSON, ChannelType.AGENT):
        return sorted(named)
    key = route_key_of_channel(channel_type, channel_id)
    channel_type, channel_id = members_channel(channel_type, channel_id)
    limit = min(MEMBERS_PAGE_MAX, WEBHOOK_OFFLINE_MEMBERS_MAX)
    uids: list[str] = []
    more = True
    while more:
        after = uids[-1] if uids else ""
        query = encode(MembersQuery(channel_type, channel_id, after, limit))
        answer = await port.ask(ItemKind.READ, key, query, READ_DEADLINE_MS)
        if answer.code != OutcomeCode.DONE:
            raise Unanswered
        page = decode_result(answer.result)
        assert isinstance(page, MembersPage)
        if page.count > WEBHOOK_OFFLINE_MEMBERS_MAX:
            port.count("webhook_offline_too_many")
            return []
        uids += page.uids
        more = page.more
    return sorted({*uids, *named}) if named else uids


async def _online(port: GatewayPort, uids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for first in range(0, len(uids), ONLINE_ASKED_MAX):
        try:
            devices = await port.online(uids[first : first + ONLINE_ASKED_MAX])
        except DeadlinePassed:
            raise Unanswered from None
        found.update(uid for uid, _ in devices)
    return found
