"""The names of things that are only numbers, strings or bytes, so that mypy keeps them apart.

A `Channel` is the pair by which the domain names a conversation: `(channel type, canonical id)`.
The canonical id of a person channel is the joined id of both users (`zmqim.chat.channels`), never
the peer's uid that travels on the wire.
"""

from __future__ import annotations

from typing import Final, NewType

Uid = NewType("Uid", str)
NodeName = NewType("NodeName", str)
"""Name of a process in the topology, e.g. ``storage-1``."""
NodeUuid = NewType("NodeUuid", bytes)
"""16 bytes: which process this is; a storage keeps it in its NODE file for life."""
Incarnation = NewType("Incarnation", int)
"""Which life of that process: compared only under one `NodeUuid`."""
ClusterId = NewType("ClusterId", bytes)
"""16 bytes, derived from the topology's cluster name and id line."""

PartitionId = NewType("PartitionId", int)
Term = NewType("Term", int)
LogIndex = NewType("LogIndex", int)
Hlc = NewType("Hlc", int)
"""Hybrid logical clock: 48 bits of wall milliseconds since 1970, 16 bits of counter."""

Sequence = NewType("Sequence", int)
"""Position of a message in its channel: from 1, without gaps."""
MessageId = NewType("MessageId", int)
SessionNo = NewType("SessionNo", int)
"""A client connection, unique within one gateway incarnation (u32)."""
RequestNo = NewType("RequestNo", int)
"""Unique within one incarnation of the process that asks."""

Milliseconds = NewType("Milliseconds", int)
"""A duration, or a point on the monotonic clock of one process."""
WallMilliseconds = NewType("WallMilliseconds", int)
"""Milliseconds since 1970 on the wall clock: only stamps and labels, never timeouts."""

Channel = tuple[int, str]
"""(channel type, canonical channel id)."""

HLC_COUNTER_BITS: Final = 16


def seconds_of(hlc: int) -> int:
    """Unix seconds of an hlc: the timestamp that clients see, in pushes and in history alike."""
    return (hlc >> HLC_COUNTER_BITS) // 1000


def expiry_of(hlc: int, expire: int) -> int:
    """When a message stamped `hlc` is over, in milliseconds since 1970; 0: never."""
    return (hlc >> HLC_COUNTER_BITS) + expire * 1000 if expire else 0


def is_over(until_ms: int, wall_ms: int) -> bool:
    """Is what lasts until then (0: for ever) over at `wall_ms`? Both milliseconds since 1970."""
    return 0 < until_ms <= wall_ms
