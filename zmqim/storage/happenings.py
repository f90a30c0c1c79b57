"""What the log of a storage tells of its replicas: leads won and lost, replicas that come and go.

Once a second the storage is looked at, and what differs from the look before is told, one line for
each kind of change however many partitions it concerns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zmqim.storage.core import StorageCore


class Happening(NamedTuple):
    """A line for the log."""

    is_warning: bool
    words: str
    partitions: str
    """Numbers and ranges, such as ``3, 7-9``; the meta group has the number after the last."""


class Happenings:
    """What was seen at the last look."""

    def __init__(self) -> None:
        self._held: frozenset[int] = frozenset()
        self._led: frozenset[int] = frozenset()
        self._damaged: frozenset[int] = frozenset()

    def look(self, core: StorageCore) -> list[Happening]:
        """What is different now."""
        cores = core.replicas.cores
        held = frozenset(cores)
        led = frozenset(number for number, raft in cores.items() if raft.serving)
        damaged = frozenset(number for number, raft in cores.items() if raft.is_damaged)
        changes = (
            (False, "holds replicas", held - self._held),
            (False, "holds replicas no more", self._held - held),
            (True, "replicas are damaged and get their leader's rows", damaged - self._damaged),
            (False, "replicas were rebuilt", (self._damaged - damaged) & held),
            (False, "leads", led - self._led),
            (False, "leads no more", self._led - led),
        )
        self._held, self._led, self._damaged = held, led, damaged
        return [
            Happening(is_warning, words, ranges(numbers))
            for is_warning, words, numbers in changes
            if numbers
        ]


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as a person writes them: ``3, 7-9``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)
