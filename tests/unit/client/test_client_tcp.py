"""The Python SDK over real TCP, against a small server that speaks the real codec."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from os import urandom
from typing import Any

import pytest

from zmqim.client import Client, ClientClosed, Message, Sent
from zmqim.client import http as client_http
from zmqim.client.client import endpoint
from zmqim.errors import (
    DeadlinePassed,
    NotRunning,
    RefusedByServer,
    UsageError,
    ZmqimError,
)
from zmqim.wkproto.codec import ENTROPY_BYTES, ServerCodec
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    FromClient,
    Packet,
    Ping,
    Recv,
    Recvack,
    Send,
    Sendack,
)

DEADLINE_SECONDS = 10


class Connection:
    """One accepted connection of the test's server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.codec = ServerCodec(urandom(ENTROPY_BYTES))
        self._packets: list[FromClient] = []

    async def next(self) -> FromClient:
        """The next packet that is no PING."""
        while True:
            while not self._packets:
                data = await self.reader.read(1 << 16)
                if not data:
                    raise EOFError
                self._packets += self.codec.feed(data)
            packet = self._packets.pop(0)
            if not isinstance(packet, Ping):
                return packet

    async def expect(self, kind: type) -> Any:
        packet = await self.next()
        assert type(packet) is kind, packet
        return packet

    def put(self, *packets: Packet) -> None:
        self.writer.write(self.codec.encode(packets))

    async def login(self) -> Connect:
        connect = await self.expect(Connect)
        self.put(Connack(1))
        assert isinstance(connect, Connect)
        return connect


Script = Callable[[Connection, int], Awaitable[None]]


