"""Latencies as counts per 10 µs, so that several workers' figures can be added up exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

BIN_SECONDS = 1e-5


class Histogram:
    """Counts of durations by bin of `BIN_SECONDS`."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts: Counter[int] = Counter(counts or {})

    def add(self, durations: Iterable[float]) -> None:
        """Count durations in seconds."""
        self.counts.update(int(seconds * 100_000) for seconds in durations)

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        self.counts.update(other.counts)

    @property
    def total(self) -> int:
        """Number of durations."""
        return self.counts.total()

    def percentile_ms(self, percent: float) -> float:
        """The duration in ms that `percent` of all do not exceed; 0 when there are none."""
        left = self.total * percent / 100
        for bin_number in sorted(self.counts):
            left -= self.counts[bin_number]
            if left <= 0:
                return round((bin_number + 1) * BIN_SECONDS * 1000, 2)
        return 0.0
