"""Rows that belong to no replica any more: which install numbers have some, and deleting them.

A partition's rows lie under an install number, and one of them is alive. The others were replaced
by a snapshot, belong to one that never became whole, or to a replica that was removed. They are
deleted a slice a turn, also after a restart; a number that may have rows is never given again.
"""

from __future__ import annotations

from collections import deque

from zmqim.chat.keys import Keys, install_of
from zmqim.limits import GARBAGE_PAUSE_MS, GARBAGE_ROWS_MAX
from zmqim.raft.peers import NEVER
from zmqim.store.interface import RowReader, Rows


class Garbage:
    """The dead rows of one storage."""

    def __init__(self, rows: RowReader) -> None:
        self._rows = rows
        self._dead: deque[Keys] = deque()
        self._highest: dict[int, int] = {}
        """The highest install number that was ever used, by partition."""
        self._sweep_at = 0

    def look(self, partition: int, alive: int, *, is_held: bool = True) -> None:
        """Find the partition's rows under other numbers than `alive`, or under any if it is not
        held: one look a number, and one more."""
        numbers = []
        stop = Keys(partition + 1, 0).prefix
        start = Keys(partition, 0).prefix
        while one := self._rows.scan(start, stop, limit=1):
            numbers.append(install_of(one[0][0]))
            start = Keys(partition, numbers[-1]).stop
        self._dead += [Keys(partition, n) for n in numbers if n != alive or not is_held]
        self._highest[partition] = max([alive, *numbers])

    def fresh(self, partition: int) -> int:
        """An install number without rows."""
        number = self._highest.get(partition, 0) + 1
        self._highest[partition] = number
        return number

    def add(self, partition: int, install: int) -> None:
        """These rows are dead from now on, and nothing is written there any more."""
        self._dead.append(Keys(partition, install))

    def next_wake(self) -> int:
        """When `take` has something to do."""
        return self._sweep_at if self._dead else NEVER

    def take(self, now: int) -> Rows:
        """Deletions of the next slice, if it is time."""
        if not self._dead or now < self._sweep_at:
            return []
        self._sweep_at = now + GARBAGE_PAUSE_MS
        dead = self._dead[0]
        found = self._rows.scan(dead.prefix, dead.stop, limit=GARBAGE_ROWS_MAX)
        if len(found) < GARBAGE_ROWS_MAX:
            self._dead.popleft()
        return [(key, None) for key, _ in found]
