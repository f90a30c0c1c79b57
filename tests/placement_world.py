"""Disks, groups and leaders of the meta group that fail; reports and asks that come late or twice.

Each group is its committed configuration and at most one appended after it, led as
docs/REPLICATION.md 7 says: a leader makes a step only under its present, committed configuration,
if enough voters live. The meta group is the real state machine; its leaders come and go, and a
deposed one goes on for a while with what it knew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from meta_group import MetaGroup

from zmqim.bus.replication import (
    BootRequest,
    BootResult,
    ChangeCode,
    ChangeGroup,
    ChangeResult,
    GroupReport,
    MemberReport,
)
from zmqim.chat.view import RowView
from zmqim.ids import NodeName
from zmqim.limits import LEARNER_LAG_ENTRIES_MAX, REPORT_AGE_MS_MAX, STEP_REPEAT_MS
from zmqim.meta.boot import requested
from zmqim.meta.driver import PlacementDriver, step_of
from zmqim.meta.operations import MetaOperation
from zmqim.meta.state import MetaState
from zmqim.raft.config import GroupConfig, Place, StepKind, StepRefused, stepped
from zmqim.raft.state import GROUP_BYTES

_T = TypeVar("_T")


@dataclass
class Node:
    name: NodeName
    uuid: bytes
    incarnation: int = 1
    up: bool = True


@dataclass
class Group:
    number: int
    uuid: bytes
    config: GroupConfig
    conf_id: int = 0
    term: int = 1
    index: int = 10
    leader: int = 0
    """A replica id; 0 while nobody leads."""
    appended: tuple[int, GroupConfig] | None = None
    lags: dict[int, int] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)
    ever: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)

    @property
    def newest(self) -> GroupConfig:
        return self.config if self.appended is None else self.appended[1]


class PlacementWorld:
    """Storages with `replicas` replicas of each partition."""

    def __init__(self, random: Random, count: int = 3, replicas: int = 3) -> None:
        self.random = random
        self.now = 0
        self.meta = MetaGroup(count, partitions=4, replicas=replicas).found()
        self.nodes = {name: Node(name, uuid) for name, uuid in self.meta.uuids.items()}
        self.groups = {
            number: Group(number, genesis.group_uuid, genesis.config)
            for number, genesis in enumerate(self.meta.record.genesis)
        }
        self.replicas: dict[int, tuple[int, bytes]] = {}
        """Every replica id that ever was → (group, disk)."""
        self.driver = PlacementDriver()
        self.deposed: list[tuple[PlacementDriver, MetaState]] = []
        self.reports: list[tuple[NodeName, GroupReport]] = []
        self.asks: list[tuple[NodeName, ChangeGroup]] = []
        self.proposals: list[MetaOperation] = []
        self.steps = 0
        for group in self.groups.values():
            self.check(group)

    # ---- what is true ----------------------------------------------------------------------------

    def whole(self, group: Group, place: Place) -> bool:
        """Does the disk of that replica exist, undamaged?"""
        same = self.nodes[NodeName(place.name)].uuid == place.node_uuid
        return same and place.replica not in group.damaged

    def lives(self, group: Group, place: Place) -> bool:
        return self.whole(group, place) and self.nodes[NodeName(place.name)].up

    def can_commit(self, group: Group, config: GroupConfig) -> bool:
        return 2 * sum(self.lives(group, p) for p in config.voters) > len(config.voters)

    def survives(self, group: Group) -> bool:
        """Could it commit again once all disks that exist are back?"""
        return all(
            2 * sum(self.whole(group, p) for p in config.voters) > len(config.voters)
            for config in (group.config, group.newest)
        )

    def leader(self, group: Group) -> Place | None:
        place = group.newest.places.get(group.leader)
        led = place is not None and self.lives(group, place)
        return place if led and self.can_commit(group, group.newest) else None

    def live(self) -> dict[str, bytes]:
        return {node.name: node.uuid for node in self.nodes.values() if node.up}

    # ---- what happens ----------------------------------------------------------------------------

    def elect(self, group: Group) -> None:
        """A new leader, if one can be; what was appended is kept or, if it may be, truncated."""
        if self.leader(group) is not None:
            return
        if group.appended is not None and self.random.random() < 0.5:
            group.appended = None
        voters = [p for p in group.newest.voters if self.lives(group, p)]
        if 2 * len(voters) > len(group.newest.voters):
            group.leader = self.random.choice(voters).replica
            group.term += 1
            group.index += self.random.randrange(1, 5)

    def commit(self, group: Group) -> None:
        if group.appended is None or not self.can_commit(group, group.appended[1]):
            return
        gone = group.config.places.keys() - group.appended[1].places.keys()
        group.removed |= gone
        group.damaged -= gone
        group.conf_id, group.config = group.appended
        group.appended = None

    def learn(self, group: Group) -> None:
        for place in group.newest.learners:
            if self.lives(group, place) and self.leader(group):
                group.lags[place.replica] = max(0, group.lags[place.replica] - 2_000)
        for replica, place in group.newest.places.items():
            can_heal = self.nodes[NodeName(place.name)].up and self.leader(group)
            if replica in group.damaged and can_heal and self.random.random() < 0.5:
                group.damaged.discard(replica)

    def report(self, group: Group) -> None:
        leader = self.leader(group)
        if leader is None:
            return
        members = [
            MemberReport(
                replica,
                group.lags.get(replica, 0),
                self.lives(group, place),
            )
            for replica, place in group.config.places.items()
        ]
        body = GroupReport(
            group.number,
            group.uuid[:GROUP_BYTES],
            leader.replica,
            group.term,
            group.conf_id,
            group.config.encode(),
            group.appended is not None,
            members,
        )
        self.reports.append((NodeName(leader.name), body))

    def asked(self, target: NodeName, change: ChangeGroup) -> None:
        """A leader is asked for a step."""
        group = self.groups[change.partition]
        leader = self.leader(group)
        text = "not the leader"
        if leader is not None and leader.name == target:
            text = self._step(group, change)
        code = ChangeCode.REFUSED if text else ChangeCode.APPENDED
        self.driver.answer(self.now, ChangeResult(change.partition, change.conf_id, code, text))

    def _step(self, group: Group, change: ChangeGroup) -> str:
        step = step_of(change)
        if group.appended is not None or step.conf_id != group.conf_id:
            return "another configuration holds"
        try:
            config = stepped(group.config, step)
        except StepRefused as refused:
            return str(refused)
        lag = group.lags.get(step.place.replica, 0)
        if step.kind == StepKind.PROMOTE and lag >= LEARNER_LAG_ENTRIES_MAX:
            return "too far behind"
        if config.voters != group.config.voters and not self.can_commit(group, config):
            return "too few voters live"
        group.index += self.random.randrange(1, 5)
        group.appended = (group.index, config)
        group.lags.setdefault(step.place.replica, self.random.randrange(10_000))
        self.steps += 1
        self.check(group)
        return ""

    def look(self, driver: PlacementDriver, state: MetaState) -> list[MetaOperation]:
        plan = driver.plan(self.now, state, self.live())
        for send in plan.asks:
            assert isinstance(send.message, ChangeGroup)
            self.asks.append((send.to, send.message))
        return plan.operations

    def register(self, node: Node) -> None:
        """What a storage asks at its start."""
        holder = self.meta.state.holder(node.name)
        assert holder is not None
        down = {holder.node_uuid} - {node.uuid}
        life = (holder.node_uuid, holder.incarnation)
        if life == (node.uuid, node.incarnation):
            return
        start = node.incarnation.to_bytes(4, "big")
        request = BootRequest(node.name, node.uuid, node.incarnation, start, "zone", 1)
        answer = requested(self.meta.state, request, down)
        assert not isinstance(answer, BootResult)
        self.proposals.extend(answer)

    def depose(self) -> None:
        """The leader of the meta group dies, or goes on without knowing that it was replaced."""
        if self.random.random() < 0.5:
            self.deposed.append((self.driver, MetaState(4, 1, RowView(self.meta.store))))
        self.driver = PlacementDriver()
        if self.random.random() < 0.5:
            self.proposals.clear()

    # ---- what must hold --------------------------------------------------------------------------

    def check(self, group: Group) -> None:
        places = list(group.newest.places.values())
        for kind in ("name", "node_uuid"):
            assert len({getattr(place, kind) for place in places}) == len(places), "twice on a node"
        assert len(group.newest.learners) <= 1
        assert group.newest.voters
        for place in places:
            assert place.replica not in group.removed, "a replica id came back"
            owner = (group.number, place.node_uuid)
            assert self.replicas.setdefault(place.replica, owner) == owner

    # ---- a walk ----------------------------------------------------------------------------------

    def random_move(self) -> None:
        random = self.random
        group = random.choice(list(self.groups.values()))
        node = random.choice(list(self.nodes.values()))
        match random.randrange(50):
            case 0 | 1 | 2 if not node.up:
                node.up = True
                node.incarnation += 1
            case 0 if random.random() < 0.3:
                node.up = False
            case 1 if random.random() < 0.15:
                self.lose(node)
            case 2 if random.random() < 0.2:
                self.damage(group)
            case _:
                self.random_move_of_drivers()

    def random_move_of_drivers(self) -> None:
        """Nothing fails but leaders of the meta group and what they send and are told."""
        random = self.random
        self.now += random.randrange(STEP_REPEAT_MS // 40)
        group = random.choice(list(self.groups.values()))
        match random.randrange(15):
            case 0 if random.random() < 0.1:
                self.depose()
            case 1 if self.deposed:
                driver, state = random.choice(self.deposed)
                self.look(driver, state)
            case 2:
                node = random.choice(list(self.nodes.values()))
                if node.up:
                    self.register(node)
            case 3 | 4:
                self.elect(group)
                self.commit(group)
            case 5:
                self.learn(group)
            case 6 | 7:
                self.report(group)
            case 8 | 9 if self.reports:
                source, report = self.taken(self.reports)
                drivers = [self.driver, *[driver for driver, _ in self.deposed]]
                random.choice(drivers).report(self.now, source, report)
            case 10 | 11 if self.asks:
                self.asked(*self.taken(self.asks))
            case 12 if self.proposals and self.leader(self.groups[4]):
                self.meta.apply(self.taken(self.proposals))
            case _:
                self.proposals += self.look(self.driver, self.meta.state)

    def taken(self, flying: list[_T]) -> _T:
        """One of them, in any order; it may come again."""
        position = self.random.randrange(len(flying))
        one = flying[position]
        if self.random.random() < 0.8:
            del flying[position]
        return one

    def lose(self, node: Node) -> None:
        """The disk is lost, if every group survives that; an empty one takes its place."""
        uuid, node.uuid = node.uuid, self.random.randbytes(16)
        if all(self.survives(group) for group in self.groups.values()):
            node.incarnation = 1
        else:
            node.uuid = uuid

    def damage(self, group: Group) -> None:
        others = [p for p in group.config.places if p != group.leader]
        replica = self.random.choice(others) if others else 0
        if replica and replica not in group.damaged:
            group.damaged.add(replica)
            if not self.survives(group):
                group.damaged.discard(replica)

    def settle(self, rounds: int = 120) -> int:
        """No more faults; gives after how many rounds everything was as it should be."""
        self.now += REPORT_AGE_MS_MAX + 1
        self.deposed.clear()
        self.driver = PlacementDriver()
        for node in self.nodes.values():
            node.up = True
        for number in range(rounds):
            self.now += STEP_REPEAT_MS // 2
            for group in self.groups.values():
                self.elect(group)
                self.commit(group)
                self.learn(group)
                self.report(group)
            for node in self.nodes.values():
                self.register(node)
            while self.reports:
                self.driver.report(self.now, *self.reports.pop(0))
            self.proposals += self.look(self.driver, self.meta.state)
            while self.asks:
                self.asked(*self.asks.pop(0))
            while self.proposals:
                self.meta.apply(self.proposals.pop(0))
            if self.settled:
                return number
        raise AssertionError(f"still at it: {self.driver.plan(self.now, self.meta.state, {})}")

    @property
    def settled(self) -> bool:
        return not self.meta.state.replacing and all(
            group.appended is None
            and not group.config.learners
            and not group.damaged
            and {p.name: p.node_uuid for p in group.config.voters} == self.wanted(group.number)
            and self.meta.state.groups[group.number].config == group.config
            for group in self.groups.values()
        )

    def wanted(self, number: int) -> dict[str, bytes]:
        names = [place.name for place in self.meta.record.genesis[number].config.voters]
        return {name: self.nodes[NodeName(name)].uuid for name in names}
