"""What every partition is at birth: its history's name and its first configuration."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from zmqim.ids import ClusterId, NodeName, NodeUuid
from zmqim.raft.config import GroupConfig, Place
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.ring.document import RingDocument

FIRST_INSTALL = 1
"""The install number of rows that no snapshot ever replaced."""


def group_uuid(cluster_id: ClusterId, partition: int) -> bytes:
    """Which history of a partition: the same on all storages that are born without talking."""
    text = cluster_id + partition.to_bytes(4, "big")
    return blake2b(text, digest_size=16, person=b"zmqim-group").digest()


def first_configs(
    ring: RingDocument, node_uuids: Mapping[NodeName, NodeUuid]
) -> dict[int, GroupConfig]:
    """The configuration of birth by partition; no replica id is given twice."""
    configs = {}
    for partition, owners in enumerate(ring.placement):
        first = partition * ring.replicas + 1
        places = [
            Place(first + offset, name, node_uuids[name]) for offset, name in enumerate(owners)
        ]
        configs[partition] = GroupConfig(tuple(places[: ring.voters]))
    return configs


def first_metas(
    cluster_id: ClusterId, name: NodeName, configs: Mapping[int, GroupConfig]
) -> dict[int, bytes]:
    """Row `R` of every replica that the storage `name` holds at birth."""
    return {
        partition: ReplicaMeta(
            group_uuid(cluster_id, partition),
            place.replica,
            place.replica,
            FIRST_INSTALL,
            ReplicaStatus.VOTER,
        ).encode()
        for partition, config in configs.items()
        for place in config.voters
        if place.name == name
    }
