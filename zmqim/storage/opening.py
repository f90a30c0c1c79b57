"""A partition as the stores hold it: log, rows and replica meta put together, and checked.

It reads the entries that the rows lack, which are those that were not applied when the process
ended, and refuses what does not fit together. Where the log is whole and only the rows are not
those that belong to it, and the other voters are a majority without this one, the replica is opened
as a damaged one: with its log, without rows, until it gets them from its leader
(`zmqim.storage.installing`). What is wrong with a log or a vote is never made good here.
"""

from __future__ import annotations

from typing import Final

import msgspec

from zmqim.chat.applied import Applied
from zmqim.chat.state import ChatState
from zmqim.chat.view import RowView
from zmqim.errors import DamagedData, WireError
from zmqim.limits import DIGEST_ENTRIES, MB
from zmqim.raft.config import GroupConfig
from zmqim.raft.core import RaftCore
from zmqim.raft.entry import Entry, decode_entry, follows
from zmqim.raft.log import Log, LogEnd, LogExtent, ReadBodies
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.raft.state import GROUP_BYTES, HardState, Identity
from zmqim.storage.group import Group
from zmqim.storage.replica import Machine
from zmqim.store.interface import JournalReader, LoadedPartition

_READ_BYTES: Final = 4 * MB


VOTERS_TO_REBUILD: Final = 3
"""With fewer voters a partition, the others are no majority without this one and nobody would send
the rows: damaged as its data is, it may be all there is, and the storage refuses to start on it."""


class RowsDamaged(DamagedData):
    """The log is whole; the rows are not those that were made from it."""


def open_group(
    partition: int,
    partitions: int,
    view: RowView,
    journal: JournalReader,
    loaded: LoadedPartition,
    genesis: GroupConfig,
    heads_max: int,
    digest_entries: int = DIGEST_ENTRIES,
) -> Group:
    """The partition as the stores hold it, with a cache of `heads_max` channel heads.

    `genesis` is its first configuration. `DamagedData` if the log is damaged, or the rows are and
    there are too few others.
    """
    meta = meta_of(partition, loaded)
    if meta.status != ReplicaStatus.DAMAGED:
        try:
            state = ChatState(partition, partitions, meta.install, view, heads_max, digest_entries)
            raft = open_raft(partition, meta, state, journal, loaded, genesis)
            return Group(partition, raft, state, meta)
        except RowsDamaged:
            if len(genesis.voters) < VOTERS_TO_REBUILD:
                raise
    meta = msgspec.structs.replace(meta, status=ReplicaStatus.DAMAGED)
    state = ChatState(partition, partitions, meta.install, RowView(NoRows()), heads_max)
    raft = open_without_rows(partition, meta, journal, loaded, genesis)
    return Group(partition, raft, state, meta)


def meta_of(partition: int, loaded: LoadedPartition) -> ReplicaMeta:
    """Which replica the journal holds of a group of which it holds one."""
    assert loaded.replica_meta is not None
    try:
        return ReplicaMeta.decode(loaded.replica_meta)
    except WireError as error:
        raise _damaged(partition, str(error)) from None


def open_raft(
    partition: int,
    meta: ReplicaMeta,
    state: Machine,
    journal: JournalReader,
    loaded: LoadedPartition,
    genesis: GroupConfig,
) -> RaftCore:
    """The log core of a replica whose rows `state` holds."""
    extent = loaded.extent or LogExtent()
    applied = state.applied
    fault = (
        f"its log holds entries {extent.first} to {extent.last}, "
        f"but its rows are applied up to {applied.index}"
    )
    if applied.index > extent.last:
        raise _damaged(partition, fault)
    if applied.index < extent.first - 1:
        raise _damaged(partition, fault, RowsDamaged)
    end, unapplied = _read_log(partition, journal, extent, applied)
    hard_state = _vote(partition, loaded.hard_state, end)
    stored = state.config()
    conf_id, config = (0, genesis) if stored is None else (stored[0], _config(partition, stored[1]))
    return RaftCore(
        Identity(partition, meta.group_uuid[:GROUP_BYTES], meta.replica_id),
        hard_state,
        Log(extent, end, applied.index, unapplied, _reader(journal, partition)),
        config,
        conf_id,
    )


def open_without_rows(
    partition: int,
    meta: ReplicaMeta,
    journal: JournalReader,
    loaded: LoadedPartition,
    genesis: GroupConfig,
) -> RaftCore:
    """The log core of a replica whose rows are lost."""
    extent = loaded.extent or LogExtent()
    end, _ = _read_log(partition, journal, extent, Applied(index=extent.last))
    return RaftCore(
        Identity(partition, meta.group_uuid[:GROUP_BYTES], meta.replica_id),
        _vote(partition, loaded.hard_state, end),
        Log(extent, end, extent.last, [], _reader(journal, partition)),
        genesis,
        is_damaged=True,
    )


def _reader(journal: JournalReader, partition: int) -> ReadBodies:
    def read(first: int, last: int, bytes_max: int) -> list[bytes]:
        return journal.read(partition, first, last, bytes_max)

    return read


def _read_log(
    partition: int, journal: JournalReader, extent: LogExtent, applied: Applied
) -> tuple[LogEnd, list[Entry]]:
    """The end of the log and the entries above the applied one."""
    end = LogEnd(extent.base_term, extent.base_chain, applied.hlc)
    unapplied: list[Entry] = []
    first = max(applied.index, extent.first)
    chain = extent.base_chain if first == extent.first else None
    while first <= extent.last:
        for body in journal.read(partition, first, extent.last, _READ_BYTES):
            entry = _entry(partition, first, body, chain)
            if first > applied.index:
                unapplied.append(entry)
            elif applied.term and (entry.term, entry.hlc) != (applied.term, applied.hlc):
                fault = f"its rows were not made from entry {first} of its log"
                raise _damaged(partition, fault, RowsDamaged)
            end = LogEnd(entry.term, entry.chain, entry.hlc)
            chain = entry.chain
            first += 1
    return end, unapplied


def _vote(partition: int, body: bytes | None, end: LogEnd) -> HardState:
    try:
        hard_state = HardState() if body is None else HardState.decode(body)
    except WireError as error:
        raise _damaged(partition, str(error)) from None
    if end.term > hard_state.term:
        raise _damaged(partition, f"its log has term {end.term}, later than its vote")
    return hard_state


def _config(partition: int, body: bytes) -> GroupConfig:
    try:
        return GroupConfig.decode(body)
    except WireError as error:
        raise _damaged(partition, str(error)) from None


def _entry(partition: int, index: int, body: bytes, chain: int | None) -> Entry:
    """Entry `index`, behind the log that ends with `chain` (None: not known)."""
    try:
        entry = decode_entry(body)
    except WireError as error:
        raise _damaged(partition, str(error)) from None
    if entry.index != index:
        raise _damaged(partition, f"entry {entry.index} stands in the place of {index}")
    if chain is not None and not follows(body, chain):
        raise _damaged(partition, f"entry {index} does not continue the chain before it")
    return entry


class NoRows:
    """What a replica without rows reads."""

    def get(self, key: bytes) -> bytes | None:
        """There is none."""
        return None

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """There are none."""
        return []


def _damaged(partition: int, what: str, kind: type[DamagedData] = DamagedData) -> DamagedData:
    return kind(
        f"partition {partition}: {what}",
        path="raft",
        hint="The journal or the rows were damaged or exchanged: docs/STORAGE.md section 8.",
    )
