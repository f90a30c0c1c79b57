"""What the HTTP API says when a partition did not do what was asked, or nobody knows."""

from __future__ import annotations

import asyncio
import traceback
from typing import cast

import pytest

from zmqim import limits
from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage, SetUser
from zmqim.chat.queries import Probe
from zmqim.chat.results import Done, Sent
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.problems import Problem
from zmqim.gateway.plugin import Answer, GatewayPort

MESSAGE = SendMessage(2, "g", "ada", "n-17", b"hi")
USER = SetUser("ada", False, False)
TABLE = [
    (OutcomeCode.BUSY, 400, "busy"),
    (OutcomeCode.DISK_FULL, 400, "disk_full"),
    (OutcomeCode.UNAVAILABLE, 503, "unavailable"),
    (OutcomeCode.NOT_LEADER, 503, "unavailable"),
    (OutcomeCode.BAD_REQUEST, 400, "bad_request"),
    (OutcomeCode.UNKNOWN, 503, "unknown_outcome"),
]


class Port:
    """A gateway that has one answer to everything."""

    def __init__(self, code: OutcomeCode, result: bytes = b"") -> None:
        self._answer = Answer(code, result)
        self.asked: list[tuple[int, bytes, int]] = []

    async def ask(self, kind: int, key: bytes, body: bytes, deadline_ms: int) -> Answer:
        self.asked.append((kind, body, deadline_ms))
        return self._answer


def asking(port: Port) -> Asking:
    return Asking(cast(GatewayPort, port))


@pytest.mark.promise("P9")
@pytest.mark.parametrize(("code", "status", "name"), TABLE)
def test_what_was_not_done_and_what_nobody_knows_are_told_apart(
    code: OutcomeCode, status: int, name: str
) -> None:
    one = asking(Port(code, b"why"))
    for call in (one.send(b"k", MESSAGE, ItemKind.WRITE), one.write(b"k", USER)):
        with pytest.raises(Problem) as caught:
            asyncio.run(call)
        assert (caught.value.status, caught.value.code) == (status, name)


@pytest.mark.parametrize("code", [code for code, _, _ in TABLE])
def test_a_refusal_keeps_nothing_of_the_call_before(code: OutcomeCode) -> None:
    one = asking(Port(code, b"why"))
    lengths = set()
    for _ in range(3):
        with pytest.raises(Problem) as caught:
            asyncio.run(one.write(b"k", USER))
        lengths.add(len(list(traceback.walk_tb(caught.value.__traceback__))))
    assert len(lengths) == 1


@pytest.mark.promise("P3")
def test_who_shall_send_again_is_told_the_number_that_makes_it_safe() -> None:
    with pytest.raises(Problem) as caught:
        asyncio.run(asking(Port(OutcomeCode.UNKNOWN)).send(b"k", MESSAGE, ItemKind.WRITE))
    assert "n-17" in caught.value.body()["hint"]


def test_writes_have_the_deadline_of_a_send_and_reads_a_shorter_one() -> None:
    port = Port(OutcomeCode.DONE, encode(Sent(3, 9, 1)))
    assert asyncio.run(asking(port).send(b"k", MESSAGE, ItemKind.WRITE)) == Sent(3, 9, 1)
    assert port.asked == [(ItemKind.WRITE, encode(MESSAGE), limits.SEND_DEADLINE_MS)]
    port = Port(OutcomeCode.DONE, encode(Done()))
    asyncio.run(asking(port).read(b"k", Probe(), Done))
    assert port.asked == [(ItemKind.READ, encode(Probe()), limits.READ_DEADLINE_MS)]
