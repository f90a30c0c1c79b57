"""ZeroMQ: the sockets of one process, with every option said aloud. The only importer of zmq.

ZeroMQ's defaults lose silently (pitfalls Z1–Z18), so here nothing blocks, nothing waits for
somebody who is not there, and nothing grows without a bound: ROUTER reports who is unreachable,
DEALER refuses while it is not connected, and what ZeroMQ does not take waits in a queue of ours
(`zmqim.bus.outbox`), whose end is felt by the sender. One ROUTER where others dial us, one DEALER
for each process that we dial, one PUB, one SUB; monitors tell of connections that came or went.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum, auto
from random import Random
from typing import ClassVar, Final, NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from zmqim.bus.codes import MESSAGE_CODES
from zmqim.bus.envelope import TYPE_OFFSET
from zmqim.bus.messages import Hello
from zmqim.errors import PortInUse, UsageError
from zmqim.ids import NodeName
from zmqim.limits import (
    BUS_FRAME_BYTES_MAX,
    BUS_RECEIVE_FRAMES_MAX,
    BUS_SEND_FRAMES_MAX,
    HEARTBEAT_FRAME_BYTES_MAX,
    HEARTBEAT_SEND_FRAMES_MAX,
    LINK_PING_MS,
    LINK_SILENCE_MS_MAX,
    RECONNECT_MS_MAX,
    RECONNECT_MS_MIN,
    TURN_BYTES_MAX,
    TURN_FRAMES_MAX,
)

TOPIC: Final = b"hb."
"""What everyone subscribes to; a heartbeat's topic adds the letter of the sender's role."""
_HELLO_CODE: Final = MESSAGE_CODES[Hello]
_MONITORED: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
_POLLIN: Final = int(zmq.POLLIN)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_NOBLOCK_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
"""As plain numbers: pyzmq's flags cost more to combine than a frame to send."""

Buffer = bytes | bytearray | memoryview


class FromDialed:
    """A frame from the process that we dialled under that name. This one and the next are plain
    classes for the reason of `zmqim.bus.effects.Send`."""

    __slots__ = ("frame", "name")
    __match_args__: ClassVar = ("name", "frame")

    def __init__(self, name: NodeName, frame: Buffer) -> None:
        self.name = name
        self.frame = frame


class FromAccepted:
    """A frame from a connection that was dialled to us."""

    __slots__ = ("frame", "route")
    __match_args__: ClassVar = ("route", "frame")

    def __init__(self, route: bytes, frame: Buffer) -> None:
        self.route = route
        self.frame = frame


class FromPublisher(NamedTuple):
    """A frame that somebody publishes."""

    frame: Buffer


class Connected(NamedTuple):
    """The dialled connection stands."""

    name: NodeName


class Lost(NamedTuple):
    """The dialled connection is gone."""

    name: NodeName


class LostRoute(NamedTuple):
    """A connection that was dialled to us is gone."""

    route: bytes


Arrival = FromDialed | FromAccepted | FromPublisher | Connected | Lost | LostRoute


class Sent(Enum):
    """What became of a frame."""

    TAKEN = auto()
    AGAIN = auto()
    """ZeroMQ's queue is full, or the dialled connection does not stand."""
    UNREACHABLE = auto()
    """No connection has that routing id."""


