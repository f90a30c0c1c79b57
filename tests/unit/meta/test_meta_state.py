"""The state machine of the meta group: what each operation does, refuses, and does only once."""

from __future__ import annotations

import json

import msgspec
import pytest
from meta_group import MetaGroup

from zmqim.chat.view import RowView
from zmqim.errors import WireError
from zmqim.ids import NodeName
from zmqim.meta.boot import founding
from zmqim.meta.operations import (
    Accepted,
    Allocated,
    AllocateReplica,
    BootGrant,
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
    decode_result,
)
from zmqim.meta.rows import NodeState
from zmqim.meta.state import MetaState
from zmqim.raft.config import GroupConfig, Place, Step, StepKind, stepped
from zmqim.ring.document import RingDocument
from zmqim.store.memory import END_OF_KEYS, MemoryRowStore

ONE, TWO, THREE = (NodeName(f"storage-{n}") for n in (1, 2, 3))
NEW = b"n" * 16
CHANGED, SAME = Accepted(True), Accepted(False)


@pytest.fixture
def meta() -> MetaGroup:
    return MetaGroup().found()


def reason(result: MetaResult) -> int:
    assert isinstance(result, Refused), result
    assert result.text
    return result.reason


def replacement(meta: MetaGroup, name: NodeName = TWO, uuid: bytes = NEW) -> RegisterNode:
    holder = meta.state.holder(name)
    assert holder is not None
    return RegisterNode(name, uuid, "zone-2", 1, holder.node_uuid, holder.incarnation)


def moved(meta: MetaGroup, partition: int, conf_id: int, config: GroupConfig) -> PartitionMoved:
    group = meta.state.groups[partition]
    return PartitionMoved(partition, group.group_uuid, conf_id, 1, config)


def replace_everywhere(meta: MetaGroup, skip: int = -1) -> None:
    """What driver and leaders do: the dead replica goes, the new one learns, then votes."""
    for partition in list(meta.state.groups):
        if partition == skip:
            continue
        allocated = meta.apply(AllocateReplica(partition, NEW))
        assert isinstance(allocated, Allocated)
        config = meta.state.groups[partition].config
        (dead,) = [place for place in config.voters if place.name == TWO]
        new = Place(allocated.replica, TWO, NEW)
        steps = ((StepKind.REMOVE, dead), (StepKind.ADD_LEARNER, new), (StepKind.PROMOTE, new))
        for conf_id, (kind, place) in enumerate(steps, 1):
            config = stepped(config, Step(kind, conf_id - 1, place))
            assert meta.apply(moved(meta, partition, conf_id, config)) == CHANGED


def test_nothing_is_accepted_before_the_birth_record() -> None:
    meta = MetaGroup()
    operations: list[MetaOperation] = [
        RegisterNode(ONE, NEW, "", 1),
        BootGrant(NEW, 1, b"s"),
        AllocateReplica(0, NEW),
        PartitionMoved(0, b"", 1, 1, GroupConfig(())),
        ReplacementDone(NEW),
        PublishRing(b"", b""),
        SetFeatureLevel(2),
    ]
    for operation in operations:
        assert reason(meta.apply(operation)) == MetaReason.NOT_FOUNDED


def test_the_birth_record_is_the_first_content_and_never_another() -> None:
    meta = MetaGroup()
    found = founding(meta.record, meta.ring, meta.shares)
    assert meta.apply(found) == CHANGED
    state = meta.state
    assert [group.config for group in state.groups.values()] == [
        genesis.config for genesis in meta.record.genesis
    ]
    assert {node.name: node.node_uuid for node in state.nodes.values()} == meta.uuids
    assert state.ring == meta.ring
    assert state.wanted(0) == state.wanted(meta.record.meta_group) == meta.uuids
    assert meta.apply(found) == SAME
    other = msgspec.structs.replace(
        found,
        genesis=(
            *found.genesis[:-1],
            msgspec.structs.replace(found.genesis[-1], group_uuid=NEW),
        ),
    )
    assert reason(meta.apply(other)) == MetaReason.FOUNDED_OTHERWISE


