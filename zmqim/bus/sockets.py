"""ZeroMQ: the sockets of one process, with every option said aloud. The only importer of zmq.

ZeroMQ's defaults lose silently (pitfalls Z1–Z18), so here nothing blocks, nothing waits for
somebody who is not there, and nothing grows without a bound: ROUTER reports who is unreachable,
DEALER refuses while it is not connected, and each peer has a queue of ours above ZeroMQ's, whose
end is felt by the sender. One ROUTER where others dial us, one DEALER for each process that we
dial, one PUB, one SUB; monitors tell of connections that came or went.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from random import Random
from time import monotonic
from typing import NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from zmqim.bus.envelope import TYPE_OFFSET
from zmqim.bus.messages import MESSAGE_CODES, Hello
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
    PEER_QUEUE_BYTES_MAX,
    PEER_QUEUE_FRAMES_MAX,
    RECONNECT_MS_MAX,
    RECONNECT_MS_MIN,
    TURN_FRAMES_MAX,
    TURN_MS_MAX,
)

TOPIC = b"hb."
"""What everyone subscribes to; a heartbeat's topic adds the letter of the sender's role."""
_HELLO_CODE = MESSAGE_CODES[Hello]
_MONITORED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED

Buffer = bytes | memoryview


class FromDialed(NamedTuple):
    """A frame from the process that we dialled under that name."""

    name: NodeName
    frame: Buffer


class FromAccepted(NamedTuple):
    """A frame from a connection that was dialled to us."""

    route: bytes
    frame: Buffer


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


class Outbox:
    """What waits for one peer above ZeroMQ's own queue."""

    __slots__ = ("frames", "route", "size", "socket")

    def __init__(self, socket: zmq.Socket[bytes], route: bytes) -> None:
        self.socket = socket
        self.route = route
        """Routing id on the ROUTER; empty on a DEALER."""
        self.frames: deque[bytes] = deque()
        self.size = 0
        """Bytes in `frames`."""


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
        self._poller = zmq.Poller()
        self._extra_fds: tuple[int, ...] = ()
        self._names: dict[zmq.Socket[bytes], NodeName] = {}
        self._monitors: dict[zmq.Socket[bytes], NodeName | None] = {}
        """Whose connection a monitor watches; None: those of the ROUTER."""
        self._outboxes: dict[NodeName, Outbox] = {}
        self._waiting: dict[NodeName, Outbox] = {}
        """Those that hold frames, oldest first."""
        self._routes: dict[int, bytes] = {}
        """Routing id of the Hello that came over a descriptor."""
        self._hears: set[str] = set()
        self._turns = 0
        self._unsure = True
        """Whether there may be more to read: the descriptors are edge-triggered (pitfalls Z11)."""
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
        self._poller.register(self._subscriber, zmq.POLLIN)
        if router is not None:
            self._router = socket = self._socket(zmq.ROUTER, random)
            socket.set(zmq.ROUTER_MANDATORY, 1)
            socket.set(zmq.ROUTER_HANDOVER, 1)
            self._watch(socket, None)
            _bind(socket, router)
        _bind(self._publisher, publisher)
        for name, address in dialed.items():
            socket = self._socket(zmq.DEALER, random)
            socket.set(zmq.ROUTING_ID, routing_id)
            socket.set(zmq.IMMEDIATE, 1)
            self._watch(socket, name)
            self._names[socket] = name
            self._outboxes[name] = Outbox(socket, b"")
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

    def _watch(self, socket: zmq.Socket[bytes], name: NodeName | None) -> None:
        monitor = socket.get_monitor_socket(_MONITORED)
        monitor.set(zmq.LINGER, 0)
        self._monitors[monitor] = name
        self._poller.register(monitor, zmq.POLLIN)
        self._poller.register(socket, zmq.POLLIN)

    # ---- sending ---------------------------------------------------------------------------

    def open_route(self, name: NodeName, route: bytes) -> None:
        """Frames for `name` go to the connection with that routing id from now on."""
        assert self._router is not None
        self._outboxes[name] = Outbox(self._router, route)

    def drop_queue(self, name: NodeName) -> None:
        """The link is gone: forget what waits, and the route if there was one."""
        self._waiting.pop(name, None)
        outbox = self._outboxes.get(name)
        if outbox is None:
            return
        self.counters["frames_dropped_with_link"] += len(outbox.frames)
        if outbox.route:
            del self._outboxes[name]
        outbox.frames.clear()
        outbox.size = 0

    def queue(self, name: NodeName, frame: bytes) -> bool:
        """Put a frame into the peer's queue; False, and counted, when it is full."""
        outbox = self._outboxes[name]
        size = outbox.size + len(frame)
        if len(outbox.frames) >= PEER_QUEUE_FRAMES_MAX or size > PEER_QUEUE_BYTES_MAX:
            self.counters["frames_refused_queue_full"] += 1
            return False
        outbox.frames.append(frame)
        outbox.size = size
        self._waiting[name] = outbox
        return True

    def flush(self) -> list[NodeName]:
        """Give ZeroMQ what waits, as far as it takes it; names the peers that are unreachable."""
        assert os.getpid() == self._pid, "sockets do not survive a fork"
        unreachable: list[NodeName] = []
        for name, outbox in list(self._waiting.items()):
            try:
                self._drain(outbox)
                del self._waiting[name]
            except zmq.Again:
                self.counters["sends_again"] += 1
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                self.counters["sends_unreachable"] += 1
                unreachable.append(name)
        return unreachable

    def _drain(self, outbox: Outbox) -> None:
        self._unsure = True
        frames, route, counters = outbox.frames, outbox.route, self.counters
        send = outbox.socket.send
        while frames:
            frame = frames[0]
            if route:
                send(route, zmq.NOBLOCK | zmq.SNDMORE)
            send(frame, zmq.NOBLOCK)
            frames.popleft()
            outbox.size -= len(frame)
            counters["frames_sent"] += 1
            counters["bytes_sent"] += len(frame)

    def send_now(self, name: NodeName, frame: bytes) -> bool:
        """Send on a dialled connection, or not at all."""
        return self._try(self._outboxes[name].socket, frame)

    def reply_now(self, route: bytes, frame: bytes) -> bool:
        """Send to a routing id without a link, or not at all."""
        assert self._router is not None
        return self._try(self._router, route, frame)

    def publish(self, topic: bytes, frame: bytes) -> None:
        """Publish: whoever is not there or too slow does not get it."""
        self._try(self._publisher, topic, frame)

    def _try(self, socket: zmq.Socket[bytes], *parts: bytes) -> bool:
        assert os.getpid() == self._pid, "sockets do not survive a fork"
        self._unsure = True
        try:
            socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self.counters["sends_not_taken"] += 1
            return False
        self.counters["frames_sent"] += 1
        return True

    def has_waiting(self) -> bool:
        """Whether frames wait for ZeroMQ to take them."""
        return bool(self._waiting)

    # ---- receiving -------------------------------------------------------------------------

    def hear_only(self, addresses: Iterable[str]) -> None:
        """Subscribe to these publishers and to no others. An address that is none is counted."""
        wanted = set(addresses)
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
        """What arrived, at most TURN_FRAMES_MAX frames or for TURN_MS_MAX: frames of standing
        links first, then what happened to connections, then Hellos (they begin anew)."""
        assert os.getpid() == self._pid, "sockets do not survive a fork"
        ready = [socket for socket, _ in self._poller.poll(0) if isinstance(socket, zmq.Socket)]
        self._unsure = False
        if not ready:
            return []
        self._turns += 1
        shift = self._turns % len(ready)
        ready = ready[shift:] + ready[:shift]
        arrivals: list[Arrival] = []
        hellos: list[tuple[int, FromAccepted]] = []
        stop_at = monotonic() + TURN_MS_MAX / 1000
        for socket in ready:
            if socket not in self._monitors and not self._read(socket, arrivals, hellos, stop_at):
                self._unsure = True
                break
        self.counters["frames_received"] += len(arrivals) + len(hellos)
        for monitor in ready:
            if monitor in self._monitors:
                self._read_monitor(monitor, arrivals)
        for descriptor, hello in hellos:
            self._move_route(hello.route, descriptor)
            arrivals.append(hello)
        return arrivals

    def _move_route(self, route: bytes, descriptor: int) -> None:
        """A life that dialled again: the end of its past connection is no news any more."""
        for past in [past for past, known in self._routes.items() if known == route]:
            del self._routes[past]
        self._routes[descriptor] = route

    def _read(
        self,
        socket: zmq.Socket[bytes],
        arrivals: list[Arrival],
        hellos: list[tuple[int, FromAccepted]],
        stop_at: float,
    ) -> bool:
        """Drain one socket; False when the turn's bound came first."""
        name = self._names.get(socket)
        take: Callable[[], None]
        if socket is self._router:
            take = lambda: self._take_accepted(socket, arrivals, hellos)  # noqa: E731
        elif name is not None:
            take = lambda: self._take_dialed(socket, name, arrivals)  # noqa: E731
        else:
            take = lambda: self._take_published(arrivals)  # noqa: E731
        try:
            while len(arrivals) < TURN_FRAMES_MAX and monotonic() < stop_at:
                take()
        except zmq.Again:
            return True
        return False

    def _take_dialed(
        self, socket: zmq.Socket[bytes], name: NodeName, arrivals: list[Arrival]
    ) -> None:
        frame = socket.recv(zmq.NOBLOCK)
        if self._has_rest(socket):
            return
        self.counters["bytes_received"] += len(frame)
        arrivals.append(FromDialed(name, frame))

    def _take_accepted(
        self,
        socket: zmq.Socket[bytes],
        arrivals: list[Arrival],
        hellos: list[tuple[int, FromAccepted]],
    ) -> None:
        route = socket.recv(zmq.NOBLOCK)
        payload = socket.recv(zmq.NOBLOCK, copy=False)
        if self._has_rest(socket):
            return
        frame = payload.buffer
        self.counters["bytes_received"] += len(frame)
        arrival = FromAccepted(route, frame)
        if len(frame) > TYPE_OFFSET and frame[TYPE_OFFSET] == _HELLO_CODE:
            hellos.append((payload.get(zmq.SRCFD), arrival))
        else:
            arrivals.append(arrival)

    def _take_published(self, arrivals: list[Arrival]) -> None:
        parts = self._subscriber.recv_multipart(zmq.NOBLOCK)
        if len(parts) == 2:
            arrivals.append(FromPublisher(parts[1]))
        else:
            self.counters["bad_parts"] += 1

    def _has_rest(self, socket: zmq.Socket[bytes]) -> bool:
        """Whether a message had more parts than a frame has; they are dropped and counted."""
        if not socket.get(zmq.RCVMORE):
            return False
        while socket.get(zmq.RCVMORE):
            socket.recv(zmq.NOBLOCK)
        self.counters["bad_parts"] += 1
        return True

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
                self._poller.unregister(fd)
            for fd in wanted:
                self._poller.register(fd, zmq.POLLIN)
            self._extra_fds = wanted
        return [fd for fd, _ in self._poller.poll(max(0, timeout_ms)) if isinstance(fd, int)]

    def fds(self) -> tuple[int, ...]:
        """Descriptors that become readable when something happens (edge-triggered)."""
        sockets = [self._subscriber, *self._names, *self._monitors]
        if self._router is not None:
            sockets.append(self._router)
        return tuple(socket.fileno() for socket in sockets)

    def may_be_readable(self) -> bool:
        """Whether `receive` would find something of which the descriptors need not tell."""
        if self._unsure:
            self._unsure = any(isinstance(socket, zmq.Socket) for socket, _ in self._poller.poll(0))
        return self._unsure

    def close(self, linger_ms: int = 0) -> None:
        """Close everything; ZeroMQ gets so long for what it took and has not written."""
        if os.getpid() == self._pid:
            self._context.destroy(linger=linger_ms)


_COUNTERS = (
    "frames_sent",
    "bytes_sent",
    "frames_received",
    "bytes_received",
    "frames_refused_queue_full",
    "frames_dropped_with_link",
    "sends_again",
    "sends_unreachable",
    "sends_not_taken",
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
