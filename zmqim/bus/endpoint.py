"""One process's place on the bus: sockets, links and membership behind a few calls.

All three kinds of process use it alike. A polling process (router, storage) loops over
``wait`` → ``turn`` → its core → ``send``/``flush``; an asyncio process (gateway) registers `fds`
as readers and does the same at each wake-up and at `next_wake`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple, Protocol

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.links import Identity, PeerDown, PeerUp, Received, RingFacts
from zmqim.bus.messages import Load, Member, Message
from zmqim.ids import Milliseconds, NodeName, WallMilliseconds
from zmqim.topology_values import Topology


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


class Endpoint:
    """Sockets, links and membership of one process. Binds and connects when made."""

    def __init__(
        self,
        identity: Identity,
        topology: Topology,
        ring: RingFacts,
        random: Random,
        now: Milliseconds,
    ) -> None:
        """Raises `PortInUse` when an address of the topology cannot be bound."""
        raise NotImplementedError

    def turn(self, now: Milliseconds, wall_ms: WallMilliseconds) -> list[BusEvent]:
        """Take in a bounded batch, run what is due, and say what happened.

        Raises `NotAdmitted` (exit code 8) when the others run another topology.
        """
        raise NotImplementedError

    def send(self, now: Milliseconds, to: NodeName, message: Message) -> bool:
        """Queue a message for a linked process; False: no link, or its queue is full."""
        raise NotImplementedError

    def flush(self, now: Milliseconds) -> None:
        """Hand the queues to ZeroMQ as far as it takes them, without blocking."""
        raise NotImplementedError

    def wait(self, timeout_ms: int, extra_fds: Sequence[int] = ()) -> list[int]:
        """Sleep until the bus or one of `extra_fds` is readable; gives the readable `extra_fds`."""
        raise NotImplementedError

    def fds(self) -> tuple[int, ...]:
        """Descriptors for asyncio's add_reader. Edge-triggered: call `turn` at every wake-up and
        at `next_wake`, which is at once while there is more to read."""
        raise NotImplementedError

    def next_wake(self, now: Milliseconds) -> Milliseconds:
        """When `turn` must be called at the latest."""
        raise NotImplementedError

    def members(self) -> list[Member]:
        """Everyone as gossip sees them, for `zmqim status`."""
        raise NotImplementedError

    def view(self) -> View:
        """Who is alive as gossip sees it."""
        raise NotImplementedError

    def set_load(self, load: Load) -> None:
        """What the next heartbeats say of this process."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """What an operator should know of links and members, as sentences."""
        raise NotImplementedError

    def counters(self) -> dict[str, int]:
        """Everything that was counted, for metrics."""
        raise NotImplementedError

    def leave(self, now: Milliseconds) -> None:
        """Say Goodbye on every link and LEFT to everyone."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all sockets and the context. Never blocks."""
        raise NotImplementedError


def feed(core: BusCore, now: Milliseconds, events: Iterable[BusEvent]) -> None:
    """Hand what happened on the bus to a core."""
    raise NotImplementedError


def perform_send(endpoint: Endpoint, core: BusCore, now: Milliseconds, effect: Send) -> bool:
    """Perform a `Send`; a refused one goes back to the core as `undeliverable`, and gives False:
    the core then has a further turn to do."""
    raise NotImplementedError
