"""What the cluster's processes use during a run: CPU seconds and resident memory, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """One process at one moment."""

    cpu_seconds: float
    rss_bytes: int


def pids_of(data: Path) -> dict[str, int]:
    """Process name → pid of the cluster that runs on `data`."""
    found = {}
    for path in sorted((data / "run").glob("*.pid")):
        text = path.read_text().strip()
        if text.isdigit():
            found[path.stem] = int(text)
    return found


def usage_of(pid: int) -> Usage | None:
    """CPU and memory of a process; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, pages * _PAGE_BYTES)


def usages_of(pids: dict[str, int]) -> dict[str, Usage]:
    """`usage_of` for each process that is there."""
    return {name: usage for name, pid in pids.items() if (usage := usage_of(pid)) is not None}
