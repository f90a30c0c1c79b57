"""Journal and rows in memory, behind the same interfaces, losing what LevelDB loses in a crash.

The simulator's storages keep their data in these. LevelDB appends each write to a log file and,
when the memtable is full, begins a new one; a sync makes durable only the log file that is current
at that moment, and the older one is durable only once its memtable is in a table. So a crash takes
from each log file a suffix of what was not synced, from the older one even under later rows of the
newer one. With `synced` true, as it must be, every write is synced and a crash takes nothing; false
is the fault that the simulator plants.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from zmqim.errors import DamagedData
from zmqim.limits import TEST_WRITE_BUFFER_BYTES
from zmqim.store.interface import End, Extent, JournalBatch, LoadedPartition, Rows
from zmqim.store.keys import ENTRY_TAG, JournalState, entry_key, first_new, rows_of

END_OF_KEYS: Final = b"\xff" * 32


class MemoryMark:
    """The `DurableMark` of a memory journal: how far writes had returned, under the same rules."""

    def __init__(self) -> None:
        self.ends: dict[int, End] = {}

    def write(self, batch: JournalBatch) -> None:
        """A synced write returned."""
        assert batch.ends.keys() == batch.extents.keys(), "the witness is to hear of every end"
        for partition, end in batch.lowered.items():
            self.ends[partition] = min(end, self.ends.get(partition, end))
        for partition, end in batch.ends.items():
            mark = self.ends.get(partition, (0, 0))
            assert end >= mark, f"partition {partition} would end at {end}, below its mark {mark}"
            self.ends[partition] = end


@dataclass(slots=True)
class _LogFile:
    """The batches of one memtable; the first `synced` of them are durable."""

    batches: list[Rows] = field(default_factory=list)
    bytes_used: int = 0
    synced: int = 0


class MemoryRowStore:
    """A `RowStore` in memory. It stands for the disk: it survives `close` and `crash`."""

    def __init__(
        self, *, synced: bool = True, write_buffer_bytes: int = TEST_WRITE_BUFFER_BYTES
    ) -> None:
        """With `synced` false, writes are not durable when they return."""
        self._synced = synced
        self._write_buffer_bytes = write_buffer_bytes
        self._tables: dict[bytes, bytes] = {}
        self._older = _LogFile()
        self._current = _LogFile()
        self._rows: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._is_open = True

    def get(self, key: bytes) -> bytes | None:
        """Body of the row, or None if there is none."""
        assert self._is_open, "the store was closed"
        return self._rows.get(key)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """(key, body) of the rows with `start` <= key < `stop`, at most `limit` of them."""
        assert self._is_open, "the store was closed"
        keys = self._keys[bisect_left(self._keys, start) : bisect_left(self._keys, stop)]
        if reverse:
            keys.reverse()
        return [(key, self._rows[key]) for key in keys[:limit]]

    def snapshot(self) -> MemorySnapshot:
        """A view of the rows of now."""
        assert self._is_open, "the store was closed"
        return MemorySnapshot(list(self._keys), dict(self._rows))

    def write(self, rows: Rows) -> None:
        """Write all rows; durable when it returns, if the store is a synced one."""
        assert self._is_open, "the store was closed"
        if self._current.bytes_used >= self._write_buffer_bytes:
            self._change_memtable()
        log = self._current
        log.batches.append(list(rows))
        log.bytes_used += sum(len(key) + len(body or b"") for key, body in rows)
        if self._synced:
            log.synced = len(log.batches)
        self._apply(rows)

    def close(self) -> None:
        """End the use by this life of the process."""
        self._is_open = False

    def reopen(self) -> None:
        """Open it again with everything that was written."""
        self._is_open = True

    def crash(self, random: Random) -> None:
        """Lose what a power cut may lose, and open again with the rest."""
        if random.random() < 0.5:
            _into(self._tables, self._older.batches)
            self._older = _LogFile()
        for log in (self._older, self._current):
            kept = random.randint(log.synced, len(log.batches))
            _into(self._tables, log.batches[:kept])
        self._older, self._current = _LogFile(), _LogFile()
        self._rows = dict(self._tables)
        self._keys = sorted(self._rows)
        self._is_open = True

    def _change_memtable(self) -> None:
        """LevelDB waits for the memtable before the last to be in a table, then begins a log."""
        _into(self._tables, self._older.batches)
        self._older, self._current = self._current, _LogFile()

    def _apply(self, rows: Rows) -> None:
        for key, body in rows:
            if body is not None:
                if key not in self._rows:
                    insort(self._keys, key)
                self._rows[key] = body
            elif key in self._rows:
                del self._rows[key]
                del self._keys[bisect_left(self._keys, key)]


class MemorySnapshot:
    """A `RowSnapshot`: a copy."""

    def __init__(self, keys: list[bytes], rows: dict[bytes, bytes]) -> None:
        """Called by `MemoryRowStore.snapshot`; the keys are sorted."""
        self._keys = keys
        self._rows = rows
        self._is_open = True

    def scan(
        self,
        start: bytes,
        stop: bytes,
        *,
        limit: int | None = None,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows of then with `start` <= key < `stop`: at most `limit`, or until `bytes_max`."""
        assert self._is_open, "the snapshot was closed"
        found: list[tuple[bytes, bytes]] = []
        size = 0
        keys = self._keys[bisect_left(self._keys, start) : bisect_left(self._keys, stop)]
        for key in keys[:limit]:
            found.append((key, self._rows[key]))
            size += len(self._rows[key])
            if bytes_max is not None and size >= bytes_max:
                break
        return found

    def close(self) -> None:
        """Give it back; a second call does nothing."""
        self._is_open = False


