"""Applied rows gather for a while above the store, before one synced write (ADR 0005).

What they are made of is committed, so the journals of a majority hold it; after a crash it is
applied again, with the same outcome. So an answer waits for the journal only. `Applied` is always
in the same write as the rows that it covers, what was not written yet is seen through the view, and
a log is cut only below what was written (`Replica.durable`).
"""

from __future__ import annotations

from collections.abc import Mapping

from zmqim.chat.view import RowView
from zmqim.limits import STATE_ROWS_MAX
from zmqim.raft.peers import NEVER
from zmqim.storage.replica import Replica
from zmqim.store.interface import Rows


class Gathering:
    """The rows of all groups on their way into the store."""

    def __init__(self, view: RowView, wait_ms: int) -> None:
        """With `wait_ms` 0 every turn writes."""
        self.write_at = NEVER
        """When a turn must write them at the latest."""
        self._view = view
        self._wait_ms = wait_ms
        self._replicas: dict[int, Replica] = {}
        """Whose rows may not all be stored."""
        self._is_written = False
        """This turn's effects write everything."""

    def begin_turn(self) -> bool:
        """The effects of the last turn were performed; is everything stored that is applied?"""
        if self._is_written:
            self._is_written = False
            self._view.forget()
        return not self._view.changes

    def take(self, now: int, held: Mapping[int, Replica], *, at_once: bool) -> Rows:
        """All rows, if it is time to write them; `held` are the replicas of this turn."""
        self._replicas.update(held)
        changes = self._view.changes
        if not changes:
            return []
        self.write_at = min(self.write_at, now + self._wait_ms)
        if not (at_once or now >= self.write_at or len(changes) >= STATE_ROWS_MAX):
            return []
        self._is_written = True
        self.write_at = NEVER
        return list(changes.items())

    def written(self) -> list[Replica]:
        """At the end of the turn: the replicas whose rows this turn's effects write."""
        if not self._is_written:
            return []
        written = list(self._replicas.values())
        self._replicas.clear()
        for replica in written:
            replica.durable = replica.raft.applied
        return written

    def settle(self) -> None:
        """Write with the next turn."""
        self.write_at = 0
