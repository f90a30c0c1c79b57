"""How far a leader knows each of its followers to be, and what it may send next.

A follower is *probed*, one Append at a time, until the place where both logs agree is found; then
entries are *streamed* ahead of the answers, a window at most. What the leader's log does not hold
any more is replaced by a *snapshot*. A lost Append or answer shows by silence: then it is probed.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final

from zmqim.limits import (
    APPEND_RETRY_MS,
    SEND_WINDOW_BYTES_MAX,
    SEND_WINDOW_ENTRIES_MAX,
)


class Sending(IntEnum):
    """How a follower is fed."""

    PROBING = 0
    STREAMING = 1
    SNAPSHOT = 2


PROBING: Final = Sending.PROBING
STREAMING: Final = Sending.STREAMING
SNAPSHOT: Final = Sending.SNAPSHOT
"""For code that runs for each message: Python 3.11 takes ten times as long to look into an enum."""


class Progress:
    """One follower or learner in the eyes of its leader."""

    __slots__ = ("_sent", "_sent_bytes", "is_damaged", "match", "next", "retry_at", "sending")

    def __init__(self, next_index: int) -> None:
        self.match = 0
        """Up to here the follower is known to hold the leader's log on disk."""
        self.next = next_index
        """The next entry to be sent."""
        self.sending: Sending = PROBING
        self.is_damaged = False
        """It says that its rows are lost: only a snapshot helps."""
        self.retry_at = 0
        """When what is on its way is taken for lost; 0: nothing is on its way."""
        self._sent: deque[tuple[int, int]] = deque()
        """(last index, bytes) of each Append on its way."""
        self._sent_bytes = 0

    @property
    def room(self) -> int:
        """Bytes that may be sent now; 0: wait for answers."""
        if self.sending is STREAMING:
            if self.next - self.match > SEND_WINDOW_ENTRIES_MAX:
                return 0
            return max(SEND_WINDOW_BYTES_MAX - self._sent_bytes, 0)
        if self.sending is PROBING and not self.retry_at:
            return SEND_WINDOW_BYTES_MAX // 4
        return 0

    def sent(self, now: int, count: int, size: int) -> None:
        """An Append with `count` entries of `size` bytes is on its way."""
        if not self.retry_at:
            self.retry_at = now + APPEND_RETRY_MS
        if self.sending is STREAMING:
            self.next += count
            self._sent.append((self.next - 1, size))
            self._sent_bytes += size

    def accepted(self, now: int, match: int) -> bool:
        """The follower holds everything up to `match`; was that news?"""
        if match > self.match:
            self.match = match
        elif self.sending is STREAMING or match < self.match:
            return False
        if self.sending is not STREAMING:
            if self.sending is SNAPSHOT and match < self.next - 1:
                return True
            self.sending = STREAMING
            self.next = self.match + 1
        self.next = max(self.next, self.match + 1)
        sent = self._sent
        while sent and sent[0][0] <= match:
            self._sent_bytes -= sent.popleft()[1]
        self.retry_at = now + APPEND_RETRY_MS if sent else 0
        return True

    def refused(self, at: int, agreed: int) -> None:
        """The follower lacks the entry before an Append, at `at`; up to `agreed` it agrees."""
        stale = at <= self.match or (self.sending is PROBING and at != self.next - 1)
        if not stale and self.sending is not SNAPSHOT:
            self.probe(max(self.match, min(at - 1, agreed)) + 1)

    def probe(self, next_index: int) -> None:
        """Find out anew where the logs agree, beginning before `next_index`."""
        self.sending = PROBING
        self.next = next_index
        self.retry_at = 0
        self._sent.clear()
        self._sent_bytes = 0

    def repeat(self) -> None:
        """What is on its way is taken for lost: probe again.

        Where a stream was, all up to `match` is held. A probe is asked again at its own place: as
        long as none was answered `match` is 0, and entry 1 may be long gone from the log.
        """
        held = self.match + 1
        self.probe(held if self.sending is STREAMING else max(held, self.next))

    def snapshot(self, now: int, index: int) -> None:
        """It is being sent the rows as of `index`."""
        self.probe(index + 1)
        self.sending = SNAPSHOT
        self.retry_at = now + APPEND_RETRY_MS
