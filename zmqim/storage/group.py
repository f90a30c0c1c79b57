"""One partition that this storage holds: its log, its state, and, while it leads, what it owes.

Every replica applies the log. Answers, notices and the outbox are the leader's alone; they begin
with its NO-OP applied and end with its lead, and a later leader takes them up from the rows.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from zmqim.bus.messages import NoticeItem, RoutedItem
from zmqim.chat.operations import Operation, SendMessage
from zmqim.chat.queries import FollowQuery, Query
from zmqim.chat.reading import answer
from zmqim.chat.results import FollowedPage, MessageRow
from zmqim.chat.state import ChatState
from zmqim.ids import HLC_COUNTER_BITS, NodeName
from zmqim.limits import (
    FOLLOWED_ENTRIES_MAX,
    FOLLOWED_MESSAGES_MAX,
    FOLLOWED_PAGE_BYTES_MAX,
    MB,
    STAMP_AGE_MS_MAX,
)
from zmqim.raft.core import RaftCore
from zmqim.raft.entry import CONFIG, OPERATION, decode_entry
from zmqim.raft.replica import ReplicaMeta
from zmqim.storage.bundles import Part
from zmqim.storage.notices import NoticeQueue
from zmqim.storage.outbox import Outbox
from zmqim.storage.replica import Machine, Replica
from zmqim.store.interface import JournalReader

_READ_BYTES: Final = 4 * MB
_NOTICES_READ: Final = 512

Waiting = tuple[int, int, NodeName, RoutedItem, SendMessage | Query | Part | None]
"""(index to be applied first, round to be confirmed first, who asked, what, the decoded read).

For a write there is no read, and round 0: its being committed confirms it."""


class Duties:
    """What a serving leader owes to routers and to those who asked."""

    __slots__ = ("notices", "outbox", "outbox_asked", "outbox_logged", "stamp_wanted")

    def __init__(self, partition: int, state: ChatState) -> None:
        applied = state.applied
        self.notices = NoticeQueue(partition, applied.notified, applied.index)
        self.outbox = Outbox(partition, state.outbox_after, applied.outbox_last)
        self.outbox_logged = self.outbox.delivered
        self.outbox_asked: list[tuple[int, int, NodeName, RoutedItem]] = []
        """(number, deadline, who, item) of each open OutboxQuery."""
        self.stamp_wanted = False
        """Somebody was promised an old stamp: an entry is to bring the log's clock forward."""


