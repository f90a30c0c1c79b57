"""What goes wrong in a run: drawn by seed, each seed with its own kinds of trouble (swarm testing).

With everything on at once most runs would be spent in rubble; so each seed draws which faults it
knows and how often they come (Groce 2012). `Nemesis` does them to the nodes and the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from zmqim.ids import NodeName
from zmqim.sim.clients import Manners
from zmqim.sim.network import Network, Weather
from zmqim.sim.nodes import Node, StorageNode
from zmqim.sim.world import MS, SECOND, World
from zmqim.storage.sizes import Sizes

FAULTS = (
    "kill_gateway",
    "kill_router",
    "kill_storage",
    "crash_in_turn",
    "kill_everyone",
    "cut_one_way",
    "cut_both_ways",
    "isolate",
    "reset",
    "pause",
    "disk_full",
    "clock",
)
COMPARED_ENTRIES = 16
"""Replicas are compared each so many entries: the logs of a run are short."""
DISK_FAULTS = ("bury_storage", "damage_rows", "lose_disk")
"""Drawn on top: so long a death that the log goes on without it; the loss of a replica's rows; the
loss of a whole disk, whose storage comes back empty."""
LOSSLESS = frozenset(
    {"kill_gateway", "kill_router", "kill_storage", "crash_in_turn", "kill_everyone"}
    | {"disk_full", "clock", *DISK_FAULTS}
)
"""Faults after which everybody who is online still gets everything."""


@dataclass(frozen=True)
class Plan:
    """The shape of a cluster, its load and its troubles."""

    gateways: int
    routers: int
    storages: int
    replicas: int
    partitions: int
    people: int
    groups: int
    big_group: bool
    fickle: bool
    """Whether somebody comes and goes in a group."""
    rivals: bool
    """Whether two devices of one person compete for one device flag."""
    safety_us: int
    weather: Weather
    sync_us: tuple[int, int]
    skew_ms: int
    faults: tuple[str, ...]
    fault_pause_ms: tuple[int, int]
    manners: Manners
    sizes: Sizes = field(default_factory=Sizes)
    kinds: bool = False
    """Whether there are channels of other types than group and person."""
    readers: bool = False
    """Whether somebody reads conversations and takes commands, and somebody streams answers."""

    @property
    def loses_frames(self) -> bool:
        """Whether a gateway may be cut off from a router while both serve, or a frame is lost."""
        weather = self.weather
        troubled = weather.drop or weather.reorder or weather.duplicate
        return bool(troubled) or not LOSSLESS.issuperset(self.faults)


CALM = Weather()
"""No trouble but delay: the weather before and after the safety phase."""


def draw(random: Random) -> Plan:
    """The plan of a seed."""
    plan = _with_snapshots(_drawn(random), random)
    plan = replace(plan, kinds=random.randrange(3) == 0)
    return replace(plan, readers=random.randrange(4) == 0)


def draw_small(random: Random) -> Plan:
    """The plan of a seed in the small world: three storages, two partitions, 20 seconds of trouble,
    little said. What matters happens to few, so much of it is seen in a short time."""
    plan = _drawn(random)
    small = replace(
        plan,
        gateways=min(plan.gateways, 2),
        routers=min(plan.routers, 2),
        storages=3,
        replicas=3,
        partitions=2,
        people=2,
        groups=1,
        big_group=False,
        safety_us=20 * SECOND,
        manners=replace(plan.manners, think_ms=(200, 1_500)),
    )
    small = _with_snapshots(small, random)
    return replace(small, readers=random.randrange(4) == 0)


def _drawn(random: Random) -> Plan:
    def one_in(count: int) -> bool:
        return random.randrange(count) == 0

    known = sorted(random.sample(FAULTS, random.randint(1, 5)), key=FAULTS.index)
    slow = one_in(4)
    weather = Weather(
        delay_us=(500, 30_000) if slow else (50, 1_500),
        drop=random.choice((0.001, 0.01, 0.05)) if one_in(3) else 0.0,
        duplicate=random.choice((0.01, 0.1)) if one_in(3) else 0.0,
        reorder=random.choice((0.01, 0.1)) if one_in(3) else 0.0,
        stale=random.choice((0.0, 0.5, 1.0)),
        heartbeat_drop=random.choice((0.05, 0.2)) if one_in(3) else 0.0,
    )
    if "disk_full" in known:
        # A frame that comes twice may be taken first and refused then: TCP never does that.
        weather.duplicate = 0.0
    low = random.choice((300, 800, 2_000))
    storages, replicas = random.choice(((1, 1), (2, 1), (2, 2), (3, 3), (3, 3), (4, 3), (5, 5)))
    return Plan(
        gateways=random.choice((1, 2, 2, 3)),
        routers=random.choice((1, 2, 2, 3)),
        storages=storages,
        replicas=replicas,
        partitions=random.choice((2, 4, 8)),
        people=random.randint(2, 5),
        groups=random.randint(1, 2),
        big_group=one_in(4),
        fickle=one_in(2),
        rivals=one_in(6),
        safety_us=random.randint(6, 14) * SECOND,
        weather=weather,
        sync_us=(100, 600) if not one_in(5) else (2_000, 20_000),
        skew_ms=random.choice((0, 0, 2_000)),
        faults=tuple(known) if not one_in(12) else (),
        fault_pause_ms=(low, 3 * low),
        manners=Manners(
            think_ms=random.choice(((20, 150), (50, 600))),
            never_ack=random.choice((0.0, 0.05)),
            cut=random.choice((0.0, 0.02, 0.05)),
            stop_reading=random.choice((0.0, 0.02)),
        ),
    )


def _with_snapshots(plan: Plan, random: Random) -> Plan:
    """Half of the replicated plans keep so little of their logs that snapshots are needed."""
    rows_wait_ms = random.choice((0, 20, 50, 400))
    seldom = Sizes(rows_wait_ms=rows_wait_ms, digest_entries=COMPARED_ENTRIES)
    if plan.replicas == 1 or random.random() < 0.5:
        return replace(plan, sizes=seldom)
    sizes = seldom._replace(
        entries_kept=random.choice((4, 32)),
        chunk_bytes=random.choice((200, 2_000)),
        chunk_rows=random.choice((3, 50)),
    )
    return replace(plan, sizes=sizes, faults=(*plan.faults, *DISK_FAULTS))


class Nemesis:
    """Does the faults of a plan, one after the other, until it is stopped."""

    def __init__(
        self,
        world: World,
        plan: Plan,
        network: Network,
        nodes: dict[str, Sequence[Node]],  # type: ignore[type-arg]
    ) -> None:
        """`nodes` by role: gateway, router, storage."""
        self.world = world
        self.is_stopped = False
        self.done: dict[str, int] = {}
        """How often each fault was done."""
        self._plan = plan
        self._network = network
        self._nodes = nodes
        self._everyone = [node for role in nodes.values() for node in role]
        self._storages = [node for node in nodes["storage"] if isinstance(node, StorageNode)]
        self._random = world.fork()
        self._do: dict[str, Callable[[], None]] = {
            "kill_gateway": lambda: self._kill("gateway"),
            "kill_router": lambda: self._kill("router"),
            "kill_storage": lambda: self._kill("storage"),
            "crash_in_turn": self._crash_in_turn,
            "kill_everyone": self._kill_everyone,
            "cut_one_way": lambda: self._cut(both_ways=False),
            "cut_both_ways": lambda: self._cut(both_ways=True),
            "isolate": self._isolate,
            "reset": lambda: network.reset(self._any().name),
            "pause": self._pause,
            "disk_full": self._fill_disk,
            "clock": self._turn_clock,
            "bury_storage": lambda: self._bury(self._random.choice(self._storages)),
            "damage_rows": self._damage_rows,
            "lose_disk": self._lose_disk,
        }
        assert self._do.keys() == {*FAULTS, *DISK_FAULTS}

    def start(self) -> None:
        """Begin, if the plan knows any fault."""
        if self._plan.faults:
            pause = self._random.randint(*self._plan.fault_pause_ms) * MS
            self.world.after(pause, self._next)

    def _next(self) -> None:
        if self.is_stopped:
            return
        fault = self._random.choice(self._plan.faults)
        self.done[fault] = self.done.get(fault, 0) + 1
        self.world.note("fault", fault)
        self._do[fault]()
        self.start()

    def stop(self) -> None:
        """No more faults; what is broken is put right."""
        self.is_stopped = True
        self._network.heal_all()
        for node in self._nodes["storage"]:
            assert isinstance(node, StorageNode)
            node.crash_in = -1
            node.disk.is_full = False
        for node in self._everyone:
            if not node.is_alive:
                node.boot()

    def _any(self) -> Node:  # type: ignore[type-arg]
        return self._random.choice(self._everyone)

    def _kill(self, role: str) -> None:
        node = self._random.choice(self._nodes[role])
        if node.is_alive:
            node.kill()
            pause = self._random.choice((0, 0, 1, 4)) * SECOND
            self.world.after(pause, lambda: node.boot() if not node.is_alive else None)

    def _bury(self, node: StorageNode) -> None:
        """Dead for so long that the others forget what it lacks."""
        if node.is_alive:
            node.kill()
            pause = self._random.choice((2, 4, 7)) * SECOND
            self.world.after(pause, lambda: node.boot() if not node.is_alive else None)

    def _damage_rows(self) -> None:
        """A storage loses the rows of some partitions, while all others hold everything.

        Not where two voters are needed for a lead and one is the damaged one.
        """
        if self._plan.replicas > 2 and is_whole(self._storages):
            node = self._random.choice(self._storages)
            partitions = self._random.sample(sorted(node.core.groups), 1)
            node.kill()
            node.disk.lose_rows(partitions)
            node.boot()

    def _lose_disk(self) -> None:
        """A storage comes back with an empty folder, while all others hold everything."""
        if self._plan.replicas > 2 and is_whole(self._storages):
            node = self._random.choice(self._storages)
            node.kill()
            node.lose_disk()
            pause = self._random.choice((0, 1, 4)) * SECOND
            self.world.after(pause, lambda: node.boot() if not node.is_alive else None)

    def _kill_everyone(self) -> None:
        if self._random.random() < 0.5:
            return
        for node in self._everyone:
            if node.is_alive:
                node.kill()
                node.boot()

    def _crash_in_turn(self) -> None:
        node = self._random.choice(self._nodes["storage"])
        assert isinstance(node, StorageNode)
        node.crash_in = self._random.randrange(6)

    def _cut(self, *, both_ways: bool) -> None:
        if len(self._everyone) < 2:
            return
        one, other = self._random.sample(self._everyone, 2)
        self._cut_for_a_while([(one, other)], both_ways)

    def _isolate(self) -> None:
        one = self._any()
        self._cut_for_a_while(
            [(one, other) for other in self._everyone if other is not one],
            self._random.random() < 0.7,
        )

    def _cut_for_a_while(
        self,
        pairs: Sequence[tuple[Node, Node]],  # type: ignore[type-arg]
        both_ways: bool,
    ) -> None:
        directions = [(one.name, other.name) for one, other in pairs]
        if both_ways:
            directions += [(target, source) for source, target in directions]
        for source, target in directions:
            self._network.cut(source, target)
        duration = self._random.choice((200, 1_000, 4_000, 9_000))
        for source, target in directions:
            after = duration + self._random.randrange(500)
            self.world.after(after * MS, partial(self._network.heal, source, target))

    def _pause(self) -> None:
        self._any().pause(self._random.choice((50, 400, 1_500, 5_000)) * MS)

    def _fill_disk(self) -> None:
        node = self._random.choice(self._nodes["storage"])
        assert isinstance(node, StorageNode)
        disk = node.disk
        disk.is_full = True
        node.poke()

        def free() -> None:
            disk.is_full = False
            node.poke()

        self.world.after(self._random.randint(200, 3_000) * MS, free)

    def _turn_clock(self) -> None:
        jump = self._random.choice((-3_600_000, -5_000, 5_000, 3_600_000))
        self._any().wall_skew_ms += jump


def is_whole(storages: Sequence[StorageNode]) -> bool:
    """Does everybody live, and has every group all its voters, on the present disks?"""
    if not all(node.is_alive for node in storages):
        return False
    disks = {node.name: node.uuid for node in storages}
    led: set[int] = set()
    for node in storages:
        for number, core in node.core.replicas.cores.items():
            if core.is_damaged:
                return False
            if core.serving:
                led.add(number)
                config = core.config
                wanted = node.core.registry.wanted_of(number)
                if config.learners or len(config.voters) != wanted:
                    return False
                if any(disks[NodeName(v.name)] != v.node_uuid for v in config.voters):
                    return False
    return len(led) == storages[0].core.registry.number + 1
