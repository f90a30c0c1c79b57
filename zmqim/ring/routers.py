"""Which router a partition belongs to, in two ways.

Its *owner* numbers the logins of its users: rendezvous hashing over the routers that live, so that
when one comes or goes only the partitions change hands that it takes or leaves.

Its *servant* carries its messages. Any router can, so this may move: partitions that one storage
leads at home go to one router, in equal blocks, so that a router has to do with few storages and
what they say to each other travels in few, full frames (docs/adr/0017).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xxhash import xxh3_64_intdigest

from zmqim.ids import NodeName, PartitionId
from zmqim.ring.placement import Placement


def owner_of(partition: PartitionId, live: Iterable[NodeName]) -> NodeName | None:
    """The owner of `partition` among those that live; None if none does."""
    return max(
        live,
        key=lambda router: (xxh3_64_intdigest(router.encode(), seed=partition), router),
        default=None,
    )


class Servants:
    """Which of the live routers serves each partition of a placement."""

    def __init__(self, placement: Placement) -> None:
        order = sorted(range(len(placement)), key=lambda one: (placement[one][:1], one))
        self._ranks = [0] * len(order)
        """Of each partition, in the order of home leaders."""
        for rank, partition in enumerate(order):
            self._ranks[partition] = rank

    def of(self, partition: int, live: Sequence[NodeName]) -> tuple[NodeName, ...]:
        """All of `live`, which is sorted: who serves the partition first, then whom to ask next."""
        first = self._ranks[partition] * len(live) // len(self._ranks)
        return (*live[first:], *live[:first])