class Group(Replica):
    """A partition that this storage holds."""

    __slots__ = (
        "_last_notice",
        "book_at",
        "duties",
        "operations",
        "results",
        "state",
        "uncommitted",
        "waiting",
    )

    def __init__(self, partition: int, raft: RaftCore, state: ChatState, meta: ReplicaMeta) -> None:
        super().__init__(partition, raft, meta)
        self.state = state
        self.duties: Duties | None = None
        """While it leads and serves."""
        self.waiting: deque[Waiting] = deque()
        self.operations: dict[int, Operation] = {}
        """Decoded payloads of entries that were proposed here and are not applied yet."""
        self.results: dict[int, bytes] = {}
        """Results of those that were applied, until they are told."""
        self.uncommitted = 0
        """Bytes proposed here but not applied."""
        self.book_at = 0
        """When the log may get the next Notified or OutboxDone."""
        self._last_notice = state.applied.index
        """No applied entry above this one made a notice."""

    @property
    def machine(self) -> Machine:
        """The state."""
        return self.state

    def restart(self, machine: Machine, meta: ReplicaMeta, *, is_new: bool) -> None:
        """The rows are now those of a snapshot; it follows, so it owes nothing."""
        assert isinstance(machine, ChatState)
        assert self.duties is None
        assert not self.waiting
        self.state = machine
        self._last_notice = machine.applied.index
        super().restart(machine, meta, is_new=is_new)

    # ---- applying --------------------------------------------------------------------------------

    def apply(self) -> None:
        """Apply what is committed."""
        raft, state = self.raft, self.state
        operations, results = self.operations, self.results
        notices: list[NoticeItem] = []
        # Followers tell nobody; neither does a new leader of what came before its NO-OP.
        is_quiet = self.duties is None
        for entry in raft.committed():
            index, payload = entry.index, entry.payload
            if entry.kind != OPERATION:
                state.skip(index, entry.term, entry.hlc)
                if entry.kind == CONFIG:
                    state.put_config(index, payload)
                continue
            operation = operations.pop(index, None) if operations else None
            result, notice = state.apply(
                index, entry.term, entry.hlc, payload, operation, quiet=is_quiet
            )
            if operation is not None:
                results[index] = result
                self.uncommitted -= len(payload)
            if notice is not None:
                self._last_notice = index
                notices.append(NoticeItem(index, notice))
        raft.applied_committed()
        self.note_config()
        state.flush()
        duties = self.duties
        if duties is None:
            if raft.serving:
                self.duties = Duties(self.partition, state)
        else:
            if notices:
                duties.notices.add(notices)
            if state.outbox_added:
                duties.outbox.grow(state.applied.outbox_last)
        state.outbox_added = False

    def give_up(self) -> deque[Waiting]:
        """The lead is lost: nothing proposed here is known to be applied. Who waits is given."""
        waiting, self.waiting = self.waiting, deque()
        self.duties = None
        self.operations.clear()
        self.results.clear()
        self.uncommitted = 0
        return waiting

    # ---- notices ---------------------------------------------------------------------------------

    def read_notices(self, journal: JournalReader) -> None:
        """Take notices that are only in the log into the queue, as far as there is room."""
        assert self.duties is not None
        notices = self.duties.notices
        while notices.missing_from is not None and notices.room:
            first = max(notices.missing_from, self.raft.log.extent.first)
            last = min(first + _NOTICES_READ - 1, self.durable)
            if first > last:
                return
            bodies = journal.read(self.partition, first, last, _READ_BYTES)
            items = []
            for index, body in enumerate(bodies, first):
                entry = decode_entry(body)
                if entry.kind == OPERATION:
                    notice = self.state.notice_again(index, entry.hlc, entry.payload)
                    if notice is not None:
                        items.append(NoticeItem(index, notice))
            notices.found(items, first + len(bodies) - 1, self.raft.applied)

    @property
    def notices_readable(self) -> bool:
        """Would `read_notices` find something?"""
        if self.duties is None:
            return False
        missing = self.duties.notices.missing_from
        return missing is not None and missing <= self.durable and self.duties.notices.room

    @property
    def busy(self) -> bool:
        """Is anything to be sent, repeated or booked?"""
        duties = self.duties
        if duties is None:
            return False
        return not (duties.notices.idle and duties.outbox.idle and not self.unbooked)

    @property
    def unbooked(self) -> bool:
        """Was something acknowledged that the log does not know of, or is a stamp wanted?"""
        duties = self.duties
        return duties is not None and (
            duties.stamp_wanted
            or duties.notices.acknowledged > self.state.applied.notified
            or duties.outbox.delivered > duties.outbox_logged
        )

    def promised(self, wall_ms: int) -> None:
        """A read told how far the log's clock is. Nothing but an entry moves it on, so that the
        next leader goes on from there: one is logged if the clock is far behind."""
        behind = wall_ms - (self.state.applied.hlc >> HLC_COUNTER_BITS)
        if self.duties is not None and behind > STAMP_AGE_MS_MAX:
            self.duties.stamp_wanted = True

    @property
    def owes_stamp(self) -> bool:
        """Is an entry to be logged for that?"""
        return self.duties is not None and self.duties.stamp_wanted

    # ---- the log, for whoever follows it ---------------------------------------------------------

    def read_followed(self, journal: JournalReader, query: FollowQuery) -> FollowedPage:
        """The next messages of a follower: from the log, what they became from the rows.

        Only what is durable here is looked at, FOLLOWED_ENTRIES_MAX entries a page.
        """
        page = answer(self.state, query)
        assert isinstance(page, FollowedPage)
        if page.position < 0:
            return page
        after, durable, lost = page.upto, self.durable, (0, 0)
        first = self.raft.log.extent.first
        if after + 1 < first:
            lost = after + 1, first - 1
            after = first - 1
        messages: list[MessageRow] = []
        last = min(after + FOLLOWED_ENTRIES_MAX, durable)
        limit = max(1, min(query.limit, FOLLOWED_MESSAGES_MAX))
        if last > after:
            bodies = journal.read(self.partition, after + 1, last, FOLLOWED_PAGE_BYTES_MAX)
            for body in bodies:
                entry = decode_entry(body)
                after += 1
                if entry.kind == OPERATION:
                    message = self.state.message_again(entry.hlc, entry.payload)
                    if message is not None:
                        messages.append(message)
                        if len(messages) == limit:
                            break
            self.state.heads.trim()
        return FollowedPage(page.position, after, messages, after < durable, *lost)

    def needed_here(self, *, past_followers: bool = False) -> int:
        """A later leader reads from the log what routers did not acknowledge, and what those who
        follow it did not have."""
        lowest = None if past_followers else self.state.followers.lowest
        notified = self._needed_for_notices()
        return notified if lowest is None else min(notified, lowest)

    def _needed_for_notices(self) -> int:
        if self.duties is not None:
            return self.duties.notices.cut_bound(self.raft.applied)
        notified = self.state.applied.notified
        return notified if notified < self._last_notice else self.raft.applied
