"""Members of channels: snapshots read from the leader, carried on by the notice stream.

A message may be pushed to members as of its `member_version` or later. The snapshot is read in
pages when a message needs one; afterwards each `MembersNotice` of the partition's stream advances
it. A change made between two pages shows in one of them and comes again in the stream, where it
does no harm; so the snapshot counts as read at the version of its first page. A notice that does
not follow the version held means that a change was missed (another router fanned out for a while):
the snapshot is dropped and read anew.

Whom a channel's id names (a visitor) hears it always: a snapshot holds him whether he is a member
or not, and he is never removed from it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from zmqim.bus.messages import OutcomeCode
from zmqim.chat.channels import named_in
from zmqim.chat.encoding import encode
from zmqim.chat.notices import MembersNotice
from zmqim.chat.queries import MembersQuery
from zmqim.chat.results import MembersPage, decode_result
from zmqim.errors import WireError
from zmqim.ids import Channel, Milliseconds, PartitionId
from zmqim.limits import (
    LEADER_RETRY_MS_MAX,
    MEMBER_SNAPSHOTS_MAX,
    MEMBERS_PAGE_MAX,
    NOT_LEADER_RETRY_MS,
    REQUEST_RETRY_MS,
)

NOT_TOLD: Final = -1

Ask = Callable[[PartitionId, int, bytes], None]
"""Puts a query of the router itself on its way: (partition, request number, encoded query)."""


class Snapshot:
    """Who hears a channel at `version`. The dict is ordered, so that fan-out is repeatable."""

    __slots__ = ("uids", "version")

    def __init__(self, version: int, uids: dict[str, None]) -> None:
        self.version = version
        self.uids = uids


class Change(NamedTuple):
    """Who joined and who left by a notice, as far as it was news."""

    added: list[str]
    removed: list[str]


class Members:
    """The cache of snapshots, least used first."""

    def __init__(self) -> None:
        self._snapshots: OrderedDict[Channel, Snapshot] = OrderedDict()

    def __len__(self) -> int:
        return len(self._snapshots)

    def get(self, channel: Channel, version: int) -> Snapshot | None:
        """The members at `version` or later, if known."""
        found = self._snapshots.get(channel)
        if found is None or found.version < version:
            return None
        self._snapshots.move_to_end(channel)
        return found

    def peek(self, channel: Channel) -> Snapshot | None:
        """What is known, at whatever version."""
        return self._snapshots.get(channel)

    def put(self, channel: Channel, snapshot: Snapshot) -> Channel | None:
        """Keep a snapshot; gives the channel whose snapshot had to go for it."""
        self._snapshots.pop(channel, None)
        dropped = None
        if len(self._snapshots) >= MEMBER_SNAPSHOTS_MAX:
            dropped, _ = self._snapshots.popitem(last=False)
        self._snapshots[channel] = snapshot
        return dropped

    def drop(self, channel: Channel) -> None:
        """Forget a snapshot."""
        self._snapshots.pop(channel, None)

    def apply(self, notice: MembersNotice) -> Change | None:
        """Advance the snapshot; None when it does not follow and was dropped."""
        channel = (notice.channel_type, notice.channel_id)
        held = self._snapshots.get(channel)
        if held is None or notice.version <= held.version:
            return Change([], [])
        if notice.previous not in (NOT_TOLD, held.version) and not notice.reset:
            self.drop(channel)
            return None
        uids = held.uids
        removed = notice.removed
        if notice.reset:
            kept = set(notice.added)
            removed = [uid for uid in uids if uid not in kept]
        named = named_in(*channel)
        change = Change(
            [uid for uid in notice.added if uid not in uids],
            [uid for uid in removed if uid in uids and uid not in named],
        )
        for uid in change.removed:
            del uids[uid]
        for uid in change.added:
            uids[uid] = None
        held.version = notice.version
        if notice.previous == NOT_TOLD and len(uids) != notice.count:
            self.drop(channel)
            return None
        return change


class Reading:
    """The members of one channel being read, page after page, until they are complete.

    A page that fails is asked for again after a pause, one that stays unanswered after
    REQUEST_RETRY_MS: the stream of the partition waits for it, as nothing can be pushed without.
    """

    __slots__ = ("_pause", "_uids", "_version", "_wanted", "channel", "due", "partition", "request")

    def __init__(self, channel: Channel, partition: PartitionId, version: int) -> None:
        self.channel = channel
        self.partition = partition
        self.request = 0
        """Number of the question that is out; 0: none."""
        self.due = Milliseconds(0)
        """When to ask (again)."""
        self._pause = NOT_LEADER_RETRY_MS
        self._wanted = version
        self._version: int | None = None
        self._uids: dict[str, None] = {}

    def ask(self, now: Milliseconds, request: int) -> MembersQuery:
        """The query for the next page, under that request number."""
        self.request = request
        self.due = Milliseconds(now + REQUEST_RETRY_MS)
        after = next(reversed(self._uids), "")
        return MembersQuery(*self.channel, after_uid=after, limit=MEMBERS_PAGE_MAX)

    def take(self, now: Milliseconds, code: int, result: bytes) -> Snapshot | None:
        """An answer: the complete snapshot, or None and `due` says when to ask on."""
        self.request = 0
        self.due = now
        if code in (OutcomeCode.DONE, OutcomeCode.BAD_REQUEST):
            page = _page_of(code, result)
            if self._version is None:
                self._version = page.version
            self._uids.update(dict.fromkeys(page.uids))
            if page.more and page.uids:
                return None
            self._uids.update(dict.fromkeys(named_in(*self.channel)))
            return Snapshot(max(self._version, self._wanted), self._uids)
        self.due = Milliseconds(now + self._pause)
        self._pause = min(2 * self._pause, LEADER_RETRY_MS_MAX)
        return None


class Readings:
    """What is being read, at most one channel a partition: the head of its queue waits for it."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._by_partition: dict[PartitionId, Reading] = {}
        self._by_request: dict[int, Reading] = {}
        self._last_request = 0

    def begin(
        self, now: Milliseconds, partition: PartitionId, channel: Channel, version: int
    ) -> None:
        """Ask for the members of `channel` at `version`, unless its partition is being asked."""
        if partition not in self._by_partition:
            reading = Reading(channel, partition, version)
            self._by_partition[partition] = reading
            self._send(now, reading)

    def _send(self, now: Milliseconds, reading: Reading) -> None:
        self._by_request.pop(reading.request, None)
        self._last_request += 1
        self._by_request[self._last_request] = reading
        query = reading.ask(now, self._last_request)
        self._ask(reading.partition, self._last_request, encode(query))

    def leader_moved(self, now: Milliseconds, partition: PartitionId) -> None:
        """What was asked of another storage than the one asked now is asked again."""
        reading = self._by_partition.get(partition)
        if reading is not None:
            self._send(now, reading)

    def take(
        self, now: Milliseconds, request: int, code: int, result: bytes
    ) -> tuple[Reading, Snapshot] | None:
        """An answer: what is read now; None while there is more to ask, or if it was given up."""
        reading = self._by_request.pop(request, None)
        if reading is None:
            return None
        snapshot = reading.take(now, code, result)
        if snapshot is None:
            if reading.due <= now:
                self._send(now, reading)
            return None
        del self._by_partition[reading.partition]
        return reading, snapshot

    def wake(self, now: Milliseconds) -> None:
        """Ask again what is due."""
        for reading in list(self._by_partition.values()):
            if reading.due <= now:
                self._send(now, reading)

    def dues(self) -> list[Milliseconds]:
        """When `wake` has something to do."""
        return [reading.due for reading in self._by_partition.values()]


def _page_of(code: int, result: bytes) -> MembersPage:
    """The page; an empty one where the leader says that there are no members to be had."""
    try:
        answer = decode_result(result) if code == OutcomeCode.DONE else None
    except WireError:
        answer = None
    if isinstance(answer, MembersPage):
        return answer
    return MembersPage(0, 0, [], False)
