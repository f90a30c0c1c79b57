"""The clocks of a storage process."""

from __future__ import annotations

from time import monotonic_ns, time_ns

from zmqim.ids import Milliseconds, WallMilliseconds


def now_ms() -> Milliseconds:
    """The monotonic clock."""
    return Milliseconds(monotonic_ns() // 1_000_000)


def wall_ms() -> WallMilliseconds:
    """The wall clock."""
    return WallMilliseconds(time_ns() // 1_000_000)
