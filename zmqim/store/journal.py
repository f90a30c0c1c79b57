"""The logs of all partitions of a storage in one LevelDB at a time: ``raft/g000001/``, and on.

A generation is a LevelDB folder. Batches go to the newest; when that has grown to its bound the
journal rolls: a new folder is created, receives every extent, hard state, meta and peer and the
READY row in one synced batch, and only then is the newest. So hardly anything is ever deleted from
a LevelDB: an old generation is removed as a folder once every partition's `first` has passed what
it holds. What the oldest of three still holds alive is carried forward, a slice in each batch, from
high indexes to low ones.

Which generation holds an entry: in each one, the runs of a partition lie side by side from a lowest
index on, its *start*; writing index i makes all after i dead. So the newest generation whose start
is not above i holds entry i, in its last run that begins at i or before. That is why what dies in
the newest generation is deleted from it, or a new one begins: only there, and only where a log
loses a suffix to a leader's other entries, a snapshot or a new replica, which is rare.

How long a log is: a batch in which a log only grows says it by its runs. An ``E`` row comes with
them where a log begins or its extent changes in any other way, and in a new generation for every
log. So `last` is what the newest generation's ``E`` says, or the end of the last run there if that
is higher. This holds after every batch, and a crash leaves the newest generation as some batch left
it, be it the one that made it READY:

- No run there goes beyond `last`. A batch writes runs up to its `last` and carries from `last` or
  from below a run; where it lowers `last` or replaces entries, what is beyond is deleted or cut in
  the same batch, or first a generation begins, which holds no run and the extents of before.
- The ``E`` row says `last` as it was when it was written. Since then the log only grew, and each
  time its last run ended at `last`.
- The last run ends below that ``E`` only where all runs there are dead: a snapshot that goes beyond
  the old end leaves them, as they lie below `first`.

A replica that is made anew under the number of another is a log whose extent changed like that.
"""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from zmqim.errors import DamagedData, ZmqimError
from zmqim.limits import JOURNAL_GENERATION_BYTES, KB, MB, WRITE_BUFFER_BYTES
from zmqim.store.damage import damaged
from zmqim.store.files import create_folder, disk_errors, sync_folder
from zmqim.store.interface import JournalBatch, LoadedPartition, Rows
from zmqim.store.keys import (
    ENTRY_TAG,
    READY_KEY,
    JournalState,
    entries_in,
    entry_key,
    extents_beside,
    first_new,
    index_of,
    number_body,
    rows_of,
    run_of,
    runs_of,
)
from zmqim.store.leveldb import (
    LevelFolder,
    LevelOptions,
    create_level_folder,
    is_created,
    remove_some,
    set_dead,
)

JOURNAL_CACHE_BYTES: Final = 8 * MB
JOURNAL_OPEN_FILES_MAX: Final = 128
"""Of each generation: three of them, the rows and the sockets fit into 1,024 descriptors."""
GENERATIONS_KEPT: Final = 2
"""Above, the oldest is carried forward."""
CARRY_BYTES: Final = 64 * KB
"""Carried forward with each batch, on top of as much as the batch itself holds."""
CUT_BYTES_MAX = 1 * MB
"""Dead entries that a batch deletes from the newest generation. Above: a new one begins instead, as
reading and deleting them would hold up all partitions. (Tests set it.)"""
ROW_OVERHEAD_BYTES: Final = 40
"""Key, frame and LevelDB's own per row, for counting."""

_NAME: Final = re.compile(r"g(\d{6,})")
_NEVER: Final = 2**64
Row = tuple[bytes, bytes]


@dataclass(slots=True)
class Generation:
    """One folder. `starts` holds the lowest index of each partition that has entries in it."""

    number: int
    folder: LevelFolder
    bytes_used: int
    starts: dict[int, int] = field(default_factory=dict)


def open_journal(
    folder: Path,
    *,
    create: bool = False,
    generation_bytes: int = JOURNAL_GENERATION_BYTES,
    write_buffer_bytes: int = WRITE_BUFFER_BYTES,
) -> LevelJournal:
    """Open the journal; with `create` (only before the birth record exists) make what is missing.

    Raises `DamagedData`, `DiskError` or `AlreadyRunning`.
    """
    options = LevelOptions(
        write_buffer_bytes=write_buffer_bytes,
        bloom_bits=0,
        cache_bytes=JOURNAL_CACHE_BYTES,
        open_files_max=JOURNAL_OPEN_FILES_MAX,
    )
    if create:
        create_folder(folder)
    if not folder.is_dir():
        raise damaged(folder, "is missing")
    with ExitStack() as opened:
        generations = []
        for number in _numbers_to_open(folder, create):
            level = LevelFolder(folder / _name(number), options)
            opened.callback(level.close)
            generations.append(Generation(number, level, level.bytes_used()))
        _set_unready_aside(generations, folder, create)
        if not generations and not create:
            raise damaged(folder, "holds no generation of the journal")
        journal = LevelJournal(folder, options, generation_bytes, generations)
        opened.pop_all()
    return journal


class LevelJournal:
    """A `Journal` on LevelDB. After an error of a write it is never used again."""

    def __init__(
        self,
        folder: Path,
        options: LevelOptions,
        generation_bytes: int,
        generations: list[Generation],
    ) -> None:
        """Called by `open_journal`: `generations` are open and READY, oldest first."""
        self._folder = folder
        self._options = options
        self._generation_bytes = generation_bytes
        self._generations = generations
        self._dead: list[Path] = []
        """Generations that are being removed, a step with each batch."""
        self._state = JournalState()
        if generations:
            self._recover()
            self._pins = self._pins_of_oldest()
        else:
            self._roll()

    def load(self) -> dict[int, LoadedPartition]:
        """Every partition that was ever written, as of the last write."""
        return self._state.loaded()

    def peers(self) -> dict[bytes, int]:
        """Highest incarnation seen, by node uuid."""
        return dict(self._state.peers)

    def write(self, batch: JournalBatch) -> None:
        """Write all of `batch` or nothing; durable when it returns.

        What this object remembers changes before the disk does: when the disk refuses, it is
        poisoned and its memory does not matter any more.
        """
        if self._generations[-1].bytes_used >= self._generation_bytes:
            self._roll()
        rows = self._cut_dead(batch)
        if rows is None:
            self._roll()
            rows = []
        newest = self._generations[-1]
        starts = newest.starts
        for partition, entries in batch.entries.items():
            assert entries, f"partition {partition} has none"
            index = first_new(batch, partition)
            if index < starts.get(partition, _NEVER):
                starts[partition] = index
            for run in runs_of(entries):
                rows.append((entry_key(partition, index), run_of(run)))
                index += len(run)
        rows += rows_of(batch, extents_beside(batch, self._state.extents))
        size = ROW_OVERHEAD_BYTES * len(rows)
        for _, body in rows:
            if body is not None:
                size += len(body)
        self._state.take(batch)
        moved = batch.extents.keys() & self._pins
        if self._pins and len(self._generations) > GENERATIONS_KEPT:
            carried = self._carry(CARRY_BYTES + size)
            moved |= carried.keys()
            rows += [row for found in carried.values() for row in found]
        newest.folder.write(rows)
        newest.bytes_used += size
        if moved:
            self._pins -= {partition for partition in moved if not self._is_pinned(partition)}
        while not self._pins and len(self._generations) > 1:
            self._drop_oldest()
        if self._dead and remove_some(self._dead[0]):
            del self._dead[0]

    def read(self, partition: int, first: int, last: int, bytes_max: int) -> list[bytes]:
        """Bodies of the entries `first` to `last`, or up to the one that reaches `bytes_max`."""
        extent = self._state.extents[partition]
        assert extent.first <= first <= last + 1, f"{first} to {last} of {extent}"
        assert last <= extent.last, f"{first} to {last} of {extent}"
        bodies: list[bytes] = []
        room = max(bytes_max, 1)
        while first <= last and room > 0:
            folder, lowest, highest = self._holder(partition, first)
            stop = min(last, highest) + 1
            found = _run_with(folder, partition, lowest, first)
            while found and room > 0:
                for key, run in found:
                    begin = index_of(key)
                    entries = _entries(folder, run, stop - begin)[max(first - begin, 0) :]
                    if begin > first or not entries:
                        raise _lacking(folder, partition, first)
                    for body in entries:
                        bodies.append(body)
                        first += 1
                        room -= len(body)
                        if room <= 0:
                            return bodies
                found = folder.scan(
                    entry_key(partition, first), entry_key(partition, stop), bytes_max=room
                )
            if first < stop and room > 0:
                raise _lacking(folder, partition, first)
        return bodies

    def bytes_used(self) -> int:
        """About how many bytes the journal holds, dead entries included."""
        return sum(generation.bytes_used for generation in self._generations)

    def close(self) -> None:
        """Give the folders back; it is not used again."""
        for generation in self._generations:
            generation.folder.close()

    def _recover(self) -> None:
        """Read everything but entries from the newest generation, and how far its runs go; check
        both ends of each log."""
        newest = self._generations[-1]
        rows = newest.folder.scan(b"", ENTRY_TAG)
        rows += newest.folder.scan(bytes([ENTRY_TAG[0] + 1]), b"\xff")
        try:
            self._state.read(rows)
        except ValueError as error:
            raise damaged(newest.folder.path, f"holds a wrong row: {error}") from error
        for generation in self._generations:
            for partition in self._state.extents:
                lowest = generation.folder.scan(
                    entry_key(partition, 0), entry_key(partition, _NEVER - 1), limit=1
                )
                if lowest:
                    generation.starts[partition] = index_of(lowest[0][0])
        for partition, start in newest.starts.items():
            extent = self._state.extents[partition]
            last = _last_in(newest.folder, partition, start)
            if last > extent.last:
                self._state.extents[partition] = extent.up_to(last)
        for partition, extent in self._state.extents.items():
            if extent.first <= extent.last:
                self.read(partition, extent.first, extent.first, 1)
                self.read(partition, extent.last, extent.last, 1)

    def _roll(self) -> None:
        """Begin a generation. It exists from the moment its READY row is durable."""
        number = self._generations[-1].number + 1 if self._generations else 1
        path = self._folder / _name(number)
        create_level_folder(path, self._options)
        folder = LevelFolder(path, self._options)
        rows = rows_of(self._state.as_batch(), self._state.extents)
        rows.append((READY_KEY, number_body(number)))
        try:
            folder.write(rows)
        except ZmqimError:
            folder.close()
            raise
        self._generations.append(Generation(number, folder, len(rows) * ROW_OVERHEAD_BYTES))
        self._pins = self._pins_of_oldest()

    def _holder(self, partition: int, index: int) -> tuple[LevelFolder, int, int]:
        """The folder that holds the entry, and the lowest and highest index it would hold."""
        highest = _NEVER
        for generation in reversed(self._generations):
            start = generation.starts.get(partition, _NEVER)
            if start <= index:
                return generation.folder, start, highest
            highest = min(highest, start - 1)
        raise damaged(self._folder, f"does not hold entry {index} of partition {partition}")

    def _cut_dead(self, batch: JournalBatch) -> Rows | None:
        """What makes the newest generation forget the entries that `batch` leaves out or writes
        anew, so that its runs never overlap; None: it is too much, and a new generation, which
        holds none of them, is cheaper."""
        rows: Rows = []
        room = CUT_BYTES_MAX
        extents = self._state.extents
        folder, starts = self._generations[-1].folder, self._generations[-1].starts
        emptied = []
        for partition in batch.extents:
            before = extents.get(partition)
            if before is None or partition not in starts:
                continue
            dead = first_new(batch, partition)
            if dead > before.last:
                continue
            found = folder.scan(
                entry_key(partition, dead), entry_key(partition, before.last + 1), bytes_max=room
            )
            rows += [(key, None) for key, _ in found]
            room -= sum([len(run) for _, run in found])
            if room <= 0:
                return None
            if starts[partition] >= dead:
                emptied.append(partition)
                continue
            ((key, run),) = _run_with(folder, partition, starts[partition], dead - 1)
            rows.append((key, run_of(_entries(folder, run, dead - index_of(key)))))
        for partition in emptied:
            del starts[partition]
        return rows

    def _is_pinned(self, partition: int) -> bool:
        """Whether the oldest generation alone holds living entries of the partition."""
        extent = self._state.extents[partition]
        newer = [generation.starts.get(partition, _NEVER) for generation in self._generations[1:]]
        return extent.first < min(newer, default=_NEVER) and extent.first <= extent.last

    def _pins_of_oldest(self) -> set[int]:
        return {partition for partition in self._state.extents if self._is_pinned(partition)}

    def _carry(self, bytes_max: int) -> dict[int, Rows]:
        """Entries to write again into the newest generation, by partition.

        Each partition's follow its start in the newest generation downward, so that what the
        newest holds has no gap at any moment.
        """
        starts = self._generations[-1].starts
        carried: dict[int, Rows] = {}
        room = bytes_max
        for partition in sorted(self._pins):
            extent = self._state.extents[partition]
            index = min(starts.get(partition, _NEVER), extent.last + 1) - 1
            while index >= extent.first and room > 0:
                folder, lowest, _ = self._holder(partition, index)
                found = folder.scan(
                    entry_key(partition, lowest),
                    entry_key(partition, index + 1),
                    reverse=True,
                    bytes_max=room,
                )
                if not found:
                    raise _lacking(folder, partition, index)
                for key, run in found:
                    begin = max(index_of(key), extent.first)
                    entries = _entries(folder, run, index + 1 - index_of(key))
                    entries = entries[begin - index_of(key) :]
                    if len(entries) != index + 1 - begin:
                        raise _lacking(folder, partition, index)
                    carried.setdefault(partition, []).append(
                        (entry_key(partition, begin), run_of(entries))
                    )
                    room -= len(run) + ROW_OVERHEAD_BYTES
                    index = begin - 1
                    starts[partition] = begin
                    if begin == extent.first:
                        break
            if room <= 0:
                break
        self._generations[-1].bytes_used += bytes_max - room
        return carried

    def _drop_oldest(self) -> None:
        """Begin to remove the oldest generation: nothing in it is alive any more."""
        oldest = self._generations.pop(0)
        oldest.folder.close()
        self._dead.append(set_dead(oldest.folder.path))
        self._pins = self._pins_of_oldest()


