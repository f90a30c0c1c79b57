"""A user of tools/chaos: what it sends again, in which order, and what it leaves unknown."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

sys.path.append(str(Path(__file__).parents[2]))
from tools.chaos.person import Book, Connection, Person
from tools.chaos.plan import ChannelPlan, GatewayAddress
from zmqim.sim.history import Acknowledged
from zmqim.wkproto.codec import ENTROPY_BYTES, ServerCodec
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    FromClient,
    Packet,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
)

GATEWAY = GatewayAddress("gateway-1", "127.0.0.1", 1, "http://127.0.0.1:2")
GROUP = ChannelPlan(2, "g", (0,))


class Server:
    """The other end of one connection, without a socket; also its transport."""

    def __init__(self, person: Person) -> None:
        self.codec = ServerCodec(bytes(range(ENTROPY_BYTES)))
        self.got: list[FromClient] = []
        self.connection = Connection(person, GATEWAY)
        person.connection = self.connection
        self.connection.connection_made(cast(asyncio.BaseTransport, self))

    def write(self, data: bytes) -> None:
        self.got += self.codec.feed(data)

    def put(self, *packets: Packet) -> None:
        self.connection.data_received(self.codec.encode(packets))

    def log_in(self) -> None:
        assert isinstance(self.got[0], Connect)
        self.put(Connack(1))

    def sent(self) -> Sequence[Send]:
        return [packet for packet in self.got if isinstance(packet, Send)]


def numbers(sends: Sequence[Send]) -> list[str]:
    return [send.client_msg_no.rpartition("-")[2] for send in sends]


def run(story: Any) -> None:
    async def tell() -> None:
        book = Book(1, 32)
        story(book, Person(book, 0, "ada", "token", (GATEWAY,)))

    asyncio.run(tell())


def test_what_is_unanswered_goes_out_again_on_the_next_connection_in_its_order() -> None:
    def story(book: Book, person: Person) -> None:
        for _ in range(3):
            person.speak(GROUP)
        first = Server(person)
        assert first.sent() == []
        first.log_in()
        assert numbers(first.sent()) == ["1", "2", "3"]
        first.put(Sendack(77, 2, 5, 1))
        first.connection.connection_lost(None)
        person.speak(GROUP)
        second = Server(person)
        second.log_in()
        person.speak(GROUP)
        assert numbers(second.sent()) == ["1", "3", "4", "5"]
        one, two, *_ = book.history.sendings
        assert [attempt.answer for attempt in one.attempts] == [None, None]
        answer = two.attempts[0].answer
        assert isinstance(answer, Acknowledged)
        assert (answer.sequence, answer.message_id) == (5, 77)

    run(story)


def test_a_refused_message_is_not_sent_again() -> None:
    def story(book: Book, person: Person) -> None:
        server = Server(person)
        server.log_in()
        person.speak(GROUP)
        server.put(Sendack(0, 1, 0, 22))
        assert person.outbox == {}
        assert book.history.sendings[0].is_refused
        assert book.counts["refused 22"] == 1

    run(story)


def test_a_recvack_counts_once_a_pong_came_behind_it() -> None:
    def story(book: Book, person: Person) -> None:
        server = Server(person)
        server.log_in()
        for sequence in range(1, 11):
            recv = Recv(sequence, sequence, 0, "bob", "g", 2, str(sequence), b"hello")
            server.put(recv)
        acknowledged = [one.message_id for one in server.got if isinstance(one, Recvack)]
        assert acknowledged == list(range(1, 11))
        assert [push.seen.sequence for push in book.history.pushes] == list(range(1, 11))
        assert book.history.received == []
        server.connection._watch()
        assert isinstance(server.got[-1], Ping)
        server.put(Pong())
        assert [one.message_id for one in book.history.received] == acknowledged

    run(story)
