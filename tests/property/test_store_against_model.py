"""Journal and rows on LevelDB behave as the memory stores do, whatever is done to them in order.

Damage is a rule: one bit of a copy is changed or its last log cut, and it is opened and read whole.
It may be refused, or it may be right; what it must never do is to serve something else.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from store_damage import cut, flip_byte

from zmqim.errors import DamagedData, UsageError
from zmqim.limits import KB, TEST_WRITE_BUFFER_BYTES
from zmqim.store.interface import (
    End,
    Extent,
    Journal,
    JournalBatch,
    Rows,
    RowSnapshot,
    RowStore,
)
from zmqim.store.journal import LevelJournal, open_journal
from zmqim.store.mark import DurableMark
from zmqim.store.memory import MemoryJournal, MemoryRowStore
from zmqim.store.rows import open_rows

PARTITIONS = 3
ALL_BYTES = 2**30
NO_DATA = {"LOCK", "LOG", "LOG.old"}
"""LevelDB's lock and its info logs."""

partitions = st.integers(0, PARTITIONS - 1)
small = st.binary(max_size=8)
SETTINGS = settings(
    max_examples=15,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def names_another_layout(folder: Path, copy: Path) -> bool:
    """Was it a digit in CLEAN that flipped? Then the copy is refused as another version's, and
    nothing is served either."""
    named = [path.relative_to(copy) for path in copy.rglob("CLEAN")]
    return any((copy / one).read_bytes() != (folder / one).read_bytes() for one in named)


def damaged_copy(folder: Path, random: Random) -> Path:
    """A copy of `folder` in which the newest log is cut, or one bit of one file differs."""
    copy = folder.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    newest = max(copy.rglob("*.log"), key=lambda path: (path.parent.name, path.name))
    if newest.stat().st_size and random.random() < 0.3:
        cut(newest, random.randrange(newest.stat().st_size))
        return copy
    files = sorted(path for path in copy.rglob("*") if path.is_file() and path.stat().st_size)
    path = random.choice([path for path in files if path.name not in NO_DATA])
    flip_byte(path, random.randrange(path.stat().st_size), 1 << random.randrange(8))
    return copy


def open_raft(folder: Path, *, create: bool = False) -> LevelJournal:
    return open_journal(
        folder / "raft",
        create=create,
        generation_bytes=4 * KB,
        write_buffer_bytes=TEST_WRITE_BUFFER_BYTES,
    )


def contents(journal: Journal) -> object:
    """All that can be read."""
    loaded = journal.load()
    extents = {partition: each.extent for partition, each in loaded.items() if each.extent}
    return (
        loaded,
        journal.peers(),
        {
            partition: journal.read(partition, extent.first, extent.last, ALL_BYTES)
            for partition, extent in extents.items()
        },
    )


def term_in(body: bytes) -> int:
    return int(body.split()[0])


def end_of(journal: Journal, partition: int, extent: Extent) -> End:
    if extent.first > extent.last:
        return extent.base_term, extent.last
    return term_in(journal.read(partition, extent.last, extent.last, 1)[0]), extent.last


def ends_in(journal: Journal) -> dict[int, End]:
    return {
        partition: end_of(journal, partition, each.extent)
        for partition, each in journal.load().items()
        if each.extent
    }


class JournalMachine(RuleBasedStateMachine):
    """Random turns of a storage. Each body begins with the term of its entry."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="journal-"))
        self.folder = self.top / "data"
        self.folder.mkdir()
        self.level = open_raft(self.folder, create=True)
        self.memory = MemoryJournal()
        self.mark = DurableMark(self.folder / "durable.mark", PARTITIONS, create=True)
        self.extents: dict[int, Extent] = {}
        self.ends: dict[int, End] = {}
        self.term_max = 0
        self.life = 0

    def teardown(self) -> None:
        self.level.close()
        self.mark.close()
        shutil.rmtree(self.top)

    def write(self, batch: JournalBatch) -> None:
        """Write it everywhere."""
        ends = {
            partition: (term_in(batch.entries[partition][-1]), extent.last)
            if extent.first <= extent.last and batch.entries.get(partition)
            else end_of(self.level, partition, extent)
            for partition, extent in batch.extents.items()
        }
        self.term_max = max(self.term_max, *[term for term, _ in ends.values()])
        batch.lowered |= {p: end for p, end in ends.items() if end < self.ends.get(p, (0, 0))}
        self.mark.announce(ends, batch.lowered)
        self.level.write(batch)
        self.memory.write(batch)
        self.mark.note(ends)
        self.extents.update(batch.extents)
        self.ends.update(ends)

    def term(self, partition: int) -> int:
        return self.ends.get(partition, (1, 0))[0]

    def entries(self, partition: int, term: int, count: int) -> dict[int, list[bytes]]:
        self.life += 1
        body = b"%d " % term + b"%d " % self.life * 30
        return {partition: [body] * count} if count else {}

    def grown(
        self, partition: int, term: int, cut: int, added: int, forgotten: int
    ) -> JournalBatch:
        """Cut the end, append, forget the beginning."""
        old = self.extents.get(partition, Extent(1, 0, 0, 0))
        keep = max(old.first - 1, old.last - cut)
        first = min(old.first + forgotten, keep + 1)
        extent = old.up_to(keep + added)
        if first > old.first:
            extent = Extent(first, keep + added, term, self.life)
        return JournalBatch(self.entries(partition, term, added), {partition: extent})

    @rule(
        partition=partitions,
        cut=st.sampled_from([0, 0, 0, 1, 5, 100]),
        added=st.integers(0, 12),
        forgotten=st.sampled_from([0, 0, 3, 100]),
    )
    def append(self, partition: int, cut: int, added: int, forgotten: int) -> None:
        # What is cut was of an earlier term than what comes in its place.
        term = self.term(partition) + bool(cut)
        self.write(self.grown(partition, term, cut, added, forgotten))

    @rule(
        partition=partitions,
        beyond=st.sampled_from([50, 1, 0, -1, -20, -1_000]),
        added=st.sampled_from([0, 0, 1, 12]),
        term=st.integers(1, 3),
        stopped=st.booleans(),
    )
    def reset_by_a_snapshot(
        self, partition: int, beyond: int, added: int, term: int, stopped: bool
    ) -> None:
        base = max(0, self.extents.get(partition, Extent(1, 0, 0, 0)).last + beyond)
        batch = JournalBatch(
            self.entries(partition, term, added),
            {partition: Extent(base + 1, base + added, term, 2**64 - 1)},
        )
        end = (term, base + added)
        if stopped and end < self.ends.get(partition, (0, 0)):
            self.mark.announce({partition: end}, {partition: end})
            self.open_again(Random(self.life))
        self.write(batch)

    @rule(partition=partitions, body=small, uuid=small, number=st.integers(0, 2**64 - 1))
    def remember(self, partition: int, body: bytes, uuid: bytes, number: int) -> None:
        batch = JournalBatch(
            hard_states={partition: body},
            replica_metas={partition: body * 2},
            peers={uuid: number},
        )
        self.level.write(batch)
        self.memory.write(batch)

    @rule(partition=partitions, data=st.data(), bytes_max=st.sampled_from([0, 100, ALL_BYTES]))
    def read(self, partition: int, data: st.DataObject, bytes_max: int) -> None:
        extent = self.extents.get(partition)
        if extent and extent.first <= extent.last:
            first = data.draw(st.integers(extent.first, extent.last))
            last = data.draw(st.integers(first, extent.last))
            found = self.level.read(partition, first, last, bytes_max)
            assert found == self.memory.read(partition, first, last, bytes_max)

    @rule(seed=st.integers())
    def restart(self, seed: int) -> None:
        self.open_again(Random(seed))

    def open_again(self, random: Random) -> None:
        self.level.close()
        self.level = open_raft(self.folder)
        self.memory.crash(random)
        assert contents(self.level) == contents(self.memory)
        extents = {number: each.extent for number, each in self.level.load().items() if each.extent}
        assert extents == self.extents
        self.mark.close()
        self.mark = DurableMark(self.folder / "durable.mark", PARTITIONS)
        self.mark.check(ends_in(self.level), {})

    @precondition(lambda self: len(self.extents) == PARTITIONS)
    @rule(seed=st.integers())
    def damage(self, seed: int) -> None:
        # All partitions in the last batch, and in a new term, so that the mark knows of whatever a
        # lost tail takes.
        batch = JournalBatch()
        term = self.term_max + 1
        for partition in range(PARTITIONS):
            grown = self.grown(partition, term, 0, 1, 0)
            batch.entries |= grown.entries
            batch.extents |= grown.extents
        self.write(batch)
        self.level.close()
        copy = damaged_copy(self.folder, Random(seed))
        self.level = open_raft(self.folder)
        try:
            mark = DurableMark(copy / "durable.mark", PARTITIONS)
        except DamagedData:
            return
        mark.close()
        try:
            journal = open_raft(copy)
        except DamagedData:
            return
        except UsageError:
            if not names_another_layout(self.folder, copy):
                raise
            return
        try:
            mark.check(ends_in(journal), {})
            assert contents(journal) == contents(self.memory)
        except DamagedData:
            return
        finally:
            journal.close()


keys = st.binary(max_size=3)
rows_written = st.lists(st.tuples(keys, st.none() | st.binary(max_size=2_000)), max_size=8)


class RowMachine(RuleBasedStateMachine):
    """Random batches of rows; small write buffers, so that memtables change all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="rows-"))
        self.folder = self.top / "data"
        self.level = self.open_state(self.folder, create=True)
        self.memory = MemoryRowStore()
        self.history: list[list[tuple[bytes, bytes]]] = [[]]
        self.snapshots: list[tuple[RowSnapshot, RowSnapshot, list[tuple[bytes, bytes]]]] = []

    def open_state(self, folder: Path, *, create: bool = False) -> RowStore:
        return open_rows(
            folder / "state", create=create, write_buffer_bytes=TEST_WRITE_BUFFER_BYTES
        )

    def teardown(self) -> None:
        self.level.close()
        shutil.rmtree(self.top)

    @rule(rows=rows_written, filler=st.booleans())
    def write(self, rows: Rows, filler: bool) -> None:
        if filler:
            rows = [*rows, (b"\xf0filler", bytes(40 * KB))]
        self.level.write(rows)
        self.memory.write(rows)
        self.history.append(self.memory.scan(b"", b"\xff" * 4))

    @rule(key=keys)
    def get(self, key: bytes) -> None:
        assert self.level.get(key) == self.memory.get(key)

    @rule(start=keys, stop=keys, reverse=st.booleans(), limit=st.none() | st.integers(0, 5))
    def scan(self, start: bytes, stop: bytes, reverse: bool, limit: int | None) -> None:
        found = self.level.scan(start, stop, reverse=reverse, limit=limit)
        assert found == self.memory.scan(start, stop, reverse=reverse, limit=limit)

    @precondition(lambda self: len(self.snapshots) < 3)
    @rule()
    def take_a_snapshot(self) -> None:
        self.snapshots.append((self.level.snapshot(), self.memory.snapshot(), self.history[-1]))

    @precondition(lambda self: self.snapshots)
    @rule(
        start=keys,
        stop=keys,
        limit=st.none() | st.integers(0, 5),
        bytes_max=st.sampled_from([None, 0, 1, 500, ALL_BYTES]),
        close=st.booleans(),
    )
    def read_a_snapshot(
        self, start: bytes, stop: bytes, limit: int | None, bytes_max: int | None, close: bool
    ) -> None:
        level, memory, rows = self.snapshots[0]
        found = level.scan(start, stop, limit=limit, bytes_max=bytes_max)
        assert found == memory.scan(start, stop, limit=limit, bytes_max=bytes_max)
        assert level.scan(b"", b"\xff" * 4) == memory.scan(b"", b"\xff" * 4) == rows
        if close:
            level.close()
            memory.close()
            del self.snapshots[0]

    @rule(seed=st.integers())
    def restart(self, seed: int) -> None:
        self.level.close()
        self.snapshots.clear()
        self.level = self.open_state(self.folder)
        self.memory.crash(Random(seed))
        everything = self.level.scan(b"", b"\xff" * 4)
        assert everything == self.memory.scan(b"", b"\xff" * 4) == self.history[-1]

    @rule(seed=st.integers())
    def damage(self, seed: int) -> None:
        # A lost tail of the rows is a state of earlier: the journal brings the rest again.
        self.level.close()
        self.snapshots.clear()
        copy = damaged_copy(self.folder, Random(seed))
        self.level = self.open_state(self.folder)
        try:
            rows = self.open_state(copy)
        except DamagedData:
            return
        except UsageError:
            if not names_another_layout(self.folder, copy):
                raise
            return
        try:
            assert rows.scan(b"", b"\xff" * 4) in self.history
        except DamagedData:
            return
        finally:
            rows.close()


JournalMachine.TestCase.settings = SETTINGS
RowMachine.TestCase.settings = SETTINGS


class TestJournalOnLevelDbBehavesAsTheOneInMemory(JournalMachine.TestCase):  # type: ignore[misc,name-defined]
    """Run by pytest."""


class TestRowsOnLevelDbBehaveAsThoseInMemory(RowMachine.TestCase):  # type: ignore[misc,name-defined]
    """Run by pytest."""
