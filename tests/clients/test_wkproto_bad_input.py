"""Bad input over TCP: a reason or a close, a counter, and nobody else notices."""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from http_calls import Api
from msgspec.structs import replace
from raw_client import RawClient, fresh, token_for

from zmqim.limits import FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX
from zmqim.wkproto.framing import frame_head, text_field
from zmqim.wkproto.packets import (
    Connack,
    Ping,
    Pong,
    Recvack,
    Send,
    Sendack,
    Setting,
    Sub,
    Suback,
)

SEED = 20


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


@pytest.fixture
def raw(cluster: Any) -> Iterator[Any]:
    """Opens connections and closes them at the end."""
    opened: list[RawClient] = []

    def open_one(version: int = 6) -> RawClient:
        opened.append(RawClient(cluster.tcp_address, version))
        return opened[-1]

    yield open_one
    for client in opened:
        client.socket.close()


@pytest.fixture(autouse=True)
def _somebody_else_notices_nothing(cluster: Any, api: Api) -> Iterator[None]:
    """Around every test, another pair of users keeps its connection and goes on chatting."""
    alice, bob = fresh("alice"), fresh("bob")
    pid = cluster.pid("gateway-1")
    with RawClient.login(cluster, api, alice) as one, RawClient.login(cluster, api, bob) as two:
        assert one.send(bob, b"before").message_seq == 1
        assert [message.payload for message in two.receive()] == [b"before"]
        yield
        assert one.send(bob, b"after").message_seq == 2
        assert [message.payload for message in two.receive()] == [b"after"]
    assert cluster.pid("gateway-1") == pid


def counter(api: Api, name: str) -> float:
    """The sum of a counter in /metrics."""
    status, text = api.call("GET", "/metrics")
    assert status == 200
    found = re.findall(rf"^{name}(?:_total)?(?:{{[^}}]*}})? ([0-9.e+]+)$", text, re.MULTILINE)
    return sum(map(float, found))


# ---- before and instead of CONNECT ---------------------------------------------------------------


@pytest.mark.promise("P9")
def test_random_bytes_close_the_connection(raw: Any) -> None:
    source = random.Random(SEED)
    for _ in range(50):
        client = raw()
        client.socket.sendall(b"\xff" + source.randbytes(200))
        assert client.is_closed()


@pytest.mark.parametrize("first", [b"\x00", b"\x20\x00", b"\x40", b"\x50", b"\x80", b"\xf0"])
def test_a_wrong_type_closes_the_connection_before_and_after_login(
    raw: Any, cluster: Any, api: Api, first: bytes
) -> None:
    client = raw()
    client.socket.sendall(first)
    assert client.is_closed()
    with RawClient.login(cluster, api, fresh("user")) as user:
        user.socket.sendall(first)
        assert user.is_closed()


@pytest.mark.parametrize("frame", [b"\x70", b"\x60\x0c" + bytes(12), b"\x30\x04" + bytes(4)])
def test_whatever_comes_before_connect_closes_without_an_answer(raw: Any, frame: bytes) -> None:
    client = raw()
    client.socket.sendall(frame)
    assert client.is_closed()


def test_a_second_connect_closes_the_connection(cluster: Any, api: Api) -> None:
    uid = fresh("user")
    with RawClient.login(cluster, api, uid) as user:
        user.put(user.connect_packet(uid, "token"))
        assert user.is_closed()


@pytest.mark.promise("P10")
def test_a_wrong_a_missing_and_a_strangers_token_are_refused_with_a_reason(
    raw: Any, api: Api
) -> None:
    uid, other = fresh("user"), fresh("other")
    token, others = token_for(api, uid), token_for(api, other)
    for wrong in ("", "wrong", others, token + "x", token[:-1]):
        client = raw()
        assert client.connect(uid, wrong).reason == 2
        assert client.is_closed()
    client = raw()
    assert client.connect(uid, token, flag=1).reason == 2
    unknown = raw()
    assert unknown.connect(fresh("nobody"), token).reason == 2
    good = raw()
    assert good.connect(uid, token).reason == 1


@pytest.mark.parametrize("client_key", ["", "AAAA", "A" * 43 + "=", "%%%"])
def test_a_key_that_gives_no_secret_is_refused_with_reason_21(
    raw: Any, api: Api, client_key: str
) -> None:
    uid = fresh("user")
    client = raw()
    connect = client.connect_packet(uid, token_for(api, uid))
    client.put(replace(connect, client_key=client_key))
    assert client.expect(Connack).reason == 21
    assert client.is_closed()


@pytest.mark.parametrize("uid", ["", "a@b", "a#b", "a&b"])
def test_a_uid_that_cannot_be_one_is_refused(raw: Any, uid: str) -> None:
    client = raw()
    client.put(client.connect_packet(uid, "token"))
    try:
        assert client.expect(Connack).reason != 1
    except EOFError:
        return
    assert client.is_closed()


