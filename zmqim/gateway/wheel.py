"""The one timer wheel of a gateway: what is due later, in buckets of TICK_MS.

There are tens of thousands of deadlines and nearly all of them are moot when they come, so nothing
is ever taken out: whoever is called looks whether it still matters. Callbacks come up to TICK_MS
late, never early, in the order in which they were added.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

TICK_MS: Final = 20

Callback = Callable[[int, Any], None]
"""Called with now and the argument given to `Wheel.add`; each module pairs the two itself."""


class Wheel:
    """Callbacks by the tick at which they are due."""

    __slots__ = ("_buckets", "_ticks")

    def __init__(self) -> None:
        self._buckets: dict[int, list[tuple[Callback, Any]]] = {}
        self._ticks: list[int] = []

    def add(self, due: int, callback: Callback, argument: Any) -> None:
        """Call `callback(now, argument)` once `now` has reached `due` (milliseconds)."""
        tick = -(-due // TICK_MS)
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [(callback, argument)]
            heappush(self._ticks, tick)
        else:
            bucket.append((callback, argument))

    def run(self, now: int) -> None:
        """Call what is due; what the calls add for now or earlier waits for the next run."""
        last = now // TICK_MS
        due = []
        while self._ticks and self._ticks[0] <= last:
            due.append(self._buckets.pop(heappop(self._ticks)))
        for bucket in due:
            for callback, argument in bucket:
                callback(now, argument)

    def next_due(self) -> int | None:
        """When `run` has something to do; None: nothing waits."""
        return self._ticks[0] * TICK_MS if self._ticks else None
