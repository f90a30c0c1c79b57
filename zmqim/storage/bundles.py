"""Questions to several partitions in one item: a list of conversations asks some sixty of them.

Each part waits for itself, as the same question alone would: for what was logged before it, and
until a majority confirmed who leads. The item is answered when every part is, or will not be.
"""

from __future__ import annotations

from zmqim.bus.messages import RoutedItem
from zmqim.chat.encoding import encode
from zmqim.chat.queries import CommandsQuery, HeadsQuery
from zmqim.chat.results import Answers
from zmqim.ids import NodeName
from zmqim.limits import PULL_BYTES_MAX


class Bundle:
    """One such item, and what its parts were answered so far."""

    __slots__ = ("_answers", "_left", "_room", "item", "source")

    def __init__(self, source: NodeName, item: RoutedItem, count: int) -> None:
        self.source = source
        self.item = item
        self._answers = [b""] * count
        self._left = count
        self._room = PULL_BYTES_MAX

    def put(self, number: int, answer: bytes) -> None:
        """Part `number` is answered; b"": not here, or not now. One that finds no room behind
        others is left out too: whoever asks goes on with what was left out."""
        self._left -= 1
        if len(answer) <= self._room or self._room == PULL_BYTES_MAX:
            self._answers[number] = answer
            self._room -= len(answer)

    @property
    def is_over(self) -> bool:
        """Is nothing waited for any more?"""
        return not self._left

    def result(self) -> bytes:
        """The encoded `Answers`."""
        return encode(Answers(self._answers))


class Part:
    """One question of a bundle."""

    __slots__ = ("bundle", "number", "query")

    def __init__(self, bundle: Bundle, number: int, query: HeadsQuery | CommandsQuery) -> None:
        self.bundle = bundle
        self.number = number
        self.query = query