@pytest.mark.parametrize("version", range(1, 7))
def test_a_connect_cut_at_every_byte_works_as_a_whole(raw: Any, api: Api, version: int) -> None:
    uid = fresh("user")
    client = raw(version)
    frame = client.codec.encode_one(client.connect_packet(uid, token_for(api, uid)))
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in frame:
        client.socket.sendall(bytes((octet,)))
    assert client.expect(Connack).reason == 1
    sent = client.send(uid + "-friend", b"hello")
    assert (sent.reason, sent.message_seq) == (1, 1)


def test_a_connection_that_ends_within_a_frame_is_forgotten(cluster: Any, api: Api) -> None:
    uid = fresh("user")
    with RawClient.login(cluster, api, uid) as user:
        frame = user.codec.encode_one(Send(1, "number", "bob", 1, b"hello"))
    for place in range(1, len(frame), 7):
        with RawClient.login(cluster, api, uid) as user:
            user.socket.sendall(
                user.codec.encode_one(Send(1, "number", uid + "-friend", 1, b"hello"))[:place]
            )
    assert api.history(uid, uid + "-friend") == []


# ---- frames --------------------------------------------------------------------------------------


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    "head",
    [
        b"\x30" + frame_head(0x30, FRAME_BYTES_MAX)[1:-1] + b"\x41",
        b"\x30\xff\xff\xff\xff\x01",
        b"\x30\xff\xff\xff\x7f",
    ],
)
def test_a_frame_above_1_mib_closes_the_connection_at_its_head(
    cluster: Any, api: Api, head: bytes
) -> None:
    before = counter(api, "zmqim_gateway_wire_errors")
    with RawClient.login(cluster, api, fresh("user")) as user:
        user.socket.sendall(head)
        assert user.is_closed()
    assert counter(api, "zmqim_gateway_wire_errors") > before


def test_a_connect_above_16_kib_closes_the_connection_at_its_head(raw: Any) -> None:
    client = raw()
    client.socket.sendall(frame_head(0x10, 16 * 1024 + 1))
    assert client.is_closed()


@pytest.mark.parametrize("number", [b"\xff\xfe", b"\xed\xa0\x80", b"\xc3"])
def test_bad_utf_8_closes_the_connection(cluster: Any, api: Api, number: bytes) -> None:
    body = bytes((Setting.NO_ENCRYPT,)) + bytes(4) + len(number).to_bytes(2, "big") + number
    body += text_field("bob") + b"\x01" + bytes(6) + b"hello"
    with RawClient.login(cluster, api, fresh("user")) as user:
        user.socket.sendall(frame_head(0x30, len(body)) + body)
        assert user.is_closed()


def test_a_body_that_ends_early_closes_the_connection(cluster: Any, api: Api) -> None:
    for frame in (b"\x30\x03abc", b"\x60\x02ab", b"\xa0\x01a", b"\x30\x00"):
        with RawClient.login(cluster, api, fresh("user")) as user:
            user.socket.sendall(frame)
            assert user.is_closed()


# ---- messages ------------------------------------------------------------------------------------


def test_a_bad_msg_key_is_refused_with_reason_8_and_the_session_goes_on(
    cluster: Any, api: Api
) -> None:
    uid = fresh("user")
    with RawClient.login(cluster, api, uid) as user:
        frame = bytearray(user.codec.encode_one(Send(9, "number", uid + "-friend", 1, b"hello")))
        frame[-3] ^= 1
        user.socket.sendall(bytes(frame))
        refused = user.expect(Sendack)
        assert (refused.client_seq, refused.reason, refused.message_seq) == (9, 8, 0)
        assert user.send(uid + "-friend", b"good").reason == 1
    assert api.history(uid, uid + "-friend") == [(1, "good")]


def test_a_message_in_clear_without_its_setting_is_refused_with_reason_8(
    cluster: Any, api: Api
) -> None:
    uid = fresh("user")
    with RawClient.login(cluster, api, uid) as user:
        plain = Send(1, "number", uid + "-friend", 1, b"hello", Setting.NO_ENCRYPT)
        frame = bytearray(user.codec.encode_one(plain))
        user.socket.sendall(bytes(frame))
        assert user.expect(Sendack).reason == 1
        frame[2] = 0
        user.socket.sendall(bytes(frame))
        assert user.expect(Sendack).reason == 8