class Server:
    """Runs a script for each connection, given its number from 0, and then closes it."""

    def __init__(self, script: Script) -> None:
        self.faults: list[BaseException] = []
        self._script = script
        self._count = 0

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *unused: object) -> None:
        self._server.close()
        if self.faults:
            raise self.faults[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self._count = self._count, self._count + 1
        try:
            await self._script(Connection(reader, writer), number)
        except (EOFError, ConnectionError):
            pass
        except AssertionError as fault:
            self.faults.append(fault)
        finally:
            writer.close()


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def within_deadline() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await body()

    asyncio.run(within_deadline())


def recv(message_id: int, payload: bytes = b"hello") -> Recv:
    return Recv(message_id, message_id, 9, "bob", "bob", 1, f"n{message_id}", payload)


async def echo(connection: Connection, number: int) -> None:
    """Acknowledge every SEND with a growing sequence and push it back."""
    await connection.login()
    sequence = 0
    while True:
        packet = await connection.next()
        if isinstance(packet, Send):
            sequence += 1
            connection.put(
                Sendack(sequence, packet.client_seq, sequence, 1), recv(sequence, packet.payload)
            )


def test_a_client_sends_and_receives_in_order() -> None:
    async def body() -> None:
        async with Server(echo) as address, Client(address, "alice", "token") as alice:
            assert alice.is_online
            texts = [f"message {index}" for index in range(300)]
            sent = await asyncio.gather(*(alice.send("bob", text) for text in texts))
            assert sent == [Sent(index, index) for index in range(1, 301)]
            received = [(await anext(alice)).text for _ in texts]
            assert received == texts

    run(body)


@pytest.mark.parametrize("version", range(1, 7))
def test_every_version_of_the_protocol_works(version: int) -> None:
    async def body() -> None:
        async with (
            Server(echo) as address,
            Client(address, "alice", "token", version=version) as alice,
        ):
            assert await alice.send("bob", "hello", topic="news") == Sent(1, 1)
            assert (await anext(alice)).payload == b"hello"

    run(body)


def test_a_message_lost_with_its_connection_is_sent_again_under_its_number() -> None:
    numbers: list[tuple[str, int]] = []

    async def script(connection: Connection, number: int) -> None:
        await connection.login()
        send = await connection.expect(Send)
        numbers.append((send.client_msg_no, send.client_seq))
        if number < 2:
            return
        connection.put(Sendack(7, send.client_seq, 3, 1))
        await connection.next()

    async def body() -> None:
        async with Server(script) as address, Client(address, "alice", "token") as alice:
            assert await alice.send("bob", "hello", client_msg_no="mine") == Sent(7, 3)

    run(body)
    assert numbers == [("mine", 1)] * 3


def test_messages_are_acknowledged_when_the_application_takes_them() -> None:
    async def script(connection: Connection, number: int) -> None:
        await connection.login()
        connection.put(recv(1), recv(2))
        for message_id in (1, 2):
            assert await connection.expect(Recvack) == Recvack(message_id, message_id)
        connection.put(recv(1), recv(3))
        assert await connection.expect(Recvack) == Recvack(1, 1)
        assert await connection.expect(Recvack) == Recvack(3, 3)
        connection.put(Disconnect(12, "done"))

    async def body() -> None:
        async with Server(script) as address, Client(address, "alice", "token") as alice:
            seen = [(await anext(alice)).message_seq for _ in range(3)]
            assert seen == [1, 2, 3]
            with pytest.raises(RefusedByServer, match="done") as caught:
                await anext(alice)
            assert caught.value.reason == 12

    run(body)


@pytest.mark.parametrize("reason", [2, 19])
def test_a_refused_login_is_told_and_not_tried_again(reason: int) -> None:
    attempts: list[int] = []

    async def script(connection: Connection, number: int) -> None:
        attempts.append(number)
        await connection.expect(Connect)
        connection.put(Connack(reason))

    async def body() -> None:
        async with Server(script) as address:
            alice = Client(address, "alice", "wrong")
            with pytest.raises(RefusedByServer) as caught:
                await alice.connect()
            assert caught.value.reason == reason
            with pytest.raises(RefusedByServer):
                await alice.send("bob", "hello")

    run(body)
    assert attempts == [0]


def test_a_kick_ends_open_sends_and_later_ones() -> None:
    async def script(connection: Connection, number: int) -> None:
        assert number == 0
        await connection.login()
        await connection.expect(Send)
        connection.put(Disconnect(12, "login in other device"))

    async def body() -> None:
        async with Server(script) as address, Client(address, "alice", "token") as alice:
            for _ in range(2):
                with pytest.raises(RefusedByServer, match="other device"):
                    await alice.send("bob", "hello")

    run(body)


def test_a_refused_message_raises_and_the_next_is_answered() -> None:
    async def script(connection: Connection, number: int) -> None:
        await connection.login()
        first = await connection.expect(Send)
        second = await connection.expect(Send)
        connection.put(Sendack(0, first.client_seq, 0, 4), Sendack(9, second.client_seq, 1, 1))
        await connection.next()

    async def body() -> None:
        async with Server(script) as address, Client(address, "alice", "token") as alice:
            one, two = await asyncio.gather(
                alice.send("bob", "one"), alice.send("bob", "two"), return_exceptions=True
            )
            assert isinstance(one, RefusedByServer)
            assert two == Sent(9, 1)

    run(body)


def test_the_next_address_is_tried_when_one_is_dead_or_speaks_something_else() -> None:
    async def rubbish(connection: Connection, number: int) -> None:
        connection.writer.write(b"220 mail.example.org ESMTP\r\n")
        await connection.reader.read()

    async def body() -> None:
        async with Server(echo) as good, Server(rubbish) as other:
            addresses = ["127.0.0.1:1", other, good]
            async with Client(addresses, "alice", "token") as alice:
                assert await alice.send("bob", "hello") == Sent(1, 1)

    run(body)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("between_commas", [True, False])
def test_what_a_dead_gateway_left_unanswered_goes_to_the_next_under_the_same_numbers(
    between_commas: bool,
) -> None:
    seen: list[list[str]] = [[], []]

    async def dying(connection: Connection, number: int) -> None:
        await connection.login()
        for _ in range(3):
            send = await connection.expect(Send)
            seen[0].append(send.client_msg_no)
        connection.put(Sendack(1, 1, 1, 1))
        await connection.writer.drain()

    async def living(connection: Connection, number: int) -> None:
        await connection.login()
        for sequence in (2, 3):
            send = await connection.expect(Send)
            seen[1].append(send.client_msg_no)
            connection.put(Sendack(sequence, send.client_seq, sequence, 1))
        await connection.next()

    async def body() -> None:
        async with Server(dying) as one, Server(living) as other:
            addresses = f"{one}, {other}" if between_commas else [one, other]
            async with Client(addresses, "alice", "token") as alice:
                sends = (alice.send("bob", "x", client_msg_no=f"m{number}") for number in range(3))
                assert await asyncio.gather(*sends) == [Sent(1, 1), Sent(2, 2), Sent(3, 3)]

    run(body)
    assert seen == [["m0", "m1", "m2"], ["m1", "m2"]]


def test_connect_gives_up_at_its_deadline_and_says_why() -> None:
    async def body() -> None:
        alice = Client("tcp://127.0.0.1:1", "alice", "token")
        with pytest.raises(DeadlinePassed, match=r"127\.0\.0\.1:1"):
            await alice.connect(deadline_seconds=0.3)

    run(body)


def test_closing_ends_open_sends_and_iteration() -> None:
    async def script(connection: Connection, number: int) -> None:
        await connection.login()
        while True:
            await connection.next()

    async def body() -> None:
        async with Server(script) as address:
            alice = Client(address, "alice", "token")
            await alice.connect()
            sending = asyncio.create_task(alice.send("bob", "hello"))
            await asyncio.sleep(0)
            await alice.close()
            with pytest.raises(ClientClosed):
                await sending
            assert [message async for message in alice] == []
            assert [message async for message in alice] == []

    run(body)


def test_a_cancelled_send_is_not_sent_again() -> None:
    seen: list[str] = []

    async def script(connection: Connection, number: int) -> None:
        await connection.login()
        send = await connection.expect(Send)
        seen.append(send.client_msg_no)
        if number:
            connection.put(Sendack(1, send.client_seq, 1, 1))
            await connection.next()

    async def body() -> None:
        async with Server(script) as address, Client(address, "alice", "token") as alice:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await alice.send("bob", "hello", client_msg_no="given up")
            await alice.send("bob", "hello", client_msg_no="later")

    run(body)
    assert seen == ["given up", "later"]


@pytest.mark.parametrize("address", ["nonsense", "http://a:1", "tcp://a", "tcp://a:b", ""])
def test_a_wrong_address_is_told_at_once(address: str) -> None:
    with pytest.raises(UsageError, match="not an address"):
        endpoint(address)


# ---- HTTP ----------------------------------------------------------------------------------------


def http_answering(status: str, body: object, asked: list[bytes]) -> Script:
    async def script(connection: Connection, number: int) -> None:
        head = await connection.reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split()[0])
        asked.append(head + await connection.reader.readexactly(size))
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.writer.write(f"HTTP/1.1 {status}\r\nX: y\r\n\r\n".encode() + content)

    return script


