"""Rows as the state machine sees them in the middle of a turn: what it wrote lies above what is
stored. At the end of the turn the changes become one write; they stay visible until that write
was performed, so that a read of the same turn sees them.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from itertools import islice
from typing import Final, Protocol

from xxhash import xxh3_128

Row = tuple[bytes, bytes]

INSERTED_MAX: Final = 64
"""Keys that are put into their places one by one; more are sorted in."""


class StoredRows(Protocol):
    """What is below: `zmqim.store.interface.RowReader`."""

    def get(self, key: bytes) -> bytes | None:
        """Body of the row, or None."""
        ...

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[Row]:
        """Rows with `start` <= key < `stop` in order, at most `limit`."""
        ...


class RowView:
    """Stored rows under the changes of one turn. One owner: the storage core."""

    def __init__(self, stored: StoredRows) -> None:
        self._stored = stored
        self._stored_get = stored.get
        self.changes: dict[bytes, bytes | None] = {}
        self._keys: list[bytes] = []
        """Of the first so many changes, sorted; `scan` adds those that came since."""

    def get(self, key: bytes) -> bytes | None:
        """Body of the row as of now."""
        if key in self.changes:
            return self.changes[key]
        return self._stored_get(key)

    def put(self, key: bytes, body: bytes) -> None:
        """Write a row."""
        self.changes[key] = body

    def delete(self, key: bytes) -> None:
        """Delete a row."""
        self.changes[key] = None

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[Row]:
        """Rows with `start` <= key < `stop` as of now, in order, at most `limit` of them."""
        keys = self._sorted_keys()
        first, behind = bisect_left(keys, start), bisect_left(keys, stop)
        if first >= behind:
            return self._stored.scan(start, stop, reverse=reverse, limit=limit)
        changes = self.changes
        changed = {key: changes[key] for key in keys[first:behind]}
        wanted = None if limit is None else limit + len(changed)
        merged: dict[bytes, bytes | None] = dict(
            self._stored.scan(start, stop, reverse=reverse, limit=wanted)
        )
        merged.update(changed)
        rows = [
            (key, body) for key, body in sorted(merged.items(), reverse=reverse) if body is not None
        ]
        return rows[:limit]

    def forget(self) -> None:
        """The changes are stored: they need no longer be kept above."""
        self.changes.clear()
        self._keys.clear()

    def _sorted_keys(self) -> list[bytes]:
        keys = self._keys
        count = len(self.changes) - len(keys)
        if count:  # Keys come at the end and stay until all are forgotten.
            new = list(islice(self.changes, len(keys), None))
            if count <= INSERTED_MAX:
                for key in new:
                    insort(keys, key)
            else:
                keys += new
                keys.sort()
        return keys


def digest_of(rows: Iterable[Row]) -> str:
    """A digest of rows in their order: equal digests, equal rows."""
    digest = xxh3_128()
    for key, body in rows:
        digest.update(b"%d:%d:" % (len(key), len(body)))
        digest.update(key)
        digest.update(body)
    return digest.hexdigest()
