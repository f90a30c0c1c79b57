"""JSON-RPC over WebSocket as such: protocols told apart, fragments, refusals, ends."""

from __future__ import annotations

import json
import secrets
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from http_calls import Api
from raw_client import WEB, RawClient, fresh, token_for
from running_cluster import wait_for
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from zmqim.gateway.listeners.client import CLOSE_GRACE_SECONDS
from zmqim.wkproto.codec import ClientCodec
from zmqim.wkproto.packets import Connect

DEADLINE_SECONDS = 10.0
CONTINUED, TEXT = 0, 1
CLOSE_1000 = b"\x88\x02\x03\xe8"


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


class JsonUser:
    """One connection that speaks JSON."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.received: list[dict[str, Any]] = []

    def put(self, method: str, request_id: str = "", **params: object) -> None:
        """Send a request, or a notification if there is no id."""
        outer = {"method": method, "params": params}
        self.socket.send(json.dumps({"id": request_id, **outer} if request_id else outer))

    def login(self, uid: str, token: str, device: str = "") -> None:
        """Connect, which must succeed."""
        self.put("connect", "c", uid=uid, token=token, deviceFlag=WEB, deviceId=device or uid)
        assert self.answer("c")["result"]["reasonCode"] == 1

    def answer(self, request_id: str) -> dict[str, Any]:
        """The response with this id."""
        return self._next("id", request_id)

    def told(self, method: str) -> Any:
        """The params of the next notification of this method."""
        return self._next("method", method)["params"]

    def _next(self, member: str, value: str) -> dict[str, Any]:
        while True:
            for index, message in enumerate(self.received):
                if message.get(member) == value:
                    return self.received.pop(index)
            text = self.socket.recv(DEADLINE_SECONDS)
            assert isinstance(text, str), "a binary message"
            self.received.append(json.loads(text))

    def close_code(self) -> int:
        """The code with which the server closes the connection, without another word."""
        with pytest.raises(ConnectionClosed) as closed:
            self.socket.recv(DEADLINE_SECONDS)
        assert closed.value.rcvd is not None, "no close frame"
        return closed.value.rcvd.code


OpenUser = Callable[[str], JsonUser]


@pytest.fixture
def user(cluster: Any, api: Api) -> Iterator[OpenUser]:
    """Opens connections, logged in if they get a uid, and closes them at the end."""
    with ExitStack() as stack:

        def open_one(uid: str = "") -> JsonUser:
            opening = connect(cluster.ws, compression=None, open_timeout=DEADLINE_SECONDS)
            one = JsonUser(stack.enter_context(opening))
            if uid:
                one.login(uid, token_for(api, uid, WEB))
            return one

        yield open_one


def send_of(channel: str, words: str = "hello", request_id: str = "s") -> str:
    params = {"channelId": channel, "channelType": 1, "payload": {"type": 1, "content": words}}
    return json.dumps({"id": request_id, "method": "send", "params": params})


def test_requests_may_come_as_text_as_binary_and_in_fragments(user: OpenUser) -> None:
    one, two = user(fresh("alice")), fresh("bob")
    text = send_of(two)
    one.socket.send(text)
    one.socket.send(text.encode())
    one.socket.send([text[:1], text[1:20], "", text[20:]])
    one.socket.send([text.encode()[:30], text.encode()[30:]])
    assert [one.answer("s")["result"]["messageSeq"] for _ in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("first", ["{", ["{"], ["", " \r\n\t", "{"], [b"{", b""], b" \n{"], ids=str)
def test_the_first_byte_that_is_no_space_makes_it_json(
    api: Api, user: OpenUser, first: Any
) -> None:
    uid, one = fresh("alice"), user("")
    params = {"uid": uid, "token": token_for(api, uid, WEB), "device_id": "d", "device_flag": WEB}
    rest = json.dumps({"id": "c", "method": "connect", "params": params})[1:]
    if isinstance(first, list):
        one.socket.send([*first, rest if isinstance(first[0], str) else rest.encode()])
    else:
        one.socket.send(first + (rest if isinstance(first, str) else rest.encode()))
    assert one.answer("c")["result"]["reason_code"] == 1


def test_a_connection_stays_with_its_protocol(cluster: Any, api: Api, user: OpenUser) -> None:
    codec = ClientCodec(secrets.token_bytes(32))
    uid = fresh("alice")
    one = user(uid)
    frame = codec.encode_one(Connect(6, WEB, "d", uid, "t", 0, codec.client_key))
    one.socket.send(frame)
    assert one.answer("")["error"]["code"] == -32700
    one.put("ping", "p")
    assert one.answer("p") == {"jsonrpc": "2.0", "id": "p", "result": None}
    other = user("")
    packet = Connect(6, WEB, "d", uid, token_for(api, uid, WEB), 0, codec.client_key)
    other.socket.send(codec.encode_one(packet))
    assert isinstance(other.socket.recv(DEADLINE_SECONDS), bytes)
    other.put("ping", "p")
    assert other.close_code() == 1000


@pytest.mark.promise("P9")
def test_before_login_a_refusal_is_told_and_then_the_connection_closes(user: OpenUser) -> None:
    for hostile in ('{"id":"x","method":"ping"}', "{", "[]", '{"id":"x","method":"connect"}'):
        one = user("")
        one.socket.send(hostile)
        assert json.loads(one.socket.recv(DEADLINE_SECONDS))["error"]["message"]
        assert one.close_code() == 1000


@pytest.mark.promise("P9")
def test_after_login_a_refusal_is_told_and_the_connection_goes_on(user: OpenUser) -> None:
    one = user(fresh("alice"))
    for hostile in ("{", "[{}]", "null", '{"id":"","method":"what"}', b"\xff", "", "NaN"):
        one.socket.send(hostile)
        assert one.answer("")["error"]["code"] < 0
    one.put("subscribe", "u", subNo="1", channelId="g", channelType=2)
    assert one.answer("u")["error"]["code"] == 11
    one.put("send", "s", channelId=fresh("bob"), channelType=1, payload="no base64")
    assert one.answer("s")["error"]["code"] == 9
    one.put("connect", "c2", uid="other", token="t")
    assert one.answer("c2")["error"]["code"] == -32600
    one.socket.send(send_of(fresh("bob")))
    assert one.answer("s")["result"]["messageSeq"] == 1


@pytest.mark.parametrize("pieces", [2, 40])
def test_a_message_above_1_mib_in_fragments_is_refused(user: OpenUser, pieces: int) -> None:
    one = user(fresh("alice"))
    size = (1 << 20) // pieces + 1
    with suppress(ConnectionClosed):  # the gateway does not wait for the last of the pieces
        one.socket.send([" " * size] * pieces)
    assert "above 1048576 bytes" in one.answer("")["error"]["message"]
    assert one.close_code() == 1000


def _piece(opcode: int) -> bytes:
    """A frame of 64 KB behind which the message goes on, masked with zeros."""
    size = 1 << 16
    return bytes([opcode, 0x80 | 127]) + size.to_bytes(8, "big") + bytes(4) + b" " * size


def test_who_is_still_sending_reads_why_it_is_closed_and_says_the_last_word(cluster: Any) -> None:
    host, _, port = cluster.ws.removeprefix("ws://").partition(":")
    key = b64encode(secrets.token_bytes(16)).decode()
    upgrade = (
        f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), DEADLINE_SECONDS) as tcp:
        tcp.sendall(upgrade.encode())
        assert b" 101 " in tcp.recv(4_096)
        tcp.sendall(_piece(TEXT))  # more than anybody may say before the login
        for _ in range(20):
            time.sleep(0.02)  # the gateway closes meanwhile
            tcp.sendall(_piece(CONTINUED))
        told = b""
        while CLOSE_1000 not in told:
            more = tcp.recv(4_096)
            assert more, f"hung up behind {told!r}"
            told += more
        assert b"the message is above" in told
        began = time.monotonic()
        tcp.sendall(b"\x88\x82" + bytes(4) + (1000).to_bytes(2, "big"))
        assert tcp.recv(1) == b""
        assert time.monotonic() - began < CLOSE_GRACE_SECONDS


def test_who_never_says_the_last_word_is_hung_up_on(cluster: Any) -> None:
    with connect(cluster.ws) as one:
        one.protocol.receive_data = lambda data: None  # type: ignore[method-assign]
        one.send('{"method": "nothing"}')
        one.recv_events_thread.join(2 * CLOSE_GRACE_SECONDS)
        assert not one.recv_events_thread.is_alive()


def test_a_message_of_1_mib_is_read_and_its_payload_refused(user: OpenUser) -> None:
    one = user(fresh("alice"))
    text = send_of(fresh("bob"), "x" * ((1 << 20) - 300))
    one.socket.send(text)
    assert one.answer("s")["error"]["code"] == 9


@pytest.mark.promise("P10")
def test_a_refused_login_is_an_error_with_its_reason(api: Api, user: OpenUser) -> None:
    for uid, code in ((fresh("alice"), 2), ("a@b", 15), ("", 15)):
        one = user("")
        one.put("connect", "c", uid=uid, token="wrong")
        error = one.answer("c")["error"]
        assert error["code"] == code
        assert len(error["message"]) > 10
        assert one.close_code() == 1000


def test_a_kick_is_told_before_the_close(api: Api, user: OpenUser) -> None:
    uid = fresh("alice")
    token = token_for(api, uid, WEB, level=1)
    one, two = user(""), user("")
    one.login(uid, token, "one")
    two.login(uid, token, "two")
    told = one.told("disconnect")
    assert (told["reasonCode"], bool(told["reason"])) == (12, True)
    assert one.close_code() == 1000
    two.put("ping", "p")
    assert two.answer("p")["result"] is None


def test_a_client_that_leaves_is_answered(user: OpenUser) -> None:
    one = user(fresh("alice"))
    one.put("disconnect", "d", reasonCode=0, reason="bye")
    assert one.answer("d")["result"] is None
    assert one.close_code() == 1000


def test_a_message_comes_again_until_it_is_acknowledged(
    cluster: Any, api: Api, user: OpenUser
) -> None:
    uid = fresh("bob")
    one = user(uid)
    with RawClient.login(cluster, api, fresh("alice")) as other:
        other.send(uid, b'{"a":1}')
        first, again = one.told("recv"), one.told("recv")
        assert again.pop("header")["dup"] is True
        assert first.pop("header")["dup"] is False
        assert first == again
        seq = again["messageSeq"]
        one.put("recvack", header={}, message_id=again["messageId"], message_seq=seq)
        other.send(uid, b'{"a":2}')
        assert one.told("recv")["payload"] == {"a": 2}


def test_a_command_that_a_master_acknowledged_is_not_shown_again(api: Api, user: OpenUser) -> None:
    uid, other = fresh("bob"), fresh("alice")
    one = user("")
    one.login(uid, token_for(api, uid, WEB, level=1))
    api.sent(other, uid, '{"a":1}', header={"sync_once": 1})
    told = one.told("recv")
    wait_for(lambda: len(api.done("/message/sync", uid=uid)) == 1, 30, "the command")
    one.put("recvack", header={}, messageId=told["messageId"], messageSeq=told["messageSeq"])
    wait_for(lambda: api.done("/message/sync", uid=uid) == [], 30, "no command")


@pytest.mark.promise("P3")
def test_what_was_in_flight_at_the_end_may_be_sent_again(api: Api, user: OpenUser) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    one = user(alice)
    texts = [
        json.dumps(
            {
                "id": f"s{number}",
                "method": "send",
                "params": {
                    "channelId": bob,
                    "channelType": 1,
                    "clientMsgNo": f"n{number}",
                    "payload": {"content": number},
                },
            }
        )
        for number in range(100)
    ]
    for text in texts:
        one.socket.send(text)
    one.socket.close()
    two = user(alice)
    for text in texts:
        two.socket.send(text)
    answers = [two.answer(f"s{number}")["result"]["messageSeq"] for number in range(100)]
    assert answers == list(range(1, 101))
    history = [json.loads(text)["content"] for _, text in api.history(alice, bob, limit=200)]
    assert history == list(range(100))
