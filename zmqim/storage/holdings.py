"""Which replicas a storage holds: opened from the journal, begun for a leader, given up for good.

What it writes of that, replica metas and the lives of peers, goes into the next journal batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from zmqim.bus.replication import Append, GroupBody, SnapshotOffer
from zmqim.chat.state import ChatState
from zmqim.chat.view import RowView
from zmqim.ids import NodeName
from zmqim.limits import HEADS_CACHED_MAX
from zmqim.meta.record import BirthRecord
from zmqim.meta.state import MetaState
from zmqim.raft.config import GroupConfig
from zmqim.raft.groups import Groups
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.raft.state import GROUP_BYTES
from zmqim.ring.document import RingDocument
from zmqim.storage.garbage import Garbage
from zmqim.storage.group import Group
from zmqim.storage.opening import (
    VOTERS_TO_REBUILD,
    NoRows,
    RowsDamaged,
    meta_of,
    open_group,
    open_raft,
    open_without_rows,
)
from zmqim.storage.registry import MetaGroup, Registry
from zmqim.storage.replica import Machine, Replica
from zmqim.store.interface import JournalBatch, JournalReader, LoadedPartition


class Holdings:
    """All replicas of one storage."""

    def __init__(
        self,
        record: BirthRecord,
        ring: RingDocument,
        view: RowView,
        journal: JournalReader,
        replicas: Groups,
        registry: Registry,
        memory: Mapping[bytes, int],
        garbage: Garbage,
        digest_entries: int,
    ) -> None:
        """`memory` is the highest incarnation seen of each other disk."""
        self.groups: dict[int, Group] = {}
        """The partitions of chat."""
        self._record = record
        self._ring = ring
        self._view = view
        self._journal = journal
        self._replicas = replicas
        self._garbage = garbage
        self._registry = registry
        self._digest_entries = digest_entries
        self._partitions = ring.partitions
        self.heads_max = HEADS_CACHED_MAX // ring.partitions
        """Decoded channel heads that a partition may keep."""
        self._retired: dict[int, ReplicaMeta] = {}
        """Replicas that were removed: a later one has a higher id."""
        self._metas: dict[int, bytes] = {}
        self._lowered: dict[int, tuple[int, int]] = {}
        self._memory = dict(memory)
        self._remembered: dict[bytes, int] = {}

    def open_all(self, now: int, loaded: Mapping[int, LoadedPartition]) -> None:
        """Take up everything that the journal holds a replica of."""
        held = [number for number, one in loaded.items() if one.replica_meta is not None]
        for number in held:
            self._open(now, number, loaded[number])
            one = self.replica(number)
            meta = self._retired[number] if one is None else one.meta
            self._garbage.look(number, meta.install, is_held=one is not None)
            if one is not None and meta.encode() != loaded[number].replica_meta:
                self._metas[number] = meta.encode()

    def replica(self, number: int) -> Replica | None:
        """The replica of that group, if one is held."""
        meta = self._registry.group
        if meta is not None and number == meta.partition:
            return meta
        return self.groups.get(number)

    def machine(self, number: int, install: int) -> Machine:
        """The state of a group, as its rows under that install number say."""
        if number == self._record.meta_group:
            return MetaState(number, install, self._view, self._digest_entries)
        return ChatState(
            number, self._partitions, install, self._view, self.heads_max, self._digest_entries
        )

    def genesis(self, number: int) -> GroupConfig:
        """The configuration of birth."""
        return self._record.genesis[number].config

    def remember(self, node_uuid: bytes, incarnation: int) -> bool:
        """A life of another disk speaks; False if a later one did before."""
        known = self._memory.get(node_uuid, 0)
        if incarnation > known:
            self._memory[node_uuid] = self._remembered[node_uuid] = incarnation
        return incarnation >= known

    def begin_batch(self) -> JournalBatch:
        """The next journal write, with what is to be noted of replicas and peers."""
        batch = JournalBatch(
            replica_metas=self._metas, peers=self._remembered, lowered=self._lowered
        )
        self._metas, self._remembered, self._lowered = {}, {}, {}
        return batch

    def log_ends(self) -> dict[int, tuple[int, int]]:
        """(term, index) of the last entry of each log, as loaded or appended."""
        return {p: (one.raft.log.last_term, one.raft.last) for p, one in self._all().items()}

    def applied_ends(self) -> dict[int, tuple[int, int]]:
        """(term, index) of the last entry that each group's rows contain."""
        ends = {
            p: (group.state.applied.term, group.state.applied.index)
            for p, group in self.groups.items()
        }
        meta = self._registry.group
        if meta is not None:
            ends[meta.partition] = (meta.state.applied.term, meta.state.applied.index)
        return ends

    def _all(self) -> dict[int, Replica]:
        meta = self._registry.group
        return {**self.groups} if meta is None else {**self.groups, meta.partition: meta}

    def make(self, now: int, message: GroupBody) -> None:
        """A leader feeds a replica that is to be here: begin it as a learner, with nothing.

        Its id was given out for this disk alone, by the meta group, and stands in the group's own
        log; it is never one that was removed. A learner has no vote until that log says so.
        """
        number = message.partition
        if not isinstance(message, Append | SnapshotOffer) or number > self._record.meta_group:
            return
        genesis = self._record.genesis[number]
        retired = self._retired.get(number)
        if message.group != genesis.group_uuid[:GROUP_BYTES]:
            return
        held = self.replica(number)
        if held is not None:
            self._outlive(held, message.term)
            return
        if retired is not None:
            if message.target < retired.replica_id_min:
                return
            self._lowered[number] = (0, 0)
            del self._retired[number]
        meta = ReplicaMeta(
            genesis.group_uuid,
            message.target,
            message.target,
            self._garbage.fresh(number),
            ReplicaStatus.LEARNER,
        )
        self._metas[number] = meta.encode()
        self._open(now, number, LoadedPartition(None, meta.encode(), None))
        self._replicas.cores[number].begin_anew()

    def lose_rows(self, replica: Replica) -> None:
        """Its rows are wrong, though nothing is damaged that can be seen: it gets its leader's."""
        replica.meta = msgspec.structs.replace(replica.meta, status=ReplicaStatus.DAMAGED)
        self._metas[replica.partition] = replica.meta.encode()
        replica.raft.lose_rows()
        self._replicas.touched.add(replica.partition)

    def _outlive(self, held: Replica, term: int) -> None:
        """A later replica is fed here: this one was removed before, and that is committed.

        Nobody told it, for the leader feeds only who is in the configuration.
        """
        if held.raft.lead is None and term >= held.raft.term:
            held.is_removed = True
            self._replicas.touched.add(held.partition)

    def drop_removed(self, held: Mapping[int, Replica]) -> list[int]:
        """What was removed, by a committed configuration, is held no more; its id is burnt."""
        dropped = [number for number, replica in held.items() if replica.is_removed]
        for number in dropped:
            replica = held[number]
            meta = replica.meta
            retired = ReplicaMeta(
                meta.group_uuid,
                meta.replica_id,
                replica.raft.replica + 1,
                meta.install,
                ReplicaStatus.REMOVED,
            )
            self._retired[number] = retired
            self._garbage.add(number, meta.install)
            self._metas[number] = retired.encode()
            self._replicas.remove(number)
            if self.groups.pop(number, None) is None:
                self._registry.group = None
        return dropped

    def _open(self, now: int, number: int, loaded: LoadedPartition) -> None:
        """Take up the replica that the journal holds."""
        meta = meta_of(number, loaded)
        if meta.status == ReplicaStatus.REMOVED:
            self._retired[number] = meta
            return
        genesis = self._record.genesis[number].config
        if number == self._record.meta_group:
            one = self._open_meta(number, meta, loaded)
            self._registry.group = one
            self._replicas.add(now, one.raft, [NodeName(place.name) for place in genesis.voters])
            return
        group = open_group(
            number,
            self._partitions,
            self._view,
            self._journal,
            loaded,
            genesis,
            self.heads_max,
            self._digest_entries,
        )
        self.groups[number] = group
        self._replicas.add(now, group.raft, self._ring.placement[number])

    def _open_meta(self, number: int, meta: ReplicaMeta, loaded: LoadedPartition) -> MetaGroup:
        """As `open_group`, with the other state."""
        genesis = self.genesis(number)
        if meta.status != ReplicaStatus.DAMAGED:
            try:
                state = MetaState(number, meta.install, self._view, self._digest_entries)
                raft = open_raft(number, meta, state, self._journal, loaded, genesis)
                return MetaGroup(number, raft, state, meta)
            except RowsDamaged:
                if len(genesis.voters) < VOTERS_TO_REBUILD:
                    raise
        meta = msgspec.structs.replace(meta, status=ReplicaStatus.DAMAGED)
        state = MetaState(number, meta.install, RowView(NoRows()))
        raft = open_without_rows(number, meta, self._journal, loaded, genesis)
        return MetaGroup(number, raft, state, meta)