def test_a_payload_above_64_kib_is_refused_and_one_of_64_kib_is_not(cluster: Any, api: Api) -> None:
    uid, friend = fresh("user"), fresh("friend")
    with RawClient.login(cluster, api, uid) as user, RawClient.login(cluster, api, friend) as two:
        assert user.send(friend, bytes(PAYLOAD_BYTES_MAX + 1)).reason == 9
        assert user.send(friend, bytes(PAYLOAD_BYTES_MAX)).reason == 1
        [message] = two.receive()
        assert message.payload == bytes(PAYLOAD_BYTES_MAX)


@pytest.mark.parametrize(
    ("channel_id", "channel_type"), [("", 1), ("", 2), ("nobody's", 2), ("x", 0), ("x", 99)]
)
def test_a_channel_that_cannot_be_sent_to_is_refused_with_a_reason(
    cluster: Any, api: Api, channel_id: str, channel_type: int
) -> None:
    with RawClient.login(cluster, api, fresh("user")) as user:
        refused = user.send(channel_id, b"hello", channel_type)
        assert refused.reason not in (0, 1)
        assert refused.message_seq == 0


def test_acknowledgements_of_messages_that_never_were_are_ignored(cluster: Any, api: Api) -> None:
    with RawClient.login(cluster, api, fresh("user")) as user:
        user.put(*(Recvack(number, number) for number in range(1000)), Ping())
        assert user.expect(Pong) == Pong()


def test_sub_is_answered_and_refused_or_ignored(cluster: Any, api: Api) -> None:
    with RawClient.login(cluster, api, fresh("user")) as user:
        user.put(Sub("number", "channel", 7, 0), Ping())
        answer = user.expect(Suback)
        assert (answer.sub_no, answer.channel_id, answer.action) == ("number", "channel", 0)
        assert user.expect(Pong) == Pong()


@pytest.mark.promise("P9")
def test_too_many_messages_a_second_are_refused_with_reason_22(cluster: Any, api: Api) -> None:
    uid = fresh("user")
    count = 6_000
    with RawClient.login(cluster, api, uid) as user:
        frames = user.codec.encode(
            [Send(number, f"n{number}", "", 2, b"x") for number in range(1, count + 1)]
        )
        user.socket.settimeout(30)
        user.socket.sendall(frames)
        reasons = [user.expect(Sendack, 30).reason for _ in range(count)]
    assert 22 in reasons
    assert any(reason != 22 for reason in reasons[:1000])


# ---- connections ---------------------------------------------------------------------------------


def test_a_flood_of_connections_leaves_room_for_the_others(cluster: Any, api: Api) -> None:
    flood = [socket.create_connection(cluster.tcp_address, 10) for _ in range(500)]
    try:
        for number, connection in enumerate(flood):
            connection.sendall(b"\x10" if number % 2 else b"\x10\xff\x7f" + bytes(500))
        begun = time.monotonic()
        with RawClient.login(cluster, api, fresh("user")) as user:
            assert user.send(fresh("friend"), b"hello").reason == 1
        assert time.monotonic() - begun < 5
    finally:
        for connection in flood:
            connection.close()


def test_a_connection_that_says_nothing_is_closed_after_10_seconds(raw: Any) -> None:
    silent, slow = raw(), raw()
    begun = time.monotonic()
    slow.socket.sendall(b"\x10\x20")
    assert silent.is_closed(30)
    assert slow.is_closed(30)
    assert time.monotonic() - begun > 8


def test_a_half_open_connection_still_gets_its_answers(cluster: Any, api: Api) -> None:
    uid = fresh("user")
    with RawClient.login(cluster, api, uid) as user:
        user.put(Send(1, "number", uid + "-friend", 1, b"hello"))
        user.socket.shutdown(socket.SHUT_WR)
        with suppress(EOFError):  # closed as soon as the client had: it may or may not be stored
            assert user.expect(Sendack).reason == 1
    assert len(api.history(uid, uid + "-friend")) <= 1


@pytest.mark.promise("P4")
def test_a_client_that_never_reads_holds_nobody_back_and_little_memory(
    cluster: Any, api: Api
) -> None:
    group, sender, reader, deaf = fresh("group"), fresh("sender"), fresh("reader"), fresh("deaf")
    api.done("/channel", channel_id=group, channel_type=2, subscribers=[sender, reader, deaf])
    payload = bytes(16_000)
    count = 600
    with (
        RawClient.login(cluster, api, sender) as one,
        RawClient.login(cluster, api, reader) as two,
        RawClient.login(cluster, api, deaf) as three,
    ):
        before = cluster.rss_kib("gateway-1")
        slowest = 0.0
        for number in range(1, count + 1):
            begun = time.monotonic()
            assert one.send(group, payload, 2).message_seq == number
            [message] = two.receive()
            assert message.message_seq == number
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 5
        assert cluster.rss_kib("gateway-1") - before < 30_000
        assert three.socket is not None
