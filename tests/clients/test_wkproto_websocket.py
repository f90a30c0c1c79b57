"""The same protocol over WebSocket: one frame a message out, any cut in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from http_calls import Api
from raw_client import WEB, RawClient, fresh, token_for
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from zmqim.wkproto.codec import ClientCodec
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    FromServer,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
)

DEADLINE_SECONDS = 10.0


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


class WebClient:
    """One WebSocket connection and its codec; remembers how many frames each message had."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.codec = ClientCodec(secrets.token_bytes(32))
        self.frames_per_message: list[int] = []
        self.received: list[FromServer] = []

    def login(self, uid: str, token: str) -> None:
        packet = Connect(6, WEB, secrets.token_hex(8), uid, token, 0, self.codec.client_key)
        self.socket.send(self.codec.encode_one(packet))
        assert self.next(Connack).reason == 1

    def next(self, kind: type) -> Any:
        """The next packet of this kind; others wait their turn."""
        while True:
            for index, packet in enumerate(self.received):
                if isinstance(packet, kind):
                    return self.received.pop(index)
            data = self.socket.recv(DEADLINE_SECONDS)
            assert isinstance(data, bytes), "a text message"
            packets = self.codec.feed(data)
            assert self.codec.pending_bytes == 0, "part of a frame"
            self.frames_per_message.append(len(packets))
            self.received += packets

    def is_closed(self) -> bool:
        """Whether the server closes the connection without another word."""
        try:
            self.socket.recv(DEADLINE_SECONDS)
        except ConnectionClosed:
            return True
        except TimeoutError:
            pass
        return False


@pytest.fixture
def web(cluster: Any, api: Api) -> Iterator[Any]:
    """Opens connections, logged in if they get a uid, and closes them at the end."""
    with ExitStack() as stack:

        def open_one(uid: str = "") -> WebClient:
            opening = connect(
                cluster.ws, compression=None, max_size=2 << 20, open_timeout=DEADLINE_SECONDS
            )
            client = WebClient(stack.enter_context(opening))
            if uid:
                client.login(uid, token_for(api, uid, WEB))
            return client

        yield open_one


def test_each_frame_is_a_message_of_its_own(cluster: Any, api: Api, web: Any) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    one = web(bob)
    with RawClient.login(cluster, api, alice) as two:
        two.put(*(Send(n, f"n{n}", bob, 1, b"%d" % n) for n in range(1, 101)))
        assert [one.next(Recv).message_seq for _ in range(100)] == list(range(1, 101))
    assert set(one.frames_per_message) == {1}


def test_many_frames_in_one_message_and_one_frame_in_many_are_read(web: Any) -> None:
    one, friend = web(fresh("alice")), fresh("bob")
    frames = one.codec.encode([Send(n, f"n{n}", friend, 1, b"hello") for n in range(1, 6)])
    one.socket.send(frames)
    for place in range(0, len(frames), 7):
        one.socket.send(frames[place : place + 7])
    acks = [one.next(Sendack) for _ in range(10)]
    assert sorted(ack.message_seq for ack in acks) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_fragmented_message_is_read(web: Any) -> None:
    one = web(fresh("alice"))
    frame = one.codec.encode_one(Send(1, "n1", fresh("bob"), 1, b"hello"))
    one.socket.send([frame[:5], frame[5:9], frame[9:]])
    assert one.next(Sendack).message_seq == 1


def test_a_large_payload_comes_and_goes(web: Any) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    one, two = web(alice), web(bob)
    one.socket.send(one.codec.encode_one(Send(1, "n1", bob, 1, bytes(60_000))))
    assert one.next(Sendack).reason == 1
    message = two.next(Recv)
    assert message.payload == bytes(60_000)
    two.socket.send(two.codec.encode_one(Recvack(message.message_id, message.message_seq)))


def test_pings_of_both_kinds_are_answered(web: Any) -> None:
    one = web(fresh("alice"))
    assert one.socket.ping().wait(DEADLINE_SECONDS)
    one.socket.send(one.codec.encode_one(Ping()))
    assert one.next(Pong) == Pong()


@pytest.mark.parametrize("data", ["text", b"\xff\xff\xff", b"\x30\xff\xff\xff\xff\x01", b"\x00"])
def test_what_is_not_the_protocol_closes_the_connection_before_and_after_login(
    web: Any, data: Any
) -> None:
    for one in (web(), web(fresh("alice"))):
        one.socket.send(data)
        assert one.is_closed()


def test_a_message_above_1_mib_closes_the_connection(web: Any) -> None:
    one = web(fresh("alice"))
    one.socket.send(bytes((1 << 20) + 100))
    assert one.is_closed()


def test_a_kick_is_told_before_the_close(cluster: Any, api: Api, web: Any) -> None:
    uid = fresh("alice")
    one = web(uid)
    api.done("/user/device_quit", uid=uid, device_flag=WEB)
    assert one.next(Disconnect).reason == 12
    assert one.is_closed()


def test_a_wrong_token_is_refused_with_reason_2(web: Any) -> None:
    one = web()
    packet = Connect(6, WEB, "device", fresh("alice"), "wrong", 0, one.codec.client_key)
    one.socket.send(one.codec.encode_one(packet))
    assert one.next(Connack).reason == 2
    assert one.is_closed()
