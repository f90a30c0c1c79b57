"""What every nemesis works with: the cluster, its chance, and the record of what was done when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

from tools.chaos.cluster import Cluster, NotInTime

RECOVERY_SECONDS_MAX = 60.0
"""After a trouble has ended everybody is alive again so soon."""
REPLICATION_SECONDS_MAX = 180.0
"""A storage that lost its disk is replicated again so soon."""


class Trouble(NamedTuple):
    """A nemesis at work. Times are CLOCK_MONOTONIC, microseconds."""

    kind: str
    detail: str
    began: int
    ended: int
    recovered: int
    """When everybody was alive again; `ended` where nobody waited for it."""


class Strike(NamedTuple):
    """A moment from which partitions may stall: their leader was killed, or cut off."""

    kind: str
    """kill, kill all, cut (off silently) or pause."""
    at: int
    partitions: tuple[int, ...]
    gateways: tuple[str, ...] = ()
    """Cut off with the leader."""


class Rig:
    """Cluster, chance and record of one run."""

    def __init__(
        self, cluster: Cluster, random: Random, longest: float, say: Callable[[str], None]
    ) -> None:
        """`longest` is the most seconds that a pause or a cut lasts."""
        self.cluster = cluster
        self.random = random
        self.longest = longest
        self.say = say
        self.voters = cluster.voters()
        """Replicas of a partition that count."""
        self.compiled = cluster.is_compiled()
        self.ends_at = time.monotonic()
        """When the run is over."""
        self.troubles: list[Trouble] = []
        self.strikes: list[Strike] = []
        self.deaf: list[tuple[str, int, int]] = []
        """(gateway, from, until): it could not keep its times."""
        self.findings: list[str] = []
        """What the cluster did that it must not, as sentences."""
        self.outcomes: dict[str, int] = {}
        self.is_troubled = False
        """There was trouble, and not everybody is known to be alive again."""

    @property
    def left(self) -> float:
        """Seconds until the run is over."""
        return self.ends_at - time.monotonic()

    def wait(self, low: float, high: float) -> None:
        """Let time pass: so many seconds by chance, never beyond the end."""
        time.sleep(max(0.0, min(self.random.uniform(low, high), self.left)))

    def strike(self, kind: str, storages: list[str], gateways: Sequence[str] = ()) -> None:
        """Note, before it is done, that these storages are struck now, and these gateways cut off.

        A strike before everybody recovered from what was before is of a kind of its own: together
        they may take a majority away, and then the stall is as long as a start takes.
        """
        leaders = self.cluster.leaders()
        led = tuple(partition for partition, name in leaders.items() if name in storages)
        if led:
            kind = f"{kind} before recovery" if self.is_troubled else kind
            self.strikes.append(Strike(kind, now_us(), led, tuple(gateways)))
        self.is_troubled = True

    def count(self, outcome: str) -> None:
        """One more of these."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    @contextmanager
    def deafness(self, name: str) -> Iterator[None]:
        """A gateway cannot keep its times inside the block."""
        began = now_us()
        try:
            yield
        finally:
            if name.startswith("gateway"):
                self.deaf.append((name, began, now_us()))

    @contextmanager
    def restart(self, name: str) -> Iterator[None]:
        """Stop the host of a process in order, do the block, and start it again."""
        host = self.cluster.host_of(name)
        began = now_us()
        self.cluster.down([host])
        stopped = now_us()
        yield
        self.cluster.start(host)
        for gateway in self.cluster.named("gateway"):
            if self.cluster.host_of(gateway) is host:
                self.deaf.append((gateway, began, stopped))

    def recover(self, seconds: float = RECOVERY_SECONDS_MAX) -> None:
        """Wait until everybody is alive; it is a finding if that takes too long."""
        try:
            self.cluster.wait(self.cluster.is_whole, seconds, "everybody is alive again")
            self.is_troubled = False
        except NotInTime as error:
            self.findings.append(f"{error}: {self.cluster.states()}")


def now_us() -> int:
    """CLOCK_MONOTONIC."""
    return time.monotonic_ns() // 1_000
