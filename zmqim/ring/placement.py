"""Which storages own each partition, and which of them leads it.

`rebalanced` changes a placement as little as possible so that it fits the storages there are now.
`placed` starts from nothing, as if the storages had joined one by one in the order of their names
(numbers in names count as numbers): so a cluster that grows by its last storage moves only what
that storage takes.

Laws (tests/property/test_ring_laws.py): owners are distinct, in distinct zones as far as there are
enough; owners and leaders follow the weights within rounding; equal input, equal placement.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from zmqim.ids import NodeName
from zmqim.ring.quotas import per_zone_most, quotas

Placement = tuple[tuple[NodeName, ...], ...]
"""Owners by partition, the leader first."""


class Share(NamedTuple):
    """A storage as placement sees it: `zone` is its failure domain, `weight` its share."""

    name: NodeName
    zone: str
    weight: int


def placed(partitions: int, replicas: int, shares: Iterable[Share]) -> Placement:
    """The placement of a cluster that has none yet."""
    ordered = sorted(shares, key=lambda share: _natural(share.name))
    placement: Placement = ((),) * partitions
    for count in range(1, len(ordered) + 1):
        placement = rebalanced(placement, replicas, ordered[:count])
    return placement


def rebalanced(previous: Placement, replicas: int, shares: Sequence[Share]) -> Placement:
    """`previous`, changed as little as possible to fit exactly the storages of `shares`."""
    weights = {share.name: share.weight for share in shares}
    zones = {share.name: share.zone for share in shares}
    assert len(weights) == len(shares), "two storages of one name"
    owners = _Owners(previous, min(replicas, len(shares)), weights, zones)
    owners.fill()
    _level(owners)
    leaders = _Leaders(previous, owners, weights)
    _level(leaders)
    return tuple(
        (leader, *sorted(names - {leader}, key=lambda name: score(partition, name), reverse=True))
        for partition, (leader, names) in enumerate(zip(leaders.leader, owners.of, strict=True))
    )


def score(partition: int, storage: NodeName) -> tuple[int, NodeName]:
    """How much a partition is drawn to a storage: the tie-break of every choice here."""
    return xxh3_64_intdigest(storage.encode(), seed=partition), storage


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


class _Shape:
    """What is levelled: counts that should become quotas, by transfers between two storages."""

    def __init__(self, partitions: int, quota: dict[NodeName, int]) -> None:
        self.partitions = partitions
        self.quota = quota
        self.count = dict.fromkeys(quota, 0)

    def surplus(self, name: NodeName) -> int:
        return self.count[name] - self.quota[name]

    def gives(self, partition: int, source: NodeName, target: NodeName) -> bool:
        """May `source` give what it has of `partition` to `target`?"""
        raise NotImplementedError

    def givers(self, partition: int) -> Iterable[NodeName]:
        """Who has something of `partition`."""
        raise NotImplementedError

    def transfer(self, partition: int, source: NodeName, target: NodeName) -> None:
        self.count[source] -= 1
        self.count[target] += 1


class _Owners(_Shape):
    """The sets of owners."""

    def __init__(
        self,
        previous: Placement,
        replicas: int,
        weights: dict[NodeName, int],
        zones: dict[NodeName, str],
    ) -> None:
        partitions = len(previous)
        sizes: dict[str, int] = {}
        for zone in zones.values():
            sizes[zone] = sizes.get(zone, 0) + 1
        self.zones = zones
        self.replicas = replicas
        self.zone_most = per_zone_most(list(sizes.values()), replicas)
        self.zones_least = min(replicas, len(sizes))
        caps = dict.fromkeys(weights, partitions)
        seats = partitions * replicas
        quota = quotas(seats, weights, caps, zones, self.zone_most * partitions)
        super().__init__(partitions, {name: quota[name] for name in weights})
        self.of: list[set[NodeName]] = [set() for _ in previous]
        for partition, names in enumerate(previous):
            for name in names:
                if name in weights and self._fits(partition, name):
                    self.of[partition].add(name)
                    self.count[name] += 1

    def _fits(self, partition: int, name: NodeName, without: NodeName | None = None) -> bool:
        """Is there room for `name` once `without` has gone, and for as many zones as there are?"""
        others = [other for other in self.of[partition] if other != without]
        free = self.replicas - len(others) - 1
        if name in others or free < 0:
            return False
        zones = [self.zones[other] for other in (*others, name)]
        if zones.count(zones[-1]) > self.zone_most:
            return False
        return free >= self.zones_least - len(set(zones))

    def fill(self) -> None:
        """Give every partition as many owners as it should have."""
        for partition, names in enumerate(self.of):
            while len(names) < self.replicas:
                free = [name for name in self.quota if self._fits(partition, name)]
                name = min(free, key=lambda one: (self.surplus(one), score(partition, one)))
                names.add(name)
                self.count[name] += 1

    def gives(self, partition: int, source: NodeName, target: NodeName) -> bool:
        return source in self.of[partition] and self._fits(partition, target, source)

    def givers(self, partition: int) -> Iterable[NodeName]:
        return sorted(self.of[partition])

    def transfer(self, partition: int, source: NodeName, target: NodeName) -> None:
        super().transfer(partition, source, target)
        self.of[partition].remove(source)
        self.of[partition].add(target)


class _Leaders(_Shape):
    """The leaders, each one of the owners."""

    def __init__(self, previous: Placement, owners: _Owners, weights: dict[NodeName, int]) -> None:
        partitions = len(previous)
        quota = quotas(partitions, weights, owners.count, owners.zones, partitions)
        super().__init__(partitions, {name: quota[name] for name in weights})
        self.owners = owners
        kept = [
            names[0] if names and names[0] in owners.of[partition] else None
            for partition, names in enumerate(previous)
        ]
        for name in kept:
            if name is not None:
                self.count[name] += 1
        self.leader: list[NodeName] = []
        for partition, name in enumerate(kept):
            if name is None:
                name = min(
                    owners.of[partition],
                    key=lambda one: (self.surplus(one), score(partition, one)),
                )
                self.count[name] += 1
            self.leader.append(name)

    def gives(self, partition: int, source: NodeName, target: NodeName) -> bool:
        return self.leader[partition] == source and target in self.owners.of[partition]

    def givers(self, partition: int) -> Iterable[NodeName]:
        return (self.leader[partition],)

    def transfer(self, partition: int, source: NodeName, target: NodeName) -> None:
        super().transfer(partition, source, target)
        self.leader[partition] = target


def _level(shape: _Shape) -> None:
    """Make transfers until every count is its quota, or no chain of transfers helps."""
    for target in shape.quota:
        _take_directly(shape, target)
    while any(shape.surplus(name) > 0 for name in shape.quota):
        chain = _shortest_chain(shape)
        if chain is None:
            return
        for partition, source, target in chain:
            shape.transfer(partition, source, target)


def _take_directly(shape: _Shape, target: NodeName) -> None:
    """Let `target` take from those with a surplus, first what is drawn to it most."""
    if shape.surplus(target) >= 0:
        return
    drawn = sorted(range(shape.partitions), key=lambda p: score(p, target), reverse=True)
    for partition in drawn:
        sources = [
            name
            for name in shape.givers(partition)
            if shape.surplus(name) > 0 and shape.gives(partition, name, target)
        ]
        if sources:
            source = max(sources, key=lambda name: (shape.surplus(name), name))
            shape.transfer(partition, source, target)
            if shape.surplus(target) >= 0:
                return


def _shortest_chain(shape: _Shape) -> list[tuple[int, NodeName, NodeName]] | None:
    """Transfers of different partitions that lead from a surplus to a lack, as few as possible."""
    came: dict[NodeName, tuple[int, NodeName] | None] = {
        name: None for name in shape.quota if shape.surplus(name) > 0
    }
    queue = deque(came)
    while queue:
        source = queue.popleft()
        used = {partition for partition, _, _ in _chain_to(source, came)}
        for target in shape.quota:
            if target in came:
                continue
            partition = next(
                (
                    partition
                    for partition in range(shape.partitions)
                    if partition not in used and shape.gives(partition, source, target)
                ),
                None,
            )
            if partition is None:
                continue
            came[target] = (partition, source)
            if shape.surplus(target) < 0:
                return _chain_to(target, came)
            queue.append(target)
    return None


def _chain_to(
    target: NodeName, came: dict[NodeName, tuple[int, NodeName] | None]
) -> list[tuple[int, NodeName, NodeName]]:
    chain: list[tuple[int, NodeName, NodeName]] = []
    step = came[target]
    while step is not None:
        partition, source = step
        chain.append((partition, source, target))
        target, step = source, came[source]
    return chain[::-1]
