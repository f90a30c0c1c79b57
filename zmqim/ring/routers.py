"""Which router serves a partition: rendezvous hashing over the routers that live.

When a router comes or goes, only the partitions change hands that it takes or leaves.
"""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh3_64_intdigest

from zmqim.ids import NodeName, PartitionId


def _score(partition: PartitionId, router: NodeName) -> tuple[int, NodeName]:
    return xxh3_64_intdigest(router.encode(), seed=partition), router


def router_of(partition: PartitionId, live: Iterable[NodeName]) -> NodeName | None:
    """The router of `partition` among those that live; None if none does."""
    return max(live, key=lambda router: _score(partition, router), default=None)


def routers_of(partition: PartitionId, live: Iterable[NodeName]) -> tuple[NodeName, ...]:
    """All that live, the router of `partition` first, then who would be it without that one, …"""
    return tuple(sorted(live, key=lambda router: _score(partition, router), reverse=True))
