"""How sure is it that a process is gone? The phi-accrual detector and our own health.

`phi` = -log10 of the probability that a heartbeat comes later than this, under a normal model of
the arrivals seen so far (Hayashibara 2004; the variant of Akka with an acceptable pause).
`LocalHealth` is Lifeguard's multiplier (Dadgar 2018): who is slow himself accuses others later.
"""

from __future__ import annotations

from collections import deque
from math import erfc, inf, log10, sqrt
from typing import Final

from zmqim.limits import (
    HEARTBEAT_MS,
    LOCAL_HEALTH_MAX,
    PHI_MIN_STDDEV_FRACTION,
    PHI_SUSPECT,
    PHI_WINDOW_COUNT,
)

STDDEV_MS_MIN: Final = PHI_MIN_STDDEV_FRACTION * HEARTBEAT_MS
SQRT_2: Final = sqrt(2.0)


def phi_of(elapsed_ms: float, mean_ms: float, stddev_ms: float) -> float:
    """-log10 of the chance that a normal arrival takes longer than `elapsed_ms`."""
    later = 0.5 * erfc((elapsed_ms - mean_ms) / (stddev_ms * SQRT_2))
    return -log10(later) if later > 0.0 else inf


class Arrivals:
    """The heartbeats of one life of one process: when the last came, and how regular they are."""

    __slots__ = ("_intervals", "_squares", "_sum", "last")

    def __init__(self, now: int) -> None:
        self.last = now
        """When it was last heard (or first heard of): monotonic milliseconds."""
        self._intervals: deque[int] = deque([HEARTBEAT_MS])
        self._sum = HEARTBEAT_MS
        self._squares = HEARTBEAT_MS * HEARTBEAT_MS

    def heard(self, now: int, *, regular: bool = True) -> None:
        """A heartbeat came. After an outage (`regular` false) its interval teaches nothing."""
        interval = now - self.last
        self.last = now
        if not regular:
            return
        self._intervals.append(interval)
        self._sum += interval
        self._squares += interval * interval
        if len(self._intervals) > PHI_WINDOW_COUNT:
            oldest = self._intervals.popleft()
            self._sum -= oldest
            self._squares -= oldest * oldest

    def phi(self, now: int, pause_ms: int) -> float:
        """The suspicion at `now`, if a pause of `pause_ms` on top of the mean is acceptable."""
        elapsed = now - self.last
        count = len(self._intervals)
        mean = self._sum / count
        expected = mean + pause_ms
        if elapsed <= expected:
            return 0.0
        variance = max(0.0, self._squares / count - mean * mean)
        return phi_of(elapsed, expected, max(sqrt(variance), STDDEV_MS_MIN))

    def is_silent(self, now: int, pause_ms: int) -> bool:
        """Is it silent for so long that it must be suspected?"""
        return self.phi(now, pause_ms) >= PHI_SUSPECT


class LocalHealth:
    """1 while we are well; up to LOCAL_HEALTH_MAX while it is rather we who are slow or cut off."""

    __slots__ = ("multiplier",)

    def __init__(self) -> None:
        self.multiplier = 1

    def worse(self) -> None:
        """Something points at us: a late loop, or somebody suspects us."""
        self.multiplier = min(LOCAL_HEALTH_MAX, self.multiplier + 1)

    def better(self) -> None:
        """A heartbeat interval passed without anything that points at us."""
        self.multiplier = max(1, self.multiplier - 1)
