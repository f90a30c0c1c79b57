"""The journal on LevelDB against a dict, whatever is appended, conflicts, is reset and reopened.

One machine opens the journal anew now and then, the other after every step: what a batch leaves to
be derived at the next opening shows at once. A torn tail leaves what some batch before left.
"""

from __future__ import annotations

import shutil
import tempfile
from enum import Enum, auto
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store_damage import cut, newest_log

from zmqim.errors import DamagedData
from zmqim.limits import KB, MB, TEST_WRITE_BUFFER_BYTES
from zmqim.store.interface import Extent, JournalBatch
from zmqim.store.journal import LevelJournal, open_journal

GENERATION_BYTES = 4 * KB
MEMORY = Path("/dev/shm")
"""Where syncs cost nothing; what they are worth is tested elsewhere."""
PARTITIONS = st.integers(0, 2)
PLACES = st.floats(0, 1)
Entries = dict[int, bytes]
Logs = dict[int, tuple[Extent, Entries]]
"""Extent and living entries, by partition."""


def between(low: int, high: int, place: float) -> int:
    return low + int((high - low) * place)


class Kind(Enum):
    """Of a change; entries may come in the same batch with each."""

    APPEND = auto()
    CONFLICT = auto()
    """A leader has other entries, now or in a later batch."""
    FORGET = auto()
    """The beginning."""
    REBASE = auto()
    """A snapshot; what the log holds behind it stays."""
    RESET = auto()
    """A snapshot takes the log's place."""
    RENEW = auto()
    """The replica was removed, another one begins."""


class Change:
    """What a turn does to a log. Each body is unique, so that an entry that was replaced is told
    from the one in its place."""

    def __init__(self, kind: Kind, place: float, count: int, size: int) -> None:
        self.kind, self.place, self.count, self.size = kind, place, count, size

    def __repr__(self) -> str:
        return f"Change({self.kind.name}, {self.place}, {self.count}, {self.size})"

    def of(self, old: Extent, number: int) -> tuple[Extent, Entries]:
        """The new extent and the new entries."""
        first, last, term, chain = old.fields
        match self.kind:
            case Kind.CONFLICT:
                last = between(first - 1, last, self.place)
            case Kind.FORGET:
                first = between(first, last + 1, self.place)
            case Kind.REBASE:
                first = between(first, last + 1, self.place)
                term, chain = number, 2**64 - number
            case Kind.RESET:
                base = between(0, 200, self.place)
                first, last, term, chain = base + 1, base, 9, 77
            case Kind.RENEW:
                first, last, term, chain = 1, 0, 0, 0
        new = self._bodies(last + 1, self.count, number)
        return Extent(first, last + self.count, term, chain), new

    def _bodies(self, first: int, count: int, number: int) -> Entries:
        return {
            index: b"%d %d " % (number, index) + bytes(self.size)
            for index in range(first, first + count)
        }


CHANGES = st.builds(
    Change,
    kind=st.sampled_from((Kind.APPEND, Kind.APPEND, *Kind)),
    place=PLACES,
    count=st.integers(0, 12) | st.integers(0, 30),
    size=st.sampled_from((0, 1, 40, 900)),
)


class JournalMachine(RuleBasedStateMachine):
    """Turns that change one log or several at once."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr("zmqim.store.keys.RUN_BYTES_MAX", 300)
        self._patch.setattr("zmqim.store.journal.CUT_BYTES_MAX", 400)
        self._top = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self._folder = Path(self._top.name) / "raft"
        self._written = 0
        self._logs: Logs = {}
        self._history: list[Logs] = [{}]
        self._journal = self._open(self._folder, create=True)

    def _open(self, folder: Path, *, create: bool = False) -> LevelJournal:
        return open_journal(
            folder,
            create=create,
            generation_bytes=GENERATION_BYTES,
            write_buffer_bytes=TEST_WRITE_BUFFER_BYTES,
        )

    def teardown(self) -> None:
        self._journal.close()
        self._top.cleanup()
        self._patch.undo()

    def _reopen(self) -> None:
        self._journal.close()
        self._journal = self._open(self._folder)
        assert logs_in(self._journal) == self._logs

    @rule(changes=st.dictionaries(PARTITIONS, CHANGES, min_size=1))
    def turn(self, changes: dict[int, Change]) -> None:
        self._written += 1
        batch = JournalBatch()
        for partition, change in changes.items():
            old, living = self._logs.get(partition, (Extent(), {}))
            extent, new = change.of(old, self._written)
            if new:
                batch.entries[partition] = list(new.values())
            batch.extents[partition] = extent
            alive = range(extent.first, extent.last + 1)
            merged = living | new
            self._logs[partition] = extent, {i: merged[i] for i in alive}
        self._journal.write(batch)
        self._history.append(dict(self._logs))

    @rule()
    def reopen(self) -> None:
        self._reopen()

    @rule(partition=PARTITIONS, place=PLACES, length=st.integers(0, 20), room=st.integers(0, 2_000))
    def read(self, partition: int, place: float, length: int, room: int) -> None:
        extent, living = self._logs.get(partition, (Extent(), {}))
        if extent.first > extent.last:
            return
        first = between(extent.first, extent.last, place)
        last = min(first + length, extent.last)
        wanted = []
        for index in range(first, last + 1):
            wanted.append(living[index])
            if room <= sum(map(len, wanted)):
                break
        assert self._journal.read(partition, first, last, room) == wanted

    @rule(place=PLACES)
    def tear_the_tail_of_a_copy(self, place: float) -> None:
        copy = self._folder.with_name("copy")
        self._journal.close()  # Else LevelDB removes files while they are copied.
        shutil.copytree(self._folder, copy)
        self._journal = self._open(self._folder)
        log = newest_log(max(path for path in copy.glob("g*") if not path.suffix))
        cut(log, between(0, log.stat().st_size, place))
        try:
            journal = self._open(copy)
        except DamagedData:
            pass  # The entries of then may lie in a generation that was removed since.
        else:
            found = logs_in(journal)
            journal.close()
            assert found in self._history
        shutil.rmtree(copy)

    @invariant()
    def every_log_is_as_it_was_written(self) -> None:
        assert logs_in(self._journal) == self._logs


class ReopenedMachine(JournalMachine):
    """No batch is written by a journal that remembers the one before."""

    @invariant()
    def it_is_the_same_when_it_is_opened_anew(self) -> None:
        self._reopen()


def logs_in(journal: LevelJournal) -> Logs:
    logs: Logs = {}
    for partition, loaded in journal.load().items():
        assert loaded.extent is not None
        first, last, _, _ = loaded.extent.fields
        bodies = journal.read(partition, first, last, MB) if first <= last else []
        logs[partition] = loaded.extent, dict(enumerate(bodies, first))
    return logs


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(max_examples=60, stateful_step_count=40)
TestReopenedJournal = ReopenedMachine.TestCase
TestReopenedJournal.settings = settings(max_examples=20, stateful_step_count=30)
