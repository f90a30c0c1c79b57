"""The entries of one group as its replica holds them: what is new, unapplied, saved, and where.

Entries above the applied one are kept decoded until they are applied; bytes are kept while they may
have to be written or sent, and read from the journal after that. The log only grows at its end, is
cut at its beginning behind what is applied, and loses a suffix only to a leader's other entries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from zmqim.ids import HLC_COUNTER_BITS
from zmqim.limits import SEND_WINDOW_BYTES_MAX, SEND_WINDOW_ENTRIES_MAX
from zmqim.raft.entry import CHAIN, ENTRY, Entry, chain_of, decode_entry

ReadBodies = Callable[[int, int, int], list[bytes]]
"""(first, last, bytes_max) → bodies of saved entries, at least one (JournalReader.read)."""


class LogExtent:
    """Which entries exist: `first` to `last`; the base is the entry before `first`. Never changed.

    An empty log has `last` = `first` - 1. A plain class, as one is made for each log in each turn
    that writes to it (ADR 0008).
    """

    __slots__ = ("base_chain", "base_term", "first", "last")

    def __init__(
        self, first: int = 1, last: int = 0, base_term: int = 0, base_chain: int = 0
    ) -> None:
        self.first = first
        self.last = last
        self.base_term = base_term
        self.base_chain = base_chain

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogExtent) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        return f"LogExtent{self.fields}"

    @property
    def fields(self) -> tuple[int, int, int, int]:
        """All of it, in order."""
        return self.first, self.last, self.base_term, self.base_chain

    def up_to(self, last: int) -> LogExtent:
        """The same with another end."""
        return LogExtent(self.first, last, self.base_term, self.base_chain)


class LogEnd(NamedTuple):
    """The last entry of a log as far as the next one depends on it."""

    term: int = 0
    chain: int = 0
    hlc: int = 0


class Log:
    """Entries `first` to `last`."""

    __slots__ = (
        "_base_chain",
        "_base_term",
        "_new",
        "_read",
        "_recent",
        "_recent_bytes",
        "applied",
        "chain",
        "first",
        "hlc",
        "is_extent_unsaved",
        "is_truncated",
        "last",
        "last_term",
        "saved",
        "tail",
    )

    def __init__(
        self,
        extent: LogExtent,
        end: LogEnd,
        applied: int,
        unapplied: Sequence[Entry],
        read: ReadBodies,
    ) -> None:
        """`unapplied` are the entries from `applied` + 1 to `extent.last`."""
        assert applied + len(unapplied) == extent.last
        self.first, self.last, self._base_term, self._base_chain = extent.fields
        self.last_term, self.chain, self.hlc = end
        self.applied = applied
        self.saved = extent.last
        """Entries up to here are on disk."""
        self.tail: list[Entry] = list(unapplied)
        """Entries above `applied`."""
        self.is_extent_unsaved = False
        self.is_truncated = False
        """A suffix was lost since `take_new`."""
        self._new: list[bytes] = []
        """Bodies of the last entries, which are to be written."""
        self._recent: deque[bytes] = deque()
        """Bodies of the last entries, the newest included, that a leader may have to send."""
        self._recent_bytes = 0
        self._read = read

    @property
    def extent(self) -> LogExtent:
        """Which entries exist, saved or not."""
        return LogExtent(self.first, self.last, self._base_term, self._base_chain)

    # ---- growing and shrinking -------------------------------------------------------------------

    def append(self, term: int, kind: int, payload: bytes, wall_ms: int) -> int:
        """Make the next entry and give its index."""
        index = self.last + 1
        hlc = wall_ms << HLC_COUNTER_BITS
        if hlc <= self.hlc:
            hlc = self.hlc + 1
        behind_previous = ENTRY.pack(self.chain, term, index, hlc, kind) + payload
        chain = xxh3_64_intdigest(behind_previous)
        body = chain.to_bytes(8, "big") + behind_previous[CHAIN.size :]
        self._put(Entry(term, index, hlc, kind, payload, chain), body)
        self._recent.append(body)
        self._recent_bytes += len(body)
        return index

    def take_over(self, entry: Entry, body: bytes) -> bool:
        """Append what a leader sent; False, and nothing is done, if its chain does not continue."""
        if chain_of(self.chain, body[CHAIN.size :]) != entry.chain:
            return False
        if self._recent:
            self.forget_recent()
        self._put(entry, body)
        return True

    def truncate(self, index: int) -> None:
        """Forget the entries from `index` on: a leader has others."""
        assert self.applied < index <= self.last
        before = index - 1
        term, chain = self.at(before)
        tail = self.tail
        while tail and tail[-1].index >= index:
            tail.pop()
        if tail:
            self.hlc = tail[-1].hlc
        # Else the clock keeps the larger value: it only has to rise.
        kept = len(self._new) - (self.last - before)
        del self._new[max(kept, 0) :]
        self.last, self.last_term, self.chain = before, term, chain
        self.saved = min(self.saved, before)
        self.is_extent_unsaved = self.is_truncated = True
        self.forget_recent()

    def cut_before(self, base: Entry) -> None:
        """Forget the entries up to and including `base`, which is applied."""
        assert self.first <= base.index <= self.applied
        self.first, self._base_term, self._base_chain = base.index + 1, base.term, base.chain
        self.is_extent_unsaved = True

    def restart_at(self, index: int, end: LogEnd) -> bool:
        """The rows are now those after `index`, the entry of `end`; was everything forgotten?

        What follows `index` in the same history stays: it may have been acknowledged to a leader.
        """
        assert index >= max(self.applied, self.first - 1)
        if index <= self.last and self.at(index) == (end.term, end.chain):
            del self.tail[: index - self.applied]
            forgotten = len(self._new) - (self.last - index)
            del self._new[: max(forgotten, 0)]
            is_new = False
        else:
            self.tail.clear()
            self._new = []
            self.forget_recent()
            self.last, self.saved = index, index
            self.last_term, self.chain, self.hlc = end.term, end.chain, max(self.hlc, end.hlc)
            is_new = True
        self.applied = index
        self.first, self._base_term, self._base_chain = index + 1, end.term, end.chain
        self.is_extent_unsaved = True
        return is_new

    def forget_tail(self) -> int:
        """The rows are wrong: nothing is applied to them any more. The last entry, for all that."""
        self.tail = []
        self.applied = self.last
        return self.last

    def lose_rows(self, index: int) -> None:
        """The rows are gone: whatever is above `index` is to be applied again."""
        assert not self._new
        self.applied = min(index, self.last)
        self.tail = []
        first = self.applied + 1
        while first <= self.last:
            bodies = self._read(first, self.last, SEND_WINDOW_BYTES_MAX)
            self.tail += map(decode_entry, bodies)
            first += len(bodies)

    # ---- saving ----------------------------------------------------------------------------------

    def take_new(self) -> list[bytes]:
        """Bodies of the last entries, which are to be written."""
        new, self._new = self._new, []
        self.is_extent_unsaved = self.is_truncated = False
        return new

    @property
    def has_unsaved(self) -> bool:
        """Is anything to be written?"""
        return bool(self._new) or self.is_extent_unsaved

    # ---- reading ---------------------------------------------------------------------------------

    def at(self, index: int) -> tuple[int, int]:
        """(term, chain) of the entry at `index`, from the base to the last."""
        if index == self.last:
            return self.last_term, self.chain
        if index == self.first - 1:
            return self._base_term, self._base_chain
        assert self.first <= index < self.last, f"{index} of {self.extent}"
        if index > self.applied:
            entry = self.tail[index - self.applied - 1]
        else:
            entry = decode_entry(self._body(index))
        return entry.term, entry.chain

    def holds(self, index: int, entry: tuple[int, int]) -> bool:
        """Is the entry at `index` the one with this (term, chain)?"""
        return index <= self.last and self.at(index) == entry

    def bodies(self, first: int, bytes_max: int) -> list[bytes]:
        """Bodies from `first` on, as many as fit, at least one; none behind the last."""
        recent = self._recent
        if first > self.last - len(recent):
            offset = len(recent) - (self.last - first + 1)
            if offset == 0 and self._recent_bytes <= bytes_max:
                return list(recent)
            found: list[bytes] = []
            for place in range(offset, len(recent)):
                body = recent[place]
                bytes_max -= len(body)
                if bytes_max < 0 and found:
                    break
                found.append(body)
            return found
        stop = min(self.saved, self.last - len(recent))
        assert first <= stop, f"{first} is neither saved nor recent"
        last = min(stop, first + SEND_WINDOW_ENTRIES_MAX - 1)
        return self._read(first, last, bytes_max)

    def trim_recent(self, needed: int) -> None:
        """Bodies up to `needed` are not sent again soon; and at most a window is kept."""
        recent = self._recent
        while recent:
            oldest = self.last - len(recent) + 1
            full = len(recent) > SEND_WINDOW_ENTRIES_MAX
            full = full or self._recent_bytes > SEND_WINDOW_BYTES_MAX
            if oldest > self.saved or not (full or oldest <= needed):
                return
            self._recent_bytes -= len(recent.popleft())

    def forget_recent(self) -> None:
        """Nothing is to be sent from here: the journal has it."""
        self._recent.clear()
        self._recent_bytes = 0

    def _body(self, index: int) -> bytes:
        recent = self._recent
        place = index - (self.last - len(recent) + 1)
        if place >= 0:
            return recent[place]
        return self._read(index, index, 1)[0]

    def _put(self, entry: Entry, body: bytes) -> None:
        self.chain = entry.chain
        self.last_term = entry.term
        self.hlc = entry.hlc
        self.last = entry.index
        self.tail.append(entry)
        self._new.append(body)
