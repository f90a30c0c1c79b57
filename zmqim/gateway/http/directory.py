"""A person's conversations, asked together: the rows of the person's partition, and of each
channel's partition how far its channels are.

Partitions are asked side by side, each for all of its channels at once. What none of them can know
alone is the version to go on from: the lowest of what they promised, so that no change is missed
that comes with a stamp below another partition's (`zmqim.chat.listing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Final, NamedTuple, TypeVar

from msgspec import Struct

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
    HeadView,
    MessageRow,
    PackedConversations,
    PackedHeads,
    PendingCommands,
    decode_head,
)
from zmqim.chat.rows import ConversationRow, decode_conversation
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.bundling import Bundling, PageT, PartitionAsk
from zmqim.gateway.http.problems import Problem, bad_request
from zmqim.ring.partitions import partition_of

WantedT = TypeVar("WantedT", HeadWanted, CommandsWanted)
ROW_BYTES_MAX: Final = 256
"""Rows up to this length are decoded once: some 10 MB for FINISHED_MAX of them. Longer ones, which
have long names or many runs of commands, each time."""
_NEVER = 1 << 63


class StoredRow(Struct, frozen=True, gc=False):
    """A row of a person, and its bytes, which say whether it is the same as before."""

    row: ConversationRow
    packed: bytes


def stored_row(packed: bytes) -> StoredRow:
    """The row whose bytes these are."""
    return StoredRow(decode_conversation(packed), packed)


class Rows(NamedTuple):
    """Rows of a person, in the order of their places, what their partition promised, and where to
    go on, b"" at the end."""

    rows: list[StoredRow]
    promise: int
    next: bytes = b""


class Heads(NamedTuple):
    """One encoded `HeadView` for each channel asked for, None where no leader answered; the lowest
    promise."""

    views: list[bytes | None]
    promise: int


def _place(partitions: int, channel_type: int, channel_id: str) -> int:
    return partition_of(route_key_of_channel(channel_type, channel_id), partitions)


class Directory:
    """Reads and changes conversations through the gateway's port."""

    def __init__(self, asking: Asking, partitions: int) -> None:
        self._asking = asking
        self._bundling = Bundling(asking)
        self._known_row = lru_cache(limits.FINISHED_MAX)(stored_row)
        self._place_of = lru_cache(limits.FINISHED_MAX)(partial(_place, partitions))

    async def rows(self, uid: str) -> Rows:
        """Every row of `uid`; `Problem` if there are too many or none answers."""
        rows: list[StoredRow] = []
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

    async def page(self, uid: str, after: bytes, limit: int) -> Rows:
        """Some rows of `uid`, from the place `after` on."""
        query = ConversationsQuery(uid, after, limit)
        page = await self._asking.read(route_key_of_user(uid), query, PackedConversations)
        rows = [self._row(bytes(row)) for row in page.rows]
        return Rows(rows, page.promise, page.next)

    def _row(self, packed: bytes) -> StoredRow:
        return self._known_row(packed) if len(packed) <= ROW_BYTES_MAX else stored_row(packed)

    async def heads(self, uid: str, wanted: Sequence[HeadWanted]) -> Heads:
        """How far the channels are, as `uid` sees them."""
        views: list[bytes | None] = [None] * len(wanted)
        promise = _NEVER
        told = await self._told(
            wanted, lambda some: HeadsQuery(uid, some), PackedHeads, lambda page: len(page.heads)
        )
        for numbers, page in told:
            if isinstance(page, Problem):
                continue
            for number, view in zip(numbers, page.heads, strict=False):
                views[number] = bytes(view)
            promise = min(promise, page.promise)
        return Heads(views, promise)

    async def _told(
        self,
        wanted: Sequence[WantedT],
        query_of: Callable[[list[WantedT]], HeadsQuery | CommandsQuery],
        expected: type[PageT],
        count_of: Callable[[PageT], int],
    ) -> list[tuple[list[int], PageT | Problem]]:
        """Ask for channels until all were told of that a leader tells of: the pages, each with the
        places in `wanted` of the channels that it begins with; `count_of` says of how many it is.
        """
        found: list[tuple[list[int], PageT | Problem]] = []
        left = self._by_partition(wanted)
        while left:
            asks = []
            for partition, numbers in left.items():
                some = [wanted[number] for number in numbers[: limits.HEADS_PER_QUERY_MAX]]
                key = route_key_of_channel(some[0].channel_type, some[0].channel_id)
                asks.append(PartitionAsk(partition, key, query_of(some)))
            pages = await self._bundling.read_each(asks, expected)
            following = {}
            for (partition, numbers), page in zip(left.items(), pages, strict=True):
                found.append((numbers, page))
                if not isinstance(page, Problem) and count_of(page) < len(numbers):
                    following[partition] = numbers[count_of(page) :]
            left = following
        return found

    def _by_partition(self, wanted: Sequence[HeadWanted | CommandsWanted]) -> dict[int, list[int]]:
        """The places in `wanted` of the channels that a partition holds, by partition."""
        parts: dict[int, list[int]] = {}
        for number, one in enumerate(wanted):
            place = self._place_of(one.channel_type, one.channel_id)
            if place in parts:
                parts[place].append(number)
            else:
                parts[place] = [number]
        return parts

    async def all_heads(self, uid: str, wanted: Sequence[HeadWanted]) -> tuple[list[bytes], int]:
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
        found: list[tuple[CommandsWanted, MessageRow]] = []
        told = await self._told(
            wanted,
            lambda some: CommandsQuery(some, limit),
            CommandsPage,
            lambda page: len(page.channels),
        )
        for numbers, page in told:
            if isinstance(page, Problem):
                raise page
            for number, channel in zip(numbers, page.channels, strict=False):
                found += [(wanted[number], message) for message in channel.messages]
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
        return decode_head((await self.all_heads(uid, [wanted]))[0][0])

    async def write(
        self, change: MoveCursor | NoteCommands | AcknowledgeCommands | BindCommands
    ) -> None:
        """Store how far a person is."""
        await self._asking.write(route_key_of_user(change.uid), change)
