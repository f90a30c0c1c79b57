"""What lies in the folder of a storage, by name; docs/STORAGE.md says what each is."""

from __future__ import annotations

from typing import Final

NODE_NAME: Final = "NODE"
BIRTH_NAME: Final = "BIRTH"
LOCK_NAME: Final = "node.lock"
JOURNAL_NAME: Final = "raft"
ROWS_NAME: Final = "state"
MARK_NAME: Final = "durable.mark"
RESERVE_NAME: Final = "reserve"
QUARANTINE_NAME: Final = "quarantine"
TEMPORARY_SUFFIX: Final = ".tmp"
"""Of a file that is being written, beside the one that it will replace."""

NOT_DATA: Final = frozenset(
    {LOCK_NAME, RESERVE_NAME, RESERVE_NAME + TEMPORARY_SUFFIX, QUARANTINE_NAME, "lost+found"}
)
"""What says nothing about who the storage is: a folder that holds no more than this is empty."""
