"""How long partitions take no writes after their leader was struck.

The stall of a partition is the time from the strike (kill -9 of its leader, or the cut that makes
it unreachable) to the first acknowledgement of any message to that partition whose first attempt
began after the strike. Clients see it so: they send at a set rate whatever the cluster does.
Messages to one partition come every 1 / (rate per partition) seconds, and the figure is late by up
to that. A partition to which nothing was sent afterwards is not counted.

Whoever writes through a gateway that was cut off with the leader waits for the end of the cut,
whatever partitions do: such messages say nothing of a partition, and are left out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from tools.chaos.rig import Strike
from zmqim.sim.history import ChannelKey, History

NEVER = 1 << 62


class Writes:
    """The sends to each partition, for asking when the first of those after a moment was done."""

    def __init__(
        self,
        history: History,
        partition_of: Callable[[ChannelKey], int],
        without: Collection[str] = (),
    ) -> None:
        """Those that were first sent through one of the gateways `without` do not count."""
        began: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for sending in history.sendings:
            if sending.attempts and sending.attempts[0].session[0] not in without:
                answer = sending.first_acknowledged
                at = NEVER if answer is None else answer.at
                began[partition_of(sending.channel)].append((sending.attempts[0].began, at))
        self._times: dict[int, list[int]] = {}
        self._first: dict[int, list[int]] = {}
        for partition, pairs in began.items():
            pairs.sort()
            first, soonest = [], NEVER
            for _, at in reversed(pairs):
                soonest = min(soonest, at)
                first.append(soonest)
            self._times[partition] = [time for time, _ in pairs]
            self._first[partition] = first[::-1]

    def stall(self, partition: int, struck: int) -> int | None:
        """Microseconds; NEVER if nothing was acknowledged, None if nothing was sent."""
        times = self._times.get(partition, [])
        place = bisect_left(times, struck)
        if place == len(times):
            return None
        first = self._first[partition][place]
        return first if first == NEVER else first - struck


def stalls_of(
    history: History, partition_of: Callable[[ChannelKey], int], strikes: Iterable[Strike]
) -> dict[str, dict[str, Any]]:
    """By kind of strike: how often, and the stalls of its partitions in seconds."""
    found: dict[str, list[int]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    writes: dict[tuple[str, ...], Writes] = {}
    for strike in strikes:
        counts[strike.kind] += 1
        cut_off = strike.gateways
        if cut_off not in writes:
            writes[cut_off] = Writes(history, partition_of, cut_off)
        for partition in strike.partitions:
            stall = writes[cut_off].stall(partition, strike.at)
            if stall is not None:
                found[strike.kind].append(stall)
    return {
        kind: {
            "strikes": count,
            "stalls": len(found[kind]),
            "never": found[kind].count(NEVER),
            **percentiles([each for each in found[kind] if each != NEVER]),
        }
        for kind, count in counts.items()
    }


def percentiles(microseconds: Sequence[int]) -> dict[str, float]:
    """p50, p99 and the longest, in seconds; zeros when there are none."""
    ordered = sorted(microseconds) or [0]

    def at(percent: int) -> float:
        return round(ordered[(len(ordered) - 1) * percent // 100] / 1e6, 3)

    return {"p50": at(50), "p99": at(99), "max": at(100)}
