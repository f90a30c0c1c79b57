"""The placement driver: brings every group to the voters that it should have. Pure.

It runs where the meta group is led. From the meta state (which disk has a name, what is wanted,
which replica ids were given out) and the reports of the groups' leaders it answers with steps to
ask of those leaders and operations to propose to the meta group. It keeps nothing that counts: a
new leader of the meta group begins with an empty one and goes on from the state and the next
reports. What would be doubled meanwhile is refused by compare-and-set: a step by its conf_id, a
replica id by (group, disk), a report by its conf_id.

A step is asked only of a group whose committed configuration is the recorded one. So every
configuration that ever held is recorded, and a replica id that came and went is not used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from zmqim.bus.effects import Send
from zmqim.bus.replication import ChangeCode, ChangeGroup, ChangeResult, GroupReport
from zmqim.errors import WireError
from zmqim.ids import NodeName
from zmqim.limits import (
    META_PROPOSAL_REPEAT_MS,
    META_PROPOSALS_MAX,
    REPORT_AGE_MS_MAX,
    SNAPSHOTS_PER_NODE_MAX,
    STEP_REPEAT_MS,
)
from zmqim.meta.operations import (
    AllocateReplica,
    MetaOperation,
    PartitionMoved,
    ReplacementDone,
)
from zmqim.meta.rows import GroupRow
from zmqim.meta.state import MetaState
from zmqim.meta.steps import Observed, Wait, Wish, next_wish
from zmqim.raft.config import GroupConfig, Place, Step
from zmqim.raft.state import GROUP_BYTES


class Plan(NamedTuple):
    """What is to be done now: steps to ask, operations to propose, and what waits for what."""

    asks: list[Send]
    operations: list[MetaOperation]
    waits: dict[int, str]
    """A sentence for every group that is not as it should be and for which nothing is done."""


class _Report(NamedTuple):
    leader: NodeName
    at: int
    body: GroupReport
    observed: Observed


class PlacementDriver:
    """One lead of the meta group: begin a new one with each term."""

    def __init__(self) -> None:
        self.refused = 0
        """Reports that were not what the protocol says."""
        self._reports: dict[int, _Report] = {}
        self._asked: dict[int, tuple[Step, bytes | None, int]] = {}
        """The step that was asked of a group, the disk that it feeds, and when to ask again."""
        self._refusals: dict[int, str] = {}
        self._proposed: dict[MetaOperation, int] = {}

    # ---- events ----------------------------------------------------------------------------------

    def report(self, now: int, source: NodeName, report: GroupReport) -> None:
        """What `source`, the leader of a group, says of it; older news is dropped."""
        try:
            config = GroupConfig.decode(report.config)
        except WireError:
            self.refused += 1
            return
        known = self._reports.get(report.partition)
        if known is not None and _age(report) < _age(known.body):
            return
        members = {member.replica: member for member in report.members}
        observed = Observed(report.conf_id, config, members)
        self._reports[report.partition] = _Report(source, now, report, observed)

    def answer(self, now: int, result: ChangeResult) -> None:
        """A leader's answer; a refused step is asked again later, if it is still wanted."""
        asked = self._asked.get(result.partition)
        if asked is None or asked[0].conf_id != result.conf_id:
            return
        if result.code == ChangeCode.REFUSED:
            self._refusals[result.partition] = result.text
            self._asked[result.partition] = (asked[0], None, asked[2])

    # ---- the look --------------------------------------------------------------------------------

    def plan(self, now: int, state: MetaState, live: Mapping[str, bytes]) -> Plan:
        """What to do now. `live`: the disk that gossip holds for alive under each name."""
        plan = Plan([], [], {})
        if state.cluster is None:
            return plan
        self._forget(now, state)
        disks = frozenset(live.values())
        wishes: list[tuple[int, int, Wish]] = []
        for partition, group in state.groups.items():
            wanted = state.wanted(partition)
            report = self._reports.get(partition)
            if report is None:
                if _is_as(group.config, wanted):
                    continue
                plan.waits[partition] = "its leader is not heard"
            elif report.observed.conf_id > group.conf_id:
                self._propose(now, plan, _moved(partition, group, report))
            elif report.observed.conf_id == group.conf_id and not report.body.changing:
                allocated = _allocated(state, partition, wanted)
                wish = next_wish(report.observed, wanted, allocated, disks)
                if isinstance(wish, Wait):
                    plan.waits[partition] = wish.sentence
                elif wish is not None:
                    wishes.append((_urgency(wish, report.observed), partition, wish))
        self._grant_slots(now, plan, wishes)
        self._finish(now, plan, state)
        return plan

    def _forget(self, now: int, state: MetaState) -> None:
        """Drop what is too old, of another history, or answered by what is recorded since."""
        for partition, report in list(self._reports.items()):
            group = state.groups.get(partition)
            if (
                group is None
                or report.body.group != group.group_uuid[:GROUP_BYTES]
                or now - report.at > REPORT_AGE_MS_MAX
            ):
                del self._reports[partition]
        for partition, (step, _, until) in list(self._asked.items()):
            group = state.groups.get(partition)
            if group is None or group.conf_id != step.conf_id or now >= until:
                del self._asked[partition]
                self._refusals.pop(partition, None)
        self._proposed = {one: until for one, until in self._proposed.items() if now < until}

    def _grant_slots(self, now: int, plan: Plan, wishes: list[tuple[int, int, Wish]]) -> None:
        """Ask the steps in the order of their urgency, as far as nodes have room for snapshots."""
        busy = self._slots()
        for _, partition, wish in sorted(wishes, key=lambda one: one[:2]):
            report = self._reports[partition]
            if partition in self._asked:
                refusal = self._refusals.get(partition)
                if refusal:
                    plan.waits[partition] = refusal
                continue
            if wish.feeds is not None:
                nodes = (wish.feeds, _leader_disk(report))
                if any(busy.get(node, 0) >= SNAPSHOTS_PER_NODE_MAX for node in nodes):
                    plan.waits[partition] = f"waits for its turn to copy to {wish.name}"
                    continue
                for node in nodes:
                    busy[node] = busy.get(node, 0) + 1
            if wish.step is None:
                assert wish.feeds is not None
                self._propose(now, plan, AllocateReplica(partition, wish.feeds))
                continue
            self._asked[partition] = (wish.step, wish.feeds, now + STEP_REPEAT_MS)
            plan.asks.append(Send(report.leader, _asked_of(report.body, wish.step)))

    def _slots(self) -> dict[bytes, int]:
        """How many snapshots each disk takes part in, or soon will: both ends count."""
        busy: dict[bytes, int] = {}
        for partition, report in self._reports.items():
            config = report.observed.config
            fed = [p.node_uuid for p in config.learners if report.observed.lives(p.replica)]
            asked = self._asked.get(partition)
            if not fed and asked is not None and asked[1] is not None:
                fed = [asked[1]]
            for node in fed:
                for end in (node, _leader_disk(report)):
                    busy[end] = busy.get(end, 0) + 1
        return busy

    def _finish(self, now: int, plan: Plan, state: MetaState) -> None:
        for node in state.replacing:
            if not state.lacking(node):
                self._propose(now, plan, ReplacementDone(node.node_uuid))

    def _propose(self, now: int, plan: Plan, operation: MetaOperation) -> None:
        """Propose it, if that was not done a moment ago."""
        if operation in self._proposed or len(plan.operations) >= META_PROPOSALS_MAX:
            return
        self._proposed[operation] = now + META_PROPOSAL_REPEAT_MS
        plan.operations.append(operation)


