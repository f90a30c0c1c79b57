"""The birth record: what a cluster was born into, the same on every storage.

It is a pure function of the topology and of the node uuids that were there, so every storage can
check one that it is offered. The history of each group is named after those uuids: two births, if
there ever were two, would share no group, and no replica of one would talk to one of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec

from zmqim.errors import WireError
from zmqim.ids import NodeName, PartitionId
from zmqim.raft.config import GroupConfig, Place
from zmqim.ring.document import RingDocument, StorageLike

META_VOTERS = (5, 3, 1)
"""How many replicas the meta group may have: the first that there are storages for."""


class Genesis(msgspec.Struct, array_like=True, frozen=True):
    """The beginning of a group: the name of its history and its first configuration."""

    group_uuid: bytes
    config: GroupConfig


class BirthRecord(msgspec.Struct, array_like=True, frozen=True):
    """What the cluster was born into. A wire format: fields are only ever added at the end.

    `genesis` is by partition, the meta group behind the last one. `complete` is no part of what is
    agreed: it says that everyone is known to have the record, so the groups may run.
    """

    cluster_id: bytes
    node_uuids: dict[str, bytes]
    ring_version: int
    ring_hash: bytes
    partitions: int
    genesis: tuple[Genesis, ...]
    complete: bool = False

    def encode(self) -> bytes:
        """The bytes that travel."""
        return _encode(self)

    @classmethod
    def decode(cls, body: bytes) -> BirthRecord:
        """The record in `body`; `WireError` if it is none."""
        try:
            record = _decode(body)
        except (msgspec.DecodeError, ValueError) as error:
            raise WireError(f"not a birth record: {error}") from None
        if len(record.genesis) != record.partitions + 1:
            raise WireError(f"a birth record with {len(record.genesis)} groups")
        return record

    @property
    def digest(self) -> bytes:
        """16 bytes that name this birth, whether or not it is complete."""
        return blake2b(self.with_complete(False).encode(), digest_size=16).digest()

    @property
    def meta_group(self) -> int:
        """The number of the meta group: one above the last partition."""
        return self.partitions

    def names(self, name: str, node_uuid: bytes) -> bool:
        """Was that disk there at birth?"""
        return self.node_uuids.get(name) == node_uuid

    def with_complete(self, complete: bool) -> BirthRecord:
        """The same birth, known to be complete or not."""
        return msgspec.structs.replace(self, complete=complete)


def born(
    cluster_id: bytes,
    ring: RingDocument,
    storages: Iterable[StorageLike],
    node_uuids: Mapping[str, bytes],
) -> BirthRecord:
    """The record of a cluster whose storages have these uuids.

    Replica ids are given out by partition and by preference, then to the meta group: within a group
    the lowest one is where it is at home.
    """
    uuids = {name: node_uuids[name] for name in sorted(node_uuids)}
    voters = [ring.voters_of(PartitionId(number)) for number in range(ring.partitions)]
    voters.append(meta_voters(storages))
    seed = cluster_id + b"".join(uuids.values())
    genesis = []
    replica = 0
    for number, names in enumerate(voters):
        places = []
        for name in names:
            replica += 1
            places.append(Place(replica, name, uuids[name]))
        genesis.append(Genesis(_group_uuid(seed, number), GroupConfig(tuple(places))))
    return BirthRecord(cluster_id, uuids, ring.version, ring.hash, ring.partitions, tuple(genesis))


def meta_voters(storages: Iterable[StorageLike]) -> tuple[NodeName, ...]:
    """Who holds the meta group: the first by name, in distinct zones as far as there are."""
    ordered = sorted(storages, key=lambda one: one.name)
    count = next(count for count in META_VOTERS if count <= len(ordered))
    zones: set[str] = set()
    first_of_zone: list[NodeName] = []
    others: list[NodeName] = []
    for storage in ordered:
        (others if storage.zone in zones else first_of_zone).append(storage.name)
        zones.add(storage.zone)
    return tuple(sorted([*first_of_zone, *others][:count]))


def _group_uuid(seed: bytes, number: int) -> bytes:
    text = seed + number.to_bytes(4, "big")
    return blake2b(text, digest_size=16, person=b"zmqim-group").digest()


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(BirthRecord).decode