def test_history_asks_the_api_with_the_key_and_gives_messages() -> None:
    row = {
        "header": {"red_dot": 1}, "message_id": 7, "message_seq": 3, "from_uid": "bob",
        "channel_id": "bob", "channel_type": 1, "payload": "aGVsbG8=", "timestamp": 9,
        "client_msg_no": "m1",
    }  # fmt: skip
    asked: list[bytes] = []

    async def body() -> None:
        answer = http_answering("200 OK", {"messages": [row], "more": 0}, asked)
        async with Server(answer) as address:
            api = address.replace("tcp://", "http://")
            alice = Client("a:1", "alice", "token", api=api, api_key="secret")
            [message] = await alice.history("bob", start=3, limit=10, upwards=True)
            assert message == Message(7, 3, "bob", "bob", 1, b"hello", 9, "m1", 2)

    run(body)
    assert asked[0].startswith(b"POST /channel/messagesync HTTP/1.1\r\n")
    assert b"\r\ntoken: secret\r\n" in asked[0]
    assert json.loads(asked[0].partition(b"\r\n\r\n")[2]) == {
        "login_uid": "alice", "channel_id": "bob", "channel_type": 1, "start_message_seq": 3,
        "end_message_seq": 0, "limit": 10, "pull_mode": 1,
    }  # fmt: skip


def test_history_without_an_api_says_what_is_missing() -> None:
    async def body() -> None:
        with pytest.raises(UsageError, match="api"):
            await Client("a:1", "alice", "token").history("bob")

    run(body)


