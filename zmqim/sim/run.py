"""One run: a cluster, its clients and its troubles, from a seed to a judged history.

Three phases. *Setup* in calm weather: everyone starts, tokens and groups are made. *Safety*: the
nemesis does what it likes, clients go on. *Liveness*: faults end, the dead come back, and within
bounds every open message must be answered, views and presence must agree with the truth, a new
message in every channel must reach everyone online, and every client must hold the whole log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from zmqim import limits
from zmqim.bus.messages import Role
from zmqim.chat.channels import route_key_of_channel
from zmqim.chat.queries import MessagesQuery
from zmqim.chat.reading import answer
from zmqim.chat.results import MessagesPage
from zmqim.ids import NodeName
from zmqim.ring.partitions import partition_of
from zmqim.sim.audience import Audience
from zmqim.sim.backend import Backend
from zmqim.sim.channels import Channels, make_channels
from zmqim.sim.checks import check
from zmqim.sim.clients import Client
from zmqim.sim.connections import seen_in
from zmqim.sim.disk import Disk
from zmqim.sim.faults import CALM, Nemesis, Plan, draw, draw_small, is_whole
from zmqim.sim.history import Gauge, History
from zmqim.sim.network import Network
from zmqim.sim.nodes import (
    Cluster,
    Cores,
    GatewayNode,
    Node,
    RouterNode,
    StorageNode,
    cluster_of,
    give_birth,
)
from zmqim.sim.world import MS, SECOND, World
from zmqim.topology import parse
from zmqim.topology_values import Topology

LOOK_US = 100 * MS
"""How often conditions are looked at."""
SETUP_US_MAX = 20 * SECOND
VIEWS_US_MAX = 3 * SECOND
"""P12: views agree so soon after a fault healed."""
BOOTED_US = SECOND
"""The dead are started again within this after the faults end."""
PRESENCE_US_MAX = 15 * SECOND
"""P12: presence agrees so soon after a fault healed."""
WHOLE_US_MAX = 60 * SECOND
"""Lost disks and rows are made good within this, one step a group after the other."""
ANSWERS_US_MAX = 40 * SECOND
PROBES_US_MAX = 15 * SECOND
DUMP_ROWS = 10_000


@dataclass(frozen=True)
class Report:
    """What became of a run."""

    seed: int
    fingerprint: str
    violations: tuple[str, ...]
    virtual_us: int
    events: int
    frames: int
    sent: int
    acknowledged: int
    pushed: int
    faults: tuple[tuple[str, int], ...]
    installs: int = 0
    """Snapshots that took the place of a replica's rows."""
    looks: int = 0
    """What readers saw of streams, conversations and commands."""

    def __str__(self) -> str:
        verdict = "ok" if not self.violations else f"{len(self.violations)} VIOLATIONS"
        faults = ", ".join(f"{name} {count}" for name, count in self.faults) or "none"
        return (
            f"seed {self.seed}: {verdict}, fingerprint {self.fingerprint}, "
            f"{self.virtual_us / SECOND:.1f} s, {self.events} events, {self.frames} frames, "
            f"{self.acknowledged} of {self.sent} sends acknowledged, {self.pushed} pushes, "
            f"{self.installs} installs, {self.looks} looks; "
            f"faults: {faults}" + "".join(f"\n    {violation}" for violation in self.violations)
        )


def run(
    seed: int, cores: Cores | None = None, plan: Plan | None = None, *, small: bool = False
) -> Report:
    """Run a seed, in the `small` world or in one of its own. What a core raises comes through, with
    the seed in its notes."""
    simulation = Simulation(seed, cores or Cores(), plan, draw_small if small else draw)
    try:
        return simulation.run()
    except BaseException as error:
        error.add_note(f"in the simulation: seed {seed}, {simulation.world.now / SECOND:.3f} s")
        raise


