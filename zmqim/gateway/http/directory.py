"""A person's conversations, asked together: the rows of the person's partition, and of each
channel's partition how far its channels are.

Partitions are asked side by side, each for all of its channels at once. What none of them can know
alone is the version to go on from: the lowest of what they promised, so that no change is missed
that comes with a stamp below another partition's (`zmqim.chat.listing`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from zmqim import limits
from zmqim.chat.channels import route_key_of_channel, route_key_of_user
from zmqim.chat.operations import AcknowledgeCommands, BindCommands, MoveCursor, NoteCommands
from zmqim.chat.queries import (
    CommandsQuery,
    CommandsWanted,
    ConversationsQuery,
    HeadsQuery,
    HeadWanted,
    PendingQuery,
)
from zmqim.chat.results import (
    CommandsPage,
    ConversationsPage,
    HeadsPage,
    HeadView,
    MessageRow,
    PendingCommands,
)
from zmqim.chat.rows import ConversationRow
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.problems import Problem, bad_request
from zmqim.ring.partitions import partition_of

_NEVER = 1 << 63


class Rows(NamedTuple):
    """All rows of a person, in the order of their places, and what their partition promised."""

    rows: list[ConversationRow]
    promise: int


class Heads(NamedTuple):
    """One view for each channel asked for, None where no leader answered; the lowest promise."""

    views: list[HeadView | None]
    promise: int


class Directory:
    """Reads and changes conversations through the gateway's port."""

    def __init__(self, asking: Asking, partitions: int) -> None:
        self._asking = asking
        self._partitions = partitions

    async def rows(self, uid: str) -> Rows:
        """Every row of `uid`; `Problem` if there are too many or none answers."""
        rows: list[ConversationRow] = []
        promise = _NEVER
        after = b""
        while True:
            page = await self.page(uid, after, limits.CONVERSATIONS_PAGE_MAX)
            rows += page.rows
            promise = min(promise, page.promise)
            after = page.next
            if not after:
                return Rows(rows, promise)
            if len(rows) > limits.CONVERSATIONS_SHOWN_MAX:
                raise bad_request(
                    f"more than {limits.CONVERSATIONS_SHOWN_MAX} conversations",
                    "ask page by page with /conversation/list",
                )

    async def page(self, uid: str, after: bytes, limit: int) -> ConversationsPage:
        """Some rows of `uid`."""
        query = ConversationsQuery(uid, after, limit)
        return await self._asking.read(route_key_of_user(uid), query, ConversationsPage)

    async def heads(self, uid: str, wanted: Sequence[HeadWanted]) -> Heads:
        """How far the channels are, as `uid` sees them."""
        views: list[HeadView | None] = [None] * len(wanted)
        parts = self._by_partition(wanted)
        promises = await asyncio.gather(
            *(self._heads_of(uid, wanted, numbers, views) for numbers in parts)
        )
        return Heads(views, min(promises, default=_NEVER))

    def _by_partition(self, wanted: Sequence[HeadWanted | CommandsWanted]) -> list[list[int]]:
        """The places in `wanted` of the channels that one partition holds, for each partition."""
        parts: dict[int, list[int]] = {}
        for number, one in enumerate(wanted):
            key = route_key_of_channel(one.channel_type, one.channel_id)
            parts.setdefault(partition_of(key, self._partitions), []).append(number)
        return list(parts.values())

    async def all_heads(self, uid: str, wanted: Sequence[HeadWanted]) -> tuple[list[HeadView], int]:
        """The same where nothing may be missing; `Problem` if a partition does not answer."""
        views, promise = await self.heads(uid, wanted)
        found = [view for view in views if view is not None]
        if len(found) < len(views):
            raise Problem(
                503,
                "unavailable",
                f"{len(views) - len(found)} of {len(views)} channels could not be read",
                hint="try again",
            )
        return found, promise

    async def commands(
        self, wanted: Sequence[CommandsWanted], limit: int
    ) -> list[tuple[CommandsWanted, MessageRow]]:
        """The oldest commands of those channels, up to `limit` of each; `Problem` if a partition
        does not answer."""
        parts = [[wanted[number] for number in part] for part in self._by_partition(wanted)]
        found = await asyncio.gather(*(self._commands_of(some, limit) for some in parts))
        return [command for part in found for command in part]

    async def _commands_of(
        self, wanted: list[CommandsWanted], limit: int
    ) -> list[tuple[CommandsWanted, MessageRow]]:
        key = route_key_of_channel(wanted[0].channel_type, wanted[0].channel_id)
        found: list[tuple[CommandsWanted, MessageRow]] = []
        while wanted:
            some = wanted[: limits.HEADS_PER_QUERY_MAX]
            page = await self._asking.read(key, CommandsQuery(some, limit), CommandsPage)
            for one, told in zip(some, page.channels, strict=False):
                found += [(one, message) for message in told.messages]
            wanted = wanted[len(page.channels) :]
        return found

    async def last_command(self, channel_type: int, channel_id: str) -> int:
        """The last sequence among the commands of a channel."""
        key = route_key_of_channel(channel_type, channel_id)
        query = CommandsQuery([CommandsWanted(channel_type, channel_id, 0)], 1)
        page = await self._asking.read(key, query, CommandsPage)
        return page.channels[0].last_sequence

    async def pending(self, uid: str) -> PendingCommands:
        """The commands that `uid` was shown and has not acknowledged."""
        return await self._asking.read(route_key_of_user(uid), PendingQuery(uid), PendingCommands)

    async def head(self, uid: str, channel_type: int, channel_id: str, leaving: int) -> HeadView:
        """One channel, and where to read to so that `leaving` messages are left unread."""
        wanted = HeadWanted(channel_type, channel_id, 0, leaving=leaving)
        return (await self.all_heads(uid, [wanted]))[0][0]

    async def write(
        self, change: MoveCursor | NoteCommands | AcknowledgeCommands | BindCommands
    ) -> None:
        """Store how far a person is."""
        await self._asking.write(route_key_of_user(change.uid), change)

    async def _heads_of(
        self,
        uid: str,
        wanted: Sequence[HeadWanted],
        numbers: list[int],
        views: list[HeadView | None],
    ) -> int:
        """Ask one partition for the channels at `numbers`, until it told of all of them."""
        first = wanted[numbers[0]]
        key = route_key_of_channel(first.channel_type, first.channel_id)
        promise = _NEVER
        done = 0
        while done < len(numbers):
            some = numbers[done : done + limits.HEADS_PER_QUERY_MAX]
            query = HeadsQuery(uid, [wanted[number] for number in some])
            try:
                page = await self._asking.read(key, query, HeadsPage)
            except Problem:
                return promise
            for number, view in zip(some, page.heads, strict=False):
                views[number] = view
            promise = min(promise, page.promise)
            done += len(page.heads)
        return promise
