"""The journal on LevelDB against a dict, whatever is appended, conflicts, is reset and reopened."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zmqim.limits import KB, MB, TEST_WRITE_BUFFER_BYTES
from zmqim.store.interface import Extent, JournalBatch
from zmqim.store.journal import LevelJournal, open_journal

GENERATION_BYTES = 4 * KB
MEMORY = Path("/dev/shm")
"""Where syncs cost nothing; what they are worth is tested elsewhere."""
PARTITIONS = st.integers(0, 2)
COUNTS = st.integers(1, 30)
SIZES = st.sampled_from((0, 1, 40, 900))
PLACES = st.floats(0, 1)


def between(low: int, high: int, place: float) -> int:
    return low + int((high - low) * place)


class JournalMachine(RuleBasedStateMachine):
    """Each body is unique, so that an entry that was replaced is told from the one in its place."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr("zmqim.store.keys.RUN_BYTES_MAX", 300)
        self._patch.setattr("zmqim.store.journal.CUT_BYTES_MAX", 400)
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self._written = 0
        self._extents: dict[int, Extent] = {}
        self._alive: dict[int, dict[int, bytes]] = {0: {}, 1: {}, 2: {}}
        self._journal = self._open(create=True)

    def _open(self, *, create: bool = False) -> LevelJournal:
        return open_journal(
            Path(self._folder.name) / "raft",
            create=create,
            generation_bytes=GENERATION_BYTES,
            write_buffer_bytes=TEST_WRITE_BUFFER_BYTES,
        )

    def teardown(self) -> None:
        self._journal.close()
        self._folder.cleanup()
        self._patch.undo()

    def _new(self, first: int, count: int, size: int) -> dict[int, bytes]:
        self._written += 1
        return {
            index: b"%d %d " % (self._written, index) + bytes(size)
            for index in range(first, first + count)
        }

    def _write(
        self,
        extents: dict[int, Extent],
        new: dict[int, dict[int, bytes]],
        dead: Sequence[tuple[int, int, bytes]] = (),
    ) -> None:
        entries = list(dead)
        entries += [(p, index, body) for p, bodies in new.items() for index, body in bodies.items()]
        self._journal.write(JournalBatch(entries, extents))
        for partition, extent in extents.items():
            alive = self._alive[partition] | new.get(partition, {})
            living = range(extent.first, extent.last + 1)
            self._alive[partition] = {i: body for i, body in alive.items() if i in living}
            self._extents[partition] = extent

    def _extent(self, partition: int) -> Extent:
        return self._extents.get(partition, Extent())

    @rule(partitions=st.sets(PARTITIONS, min_size=1), count=COUNTS, size=SIZES)
    def append(self, partitions: set[int], count: int, size: int) -> None:
        extents, new = {}, {}
        for partition in partitions:
            extent = self._extent(partition)
            new[partition] = self._new(extent.last + 1, count, size)
            extents[partition] = extent.up_to(extent.last + count)
        self._write(extents, new)

    @rule(partition=PARTITIONS, place=PLACES, count=st.integers(0, 12), size=SIZES)
    def conflict(self, partition: int, place: float, count: int, size: int) -> None:
        """A leader has other entries, which come now or in a later batch."""
        extent = self._extent(partition)
        last = between(extent.first - 1, extent.last, place)
        shorter = extent.up_to(last + count)
        self._write({partition: shorter}, {partition: self._new(last + 1, count, size)})

    @rule(partition=PARTITIONS, place=PLACES)
    def forget_the_beginning(self, partition: int, place: float) -> None:
        extent = self._extent(partition)
        first = between(extent.first, extent.last + 1, place)
        later = Extent(first, extent.last, extent.base_term, extent.base_chain)
        self._write({partition: later}, {})

    @rule(partition=PARTITIONS, base=st.integers(0, 200), count=st.integers(0, 12), size=SIZES)
    def reset(self, partition: int, base: int, count: int, size: int) -> None:
        """A snapshot takes the log's place; what the turn appended before it is dead."""
        extent = Extent(base + 1, base + count, 9, 77)
        appended = self._new(self._extent(partition).last + 1, 3, size)
        living = range(extent.first, extent.last + 1)
        dead = [(partition, i, body) for i, body in appended.items() if i not in living]
        self._write({partition: extent}, {partition: self._new(base + 1, count, size)}, dead)

    @rule()
    def reopen(self) -> None:
        self._journal.close()
        self._journal = self._open()
        found = {number: one.extent for number, one in self._journal.load().items()}
        assert found == self._extents

    @rule(partition=PARTITIONS, place=PLACES, length=st.integers(0, 20), room=st.integers(0, 2_000))
    def read(self, partition: int, place: float, length: int, room: int) -> None:
        extent = self._extent(partition)
        if extent.first > extent.last:
            return
        first = between(extent.first, extent.last, place)
        last = min(first + length, extent.last)
        bodies = [self._alive[partition][index] for index in range(first, last + 1)]
        wanted = []
        for body in bodies:
            wanted.append(body)
            room_left = room - sum(map(len, wanted))
            if room_left <= 0:
                break
        assert self._journal.read(partition, first, last, room) == wanted

    @invariant()
    def every_log_is_as_it_was_written(self) -> None:
        for partition, extent in self._extents.items():
            if extent.first <= extent.last:
                expected = [self._alive[partition][i] for i in range(extent.first, extent.last + 1)]
                assert self._journal.read(partition, extent.first, extent.last, MB) == expected


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(max_examples=60, stateful_step_count=40)
