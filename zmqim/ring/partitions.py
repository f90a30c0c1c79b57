"""Which partition a key belongs to: the upper bits of its hash, for good.

The hash has no salt and the count of partitions is fixed when the cluster is created, so the
answer is a fact that gateways in other languages compute as well (docs/PROTOCOL.md).
"""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh3_64_intdigest

from zmqim.ids import PartitionId

RANGES_MAX = 24
"""Runs of neighbours that `ranges` shows."""


def partition_of(key: bytes, partitions: int) -> PartitionId:
    """The partition of a route key (`zmqim.chat.channels`), among `partitions`, a power of two."""
    return PartitionId(xxh3_64_intdigest(key) >> (65 - partitions.bit_length()))


def ranges(ids: Iterable[int | str]) -> str:
    """``0-3, 7, meta``: runs of neighbours, then what has a name; the end of a long list is
    counted."""
    known = list(ids)
    runs: list[list[int]] = []
    for number in sorted(one for one in known if isinstance(one, int)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs[:RANGES_MAX]]
    left = sum(map(len, runs[RANGES_MAX:]))
    if left:
        shown.append(f"and {left:,} more")
    return ", ".join([*shown, *(one for one in known if isinstance(one, str))])
