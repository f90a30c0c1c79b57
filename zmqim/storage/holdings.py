"""Which replicas a storage holds: opened from the journal, begun for a leader, given up for good.

What it writes of that, replica metas and the lives of peers, goes into the next journal batch.
"""

from __future__ import annotations

from collections.abc import Mapping

from zmqim.bus.replication import Append, GroupBody, SnapshotOffer
from zmqim.chat.view import RowView
from zmqim.ids import NodeName
from zmqim.limits import HEADS_CACHED_MAX
from zmqim.meta.record import BirthRecord
from zmqim.meta.state import MetaState
from zmqim.raft.groups import Groups
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.ring.document import RingDocument
from zmqim.storage.genesis import FIRST_INSTALL
from zmqim.storage.group import Group
from zmqim.storage.opening import GROUP_BYTES, meta_of, open_group, open_raft
from zmqim.storage.registry import MetaGroup, Registry
from zmqim.storage.replica import Replica
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
    ) -> None:
        """`memory` is the highest incarnation seen of each other disk."""
        self.groups: dict[int, Group] = {}
        """The partitions of chat."""
        self._record = record
        self._ring = ring
        self._view = view
        self._journal = journal
        self._replicas = replicas
        self._registry = registry
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
        self.heads_max = HEADS_CACHED_MAX // max(len(held), 1)
        for number in held:
            self._open(now, number, loaded[number])

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
        if number in self._replicas.cores:
            return
        if not isinstance(message, Append | SnapshotOffer) or number > self._record.meta_group:
            return
        genesis = self._record.genesis[number]
        retired = self._retired.get(number)
        if message.group != genesis.group_uuid[:GROUP_BYTES]:
            return
        install = FIRST_INSTALL
        if retired is not None:
            if message.target < retired.replica_id_min:
                return
            install = retired.install + 1
            self._lowered[number] = (0, 0)
            del self._retired[number]
        meta = ReplicaMeta(
            genesis.group_uuid,
            message.target,
            message.target,
            install,
            ReplicaStatus.LEARNER,
        )
        self._metas[number] = meta.encode()
        self._open(now, number, LoadedPartition(None, meta.encode(), None))
        self._replicas.cores[number].begin_anew()

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
            state = MetaState(number, meta.install, self._view)
            raft = open_raft(number, meta, state, self._journal, loaded, genesis)
            self._registry.group = MetaGroup(number, raft, state, meta)
            self._replicas.add(now, raft, [NodeName(place.name) for place in genesis.voters])
            return
        group = open_group(number, self._view, self._journal, loaded, genesis, self.heads_max)
        self.groups[number] = group
        if group.meta != meta:
            self._metas[number] = group.meta.encode()  # It was found damaged.
        self._replicas.add(now, group.raft, self._ring.placement[number])
