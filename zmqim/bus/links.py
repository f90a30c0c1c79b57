"""Links: who is at the other end of each connection, and whether it still is (being written)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from zmqim.bus.effects import Peer
from zmqim.bus.messages import Message, Role
from zmqim.ids import Incarnation, NodeName, NodeUuid


@dataclass(frozen=True, slots=True)
class Identity:
    """One life of one process."""

    name: NodeName
    role: Role
    host: str
    node_uuid: NodeUuid
    incarnation: Incarnation


class RingFacts(Protocol):
    """What the handshake needs to know of the ring (zmqim.ring)."""

    @property
    def version(self) -> int: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def document(self) -> bytes: ...
    @property
    def key_digests(self) -> Mapping[str, str]: ...


class PeerUp(NamedTuple):
    """A link to that process stands."""

    peer: Peer


class PeerDown(NamedTuple):
    """The link is gone; what was in flight may be lost."""

    name: NodeName


class Received(NamedTuple):
    """A message of a linked process."""

    source: NodeName
    message: Message
