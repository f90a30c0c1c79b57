"""A second witness of how far the journal was synced: ``durable.mark``.

LevelDB drops a damaged tail of its log without a word, and one flipped bit can make a synced tail
look torn. So after each sync the last (term, index) of every partition that was written goes into
this file; it is never ahead of a healthy journal, and a journal that ends below it is damaged.

A slot is ``partition u32 | term u64 | index u64 | crc32 u32``, 24 bytes, big-endian. Slots are
overwritten in place, 21 to a sector of 512 bytes, so that none lies on a boundary where a power cut
could tear it. They are written at once (a killed process loses none) and made durable once a
second.

A log whose new end is below its old one, because another leader's entries or a snapshot took the
place of a suffix, has its slot lowered, durably, before the batch is written: then a crash between
the two leaves a mark that is too low, which harms nobody, and never one that is too high.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from struct import Struct
from typing import Final

from zlib_ng.zlib_ng import crc32

from zmqim.errors import DamagedData
from zmqim.store.damage import damaged
from zmqim.store.files import disk_errors, write_file
from zmqim.store.interface import End

SECTOR_BYTES: Final = 512
SLOTS_PER_SECTOR: Final = 21
SLOT_BYTES: Final = 24

_SLOT: Final = Struct(">IQQI")
_HEAD: Final = Struct(">IQ")
_HEAD_BYTES: Final = 12
_CRC_BYTES: Final = 4
_tail_into: Final = Struct(">QI").pack_into

assert (_SLOT.size, _HEAD.size) == (SLOT_BYTES, _HEAD_BYTES)
assert SLOT_BYTES * SLOTS_PER_SECTOR <= SECTOR_BYTES


class DurableMark:
    """The open mark file of a storage."""

    def __init__(self, path: Path, partitions: int, *, create: bool = False) -> None:
        """Open the file; with `create` (only before the birth record exists) make it if missing.

        `partitions` counts the logs: the meta group's is the last one.
        """
        self._path = path
        if create and not path.exists():
            write_file(path, _empty(partitions))
        if not path.exists():
            raise damaged(path, "is missing: nothing says how far the journal was synced")
        with disk_errors(path):
            self._descriptor = os.open(path, os.O_RDWR)
            self._content = bytearray(path.read_bytes())
        try:
            self._slots = self._read(partitions)
        except DamagedData:
            self.close()
            raise
        self._is_synced = True

    def ends(self) -> dict[int, End]:
        """What the file says, by partition."""
        return {number: slot.end for number, slot in enumerate(self._slots)}

    def announce(self, ends: Mapping[int, End], lowered: Mapping[int, End]) -> None:
        """Call it before a batch with these new ends is written; `lowered` become durable here.

        To end a log below its mark without saying so is a mistake of the caller: at the next start
        the journal would count as damaged.
        """
        for number, (term, index) in ends.items():
            slot = self._slots[number]
            is_lower = term < slot.term or (term == slot.term and index < slot.index)
            if is_lower or number in lowered:
                low = lowered.get(number, slot.end)
                end = term, index
                assert end >= low, f"partition {number} would end at {end}, below its mark {low}"
        below = {number: end for number, end in lowered.items() if end < self._slots[number].end}
        if below:
            self._put_ends(below)
            self.sync()

    def note(self, ends: Mapping[int, End]) -> None:
        """Record the ends of partitions whose batch is synced: call it after the write returned."""
        if ends:
            self._put_ends(ends)

    def sync(self) -> None:
        """Make what was noted durable: call it once in DURABLE_MARK_MS."""
        if not self._is_synced:
            with disk_errors(self._path):
                os.fdatasync(self._descriptor)
            self._is_synced = True

    def check(self, journal: Mapping[int, End], applied: Mapping[int, End]) -> None:
        """Raise `DamagedData` if a log of the journal ends below its mark or below what is applied.

        `journal` holds the end of every log, `applied` the last entry that the rows contain.
        """
        ends = self.ends()
        for partition in ends:
            end = journal.get(partition, (0, 0))
            for witness, name in ((ends, "was synced"), (applied, "is applied")):
                expected = witness.get(partition, (0, 0))
                if end < expected:
                    raise DamagedData(
                        f"{self._path.parent}: the journal of partition {partition} ends at term"
                        f" {end[0]}, index {end[1]}, but {name} up to term {expected[0]}, index"
                        f" {expected[1]}: acknowledged entries are missing.",
                        path=str(self._path.parent),
                        hint="The journal was cut short or replaced by an older copy. Do not start"
                        " this storage on it; keep the folder as it is.",
                    )

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _put_ends(self, ends: Mapping[int, End]) -> None:
        content, slots = self._content, self._slots
        for partition, (term, index) in ends.items():
            slots[partition].put(content, term, index)
        begin = min(ends) // SLOTS_PER_SECTOR * SECTOR_BYTES
        stop = (max(ends) // SLOTS_PER_SECTOR + 1) * SECTOR_BYTES
        with disk_errors(self._path):
            os.pwrite(self._descriptor, memoryview(content)[begin:stop], begin)
        self._is_synced = False

    def _read(self, partitions: int) -> list[_Slot]:
        if len(self._content) != len(_empty(partitions)):
            raise damaged(self._path, f"has {len(self._content)} bytes, not one slot a partition")
        slots = []
        for partition in range(partitions):
            slot = _Slot(partition)
            number, slot.term, slot.index, crc = _SLOT.unpack_from(self._content, slot.place)
            checked = self._content[slot.place : slot.place + SLOT_BYTES - _CRC_BYTES]
            if number != partition or crc != crc32(checked):
                raise damaged(self._path, f"has a wrong slot for partition {partition}")
            slots.append(slot)
        return slots


class _Slot:
    """Where the end of a log lies in the file, and what it says."""

    __slots__ = ("_head_crc", "_head_term", "_partition", "index", "place", "term")

    def __init__(self, partition: int) -> None:
        self._partition = partition
        sector, slot = partition // SLOTS_PER_SECTOR, partition % SLOTS_PER_SECTOR
        self.place = sector * SECTOR_BYTES + slot * SLOT_BYTES
        self.term = self.index = 0
        self._head_term = -1
        """The term of which partition and term were written, and their checksum is known."""
        self._head_crc = 0

    @property
    def end(self) -> End:
        """The last entry of the log."""
        return self.term, self.index

    def put(self, content: bytearray, term: int, index: int) -> None:
        """Another end. The index rises in every turn, the term hardly ever."""
        place = self.place
        middle = place + _HEAD_BYTES
        if term != self._head_term:
            head = _HEAD.pack(self._partition, term)
            content[place:middle] = head
            self._head_term, self._head_crc = term, crc32(head)
        self.term, self.index = term, index
        crc = crc32(index.to_bytes(8, "big"), self._head_crc)
        _tail_into(content, middle, index, crc)


def _empty(partitions: int) -> bytes:
    """A whole file in which every slot says (0, 0), so that a slot of zeros is damage."""
    sectors = (partitions + SLOTS_PER_SECTOR - 1) // SLOTS_PER_SECTOR
    content = bytearray(sectors * SECTOR_BYTES)
    for partition in range(partitions):
        _Slot(partition).put(content, 0, 0)
    return bytes(content)