def test_a_birth_record_whose_ring_does_not_fit_is_refused() -> None:
    meta = MetaGroup()
    found = founding(meta.record, meta.ring, meta.shares)
    for wrong in (
        msgspec.structs.replace(found, ring=b"{}"),
        msgspec.structs.replace(found, genesis=found.genesis[1:]),
        msgspec.structs.replace(found, nodes=found.nodes[1:]),
    ):
        assert reason(meta.apply(wrong)) == MetaReason.BAD_RING
    assert meta.state.cluster is None


def test_a_disk_takes_a_name_only_from_one_that_is_known_to_be_down(meta: MetaGroup) -> None:
    without = RegisterNode(TWO, NEW, "zone-2", 1)
    assert reason(meta.apply(without)) == MetaReason.NAME_TAKEN
    assert reason(meta.apply(RegisterNode(NodeName("x"), NEW, "", 1))) == MetaReason.UNKNOWN_NAME
    register = replacement(meta)
    assert meta.apply(register) == CHANGED
    holder = meta.state.holder(TWO)
    assert holder is not None
    assert (holder.node_uuid, holder.state) == (NEW, NodeState.REPLACING)
    assert meta.state.replacing == [holder]
    assert meta.state.nodes[meta.uuids[TWO]].state == NodeState.GONE
    assert meta.apply(register) == SAME
    assert meta.state.wanted(0)[TWO] == NEW


def test_evidence_is_void_once_the_former_disk_began_another_life(meta: MetaGroup) -> None:
    register = replacement(meta)
    assert meta.apply(BootGrant(meta.uuids[TWO], 7, b"s")) == CHANGED
    assert reason(meta.apply(register)) == MetaReason.NAME_TAKEN
    assert meta.apply(replacement(meta)) == CHANGED


def test_a_replaced_disk_never_comes_back(meta: MetaGroup) -> None:
    old = meta.uuids[TWO]
    meta.apply(replacement(meta))
    assert reason(meta.apply(BootGrant(old, 9, b"s"))) == MetaReason.RETIRED
    assert reason(meta.apply(replacement(meta, uuid=old))) == MetaReason.RETIRED
    assert reason(meta.apply(AllocateReplica(0, old))) == MetaReason.RETIRED


def test_a_disk_keeps_its_name_and_may_change_zone_and_weight(meta: MetaGroup) -> None:
    uuid = meta.uuids[TWO]
    assert reason(meta.apply(RegisterNode(ONE, uuid, "", 1))) == MetaReason.OTHER_NAME
    assert meta.apply(RegisterNode(TWO, uuid, "zone-2", 1)) == SAME
    assert meta.apply(RegisterNode(TWO, uuid, "zone-9", 2)) == CHANGED
    assert (meta.state.nodes[uuid].zone, meta.state.nodes[uuid].weight) == ("zone-9", 2)


def test_an_incarnation_is_granted_once_and_a_repeat_of_that_start_gets_the_same_answer(
    meta: MetaGroup,
) -> None:
    uuid = meta.uuids[ONE]
    assert meta.apply(BootGrant(uuid, 3, b"first")) == CHANGED
    assert meta.apply(BootGrant(uuid, 3, b"first")) == SAME
    assert reason(meta.apply(BootGrant(uuid, 3, b"copy"))) == MetaReason.STALE_INCARNATION
    assert reason(meta.apply(BootGrant(uuid, 2, b"old"))) == MetaReason.STALE_INCARNATION
    assert meta.apply(BootGrant(uuid, 4, b"next")) == CHANGED
    assert reason(meta.apply(BootGrant(uuid, 3, b"first"))) == MetaReason.STALE_INCARNATION
    assert reason(meta.apply(BootGrant(NEW, 1, b"s"))) == MetaReason.NOT_REGISTERED