@pytest.mark.parametrize(
    ("status", "body", "error", "text"),
    [
        ("400 Bad Request", {"msg": "no channel", "reason": 5}, RefusedByServer, "no channel"),
        ("400 Bad Request", b"<html>", RefusedByServer, "HTTP status 400"),
        ("401 Unauthorized", b"", RefusedByServer, "API key"),
        ("503 Unavailable", {"msg": "busy"}, ZmqimError, "busy"),
        ("abc", b"", ZmqimError, "did not answer in HTTP"),
    ],
)
def test_refusals_of_the_api_are_told_apart(
    status: str, body: object, error: type[ZmqimError], text: str
) -> None:
    async def ask() -> None:
        async with Server(http_answering(status, body, [])) as address:
            with pytest.raises(error, match=text) as caught:
                await client_http.call(address.replace("tcp", "http"), "/x", {})
            assert getattr(caught.value, "reason", 5) in (5, -1)

    run(ask)


def test_an_api_that_is_not_there_or_silent_or_misnamed_is_told_apart() -> None:
    async def silent(connection: Connection, number: int) -> None:
        await connection.reader.read()

    async def body() -> None:
        with pytest.raises(NotRunning):
            await client_http.call("http://127.0.0.1:1", "/x", {})
        with pytest.raises(UsageError):
            await client_http.call("ftp://127.0.0.1:1", "/x", {})
        async with Server(silent) as address:
            with pytest.raises(DeadlinePassed):
                await client_http.call(
                    address.replace("tcp", "http"), "/x", {}, deadline_seconds=0.2
                )

    run(body)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("is_listening", [True, False])
def test_the_next_api_is_asked_when_the_first_is_dead_or_dies(is_listening: bool) -> None:
    asked: list[bytes] = []

    async def dying(connection: Connection, number: int) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")

    async def body() -> None:
        answer = http_answering("200 OK", {"is": "good"}, asked)
        async with Server(dying) as dead, Server(answer) as good:
            first = dead.replace("tcp", "http") if is_listening else "http://127.0.0.1:1"
            apis = [first, good.replace("tcp", "http")]
            for given in (apis, ",".join(apis)):
                assert await client_http.call(given, "/x", {}) == {"is": "good"}
            with pytest.raises(NotRunning, match=first):
                await client_http.call([first, first], "/x", {})

    run(body)
    assert len(asked) == 2


def test_a_refusal_of_the_first_api_is_not_asked_of_the_next() -> None:
    asked: list[bytes] = []

    async def body() -> None:
        answer = http_answering("400 Bad Request", {"msg": "no", "reason": 5}, asked)
        async with Server(answer) as one, Server(answer) as other:
            apis = [address.replace("tcp", "http") for address in (one, other)]
            with pytest.raises(RefusedByServer):
                await client_http.call(apis, "/x", {})

    run(body)
    assert len(asked) == 1


def test_an_api_without_addresses_or_with_a_wrong_one_is_a_mistake() -> None:
    async def body() -> None:
        for given in ("", [], " , ", ["http://127.0.0.1:1", "tcp://127.0.0.1:1"]):
            with pytest.raises(UsageError, match="address"):
                await client_http.call(given, "/x", {})

    run(body)


def test_a_client_without_addresses_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="needs an address"):
        Client([], "alice", "token")


def test_a_message_to_no_ones_taste_is_refused_before_it_is_sent() -> None:
    async def body() -> None:
        async with Server(echo) as address, Client(address, "alice", "token") as alice:
            with pytest.raises(UsageError, match="payload"):
                await alice.send("bob", bytes(1 << 20))
            assert await alice.send("bob", "hello") == Sent(1, 1)

    run(body)


def test_a_server_that_falls_silent_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.client.core.CLIENT_SENDACK_MS_MAX", 200)

    async def script(connection: Connection, number: int) -> None:
        if number:
            await echo(connection, number)
        await connection.login()
        while True:
            await connection.next()

    async def body() -> None:
        async with Server(script) as address, Client(address, "alice", "token") as alice:
            assert await alice.send("bob", "hello") == Sent(1, 1)

    run(body)


def test_sends_wait_for_a_connection() -> None:
    async def body() -> None:
        alice = Client("127.0.0.1:1", "alice", "token")
        connecting = asyncio.create_task(alice.connect(deadline_seconds=0.5))
        sending = asyncio.create_task(alice.send("bob", "hello"))
        with pytest.raises(DeadlinePassed):
            await connecting
        with pytest.raises(ClientClosed):
            await sending

    run(body)
