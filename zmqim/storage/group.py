"""One partition that this storage leads: its log, its state, and what it owes to others.

`open_group` builds it from what the stores hold. It reads the entries that the rows lack, which
are those of the turn in which the process died, and checks that log and rows fit together.
"""

from __future__ import annotations

from collections import deque

from zmqim.bus.messages import NoticeItem, RoutedItem
from zmqim.chat.operations import Operation, Query, SendMessage
from zmqim.chat.state import ChatState
from zmqim.chat.view import RowView
from zmqim.errors import DamagedData, WireError
from zmqim.ids import NodeName
from zmqim.limits import JOURNAL_ENTRIES_KEPT, MB
from zmqim.raft.core import HardState, LogEnd, LogExtent, RaftCore
from zmqim.raft.entry import Entry, EntryKind, decode_entry, follows
from zmqim.storage.log_size import LogSize
from zmqim.storage.notices import NoticeQueue
from zmqim.storage.outbox import Outbox
from zmqim.store.interface import JournalReader, LoadedPartition

REPLICA = 1
"""The replica id of the only voter that a partition has in this version."""
INSTALL = 1
"""The install number of rows that no snapshot ever replaced."""
_READ_BYTES = 4 * MB
_NOTICES_READ = 512
_NO_OP = int(EntryKind.NO_OP)

Waiting = tuple[int, NodeName, RoutedItem, SendMessage | Query | None]
"""(index to be applied first, who asked, what, the decoded read; None for a write)."""


