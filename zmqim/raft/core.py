"""One partition's replica: term, vote, role, log, and what is committed (REPLICATION.md 2.4-2.7).

Pure. It never writes and never sends: `unsaved` says what must be on disk before anything that
reveals it leaves the process, `saved` reports that it is, and only then does the replica count
itself in `match`. An entry is committed once a majority of the voters holds it and it belongs to
the leader's own term; entries of earlier terms follow with the first of them.

A leader begins its term with a NO-OP and is not `serving`, accepts no proposal and serves no
read, until that NO-OP is applied: before, it may not know everything that was acknowledged.

This version gives a partition one voter. Votes, match and commit count majorities of `voters`
all the same, so that more voters add messages, not rules.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from zmqim.errors import WireError
from zmqim.ids import HLC_COUNTER_BITS
from zmqim.raft.entry import CHAIN, ENTRY, Entry, EntryKind

_HARD_STATE = struct.Struct(">QQ")


class Role(Enum):
    """What the replica is in its term."""

    FOLLOWER = "follower"
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


class LogExtent(NamedTuple):
    """Which entries exist: `first` to `last`; the base is the entry before `first`.

    An empty log has `last` = `first` - 1.
    """

    first: int = 1
    last: int = 0
    base_term: int = 0
    base_chain: int = 0


class LogEnd(NamedTuple):
    """The last entry of a log as far as the next one depends on it."""

    term: int = 0
    chain: int = 0
    hlc: int = 0


class Unsaved(NamedTuple):
    """What a turn must write: hard state if it changed, new entries as (index, bytes)."""

    hard_state: HardState | None
    entries: list[tuple[int, bytes]]
    extent: LogExtent


class RaftCore:
    """The log of one partition as one of its voters holds it."""

    def __init__(
        self,
        replica: int,
        voters: Sequence[int],
        hard_state: HardState,
        extent: LogExtent,
        end: LogEnd,
        applied: int,
        unapplied: Sequence[Entry],
    ) -> None:
        """`unapplied` are the entries from `applied` + 1 to `extent.last`."""
        assert replica in voters
        assert applied + len(unapplied) == extent.last
        self.replica = replica
        self.voters = tuple(voters)
        self.quorum = len(self.voters) // 2 + 1
        """How many voters are a majority."""
        self.hard_state = hard_state
        self.role = Role.FOLLOWER
        self.serving = False
        """A leader that applied the NO-OP of its own term."""
        self.last = extent.last
        """Index of the last entry, saved or not."""
        self.first, _, self._base_term, self._base_chain = extent
        self.hlc = end.hlc
        self.last_term = end.term
        """Term of the last entry."""
        self.commit = applied
        self.applied = applied
        self.match: dict[int, int] = {}
        self._votes: set[int] = set()
        self._chain = end.chain
        self._term_first = 0
        self._tail = list(unapplied)
        self._new: list[tuple[int, bytes]] = []
        self._hard_state_unsaved = False
        self._extent_unsaved = False

    @property
    def term(self) -> int:
        """The current term."""
        return self.hard_state.term

    @property
    def extent(self) -> LogExtent:
        """Which entries exist, saved or not."""
        return LogExtent(self.first, self.last, self._base_term, self._base_chain)

    def campaign(self, wall_ms: int) -> None:
        """Begin a new term with the own vote; the only voter leads at once."""
        self.hard_state = HardState(self.term + 1, self.replica)
        self._hard_state_unsaved = True
        self.role = Role.CANDIDATE
        self.serving = False
        self._votes = {self.replica}
        self._count_votes(wall_ms)

    def granted(self, voter: int, term: int, wall_ms: int) -> None:
        """`voter` gave its vote for `term`."""
        if self.role is Role.CANDIDATE and term == self.term and voter in self.voters:
            self._votes.add(voter)
            self._count_votes(wall_ms)

    def propose(self, payload: bytes, wall_ms: int) -> int:
        """Append an operation and give its index."""
        assert self.serving
        return self._append(EntryKind.OPERATION, payload, wall_ms)

    def unsaved(self) -> Unsaved | None:
        """What must be written before anything of it is revealed; None if nothing."""
        if not (self._new or self._hard_state_unsaved or self._extent_unsaved):
            return None
        new, self._new = self._new, []
        hard_state = self.hard_state if self._hard_state_unsaved else None
        self._hard_state_unsaved = self._extent_unsaved = False
        return Unsaved(hard_state, new, self.extent)

    def saved(self) -> None:
        """Everything that `unsaved` gave is on disk: the replica counts itself."""
        assert not self._new
        if self.role is Role.LEADER:
            self.acknowledged(self.replica, self.last)

    def acknowledged(self, voter: int, index: int) -> None:
        """`voter` holds the log up to `index` on disk: commit what a majority holds."""
        match = self.match
        assert self.role is Role.LEADER
        assert index <= self.last
        if index <= match[voter]:
            return
        match[voter] = index
        held = sorted(match.values(), reverse=True)[self.quorum - 1]
        if held > self.commit and held >= self._term_first:
            self.commit = held

    def committed(self) -> list[Entry]:
        """Entries to apply now, in order."""
        return self._tail[: self.commit - self.applied]

    def applied_committed(self) -> None:
        """All of `committed` is applied."""
        del self._tail[: self.commit - self.applied]
        self.applied = self.commit
        self.serving = self.role is Role.LEADER and self.applied >= self._term_first

    def cut_before(self, base: Entry) -> None:
        """Forget the entries up to and including `base`, which is applied."""
        assert self.first <= base.index <= self.applied
        self.first, self._base_term, self._base_chain = base.index + 1, base.term, base.chain
        self._extent_unsaved = True

    def _count_votes(self, wall_ms: int) -> None:
        if len(self._votes) < self.quorum:
            return
        self.role = Role.LEADER
        self.match = dict.fromkeys(self.voters, 0)
        self._term_first = self.last + 1
        self._append(EntryKind.NO_OP, b"", wall_ms)

    def _append(self, kind: int, payload: bytes, wall_ms: int) -> int:
        index = self.last + 1
        hlc = wall_ms << HLC_COUNTER_BITS
        if hlc <= self.hlc:
            hlc = self.hlc + 1
        term = self.hard_state.term
        behind_previous = ENTRY.pack(self._chain, term, index, hlc, kind) + payload
        chain = xxh3_64_intdigest(behind_previous)
        self._chain = chain
        self.last_term = term
        self.hlc = hlc
        self.last = index
        self._tail.append(Entry(term, index, hlc, kind, payload, chain))
        self._new.append((index, CHAIN.pack(chain) + behind_previous[CHAIN.size :]))
        return index
