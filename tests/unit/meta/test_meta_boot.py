"""The beginning of a life: who is asked, what the leader proposes, when partitions may vote."""

from __future__ import annotations

import pytest
from meta_group import MetaGroup

from zmqim.bus.effects import Send
from zmqim.bus.replication import BootCode, BootRequest, BootResult
from zmqim.ids import NodeName
from zmqim.limits import BOOT_REPEAT_MS, VOTE_WITHOUT_GRANT_MS
from zmqim.meta.boot import Boot, answered, requested
from zmqim.meta.operations import BootGrant, RegisterNode
from zmqim.meta.rows import NodeState

ONE, TWO, THREE = (NodeName(f"storage-{n}") for n in (1, 2, 3))
NEW = b"n" * 16


@pytest.fixture
def meta() -> MetaGroup:
    return MetaGroup().found()


def request(name: NodeName, uuid: bytes, incarnation: int = 1, start: bytes = b"s") -> BootRequest:
    return BootRequest(name, uuid, incarnation, start, f"zone-{name[-1]}", 1)


def told(meta: MetaGroup, asked: BootRequest, *down: bytes) -> BootResult:
    """Ask, propose, apply, answer."""
    operations = requested(meta.state, asked, down)
    if isinstance(operations, BootResult):
        return operations
    return answered(asked, [meta.apply(operation) for operation in operations])


def test_a_storage_asks_one_after_the_other_and_then_the_leader_that_it_is_told() -> None:
    asked = request(TWO, NEW)
    boot = Boot(asked, [THREE, ONE, TWO], now=0)
    assert boot.turn(0) == [Send(ONE, asked)]
    assert (boot.turn(1), boot.next_wake()) == ([], BOOT_REPEAT_MS)
    assert boot.turn(BOOT_REPEAT_MS) == [Send(TWO, asked)]
    boot.receive(501, TWO, BootResult(b"s", BootCode.NOT_LEADER, THREE))
    assert boot.turn(501) == [Send(THREE, asked)]
    boot.receive(502, THREE, BootResult(b"s", BootCode.NOT_LEADER, TWO))
    assert boot.turn(502) == [], "hints are not followed in circles"
    boot.receive(503, TWO, BootResult(b"s", BootCode.NOT_LEADER, ""))
    boot.receive(503, THREE, BootResult(b"s", BootCode.WAIT, "waits for rain"))
    assert boot.sentence == "waits for rain"
    assert boot.turn(501 + BOOT_REPEAT_MS) == [Send(THREE, asked)]
    boot.receive(1_100, THREE, BootResult(b"earlier", BootCode.REFUSED, "no"))
    assert not boot.refusal
    boot.receive(1_100, THREE, BootResult(b"s", BootCode.GRANTED, ""))
    assert boot.granted
    assert (boot.turn(9_000), boot.next_wake(), boot.sentence) == ([], None, "")


def test_partitions_vote_after_the_grant_or_after_a_while_but_never_after_a_refusal() -> None:
    boot = Boot(request(TWO, NEW), [ONE], now=100)
    assert not boot.partitions_vote(99 + VOTE_WITHOUT_GRANT_MS)
    assert boot.partitions_vote(100 + VOTE_WITHOUT_GRANT_MS)
    boot.receive(101, ONE, BootResult(b"s", BootCode.GRANTED, ""))
    assert boot.partitions_vote(101)
    refused = Boot(request(TWO, NEW), [ONE], now=0)
    refused.receive(1, ONE, BootResult(b"s", BootCode.REFUSED, "it is a copy"))
    assert not refused.partitions_vote(VOTE_WITHOUT_GRANT_MS)
    assert (refused.refusal, refused.sentence) == ("it is a copy", "it is a copy")


def test_a_known_disk_is_granted_its_life_and_a_copy_is_refused(meta: MetaGroup) -> None:
    uuid = meta.uuids[TWO]
    assert told(meta, request(TWO, uuid, 4)).code == BootCode.GRANTED
    assert told(meta, request(TWO, uuid, 4)).code == BootCode.GRANTED
    copy = told(meta, request(TWO, uuid, 4, b"t"))
    assert copy.code == BootCode.REFUSED
    assert "granted before" in copy.text


def test_a_new_disk_waits_until_the_former_is_down_and_then_replaces_it(meta: MetaGroup) -> None:
    former = meta.uuids[TWO]
    waiting = told(meta, request(TWO, NEW))
    assert waiting.code == BootCode.WAIT
    assert waiting.text == "waits until the former disk of storage-2 is known to be down"
    operations = requested(meta.state, request(TWO, NEW), [former])
    assert operations == [
        RegisterNode(TWO, NEW, "zone-2", 1, former, 0),
        BootGrant(NEW, 1, b"s"),
    ]
    assert told(meta, request(TWO, NEW), former).code == BootCode.GRANTED
    assert meta.state.nodes[NEW].state == NodeState.REPLACING
    back = told(meta, request(TWO, former, 5))
    assert back.code == BootCode.REFUSED
    assert "out of date" in back.text


def test_a_former_disk_that_comes_back_in_between_keeps_its_name(meta: MetaGroup) -> None:
    former = meta.uuids[TWO]
    operations = requested(meta.state, request(TWO, NEW), [former])
    assert isinstance(operations, list)
    assert told(meta, request(TWO, former, 2)).code == BootCode.GRANTED
    results = [meta.apply(operation) for operation in operations]
    assert answered(request(TWO, NEW), results).code == BootCode.WAIT


def test_a_name_outside_the_cluster_or_of_another_disk_is_refused(meta: MetaGroup) -> None:
    assert told(meta, request(NodeName("storage-9"), NEW)).code == BootCode.REFUSED
    other = told(meta, request(ONE, meta.uuids[TWO]))
    assert other == BootResult(b"s", BootCode.REFUSED, "that disk is registered as storage-2")


def test_before_the_meta_group_is_founded_everyone_waits() -> None:
    assert told(MetaGroup(), request(TWO, NEW)).code == BootCode.WAIT
