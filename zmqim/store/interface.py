"""What the rest of the project sees of the disk: journal and rows, without naming an engine.

A storage process writes twice a turn: first one `JournalBatch` with everything its partitions
appended, then the rows that applying produced, `Applied` among them. Both writes are durable when
they return, and a write that raises ends the process: the store is never used again afterwards.
`zmqim.store.journal` and `zmqim.store.rows` keep these promises on LevelDB, `zmqim.store.memory`
in memory for the simulator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from zmqim.raft.log import LogExtent

Rows = list[tuple[bytes, bytes | None]]
"""(key, body) in the order of writing; None deletes the key. Bodies are unframed."""


Extent = LogExtent
"""Entries outside of `first` to `last` are dead even if their bytes are still there."""

End = tuple[int, int]
"""(term, index) of the last entry of a log; (0, 0) if there never was one. Compared in this
order."""


@dataclass(slots=True)
class JournalBatch:
    """What one turn changes in the journal, written and synced as one.

    Every partition that appears in `entries` appears in `extents`, and its entries are the last
    ones there: writing an entry makes all that the log held after it dead. An extent may end
    below the one before (a conflict) or begin elsewhere (a snapshot): nothing else needs to be
    said, and what it leaves out is dead for good, even if the log grows over it again.
    """

    entries: dict[int, list[bytes]] = field(default_factory=dict)
    """Bodies of the new entries of each partition that has some, in order."""
    extents: dict[int, Extent] = field(default_factory=dict)
    hard_states: dict[int, bytes] = field(default_factory=dict)
    replica_metas: dict[int, bytes] = field(default_factory=dict)
    peers: dict[bytes, int] = field(default_factory=dict)
    """Highest incarnation seen, by node uuid."""
    ends: dict[int, End] = field(default_factory=dict)
    """The last entry of each log in `extents`. Not written: it is for the durable mark."""
    lowered: dict[int, End] = field(default_factory=dict)
    """New ends of logs that may end below their old one: another leader's entries or a snapshot
    took the place of a suffix. Not written: the durable mark is told of it before the batch is."""


@dataclass(frozen=True, slots=True)
class LoadedPartition:
    """What the journal knows of a partition besides its entries."""

    hard_state: bytes | None
    replica_meta: bytes | None
    extent: Extent | None


class RowReader(Protocol):
    """Reads rows. Raises `DamagedData` rather than give back a byte that was not written."""

    def get(self, key: bytes) -> bytes | None:
        """Body of the row, or None if there is none."""
        ...

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """(key, body) of the rows with `start` <= key < `stop`, at most `limit` of them."""
        ...


class RowSnapshot(Protocol):
    """The rows as they were at one moment, whatever is written meanwhile.

    Closed soon: it keeps what it shows from being compacted away. Closed before its store is.
    """

    def scan(
        self,
        start: bytes,
        stop: bytes,
        *,
        limit: int | None = None,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """(key, body) of the rows with `start` <= key < `stop`.

        At most `limit` of them, or up to the one whose body reaches `bytes_max` in sum, so at
        least one comes back if there is one.
        """
        ...

    def close(self) -> None:
        """Give it back; a second call does nothing."""
        ...


class RowStore(RowReader, Protocol):
    """The applied state of all partitions of a storage."""

    def snapshot(self) -> RowSnapshot:
        """A view of the rows of now, for sending them elsewhere piece by piece."""
        ...

    def write(self, rows: Rows) -> None:
        """Write all rows or none; durable when it returns."""
        ...

    def close(self) -> None:
        """Give the store back; it is not used again."""
        ...


class JournalReader(Protocol):
    """Reads entries of the log."""

    def read(self, partition: int, first: int, last: int, bytes_max: int) -> list[bytes]:
        """Bodies of the entries `first` to `last`, in order.

        Stops early after the entry that reaches `bytes_max`, so at least one entry comes back.
        Raises `DamagedData` if an entry is missing or is not what was written.
        """
        ...


class Journal(JournalReader, Protocol):
    """The logs of all partitions of a storage."""

    def load(self) -> dict[int, LoadedPartition]:
        """Every partition that was ever written, as of the last write."""
        ...

    def peers(self) -> dict[bytes, int]:
        """Highest incarnation seen, by node uuid."""
        ...

    def write(self, batch: JournalBatch) -> None:
        """Write all of `batch` or nothing; durable when it returns."""
        ...

    def bytes_used(self) -> int:
        """About how many bytes the journal holds, dead entries included."""
        ...

    def close(self) -> None:
        """Give the journal back; it is not used again."""
        ...
