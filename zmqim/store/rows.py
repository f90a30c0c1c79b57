"""The applied state of all partitions in one LevelDB folder, ``state/``.

Every batch is synced, `Applied` with the rows it covers: LevelDB's sync reaches only
its current log file, so after a change of memtable an older log's unsynced tail can vanish under
later rows. Nothing is compressed here: sealing does that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from zmqim.limits import KB, MB, WRITE_BUFFER_BYTES
from zmqim.store.interface import RowStore
from zmqim.store.leveldb import LevelFolder, LevelOptions, create_level_folder, is_created

ROWS_CACHE_BYTES: Final = 32 * MB
ROWS_OPEN_FILES_MAX: Final = 512
"""LevelDB holds one descriptor a table; the log and the manifest come on top."""
BLOOM_BITS: Final = 10

assert ROWS_OPEN_FILES_MAX < KB


def open_rows(
    folder: Path, *, create: bool = False, write_buffer_bytes: int = WRITE_BUFFER_BYTES
) -> RowStore:
    """Open the rows; with `create` (only before the birth record is written) make what is missing.

    Raises `DamagedData`, `DiskError` or `AlreadyRunning`.
    """
    options = LevelOptions(
        write_buffer_bytes=write_buffer_bytes,
        bloom_bits=BLOOM_BITS,
        cache_bytes=ROWS_CACHE_BYTES,
        open_files_max=ROWS_OPEN_FILES_MAX,
    )
    if create and not is_created(folder):
        create_level_folder(folder, options)
    return LevelFolder(folder, options)
