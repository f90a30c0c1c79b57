"""The state machine of the meta group: who belongs to the cluster and where replicas should be.

Deterministic like that of a partition (`zmqim.chat.state`), with the same surface towards the
storage process. It decides what must be decided once: which disk has a name, which life of it was
granted, which replica id is whose, which ring is the target. Who votes in a group it only
*records*: that stands in the group's own log.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import assert_never

import msgspec

from zmqim.chat.applied import read_applied
from zmqim.chat.digest import DigestNotes, fold
from zmqim.chat.state import Outcome
from zmqim.chat.view import RowView
from zmqim.errors import WireError
from zmqim.limits import DIGEST_ENTRIES
from zmqim.meta import rows
from zmqim.meta.operations import (
    Accepted,
    Allocated,
    AllocateReplica,
    BootGrant,
    Found,
    MetaOperation,
    MetaReason,
    MetaResult,
    PartitionMoved,
    PublishRing,
    Refused,
    RegisterNode,
    ReplacementDone,
    SetFeatureLevel,
    decode_operation,
    encode,
)
from zmqim.meta.rows import ClusterRow, GroupRow, MetaKeys, NodeRow, NodeState, RingRow
from zmqim.raft.config import GroupConfig
from zmqim.ring.document import RingDocument

_INDEX = Struct(">Q")
_SAME = Accepted(False)
_CHANGED = Accepted(True)


class MetaState:
    """The applied state of the meta group. `groups`, `nodes` and the rest are for reading."""

    def __init__(
        self, partition: int, install: int, view: RowView, digest_entries: int = DIGEST_ENTRIES
    ) -> None:
        self.keys = MetaKeys(partition, install)
        self._view = view
        self.applied = read_applied(self.keys.applied, view)
        self.notes = DigestNotes(digest_entries)
        self.cluster: ClusterRow | None = None
        """None until the birth record is applied."""
        self.nodes: dict[bytes, NodeRow] = {}
        """Every disk that ever was, by node uuid."""
        self.groups: dict[int, GroupRow] = {}
        """By partition, the meta group last."""
        self.allocations: dict[tuple[int, bytes], int] = {}
        """Replica ids given out for replicas not yet come and gone, by (partition, node uuid)."""
        self.ring: RingDocument | None = None
        """The target placement."""
        self._names: dict[str, bytes] = {}
        self._load()

    # ---- the surface of every state machine ------------------------------------------------------

    def apply(
        self, index: int, term: int, hlc: int, payload: bytes, operation: MetaOperation | None
    ) -> Outcome:
        """Apply the entry at `index`. `operation` is `payload` decoded, if that was done before."""
        self.skip(index, term, hlc)
        if operation is None:
            operation = decode_operation(payload)
        result = encode(self._result(operation))
        self.applied.digest = fold(self.applied.digest, result)
        return result, None

    def skip(self, index: int, term: int, hlc: int) -> None:
        """Apply an entry that changes nothing else, such as a NO-OP."""
        applied = self.applied
        assert index == applied.index + 1
        self._note()
        applied.index = index
        applied.term = term
        applied.hlc = hlc

    def put_config(self, index: int, config: bytes) -> None:
        """The entry at `index` brought the group's own configuration."""
        self._view.put(self.keys.config, _INDEX.pack(index) + config)

    def config(self) -> tuple[int, bytes] | None:
        """(index, encoded configuration) as of the last applied entry; None: that of birth."""
        body = self._view.get(self.keys.config)
        if body is None:
            return None
        (index,) = _INDEX.unpack_from(body)
        return index, body[_INDEX.size :]

    def flush(self) -> None:
        """Put `Applied` into the view, at the end of a turn that applied something."""
        self._view.put(self.keys.applied, self.applied.encode())
        self._note()

    def _note(self) -> None:
        if not self.applied.index % self.notes.every:
            self.notes.note(self.applied.index, self.applied.digest)

    # ---- what is known ---------------------------------------------------------------------------

    def holder(self, name: str) -> NodeRow | None:
        """The disk that has this name."""
        node_uuid = self._names.get(name)
        return None if node_uuid is None else self.nodes[node_uuid]

    @property
    def names(self) -> list[str]:
        """Every name that a disk has."""
        return sorted(self._names)

    @property
    def replacing(self) -> list[NodeRow]:
        """The disks whose replacement is under way: the open tasks."""
        open_tasks = [node for node in self.nodes.values() if node.state == NodeState.REPLACING]
        return sorted(open_tasks, key=lambda node: node.name)

    def wanted(self, partition: int) -> dict[str, bytes]:
        """Who should vote in a group: the disks, by name. The ring says so; for the meta group the
        names of its birth."""
        assert self.ring is not None
        names: list[str]
        if partition < self.ring.partitions:
            names = list(self.ring.placement[partition][: self.ring.voters])
        else:
            names = [place.name for place in self.groups[partition].genesis.voters]
        return {name: self._names[name] for name in names}

    def lacking(self, node: NodeRow) -> list[int]:
        """The groups that still have a replica of a former disk of that name, or lack the new."""
        return [
            partition
            for partition, group in self.groups.items()
            if _lacks(group.config, node, node.name in self.wanted(partition))
        ]

    # ---- operations ------------------------------------------------------------------------------

    def _result(self, operation: MetaOperation) -> MetaResult:
        if isinstance(operation, Found):
            return self._found(operation)
        cluster = self.cluster
        if cluster is None:
            return Refused(MetaReason.NOT_FOUNDED, "the meta group holds no birth record yet")
        match operation:
            case RegisterNode():
                return self._register(operation)
            case BootGrant():
                return self._grant(operation)
            case AllocateReplica():
                return self._allocate(cluster, operation)
            case PartitionMoved():
                return self._moved(cluster, operation)
            case ReplacementDone():
                return self._done(operation)
            case PublishRing():
                return self._publish(cluster, operation)
            case SetFeatureLevel(level=level):
                if level <= cluster.feature_level:
                    return _SAME
                self._put_cluster(msgspec.structs.replace(cluster, feature_level=level))
                return _CHANGED
            case _:
                assert_never(operation)

    def _found(self, found: Found) -> MetaResult:
        if self.cluster is not None:
            history = [group.group_uuid for group in self.groups.values()]
            if history == [genesis.group_uuid for genesis in found.genesis]:
                return _SAME
            return Refused(MetaReason.FOUNDED_OTHERWISE, "this cluster has another birth record")
        try:
            ring = RingDocument.from_json(found.ring)
        except WireError as error:
            return Refused(MetaReason.BAD_RING, str(error))
        named = {node.name for node in found.nodes}
        voting = {place.name for one in found.genesis for place in one.config.voters}
        if len(found.genesis) != ring.partitions + 1 or not _names_of(ring) | voting <= named:
            return Refused(MetaReason.BAD_RING, "the ring does not fit the birth record")
        replica_last = 0
        for partition, genesis in enumerate(found.genesis):
            config = genesis.config
            self._put_group(partition, GroupRow(genesis.group_uuid, config, 0, 0, config))
            replica_last = max(replica_last, 0, *config.places)
        for node in found.nodes:
            self._put_node(
                NodeRow(node.name, node.node_uuid, node.zone, node.weight, NodeState.MEMBER)
            )
        self._put_ring(ring, found.ring, b"")
        self._put_cluster(
            ClusterRow(found.cluster_id, replica_last, ring.version, found.feature_level)
        )
        return _CHANGED

    def _register(self, register: RegisterNode) -> MetaResult:
        known = self.nodes.get(register.node_uuid)
        if known is not None:
            return self._register_again(known, register)
        holder = self.holder(register.name)
        if holder is None:
            return Refused(
                MetaReason.UNKNOWN_NAME, f"no storage of this cluster is named {register.name}"
            )
        if register.former != holder.node_uuid or register.former_incarnation < holder.incarnation:
            return Refused(
                MetaReason.NAME_TAKEN,
                f"{register.name} is another disk, which is not known to be down",
            )
        for partition, node_uuid in list(self.allocations):
            if node_uuid == holder.node_uuid:
                self._drop_allocation(partition, node_uuid)
        self._put_node(msgspec.structs.replace(holder, state=NodeState.GONE))
        self._put_node(
            NodeRow(
                register.name,
                register.node_uuid,
                register.zone,
                register.weight,
                NodeState.REPLACING,
            )
        )
        return _CHANGED

    def _register_again(self, known: NodeRow, register: RegisterNode) -> MetaResult:
        if known.state == NodeState.GONE:
            return _retired(known)
        if known.name != register.name:
            return Refused(MetaReason.OTHER_NAME, f"that disk is registered as {known.name}")
        node = msgspec.structs.replace(known, zone=register.zone, weight=register.weight)
        if node == known:
            return _SAME
        self._put_node(node)
        return _CHANGED

    def _grant(self, grant: BootGrant) -> MetaResult:
        node = self.nodes.get(grant.node_uuid)
        if node is None:
            return Refused(MetaReason.NOT_REGISTERED, "that disk is not registered")
        if node.state == NodeState.GONE:
            return _retired(node)
        life = (grant.incarnation, grant.start)
        if life == (node.incarnation, node.start):
            return _SAME
        if grant.incarnation <= node.incarnation:
            return Refused(
                MetaReason.STALE_INCARNATION,
                f"incarnation {grant.incarnation} of {node.name} was granted before: the folder is"
                " a copy, or was put back from one",
            )
        self._put_node(
            msgspec.structs.replace(node, incarnation=grant.incarnation, start=grant.start)
        )
        return _CHANGED

    def _allocate(self, cluster: ClusterRow, allocate: AllocateReplica) -> MetaResult:
        partition, node_uuid = allocate.partition, allocate.node_uuid
        if partition not in self.groups:
            return Refused(MetaReason.UNKNOWN_GROUP, f"there is no group {partition}")
        node = self.nodes.get(node_uuid)
        if node is None:
            return Refused(MetaReason.NOT_REGISTERED, "that disk is not registered")
        if node.state == NodeState.GONE:
            return _retired(node)
        replica = self.allocations.get((partition, node_uuid))
        if replica is None:
            replica = cluster.replica_last + 1
            self._put_cluster(msgspec.structs.replace(cluster, replica_last=replica))
            self.allocations[partition, node_uuid] = replica
            self._view.put(self.keys.allocation(partition, node_uuid), encode(replica))
        return Allocated(replica)

    def _moved(self, cluster: ClusterRow, moved: PartitionMoved) -> MetaResult:
        group = self.groups.get(moved.partition)
        if group is None or group.group_uuid != moved.group_uuid:
            return Refused(
                MetaReason.UNKNOWN_GROUP, f"there is no group {moved.partition} of that history"
            )
        if moved.conf_id <= group.conf_id:
            return _SAME
        there = moved.config.places
        if not 0 < max(there, default=0) <= cluster.replica_last:
            return Refused(
                MetaReason.UNKNOWN_REPLICA, "the configuration names a replica never given out"
            )
        for replica, place in group.config.places.items():
            key = (moved.partition, place.node_uuid)
            if replica not in there and self.allocations.get(key) == replica:
                self._drop_allocation(*key)
        self._put_group(
            moved.partition,
            msgspec.structs.replace(
                group, conf_id=moved.conf_id, term=moved.term, config=moved.config
            ),
        )
        return _CHANGED

    def _done(self, done: ReplacementDone) -> MetaResult:
        node = self.nodes.get(done.node_uuid)
        if node is None or node.state == NodeState.GONE:
            return Refused(MetaReason.NOT_REPLACING, "that disk replaces no other")
        if node.state == NodeState.MEMBER:
            return _SAME
        lacking = self.lacking(node)
        if lacking:
            return Refused(
                MetaReason.NOT_DONE,
                f"group {lacking[0]} is not done, nor {len(lacking) - 1} others",
            )
        self._put_node(msgspec.structs.replace(node, state=NodeState.MEMBER))
        return _CHANGED

    def _publish(self, cluster: ClusterRow, publish: PublishRing) -> MetaResult:
        assert self.ring is not None
        try:
            ring = RingDocument.from_json(publish.document)
        except WireError as error:
            return Refused(MetaReason.BAD_RING, str(error))
        if ring == self.ring:
            return _SAME
        if ring.partitions != self.ring.partitions or not _names_of(ring) <= self._names.keys():
            return Refused(MetaReason.BAD_RING, "the ring is of other partitions or storages")
        if publish.previous != self.ring.hash or ring.version != self.ring.version + 1:
            return Refused(
                MetaReason.BROKEN_CHAIN,
                f"ring {ring.version} does not follow ring {self.ring.version}",
            )
        self._put_ring(ring, publish.document, publish.previous)
        self._put_cluster(msgspec.structs.replace(cluster, ring_version=ring.version))
        return _CHANGED

    # ---- rows ------------------------------------------------------------------------------------

    def _load(self) -> None:
        view, keys = self._view, self.keys
        body = view.get(keys.cluster)
        if body is None:
            return
        self.cluster = rows.decode_cluster(body)
        for _, body in view.scan(*keys.tagged(b"N")):
            self._know(rows.decode_node(body))
        for key, body in view.scan(*keys.tagged(b"G")):
            self.groups[keys.partition_of(key)] = rows.decode_group(body)
        for key, body in view.scan(*keys.tagged(b"L")):
            place = (keys.partition_of(key), keys.uuid_of(key))
            self.allocations[place] = rows.decode_replica(body)
        body = view.get(keys.ring(self.cluster.ring_version))
        assert body is not None
        self.ring = RingDocument.from_json(rows.decode_ring(body).document)

    def _know(self, node: NodeRow) -> None:
        self.nodes[node.node_uuid] = node
        if node.state != NodeState.GONE:
            self._names[node.name] = node.node_uuid

    def _put_cluster(self, cluster: ClusterRow) -> None:
        self.cluster = cluster
        self._view.put(self.keys.cluster, encode(cluster))

    def _put_node(self, node: NodeRow) -> None:
        self._know(node)
        self._view.put(self.keys.node(node.node_uuid), encode(node))

    def _put_group(self, partition: int, group: GroupRow) -> None:
        self.groups[partition] = group
        self._view.put(self.keys.group(partition), encode(group))

    def _put_ring(self, ring: RingDocument, document: bytes, previous: bytes) -> None:
        self.ring = ring
        row = RingRow(document, ring.hash, previous)
        self._view.put(self.keys.ring(ring.version), encode(row))

    def _drop_allocation(self, partition: int, node_uuid: bytes) -> None:
        del self.allocations[partition, node_uuid]
        self._view.delete(self.keys.allocation(partition, node_uuid))


def _names_of(ring: RingDocument) -> set[str]:
    return {name for owners in ring.placement for name in owners}


def _lacks(config: GroupConfig, node: NodeRow, wanted: bool) -> bool:
    there: Mapping[int, bytes] = {
        replica: place.node_uuid
        for replica, place in config.places.items()
        if place.name == node.name
    }
    if any(node_uuid != node.node_uuid for node_uuid in there.values()):
        return True
    return wanted and not any(config.is_voter(replica) for replica in there)


def _retired(node: NodeRow) -> Refused:
    return Refused(
        MetaReason.RETIRED,
        f"{node.name} was given to a new disk while this one was away: its folder is out of date",
    )
