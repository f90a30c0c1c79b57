"""Writes that come again, known by who asked and the request's number.

A gateway asks again for what has no answer yet. When everything is slow that is most of what comes,
and if each repeat went through the log, its work would keep everything slow: so a repeat of what is
under way is dropped, for the first one's answer is its answer too. Correctness does not rest on
this: whatever is not known here is found to be a duplicate where it is applied.

Numbers are of one life of a router, so they are forgotten with its link.
"""

from __future__ import annotations

from collections import OrderedDict

from zmqim.bus.messages import RoutedItem
from zmqim.ids import NodeName
from zmqim.limits import REPEATS_KNOWN_MAX

Proposed = tuple[int, int]
"""(term, index) of a write in the log of its partition, if that leader's term was the last."""


class Repeats:
    """The writes that were proposed last, by router."""

    def __init__(self) -> None:
        # Ordered: to find its oldest entry a plain dict steps over all that went before it.
        self._known: dict[NodeName, OrderedDict[tuple[int, int], Proposed]] = {}

    def note(self, source: NodeName, item: RoutedItem, proposed: Proposed) -> None:
        """This write is in the log."""
        known = self._known.get(source)
        if known is None:
            known = self._known[source] = OrderedDict()
        known[item.origin, item.request] = proposed
        if len(known) > REPEATS_KNOWN_MAX:
            known.popitem(last=False)

    def find(self, source: NodeName, item: RoutedItem) -> Proposed | None:
        """Where it stands if it was proposed before."""
        known = self._known.get(source)
        return None if known is None else known.get((item.origin, item.request))

    def forget(self, source: NodeName) -> None:
        """The link to that router broke, or is new."""
        self._known.pop(source, None)
