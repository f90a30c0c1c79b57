"""The placement driver: what it asks of whom, what it proposes, and what it does not do twice."""

from __future__ import annotations

import msgspec
from meta_group import MetaGroup

from zmqim.bus.effects import Send
from zmqim.bus.replication import (
    ChangeCode,
    ChangeGroup,
    ChangeResult,
    GroupReport,
    MemberReport,
)
from zmqim.ids import NodeName
from zmqim.limits import REPORT_AGE_MS_MAX, SNAPSHOTS_PER_NODE_MAX, STEP_REPEAT_MS
from zmqim.meta.driver import PlacementDriver, Plan, step_of
from zmqim.meta.operations import (
    Allocated,
    AllocateReplica,
    PartitionMoved,
    RegisterNode,
    ReplacementDone,
)
from zmqim.raft.config import GroupConfig, Place, Step, StepKind, stepped

ONE, TWO, THREE = (NodeName(f"storage-{n}") for n in (1, 2, 3))
NEW = b"n" * 16
NOTHING = Plan([], [], {})


class Scene:
    """Three storages; the disk of the third was replaced, and the first leads everything."""

    def __init__(self, partitions: int = 1) -> None:
        self.meta = MetaGroup(partitions=partitions).found()
        self.driver = PlacementDriver()
        self.live = {**self.meta.uuids, THREE: NEW}

    def replaced(self) -> Scene:
        former = self.meta.uuids[THREE]
        self.meta.apply(RegisterNode(THREE, NEW, "zone-3", 1, former, 0))
        return self

    def place(self, partition: int, name: NodeName) -> Place:
        config = self.meta.state.groups[partition].config
        (place,) = [one for one in config.places.values() if one.name == name]
        return place

    def report(
        self, partition: int = 0, *, conf_id: int = 0, config: GroupConfig | None = None
    ) -> GroupReport:
        group = self.meta.state.groups[partition]
        config = config or group.config
        members = [
            MemberReport(replica, 0, place.node_uuid == self.live[place.name])
            for replica, place in config.places.items()
        ]
        leader = self.place(partition, ONE).replica
        uuid = group.group_uuid[:8]
        return GroupReport(partition, uuid, leader, 1, conf_id, config.encode(), False, members)

    def plan(self, now: int, *reports: GroupReport) -> Plan:
        for report in reports:
            self.driver.report(now, ONE, report)
        return self.driver.plan(now, self.meta.state, self.live)

    def removal(self, partition: int = 0) -> Send:
        dead = self.place(partition, THREE)
        uuid = self.meta.state.groups[partition].group_uuid[:8]
        change = ChangeGroup(
            partition, uuid, StepKind.REMOVE, 0, dead.replica, THREE, dead.node_uuid
        )
        return Send(ONE, change)


def test_a_cluster_that_is_as_it_should_be_needs_nothing() -> None:
    scene = Scene()
    scene.live = dict(scene.meta.uuids)
    assert scene.plan(0) == NOTHING
    assert scene.plan(0, scene.report(0), scene.report(1)) == NOTHING
    unfounded = MetaGroup()
    assert scene.driver.plan(0, unfounded.state, scene.live) == NOTHING


def test_a_replacement_goes_step_by_step_and_every_configuration_is_recorded() -> None:
    scene = Scene().replaced()
    state = scene.meta.state
    assert scene.plan(0).waits == {0: "its leader is not heard", 1: "its leader is not heard"}
    assert scene.plan(0, scene.report()).asks == [scene.removal()]
    dead = scene.place(0, THREE)
    less = stepped(state.groups[0].config, Step(StepKind.REMOVE, 0, dead))
    gone = PartitionMoved(0, state.groups[0].group_uuid, 5, 1, less)
    plan = scene.plan(1, scene.report(conf_id=5, config=less))
    assert (plan.asks, plan.operations) == ([], [gone])
    scene.meta.apply(gone)
    plan = scene.plan(2)
    assert (plan.asks, plan.operations) == ([], [AllocateReplica(0, NEW)])
    allocated = scene.meta.apply(AllocateReplica(0, NEW))
    assert isinstance(allocated, Allocated)
    new = Place(allocated.replica, THREE, NEW)
    (ask,) = scene.plan(3).asks
    assert isinstance(ask.message, ChangeGroup)
    assert step_of(ask.message) == Step(StepKind.ADD_LEARNER, 5, new)
    learning = GroupConfig(less.voters, (new,))
    scene.meta.apply(PartitionMoved(0, state.groups[0].group_uuid, 6, 1, learning))
    (ask,) = scene.plan(4, scene.report(conf_id=6)).asks
    assert isinstance(ask.message, ChangeGroup)
    assert step_of(ask.message) == Step(StepKind.PROMOTE, 6, new)


def test_what_was_asked_or_proposed_is_not_repeated_at_once_and_is_repeated_later() -> None:
    scene = Scene().replaced()
    report = scene.report()
    assert scene.plan(0, report).asks
    assert not scene.plan(1, report).asks
    assert not scene.plan(STEP_REPEAT_MS - 1, report).asks
    assert scene.plan(STEP_REPEAT_MS, report).asks == [scene.removal()]
    other = GroupConfig(scene.meta.state.groups[1].config.voters[:2])
    moved = scene.report(1, conf_id=5, config=other)
    assert scene.plan(STEP_REPEAT_MS, moved).operations
    assert not scene.plan(STEP_REPEAT_MS + 1, moved).operations
    assert scene.plan(2 * STEP_REPEAT_MS, moved).operations


