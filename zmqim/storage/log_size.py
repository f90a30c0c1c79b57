"""How many bytes of log each partition keeps, so that a process keeps JOURNAL_BYTES_MAX at most.

Sizes are kept by runs of entries, not by entry, and only for what was appended in this life. What
an earlier one left, about JOURNAL_BYTES_MAX at most, comes on top until its partition is cut first.
"""

from __future__ import annotations

from collections import deque

RUN_BYTES = 256 * 1024
"""Bytes of a run at which the next one begins."""


class LogSize:
    """The bytes of one partition's entries."""

    __slots__ = ("_runs", "bytes_kept")

    def __init__(self) -> None:
        self.bytes_kept = 0
        self._runs: deque[tuple[int, int]] = deque()
        """(last index, bytes) of each run, oldest first."""

    def grow(self, last: int, size: int) -> None:
        """Entries up to `last` were appended, `size` bytes together."""
        self.bytes_kept += size
        runs = self._runs
        if runs and runs[-1][1] < RUN_BYTES:
            size += runs.pop()[1]
        runs.append((last, size))

    def cut(self, base: int) -> None:
        """Entries up to `base` are gone; a run counts until its last entry is."""
        runs = self._runs
        while runs and runs[0][0] <= base:
            self.bytes_kept -= runs.popleft()[1]

    def older_half(self) -> int:
        """The last index of the runs that are the older half; 0 if there is one run only."""
        passed = 0
        for last, size in list(self._runs)[:-1]:
            passed += size
            if 2 * passed >= self.bytes_kept:
                return last
        return self._runs[-2][0] if len(self._runs) > 1 else 0