def test_a_replica_id_is_given_once_a_group_and_disk_and_never_again(meta: MetaGroup) -> None:
    meta.apply(replacement(meta))
    last = max(max(one.config.places) for one in meta.record.genesis)
    assert meta.apply(AllocateReplica(0, NEW)) == Allocated(last + 1)
    assert meta.apply(AllocateReplica(0, NEW)) == Allocated(last + 1)
    assert meta.apply(AllocateReplica(1, NEW)) == Allocated(last + 2)
    assert reason(meta.apply(AllocateReplica(99, NEW))) == MetaReason.UNKNOWN_GROUP
    assert reason(meta.apply(AllocateReplica(0, b"?" * 16))) == MetaReason.NOT_REGISTERED


def test_a_replica_that_came_and_went_is_followed_by_one_of_another_id(meta: MetaGroup) -> None:
    meta.apply(replacement(meta))
    first = meta.apply(AllocateReplica(0, NEW))
    assert isinstance(first, Allocated)
    config = meta.state.groups[0].config
    (dead,) = [place for place in config.voters if place.name == TWO]
    without = stepped(config, Step(StepKind.REMOVE, 0, dead))
    learning = stepped(without, Step(StepKind.ADD_LEARNER, 1, Place(first.replica, TWO, NEW)))
    for conf_id, one in ((1, without), (2, learning)):
        meta.apply(moved(meta, 0, conf_id, one))
        assert meta.apply(AllocateReplica(0, NEW)) == first
    meta.apply(moved(meta, 0, 3, without))
    assert meta.apply(AllocateReplica(0, NEW)) == Allocated(first.replica + 1)


def test_replica_ids_of_a_disk_that_is_replaced_again_are_forgotten(meta: MetaGroup) -> None:
    meta.apply(replacement(meta))
    meta.apply(AllocateReplica(0, NEW))
    newer = b"m" * 16
    meta.apply(replacement(meta, uuid=newer))
    assert meta.state.allocations == {}
    assert meta.state.nodes[NEW].state == NodeState.GONE
    assert [node.node_uuid for node in meta.state.replacing] == [newer]


def test_a_configuration_is_recorded_if_it_is_newer_and_of_that_history(meta: MetaGroup) -> None:
    config = meta.state.groups[0].config
    less = GroupConfig(config.voters[1:])
    assert meta.apply(moved(meta, 0, 5, less)) == CHANGED
    assert meta.apply(moved(meta, 0, 5, less)) == SAME
    assert meta.apply(moved(meta, 0, 4, config)) == SAME
    assert meta.state.groups[0].config == less
    foreign = PartitionMoved(0, b"?" * 16, 9, 1, config)
    assert reason(meta.apply(foreign)) == MetaReason.UNKNOWN_GROUP
    strange = GroupConfig((Place(999, ONE, meta.uuids[ONE]),))
    assert reason(meta.apply(moved(meta, 0, 6, strange))) == MetaReason.UNKNOWN_REPLICA
    empty = moved(meta, 0, 6, GroupConfig(()))
    assert reason(meta.apply(empty)) == MetaReason.UNKNOWN_REPLICA


def test_a_replacement_is_done_when_every_group_has_the_new_replica_and_not_the_old(
    meta: MetaGroup,
) -> None:
    assert meta.apply(ReplacementDone(meta.uuids[ONE])) == SAME
    assert reason(meta.apply(ReplacementDone(NEW))) == MetaReason.NOT_REPLACING
    meta.apply(replacement(meta))
    replace_everywhere(meta, skip=2)
    assert meta.state.lacking(meta.state.nodes[NEW]) == [2]
    assert reason(meta.apply(ReplacementDone(NEW))) == MetaReason.NOT_DONE
    assert reason(meta.apply(ReplacementDone(meta.uuids[TWO]))) == MetaReason.NOT_REPLACING
    rest = 2
    config = meta.state.groups[rest].config
    allocated = meta.apply(AllocateReplica(rest, NEW))
    assert isinstance(allocated, Allocated)
    others = tuple(place for place in config.voters if place.name != TWO)
    new = Place(allocated.replica, TWO, NEW)
    meta.apply(moved(meta, rest, 9, GroupConfig(others, (new,))))
    assert reason(meta.apply(ReplacementDone(NEW))) == MetaReason.NOT_DONE
    meta.apply(moved(meta, rest, 10, GroupConfig((*others, new))))
    assert meta.apply(ReplacementDone(NEW)) == CHANGED
    assert meta.apply(ReplacementDone(NEW)) == SAME
    assert meta.state.replacing == []


