"""The disk of a simulated storage: what outlives a crash, how long a sync takes, and a witness.

Journal and rows are the memory stores of `zmqim.store.memory`, which lose per log file what was
not synced. The witness says how far writes had returned, as ``durable.mark`` does in production: a
journal that is shorter after a crash is a violation by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from zmqim.chat.keys import Keys
from zmqim.errors import DamagedData
from zmqim.sim.world import World
from zmqim.store.interface import End, JournalBatch, Rows
from zmqim.store.memory import MemoryJournal, MemoryMark, MemoryRowStore

WRITE_BUFFER_BYTES = 4_096
"""Small, so that memtables change often and a crash finds two log files."""


class Disk:
    """Journal, rows and witness of one storage; it outlives the processes that use it."""

    def __init__(self, world: World, sync_us: tuple[int, int]) -> None:
        self.sync_us = sync_us
        self.journal = MemoryJournal(write_buffer_bytes=WRITE_BUFFER_BYTES)
        self.rows = MemoryRowStore(write_buffer_bytes=WRITE_BUFFER_BYTES)
        self.is_full = False
        self._world = world
        self._random: Random = world.fork()
        self._mark = MemoryMark()

    def sync_delay(self) -> int:
        """How long the next synced write takes; now and then a disk is slow."""
        delay = self._random.randint(*self.sync_us)
        return delay * 50 if self._random.random() < 0.005 else delay

    def write_journal(self, batch: JournalBatch) -> None:
        """A synced write returned."""
        self.journal.write(batch)
        self._mark.write(batch)

    def write_rows(self, rows: Rows) -> None:
        """A synced write returned."""
        self.rows.write(rows)

    def lose_rows(self, partitions: Iterable[int]) -> None:
        """The rows of these partitions are gone, though their logs are there; no process runs."""
        for partition in partitions:
            keys = Keys(partition, 0).prefix, Keys(partition + 1, 0).prefix
            self.rows.write([(key, None) for key, _ in self.rows.scan(*keys)])

    def crash(self) -> None:
        """The process died, or the power failed: only what was synced is certain."""
        self.journal.crash(self._random)
        self.rows.crash(self._random)
        self._world.note("crash", self._random.random())

    def check(self, ends: dict[int, End]) -> None:
        """Raise `DamagedData` if the journal ends below its witness."""
        for partition, end in self._mark.ends.items():
            if ends.get(partition, (0, 0)) < end:
                raise DamagedData(
                    f"partition {partition} ends at {ends.get(partition)}, was synced to {end}",
                    path="raft",
                )
