"""Who follows a partition's log from outside, and how far each is: rows `Z`.

A follower is a name with a position: the log index up to which it has what it wanted. That it
follows is an entry of the log, so every replica has the row and keeps its log after the lowest
position (`zmqim.storage.group`), whoever leads. Positions only grow, and are moved lazily: what
lies between the row and the truth is given again after a crash (at least once).
"""

from __future__ import annotations

from typing import Final

import msgspec

from zmqim.chat.codes import Reason
from zmqim.chat.encoding import encode
from zmqim.chat.keys import Keys
from zmqim.chat.operations import Follow, FollowerChange, FollowerMoved
from zmqim.chat.results import Done, Rejected
from zmqim.chat.rows import FollowerRow
from zmqim.chat.view import RowView
from zmqim.limits import FOLLOWERS_MAX

_decode: Final = msgspec.msgpack.Decoder(FollowerRow).decode


class Followers:
    """The followers of one partition."""

    def __init__(self, keys: Keys, view: RowView) -> None:
        self._keys = keys
        self._view = view
        self.lowest: int | None = None
        """The log is needed after this index; None: nobody follows."""
        rows = view.scan(*keys.followers())
        self._positions = {keys.follower_of(key): _decode(body).position for key, body in rows}
        self._find_lowest()

    def position(self, name: str) -> int | None:
        """How far `name` is; None: it does not follow."""
        return self._positions.get(name)

    def apply(self, index: int, change: FollowerChange) -> Done | Rejected:
        """Apply the entry at `index`."""
        name, position = change.name, self._positions.get(change.name)
        if isinstance(change, Follow):
            if position is not None:
                return Done(position)
            if len(self._positions) >= FOLLOWERS_MAX:
                text = f"{FOLLOWERS_MAX} followers are there already: let one go first"
                return Rejected(Reason.NOT_ALLOWED, text)
            self._put(name, index)
            return Done(index)
        if position is None:
            return Done()
        if isinstance(change, FollowerMoved):
            moved = max(position, min(change.upto, index))
            if moved != position:
                self._put(name, moved)
            return Done(moved)
        del self._positions[name]
        self._view.delete(self._keys.follower(name))
        self._find_lowest()
        return Done(index)

    def _put(self, name: str, position: int) -> None:
        self._positions[name] = position
        self._view.put(self._keys.follower(name), encode(FollowerRow(position)))
        self._find_lowest()

    def _find_lowest(self) -> None:
        self.lowest = min(self._positions.values(), default=None)