def step_of(change: ChangeGroup) -> Step:
    """The step that `change` asks for."""
    place = Place(change.replica, change.name, change.node_uuid)
    return Step(change.kind, change.conf_id, place)


def _asked_of(report: GroupReport, step: Step) -> ChangeGroup:
    place = step.place
    return ChangeGroup(
        report.partition,
        report.group,
        step.kind,
        step.conf_id,
        place.replica,
        place.name,
        place.node_uuid,
    )


def _age(report: GroupReport) -> tuple[int, int]:
    return report.term, report.conf_id


def _moved(partition: int, group: GroupRow, report: _Report) -> PartitionMoved:
    body, observed = report.body, report.observed
    return PartitionMoved(partition, group.group_uuid, observed.conf_id, body.term, observed.config)


def _leader_disk(report: _Report) -> bytes:
    place = report.observed.config.places.get(report.body.source)
    return b"" if place is None else place.node_uuid


def _allocated(state: MetaState, partition: int, wanted: Mapping[str, bytes]) -> dict[bytes, int]:
    found = {uuid: state.allocations.get((partition, uuid)) for uuid in wanted.values()}
    return {uuid: replica for uuid, replica in found.items() if replica is not None}


def _urgency(wish: Wish, observed: Observed) -> int:
    """What needs no room first, then groups that lack a replica, then those to be opened."""
    if wish.feeds is None:
        return 0
    return 1 if wish.step is None or not observed.config.is_voter(wish.step.place.replica) else 2


def _is_as(config: GroupConfig, wanted: Mapping[str, bytes]) -> bool:
    return not config.learners and {p.name: p.node_uuid for p in config.voters} == dict(wanted)
