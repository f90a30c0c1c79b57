"""Damage to files of a stopped storage: torn, truncated, flipped, deleted, of every kind of file.

With one voter a partition nothing can rebuild what is damaged: a storage that notices refuses to
start, and the harness then puts the bytes back, as an operator would from nothing but luck. What
LevelDB replaced or removed meanwhile is left as it is: it was read whole before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

KEPT = "chaos-kept"
"""Beside the storage's folder: a second name of its NODE, which must keep its inode."""
TORN_BYTES_MAX = 4_096

_PATTERNS = {
    "journal log": "raft/g*[0-9]/*.log",
    "journal table": "raft/g*[0-9]/*.ldb",
    "journal MANIFEST": "raft/g*[0-9]/MANIFEST-*",
    "journal CURRENT": "raft/g*[0-9]/CURRENT",
    "journal marker": "raft/g*[0-9]/CLEAN",
    "rows log": "state/*.log",
    "rows table": "state/*.ldb",
    "rows MANIFEST": "state/MANIFEST-*",
    "rows CURRENT": "state/CURRENT",
    "rows marker": "state/CLEAN",
    "NODE": "NODE",
    "BIRTH": "BIRTH",
    "mark": "durable.mark",
}
FILES = tuple(_PATTERNS)


@dataclass(frozen=True)
class Damage:
    """What was done to which file, and what it held before."""

    path: Path
    file: str
    way: str
    before: bytes
    after: bytes | None
    """None: deleted."""

    @property
    def detail(self) -> str:
        """For the report."""
        return f"{self.file} {self.way} ({self.path.name}, {len(self.before)} bytes)"

    def put_back(self) -> bool:
        """Give the file its bytes again, unless something else stands there now."""
        present = self.path.read_bytes() if self.path.exists() else None
        if present != self.after:
            return False
        kept = _kept(self.path)
        if present is None and kept.exists():
            os.link(kept, self.path)
        else:
            self.path.parent.mkdir(exist_ok=True)
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(self.before)
            file.truncate()
        return True

    def forget(self) -> None:
        """Nothing is to be put back any more."""
        _kept(self.path).unlink(missing_ok=True)


def damage(folder: Path, random: Random, file: str = "", way: str = "") -> Damage | None:
    """Damage one file in a storage's folder, drawn unless it is named; None if there is none."""
    files = [file] if file else random.sample(FILES, len(FILES))
    for kind in files:
        found = sorted(folder.glob(_PATTERNS[kind]))
        if found:
            path = random.choice(found[-3:])
            chosen = way or random.choice(tuple(WAYS))
            return _damaged(path, kind, chosen, random)
    return None


def _damaged(path: Path, kind: str, way: str, random: Random) -> Damage:
    before = path.read_bytes()
    after = WAYS[way](before, random) if before else None
    if path.name == "NODE":
        _kept(path).unlink(missing_ok=True)
        os.link(path, _kept(path))
    if after is None:
        path.unlink()
        way = "deleted"
    else:
        with path.open("r+b") as file:
            file.write(after)
            file.truncate()
    return Damage(path, kind, way, before, after)


def _kept(path: Path) -> Path:
    return path.parent.with_name(f"{path.parent.name}.{KEPT}")


def _torn(content: bytes, random: Random) -> bytes:
    """The end is missing, as after a write cut short."""
    return content[: -random.randint(1, min(TORN_BYTES_MAX, len(content)))]


def _truncated(content: bytes, random: Random) -> bytes:
    """Anything from everything to the last byte is missing."""
    return content[: random.randrange(len(content))]


def _flipped(content: bytes, random: Random) -> bytes:
    """One bit is another."""
    changed = bytearray(content)
    changed[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _deleted(content: bytes, random: Random) -> None:
    return None


WAYS: dict[str, Callable[[bytes, Random], bytes | None]] = {
    "torn": _torn,
    "truncated": _truncated,
    "flipped": _flipped,
    "deleted": _deleted,
}
