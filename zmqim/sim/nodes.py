"""The simulated processes: the real cores and the real endpoint in shells of virtual time.

A node lives, is killed and lives again, as its supervisor would have it: gateways and routers under
a fresh uuid, a storage under its own with the next incarnation and with what its disk kept. Its
turns come when something arrived or is due; between two effects of a storage lies the time of a
sync, and a kill may fall into it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar

from zmqim.bus.effects import Peer, Send
from zmqim.bus.endpoint import BusCore, Endpoint, feed, perform_send
from zmqim.bus.messages import Role
from zmqim.gateway.core import GatewayCore
from zmqim.gateway.effects import (
    Answered,
    AskHook,
    CloseClient,
    OnlineFound,
    SetReading,
    ToClient,
)
from zmqim.gateway.plugin import CloseReason, SessionChanged
from zmqim.ids import Incarnation, Milliseconds, NodeName, NodeUuid, WallMilliseconds
from zmqim.limits import LINK_SILENCE_MS_MAX
from zmqim.meta.birth import BirthCore
from zmqim.meta.record import BirthRecord, born
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.ring.document import RingDocument, ring_of
from zmqim.router.core import RouterCore
from zmqim.sim.disk import Disk
from zmqim.sim.network import Network, SimulatedSockets
from zmqim.sim.world import MS, World
from zmqim.storage.core import StorageCore
from zmqim.storage.effects import Effect as StorageEffect
from zmqim.storage.effects import WriteJournal, WriteState
from zmqim.storage.genesis import first_batch
from zmqim.storage.sizes import Sizes
from zmqim.topology_values import Topology
from zmqim.wkproto.packets import FromClient, FromServer

WALL_EPOCH_MS = 1_750_000_000_000
"""Wall clock of a process without skew when the run begins."""
TURN_US_MAX = 200
"""From an arrival to the turn that takes it in."""
BOOT_MS = (150, 700)
"""From a kill to the next life: the supervisor's pause and the start of Python."""


class Core(BusCore, Protocol):
    """What every core has besides what the bus feeds."""

    def wake(self, now: Milliseconds) -> None: ...
    def next_wake(self) -> int | None: ...


CoreT = TypeVar("CoreT", bound=Core)


@dataclass(frozen=True)
class Cores:
    """The classes of the cores: tests plant faults by giving subclasses."""

    gateway: type[GatewayCore] = GatewayCore
    router: type[RouterCore] = RouterCore
    storage: type[StorageCore] = StorageCore


class Cluster(NamedTuple):
    """What all nodes share."""

    world: World
    network: Network
    topology: Topology
    ring: RingDocument
    cores: Cores
    record: list[BirthRecord]
    """The one birth record, once every storage has its uuid: all are born at once."""


def cluster_of(world: World, network: Network, topology: Topology, cores: Cores) -> Cluster:
    """A cluster without nodes."""
    return Cluster(world, network, topology, ring_of(topology), cores, [])