def later_ring(ring: RingDocument, version: int, placement: object = None) -> bytes:
    content = json.loads(ring.to_json())
    content["version"] = version
    content["placement"] = placement or content["placement"][::-1]
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def test_rings_form_a_chain(meta: MetaGroup) -> None:
    second = later_ring(meta.ring, 2)
    wrong_previous = PublishRing(second, b"x" * 8)
    assert reason(meta.apply(wrong_previous)) == MetaReason.BROKEN_CHAIN
    skipping = PublishRing(later_ring(meta.ring, 3), meta.ring.hash)
    assert reason(meta.apply(skipping)) == MetaReason.BROKEN_CHAIN
    publish = PublishRing(second, meta.ring.hash)
    assert meta.apply(publish) == CHANGED
    assert meta.apply(publish) == SAME
    assert meta.state.ring == RingDocument.from_json(second)
    rival = PublishRing(later_ring(meta.ring, 2, [[TWO, ONE, THREE]] * 4), meta.ring.hash)
    assert reason(meta.apply(rival)) == MetaReason.BROKEN_CHAIN
    assert reason(meta.apply(PublishRing(b"?", b""))) == MetaReason.BAD_RING
    stranger = PublishRing(later_ring(meta.ring, 3, [["x", "y", "z"]] * 4), meta.state.ring.hash)
    assert reason(meta.apply(stranger)) == MetaReason.BAD_RING


def test_the_feature_level_never_sinks(meta: MetaGroup) -> None:
    assert meta.apply(SetFeatureLevel(1)) == SAME
    assert meta.apply(SetFeatureLevel(3)) == CHANGED
    assert meta.apply(SetFeatureLevel(2)) == SAME
    assert meta.state.cluster is not None
    assert meta.state.cluster.feature_level == 3


def test_a_state_that_is_opened_anew_or_fed_anew_is_the_same(meta: MetaGroup) -> None:
    meta.apply(BootGrant(meta.uuids[ONE], 2, b"s"))
    meta.apply(replacement(meta))
    replace_everywhere(meta, skip=1)
    meta.apply(AllocateReplica(1, NEW))
    meta.apply(PublishRing(later_ring(meta.ring, 2), meta.ring.hash))
    meta.state.skip(len(meta.log) + 1, 1, 0)
    meta.state.flush()
    held = meta.state
    meta.store.write(list(meta.view.changes.items()))
    digest = meta.digest()
    meta.open()
    opened = meta.state
    assert opened.applied.encode() == held.applied.encode()
    for name in ("cluster", "nodes", "groups", "allocations", "ring", "replacing"):
        assert getattr(opened, name) == getattr(held, name), name
    assert opened.wanted(0) == held.wanted(0)
    store = MemoryRowStore()
    view = RowView(store)
    again = MetaState(meta.record.meta_group, 1, view)
    for index, body in enumerate(meta.log, 1):
        again.apply(index, 1, index << 16, body, decode_operation(body))
    again.skip(len(meta.log) + 1, 1, 0)
    again.flush()
    store.write(list(view.changes.items()))
    assert store.scan(b"", END_OF_KEYS) == meta.store.scan(b"", END_OF_KEYS)
    assert meta.digest() == digest


def test_what_is_no_operation_and_no_result_is_a_wire_error() -> None:
    for decode in (decode_operation, decode_result):
        with pytest.raises(WireError):
            decode(b"\x91\x63")