def _run_with(folder: LevelFolder, partition: int, lowest: int, index: int) -> list[Row]:
    """The row of the run that holds the entry, if anything does; `lowest` is the start there."""
    found = folder.scan(
        entry_key(partition, lowest), entry_key(partition, index + 1), reverse=True, limit=1
    )
    if not found:
        raise _lacking(folder, partition, index)
    return found


def _last_in(folder: LevelFolder, partition: int, start: int) -> int:
    """The last entry of the partition's runs there, of which the first is at `start`."""
    ((key, run),) = _run_with(folder, partition, start, _NEVER - 2)
    index = index_of(key)
    entries = _entries(folder, run, len(run))
    if not entries:
        raise _lacking(folder, partition, index)
    return index + len(entries) - 1


def _entries(folder: LevelFolder, run: bytes, count: int) -> list[bytes]:
    try:
        return entries_in(run, count)
    except ValueError as error:
        raise damaged(folder.path, f"holds a wrong run of entries: {error}") from error


def _lacking(folder: LevelFolder, partition: int, index: int) -> DamagedData:
    return damaged(folder.path, f"lacks entry {index} of partition {partition}")


def _name(number: int) -> str:
    return f"g{number:06d}"


def _numbers_to_open(folder: Path, create: bool) -> list[int]:
    """Numbers of the finished generations, oldest first.

    What a crash left of a removed generation is removed; what it left of a half-made one is set
    aside, under a name that nobody opens.
    """
    with disk_errors(folder):
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        for name in names:
            if name.endswith(".dead"):
                shutil.rmtree(folder / name)
    numbers = [int(match.group(1)) for match in map(_NAME.fullmatch, names) if match]
    if numbers and not is_created(folder / _name(numbers[-1])) and (create or len(numbers) > 1):
        _set_aside(folder / _name(numbers.pop()))
    for before, after in pairwise(numbers):
        if after != before + 1:
            raise damaged(folder / _name(before + 1), "is missing")
    return numbers


def _set_unready_aside(generations: list[Generation], folder: Path, create: bool) -> None:
    """Set aside a newest generation that a crash kept from becoming READY."""
    for generation in list(generations):
        ready = generation.folder.get(READY_KEY)
        if ready == number_body(generation.number):
            continue
        is_newest = generation is generations[-1]
        if ready is not None or not is_newest or not (create or len(generations) > 1):
            raise damaged(folder / _name(generation.number), "is not a READY generation")
        generation.folder.close()
        generations.remove(generation)
        _set_aside(folder / _name(generation.number))


def _set_aside(path: Path) -> None:
    with disk_errors(path):
        count = 1
        while (aside := path.with_name(f"{path.name}.aside{count}")).exists():
            count += 1
        path.rename(aside)
        sync_folder(path.parent)
