"""The ring as a document: who owns which partition, with a hash that all processes must share.

In this version every process computes it from its topology file, and a process whose hash differs
is not let in; `key_digests` and `differing` find the topology keys to name in that refusal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Protocol

from zmqim.errors import WireError
from zmqim.ids import NodeName, PartitionId
from zmqim.ring.placement import Placement, Share, placed

RING_VERSION = 1


class StorageLike(Protocol):
    """What the ring needs to know of a storage."""

    @property
    def name(self) -> NodeName: ...
    @property
    def zone(self) -> str: ...
    @property
    def weight(self) -> int: ...


class TopologyLike(Protocol):
    """What the ring needs to know of a topology (`zmqim.topology.Topology`)."""

    @property
    def cluster(self) -> str: ...
    @property
    def id_line(self) -> str: ...
    @property
    def replicas(self) -> int: ...
    @property
    def partitions(self) -> int: ...
    @property
    def storages(self) -> Iterable[StorageLike]: ...


@dataclass(frozen=True)
class RingDocument:
    """Placement of all partitions: `replicas` owners each, of whom the first `voters` count.

    The first of them is the home leader: it leads while nothing is wrong. Who leads now is not the
    ring's to say.
    """

    version: int
    partitions: int
    replicas: int
    voters: int
    placement: Placement

    def leader_of(self, partition: PartitionId) -> NodeName:
        """The home leader of `partition`."""
        return self.placement[partition][0]

    def voters_of(self, partition: PartitionId) -> tuple[NodeName, ...]:
        """The storages whose copies of `partition` count."""
        return self.placement[partition][: self.voters]

    def led_by(self, storage: NodeName) -> tuple[PartitionId, ...]:
        """The partitions whose home leader is `storage`, ascending."""
        return tuple(
            PartitionId(number)
            for number, owners in enumerate(self.placement)
            if owners[0] == storage
        )

    def held_by(self, storage: NodeName) -> tuple[PartitionId, ...]:
        """The partitions of which `storage` is a voter, ascending."""
        return tuple(
            PartitionId(number)
            for number, owners in enumerate(self.placement)
            if storage in owners[: self.voters]
        )

    def to_json(self) -> bytes:
        """Canonical: equal documents are equal bytes."""
        content = {
            "version": self.version,
            "partitions": self.partitions,
            "replicas": self.replicas,
            "voters": self.voters,
            "placement": self.placement,
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()

    @cached_property
    def hash(self) -> bytes:
        """8 bytes that name this document."""
        return blake2b(self.to_json(), digest_size=8).digest()

    @classmethod
    def from_json(cls, text: bytes) -> RingDocument:
        """The document in `text`; `WireError` if it is none."""
        try:
            content = json.loads(text)
            numbers = [content[key] for key in ("version", "partitions", "replicas", "voters")]
            placement = content["placement"]
        except (ValueError, KeyError, TypeError) as error:
            raise WireError(f"not a ring document: {error!r}") from None
        rows = placement if isinstance(placement, list) else []
        sound = (
            all(type(number) is int and number > 0 for number in numbers)
            and len(rows) == numbers[1]
            and numbers[3] <= numbers[2]
            and all(isinstance(row, list) and len(row) == numbers[2] for row in rows)
            and all(isinstance(name, str) for row in rows for name in row)
        )
        if not sound:
            raise WireError("not a ring document: numbers or placement are not as they must be")
        version, partitions, replicas, voters = numbers
        placement = tuple(tuple(NodeName(name) for name in row) for row in rows)
        return cls(version, partitions, replicas, voters, placement)


def ring_of(topology: TopologyLike) -> RingDocument:
    """The ring of a topology: every replica counts."""
    shares = [Share(one.name, one.zone, one.weight) for one in topology.storages]
    placement = placed(topology.partitions, topology.replicas, shares)
    replicas = len(placement[0])
    return RingDocument(RING_VERSION, topology.partitions, replicas, replicas, placement)


def key_digests(topology: TopologyLike) -> dict[str, str]:
    """Every topology key that decides the ring → a short digest of its value."""
    values: dict[str, object] = {
        "cluster": topology.cluster,
        "id": topology.id_line,
        "replicas": topology.replicas,
        "partitions": topology.partitions,
    }
    for storage in topology.storages:
        values[f"storage.{storage.name}.zone"] = storage.zone
        values[f"storage.{storage.name}.weight"] = storage.weight
    return {key: _digest(value) for key, value in values.items()}


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The keys whose digests differ, or that only one side has."""
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _digest(value: object) -> str:
    return blake2b(json.dumps(value).encode(), digest_size=4).hexdigest()
