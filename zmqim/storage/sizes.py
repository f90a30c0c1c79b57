"""Sizes and times that the simulator varies: a short run meets what takes hours otherwise."""

from __future__ import annotations

from typing import NamedTuple

from zmqim.limits import (
    DIGEST_ENTRIES,
    JOURNAL_ENTRIES_KEPT,
    SNAPSHOT_CHUNK_BYTES,
    SNAPSHOT_CHUNK_ROWS_MAX,
    STATE_WRITE_MS,
)


class Sizes(NamedTuple):
    """How much of a log is kept, how much of a snapshot travels at once, how long rows gather, how
    often replicas are compared."""

    entries_kept: int = JOURNAL_ENTRIES_KEPT
    chunk_bytes: int = SNAPSHOT_CHUNK_BYTES
    chunk_rows: int = SNAPSHOT_CHUNK_ROWS_MAX
    rows_wait_ms: int = STATE_WRITE_MS
    digest_entries: int = DIGEST_ENTRIES
