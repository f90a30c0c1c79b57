"""What links say: to the core (PeerUp, PeerDown, Received), and to the endpoint that carries it."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from zmqim.bus.effects import Peer
from zmqim.bus.envelope import Header
from zmqim.bus.messages import Hello, JoinRefused, Message, WhoAreYou
from zmqim.errors import WireError
from zmqim.ids import NodeName


class Place(NamedTuple):
    """A process of the topology, or a follower: where it is said to be."""

    name: NodeName
    role: int
    host: str
    address: str
    pub_address: str


class PeerUp(NamedTuple):
    """A link to that process stands."""

    peer: Peer


class PeerDown(NamedTuple):
    """The link is gone; what was in flight may be lost."""

    name: NodeName


class Received:
    """A message of a linked process. Never changed; a plain class for the reason of `Send`."""

    __slots__ = ("message", "source")
    __match_args__: ClassVar = ("source", "message")

    def __init__(self, source: NodeName, message: Message) -> None:
        self.source = source
        self.message = message

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Received)
            and self.source == other.source
            and self.message == other.message
        )

    def __hash__(self) -> int:
        return hash((self.source, self.message))

    def __repr__(self) -> str:
        return f"Received(source={self.source!r}, message={self.message!r})"


class Left(NamedTuple):
    """The peer said Goodbye; PeerDown follows."""

    name: NodeName


class Transmit(NamedTuple):
    """Queue a message of the handshake behind what the link already holds."""

    name: NodeName
    message: Message


class SayHello(NamedTuple):
    """Send on the dialled connection now or not at all: it is repeated."""

    name: NodeName
    message: Hello
    number: int


class Reply(NamedTuple):
    """Answer a frame of a connection that has no link: now or not at all."""

    route: bytes
    message: WhoAreYou | JoinRefused
    header: Header


class Refused(NamedTuple):
    """The others run another topology: this process must stop with that sentence."""

    sentence: str


LinkEvent = PeerUp | PeerDown | Received | Left | Transmit | SayHello | Reply | Refused


class LinkFault(WireError):
    """A frame that its link must not carry now; `kind` is the name under which it is counted."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind
