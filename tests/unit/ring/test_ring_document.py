"""The ring document: equal on every process, and a refusal that names what differs."""

from __future__ import annotations

import pytest

from zmqim.errors import WireError
from zmqim.ids import NodeName, PartitionId
from zmqim.ring.document import RingDocument, differing, key_digests, ring_of
from zmqim.topology import load, parse, shipped
from zmqim.topology_values import Topology

THREE = load(shipped("three-storages.toml"))
QUICK = load(shipped("quickstart.toml"))


def changed(old: str, new: str) -> Topology:
    text = shipped("three-storages.toml").read_text()
    assert old in text
    return parse(text.replace(old, new, 1), "changed.toml")


def test_every_process_computes_the_same_hash() -> None:
    one, other = ring_of(THREE), ring_of(load(shipped("three-storages.toml")))
    assert one == other
    assert one.hash == other.hash
    assert len(one.hash) == 8


def test_the_document_survives_the_wire() -> None:
    ring = ring_of(THREE)
    assert RingDocument.from_json(ring.to_json()) == ring


def test_every_replica_is_a_voter_and_the_first_is_the_home_leader() -> None:
    ring = ring_of(THREE)
    names = {storage.name for storage in THREE.storages}
    assert (ring.voters, ring.replicas, ring.partitions) == (3, 3, THREE.partitions)
    for number in range(THREE.partitions):
        partition = PartitionId(number)
        voters = ring.voters_of(partition)
        assert set(voters) == names
        assert ring.leader_of(partition) == voters[0]
        assert partition in ring.led_by(voters[0])
    led = [len(ring.led_by(storage.name)) for storage in THREE.storages]
    assert sum(led) == THREE.partitions
    assert max(led) - min(led) <= 1


def test_a_storage_holds_what_it_is_a_voter_of() -> None:
    ring = ring_of(changed("replicas = 3", "replicas = 2"))
    held = [ring.held_by(storage.name) for storage in THREE.storages]
    assert sum(map(len, held)) == 2 * THREE.partitions
    for storage, partitions in zip(THREE.storages, held, strict=True):
        assert set(ring.led_by(storage.name)) < set(partitions)
        assert all(storage.name in ring.voters_of(partition) for partition in partitions)
    assert ring.held_by(NodeName("nobody")) == ()


def test_of_more_replicas_than_voters_only_the_first_count() -> None:
    one, two = NodeName("storage-1"), NodeName("storage-2")
    ring = RingDocument(1, 1, 2, 1, ((one, two),))
    assert ring.voters_of(PartitionId(0)) == (one,)
    assert (ring.held_by(one), ring.held_by(two)) == ((0,), ())


def test_a_single_storage_leads_everything() -> None:
    ring = ring_of(QUICK)
    assert ring.led_by(QUICK.storages[0].name) == tuple(range(QUICK.partitions))
    assert ring.led_by(NodeName("nobody")) == ()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"version":1,"partitions":1,"replicas":1,"voters":1,"placement":[]}',
        b'{"version":1,"partitions":1,"replicas":1,"voters":1,"placement":{}}',
        b'{"version":1,"partitions":1,"replicas":1,"voters":1,"placement":[[]]}',
        b'{"version":1,"partitions":1,"replicas":1,"voters":1,"placement":[[1]]}',
        b'{"version":"1","partitions":1,"replicas":1,"voters":1,"placement":[["a"]]}',
        b'{"version":1,"partitions":1,"replicas":0,"voters":1,"placement":[["a"]]}',
        b'{"version":1,"partitions":1,"replicas":1,"voters":2,"placement":[["a"]]}',
        b'{"version":1,"partitions":1,"replicas":2,"voters":2,"placement":[["a"]]}',
    ],
)
def test_what_is_no_ring_document_is_refused(text: bytes) -> None:
    with pytest.raises(WireError):
        RingDocument.from_json(text)


def test_differing_topologies_are_told_apart_by_key() -> None:
    ours = key_digests(THREE)
    assert differing(ours, key_digests(THREE)) == []
    storage = THREE.storages[1].name
    replicas = changed("replicas = 3", "replicas = 2")
    renamed = changed(f'name = "{storage}"', 'name = "storage-x"')
    assert differing(ours, key_digests(replicas)) == ["replicas"]
    assert differing(ours, key_digests(renamed)) == sorted(
        f"storage.{name}.{key}" for name in (storage, "storage-x") for key in ("weight", "zone")
    )
    assert ring_of(renamed).hash != ring_of(THREE).hash
