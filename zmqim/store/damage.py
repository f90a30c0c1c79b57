"""Which file of a LevelDB folder is damaged: what LevelDB's own errors leave out.

LevelDB says only "checksum mismatch". Its info log names the write-ahead log that it dropped
records of, and its table list says which tables can hold the keys that were being read; which of
them it is says `tables`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from zmqim.errors import DamagedData

HINT: Final = (
    "Nothing was changed and nothing is served from it. Set the storage's folder aside as it is"
    " and look at the disk; docs/STORAGE.md says what can be done."
)

_FILE: Final = re.compile(r"/[^\s:]+/(?:\d+\.(?:log|ldb|sst)|MANIFEST-\d+|CURRENT)")
_DROPPED: Final = re.compile(r"(\S+): dropping \d+ bytes; Corruption")
_TABLE: Final = re.compile(r"^ (\d+):\d+\['(.*)' @ \d+ : \d+ \.\. '(.*)' @ \d+ : \d+\]$")
_ESCAPED: Final = re.compile(rb"\\x([0-9a-f]{2})")


def damaged(path: Path, what: str) -> DamagedData:
    """The error for the file or folder `path`; `what` completes the sentence."""
    return DamagedData(f"{path} {what}.", path=str(path), hint=HINT)


def file_in(message: str) -> Path | None:
    """The file of a database that a message of LevelDB names."""
    named = _FILE.search(message)
    return Path(named.group()) if named else None


def file_of_failed_opening(folder: Path, message: str) -> Path:
    """The file because of which `folder` did not open; the folder if nothing names one."""
    named = file_in(message)
    if named is not None:
        return named
    info_log = folder / "LOG"
    if info_log.exists():
        dropped = _DROPPED.findall(info_log.read_text(errors="replace"))
        if dropped:
            return Path(dropped[0])
    for manifest in sorted(folder.glob("MANIFEST-*")):
        return manifest
    return folder


def files_around(folder: Path, tables: str, low: bytes, high: bytes) -> list[Path]:
    """The tables that can hold keys from `low` to `high`, both included.

    `tables` is LevelDB's property ``leveldb.sstables``. Empty if the keys lie in a log.
    """
    found = []
    for line in tables.splitlines():
        row = _TABLE.match(line)
        if row and _key(row.group(2)) <= high and _key(row.group(3)) >= low:
            found.append(folder / f"{int(row.group(1)):06d}.ldb")
    return found


def _key(escaped: str) -> bytes:
    """LevelDB prints bytes that are not printable as ``\\xNN``."""
    return _ESCAPED.sub(lambda match: bytes([int(match.group(1), 16)]), escaped.encode("latin-1"))
