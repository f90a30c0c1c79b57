"""Virtual time: one heap of what will happen, one source of chance, one fingerprint of it all.

Everything in the simulation is an action at a time. Two actions of the same microsecond happen in
the order in which they were planned, so a run is a function of its seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from xxhash import xxh3_64

MS = 1_000
SECOND = 1_000_000
"""The world counts in microseconds."""

Action = Callable[[], None]


class World:
    """The clock, the plan and the chance of one run."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0
        """Microseconds since the run began."""
        self.events = 0
        self._planned: list[tuple[int, int, Action]] = []
        self._count = 0
        self._trace = xxh3_64()

    def after(self, delay: int, action: Action) -> None:
        """Plan `action` for `delay` microseconds from now."""
        self._count += 1
        heappush(self._planned, (self.now + delay, self._count, action))

    def run_until(self, when: int, finished: Callable[[], bool] | None = None) -> bool:
        """Let time pass up to `when`, or until `finished`; says which of the two it was."""
        planned = self._planned
        while planned and planned[0][0] <= when:
            self.now, _, action = heappop(planned)
            self.events += 1
            action()
            if finished is not None and finished():
                return True
        self.now = when
        return finished is not None and finished()

    def note(self, what: str, *details: object) -> None:
        """Make something that happened part of the fingerprint."""
        self._trace.update(f"{self.now}|{what}|{details}".encode())

    def note_bytes(self, what: bytes, content: bytes) -> None:
        """As `note`, for bytes on their way."""
        self._trace.update(b"%d|%s|" % (self.now, what))
        self._trace.update(content)

    def fingerprint(self) -> str:
        """64 bits that stand for everything that happened."""
        return self._trace.hexdigest()

    def fork(self) -> Random:
        """A source of chance of its own for a part that must not disturb the others."""
        return Random(self.random.getrandbits(64))

    def chance(self, probability: float) -> bool:
        """Whether something of that probability happens now."""
        return probability > 0 and self.random.random() < probability
