"""The network between the simulated processes: what ZeroMQ and TCP do, and what they fail to do.

Each dialled connection is a `Wire`: in order and whole while it stands, as TCP is. A kill or a cut
that lasts longer than ZeroMQ's heartbeat breaks it, and what was on its way is lost without a word
or, as a DEALER does, delivered over the next wire. Published frames reach whoever has subscribed
by then, or nobody. On top, `Weather` drops, repeats and reorders frames, which TCP never does: the
cores must keep their promises about data even then.

`SimulatedSockets` stands in the place of `zmqim.bus.sockets.Sockets` below the real endpoint, so
frames are encoded, addressed and judged as in production; nothing is shared by reference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from zmqim.bus.codes import MESSAGE_CODES
from zmqim.bus.envelope import TYPE_OFFSET
from zmqim.bus.messages import Hello
from zmqim.bus.sockets import (
    Arrival,
    Buffer,
    Connected,
    FromAccepted,
    FromDialed,
    FromPublisher,
    Lost,
    LostRoute,
    Sent,
)
from zmqim.ids import NodeName
from zmqim.limits import (
    BUS_SEND_FRAMES_MAX,
    LINK_SILENCE_MS_MAX,
    RECONNECT_MS_MAX,
    RECONNECT_MS_MIN,
    TURN_FRAMES_MAX,
)
from zmqim.sim.world import MS, World

HELLO_CODE = MESSAGE_CODES[Hello]
SUBSCRIBED_AFTER_MS = (20, 300)
"""PUB tells a new subscriber nothing for so long (the slow joiner)."""
FORWARD, BACK = 0, 1


@dataclass
class Weather:
    """How the network treats frames now."""

    delay_us: tuple[int, int] = (50, 1_000)
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    stale: float = 0.5
    """How often what a dialler had on its way survives a broken wire and comes late."""
    last_words: float = 0.5
    """How often what a process sent just before it died still arrives."""
    heartbeat_drop: float = 0.0


class Wire:
    """One dialled connection, from its handshake to its end."""

    __slots__ = ("acceptor", "busy_until", "dialer", "flying", "is_open", "name")

    def __init__(
        self, name: NodeName, dialer: SimulatedSockets, acceptor: SimulatedSockets
    ) -> None:
        self.name = name
        """Whom the dialler dialled."""
        self.dialer = dialer
        self.acceptor = acceptor
        self.is_open = True
        self.busy_until = [0, 0]
        """When the last frame of each direction arrives: later ones do not overtake it."""
        self.flying: tuple[deque[bytes], deque[bytes]] = (deque(), deque())

    def ends(self, direction: int) -> tuple[SimulatedSockets, SimulatedSockets]:
        """(source, target) of a direction."""
        if direction == FORWARD:
            return self.dialer, self.acceptor
        return self.acceptor, self.dialer


class Network:
    """All wires, who listens where, and which directions are cut."""

    def __init__(self, world: World, weather: Weather) -> None:
        self.world = world
        self.weather = weather
        self.frames = 0
        self.dropped = 0
        self._routers: dict[str, SimulatedSockets] = {}
        self._alive: dict[NodeName, SimulatedSockets] = {}
        self._wires: list[Wire] = []
        self._cuts: dict[tuple[NodeName, NodeName], int] = {}
        """(source, target) → since when nothing passes."""
        self._held: dict[tuple[NodeName, NodeName], list[tuple[Wire, int, bytes]]] = {}

    # ---- processes ---------------------------------------------------------------------------

    def opener(self, name: NodeName, poke: Callable[[], None]) -> Callable[..., SimulatedSockets]:
        """What the endpoint of `name` calls to get its sockets."""

        def open_wires(
            routing_id: bytes,
            *,
            router: str | None,
            publisher: str,
            dialed: Mapping[NodeName, str],
            heard: Iterable[str],
            random: Random,
        ) -> SimulatedSockets:
            sockets = SimulatedSockets(self, name, routing_id, publisher, dialed, poke)
            self._alive[name] = sockets
            if router is not None:
                self._routers[router] = sockets
            sockets.hear_only(heard)
            for peer in dialed:
                delay = self.world.random.randrange(5 * MS)
                self.world.after(delay, partial(self.dial, sockets, peer))
            return sockets

        return open_wires

    def shut(self, sockets: SimulatedSockets) -> None:
        """The process is gone: its wires break, what was on its way to it is lost."""
        sockets.is_open = False
        if self._alive.get(sockets.name) is sockets:
            del self._alive[sockets.name]
        self._routers = {at: one for at, one in self._routers.items() if one is not sockets}
        for wire in list(self._wires):
            if sockets in (wire.dialer, wire.acceptor):
                if self.world.chance(self.weather.last_words):
                    self._hear_last_words(wire, sockets)
                self._break(wire)

    def _hear_last_words(self, wire: Wire, dying: SimulatedSockets) -> None:
        """The kernel had taken what the process sent last: it arrives, before the end does."""
        direction = FORWARD if wire.dialer is dying else BACK
        for frame in wire.flying[direction]:
            if direction == FORWARD:
                wire.acceptor.arrive(FromAccepted(dying.routing_id, frame))
            else:
                wire.dialer.arrive(FromDialed(wire.name, frame))

    # ---- faults ------------------------------------------------------------------------------

    def cut(self, source: NodeName, target: NodeName) -> None:
        """Nothing passes from `source` to `target` until `heal`."""
        if (source, target) in self._cuts:
            return
        self._cuts[source, target] = since = self.world.now
        self.world.note("cut", source, target)
        self.world.after(LINK_SILENCE_MS_MAX * MS, lambda: self._outlast(source, target, since))

    def heal(self, source: NodeName, target: NodeName) -> None:
        """What was held back passes now, if its wire still stands."""
        since = self._cuts.pop((source, target), None)
        if since is None:
            return
        self.world.note("heal", source, target)
        sockets = self._alive.get(target)
        if sockets is not None and self.world.now - since > LINK_SILENCE_MS_MAX * MS:
            sockets.unsubscribe(source)
        for wire, direction, frame in self._held.pop((source, target), []):
            if wire.is_open:
                self._fly(wire, direction, frame)

    def heal_all(self) -> None:
        """No direction is cut any more."""
        for source, target in list(self._cuts):
            self.heal(source, target)

    def reset(self, name: NodeName) -> None:
        """Break one wire of that process, as a middlebox would."""
        wires = [wire for wire in self._wires if name in (wire.dialer.name, wire.acceptor.name)]
        if wires:
            self._break(self.world.random.choice(wires))

    def silence(self, name: NodeName) -> None:
        """A process that was stopped for longer than ZeroMQ's heartbeat: its wires break."""
        for wire in list(self._wires):
            if name in (wire.dialer.name, wire.acceptor.name):
                self._break(wire)

    def _outlast(self, source: NodeName, target: NodeName, since: int) -> None:
        if self._cuts.get((source, target)) != since:
            return
        self._held.pop((source, target), None)
        for wire in list(self._wires):
            if {source, target} == {wire.dialer.name, wire.acceptor.name}:
                self._break(wire)

    # ---- wires -------------------------------------------------------------------------------

    def dial(self, sockets: SimulatedSockets, name: NodeName, pause_ms: int = 0) -> None:
        """Try to connect, now and then, until it succeeds or the process is gone."""
        if not sockets.is_open or name in sockets.wires:
            return
        target = self._routers.get(sockets.dialed[name])
        here, there = sockets.name, name
        blocked = (here, there) in self._cuts or (there, here) in self._cuts
        if target is None or not target.is_open or target.is_stopped or blocked:
            pause_ms = min(RECONNECT_MS_MAX, max(2 * pause_ms, RECONNECT_MS_MIN))
            pause = self.world.random.randint(pause_ms, pause_ms + RECONNECT_MS_MIN)
            self.world.after(pause * MS, lambda: self.dial(sockets, name, pause_ms))
            return
        wire = Wire(name, sockets, target)
        self._wires.append(wire)
        sockets.wires[name] = wire
        target.routes[sockets.routing_id] = wire
        self.world.note("wire", here, there)
        sockets.arrive(Connected(name))
        for frame in sockets.stale.pop(name, []):
            self.transmit(wire, FORWARD, frame)

    def _break(self, wire: Wire) -> None:
        wire.is_open = False
        self._wires.remove(wire)
        dialer, acceptor, name = wire.dialer, wire.acceptor, wire.name
        self.world.note("broken", dialer.name, acceptor.name)
        if dialer.is_open:
            del dialer.wires[name]
            if wire.flying[FORWARD] and self.world.chance(self.weather.stale):
                dialer.stale[name] = list(wire.flying[FORWARD])
            self.world.after(self._delay(), lambda: dialer.arrive(Lost(name)))
            pause = self.world.random.randint(RECONNECT_MS_MIN, 2 * RECONNECT_MS_MIN)
            self.world.after(pause * MS, lambda: self.dial(dialer, name, pause))
        if acceptor.routes.get(dialer.routing_id) is wire:
            del acceptor.routes[dialer.routing_id]
            if acceptor.is_open:
                route = dialer.routing_id
                self.world.after(self._delay(), lambda: acceptor.arrive(LostRoute(route)))

    def transmit(self, wire: Wire, direction: int, frame: bytes) -> bool:
        """Put a frame on its way; False: the wire takes no more now."""
        flying = wire.flying[direction]
        if len(flying) >= BUS_SEND_FRAMES_MAX:
            return False
        flying.append(frame)
        source, target = wire.ends(direction)
        if (source.name, target.name) in self._cuts:
            self._held.setdefault((source.name, target.name), []).append((wire, direction, frame))
        else:
            self._fly(wire, direction, frame)
        return True

    def _fly(self, wire: Wire, direction: int, frame: bytes) -> None:
        world, weather = self.world, self.weather
        self.frames += 1
        arrival = world.now + self._delay()
        if world.chance(weather.reorder):
            arrival += self._delay() * 5
        else:
            arrival = max(arrival, wire.busy_until[direction])
            wire.busy_until[direction] = arrival
        if world.chance(weather.duplicate):
            again = arrival + self._delay()
            world.after(again - world.now, lambda: self._deliver(wire, direction, frame, False))
        world.after(arrival - world.now, lambda: self._deliver(wire, direction, frame, True))

    def _deliver(self, wire: Wire, direction: int, frame: bytes, first: bool) -> None:
        if not wire.is_open:
            return
        if first:
            wire.flying[direction].remove(frame)
            if self.world.chance(self.weather.drop):
                self.dropped += 1
                return
        source, target = wire.ends(direction)
        if direction == FORWARD:
            target.arrive(FromAccepted(source.routing_id, frame))
        else:
            target.arrive(FromDialed(wire.name, frame))

    def _delay(self) -> int:
        return self.world.random.randint(*self.weather.delay_us)

    # ---- publishing --------------------------------------------------------------------------

    def publish(self, sockets: SimulatedSockets, frame: bytes) -> None:
        """Send to every subscriber that is there, has been for a moment, and can be reached."""
        world = self.world
        for target in self._alive.values():
            if target is sockets or not target.hears(sockets):
                continue
            lost = world.chance(self.weather.heartbeat_drop)
            if not lost and (sockets.name, target.name) not in self._cuts:
                world.after(self._delay(), partial(target.arrive, FromPublisher(frame)))


