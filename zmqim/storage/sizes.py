"""Sizes that the simulator makes small, so that a short run meets what takes hours otherwise."""

from __future__ import annotations

from typing import NamedTuple

from zmqim.limits import JOURNAL_ENTRIES_KEPT, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_ROWS_MAX


class Sizes(NamedTuple):
    """How much of a log is kept, and how much of a snapshot travels at once."""

    entries_kept: int = JOURNAL_ENTRIES_KEPT
    chunk_bytes: int = SNAPSHOT_CHUNK_BYTES
    chunk_rows: int = SNAPSHOT_CHUNK_ROWS_MAX
