"""What a turn has for one peer, cut so that each part keeps to BATCH_ITEMS_MAX and BATCH_BYTES_MAX
and fits one frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from zmqim import limits
from zmqim.bus.messages import NoticeBatches, Notices
from zmqim.bus.replication import Append, AppendResult, AppendResults, Appends

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


def appends_of(appends: list[Append]) -> list[Appends]:
    """`appends`, which are for one storage, cut so that each part fits one frame."""
    sizes = [sum([len(entry) for entry in append.entries]) for append in appends]
    return [Appends(part) for part in in_frames(appends, sizes)]


def results_of(results: list[AppendResult]) -> list[AppendResults]:
    """The same of the answers to one storage; they are small, so that their number decides."""
    return [AppendResults(part) for part in in_frames(results, [0] * len(results))]


def notices_of(batches: list[Notices]) -> list[NoticeBatches]:
    """The same of what is for one router."""
    sizes = [sum([len(item.body) for item in batch.items]) for batch in batches]
    return [NoticeBatches(part) for part in in_frames(batches, sizes)]