class SimulatedSockets:
    """What `zmqim.bus.sockets.Sockets` is to its process; see there."""

    def __init__(
        self,
        network: Network,
        name: NodeName,
        routing_id: bytes,
        publisher: str,
        dialed: Mapping[NodeName, str],
        poke: Callable[[], None],
    ) -> None:
        self.counters: dict[str, int] = {}
        self.name = name
        self.routing_id = routing_id
        self.publisher = publisher
        self.dialed = dict(dialed)
        self.is_open = True
        self.is_stopped = False
        """The process is stopped (SIGSTOP): nothing is read, no handshake is answered."""
        self.wires: dict[NodeName, Wire] = {}
        self.routes: dict[bytes, Wire] = {}
        self.stale: dict[NodeName, list[bytes]] = {}
        self._network = network
        self._poke = poke
        self._inbox: deque[Arrival] = deque()
        self._heard: dict[str, None] = {}
        self._subscribed: dict[tuple[NodeName, bytes], int] = {}
        """Publisher's life → from when on its frames come."""

    # ---- the world's side ----------------------------------------------------------------------

    def arrive(self, arrival: Arrival) -> None:
        """Something is there to be read."""
        if self.is_open:
            self._inbox.append(arrival)
            self._poke()

    def hears(self, publisher: SimulatedSockets) -> bool:
        """Has the subscription to that life come into force?"""
        if publisher.publisher not in self._heard:
            return False
        world = self._network.world
        life = (publisher.name, publisher.routing_id)
        if life not in self._subscribed:
            joined = world.random.randint(*SUBSCRIBED_AFTER_MS)
            self._subscribed[life] = world.now + joined * MS
        return world.now >= self._subscribed[life]

    def unsubscribe(self, publisher: NodeName) -> None:
        """The subscription broke and has to be made again."""
        for life in [life for life in self._subscribed if life[0] == publisher]:
            del self._subscribed[life]

    # ---- sending -----------------------------------------------------------------------------

    def send_dialed(self, name: NodeName, frame: Buffer) -> Sent:
        """As `Sockets.send_dialed`."""
        wire = self.wires.get(name)
        taken = wire is not None and self._network.transmit(wire, FORWARD, bytes(frame))
        return Sent.TAKEN if taken else Sent.AGAIN

    def send_accepted(self, route: bytes, frame: Buffer) -> Sent:
        """As `Sockets.send_accepted`."""
        wire = self.routes.get(route)
        if wire is None:
            return Sent.UNREACHABLE
        return Sent.TAKEN if self._network.transmit(wire, BACK, bytes(frame)) else Sent.AGAIN

    def publish(self, topic: bytes, frame: Buffer) -> None:
        """As `Sockets.publish`."""
        self._network.publish(self, bytes(frame))

    # ---- receiving ---------------------------------------------------------------------------

    def hear_only(self, addresses: Iterable[str]) -> None:
        """As `Sockets.hear_only`."""
        self._heard = dict.fromkeys(addresses)

    def receive(self) -> list[Arrival]:
        """As `Sockets.receive`: frames, then what happened to connections, then Hellos."""
        frames: list[Arrival] = []
        changes: list[Arrival] = []
        hellos: list[Arrival] = []
        while self._inbox and len(frames) < TURN_FRAMES_MAX:
            arrival = self._inbox.popleft()
            match arrival:
                case Connected() | Lost() | LostRoute():
                    self._network.world.note(type(arrival).__name__, self.name)
                    changes.append(arrival)
                case FromAccepted(_, frame) if frame[TYPE_OFFSET] == HELLO_CODE:
                    hellos.append(arrival)
                case _:
                    self._network.world.note_bytes(self.name.encode(), bytes(arrival.frame))
                    frames.append(arrival)
        return frames + changes + hellos

    def wait(self, timeout_ms: int, extra_fds: Sequence[int] = ()) -> list[int]:
        """Nobody waits in the simulation: time passes by itself."""
        raise AssertionError("the simulation does not wait")

    def fds(self) -> tuple[int, ...]:
        """There are none."""
        return ()

    def may_be_readable(self) -> bool:
        """As `Sockets.may_be_readable`."""
        return bool(self._inbox)

    def close(self, linger_ms: int = 0) -> None:
        """As `Sockets.close`."""
        self._network.shut(self)
