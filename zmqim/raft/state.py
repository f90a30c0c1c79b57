"""Values of a replica: its role, its vote, its name, and what a turn must write."""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final, NamedTuple

from zmqim.errors import WireError
from zmqim.raft.log import LogExtent

_HARD_STATE: Final = struct.Struct(">QQ")
GROUP_BYTES: Final = 8
"""Of the group uuid's 16, the first so many travel in each message."""


class Role(Enum):
    """What the replica is in its term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class HardState(NamedTuple):
    """What must survive a crash besides the log. `voted_for` is a replica id, 0 for none."""

    term: int = 0
    voted_for: int = 0

    def encode(self) -> bytes:
        """The bytes that the journal stores."""
        return _HARD_STATE.pack(self.term, self.voted_for)

    @classmethod
    def decode(cls, body: bytes) -> HardState:
        """The hard state in `body`; `WireError` if it is none."""
        try:
            return cls(*_HARD_STATE.unpack(body))
        except struct.error:
            raise WireError(f"not a hard state: {len(body)} bytes") from None


class Identity:
    """Which replica of which group this is. `group` are the first 8 bytes of the group uuid."""

    __slots__ = ("group", "partition", "replica")

    def __init__(self, partition: int, group: bytes, replica: int) -> None:
        self.partition = partition
        self.group = group
        self.replica = replica


class Unsaved:
    """What a turn must write: the hard state if it changed, bodies of the last entries."""

    __slots__ = ("entries", "extent", "hard_state", "is_truncated")

    def __init__(
        self,
        hard_state: HardState | None,
        entries: list[bytes],
        extent: LogExtent,
        is_truncated: bool,
    ) -> None:
        self.hard_state = hard_state
        self.entries = entries
        self.extent = extent
        self.is_truncated = is_truncated
        """A suffix was lost to a leader's other entries: the log may end lower than it did."""
