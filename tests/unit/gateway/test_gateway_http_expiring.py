"""Pages of history without what has expired: full, in order, and with a true `more`."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from chat_partition import HLC, Partition

from zmqim.bus.messages import OutcomeCode
from zmqim.chat.encoding import encode
from zmqim.chat.operations import AddMembers, SendMessage
from zmqim.chat.queries import MessagesQuery, decode_query
from zmqim.gateway.http import expiring
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.finished import Finished
from zmqim.gateway.plugin import Answer, GatewayPort

LATER = (HLC >> 16) + 60_000
"""When what expires after 10 s is over."""


class Port:
    """A gateway and one partition: messages 1 to 30 of group "g", some expire after 10 s."""

    def __init__(self, expiring: range) -> None:
        self.partition = Partition()
        self.partition.apply(AddMembers(2, "g", ["ann"]))
        for number in range(1, 31):
            expire = 10 if number in expiring else 0
            self.partition.apply(SendMessage(2, "g", "ann", str(number), b"x", expire=expire))
        self.asked: list[MessagesQuery] = []

    async def ask(self, kind: int, key: bytes, body: bytes, deadline_ms: int) -> Answer:
        query = decode_query(body)
        assert isinstance(query, MessagesQuery)
        self.asked.append(query)
        return Answer(OutcomeCode.DONE, encode(self.partition.query(query)))


def read(port: Port, wall_ms: int = LATER, **fields: int) -> tuple[list[int], bool]:
    """(sequences, more) of a page."""
    query = MessagesQuery(2, "g", "ann", **fields)  # type: ignore[arg-type]
    asking = Asking(cast(GatewayPort, port))
    page = asyncio.run(expiring.read_page(asking, Finished(), query, "g", wall_ms))
    assert page.last_sequence == 30
    return [row.sequence for row in page.messages], page.more


def test_before_its_time_nothing_is_left_out() -> None:
    assert read(Port(range(1, 31)), LATER - 60_000, limit=3) == ([28, 29, 30], True)


@pytest.mark.parametrize(
    ("fields", "expected", "more"),
    [
        ({"limit": 3}, [4, 5, 30], True),
        ({"limit": 9}, [1, 2, 3, 4, 5, 30], False),
        ({"limit": 3, "start": 20}, [3, 4, 5], True),
        ({"limit": 3, "start": 20, "end": 4}, [5], False),
        ({"limit": 3, "start": 20, "end": 6}, [], False),
        ({"limit": 4, "start": 3, "pull_mode": 1}, [3, 4, 5, 30], False),
        ({"limit": 3, "start": 4, "pull_mode": 1}, [4, 5, 30], False),
        ({"limit": 2, "start": 4, "pull_mode": 1}, [4, 5], True),
        ({"limit": 3, "start": 4, "end": 30, "pull_mode": 1}, [4, 5], False),
        ({"limit": 3, "pull_mode": 1}, [4, 5, 30], True),
        ({"limit": 3, "start": 31, "pull_mode": 1}, [], False),
    ],
)
def test_what_is_over_is_made_up_for_with_what_comes_behind_it(
    fields: dict[str, int], expected: list[int], more: bool
) -> None:
    assert read(Port(range(6, 30)), **fields) == (expected, more)


def test_a_reader_who_goes_on_from_page_to_page_sees_everything_once() -> None:
    port = Port(range(2, 29, 2))
    seen: list[int] = []
    start, more = 0, True
    while more:
        page, more = read(port, limit=4, start=start)
        seen = page + seen
        start = page[0] - 1
    assert seen == [n for n in range(1, 31) if n % 2 or n in (30,)]


def test_without_expired_messages_a_page_is_one_read() -> None:
    port = Port(range(0))
    assert read(port, limit=5) == ([26, 27, 28, 29, 30], True)
    assert len(port.asked) == 1


@pytest.mark.promise("P9")
def test_a_long_row_of_expired_messages_is_not_read_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expiring, "PULL_MESSAGES_MAX", 2)
    monkeypatch.setattr(expiring, "EXPIRED_PAGES_MAX", 3)
    port = Port(range(5, 30))
    assert read(port, limit=2) == ([30], True)
    assert len(port.asked) == 3
    assert read(port, limit=2, start=29) == ([], False)
