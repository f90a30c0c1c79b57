"""A partition as the stores hold it: log, rows and replica meta put together, and checked.

It reads the entries that the rows lack, which are those that were not applied when the process
ended, and refuses what does not fit together. Where the log is whole and only the rows are not
those that belong to it, other voters hold the data: then the replica is opened as a damaged one,
with its log and without rows, and gets them from its leader (`zmqim.storage.installing`). What is
wrong with a log, a vote or a replica meta is never made good here.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from zmqim.chat.state import Applied, ChatState
from zmqim.chat.view import RowView
from zmqim.errors import DamagedData, WireError
from zmqim.limits import MB
from zmqim.raft.config import GroupConfig
from zmqim.raft.core import RaftCore
from zmqim.raft.entry import Entry, decode_entry, follows
from zmqim.raft.log import Log, LogEnd, LogExtent, ReadBodies
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.raft.state import HardState, Identity
from zmqim.storage.group import Group
from zmqim.store.interface import JournalReader, LoadedPartition

GROUP_BYTES = 8
"""Of the group uuid's 16, the first so many travel in each message."""
_READ_BYTES = 4 * MB


class Machine(Protocol):
    """What the log is applied to, as far as opening needs it."""

    applied: Applied

    def config(self) -> tuple[int, bytes] | None: ...


def open_group(
    partition: int,
    view: RowView,
    journal: JournalReader,
    loaded: LoadedPartition,
    genesis: GroupConfig,
    heads_max: int,
) -> Group:
    """The partition as the stores hold it, with a cache of `heads_max` channel heads.

    `genesis` is its first configuration. `DamagedData` if log and rows do not fit together and no
    other voter can help, or if it is the log that is damaged.
    """
    meta = meta_of(partition, loaded)
    extent = loaded.extent or LogExtent()
    if meta.status != ReplicaStatus.DAMAGED:
        try:
            state = ChatState(partition, meta.install, view, heads_max)
            raft = open_raft(partition, meta, state, journal, loaded, genesis)
            return Group(partition, raft, state, meta)
        except _RowsDamaged:
            if len(genesis.voters) == 1:
                raise
    meta = msgspec.structs.replace(meta, status=ReplicaStatus.DAMAGED)
    end, _ = _read_log(partition, journal, extent, Applied(index=extent.last))
    raft = RaftCore(
        Identity(partition, meta.group_uuid[:GROUP_BYTES], meta.replica_id),
        _vote(partition, loaded.hard_state, end),
        Log(extent, end, extent.last, [], _reader(journal, partition)),
        genesis,
        is_damaged=True,
    )
    state = ChatState(partition, meta.install, RowView(_NoRows()), heads_max)
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
        raise _damaged(partition, fault, _RowsDamaged)
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
                raise _damaged(partition, fault, _RowsDamaged)
            end = LogEnd(entry.term, entry.chain, entry.hlc)
            chain = entry.chain
            first += 1
    return end, unapplied


def _config(partition: int, body: bytes) -> GroupConfig:
    try:
        return GroupConfig.decode(body)
    except WireError as error:
        raise _damaged(partition, str(error)) from None


def _vote(partition: int, body: bytes | None, end: LogEnd) -> HardState:
    try:
        hard_state = HardState() if body is None else HardState.decode(body)
    except WireError as error:
        raise _damaged(partition, str(error)) from None
    if end.term > hard_state.term:
        raise _damaged(partition, f"its log has term {end.term}, later than its vote")
    return hard_state


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


class _RowsDamaged(DamagedData):
    """The log is whole; the rows are not those that were made from it."""


class _NoRows:
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
        hint="The journal or the rows were damaged or exchanged; restore both from one backup.",
    )
