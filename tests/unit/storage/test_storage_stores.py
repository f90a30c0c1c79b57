"""Opening the stores of a storage on the real LevelDB: birth, restart, refusal, damage."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import msgspec
import pytest
from storage_world import (
    STORAGE,
    WALL_MS,
    Steady,
    StorageWorld,
    message,
    storage_peer,
    uuid_of,
)
from store_damage import cut, newest_log

from zmqim.chat.results import Sent
from zmqim.errors import DamagedData, DiskError, UsageError
from zmqim.meta.birth import BirthCore
from zmqim.meta.record import BirthRecord, born
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.ring.document import RingDocument, ring_of
from zmqim.storage.core import StorageCore
from zmqim.storage.effects import WriteJournal, WriteState
from zmqim.storage.stores import SYNCS_KEPT, Stores, check_birth, create_stores, open_stores
from zmqim.store.disk import DiskState
from zmqim.store.identity import read_birth
from zmqim.store.interface import Extent, JournalBatch
from zmqim.topology import load
from zmqim.topology_values import Topology

UUID = uuid_of(STORAGE)
LIVES = count(1)
"""Incarnations: each start of the one storage takes the next."""
TOPOLOGY = """
cluster = "test"
replicas = 1
partitions = 4
[limits]
write_buffer_bytes = 65_536
reserve_file_bytes = 1_048_576
[[gateway]]
name = "gateway-1"
listeners = ["http://127.0.0.1:5001"]
[[router]]
name = "router-1"
[[storage]]
name = "storage-1"
"""


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    path = tmp_path / "topology.toml"
    path.write_text(TOPOLOGY)
    return load(path)


class DiskWorld(StorageWorld):
    """A storage core over the stores of a folder, effects performed by `Stores`."""

    stores: Stores

    def perform(self, effects):  # type: ignore[no-untyped-def]
        for effect in effects:
            match effect:
                case WriteJournal(batch):
                    self.stores.write_journal(batch)
                case WriteState(rows):
                    self.stores.write_rows(rows)
        return [effect for effect in effects if not isinstance(effect, WriteJournal | WriteState)]


def _record(topology: Topology) -> BirthRecord:
    uuids: dict[str, bytes] = {STORAGE: UUID}
    record = born(topology.cluster_id, ring_of(topology), topology.storages, uuids)
    return record.with_complete(True)


@contextmanager
def opened(folder: Path, topology: Topology) -> Iterator[DiskWorld]:
    """A life of the storage on `folder`, closed in order."""
    ring: RingDocument = ring_of(topology)
    record = read_birth(folder)
    if record is None:
        record = _record(topology)
        create_stores(folder, UUID, topology, record)
    check_birth(folder, record, topology, ring)
    stores = open_stores(folder, topology)
    try:
        world = DiskWorld.__new__(DiskWorld)
        world.stores = stores
        world.document = ring
        world.now, world.wall_ms, world.request, world.sent = 0, WALL_MS, 0, []
        journal, storages = stores.journal, topology.storages
        world.core = StorageCore(
            storage_peer(STORAGE, next(LIVES)),
            ring,
            stores.rows,
            journal,
            journal.load(),
            BirthCore(STORAGE, UUID, topology.cluster_id, ring, storages, record),
            Steady(),
            world.now,
            storages=storages,
            memory=journal.peers(),
        )
        stores.check(world.core.log_ends(), world.core.applied_ends())
        world.start()
        yield world
    finally:
        stores.close()


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
def test_acknowledged_messages_are_there_in_the_next_life(
    tmp_path: Path, topology: Topology
) -> None:
    folder = tmp_path / "storage-1"
    folder.mkdir()
    for life in range(4):
        with opened(folder, topology) as world:
            world.add("g", "alice")
            results = world.send(
                *[message("alice", "g", str(n), bytes(500)) for n in range(100 * (life + 1))]
            )
            sequences = [result.sequence for result in results if isinstance(result, Sent)]
            assert sequences == list(range(1, 100 * (life + 1) + 1))
            again = [result.duplicate for result in results if isinstance(result, Sent)]
            assert again == [True] * (100 * life) + [False] * 100
            assert world.core.groups[0].raft.term == life + 1


def test_the_first_start_writes_who_the_replicas_are_and_the_birth_record(
    tmp_path: Path, topology: Topology
) -> None:
    folder = tmp_path / "storage-1"
    folder.mkdir()
    with opened(folder, topology) as world:
        birth = read_birth(folder)
        assert birth is not None
        assert birth.node_uuids == {"storage-1": UUID}
        assert birth.complete
        assert (birth.partitions, birth.ring_hash) == (4, ring_of(topology).hash)
        metas = {
            partition: ReplicaMeta.decode(loaded.replica_meta or b"")
            for partition, loaded in world.stores.journal.load().items()
        }
        assert metas == {
            n: ReplicaMeta(birth.genesis[n].group_uuid, n + 1, n + 1, 1, ReplicaStatus.VOTER)
            for n in range(5)
        }


def test_another_ring_than_at_birth_is_refused_in_words(tmp_path: Path, topology: Topology) -> None:
    folder = tmp_path / "storage-1"
    other = dataclasses.replace(topology, partitions=8)
    with pytest.raises(UsageError, match=r"born with 4 partitions, .* has 8") as more:
        check_birth(folder, _record(topology), other, ring_of(other))
    assert "Set partitions = 4" in more.value.hint
    moved = msgspec.structs.replace(_record(topology), ring_hash=bytes(32))
    with pytest.raises(UsageError, match="placed otherwise"):
        check_birth(folder, moved, topology, ring_of(topology))


@pytest.mark.promise("P8")
@pytest.mark.parametrize("lost", ["raft", "state", "durable.mark"])
def test_a_store_that_is_missing_after_birth_is_damage(
    tmp_path: Path, topology: Topology, lost: str
) -> None:
    folder = tmp_path / "storage-1"
    folder.mkdir()
    with opened(folder, topology):
        pass
    path = folder / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(DamagedData, match=lost), opened(folder, topology):
        pass


@pytest.mark.promise("P1")
@pytest.mark.promise("P8")
def test_a_journal_whose_synced_tail_is_gone_is_never_served(
    tmp_path: Path, topology: Topology
) -> None:
    folder = tmp_path / "storage-1"
    folder.mkdir()
    with opened(folder, topology) as world:
        world.add("g", "alice")
        log = newest_log(next((folder / "raft").glob("g*[0-9]")))
        kept = os.path.getsize(log)
        world.send(*[message("alice", "g", str(n)) for n in range(5)])
    cut(log, kept)
    with pytest.raises(DamagedData, match=r"(applied|synced) up to"), opened(folder, topology):
        pass


@pytest.mark.promise("P8")
@pytest.mark.parametrize("written", [False, True])
def test_a_crash_around_the_batch_of_a_snapshot_raises_no_alarm(
    tmp_path: Path, topology: Topology, written: bool
) -> None:
    folder = tmp_path / "storage-1"
    folder.mkdir()
    meta_group = topology.partitions
    old = JournalBatch(
        entries={meta_group: [b"old"] * 100},
        extents={meta_group: Extent(1, 100, 0, 0)},
        ends={meta_group: (3, 100)},
    )
    new = JournalBatch(
        extents={meta_group: Extent(61, 60, 2, 77)},
        ends={meta_group: (2, 60)},
        lowered={meta_group: (2, 60)},
    )
    create_stores(folder, UUID, topology, _record(topology))
    stores = open_stores(folder, topology)
    stores.write_journal(old)
    stores.keep_witness()
    with pytest.raises(AssertionError, match="hear of every end"):
        stores.write_journal(JournalBatch(extents=new.extents))
    with pytest.raises(AssertionError, match="below its mark"):
        stores.write_journal(JournalBatch(extents=new.extents, ends=new.ends))
    if written:
        stores.write_journal(new)
    else:
        stores.journal.close()  # the power fails between the mark and the batch
        with pytest.raises(DiskError):
            stores.write_journal(new)
    stores.close()
    stores = open_stores(folder, topology)
    try:
        extent = stores.journal.load()[meta_group].extent
        assert extent == (new if written else old).extents[meta_group]
        assert stores.mark.ends()[meta_group] == (2, 60)
        stores.check({meta_group: (2, 60) if written else (3, 100)}, {})
        with pytest.raises(DamagedData, match="partition 4 ends at"):
            stores.check({meta_group: (2, 59)}, {})
    finally:
        stores.close()


def test_the_room_on_the_disk_and_the_pace_of_syncs_are_told(
    tmp_path: Path, topology: Topology
) -> None:
    folder = tmp_path / "storage-1"
    folder.mkdir()
    with opened(folder, topology) as world:
        stores = world.stores
        assert stores.disk_state(0) is DiskState.OK
        assert (folder / "reserve").stat().st_size == 1_048_576
        assert stores.sync_p99_us() > 0
        stores.keep_witness()
        stores._sync_us = [5] * SYNCS_KEPT
        world.add("g", "alice")
        assert len(stores._sync_us) == SYNCS_KEPT // 2 + 1
    limits = dataclasses.replace(topology.limits, disk_free_min_bytes=1 << 60)
    full = dataclasses.replace(topology, limits=limits)
    with opened(folder, full) as world:
        assert world.stores.disk_state(0) is DiskState.FULL
        assert not (folder / "reserve").exists()
