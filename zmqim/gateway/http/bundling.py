"""Asking many partitions with few items: those that one storage leads are asked together.

Which they are nobody tells a gateway. It learns it: questions that go together are sent to the
leader of the first of them, and what that storage answered goes together the next time. What it did
not lead is asked again, together once more, and in the end one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

from zmqim.chat.queries import CommandsQuery, HeadsQuery, PartQuery, Together
from zmqim.chat.results import Answers, CommandsPage, PackedHeads, decode_answer
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.problems import Problem
from zmqim.limits import HEADS_PER_QUERY_MAX

PageT = TypeVar("PageT", PackedHeads, CommandsPage)

ROUNDS_TOGETHER: Final = 3
"""How often what was left out is asked together again: each time another storage answers."""
_UNKNOWN: Final = -1


class PartitionAsk(NamedTuple):
    """A question to one partition."""

    partition: int
    key: bytes
    query: HeadsQuery | CommandsQuery


class Bundling:
    """Asks in bundles, and remembers what went together."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._homes: dict[int, int] = {}
        """By partition another one that its storage answered for too; a wrong one costs a round."""

    async def read_each(
        self, asks: Sequence[PartitionAsk], expected: type[PageT]
    ) -> list[PageT | Problem]:
        """The page for each of `asks`; a `Problem` stands where there is no answer."""
        found: dict[int, PageT | Problem] = {}
        left = list(range(len(asks)))
        alone: list[int] = []
        for _ in range(ROUNDS_TOGETHER):
            bundles = self._bundles(asks, left)
            if len(bundles) == len(left):
                break
            # Where nobody leads the first, the others shall not wait for somebody once more.
            alone += await self._round(asks, bundles, expected, found)
            left = [number for number in left if number not in found and number not in alone]
        alone += left
        questions = [(asks[number].key, asks[number].query) for number in alone]
        found.update(zip(alone, await self._asking.read_each(questions, expected), strict=True))
        return [found[number] for number in range(len(asks))]

    def _bundles(self, asks: Sequence[PartitionAsk], left: list[int]) -> list[list[int]]:
        """The numbers in `left` by what went together, as many channels in one as it may name."""
        bundles: list[list[int]] = []
        open_bundles: dict[int, tuple[list[int], int]] = {}
        for number in left:
            ask = asks[number]
            home = self._homes.get(ask.partition, _UNKNOWN)
            bundle, count = open_bundles.get(home, ([], 0))
            count += len(ask.query.channels)
            if not bundle or count > HEADS_PER_QUERY_MAX:
                bundle, count = [], len(ask.query.channels)
                bundles.append(bundle)
            bundle.append(number)
            open_bundles[home] = bundle, count
        return bundles

    async def _round(
        self,
        asks: Sequence[PartitionAsk],
        bundles: list[list[int]],
        expected: type[PageT],
        found: dict[int, PageT | Problem],
    ) -> list[int]:
        """Ask each bundle of the leader of its first, and put into `found` what was answered, by
        number. Gives the numbers behind a first one that got no answer."""
        together = [
            (
                asks[bundle[0]].key,
                Together([PartQuery(asks[one].partition, asks[one].query) for one in bundle]),
            )
            for bundle in bundles
        ]
        answers = await self._asking.read_each(together, Answers)
        behind: list[int] = []
        for bundle, answer in zip(bundles, answers, strict=True):
            first = asks[bundle[0]].partition
            if isinstance(answer, Problem):
                found[bundle[0]] = answer
                behind += bundle[1:]
                continue
            home = self._homes.get(first, first)
            for number, body in zip(bundle, answer.results, strict=True):
                if body:
                    page = decode_answer(body, expected)
                    assert isinstance(page, expected)
                    found[number] = page
                    self._homes[asks[number].partition] = home
                else:
                    self._homes.pop(asks[number].partition, None)
        return behind
