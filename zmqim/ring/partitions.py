"""Which partition a key belongs to: the upper bits of its hash, for good.

The hash has no salt and the count of partitions is fixed when the cluster is created, so the
answer is a fact that gateways in other languages compute as well (docs/PROTOCOL.md).
"""

from __future__ import annotations

from xxhash import xxh3_64_intdigest

from zmqim.ids import PartitionId


def partition_of(key: bytes, partitions: int) -> PartitionId:
    """The partition of a route key (`zmqim.chat.channels`), among `partitions`, a power of two."""
    return PartitionId(xxh3_64_intdigest(key) >> (65 - partitions.bit_length()))
