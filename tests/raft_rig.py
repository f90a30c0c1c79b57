"""Some storages with `Groups`, one replicated group, disks that survive, and links that can be cut.

Time is virtual and goes in steps of 10 ms; within a step everything that can arrive arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from zmqim.bus.replication import AppendResults, Appends, NodeHeartbeat, NodeHeartbeatEcho
from zmqim.ids import NodeName, NodeUuid
from zmqim.raft.config import GroupConfig
from zmqim.raft.core import RaftCore
from zmqim.raft.groups import Groups
from zmqim.sim.raft_replica import PARTITION, Disk, Replica, birth_of, places

STEP_MS = 10
WALL_MS = 5_000_000


def name_of(number: int) -> NodeName:
    """Replica 1 lives on s1."""
    return NodeName(f"s{number}")


class Storage:
    """One process: its groups, and the disk of its replica."""

    def __init__(self, number: int, disk: Disk, now: int, uuid: bytes) -> None:
        self.number = number
        self.name = name_of(number)
        self.uuid = NodeUuid(uuid)
        self.wall_ahead = 0
        self.replica = Replica(number, disk)
        self.groups = Groups(self.name, Random(number), now)
        self.groups.add(now, self.core, preference=[name_of(1), name_of(2), name_of(3)])

    @property
    def core(self) -> RaftCore:
        """Its only replica."""
        return self.replica.core

    def turn(self, now: int) -> list[tuple[NodeName, Any]]:
        """One turn as a storage makes it; what it sends."""
        groups, replica = self.groups, self.replica
        wall = WALL_MS + now + self.wall_ahead
        groups.tick(now, wall)
        touched, groups.touched = groups.touched, set()
        out = one_by_one(groups.early(now, sorted(touched)))
        replica.collect()
        replica.flush()
        replica.saved()
        out += groups.rounds(now, wall)
        out += one_by_one(groups.late(sorted(touched)))
        out += groups.take_echoes()
        replica.apply()
        return out


def one_by_one(sends: Iterable[tuple[NodeName, Any]]) -> list[tuple[NodeName, Any]]:
    """What travels in lists, each as the group said it: so that a link may lose one of them."""
    found: list[tuple[NodeName, Any]] = []
    for name, message in sends:
        is_list = isinstance(message, Appends | AppendResults)
        found += [(name, one) for one in (message.items if is_list else [message])]
    return found


class Rig:
    """The storages and what lies between them."""

    def __init__(self, count: int = 3, config: GroupConfig | None = None) -> None:
        self.now = 0
        config = config or GroupConfig(places(*range(1, count + 1)))
        self.storages = {
            name_of(one): Storage(one, birth_of(config), 0, b"uuid-%d" % one)
            for one in range(1, count + 1)
        }
        self.cut: set[frozenset[NodeName]] = set()
        self.silent: set[frozenset[NodeName]] = set()
        """Links that stand and carry nothing."""
        self.sent: list[tuple[NodeName, NodeName, Any]] = []
        self.drop: Callable[[NodeName, NodeName, Any], bool] = lambda source, target, what: False
        for one in self.storages.values():
            self.join(one)

    def __getitem__(self, number: int) -> Storage:
        return self.storages[name_of(number)]

    @property
    def leader(self) -> Storage | None:
        """Who leads in the highest term."""
        leading = [one for one in self.storages.values() if one.core.lead is not None]
        return max(leading, key=lambda one: one.core.term, default=None)

    def is_cut(self, one: NodeName, other: NodeName) -> bool:
        """Is there no link?"""
        return frozenset((one, other)) in self.cut

    def join(self, new: Storage) -> None:
        """Links between `new` and all others."""
        for other in self.storages.values():
            if other is not new and not self.is_cut(new.name, other.name):
                other.groups.peer_up(self.now, new.name, new.uuid)
                new.groups.peer_up(self.now, other.name, other.uuid)

    def part(self, one: int, *others: int) -> None:
        """Break the links of one storage, or only those to some."""
        for other in others or [n for n in range(1, len(self.storages) + 1) if n != one]:
            self.cut.add(frozenset((name_of(one), name_of(other))))
            self[one].groups.peer_down(self.now, name_of(other))
            self[other].groups.peer_down(self.now, name_of(one))

    def heal(self) -> None:
        """All links stand again."""
        cut, self.cut, self.silent = self.cut, set(), set()
        for pair in sorted(map(sorted, cut)):
            one, other = (self.storages[name] for name in pair)
            one.groups.peer_up(self.now, other.name, other.uuid)
            other.groups.peer_up(self.now, one.name, one.uuid)

    def restart(self, number: int, *, disk: Disk | None = None, uuid: bytes = b"") -> Storage:
        """Another life of a storage, with its disk or another one."""
        old = self[number]
        new = Storage(number, disk or old.replica.disk, self.now, uuid or old.uuid)
        for other in self.storages.values():
            if other is not old and not self.is_cut(old.name, other.name):
                other.groups.peer_down(self.now, old.name)
        self.storages[old.name] = new
        self.join(new)
        return new

    def step(self) -> None:
        """10 ms."""
        self.now += STEP_MS
        flying = [
            (one.name, target, message)
            for one in self.storages.values()
            for target, message in one.turn(self.now)
        ]
        while flying:
            source, target, message = flying.pop(0)
            self.sent.append((source, target, message))
            pair = frozenset((source, target))
            if pair in self.cut or pair in self.silent or self.drop(source, target, message):
                continue
            storage = self.storages[target]
            self.deliver(storage, source, message)
            flying += [(target, other, answer) for other, answer in storage.turn(self.now)]

    def deliver(self, storage: Storage, source: NodeName, message: Any) -> None:
        """Hand a message in."""
        groups, wall = storage.groups, WALL_MS + self.now + storage.wall_ahead
        if isinstance(message, NodeHeartbeat):
            groups.heartbeat(self.now, wall, source, message)
        elif isinstance(message, NodeHeartbeatEcho):
            groups.echo(self.now, wall, source, message)
        else:
            groups.receive(self.now, wall, source, message)

    def run(self, milliseconds: int) -> None:
        """Let time pass."""
        for _ in range(milliseconds // STEP_MS):
            self.step()

    def until(self, condition: Callable[[], object], milliseconds: int = 20_000) -> None:
        """Let time pass until something is so."""
        for _ in range(milliseconds // STEP_MS):
            if condition():
                return
            self.step()
        assert condition(), "it never came to be"

    def lead(self, number: int = 1) -> Storage:
        """Wait until that storage leads and serves, and all know it."""
        self.until(lambda: self[number].core.serving)
        self.until(
            lambda: (
                all(one.core.leader == number for one in self.storages.values())
                and all(
                    one.core.applied == self[number].core.applied for one in self.storages.values()
                )
            )
        )
        return self[number]

    def propose(self, number: int, payload: bytes = b"x") -> int:
        """Propose there; the index."""
        index = self[number].core.propose(payload, WALL_MS)
        self[number].groups.touched.add(PARTITION)
        return index