class Sockets:
    """All sockets of one process, in one context of their own.

    `routing_id` names this life to those whom we dial; `router` and `publisher` are bound (a
    process that nobody dials gives no `router`), `dialed` and `heard` connected.
    """

    def __init__(
        self,
        routing_id: bytes,
        *,
        router: str | None,
        publisher: str,
        dialed: Mapping[NodeName, str],
        heard: Iterable[str],
        random: Random,
    ) -> None:
        self.counters: dict[str, int] = dict.fromkeys(_COUNTERS, 0)
        self._pid = os.getpid()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._epoll = select.epoll()
        self._watched: dict[int, zmq.Socket[bytes]] = {}
        """By descriptor: the sockets that are read, monitors included."""
        self._extra_fds: tuple[int, ...] = ()
        self._names: dict[zmq.Socket[bytes], NodeName] = {}
        self._monitors: dict[zmq.Socket[bytes], NodeName | None] = {}
        """Whose connection a monitor watches; None: those of the ROUTER."""
        self._dealers: dict[NodeName, zmq.Socket[bytes]] = {}
        self._routes: dict[int, bytes] = {}
        """Routing id of the Hello that came over a descriptor."""
        self._hears: set[str] = set()
        self._turns = 0
        self._ready: list[zmq.Socket[bytes]] | None = None
        """What `wait` found readable, until `receive` reads it."""
        self._edges = False
        """Whether `fds` are watched."""
        self._unsure: dict[zmq.Socket[bytes], None] = {}
        """Sockets that may hold frames of which their descriptors will not tell: those are
        edge-triggered, and every call of a socket may eat an edge (pitfalls Z11)."""
        self._frames_left = 0
        """Of this turn's TURN_FRAMES_MAX."""
        self._bytes_left = 0
        """Of this turn's TURN_BYTES_MAX."""
        self._router: zmq.Socket[bytes] | None = None
        try:
            self._open(routing_id, router, publisher, dialed, random)
        except BaseException:
            self.close()
            raise
        self.hear_only(heard)

    def _open(
        self,
        routing_id: bytes,
        router: str | None,
        publisher: str,
        dialed: Mapping[NodeName, str],
        random: Random,
    ) -> None:
        self._publisher = self._socket(zmq.PUB, random, HEARTBEAT_SEND_FRAMES_MAX)
        self._publisher.set(zmq.MAXMSGSIZE, HEARTBEAT_FRAME_BYTES_MAX)
        self._subscriber = self._socket(zmq.SUB, random, HEARTBEAT_SEND_FRAMES_MAX)
        self._subscriber.set(zmq.MAXMSGSIZE, HEARTBEAT_FRAME_BYTES_MAX)
        self._subscriber.subscribe(TOPIC)
        self._watch(self._subscriber)
        if router is not None:
            self._router = socket = self._socket(zmq.ROUTER, random)
            socket.set(zmq.ROUTER_MANDATORY, 1)
            socket.set(zmq.ROUTER_HANDOVER, 1)
            self._watch_connections(socket, None)
            _bind(socket, router)
        _bind(self._publisher, publisher)
        for name, address in dialed.items():
            socket = self._socket(zmq.DEALER, random)
            socket.set(zmq.ROUTING_ID, routing_id)
            socket.set(zmq.IMMEDIATE, 1)
            self._watch_connections(socket, name)
            self._names[socket] = name
            self._dealers[name] = socket
            _connect(socket, address)

    def _socket(
        self, kind: int, random: Random, send_frames_max: int = BUS_SEND_FRAMES_MAX
    ) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, send_frames_max)
        socket.set(zmq.RCVHWM, BUS_RECEIVE_FRAMES_MAX)
        socket.set(zmq.MAXMSGSIZE, BUS_FRAME_BYTES_MAX)
        socket.set(zmq.HEARTBEAT_IVL, LINK_PING_MS)
        socket.set(zmq.HEARTBEAT_TIMEOUT, LINK_SILENCE_MS_MAX)
        socket.set(zmq.HEARTBEAT_TTL, LINK_SILENCE_MS_MAX)
        socket.set(zmq.HANDSHAKE_IVL, LINK_SILENCE_MS_MAX)
        socket.set(zmq.CONNECT_TIMEOUT, LINK_SILENCE_MS_MAX)
        socket.set(zmq.RECONNECT_IVL, random.randint(RECONNECT_MS_MIN, 2 * RECONNECT_MS_MIN))
        socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
        socket.set(zmq.TCP_KEEPALIVE, 1)
        socket.set(zmq.TCP_KEEPALIVE_IDLE, 10)
        socket.set(zmq.TCP_KEEPALIVE_INTVL, 5)
        socket.set(zmq.TCP_KEEPALIVE_CNT, 3)
        socket.set(zmq.IPV6, 1)
        return socket

    def _watch_connections(self, socket: zmq.Socket[bytes], name: NodeName | None) -> None:
        monitor = socket.get_monitor_socket(_MONITORED)
        monitor.set(zmq.LINGER, 0)
        self._monitors[monitor] = name
        self._watch(monitor)
        self._watch(socket)

    def _watch(self, socket: zmq.Socket[bytes]) -> None:
        """Looking at one epoll costs far less than asking every socket by `zmq.Poller`."""
        descriptor = socket.fileno()
        self._watched[descriptor] = socket
        self._epoll.register(descriptor, select.EPOLLIN)
        self._unsure[socket] = None

    # ---- sending ---------------------------------------------------------------------------

    def send_dialed(self, name: NodeName, frame: Buffer) -> Sent:
        """Send on the connection that we dialled to `name`, now or not at all."""
        self._assert_not_forked()
        socket = self._dealers[name]
        self._unsure[socket] = None
        try:
            socket.send(frame, _NOBLOCK)
        except zmq.Again:
            self.counters["sends_again"] += 1
            return Sent.AGAIN
        self._count_sent(frame)
        return Sent.TAKEN

    def send_accepted(self, route: bytes, frame: Buffer) -> Sent:
        """Send to a connection that was dialled to us, now or not at all."""
        self._assert_not_forked()
        socket = self._router
        assert socket is not None
        self._unsure[socket] = None
        try:
            socket.send(route, _NOBLOCK_MORE)
            socket.send(frame, _NOBLOCK)
        except zmq.Again:
            self.counters["sends_again"] += 1
            return Sent.AGAIN
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.counters["sends_unreachable"] += 1
            return Sent.UNREACHABLE
        self._count_sent(frame)
        return Sent.TAKEN

    def publish(self, topic: bytes, frame: Buffer) -> None:
        """Publish: whoever is not there or too slow does not get it."""
        self._assert_not_forked()
        try:
            self._publisher.send_multipart((topic, frame), _NOBLOCK)
        except zmq.Again:
            self.counters["sends_again"] += 1
        else:
            self._count_sent(frame)

    def _assert_not_forked(self) -> None:
        assert os.getpid() == self._pid, "sockets do not survive a fork"

    def _count_sent(self, frame: Buffer) -> None:
        self.counters["frames_sent"] += 1
        self.counters["bytes_sent"] += len(frame)

    # ---- receiving -------------------------------------------------------------------------

    def hear_only(self, addresses: Iterable[str]) -> None:
        """Subscribe to these publishers and to no others. An address that is none is counted."""
        wanted = set(addresses)
        if wanted == self._hears:
            return
        self._unsure[self._subscriber] = None
        for address in sorted(wanted - self._hears):
            try:
                self._subscriber.connect(address)
            except zmq.ZMQError:
                self.counters["bad_publisher_addresses"] += 1
        for address in sorted(self._hears - wanted):
            with suppress(zmq.ZMQError):
                self._subscriber.disconnect(address)
        self._hears = wanted

    def receive(self) -> list[Arrival]:
        """What arrived, until TURN_FRAMES_MAX frames or TURN_BYTES_MAX are read: frames of standing
        links first, then what happened to connections, then Hellos (they begin anew)."""
        self._assert_not_forked()
        ready = self._look(0)[0] if self._ready is None else self._ready
        self._ready = None
        if not ready:
            return []
        self._turns += 1
        shift = self._turns % len(ready)
        ready = ready[shift:] + ready[:shift]
        arrivals: list[Arrival] = []
        hellos: list[tuple[int, FromAccepted]] = []
        self._frames_left, self._bytes_left = TURN_FRAMES_MAX, TURN_BYTES_MAX
        frame_sockets = [socket for socket in ready if socket not in self._monitors]
        self._read_frames(frame_sockets, arrivals, hellos)
        self.counters["frames_received"] += TURN_FRAMES_MAX - self._frames_left
        self.counters["bytes_received"] += TURN_BYTES_MAX - self._bytes_left
        for monitor in ready:
            if monitor in self._monitors:
                self._read_monitor(monitor, arrivals)
        for descriptor, hello in hellos:
            self._move_route(hello.route, descriptor)
            arrivals.append(hello)
        return arrivals

    def _look(self, timeout_ms: int) -> tuple[list[zmq.Socket[bytes]], list[int]]:
        """The sockets and the other descriptors that are readable now or, if none is, within
        `timeout_ms`. A socket may turn out to be empty."""
        ready = self._holding_frames(list(self._unsure))
        others: list[int] = []
        for descriptor, _ in self._epoll.poll(0 if ready else timeout_ms / 1_000):
            socket = self._watched.get(descriptor)
            if socket is None:
                others.append(descriptor)
            elif socket not in ready:
                ready.append(socket)
        return ready, others

    def _holding_frames(self, sockets: list[zmq.Socket[bytes]]) -> list[zmq.Socket[bytes]]:
        """Those that hold frames; the descriptors of the others will tell."""
        if not sockets:
            return []
        found = dict(zmq.zmq_poll([(socket, _POLLIN) for socket in sockets], 0))
        for socket in sockets:
            if socket not in found:
                self._unsure.pop(socket, None)
        return [socket for socket in sockets if socket in found]

    def _move_route(self, route: bytes, descriptor: int) -> None:
        """A life that dialled again: the end of its past connection is no news any more."""
        for past in [past for past, known in self._routes.items() if known == route]:
            del self._routes[past]
        self._routes[descriptor] = route

    def _read_frames(
        self,
        sockets: list[zmq.Socket[bytes]],
        arrivals: list[Arrival],
        hellos: list[tuple[int, FromAccepted]],
    ) -> None:
        """Read until all are empty or the turn's bounds are reached, a frame of each in turn.

        To ask all of them at once who holds another costs less than a `zmq.Again` of each.
        """
        while sockets:
            self._unsure.update(dict.fromkeys(sockets))
            for socket in sockets:
                if self._frames_left <= 0 or self._bytes_left <= 0:
                    return
                with suppress(zmq.Again):
                    if socket is self._subscriber:
                        self._read_published(arrivals)
                    else:
                        self._read(socket, arrivals, hellos)
            sockets = self._holding_frames(sockets)

    def _read(
        self,
        socket: zmq.Socket[bytes],
        arrivals: list[Arrival],
        hellos: list[tuple[int, FromAccepted]],
    ) -> None:
        """Read a frame of one socket; raises `zmq.Again` when it is empty."""
        name = self._names.get(socket)
        route = b"" if name is not None else socket.recv(_NOBLOCK)
        payload = socket.recv(_NOBLOCK, False)
        if payload.more:
            self._skip(socket)
            return
        frame = payload.buffer
        self._frames_left -= 1
        self._bytes_left -= len(frame)
        if name is not None:
            arrivals.append(FromDialed(name, frame))
        elif len(frame) > TYPE_OFFSET and frame[TYPE_OFFSET] == _HELLO_CODE:
            hellos.append((payload.get(zmq.SRCFD), FromAccepted(route, frame)))
        else:
            arrivals.append(FromAccepted(route, frame))

    def _read_published(self, arrivals: list[Arrival]) -> None:
        """As `_read`, of the publishers that we hear."""
        topic = self._subscriber.recv(_NOBLOCK, False)
        payload = self._subscriber.recv(_NOBLOCK, False) if topic.more else topic
        if payload is topic:
            self.counters["bad_parts"] += 1
        elif payload.more:
            self._skip(self._subscriber)
        else:
            self._frames_left -= 1
            self._bytes_left -= len(topic) + len(payload)
            arrivals.append(FromPublisher(payload.buffer))

    def _skip(self, socket: zmq.Socket[bytes]) -> None:
        """A message has more parts than a frame has; they are dropped and counted."""
        while socket.recv(_NOBLOCK, False).more:
            pass
        self.counters["bad_parts"] += 1

    def _read_monitor(self, monitor: zmq.Socket[bytes], arrivals: list[Arrival]) -> None:
        name = self._monitors[monitor]
        with suppress(zmq.Again):
            while True:
                event = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))
                gone = event["event"] == zmq.EVENT_DISCONNECTED
                self.counters["disconnects" if gone else "connects"] += 1
                if name is not None:
                    arrivals.append(Lost(name) if gone else Connected(name))
                elif gone:
                    route = self._routes.pop(event["value"], None)
                    if route is not None:
                        arrivals.append(LostRoute(route))

    # ---- waiting ---------------------------------------------------------------------------

    def wait(self, timeout_ms: int, extra_fds: Sequence[int] = ()) -> list[int]:
        """Sleep until a socket or one of `extra_fds` is readable; gives the readable extra ones."""
        wanted = tuple(extra_fds)
        if wanted != self._extra_fds:
            for fd in self._extra_fds:
                self._epoll.unregister(fd)
            for fd in wanted:
                self._epoll.register(fd, select.EPOLLIN)
            self._extra_fds = wanted
        self._ready, readable = self._look(max(0, timeout_ms))
        return readable

    def fds(self) -> tuple[int, ...]:
        """Descriptors that become readable when something happens (edge-triggered: ask
        `may_be_readable` after each turn)."""
        self._edges = True
        return (self._epoll.fileno(),)

    def may_be_readable(self) -> bool:
        """Whether `receive` would find something of which the descriptors need not tell. Who waits
        with `wait` need not ask: it looks itself."""
        return self._edges and bool(self._holding_frames(list(self._unsure)))

    def close(self, linger_ms: int = 0) -> None:
        """Close everything; ZeroMQ gets so long for what it took and has not written."""
        if os.getpid() == self._pid:
            self._context.destroy(linger=linger_ms)
            self._epoll.close()


_COUNTERS: Final = (
    "frames_sent",
    "bytes_sent",
    "frames_received",
    "bytes_received",
    "sends_again",
    "sends_unreachable",
    "connects",
    "disconnects",
    "bad_parts",
    "bad_publisher_addresses",
)


def _bind(socket: zmq.Socket[bytes], address: str) -> None:
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise PortInUse(
                f"The bus address {address} is in use.",
                hint="Another cluster runs here (zmqim down), or change bus_port in the topology.",
            ) from None
        raise UsageError(f"The bus address {address} cannot be bound: {error.strerror}.") from None


def _connect(socket: zmq.Socket[bytes], address: str) -> None:
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        raise UsageError(f"The bus address {address} is none: {error.strerror}.") from None