class Simulation:
    """Everything of one run."""

    def __init__(
        self,
        seed: int,
        cores: Cores,
        plan: Plan | None = None,
        drawn: Callable[[Random], Plan] = draw,
    ) -> None:
        self.seed = seed
        self.world = World(seed)
        self.plan = plan or drawn(self.world.fork())
        self.history = History()
        self.network = Network(self.world, CALM)
        self.cluster = cluster_of(self.world, self.network, topology_of(self.plan), cores)
        self.gateways: list[GatewayNode] = []
        self.routers: list[RouterNode] = []
        self.storages: list[StorageNode] = []
        self._make_nodes(self.cluster)
        self.everyone: list[Node] = [  # type: ignore[type-arg]
            *self.storages,
            *self.routers,
            *self.gateways,
        ]
        self.backend = Backend(self.world, self.history, self.gateways, self.plan.manners)
        self.clients: list[Client] = []
        self.channels: Channels = {}
        self.audience: Audience | None = None
        self.nemesis = Nemesis(
            self.world,
            self.plan,
            self.network,
            {"gateway": self.gateways, "router": self.routers, "storage": self.storages},
        )

    def _make_nodes(self, cluster: Cluster) -> None:
        for process in cluster.topology.processes():
            if process.role == Role.GATEWAY:
                self.gateways.append(GatewayNode(cluster, process.name))
            elif process.role == Role.ROUTER:
                self.routers.append(RouterNode(cluster, process.name, Role.ROUTER))
            else:
                disk = Disk(self.world, self.plan.sync_us)
                self.storages.append(StorageNode(cluster, process.name, disk, self.plan.sizes))
        give_birth(cluster, self.storages)

    # ---- phases ------------------------------------------------------------------------------

    def run(self) -> Report:
        """All phases, then the judgement."""
        self._set_up()
        self._do_harm()
        self._heal()
        self._probe()
        self._dump()
        self._compare()
        history = self.history
        history.ended = self.world.now
        self.backend.note_absence()
        for client in self.clients:
            client.cut()
        acknowledged = sum(sending.first_acknowledged is not None for sending in history.sendings)
        return Report(
            self.seed,
            self.world.fingerprint(),
            tuple(check(history)),
            self.world.now,
            self.world.events,
            self.network.frames,
            len(history.sendings),
            acknowledged,
            len(history.pushes),
            tuple(sorted(self.nemesis.done.items())),
            sum(storage.installs for storage in self.storages),
            len(history.told) + len(history.viewed) + len(history.shown),
        )

    def _wait(self, limit_us: int, condition: Callable[[], bool]) -> bool:
        """Let time pass until the condition holds, at most so long; False: it never did."""
        until = self.world.now + limit_us
        while not condition():
            if self.world.now >= until:
                return False
            self.world.run_until(min(until, self.world.now + LOOK_US))
        return True

    def _must(self, what: str, limit_us: int, condition: Callable[[], bool]) -> None:
        """As `_wait`; a condition that does not come about is a violation."""
        if not self._wait(limit_us, condition):
            self.history.missing.append(f"{what} within {limit_us / SECOND:.0f} s")

    def _set_up(self) -> None:
        for node in self.everyone:
            node.wall_skew_ms = self.world.random.randint(-self.plan.skew_ms, self.plan.skew_ms)
            node.start()
        self._must(
            "gateways are ready", SETUP_US_MAX, lambda: all(g.core.ready for g in self.gateways)
        )
        people = [f"u{number}" for number in range(self.plan.people)]
        self.channels = make_channels(self.plan, self.backend, people)
        for uid in people:
            self._add_clients(uid)
        self._must("setup calls are answered", SETUP_US_MAX, lambda: not self.backend.waiting)
        self.backend.posts = [
            (uid, channel) for channel, members in self.channels.items() for uid in members
        ]
        self.history.members = {
            (channel_type, name, command): members
            for (channel_type, name, _), members in self.channels.items()
            for command in (False, True)
        }
        if self.plan.readers:
            self.audience = Audience(
                self.world, self.history, self.gateways, self.backend, self.channels, people
            )
        self.history.loses_frames = self.plan.loses_frames
        self._sample()

    def _add_clients(self, uid: str) -> None:
        devices = [(0, "phone")]
        if self.world.chance(0.3):
            devices.append((1, "web"))
        if self.plan.rivals and uid == "u0":
            devices.append((0, "other-phone"))
        named = [
            (channel_type, name)
            for (channel_type, name, _), members in self.channels.items()
            if uid in members
        ]
        for flag, device in devices:
            token = f"token-{uid}-{flag}"
            self.backend.set_token(uid, flag, token)
            self.clients.append(
                Client(
                    self.world,
                    self.history,
                    self.gateways,
                    uid,
                    (flag, device),
                    token,
                    named,
                    self.plan.manners,
                )
            )

    def _do_harm(self) -> None:
        self.network.weather = self.plan.weather
        for client in self.clients:
            client.connect()
            client.live()
        self.backend.live()
        if self.audience is not None:
            self.audience.live()
        self.nemesis.start()
        self.world.run_until(self.world.now + self.plan.safety_us)

    def _heal(self) -> None:
        self.network.weather = CALM
        self.nemesis.stop()
        self.backend.is_quiet = True
        if self.audience is not None:
            self.audience.quiet()
        for client in self.clients:
            client.is_quiet = True
        self.world.run_until(self.world.now + BOOTED_US)
        self._must("everyone lives", SETUP_US_MAX, self._all_run)
        self._must(
            "views agree with who lives",
            VIEWS_US_MAX,
            lambda: (
                len({node.endpoint.view() for node in self.everyone}) == 1
                and sum(map(len, self.everyone[0].endpoint.view())) == len(self.everyone)
            ),
        )
        if not self._wait(ANSWERS_US_MAX, lambda: not self._unanswered()):
            self.history.missing += [f"{what} gets its answer" for what in self._unanswered()]
        self._must("presence agrees with the truth", PRESENCE_US_MAX, self._presence_is_right)
        self._must("every group is whole", WHOLE_US_MAX, lambda: is_whole(self.storages))
        self.history.healed = self.world.now

    def _all_run(self) -> bool:
        return all(node.is_alive and not node.sockets.is_stopped for node in self.everyone)

    def _present(self) -> list[Client]:
        return [client for client in self.clients if not client.is_gone]

    def _unanswered(self) -> list[str]:
        found = [f"{client.name}" for client in self._present() if not client.is_synced]
        for client in self._present():
            found += [sending.client_msg_no for sending in client.waiting]
        return found + self.backend.waiting + self._reading()

    def _reading(self) -> list[str]:
        """What readers and tellers wait for."""
        return [] if self.audience is None else self.audience.waiting

    def _may_go(self, client: Client) -> bool:
        """Does another device compete with it, so that it may be told to go?"""
        return self.plan.rivals and client.uid == "u0"

    def _presence_is_right(self) -> bool:
        truth = sorted(
            (gateway.name, number, session.uid)
            for gateway in self.gateways
            for number, session in gateway.core._sessions.by_number.items()
        )
        return all(
            sorted(
                (gateway, session, uid)
                for uid, places in router.core.presence.places.items()
                for gateway, session in places
            )
            == truth
            for router in self.routers
        )

    # ---- the end -----------------------------------------------------------------------------

    def _probe(self) -> None:
        """Something new in every channel reaches everyone online; then everybody has it all."""
        expected: list[tuple[Client, bytes]] = []
        for channel, members in self.channels.items():
            probe = self.backend.post(members[0], channel, "probe")
            expected += [
                (client, probe.payload) for client in self._present() if client.uid in members
            ]
        if not self._wait(PROBES_US_MAX, lambda: not self._owed(expected)):
            self.history.missing += [
                f"{client.name} is online and gets {payload!r}"
                for client, payload in self._owed(expected)
            ]
        self._must("probes are answered", ANSWERS_US_MAX, lambda: not self.backend.waiting)
        if self.audience is not None:
            self.audience.end()
            self._must("everything is read", ANSWERS_US_MAX, lambda: not self._reading())
        for client in self._present():
            client.sync()
        self._must(
            "history is read", ANSWERS_US_MAX, lambda: all(c.is_synced for c in self._present())
        )
        self.history.missing += [
            f"{client.name} is not told to go"
            for client in self.clients
            if client.is_gone and not self._may_go(client)
        ]
        self._sample()

    def _owed(self, expected: Sequence[tuple[Client, bytes]]) -> list[tuple[Client, bytes]]:
        """Pushes that have not come. Whom a rival's login ended while it did not read is online no
        more (P4): a lost `Kick` comes again only after CONFLICT_AGE_MS, late enough for that."""
        return [
            (client, payload)
            for client, payload in expected
            if payload not in client.pushed and not (client.is_gone and self._may_go(client))
        ]

    def _dump(self) -> None:
        """The log of every channel, as its leader's state holds it."""
        # A lead may be on its way home in this very millisecond.
        partitions = range(self.cluster.ring.partitions)
        self._must(
            "every partition has a leader",
            ANSWERS_US_MAX,
            lambda: all(self._leader_of(one) is not None for one in partitions),
        )
        for channel_type, channel_id, _ in list(self.channels):
            key = route_key_of_channel(channel_type, channel_id)
            partition = partition_of(key, self.cluster.ring.partitions)
            leader = self._leader_of(partition)
            if leader is None:
                self.history.missing.append(f"partition {partition} has a leader")
                continue
            state = leader.core.groups[partition].state
            for command in (False, True):
                query = MessagesQuery(channel_type, channel_id, "", 1, 0, DUMP_ROWS, 1, command)
                page = answer(state, query)
                if isinstance(page, MessagesPage):
                    channel = (channel_type, channel_id, command)
                    self.history.stored[channel] = list(seen_in(channel, page))
        if self.audience is not None:
            alike = self.audience.replicas_are_alike
            self._must("replicas are alike", ANSWERS_US_MAX, lambda: alike(self.storages))
            self.audience.look_at(self.storages)
        for client in self._present():
            for channel_type, name in client.channels:
                channel = (channel_type, name, False)
                missing = [
                    seen.sequence
                    for seen in self.history.stored.get(channel, [])
                    if client.has.get(channel, {}).get(seen.sequence) != seen
                ]
                if missing:
                    self.history.missing.append(f"{client.name} has {missing} of {channel}")

    def _compare(self) -> None:
        """Replicas that applied the same entries have the same digest, and always had."""
        differing = self.history.differing
        for storage in self.storages:
            if storage.mismatches:
                differing.append(f"{storage.name} found {storage.mismatches} differing digests")
        for partition in range(self.cluster.ring.partitions):
            digests: dict[int, int] = {}
            for storage in self.storages:
                group = storage.core.groups.get(partition)
                if group is not None:
                    applied = group.state.applied
                    if digests.setdefault(applied.index, applied.digest) != applied.digest:
                        differing.append(f"replicas of {partition} at entry {applied.index}")

    def _leader_of(self, partition: int) -> StorageNode | None:
        leading = [
            storage
            for storage in self.storages
            if storage.is_alive
            and partition in storage.core.groups
            and storage.core.groups[partition].raft.serving
        ]
        return max(leading, key=lambda s: s.core.groups[partition].raft.term, default=None)

    def _sample(self) -> None:
        """Sizes that have bounds, now and every second."""
        now = self.world.now
        gauges = self.history.gauges
        for gateway in self.gateways:
            if gateway.is_alive:
                sizes = gateway.core.gauges()
                pending = sizes["sends_waiting"] + sizes["requests_waiting"]
                bound = 2 * limits.GATEWAY_REQUESTS_MAX
                gauges.append(Gauge(now, gateway.name, "requests", pending, bound))
                windows = [len(s.window) for s in gateway.core._sessions.by_number.values()]
                most = max(windows, default=0)
                bound = limits.UNACKED_PUSHES_MAX
                gauges.append(Gauge(now, gateway.name, "window", most, bound))
        for storage in self.storages:
            if storage.is_alive:
                size, bound = storage.core.installing.open, limits.SNAPSHOTS_PER_NODE_MAX
                gauges.append(Gauge(now, storage.name, "snapshots", size, bound))
                for group in storage.core.groups.values():
                    if group.duties is None:
                        continue
                    size = len(group.duties.notices._items)
                    bound = limits.NOTICES_UNACKED_MAX
                    gauges.append(Gauge(now, storage.name, "notices", size, bound))
        for node in self.everyone:
            if node.is_alive:
                outboxes = node.endpoint._outboxes.values()
                most = max((outbox.messages for outbox in outboxes), default=0)
                bound = limits.PEER_QUEUE_MESSAGES_MAX
                gauges.append(Gauge(now, node.name, "queue", most, bound))
        self.world.after(SECOND, self._sample)


def topology_of(plan: Plan) -> Topology:
    """The topology of a plan."""
    lines = ['cluster = "simulation"', f"replicas = {plan.replicas}"]
    lines.append(f"partitions = {plan.partitions}")
    names: Sequence[tuple[str, int, str]] = (
        ("storage", plan.storages, ""),
        ("router", plan.routers, ""),
        ("gateway", plan.gateways, "listeners"),
    )
    for role, count, listeners in names:
        for number in range(1, count + 1):
            lines += [f"[[{role}]]", f'name = "{NodeName(f"{role}-{number}")}"']
            if listeners:
                lines.append(f'listeners = ["wkproto://127.0.0.1:{5100 + number}"]')
    return parse("\n".join(lines) + "\n", "simulation.toml")
