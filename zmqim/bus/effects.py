"""What cores tell their shells to do, and what shells tell cores: the contract of the pure cores.

A core (gateway, router, storage) is an object without clock, randomness, socket, disk, thread or
loop. Its shell drains a bounded batch of events, hands each to the core, ends the turn, and
performs the effects *in order*: a write is durable before any later effect of the list.

    core.peer_up(now, peer)            a link to that process stands
    core.peer_down(now, name)          it is gone; what was in flight may be lost
    core.view_changed(now, view)       gossip sees other live processes
    core.receive(now, source, message) a message of a linked process, named `source`
    core.undeliverable(now, to, message)  a `Send` that the bus refused: no link, or a full queue
    core.wake(now)                     time passed: do what is due
    core.turn(now) -> list[Effect]     end of the turn: what gathered, coalesced per peer
    core.next_wake() -> Milliseconds | None   when `wake` must be called at the latest
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from zmqim.bus.messages import Message
from zmqim.ids import Incarnation, NodeName, NodeUuid


class Peer(NamedTuple):
    """A process at the other end of a link: one life of it."""

    name: NodeName
    role: int
    node_uuid: NodeUuid
    incarnation: Incarnation


class View(NamedTuple):
    """Who is there, as gossip sees it: names of ALIVE and SUSPECT processes, sorted, by role.

    `suspected` are those of them that fell silent, and may be gone: whoever can do without them
    does.
    """

    gateways: tuple[NodeName, ...]
    routers: tuple[NodeName, ...]
    storages: tuple[NodeName, ...]
    suspected: tuple[NodeName, ...] = ()


class Send:
    """Put `message` into the queue of the link to `to`. Never changed.

    A plain class, as in compiled code a named tuple costs ten times as much to make and most
    effects are these.
    """

    __slots__ = ("message", "to")
    __match_args__: ClassVar = ("to", "message")

    def __init__(self, to: NodeName, message: Message) -> None:
        self.to = to
        self.message = message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Send) and self.to == other.to and self.message == other.message

    def __hash__(self) -> int:
        return hash((self.to, self.message))

    def __repr__(self) -> str:
        return f"Send(to={self.to!r}, message={self.message!r})"
