"""Who may join: the names of a process on the wire, and how a Hello is judged.

A process belongs to the cluster when it computes the same ring from the same topology. One that
does not must not route, store or deliver anything, so it is told which keys differ and stops.
Gateways written in other languages (followers) compute no ring: they send an empty hash and get
the ring document with the Welcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from zmqim.bus.effects import Peer
from zmqim.bus.messages import Hello, JoinRefused, Role
from zmqim.ids import NodeName
from zmqim.ring.document import differing

FOLLOWER_NAME_BYTES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Terms:
    """What a process must share with us to be let in."""

    roles: Mapping[NodeName, int]
    """The processes of the topology, ourselves included; other names may only be gateways."""
    ring_hash: bytes
    ring_document: bytes
    key_digests: Mapping[str, str]


def routing_id(name: str, node_uuid: bytes, incarnation: int) -> bytes:
    """The ZeroMQ identity of a life: another life never takes over its queues (pitfalls Z4)."""
    return f"{name}:{node_uuid[:4].hex()}:{incarnation}".encode()


def is_name(name: str) -> bool:
    """Whether a follower's name can stand in identities, logs and tables."""
    return (
        0 < len(name) <= FOLLOWER_NAME_BYTES_MAX
        and name.isascii()
        and name.isprintable()
        and not set(name) & {":", " "}
    )


def refusal_of(hello: Hello, me: Peer, terms: Terms) -> JoinRefused | None:
    """Why the sender of `hello` must not join, or None if it may."""
    role = terms.roles.get(NodeName(hello.name))
    if hello.name == me.name:
        return _refusal(f"the name {hello.name} is taken: {me.name} itself answers here")
    if role is None and hello.role != Role.GATEWAY:
        return _refusal(f"the topology of {me.name} has no process {hello.name}")
    if role is not None and hello.role != role:
        return _refusal(f"{hello.name} is a {Role(role).name.lower()} in {me.name}'s topology")
    if hello.ring_hash == terms.ring_hash or (not hello.ring_hash and role is None):
        return None
    keys = differing(hello.key_digests, terms.key_digests)
    if not keys:
        return _refusal(
            f"{hello.name} and {me.name} compute different rings from the same topology: "
            "they run different versions of zmqim"
        )
    return JoinRefused(
        f"the topology of {hello.name} differs from that of {me.name} in {', '.join(keys)}", keys
    )


def _refusal(sentence: str) -> JoinRefused:
    return JoinRefused(sentence, [])
