"""Notices of one partition on their way to its router: at least once, in log order.

Notices stand in a queue until a router acknowledged them. When no acknowledgement comes for
NOTICE_REPEAT_MS, or another router takes over, everything unacknowledged is sent again. The queue
is bounded: what does not fit, and what an earlier life left unacknowledged, is read again from the
log (`missing_from`), which is not cut above `cut_bound`. So neither a crash between commit and push
nor a long absence of routers loses a push (promise P4).
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from zmqim.bus.batches import in_frames
from zmqim.bus.messages import NoticeItem, Notices
from zmqim.ids import NodeName
from zmqim.limits import (
    NOTICE_REPEAT_MS,
    NOTICES_UNACKED_BYTES_MAX,
    NOTICES_UNACKED_MAX,
)
from zmqim.raft.peers import NEVER


class NoticeQueue:
    """What one partition's router has not acknowledged yet."""

    def __init__(self, partition: int, notified: int, applied: int) -> None:
        """Notices of the entries `notified` + 1 to `applied` are still in the log only."""
        self.acknowledged = notified
        self.missing_from: int | None = notified + 1 if notified < applied else None
        self._partition = partition
        self._items: deque[NoticeItem] = deque()
        self._bytes = 0
        self._sent = 0
        self._router: NodeName | None = None
        self._progress_at = 0

    @property
    def idle(self) -> bool:
        """Nothing waits, here or in the log."""
        return not self._items and self.missing_from is None

    @property
    def room(self) -> bool:
        """Is it time to read notices that are in the log only?"""
        return (
            len(self._items) <= NOTICES_UNACKED_MAX // 2
            and self._bytes <= NOTICES_UNACKED_BYTES_MAX // 2
        )

    def cut_bound(self, applied: int) -> int:
        """Entries up to this index are not needed for notices any more."""
        if self._items:
            return self._items[0].index - 1
        return applied if self.missing_from is None else self.missing_from - 1

    def add(self, items: list[NoticeItem]) -> None:
        """A turn's entries made these notices; they stay in the log if there is no room for all."""
        if self.missing_from is not None:
            return
        size = sum([len(item.body) for item in items])
        if (
            len(self._items) + len(items) > NOTICES_UNACKED_MAX
            or self._bytes + size > NOTICES_UNACKED_BYTES_MAX
        ):
            self.missing_from = items[0].index
            return
        self._items.extend(items)
        self._bytes += size

    def found(self, items: list[NoticeItem], upto: int, applied: int) -> None:
        """The log holds `items` from `missing_from` to `upto`, of `applied` entries."""
        self._items.extend(items)
        self._bytes += sum(len(item.body) for item in items)
        self.missing_from = upto + 1 if upto < applied else None

    def acknowledge(self, now: int, index: int) -> None:
        """A router has taken care of everything up to `index`; it must have been sent."""
        items = self._items
        while self._sent and items[0].index <= index:
            item = items.popleft()
            self._bytes -= len(item.body)
            self._sent -= 1
            self.acknowledged = item.index
            self._progress_at = now

    def again(self, router: NodeName) -> None:
        """`router` has a new life, or none: what it was sent is forgotten."""
        if self._router == router:
            self._router = None

    def take(self, now: int, router: NodeName | None, term: int) -> list[Notices]:
        """Batches for `router` with what it was not sent yet, or not for too long."""
        if router != self._router:
            self._router = router
            self._sent = 0
        elif self._sent and now - self._progress_at >= NOTICE_REPEAT_MS:
            self._sent = 0
        if router is None or self._sent == len(self._items):
            return []
        if not self._sent:
            self._progress_at = now
        items, sent = self._items, self._sent
        previous = items[sent - 1].index if sent else 0
        batches = []
        unsent = list(islice(items, sent, None))
        for chunk in in_frames(unsent, [len(item.body) for item in unsent]):
            batches.append(Notices(self._partition, term, previous, chunk))
            previous = chunk[-1].index
        self._sent = len(items)
        return batches

    def due_at(self) -> int:
        """When `take` must be called for a repetition; NEVER without one."""
        return self._progress_at + NOTICE_REPEAT_MS if self._sent else NEVER