class Node(Generic[CoreT]):
    """One process of the topology, through all its lives."""

    core: CoreT
    endpoint: Endpoint
    sockets: SimulatedSockets

    def __init__(self, cluster: Cluster, name: NodeName, role: Role) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.name = name
        self.role = role
        self.is_alive = False
        self.life = 0
        """Counts the lives; what was planned for an earlier one does not happen."""
        self.turns = 0
        self._random = self.world.fork()
        self._uuid = NodeUuid(self._random.randbytes(16))
        self._clock_us = 0
        self.wall_skew_ms = 0
        self._is_poked = False
        self._busy_until = 0
        self._stopped_until = 0
        self._wake_at = -1

    @property
    def uuid(self) -> NodeUuid:
        """Whose disk it is, or which life."""
        return self._uuid

    # ---- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life."""
        assert not self.is_alive
        self.life += 1
        self.is_alive = True
        self._is_poked = False
        self._busy_until = self._stopped_until = self.world.now
        self._wake_at = -1
        self._clock_us = self._random.randrange(1_000_000_000)
        if self.role != Role.STORAGE:
            self._uuid = NodeUuid(self._random.randbytes(16))
        incarnation = Incarnation(self.life if self.role == Role.STORAGE else 1)
        self.world.note("start", self.name, self.life)
        self.core = self._make_core()
        opener = self.cluster.network.opener(self.name, self.poke)

        def open_wires(*arguments: object, **options: object) -> SimulatedSockets:
            self.sockets = opener(*arguments, **options)
            return self.sockets

        identity = Peer(self.name, self.role, self._uuid, incarnation)
        self.endpoint = Endpoint(
            identity,
            self.cluster.topology,
            self.cluster.ring,
            self.world.fork(),
            self.now(),
            open_wires,
        )
        self.poke()

    def kill(self) -> None:
        """kill -9: nothing more happens in this life."""
        if self.is_alive:
            self.is_alive = False
            self.world.note("kill", self.name, self.life)
            self.cluster.network.shut(self.sockets)
            self._died()

    def boot(self) -> None:
        """Start again after the supervisor's pause, unless that happened already."""
        life = self.life
        delay = self._random.randint(*BOOT_MS) * MS
        self.world.after(delay, lambda: self._boot_if(life))

    def _boot_if(self, life: int) -> None:
        if not self.is_alive and self.life == life:
            self.start()

    def pause(self, duration_us: int) -> None:
        """SIGSTOP, and SIGCONT after a while; too long breaks the connections."""
        if not self.is_alive:
            return
        life = self.life
        self.world.note("pause", self.name, duration_us)
        self._stopped_until = max(self._stopped_until, self.world.now + duration_us)
        self._busy_until = max(self._busy_until, self._stopped_until)
        self.sockets.is_stopped = True
        if duration_us > LINK_SILENCE_MS_MAX * MS:
            self.world.after(
                LINK_SILENCE_MS_MAX * MS,
                lambda: self.cluster.network.silence(self.name) if self.life == life else None,
            )
        self.world.after(duration_us, lambda: self._go_on(life))

    def _go_on(self, life: int) -> None:
        if self.life == life and self.is_alive and self.world.now >= self._stopped_until:
            self.sockets.is_stopped = False
            self.poke()

    def _make_core(self) -> CoreT:
        raise NotImplementedError

    def _died(self) -> None:
        """What a role has to give up."""

    # ---- time --------------------------------------------------------------------------------

    def now(self) -> Milliseconds:
        """The process's monotonic clock."""
        return Milliseconds((self.world.now + self._clock_us) // MS)

    def wall(self) -> WallMilliseconds:
        """The process's wall clock."""
        return WallMilliseconds(WALL_EPOCH_MS + self.world.now // MS + self.wall_skew_ms)

    # ---- turns -------------------------------------------------------------------------------

    def poke(self) -> None:
        """There is something to do: a turn comes soon."""
        if self._is_poked or not self.is_alive:
            return
        self._is_poked = True
        life = self.life
        delay = max(self._busy_until - self.world.now, 0) + self._random.randrange(TURN_US_MAX)
        self.world.after(delay, lambda: self._poked(life))

    def _poked(self, life: int) -> None:
        if self.life != life or not self.is_alive:
            return
        self._is_poked = False
        if self.world.now < self._busy_until:
            self.poke()
            return
        self.turns += 1
        now = self.now()
        feed(self.core, now, self.endpoint.turn(now, self.wall()))
        self._turn(now)

    def _turn(self, now: Milliseconds) -> None:
        """End the core's turn and perform its effects; then `_rest`."""
        raise NotImplementedError

    def _rest(self, now: Milliseconds, again: bool) -> None:
        """Sleep until something arrives or is due."""
        self.endpoint.flush(now)
        due = self.core.next_wake()
        wake: int = self.endpoint.next_wake(now)
        if due is not None:
            wake = min(wake, due)
        if again or wake <= now:
            self.poke()
            return
        when = wake * MS - self._clock_us
        if self._wake_at < self.world.now or when < self._wake_at:
            self._wake_at = when
            life = self.life
            self.world.after(when - self.world.now, lambda: self._wake(life, when))

    def _wake(self, life: int, when: int) -> None:
        if self.life == life and self._wake_at == when:
            self._wake_at = -1
            self.poke()

    def _send(self, now: Milliseconds, effect: Send) -> bool:
        return perform_send(self.endpoint, self.core, now, effect)


def give_birth(cluster: Cluster, storages: Sequence[StorageNode]) -> None:
    """Every storage gets the replicas that it holds from the beginning."""
    uuids: dict[str, bytes] = {storage.name: storage.uuid for storage in storages}
    topology = cluster.topology
    record = born(topology.cluster_id, cluster.ring, topology.storages, uuids)
    cluster.record.append(record.with_complete(True))
    for storage in storages:
        storage.disk.journal.write(first_batch(record, storage.uuid))


class RouterNode(Node[RouterCore]):
    """A router."""

    def _make_core(self) -> RouterCore:
        return self.cluster.cores.router(self.name, self.cluster.ring, self.world.fork())

    def _turn(self, now: Milliseconds) -> None:
        wake = self.core.next_wake()
        if wake is not None and wake <= now:
            self.core.wake(now)
        again = False
        for effect in self.core.turn(now):
            again |= not self._send(now, effect)
        self._rest(now, again)


class StorageNode(Node[StorageCore]):
    """A storage; its disk outlives it."""

    def __init__(
        self, cluster: Cluster, name: NodeName, disk: Disk, sizes: Sizes = Sizes()
    ) -> None:
        super().__init__(cluster, name, Role.STORAGE)
        self.disk = disk
        self.sizes = sizes
        self.crash_in = -1
        """Die after so many more effects; -1: not."""
        self.installs = 0
        """Snapshots that took the place of the rows, in all lives."""
        self._mismatches = 0

    def lose_disk(self) -> None:
        """The disk is another one, and empty: a new node under the same name.

        It is given the birth record at once, as the others would.
        """
        assert not self.is_alive
        self.world.note("lose_disk", self.name)
        self.disk = Disk(self.world, self.disk.sync_us)
        self._uuid = NodeUuid(self._random.randbytes(16))

    def _make_core(self) -> StorageCore:
        disk = self.disk
        core = self.cluster.cores.storage(
            Peer(self.name, self.role, self._uuid, Incarnation(self.life)),
            self.cluster.ring,
            disk.rows,
            disk.journal,
            disk.journal.load(),
            self._birth(),
            self.world.fork(),
            self.now(),
            storages=self.cluster.topology.storages,
            memory=disk.journal.peers(),
            sizes=self.sizes,
        )
        disk.check(core.log_ends())
        return core

    def _birth(self) -> BirthCore:
        topology = self.cluster.topology
        return BirthCore(
            self.name,
            self._uuid,
            topology.cluster_id,
            self.cluster.ring,
            topology.storages,
            self.cluster.record[0],
        )

    @property
    def mismatches(self) -> int:
        """How often a replica here, or of a group led here, was found to differ, in all lives."""
        here = self.core.counters["digest_mismatches"] if self.is_alive else 0
        return self._mismatches + here

    def _died(self) -> None:
        self._mismatches += self.core.counters["digest_mismatches"]
        self.crash_in = -1
        self.disk.crash()

    def _turn(self, now: Milliseconds) -> None:
        self.core.disk_state(now, self.disk.is_full)
        self._perform(now, self.core.turn(now, self.wall()), 0)

    def _perform(self, now: Milliseconds, effects: Sequence[StorageEffect], first: int) -> None:
        """Perform in order. A write takes time; what follows it waits, or never happens."""
        for place in range(first, len(effects)):
            effect = effects[place]
            if self.crash_in >= 0:
                self.crash_in -= 1
                if self.crash_in < 0:
                    self._crash_at(effect)
                    return
            if isinstance(effect, Send):
                self._send(now, effect)
                continue
            # The contract is the order of effects: what was said before a write is on its way.
            self.endpoint.flush(now)
            delay = self.disk.sync_delay()
            self._busy_until = max(self._busy_until, self.world.now + delay + 1)
            self.world.after(delay, partial(self._synced, self.life, effects, place))
            return
        self._rest(now, False)

    def _synced(self, life: int, effects: Sequence[StorageEffect], place: int) -> None:
        if self.life != life or not self.is_alive:
            return
        if self.sockets.is_stopped:
            self._busy_until = max(self._busy_until, self.world.now + MS + 1)
            self.world.after(MS, partial(self._synced, life, effects, place))
            return
        self._write(effects[place])
        self._perform(self.now(), effects, place + 1)

    def _write(self, effect: StorageEffect) -> None:
        match effect:
            case WriteJournal(batch):
                metas = map(ReplicaMeta.decode, batch.replica_metas.values())
                self.installs += sum(meta.status != ReplicaStatus.DAMAGED for meta in metas)
                self.disk.write_journal(batch)
            case WriteState(rows):
                self.disk.write_rows(rows)

    def _crash_at(self, effect: StorageEffect) -> None:
        """Die in the middle of a turn; a write under way may have reached the disk or not."""
        if self._random.random() < 0.5:
            self._write(effect)
        self.kill()
        self.boot()


class ClientEnd(Protocol):
    """The client's end of a connection."""

    def received(self, packets: Sequence[FromServer]) -> None: ...
    def closed(self, reason: CloseReason | None) -> None: ...
    def stopped(self) -> None: ...


class GatewayNode(Node[GatewayCore]):
    """A gateway with its connections."""

    def __init__(self, cluster: Cluster, name: NodeName) -> None:
        super().__init__(cluster, name, Role.GATEWAY)
        self._ends: dict[int, ClientEnd] = {}
        self._last = 0
        self._asked: dict[int, Callable[[int, bytes], None]] = {}
        self._last_token = 0

    def _make_core(self) -> GatewayCore:
        return self.cluster.cores.gateway(
            self.name,
            self._uuid,
            self.cluster.ring,
            self.cluster.topology.limits,
            self.world.fork(),
            self.now(),
        )

    def _died(self) -> None:
        ends, self._ends, self._asked = self._ends, {}, {}
        for end in ends.values():
            end.closed(None)

    def pause(self, duration_us: int) -> None:
        """As any node; its connections are told, for the history."""
        super().pause(duration_us)
        for end in self._ends.values():
            end.stopped()

    def accept(self, end: ClientEnd) -> int | None:
        """A client connects; None: it is closed at once."""
        if not self.is_alive or self.sockets.is_stopped or not self.core.has_room:
            return None
        self._last += 1
        self._ends[self._last] = end
        self.core.session_opened(self.now(), self._last, "10.0.0.1:1000")
        self.poke()
        return self._last

    def packets(self, session: int, packets: Sequence[FromClient]) -> None:
        """The client's packets arrived."""
        self.core.packets(self.now(), session, packets)
        self.poke()

    def writable(self, session: int, on: bool) -> None:
        """The client's buffer is full, or drained."""
        self.core.writable(self.now(), session, on)
        self.poke()

    def drop(self, session: int) -> None:
        """The client's connection is gone."""
        if self._ends.pop(session, None) is not None:
            self.core.session_closed(self.now(), session)
            self.poke()

    def ask(
        self,
        kind: int,
        key: bytes,
        body: bytes,
        deadline_ms: int,
        then: Callable[[int, bytes], None],
    ) -> None:
        """What the HTTP API asks; `then` gets the outcome, or nothing if the gateway dies."""
        self._last_token += 1
        self._asked[self._last_token] = then
        self.core.ask(self.now(), self._last_token, kind, key, body, deadline_ms)
        self.poke()

    def _turn(self, now: Milliseconds) -> None:
        self.core.set_wall_offset(self.wall() - now)
        self.core.wake(now)
        again = False
        for effect in self.core.turn(now):
            match effect:
                case Send():
                    again |= not self._send(now, effect)
                case ToClient(session, packets):
                    self._ends[session].received(packets)
                case CloseClient(session, reason):
                    self._ends.pop(session).closed(reason)
                case Answered(token, code, result):
                    self._asked.pop(token)(code, result)
                case SetReading() | OnlineFound() | SessionChanged() | AskHook():
                    pass
        self._rest(now, again)