class MemoryJournal:
    """A `Journal` in memory. It stands for the disk: it survives `close` and `crash`."""

    def __init__(
        self, *, synced: bool = True, write_buffer_bytes: int = TEST_WRITE_BUFFER_BYTES
    ) -> None:
        """With `synced` false, writes are not durable when they return."""
        self._store = MemoryRowStore(synced=synced, write_buffer_bytes=write_buffer_bytes)
        self._state = JournalState()
        self._bytes_used = 0

    def load(self) -> dict[int, LoadedPartition]:
        """Every partition that was ever written, as of the last write."""
        return self._state.loaded()

    def peers(self) -> dict[bytes, int]:
        """Highest incarnation seen, by node uuid."""
        return dict(self._state.peers)

    def write(self, batch: JournalBatch) -> None:
        """Write all of `batch`; durable when it returns, if the journal is a synced one."""
        rows: Rows = []
        for partition, extent in batch.extents.items():
            before = self._state.extents.get(partition, extent)
            rows += [(entry_key(partition, index), None) for index in _dead(before, extent)]
        for partition, bodies in batch.entries.items():
            for index, entry in enumerate(bodies, first_new(batch, partition)):
                rows.append((entry_key(partition, index), entry))
        rows += rows_of(batch, batch.extents)
        self._store.write(rows)
        self._bytes_used += sum(len(key) + len(body or b"") for key, body in rows)
        self._state.take(batch)

    def read(self, partition: int, first: int, last: int, bytes_max: int) -> list[bytes]:
        """Bodies of the entries `first` to `last`, or up to the one that reaches `bytes_max`."""
        extent = self._state.extents[partition]
        assert extent.first <= first <= last + 1, f"{first} to {last} of {extent}"
        assert last <= extent.last, f"{first} to {last} of {extent}"
        bodies: list[bytes] = []
        room = bytes_max
        for index in range(first, last + 1):
            if room <= 0 and bodies:
                break
            body = self._store.get(entry_key(partition, index))
            if body is None:
                raise DamagedData(f"Entry {index} of partition {partition} is missing.", path="")
            bodies.append(body)
            room -= len(body)
        return bodies

    def bytes_used(self) -> int:
        """Bytes written so far: what is dead is not given back."""
        return self._bytes_used

    def close(self) -> None:
        """End the use by this life of the process."""
        self._store.close()

    def reopen(self) -> None:
        """Open it again with everything that was written."""
        self._store.reopen()

    def crash(self, random: Random) -> None:
        """Lose what a power cut may lose, and open again with the rest."""
        self._store.crash(random)
        self._state = JournalState()
        self._state.read(self._store.scan(b"", ENTRY_TAG))
        self._state.read(self._store.scan(bytes([ENTRY_TAG[0] + 1]), END_OF_KEYS))


def _dead(before: Extent, now: Extent) -> Iterator[int]:
    """Which entries a new extent leaves out. Here they are gone at once, so that one which a log
    wrongly counts as its own is missing instead of old."""
    yield from range(before.first, min(now.first, before.last + 1))
    yield from range(max(before.first, now.last + 1), before.last + 1)


def _into(tables: dict[bytes, bytes], batches: list[Rows]) -> None:
    for rows in batches:
        for key, body in rows:
            if body is None:
                tables.pop(key, None)
            else:
                tables[key] = body
