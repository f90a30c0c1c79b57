"""The states that a search has found and not yet looked at: up to half of all it has seen.

All but the newest are packed, because 10^8 tuples would not fit into memory.
"""

from __future__ import annotations

import marshal
import zlib

from zmqim.sim.raft_world import State

PACKED_STATES = 50_000
_LEVEL = 1


class Frontier:
    """A stack of states."""

    __slots__ = ("_newest", "_packed")

    def __init__(self) -> None:
        self._newest: list[State] = []
        self._packed: list[bytes] = []
        """PACKED_STATES each, the oldest first."""

    def __len__(self) -> int:
        return len(self._newest) + PACKED_STATES * len(self._packed)

    def append(self, state: State) -> None:
        """One more."""
        newest = self._newest
        newest.append(state)
        if len(newest) >= 2 * PACKED_STATES:
            self._packed.append(zlib.compress(marshal.dumps(newest[:PACKED_STATES]), _LEVEL))
            del newest[:PACKED_STATES]

    def pop(self) -> State:
        """Take the newest."""
        if not self._newest:
            self._newest = marshal.loads(zlib.decompress(self._packed.pop()))
        return self._newest.pop()
