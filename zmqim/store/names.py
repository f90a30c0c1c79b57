"""What lies in the folder of a storage, by name; docs/STORAGE.md says what each is."""

from __future__ import annotations

NODE_NAME = "NODE"
BIRTH_NAME = "BIRTH"
LOCK_NAME = "node.lock"
JOURNAL_NAME = "raft"
ROWS_NAME = "state"
MARK_NAME = "durable.mark"
RESERVE_NAME = "reserve"
QUARANTINE_NAME = "quarantine"
TEMPORARY_SUFFIX = ".tmp"
"""Of a file that is being written, beside the one that it will replace."""

NOT_DATA = frozenset(
    {LOCK_NAME, RESERVE_NAME, RESERVE_NAME + TEMPORARY_SUFFIX, QUARANTINE_NAME, "lost+found"}
)
"""What says nothing about who the storage is: a folder that holds no more than this is empty."""
