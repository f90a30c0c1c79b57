"""One process's place on the bus: sockets, links and membership behind a few calls.

All three kinds of process use it alike. A polling process (router, storage) loops over
``wait`` → ``turn`` → `feed` its core → `perform_send` of its effects → ``flush``; an asyncio
process (gateway) registers `fds` as readers and does the same at each wake-up and at `next_wake`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final, NamedTuple, Protocol, assert_never

from zmqim.bus.admission import Terms, is_name, routing_id
from zmqim.bus.codes import MESSAGE_CODES
from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.envelope import BadCluster, Codec, FrameError
from zmqim.bus.link_events import (
    Left,
    LinkEvent,
    LinkFault,
    PeerDown,
    PeerUp,
    Place,
    Received,
    Refused,
    Reply,
    SayHello,
    Transmit,
)
from zmqim.bus.links import Links, dials
from zmqim.bus.messages import (
    Heartbeat,
    Hello,
    JoinRefused,
    Load,
    Member,
    MemberState,
    Message,
    PushPull,
    Role,
)
from zmqim.bus.outbox import Outbox
from zmqim.bus.sockets import (
    TOPIC,
    Arrival,
    Buffer,
    Connected,
    FromAccepted,
    FromDialed,
    FromPublisher,
    Lost,
    LostRoute,
    Sent,
    Sockets,
)
from zmqim.errors import NotAdmitted
from zmqim.gossip.membership import Expected, Membership
from zmqim.ids import HLC_COUNTER_BITS, ClusterId, Milliseconds, NodeName, WallMilliseconds
from zmqim.limits import FLUSH_RETRY_MS, LEAVE_LINGER_MS, MEMBERS_MAX
from zmqim.ring.document import RingDocument, key_digests
from zmqim.topology_values import Topology

STRANGERS: Final = {"bad_cluster": "cluster", "bad_version": "protocol version"}
STRANGER_MS: Final = 10_000
"""How long a frame of a stranger stays among the problems."""
TOPICS: Final = {Role.GATEWAY: TOPIC + b"g", Role.ROUTER: TOPIC + b"r", Role.STORAGE: TOPIC + b"s"}


class ViewChanged(NamedTuple):
    """Gossip sees other live processes."""

    view: View


BusEvent = PeerUp | PeerDown | ViewChanged | Received


class BusCore(Protocol):
    """The part of a core (zmqim.bus.effects) that the bus feeds."""

    def peer_up(self, now: Milliseconds, peer: Peer) -> None: ...
    def peer_down(self, now: Milliseconds, name: NodeName) -> None: ...
    def view_changed(self, now: Milliseconds, view: View) -> None: ...
    def receive(self, now: Milliseconds, source: NodeName, message: Message) -> None: ...
    def undeliverable(self, now: Milliseconds, to: NodeName, message: Message) -> None: ...


class Wires(Protocol):
    """What the endpoint needs of `zmqim.bus.sockets.Sockets`; the simulator has its own."""

    counters: dict[str, int]

    def send_dialed(self, name: NodeName, frame: Buffer) -> Sent: ...
    def send_accepted(self, route: bytes, frame: Buffer) -> Sent: ...
    def publish(self, topic: bytes, frame: Buffer) -> None: ...
    def hear_only(self, addresses: Iterable[str]) -> None: ...
    def receive(self) -> list[Arrival]: ...
    def wait(self, timeout_ms: int, extra_fds: Sequence[int] = ()) -> list[int]: ...
    def fds(self) -> tuple[int, ...]: ...
    def may_be_readable(self) -> bool: ...
    def close(self, linger_ms: int = 0) -> None: ...


class Endpoint:
    """Sockets, links and membership of one process. Binds and connects when made."""

    def __init__(
        self,
        identity: Peer,
        topology: Topology,
        ring: RingDocument,
        random: Random,
        now: Milliseconds,
        open_wires: Callable[..., Wires] = Sockets,
    ) -> None:
        """`identity` is this life. Raises `PortInUse` when an address cannot be bound."""
        places = [
            Place(p.name, p.role, p.host, p.address, p.pub_address) for p in topology.processes()
        ]
        home = next(place for place in places if place.name == identity.name)
        others = [place for place in places if place.name != identity.name]
        self._me = identity
        self._now = now
        self._codec = Codec(topology.cluster_id, identity.node_uuid, identity.incarnation)
        self._topic = TOPICS[Role(identity.role)]
        terms = Terms(
            roles={place.name: place.role for place in places},
            ring_hash=ring.hash,
            ring_document=ring.to_json(),
            key_digests=key_digests(topology),
        )
        self._links = Links(identity, home, others, terms, now)
        self._membership = Membership(
            _member(identity, home),
            ring.version,
            ring.hash,
            random,
            [
                Expected(place.name, place.role, place.host, place.address, place.pub_address)
                for place in others
            ],
        )
        self._publishers = [place.pub_address for place in others]
        self._load = Load()
        self._version = -1
        """Of the view that was told last."""
        self._events: list[BusEvent] = []
        self._outboxes: dict[NodeName, Outbox] = {}
        """Of every link that stands."""
        self._waiting: dict[NodeName, Outbox] = {}
        """Those that hold messages, oldest first."""
        self._dropped: Counter[str] = Counter()
        """Frames that were not for us or not frames, by kind; sends that were refused."""
        self._strangers: dict[str, Milliseconds] = {}
        """When a frame of that kind came last."""
        self._linger_ms = 0
        self._sockets = open_wires(
            routing_id(identity.name, identity.node_uuid, identity.incarnation),
            router=None if identity.role == Role.GATEWAY else home.address,
            publisher=home.pub_address,
            dialed={place.name: place.address for place in others if dials(identity, place)},
            heard=self._publishers,
            random=random,
        )

    # ---- the turn ----------------------------------------------------------------------------

    def turn(self, now: Milliseconds, wall_ms: WallMilliseconds) -> list[BusEvent]:
        """Take in a bounded batch, run what is due, and say what happened.

        Raises `NotAdmitted` (exit code 8) when the others run another topology.
        """
        self._now = now
        for arrival in self._sockets.receive():
            try:
                self._take(now, arrival)
            except (FrameError, LinkFault) as fault:
                self._dropped[fault.kind] += 1
                if fault.kind in STRANGERS:
                    self._strangers[fault.kind] = now
            self._carry(now)
        self._links.tick(now)
        self._carry(now)
        self._run_membership(now, wall_ms)
        self.flush(now)
        events, self._events = self._events, []
        return events

    def _take(self, now: Milliseconds, arrival: Arrival) -> None:
        match arrival:
            case FromDialed(name, frame):
                header, messages = self._codec.decode(frame)
                self._links.receive_dialed(now, name, header, messages)
            case FromAccepted(route, frame):
                try:
                    header, messages = self._codec.decode(frame)
                except BadCluster as stranger:
                    self._turn_away(route, stranger)
                    raise
                self._links.receive_accepted(now, route, header, messages)
            case FromPublisher(frame):
                header, messages = self._codec.decode(frame)
                for message in messages:
                    if (
                        not isinstance(message, Heartbeat)
                        or header[:2] != (message.node_uuid, message.incarnation)
                        or not is_name(message.name)
                    ):
                        raise LinkFault("bad_heartbeat", "not a heartbeat of its sender")
                    self._membership.heartbeat_heard(now, message)
            case Connected(name):
                self._links.connected(now, name)
            case Lost(name):
                self._links.disconnected(now, name)
            case LostRoute(route):
                self._links.disconnected_route(now, route)
            case _:
                assert_never(arrival)

    def _turn_away(self, route: bytes, stranger: BadCluster) -> None:
        """A process of another cluster knocks: it hears so, in frames of its own cluster."""
        if stranger.code == MESSAGE_CODES[Hello]:
            header = stranger.header
            me = self._me
            codec = Codec(ClusterId(stranger.cluster), me.node_uuid, me.incarnation)
            refusal = JoinRefused(f"{me.name} belongs to another cluster", ["cluster", "id"])
            frame = codec.encode(refusal, header.from_node, header.from_incarnation, header.link)
            self._sockets.send_accepted(route, frame)

    def _carry(self, now: Milliseconds) -> None:
        """Do what the links want, in order."""
        for event in self._links.take():
            if type(event) is Received and type(event.message) is not PushPull:
                self._events.append(event)  # What nearly all are: messages for the core.
            else:
                self._carry_one(now, event)

    def _carry_one(self, now: Milliseconds, event: LinkEvent) -> None:
        match event:
            case Received(source, message):
                if isinstance(message, PushPull):
                    self._membership.table_received(now, message.members)
                    if not message.answer:
                        self.send(now, source, PushPull(True, self._membership.members()))
                else:
                    self._events.append(event)
            case PeerUp(peer):
                self._open_outbox(now, peer)
                self._events.append(event)
            case PeerDown(name):
                self._drop_outbox(name)
                self._membership.link_down(now, name)
                self._events.append(event)
            case Left(name):
                self._membership.goodbye_heard(now, name)
            case Transmit(name, message):
                self.send(now, name, message)
            case SayHello(name, hello, number):
                self._sockets.send_dialed(name, self._codec.encode(hello, link=number))
            case Reply(route, message, header):
                frame = self._codec.encode(
                    message, header.from_node, header.from_incarnation, header.link
                )
                self._sockets.send_accepted(route, frame)
            case Refused(sentence):
                raise NotAdmitted(
                    f"{self._me.name} is not admitted: {sentence}.",
                    hint="Give all hosts the same topology file and the same version of zmqim.",
                )
            case _:
                assert_never(event)

    def _open_outbox(self, now: Milliseconds, peer: Peer) -> None:
        link = self._links.link_to(peer.name)
        if link is not None:  # Else the frame that brought it up also ended it: PeerDown follows.
            header = self._codec.header(peer.node_uuid, peer.incarnation, link.number)
            self._outboxes[peer.name] = Outbox(header, link.route)
            self._membership.table_received(now, [self._links.member_of(peer.name)])
            self._membership.link_up(now, peer.name)

    def _drop_outbox(self, name: NodeName) -> None:
        self._waiting.pop(name, None)
        outbox = self._outboxes.pop(name, None)
        if outbox is not None:
            self._dropped["messages_dropped_with_link"] += outbox.messages

    def _run_membership(self, now: Milliseconds, wall_ms: WallMilliseconds) -> None:
        tick = self._membership.tick(now, self._load, wall_ms << HLC_COUNTER_BITS)
        if tick.publish is not None:
            self._sockets.publish(self._topic, self._codec.encode(tick.publish))
        if tick.push_pull_with is not None:
            table = PushPull(False, self._membership.members())
            self.send(now, tick.push_pull_with, table)
        if self._membership.version != self._version:
            self._version = self._membership.version
            self._events.append(ViewChanged(self._membership.view()))
            self._hear_followers()

    def _hear_followers(self) -> None:
        """Gateways that the topology does not name tell their publisher in the member table."""
        present = [
            member.pub_address
            for member in self._membership.members()
            if member.pub_address
            and member.state <= MemberState.SUSPECT
            and member.name != self._me.name
        ]
        self._sockets.hear_only([*self._publishers, *present[:MEMBERS_MAX]])

    # ---- sending -----------------------------------------------------------------------------

    def send(self, now: Milliseconds, to: NodeName, message: Message) -> bool:
        """Queue a message for a linked process; False: no link, or its queue is full."""
        outbox = self._outboxes.get(to)
        refusal = "sends_without_link" if outbox is None else outbox.put(message)
        if outbox is None or refusal:
            self._dropped[refusal] += 1
            return False
        self._waiting[to] = outbox
        return True

    def flush(self, now: Milliseconds) -> None:
        """Hand the queues to ZeroMQ as far as it takes them, without blocking: a frame for each
        peer if it fits."""
        if not self._waiting:
            return
        for name, outbox in list(self._waiting.items()):
            sent = self._empty(name, outbox)
            if sent is Sent.TAKEN:
                del self._waiting[name]
            elif sent is Sent.UNREACHABLE:
                self._links.disconnected(now, name)
        self._carry(now)

    def _empty(self, name: NodeName, outbox: Outbox) -> Sent:
        """Frame by frame until one is not taken; TAKEN if all were."""
        while outbox.messages:
            frame = outbox.next_frame()
            if outbox.route:
                sent = self._sockets.send_accepted(outbox.route, frame)
            else:
                sent = self._sockets.send_dialed(name, frame)
            if sent is not Sent.TAKEN:
                return sent
            outbox.taken()
        return Sent.TAKEN

    # ---- waiting -----------------------------------------------------------------------------

    def wait(self, timeout_ms: int, extra_fds: Sequence[int] = ()) -> list[int]:
        """Sleep until the bus or one of `extra_fds` is readable; gives the readable `extra_fds`."""
        if self._events:
            timeout_ms = 0
        elif self._waiting:
            timeout_ms = min(timeout_ms, FLUSH_RETRY_MS)
        return self._sockets.wait(timeout_ms, extra_fds)

    def fds(self) -> tuple[int, ...]:
        """Descriptors for asyncio's add_reader, the same for life. They are edge-triggered: call
        `turn` at every wake-up and at `next_wake`, which is at once while there is more to read."""
        return self._sockets.fds()

    def next_wake(self, now: Milliseconds) -> Milliseconds:
        """When `turn` must be called at the latest. Ask after `flush`."""
        if self._events or self._sockets.may_be_readable():
            return now
        wake = min(self._links.next_wake(), self._membership.next_wake())
        if self._waiting:
            wake = min(wake, now + FLUSH_RETRY_MS)
        return Milliseconds(wake)

    # ---- what is known -----------------------------------------------------------------------

    def members(self) -> list[Member]:
        """Everyone as gossip sees them, for `zmqim status`."""
        return self._membership.members()

    def roster(self) -> list[dict[str, object]]:
        """`members` as JSON, with words for role and state."""
        return [
            {
                "name": member.name,
                "role": Role(member.role).name.lower(),
                "state": MemberState(member.state).name.lower(),
                "host": member.host,
                "incarnation": member.incarnation,
            }
            for member in self.members()
        ]

    def view(self) -> View:
        """Who is alive as gossip sees it."""
        return self._membership.view()

    def set_load(self, load: Load) -> None:
        """What the next heartbeats say of this process."""
        self._load = load

    def problems(self) -> list[str]:
        """What an operator should know of links and members, as sentences."""
        found = self._links.problems(self._now) + self._membership.problems()
        found += [
            f"a process of another {STRANGERS[kind]} sends frames to {self._me.name}"
            for kind, when in self._strangers.items()
            if self._now - when < STRANGER_MS
        ]
        return found

    def counters(self) -> dict[str, int]:
        """Everything that was counted, for metrics."""
        return {**self._sockets.counters, **self._dropped}

    # ---- the end -----------------------------------------------------------------------------

    def leave(self, now: Milliseconds) -> None:
        """Say Goodbye on every link and LEFT to everyone. Only `close` comes after it."""
        self._links.leave(now)
        self._carry(now)
        self.flush(now)
        self._sockets.publish(self._topic, self._codec.encode(self._membership.leave(now)))
        self._linger_ms = LEAVE_LINGER_MS

    def close(self) -> None:
        """Close all sockets and the context, within LEAVE_LINGER_MS."""
        self._sockets.close(self._linger_ms)


def feed(core: BusCore, now: Milliseconds, events: Iterable[BusEvent]) -> None:
    """Hand what happened on the bus to a core."""
    for event in events:
        match event:
            case Received(source, message):
                core.receive(now, source, message)
            case PeerUp(peer):
                core.peer_up(now, peer)
            case PeerDown(name):
                core.peer_down(now, name)
            case ViewChanged(view):
                core.view_changed(now, view)
            case _:
                assert_never(event)


def perform_send(endpoint: Endpoint, core: BusCore, now: Milliseconds, effect: Send) -> bool:
    """Perform a `Send`; a refused one goes back to the core as `undeliverable`, and gives False:
    the core then has a further turn to do."""
    if endpoint.send(now, effect.to, effect.message):
        return True
    core.undeliverable(now, effect.to, effect.message)
    return False


def _member(identity: Peer, home: Place) -> Member:
    return Member(
        name=identity.name,
        role=identity.role,
        host=home.host,
        node_uuid=identity.node_uuid,
        incarnation=identity.incarnation,
        refute=0,
        state=MemberState.ALIVE,
        counter=0,
        address=home.address,
        pub_address=home.pub_address,
    )
