"""What the log of a storage tells of its replicas: leads won and lost, replicas that come and go.

Once a second the storage is looked at, and what differs from the look before is told, one line for
each kind of change however many partitions it concerns.
"""

from __future__ import annotations

from typing import NamedTuple

from zmqim.ring.partitions import ranges
from zmqim.storage.core import StorageCore


class Happening(NamedTuple):
    """A line for the log."""

    is_warning: bool
    words: str
    partitions: str
    """Such as ``3, 7-9, meta``."""


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
        meta = core.registry.number
        return [
            Happening(is_warning, words, ranges("meta" if n == meta else n for n in numbers))
            for is_warning, words, numbers in changes
            if numbers
        ]
