"""Rows of the meta group and their keys: ``partition u16 | install u32 | tag | ...``, big-endian.

    A                     applied: index, term, clock (as in every group)
    C                     the cluster: id, allocator, version of the ring, feature level
    N node uuid           a disk: its name, granted incarnation, zone, weight, state
    G partition u16       a group: its history, its first and its last known configuration
    L partition u16 uuid  the replica id that was given out for a replica not yet come and gone
    V version u64         a ring document with its hash and that of the one before

The rows are few (some thousands), so `MetaState` holds them decoded as well; a row is written
when it changes, and a state that is opened anew holds the same.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from zmqim.raft.config import GroupConfig

_PREFIX = struct.Struct(">HI")
_U16 = struct.Struct(">H")
_U64 = struct.Struct(">Q")


class NodeState(IntEnum):
    """What a disk is to the cluster."""

    MEMBER = 0
    REPLACING = 1
    """It has its name, and not yet all replicas of the disk before it."""
    GONE = 2
    """It was replaced. Its uuid is refused for good."""


class ClusterRow(msgspec.Struct, array_like=True, frozen=True):
    """Row `C`. A disk format, like all of these: fields are only ever added at the end."""

    cluster_id: bytes
    replica_last: int
    ring_version: int
    feature_level: int


class NodeRow(msgspec.Struct, array_like=True, frozen=True):
    """Row `N`: a disk, and which of its lives was granted last (0: none)."""

    name: str
    node_uuid: bytes
    zone: str
    weight: int
    state: int
    incarnation: int = 0
    start: bytes = b""


class GroupRow(msgspec.Struct, array_like=True, frozen=True):
    """Row `G`: `config` is the configuration `conf_id`, as the leader of `term` reported it."""

    group_uuid: bytes
    genesis: GroupConfig
    conf_id: int
    term: int
    config: GroupConfig


class RingRow(msgspec.Struct, array_like=True, frozen=True):
    """Row `V`. `previous` is empty for the first."""

    document: bytes
    hash: bytes
    previous: bytes


class MetaKeys:
    """Makes the keys of the meta group under one install number."""

    def __init__(self, partition: int, install: int) -> None:
        self.prefix = _PREFIX.pack(partition, install)
        self.applied = self.prefix + b"A"
        self.config = self.prefix + b"K"
        self.cluster = self.prefix + b"C"

    def node(self, node_uuid: bytes) -> bytes:
        """A disk."""
        return self.prefix + b"N" + node_uuid

    def group(self, partition: int) -> bytes:
        """A group."""
        return self.prefix + b"G" + _U16.pack(partition)

    def allocation(self, partition: int, node_uuid: bytes) -> bytes:
        """A replica id that was given out."""
        return self.prefix + b"L" + _U16.pack(partition) + node_uuid

    def ring(self, version: int) -> bytes:
        """A version of the ring."""
        return self.prefix + b"V" + _U64.pack(version)

    def tagged(self, tag: bytes) -> tuple[bytes, bytes]:
        """Range of all rows under `tag`."""
        return self.prefix + tag, self.prefix + bytes([tag[0] + 1])

    def partition_of(self, key: bytes) -> int:
        """The partition in a key of `group` or `allocation`."""
        (partition,) = _U16.unpack_from(key, len(self.prefix) + 1)
        return int(partition)

    def uuid_of(self, key: bytes) -> bytes:
        """The uuid at the end of a key of `node` or `allocation`."""
        return key[-16:]


encode = msgspec.msgpack.Encoder().encode
decode_cluster = msgspec.msgpack.Decoder(ClusterRow).decode
decode_node = msgspec.msgpack.Decoder(NodeRow).decode
decode_group = msgspec.msgpack.Decoder(GroupRow).decode
decode_ring = msgspec.msgpack.Decoder(RingRow).decode
decode_replica = msgspec.msgpack.Decoder(int).decode
