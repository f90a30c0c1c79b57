"""Questions to many partitions: what one storage leads is asked together, and that is learnt."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from chat_partition import Partition

from zmqim.bus.messages import OutcomeCode
from zmqim.chat.codes import ChannelType
from zmqim.chat.encoding import encode
from zmqim.chat.queries import HeadsQuery, HeadWanted, PartQuery, Together, decode_query
from zmqim.chat.results import Answers, PackedHeads
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.bundling import ROUNDS_TOGETHER, Bundling, PartitionAsk
from zmqim.gateway.http.problems import Problem
from zmqim.gateway.plugin import Answer, GatewayPort
from zmqim.limits import HEADS_PER_QUERY_MAX


class Storages:
    """Partitions of several storages; the key of a question names its partition."""

    def __init__(self, leaders: dict[int, int]) -> None:
        self.leaders = leaders
        self.asked: list[list[int]] = []
        """The partitions in each item."""
        self.partition = Partition()
        self.bundling = Bundling(Asking(cast(GatewayPort, SimpleNamespace(ask=self._ask))))

    async def _ask(self, kind: int, key: bytes, body: bytes, deadline_ms: int) -> Answer:
        leader = self.leaders.get(int(key))
        if leader is None:
            return Answer(OutcomeCode.UNAVAILABLE, b"")
        query = decode_query(body)
        if not isinstance(query, Together):
            self.asked.append([int(key)])
            return Answer(OutcomeCode.DONE, encode(self.partition.query(query)))
        self.asked.append([part.partition for part in query.parts])
        assert sum(len(part.query.channels) for part in query.parts) <= HEADS_PER_QUERY_MAX
        results = [self._part(leader, part) for part in query.parts]
        return Answer(OutcomeCode.DONE, encode(Answers(results)))

    def _part(self, leader: int, part: PartQuery) -> bytes:
        is_here = self.leaders.get(part.partition) == leader
        return encode(self.partition.query(part.query)) if is_here else b""

    def read(self, partitions: list[int], channels: int = 1) -> list[int]:
        """How many heads each answer has, -1 for none."""
        wanted = [HeadWanted(int(ChannelType.GROUP), str(one), 0) for one in range(channels)]
        query = HeadsQuery("ann", wanted)
        asks = [PartitionAsk(one, b"%d" % one, query) for one in partitions]
        self.asked = []
        pages = asyncio.run(self.bundling.read_each(asks, PackedHeads))
        return [-1 if isinstance(page, Problem) else len(page.heads) for page in pages]


def test_one_storage_is_asked_once() -> None:
    storages = Storages(dict.fromkeys(range(64), 1))
    assert storages.read(list(range(64))) == [1] * 64
    assert storages.asked == [list(range(64))]


def test_what_goes_together_is_learnt_and_learnt_anew_when_leaders_move() -> None:
    leaders = {number: number % 3 for number in range(9)}
    storages = Storages(leaders)
    assert storages.read(list(range(9))) == [1] * 9
    assert storages.asked == [list(range(9)), [1, 2, 4, 5, 7, 8], [2, 5, 8]]
    assert storages.read(list(range(9))) == [1] * 9
    assert storages.asked == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    leaders[4] = 2
    assert storages.read(list(range(9))) == [1] * 9
    assert storages.asked == [[0, 3, 6], [1, 4, 7], [2, 5, 8], [4]]
    assert storages.read([8, 5, 1]) == [1] * 3
    assert storages.asked == [[8, 5], [1]]


def test_with_many_storages_what_is_left_is_asked_one_by_one() -> None:
    count = ROUNDS_TOGETHER + 3
    storages = Storages({number: number for number in range(count)})
    assert storages.read(list(range(count))) == [1] * count
    assert [len(asked) for asked in storages.asked] == [count, count - 1, count - 2, 1, 1, 1]


def test_a_partition_without_a_leader_costs_the_others_nothing() -> None:
    storages = Storages({1: 1, 2: 1})
    assert storages.read([0, 1, 2]) == [-1, 1, 1]
    assert storages.read([1, 0, 2]) == [1, -1, 1]


def test_no_item_names_more_channels_than_it_may() -> None:
    storages = Storages(dict.fromkeys(range(5), 1))
    half = HEADS_PER_QUERY_MAX // 2
    assert storages.read(list(range(5)), half) == [half] * 5
    assert storages.asked == [[0, 1], [2, 3], [4]]
