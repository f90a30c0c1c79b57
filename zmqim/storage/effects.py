"""What the storage core tells its shell to do, in order (zmqim.bus.effects)."""

from __future__ import annotations

from typing import NamedTuple

from zmqim.bus.effects import Send
from zmqim.store.interface import JournalBatch, Rows


class WriteJournal(NamedTuple):
    """Write and sync the turn's entries; an error ends the process."""

    batch: JournalBatch


class WriteState(NamedTuple):
    """Write and sync the rows that applying produced; an error ends the process."""

    rows: Rows


Effect = WriteJournal | WriteState | Send
