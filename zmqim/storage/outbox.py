"""Operations that one partition owes to others, from its outbox rows to their acknowledgement.

The rows are numbered in the order of the log. A window of them is submitted through the partition's
router and submitted again until each is answered with DONE: the operations are idempotent. What is
delivered without a gap is forgotten by an `OutboxDone` in the log, lazily.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zmqim.bus.messages import Item, ItemKind
from zmqim.chat.rows import OutboxRow
from zmqim.limits import REQUEST_RETRY_MS
from zmqim.raft.peers import NEVER

OUTBOX_WINDOW: Final = 256
"""Rows of one partition in flight. Above: later ones wait in the rows."""
_NUMBER_BITS: Final = 48
"""Of a request number; the partition is above. So an answer names its row by itself."""

RowsAfter = Callable[[int, int], list[tuple[int, OutboxRow]]]


def partition_of_request(request: int) -> int:
    """Whose outbox row the request number names."""
    return request >> _NUMBER_BITS


class Outbox:
    """The outbox of one partition."""

    def __init__(self, partition: int, rows_after: RowsAfter, last: int) -> None:
        """`last` is the highest number ever given."""
        self.delivered = last
        """Every row up to here was acknowledged."""
        self._base = partition << _NUMBER_BITS
        self._rows_after = rows_after
        self._open: dict[int, Item] = {}
        self._sent_at: dict[int, int] = {}
        self._taken = 0
        self._last = last
        self.grow(last)

    @property
    def idle(self) -> bool:
        """Everything is delivered."""
        return self.delivered >= self._last

    def grow(self, last: int) -> None:
        """Rows up to `last` exist."""
        self._last = last
        self._fill()

    def acknowledge(self, request: int) -> None:
        """The partition that the row is for has applied it."""
        number = request - self._base
        if self._open.pop(number, None) is None:
            return
        self._sent_at.pop(number, None)
        self._fill()

    def take(self, now: int) -> list[Item]:
        """What is to be submitted now."""
        due = [
            number
            for number in self._open
            if now - self._sent_at.get(number, -REQUEST_RETRY_MS) >= REQUEST_RETRY_MS
        ]
        for number in due:
            self._sent_at[number] = now
        return [self._open[number] for number in due]

    def due_at(self) -> int:
        """When `take` must be called again; NEVER if nothing is open."""
        if not self._open:
            return NEVER
        return min(
            self._sent_at.get(number, -REQUEST_RETRY_MS) + REQUEST_RETRY_MS for number in self._open
        )

    def _fill(self) -> None:
        room = OUTBOX_WINDOW - len(self._open)
        if self._taken < self._last and room > OUTBOX_WINDOW // 2:
            for number, row in self._rows_after(self._taken, room):
                self._open[number] = Item(
                    self._base | number, row.route_key, ItemKind.WRITE, row.operation
                )
                self._taken = number
            if not self._open:
                self._taken = self._last
        self.delivered = min(self._open, default=self._taken + 1) - 1