class Group:
    """A partition that this storage leads."""

    __slots__ = (
        "book_at",
        "durable",
        "notices",
        "operations",
        "outbox",
        "outbox_asked",
        "outbox_logged",
        "partition",
        "raft",
        "size",
        "state",
        "uncommitted",
        "waiting",
    )

    def __init__(self, partition: int, raft: RaftCore, state: ChatState) -> None:
        applied = state.applied
        self.partition = partition
        self.raft = raft
        self.state = state
        self.notices = NoticeQueue(partition, applied.notified, applied.index)
        self.outbox = Outbox(partition, state.outbox_after, applied.outbox_last)
        self.outbox_logged = self.outbox.delivered
        self.outbox_asked: list[tuple[int, int, NodeName, RoutedItem]] = []
        """(number, deadline, who, item) of each open OutboxQuery."""
        self.waiting: deque[Waiting] = deque()
        self.operations: dict[int, Operation] = {}
        """Decoded payloads of entries that were proposed here and are not applied yet."""
        self.size = LogSize()
        self.uncommitted = 0
        """Bytes proposed but not applied."""
        self.durable = applied.index
        """Everything up to here is in the journal and in the rows for good."""
        self.book_at = 0
        """When the log may get the next Notified or OutboxDone."""

    def apply(self) -> dict[int, bytes]:
        """Apply what is committed; the results of operations by index."""
        raft, state = self.raft, self.state
        results: dict[int, bytes] = {}
        operations = self.operations
        notices: list[NoticeItem] = []
        for entry in raft.committed():
            index = entry.index
            if entry.kind == _NO_OP:
                state.skip(index, entry.term, entry.hlc)
                continue
            outcome = state.apply(
                index, entry.term, entry.hlc, entry.payload, operations.pop(index, None)
            )
            results[index] = outcome.result
            if outcome.notice is not None:
                notices.append(NoticeItem(index, outcome.notice))
        if notices:
            self.notices.add(notices)
        raft.applied_committed()
        state.flush()
        self.uncommitted = 0
        if state.outbox_added:
            state.outbox_added = False
            self.outbox.grow(state.applied.outbox_last)
        return results

    def read_notices(self, journal: JournalReader) -> None:
        """Take notices that are only in the log into the queue, as far as there is room."""
        notices = self.notices
        while notices.missing_from is not None and notices.room:
            first = max(notices.missing_from, self.raft.extent.first)
            last = min(first + _NOTICES_READ - 1, self.durable)
            if first > last:
                return
            bodies = journal.read(self.partition, first, last, _READ_BYTES)
            items = []
            for index, body in enumerate(bodies, first):
                entry = decode_entry(body)
                if entry.kind == EntryKind.OPERATION:
                    notice = self.state.notice_again(index, entry.hlc, entry.payload)
                    if notice is not None:
                        items.append(NoticeItem(index, notice))
            notices.found(items, first + len(bodies) - 1, self.raft.applied)

    @property
    def notices_readable(self) -> bool:
        """Would `read_notices` find something?"""
        missing = self.notices.missing_from
        return missing is not None and missing <= self.durable and self.notices.room

    def cut_log(self, journal: JournalReader) -> None:
        """Forget old entries once there are twice as many as are kept."""
        raft = self.raft
        if raft.applied - raft.first >= 2 * JOURNAL_ENTRIES_KEPT:
            self._cut(journal, raft.applied - JOURNAL_ENTRIES_KEPT, JOURNAL_ENTRIES_KEPT // 2)

    def halve_log(self, journal: JournalReader) -> bool:
        """Forget the older half of the bytes, if nothing needs them; did it?"""
        return self._cut(journal, self.size.older_half(), 0)

    def _cut(self, journal: JournalReader, base: int, count_min: int) -> bool:
        """Forget the entries up to `base`, as far as they are durable and were acknowledged."""
        raft = self.raft
        base = min(base, self.durable, self.notices.cut_bound(raft.applied))
        if base - raft.first < count_min or base < raft.first:
            return False
        raft.cut_before(decode_entry(journal.read(self.partition, base, base, 1)[0]))
        self.size.cut(base)
        return True

    @property
    def busy(self) -> bool:
        """Is anything to be sent, repeated or booked?"""
        return not (self.notices.idle and self.outbox.idle and not self.unbooked)

    @property
    def unbooked(self) -> bool:
        """Was something acknowledged that the log does not know of?"""
        return (
            self.notices.acknowledged > self.state.applied.notified
            or self.outbox.delivered > self.outbox_logged
        )


def open_group(
    partition: int,
    view: RowView,
    journal: JournalReader,
    loaded: LoadedPartition | None,
    heads_max: int,
) -> Group:
    """The partition as the stores hold it, with a cache of `heads_max` channel heads; `DamagedData`
    if log and rows do not fit together."""
    state = ChatState(partition, INSTALL, view, heads_max)
    applied = state.applied
    hard_state, extent = HardState(), LogExtent()
    if loaded is not None:
        hard_state = _hard_state(partition, loaded.hard_state)
        if loaded.extent is not None:
            extent = loaded.extent
    if applied.index > extent.last or applied.index < extent.first - 1:
        raise _damaged(
            partition,
            f"its log holds entries {extent.first} to {extent.last}, "
            f"but its rows are applied up to {applied.index}",
        )
    end = LogEnd(extent.base_term, extent.base_chain, applied.hlc)
    unapplied: list[Entry] = []
    first = max(applied.index, extent.first)
    chain = extent.base_chain if first == extent.first else None
    while first <= extent.last:
        for body in journal.read(partition, first, extent.last, _READ_BYTES):
            entry = _entry(partition, first, body, chain)
            if first > applied.index:
                unapplied.append(entry)
            elif (entry.term, entry.hlc) != (applied.term, applied.hlc):
                raise _damaged(partition, f"its rows were not made from entry {first} of its log")
            end = LogEnd(entry.term, entry.chain, entry.hlc)
            chain = entry.chain
            first += 1
    if end.term > hard_state.term:
        raise _damaged(partition, f"its log has term {end.term}, later than its vote")
    raft = RaftCore(REPLICA, (REPLICA,), hard_state, extent, end, applied.index, unapplied)
    return Group(partition, raft, state)


def _hard_state(partition: int, body: bytes | None) -> HardState:
    if body is None:
        return HardState()
    try:
        return HardState.decode(body)
    except WireError as error:
        raise _damaged(partition, str(error)) from None


def _entry(partition: int, index: int, body: bytes, chain: int | None) -> Entry:
    """Entry `index`, behind the log that ends with `chain` (None: not known)."""
    try:
        entry = decode_entry(body)
    except WireError as error:
        raise _damaged(partition, str(error)) from None
    if entry.index != index:
        raise _damaged(partition, f"entry {entry.index} stands in the place of {index}")
    if chain is not None and not follows(body, chain):
        raise _damaged(partition, f"entry {index} does not continue the chain before it")
    return entry


def _damaged(partition: int, what: str) -> DamagedData:
    return DamagedData(
        f"partition {partition}: {what}",
        path="raft",
        hint="The journal or the rows were damaged or exchanged; restore both from one backup.",
    )
