"""The stores of one storage process: opened together, checked against each other, written in order.

The first start creates them and ends with the birth record; from then on a store that is missing is
damage, and a topology that places partitions otherwise is refused, because this version does not
move data.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from time import perf_counter_ns
from typing import Final

from zmqim.errors import UsageError
from zmqim.ids import NodeUuid
from zmqim.meta.record import BirthRecord
from zmqim.ring.document import RingDocument
from zmqim.storage.genesis import first_batch
from zmqim.store.disk import DiskRoom, DiskState, ReserveFile
from zmqim.store.identity import write_birth
from zmqim.store.interface import End, Journal, JournalBatch, Rows, RowStore
from zmqim.store.journal import open_journal
from zmqim.store.mark import DurableMark
from zmqim.store.names import JOURNAL_NAME, MARK_NAME, RESERVE_NAME, ROWS_NAME
from zmqim.store.rows import open_rows
from zmqim.topology_values import Topology

META_LOGS: Final = 1
"""The meta group's log, which has the number behind the last partition."""
SYNCS_KEPT: Final = 1_000
"""Durations of the last syncs, of which a percentile is told."""


class Stores:
    """Journal, rows, mark and room of one storage."""

    def __init__(self, journal: Journal, rows: RowStore, mark: DurableMark, room: DiskRoom) -> None:
        self.journal = journal
        self.rows = rows
        self.mark = mark
        self.room = room
        self.reserve: ReserveFile | None = None
        self.written = 0
        """Bytes written since `disk_is_full` was asked last."""
        self._sync_us: list[int] = []

    def check(self, ends: dict[int, End], applied: dict[int, End]) -> None:
        """Raise `DamagedData` if the journal ends below its witness or below the rows."""
        self.mark.check(ends, applied)

    def write_journal(self, batch: JournalBatch) -> None:
        """Write and sync entries, then tell the witness.

        An end that goes down is told to the witness before.
        """
        assert batch.ends.keys() == batch.extents.keys(), "the witness is to hear of every end"
        self.mark.announce(batch.ends, batch.lowered)
        began = perf_counter_ns()
        self.journal.write(batch)
        if len(self._sync_us) >= SYNCS_KEPT:
            del self._sync_us[: SYNCS_KEPT // 2]
        self._sync_us.append((perf_counter_ns() - began) // 1_000)
        self.mark.note(batch.ends)
        for entries in batch.entries.values():
            for body in entries:
                self.written += len(body)

    def write_rows(self, rows: Rows) -> None:
        """Write and sync rows."""
        self.rows.write(rows)
        self.written += sum([len(body) for _, body in rows if body is not None])

    def disk_state(self, now: int) -> DiskState:
        """Whether there is room for what may come."""
        written, self.written = self.written, 0
        return self.room.state(now, written)

    def sync_p99_us(self) -> int:
        """99 of 100 of the last journal writes took no longer; 0 without any."""
        ordered = sorted(self._sync_us)
        return ordered[len(ordered) * 99 // 100] if ordered else 0

    def keep_witness(self) -> None:
        """Once a second: the mark durable, the reserve back in its place."""
        self.mark.sync()
        if self.reserve is not None:
            self.reserve.restore(self.room)

    def close(self) -> None:
        """Sync the witness and give everything back."""
        self.mark.sync()
        self.mark.close()
        self.rows.close()
        self.journal.close()


def create_stores(
    folder: Path, node_uuid: NodeUuid, topology: Topology, record: BirthRecord
) -> None:
    """Make the stores of a storage that is born, then the record that says so.

    Without the record nothing was ever acknowledged, so what an interrupted call left is used.
    """
    reserve, room = _room(folder, topology)
    reserve.prepare_opening(room)
    stores = _open(folder, topology, room, create=True)
    try:
        stores.journal.write(first_batch(record, node_uuid))
    finally:
        stores.close()
    write_birth(folder, record)


def open_stores(folder: Path, topology: Topology, *, may_rebuild: bool = False) -> Stores:
    """Open the stores of a storage that was born. Raises `DamagedData` or `DiskError`.

    With `may_rebuild` rows that were set aside begin empty: other voters have them.
    """
    reserve, room = _room(folder, topology)
    reserve.prepare_opening(room)
    stores = _open(folder, topology, room, create=False, may_rebuild=may_rebuild)
    reserve.restore(room)
    stores.reserve = reserve
    return stores


def check_birth(folder: Path, birth: BirthRecord, topology: Topology, ring: RingDocument) -> None:
    """Raise `UsageError` if the topology is not the one that this storage was born into."""
    if birth.cluster_id == topology.cluster_id and birth.ring_hash == ring.hash:
        return
    if birth.partitions != ring.partitions:
        raise UsageError(
            f"{folder} was born with {birth.partitions} partitions, this topology has"
            f" {ring.partitions}.",
            hint=f"Set partitions = {birth.partitions} in the topology: their number is fixed once"
            " there is data.",
        )
    raise UsageError(
        f"{folder} was born with partitions placed otherwise than this topology places them.",
        hint="Put back cluster, id, replicas, partitions and the storages with their zones and"
        " weights as they were: this version moves data only to replace a storage by name.",
    )


def _room(folder: Path, topology: Topology) -> tuple[ReserveFile, DiskRoom]:
    limits = topology.limits
    room = DiskRoom(
        folder,
        warn_bytes=max(limits.disk_free_warn_bytes, limits.disk_free_min_bytes),
        min_bytes=limits.disk_free_min_bytes,
    )
    return ReserveFile(folder / RESERVE_NAME, limits.reserve_file_bytes), room


def _open(
    folder: Path, topology: Topology, room: DiskRoom, *, create: bool, may_rebuild: bool = False
) -> Stores:
    buffer = topology.limits.write_buffer_bytes
    with ExitStack() as opened:
        mark = DurableMark(folder / MARK_NAME, topology.partitions + META_LOGS, create=create)
        opened.callback(mark.close)
        journal = open_journal(folder / JOURNAL_NAME, create=create, write_buffer_bytes=buffer)
        opened.callback(journal.close)
        create_rows = create or (may_rebuild and not (folder / ROWS_NAME).exists())
        rows = open_rows(folder / ROWS_NAME, create=create_rows, write_buffer_bytes=buffer)
        opened.pop_all()
    return Stores(journal, rows, mark, room)
