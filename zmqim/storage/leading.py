"""Routers hear which partitions this storage leads and serves: what begins, and all when new."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from zmqim.bus.effects import Send
from zmqim.bus.replication import Leading
from zmqim.ids import NodeName
from zmqim.storage.group import Group


class LeadingTold:
    """What routers were told of the leads here."""

    def __init__(self) -> None:
        self._terms: dict[int, int] = {}
        """Term in which they were told that this storage leads, by partition."""
        self._untold: set[NodeName] = set()

    def router_up(self, name: NodeName) -> None:
        """It knows nothing yet."""
        self._untold.add(name)

    def router_down(self, name: NodeName) -> None:
        """It needs to know nothing any more."""
        self._untold.discard(name)

    def over(self, partition: int) -> None:
        """That lead has ended."""
        self._terms.pop(partition, None)

    def tell(self, touched: Mapping[int, Group], linked: Collection[NodeName]) -> list[Send]:
        """Who serves: of what began now, and of everything to routers that are new."""
        began = []
        for partition, group in touched.items():
            raft = group.raft
            if raft.serving and self._terms.get(partition) != raft.hard_state.term:
                self._terms[partition] = raft.term
                began.append((partition, raft.term))
        sends: list[Send] = []
        if began:
            known = set(linked) - self._untold
            sends += [Send(router, Leading(began)) for router in sorted(known)]
        if self._untold:
            everything = sorted(self._terms.items())
            if everything:
                sends += [Send(router, Leading(everything)) for router in sorted(self._untold)]
            self._untold.clear()
        return sends
