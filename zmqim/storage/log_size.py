"""How many bytes of log each partition keeps, so that a process keeps JOURNAL_BYTES_MAX at most.

Sizes are kept by stretches of entries, not by entry, and only for what was appended in this life.
What an earlier one left, about JOURNAL_BYTES_MAX at most, comes on top until its partition is cut
first.
"""

from __future__ import annotations

from collections import deque

STRETCH_BYTES = 256 * 1024
"""Bytes of a stretch at which the next one begins. (Tests set it.)"""


class LogSize:
    """The bytes of one partition's entries."""

    __slots__ = ("_stretches", "bytes_kept")

    def __init__(self) -> None:
        self.bytes_kept = 0
        self._stretches: deque[tuple[int, int]] = deque()
        """(last index, bytes) of each stretch, oldest first."""

    def grow(self, last: int, entries: list[bytes]) -> int:
        """These entries, up to `last`, were appended; how many bytes they have."""
        size = 0
        for body in entries:
            size += len(body)
        self.bytes_kept += size
        stretches = self._stretches
        if stretches and stretches[-1][1] < STRETCH_BYTES:
            stretches.append((last, size + stretches.pop()[1]))
        else:
            stretches.append((last, size))
        return size

    def cut(self, base: int) -> None:
        """Entries up to `base` are gone; a stretch counts until its last entry is."""
        stretches = self._stretches
        while stretches and stretches[0][0] <= base:
            self.bytes_kept -= stretches.popleft()[1]

    def older_half(self) -> int:
        """The last index of the stretches that are the older half; 0 if there is one only."""
        passed = 0
        for last, size in list(self._stretches)[:-1]:
            passed += size
            if 2 * passed >= self.bytes_kept:
                return last
        return self._stretches[-2][0] if len(self._stretches) > 1 else 0