def test_a_refused_step_is_told_and_asked_again_later() -> None:
    scene = Scene().replaced()
    report = scene.report()
    scene.plan(0, report)
    scene.driver.answer(1, ChangeResult(0, 3, ChangeCode.REFUSED, "of an older question"))
    assert 0 not in scene.plan(1).waits
    scene.driver.answer(1, ChangeResult(0, 0, ChangeCode.REFUSED, "too few voters live"))
    plan = scene.plan(1)
    assert (plan.asks, plan.waits[0]) == ([], "too few voters live")
    assert scene.plan(STEP_REPEAT_MS, report).asks == [scene.removal()]


def test_no_step_is_asked_while_one_is_under_way_or_reports_are_old_or_of_another_history() -> None:
    scene = Scene().replaced()
    report = scene.report()
    replace = msgspec.structs.replace
    for useless in (
        replace(report, changing=True),
        replace(report, group=b"?" * 8),
        replace(report, config=b"?"),
        replace(report, partition=99),
    ):
        assert not scene.plan(0, useless).asks
        scene.driver = PlacementDriver()
    group = scene.meta.state.groups[0]
    scene.meta.apply(PartitionMoved(0, group.group_uuid, 3, 1, group.config))
    assert not scene.plan(0, report).asks
    scene = Scene().replaced()
    scene.driver.report(0, ONE, scene.report())
    assert not scene.plan(REPORT_AGE_MS_MAX + 1).asks


def test_an_older_report_does_not_displace_a_newer_one() -> None:
    scene = Scene().replaced()
    newer = msgspec.structs.replace(scene.report(), term=4)
    older = msgspec.structs.replace(scene.report(), changing=True)
    assert scene.plan(0, newer, older).asks == [scene.removal()]


def test_a_new_driver_goes_on_from_state_and_reports() -> None:
    scene = Scene().replaced()
    assert scene.plan(0, scene.report()).asks == [scene.removal()]
    scene.driver = PlacementDriver()
    assert scene.plan(1, scene.report()).asks == [scene.removal()]


def test_no_node_takes_part_in_more_snapshots_than_it_may() -> None:
    scene = Scene(partitions=16).replaced()
    reports = [scene.report(partition) for partition in range(17)]
    plan = scene.plan(0, *reports)
    assert plan.asks == [scene.removal(p) for p in range(SNAPSHOTS_PER_NODE_MAX)]
    assert len(plan.waits) == 17 - SNAPSHOTS_PER_NODE_MAX
    assert plan.waits[16] == "waits for its turn to copy to storage-3"
    assert not scene.plan(1, *reports).asks
    # A group that lost its dead replica comes before those that still have theirs.
    group = scene.meta.state.groups[9]
    less = GroupConfig(tuple(one for one in group.config.voters if one.name != THREE))
    scene.meta.apply(PartitionMoved(9, group.group_uuid, 5, 1, less))
    scene.driver = PlacementDriver()
    reports[9] = scene.report(9, conf_id=5)
    plan = scene.plan(2, *reports)
    assert plan.operations == [AllocateReplica(9, NEW)]
    assert plan.asks == [scene.removal(p) for p in range(SNAPSHOTS_PER_NODE_MAX - 1)]


def test_learners_that_are_copied_to_fill_the_slots_of_both_ends() -> None:
    def waits(target: NodeName, *, live: bool, one_less: bool = False) -> bool:
        """Does a further group wait while so many learn on `target` from the first storage?"""
        scene = Scene(partitions=16).replaced()
        uuid = NEW if target == THREE else scene.meta.uuids[TWO]
        for partition in range(SNAPSHOTS_PER_NODE_MAX - one_less):
            report = scene.report(partition)
            allocated = scene.meta.apply(AllocateReplica(partition, uuid))
            assert isinstance(allocated, Allocated)
            learner = Place(allocated.replica, target, uuid)
            config = GroupConfig((scene.place(partition, ONE),), (learner,))
            members = [MemberReport(r, 5_000, live) for r in config.places]
            group = scene.meta.state.groups[partition]
            scene.meta.apply(PartitionMoved(partition, group.group_uuid, 5, 1, config))
            report = msgspec.structs.replace(
                report, conf_id=5, config=config.encode(), members=members
            )
            scene.plan(0, report)
        return not scene.plan(0, scene.report(9)).asks

    assert waits(THREE, live=True)
    assert waits(TWO, live=True), "the leader feeds as many as it may"
    assert not waits(THREE, live=False)
    assert not waits(THREE, live=True, one_less=True)


def test_the_last_step_of_a_replacement_is_to_say_that_it_is_done() -> None:
    scene = Scene().replaced()
    for partition, group in list(scene.meta.state.groups.items()):
        allocated = scene.meta.apply(AllocateReplica(partition, NEW))
        assert isinstance(allocated, Allocated)
        others = tuple(one for one in group.config.voters if one.name != THREE)
        config = GroupConfig((*others, Place(allocated.replica, THREE, NEW)))
        assert not scene.plan(partition).operations
        scene.meta.apply(PartitionMoved(partition, group.group_uuid, 9, 1, config))
    assert scene.plan(9).operations == [ReplacementDone(NEW)]
    scene.meta.apply(ReplacementDone(NEW))
    assert scene.plan(10) == NOTHING
