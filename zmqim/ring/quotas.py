"""How many partitions each storage should hold: by weight, in whole numbers, within its zone.

The seats are given out one by one to whoever has the greatest claim weight / (2·seats + 1)
(Webster's method). It is chosen because it is consistent: a storage that joins takes seats
from the others and never makes one of them gain, so nothing moves between those that stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from zmqim.ids import NodeName

CLAIM_BITS = 64
"""Claims are compared as fixed-point numbers, so that every machine rounds alike."""


def per_zone_most(zone_sizes: Sequence[int], replicas: int) -> int:
    """How many owners of one partition share a zone, if they are spread as widely as possible."""
    most = 1
    while sum(min(most, size) for size in zone_sizes) < replicas:
        most += 1
    return most


def quotas(
    seats: int,
    weights: Mapping[NodeName, int],
    caps: Mapping[NodeName, int],
    zones: Mapping[NodeName, str],
    zone_cap: int,
) -> dict[NodeName, int]:
    """Seats per name: as the weights say, at most `caps` each and `zone_cap` in one zone.

    Of equal claims the name that comes first in `weights` wins.
    """
    given = dict.fromkeys(weights, 0)
    in_zone = dict.fromkeys(zones.values(), 0)
    names = list(weights)
    claims = [(-(weights[name] << CLAIM_BITS), rank) for rank, name in enumerate(names)]
    heapify(claims)
    while seats and claims:
        _, rank = heappop(claims)
        name = names[rank]
        zone = zones[name]
        if given[name] >= caps[name] or in_zone[zone] >= zone_cap:
            continue
        given[name] += 1
        in_zone[zone] += 1
        seats -= 1
        claim = (weights[name] << CLAIM_BITS) // (2 * given[name] + 1)
        heappush(claims, (-claim, rank))
    return given
