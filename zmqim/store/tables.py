"""Which table of a LevelDB folder holds the damaged block: LevelDB's error does not say.

A reader that met a damaged block stands in front of it in the order of keys. So the blocks of all
tables that it could have been reading are checked in that order, and the first bad one is it. In
each table it also looks at the block that comes next, even where that lies beside its range. The
format is LevelDB's doc/table_format.md; our tables are not compressed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

from zmqim.store.files import disk_errors

FOOTER_BYTES: Final = 48
MAGIC: Final = (0xDB4775248B80FB57).to_bytes(8, "little")
TRAILER_BYTES: Final = 5
"""Behind each block: its type, and the masked crc32c of both."""
SEQUENCE_BYTES: Final = 8
"""Behind each key: the number of the write, and its kind."""
_U32: Final = Struct("<I")
_CASTAGNOLI: Final = 0x82F63B78
_MASK_DELTA: Final = 0xA282EAD8


class Block(NamedTuple):
    """A block of a table; it holds no key above `highest`. Sorts in the order of keys."""

    highest: bytes
    table: Path
    offset: int
    size: int


class _BadBlock(Exception):
    """The checksum of a block is wrong, or it is not there."""


def damaged_table(tables: Sequence[Path], low: bytes, high: bytes, *, down: bool) -> Path | None:
    """The one of `tables` in which a reader from `low` to `high` (or `down`) met a bad block.

    None if all blocks are in order. Tables that a compaction has removed by now are passed over.
    """
    blocks: list[Block] = []
    for table in tables:
        try:
            blocks += _blocks(table, low, high)
        except _BadBlock:
            return table
    for block in sorted(blocks, reverse=down):
        try:
            with suppress(FileNotFoundError), block.table.open("rb") as file:
                _checked(file, block.offset, block.size)
        except _BadBlock:
            return block.table
    return None


def _blocks(table: Path, low: bytes, high: bytes) -> list[Block]:
    """The blocks of a table that can hold keys from `low` to `high`, and the one before them."""
    found: list[Block] = []
    with disk_errors(table), suppress(FileNotFoundError), table.open("rb") as file:
        size = table.stat().st_size
        file.seek(max(0, size - FOOTER_BYTES))
        footer = file.read()
        if footer[-len(MAGIC) :] != MAGIC:
            raise _BadBlock
        numbers = _varints(footer, 0)
        _, _, offset, length = (next(numbers)[0] for _ in range(4))
        for key, value in _entries(_checked(file, offset, length)):
            highest = key[:-SEQUENCE_BYTES]
            if highest < low:
                found.clear()
            place = _varints(value, 0)
            found.append(Block(highest, table, next(place)[0], next(place)[0]))
            if highest > high:
                break
    return found


def _checked(file: BinaryIO, offset: int, size: int) -> bytes:
    """The content of a block whose checksum is right."""
    file.seek(0, 2)
    if offset + size + TRAILER_BYTES > file.tell():
        raise _BadBlock
    file.seek(offset)
    block = file.read(size + TRAILER_BYTES)
    crc = crc32c(block[: size + 1])
    masked = (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
    if _U32.unpack_from(block, size + 1)[0] != masked:
        raise _BadBlock
    return block[:size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; each key repeats the beginning of the one before it."""
    end = len(block) - 4 * (_U32.unpack_from(block, len(block) - 4)[0] + 1)
    at, key = 0, b""
    while at < end:
        numbers = _varints(block, at)
        (shared, _), (added, _), (length, at) = (next(numbers) for _ in range(3))
        key = key[:shared] + block[at : at + added]
        at += added + length
        yield key, block[at - length : at]


def _varints(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Numbers of seven bits a byte from `at` on, each with the place behind it."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value, at
            value = shift = 0


def crc32c(data: bytes) -> int:
    """The checksum that LevelDB uses (RFC 3720, appendix B.4)."""
    table, crc = _TABLE, 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_of_byte(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (_CASTAGNOLI if value & 1 else 0)
    return value


_TABLE: Final = [_crc_of_byte(value) for value in range(256)]
