"""What a storage holds at birth: a replica of every group that names its disk."""

from __future__ import annotations

from typing import Final

from zmqim.ids import NodeUuid
from zmqim.meta.record import BirthRecord
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.store.interface import JournalBatch

FIRST_INSTALL: Final = 1
"""The install number of rows that no snapshot ever replaced."""


def first_batch(record: BirthRecord, node_uuid: NodeUuid) -> JournalBatch:
    """The first write into the journal of the disk `node_uuid`: row `R` of every replica."""
    metas = {
        partition: ReplicaMeta(
            genesis.group_uuid, place.replica, place.replica, FIRST_INSTALL, ReplicaStatus.VOTER
        ).encode()
        for partition, genesis in enumerate(record.genesis)
        for place in genesis.config.voters
        if place.node_uuid == node_uuid
    }
    return JournalBatch(replica_metas=metas)
