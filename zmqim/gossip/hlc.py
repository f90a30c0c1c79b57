"""A hybrid logical clock: near wall time, never backwards, always after what was heard.

48 bits of wall milliseconds and 16 bits of counter (`zmqim.ids.Hlc`). It stamps log entries and
heartbeats; nothing is ever refused because of it.
"""

from __future__ import annotations

from zmqim.ids import HLC_COUNTER_BITS, Hlc, WallMilliseconds


class HybridClock:
    """Gives stamps that only grow, whatever the wall clock does."""

    __slots__ = ("last",)

    def __init__(self, last: int = 0) -> None:
        self.last = Hlc(last)

    def stamp(self, wall: WallMilliseconds) -> Hlc:
        """The next stamp: the wall clock's, or one above the last if that is later."""
        self.last = Hlc(max(self.last + 1, wall << HLC_COUNTER_BITS))
        return self.last

    def observe(self, heard: int) -> None:
        """Later stamps are above `heard`."""
        if heard > self.last:
            self.last = Hlc(heard)
