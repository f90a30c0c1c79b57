"""Damage that tests do to files of a store, and processes that try to open it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def flip_byte(path: Path, offset: int, mask: int = 1) -> None:
    """Change the bits of `mask` in the byte at `offset` (from the end if negative)."""
    content = bytearray(path.read_bytes())
    content[offset] ^= mask
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    """Keep only the first `size` bytes."""
    with open(path, "r+b") as file:
        file.truncate(size)


def newest_log(folder: Path) -> Path:
    """LevelDB's write-ahead log in use."""
    return max(folder.glob("*.log"))


def tables(folder: Path) -> list[Path]:
    """LevelDB's table files, oldest first."""
    return sorted(folder.glob("*.ldb"))


def in_another_process(code: str, *arguments: object) -> str:
    """What the code prints when another Python process runs it."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()
