"""What a turn has for one peer, cut so that each part keeps to BATCH_ITEMS_MAX and BATCH_BYTES_MAX
and fits one frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from zmqim import limits

ValueT = TypeVar("ValueT")


def in_frames(values: list[ValueT], sizes: list[int]) -> list[list[ValueT]]:
    """`values` in order, whose sizes are `sizes` bytes; of one that is too large, alone."""
    if len(values) <= limits.BATCH_ITEMS_MAX and sum(sizes) <= limits.BATCH_BYTES_MAX:
        return [values]
    return runs_in_frames([(value,) for value in values], sizes)


def runs_in_frames(runs: Sequence[Sequence[ValueT]], sizes: list[int]) -> list[list[ValueT]]:
    """The values of `runs` in order, each run whole in one part; a run has its size in `sizes`. Of
    one that is too large, alone."""
    part: list[ValueT] = []
    parts = [part]
    total = 0
    for run, size in zip(runs, sizes, strict=True):
        total += size
        is_full = total > limits.BATCH_BYTES_MAX or len(part) + len(run) > limits.BATCH_ITEMS_MAX
        if part and is_full:
            part = []
            parts.append(part)
            total = size
        part.extend(run)
    return parts
