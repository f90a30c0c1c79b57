"""JSON-RPC: every method in both spellings, every answer, and what is refused with a sentence."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from zmqim.errors import WireError
from zmqim.jsonrpc.codec import ServerCodec, Taken
from zmqim.jsonrpc.texts import received
from zmqim.limits import (
    CONNECT_FRAME_BYTES_MAX,
    FRAME_BYTES_MAX,
    JSONRPC_REQUESTS_OPEN_MAX,
    PAYLOAD_BYTES_MAX,
    STRING_BYTES_MAX,
)
from zmqim.wkproto.codec import LATEST_VERSION
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    Event,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
    Setting,
    Suback,
)

NO_PERSIST, RED_DOT, SYNC_ONCE, DUP = 1, 2, 4, 8
CONNECT = {
    "uid": "alice",
    "token": "secret",
    "deviceId": "desk",
    "deviceFlag": 2,
    "clientTimestamp": 1_700_000_000_000,
}
OBJECT = {"type": 1, "content": "hello"}


def message(method: str | None = None, request_id: object = None, **params: object) -> bytes:
    outer: dict[str, object] = {"params": params}
    if method is not None:
        outer["method"] = method
    if request_id is not None:
        outer["id"] = request_id
    return json.dumps(outer).encode()


def send_of(request_id: object = "s1", **changes: object) -> bytes:
    params = {"channelId": "bob", "channelType": 1, "clientMsgNo": "n1", "payload": OBJECT}
    return message("send", request_id, **{**params, **changes})


def connected() -> ServerCodec:
    """A codec whose client is online."""
    codec = ServerCodec()
    assert isinstance(codec.take(message("connect", "c1", **CONNECT)).packet, Connect)
    codec.text_of(Connack(1))
    return codec


def packet_of(taken: Taken) -> Any:
    """The packet of a message that is not answered at once."""
    assert (taken.answer, taken.is_over) == (b"", False)
    assert taken.packet is not None
    return taken.packet


def refused(taken: Taken, is_over: bool = False) -> tuple[str, int, str]:
    """(id, code, sentence) of a message that is only refused."""
    assert (taken.packet, taken.is_over) == (None, is_over)
    answer = json.loads(taken.answer)
    assert set(answer) == {"jsonrpc", "id", "error"}
    assert set(answer["error"]) == {"code", "message"}
    return answer["id"], answer["error"]["code"], answer["error"]["message"]


def result_in(text: bytes) -> tuple[str, Any]:
    """(id, result) of a response."""
    answer = json.loads(text)
    assert set(answer) == {"jsonrpc", "id", "result"}
    return answer["id"], answer["result"]


# ---- connect -------------------------------------------------------------------------------------


def test_connect_is_read_and_answered_in_both_spellings() -> None:
    codec = ServerCodec()
    packet = packet_of(codec.take(message("connect", "c1", **CONNECT)))
    assert packet == Connect(LATEST_VERSION, 2, "desk", "alice", "secret", 1_700_000_000_000, "")
    request_id, result = result_in(codec.text_of(Connack(1, -15, 7)))
    assert request_id == "c1"
    assert result == {
        "reasonCode": 1,
        "reason_code": 1,
        "serverVersion": LATEST_VERSION,
        "server_version": LATEST_VERSION,
        "serverKey": "",
        "server_key": "",
        "salt": "",
        "timeDiff": -15,
        "time_diff": -15,
        "nodeId": 7,
        "node_id": 7,
    }


def test_snake_case_is_read_and_camel_case_wins() -> None:
    snake = {"uid": "u", "token": "t", "device_id": "d", "device_flag": 1, "client_timestamp": 5}
    packet = packet_of(ServerCodec().take(message("connect", "c", **snake)))
    assert packet == Connect(LATEST_VERSION, 1, "d", "u", "t", 5, "")
    both = {**snake, "deviceId": "camel", "deviceFlag": 0}
    for params in (both, dict(reversed(both.items()))):
        packet = packet_of(ServerCodec().take(message("connect", "c", **params)))
        assert (packet.device_id, packet.device_flag, packet.client_timestamp) == ("camel", 0, 5)


def test_a_client_of_json_can_be_told_everything_whatever_version_it_names() -> None:
    packet = packet_of(ServerCodec().take(message("connect", "c", uid="u", token="t", version=2)))
    assert packet.version == LATEST_VERSION


def test_without_a_time_of_the_client_there_is_no_difference() -> None:
    codec = ServerCodec()
    codec.take(message("connect", "c1", uid="alice", token=None, version=4, deviceId=None))
    _, result = result_in(codec.text_of(Connack(1, 1_700_000_000_000)))
    assert (result["timeDiff"], result["serverVersion"]) == (0, 4)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("reason", [2, 15, 19, 99])
def test_a_refused_login_is_an_error_with_its_reason_and_a_sentence(reason: int) -> None:
    codec = ServerCodec()
    codec.take(message("connect", "c1", **CONNECT))
    answer = json.loads(codec.text_of(Connack(reason)))
    assert (answer["id"], answer["error"]["code"]) == ("c1", reason)
    assert len(answer["error"]["message"]) > 10
    assert "result" not in answer


@pytest.mark.parametrize(
    "early",
    [
        message("ping", "p"),
        message("send", "s"),
        message("recvack"),
        message("connect", "c"),
        message("connect", **CONNECT),
        message("connect", "", **CONNECT),
        message("connect", 7, **CONNECT),
        message("connect", "c", uid="alice", deviceFlag=256),
        message("connect", "c", uid="alice", deviceFlag=True),
        message("connect", "c", uid="alice", deviceId="\0" * CONNECT_FRAME_BYTES_MAX),
        b"{}",
        b"[]",
        b"{",
        b" ",
        b"",
        b"\xff",
        b'{"jsonrpc":"1.0","id":"c","method":"connect","params":{"uid":"alice"}}',
    ],
)
def test_before_connect_everything_else_is_refused_and_ends_the_connection(early: bytes) -> None:
    assert refused(ServerCodec().take(early), is_over=True)[2]


def test_between_connect_and_its_answer_nothing_may_come() -> None:
    for early in (message("ping", "p"), send_of(), message("connect", "c2", **CONNECT), b"{}"):
        codec = ServerCodec()
        codec.take(message("connect", "c1", **CONNECT))
        assert refused(codec.take(early), is_over=True)[1] < 0


def test_a_second_connect_is_refused_and_the_connection_goes_on() -> None:
    codec = connected()
    assert refused(codec.take(message("connect", "c2", **CONNECT)))[:2] == ("c2", -32600)
    assert isinstance(packet_of(codec.take(send_of())), Send)


# ---- send ----------------------------------------------------------------------------------------


def test_a_send_is_read_and_its_answer_finds_its_id() -> None:
    codec = connected()
    taken = codec.take(
        send_of(
            header={"redDot": True, "noPersist": 0, "sync_once": 1},
            setting={"receipt": True, "signal": None},
            topic="t",
            expire=60,
        )
    )
    setting = Setting.RECEIPT | Setting.TOPIC
    payload = json.dumps(OBJECT).encode()
    assert packet_of(taken) == Send(
        1, "n1", "bob", 1, payload, int(setting), RED_DOT | SYNC_ONCE, 60, "t"
    )
    request_id, result = result_in(codec.text_of(Sendack(1 << 62, 1, 1 << 40, 1)))
    assert request_id == "s1"
    assert result == {
        "reasonCode": 1,
        "reason_code": 1,
        "messageId": str(1 << 62),
        "message_id": str(1 << 62),
        "messageSeq": 1 << 40,
        "message_seq": 1 << 40,
    }
    assert codec.requests_open == 0


def test_a_send_in_snake_case_is_the_same() -> None:
    params: dict[str, object] = {
        "channel_id": "bob",
        "channel_type": 1,
        "client_msg_no": "n1",
        "payload": json.dumps(OBJECT),
        "header": {"no_persist": False, "red_dot": True, "sync_once": False, "dup": False},
    }
    packet = packet_of(connected().take(message("send", "s1", **params)))
    assert packet == Send(1, "n1", "bob", 1, json.dumps(OBJECT).encode(), 0, RED_DOT)


def test_answers_may_come_in_any_order_and_an_id_twice() -> None:
    codec = connected()
    numbers = [packet_of(codec.take(send_of(name))).client_seq for name in ("a", "b", "a")]
    assert numbers == [1, 2, 3]
    assert codec.requests_open == 3
    answered = [result_in(codec.text_of(Sendack(9, number, 1, 1)))[0] for number in (3, 1, 2)]
    assert answered == ["a", "a", "b"]
    with pytest.raises(WireError):
        codec.text_of(Sendack(9, 1, 1, 1))


def test_a_refused_send_is_an_error_with_its_reason_and_a_sentence() -> None:
    codec = connected()
    codec.take(send_of("s1"))
    answer = json.loads(codec.text_of(Sendack(0, 1, 0, 3)))
    assert (answer["id"], answer["error"]["code"]) == ("s1", 3)
    assert answer["error"]["message"] == "the sender is not a member of the channel"


@pytest.mark.parametrize(
    ("given", "payload"),
    [
        ('{"a" : 1.50, "b": 12345678901234567890123}', None),
        ('{"a":{"b":[]}}', None),
        ('"{\\"a\\": 1}"', b'{"a": 1}'),
        ('"1234"', b"1234"),
        ('"null"', b"null"),
        ('"[1,2]"', b"[1,2]"),
        ('"eyJhIjoxfQ=="', b'{"a":1}'),
        ('"AP8="', b"\x00\xff"),
        ('"truE"', base64.b64decode("truE")),
        ('""', b""),
    ],
)
def test_a_payload_comes_as_an_object_as_json_in_a_string_or_as_base64(
    given: str, payload: bytes | None
) -> None:
    text = '{"id":"s","method":"send","params":{"channelId":"b","channelType":2,"payload":%s}}'
    packet = packet_of(connected().take((text % given).encode()))
    assert packet.payload == (given.encode() if payload is None else payload)


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"payload": "no base64!"}, 9),
        ({"payload": "AP8"}, 9),
        ({"payload": "é"}, 9),
        ({"payload": "A" * (PAYLOAD_BYTES_MAX * 2)}, 9),
        ({"payload": [1]}, 9),
        ({"payload": 7}, 9),
        ({"payload": None}, 9),
        ({"channelId": None}, -32602),
        ({"channelId": 7}, -32602),
        ({"channelId": "é" * (STRING_BYTES_MAX // 2 + 1)}, -32602),
        ({"clientMsgNo": "n" * (STRING_BYTES_MAX + 1)}, -32602),
        ({"topic": "\U0001f600" * (STRING_BYTES_MAX // 4 + 1)}, -32602),
        ({"channelType": 256}, -32602),
        ({"channelType": -1}, -32602),
        ({"channelType": True}, -32602),
        ({"channelType": "1"}, -32602),
        ({"header": []}, -32602),
        ({"header": {"redDot": "yes"}}, -32602),
        ({"setting": 128}, -32602),
        ({"expire": -1}, -32602),
        ({"expire": 2**32}, -32602),
    ],
)
def test_a_send_that_cannot_be_is_refused_and_leaves_nothing_behind(
    changes: dict[str, object], code: int
) -> None:
    codec = connected()
    request_id, found, sentence = refused(codec.take(send_of("s1", **changes)))
    assert (request_id, found) == ("s1", code)
    assert len(sentence) > 10
    assert codec.requests_open == 0
    assert packet_of(codec.take(send_of())).client_seq == 1


def test_a_payload_above_the_bound_is_refused_with_the_bound() -> None:
    codec = connected()
    packet_of(codec.take(send_of()))
    answer = json.loads(codec.text_of(Sendack(0, 1, 0, 9)))
    assert str(PAYLOAD_BYTES_MAX) in answer["error"]["message"]


def test_what_must_be_there_is_named_when_it_is_missing() -> None:
    codec = connected()
    for params in ({}, {"channelId": "b"}, {"channelId": "b", "channelType": 1}):
        _, code, sentence = refused(codec.take(message("send", "s", **params)))
        assert code == -32602
        assert "missing required field" in sentence


def test_a_send_without_an_id_is_refused() -> None:
    assert refused(connected().take(send_of(None)))[:2] == ("", -32600)


def test_above_the_bound_requests_are_refused_until_some_are_answered() -> None:
    codec = connected()
    for number in range(1, JSONRPC_REQUESTS_OPEN_MAX):
        assert packet_of(codec.take(send_of())).client_seq == number
    assert packet_of(codec.take(message("ping", "p"))) == Ping()
    assert refused(codec.take(send_of("late")))[:2] == ("late", 22)
    assert refused(codec.take(message("ping", "late")))[:2] == ("late", 22)
    codec.text_of(Pong())
    assert packet_of(codec.take(send_of())).client_seq == JSONRPC_REQUESTS_OPEN_MAX


# ---- the other methods ---------------------------------------------------------------------------


def test_a_ping_is_answered_with_a_null_result() -> None:
    codec = connected()
    for outer in (b'{"id":"p1","method":"ping"}', b'{"id":"p2","method":"ping","params":null}'):
        assert packet_of(codec.take(outer)) == Ping()
    assert packet_of(codec.take(message("ping"))) == Ping()
    assert packet_of(codec.take(message("ping", "p3"))) == Ping()
    assert codec.text_of(Pong()) == b'{"jsonrpc":"2.0","id":"p1","result":null}'
    assert result_in(codec.text_of(Pong())) == ("p2", None)
    assert codec.text_of(Pong()) == b""
    assert result_in(codec.text_of(Pong())) == ("p3", None)


@pytest.mark.parametrize(
    "params",
    [
        {"messageId": "1234567890123456789", "messageSeq": 7, "header": {"redDot": True}},
        {"message_id": "1234567890123456789", "message_seq": 7, "header": {"red_dot": 1}},
        {"messageId": 1234567890123456789, "messageSeq": 7, "header": {"redDot": True, "x": 0}},
    ],
)
def test_a_recvack_has_no_answer(params: dict[str, object]) -> None:
    packet = packet_of(connected().take(message("recvack", **params)))
    assert packet == Recvack(1234567890123456789, 7, RED_DOT)


def test_a_recvack_with_an_id_is_answered_at_once() -> None:
    taken = connected().take(message("recvack", "r", messageId="1", messageSeq=1))
    assert (taken.packet, taken.is_over) == (Recvack(1, 1), False)
    assert result_in(taken.answer) == ("r", None)


@pytest.mark.parametrize("bad", ["", "x", "-1", "+1", " 1", "1_0", "٣", str(2**63), 2**63, -1])
def test_a_recvack_of_no_message_id_is_refused(bad: object) -> None:
    codec = connected()
    assert refused(codec.take(message("recvack", messageId=bad, messageSeq=1)))[1] == -32602
    assert refused(codec.take(message("recvack", messageId="1")))[1] == -32602


def test_a_client_may_say_that_it_leaves() -> None:
    taken = connected().take(message("disconnect", "d", reasonCode=0, reason="bye"))
    assert (taken.packet, taken.is_over) == (Disconnect(0, "bye"), False)
    assert result_in(taken.answer) == ("d", None)
    left = packet_of(connected().take(message("disconnect", reason_code=3)))
    assert left == Disconnect(3, "")


@pytest.mark.parametrize("method", ["subscribe", "unsubscribe"])
def test_subscriptions_are_not_served_and_say_so(method: str) -> None:
    params = {"subNo": "1", "channelId": "g", "channelType": 2}
    request_id, code, sentence = refused(connected().take(message(method, "u", **params)))
    assert (request_id, code) == ("u", 11)
    assert sentence.startswith(f"{method} is not served")


def test_an_unknown_method_is_named() -> None:
    request_id, code, sentence = refused(connected().take(message("x" * 1_000, "u")))
    assert (request_id, code) == ("u", -32601)
    assert len(sentence) < 100


# ---- hostile messages ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hostile", "expected"),
    [
        (b"", ("", -32700)),
        (b"{", ("", -32700)),
        (b"\xff\xfe", ("", -32700)),
        (b'{"id":"a","method":"ping","params":{"x":"\xff"}}', ("", -32700)),
        (b'{"id":"a","method":"ping","params":{"x":NaN}}', ("", -32700)),
        (b'{"id":"a","method":"ping"} {}', ("", -32700)),
        (b'{"params":' * 100_000, ("", -32700)),
        (b"[" * 100_000, ("", -32600)),
        (b"null", ("", -32600)),
        (b"7", ("", -32600)),
        (b'"text"', ("", -32600)),
        (b"{}", ("", -32600)),
        (b'{"id":"a"}', ("a", -32600)),
        (b'{"id":"a","result":{}}', ("a", -32600)),
        (b'{"id":"a","method":7}', ("a", -32600)),
        (b'{"id":"a","method":null}', ("a", -32600)),
        (b'{"id":"a","method":"ping","jsonrpc":"1.0"}', ("a", -32600)),
        (b'{"id":"a","method":"ping","jsonrpc":2.0}', ("a", -32600)),
        (b'{"id":"a","method":"ping","jsonrpc":"' + b"2" * 10_000 + b'"}', ("a", -32600)),
        (b'{"id":7,"method":"ping"}', ("", -32600)),
        (b'{"id":null,"method":"ping"}', ("", -32600)),
        (b'{"id":["a"],"method":"ping"}', ("", -32600)),
        (b'{"id":"' + b"x" * 129 + b'","method":"ping"}', ("", -32600)),
        (b'{"id":"a","method":"send","params":[]}', ("a", -32602)),
        (b'{"id":"a","method":"send","params":7}', ("a", -32602)),
        (b'{"id":"a","method":"send","params":{"payload":1e999}}', ("a", -32602)),
    ],
)
def test_after_connect_what_is_no_request_is_refused_and_the_connection_goes_on(
    hostile: bytes, expected: tuple[str, int]
) -> None:
    codec = connected()
    request_id, code, sentence = refused(codec.take(hostile))
    assert (request_id, code) == expected
    assert 10 < len(sentence) <= 200
    assert packet_of(codec.take(message("ping", "p"))) == Ping()


def test_a_batch_is_refused_with_a_sentence() -> None:
    batch = b" [" + send_of() + b"," + send_of() + b"]"
    _, code, sentence = refused(connected().take(batch))
    assert (code, "batches are not served" in sentence) == (-32600, True)


def test_a_message_above_the_bound_ends_the_connection() -> None:
    codec = connected()
    assert codec.message_bytes_max == FRAME_BYTES_MAX
    fits = b'{"id":"p","method":"ping"}'.ljust(FRAME_BYTES_MAX)
    assert packet_of(codec.take(fits)) == Ping()
    assert "above 1048576 bytes" in refused(codec.take(fits + b" "), is_over=True)[2]


def test_a_deep_payload_is_refused_or_taken_but_breaks_nothing() -> None:
    codec = connected()
    for depth in (10, *range(800, 1_010), 5_000, 50_000):
        text = b'{"id":"s","method":"send","params":{"channelId":"b","channelType":1,"payload":'
        codec.take(text + b'{"a":' * depth + b"1" + b"}" * depth + b"}}")
        in_a_string = json.dumps('{"a":' * depth + "1" + "}" * depth).encode()
        codec.take(text + in_a_string + b"}}")
    assert packet_of(codec.take(message("ping", "p"))) == Ping()


# ---- notifications -------------------------------------------------------------------------------


def params_of(text: bytes, method: str) -> dict[str, Any]:
    """The params of a notification."""
    outer = json.loads(text)
    assert set(outer) == {"jsonrpc", "method", "params"}
    assert (outer["jsonrpc"], outer["method"]) == ("2.0", method)
    params: dict[str, Any] = outer["params"]
    return params


def recv_of(payload: bytes, **more: Any) -> Recv:
    return Recv(1234567890123456789, 12, 1_725_000_000, "bob", "bob", 1, "n1", payload, **more)


def test_a_recv_always_has_a_header_and_shows_what_is_set() -> None:
    plain = params_of(connected().text_of(recv_of(b'{"a":1}')), "recv")
    assert plain == {
        "header": {"noPersist": False, "redDot": False, "syncOnce": False, "dup": False},
        "messageId": "1234567890123456789",
        "messageSeq": 12,
        "clientMsgNo": "n1",
        "timestamp": 1_725_000_000,
        "channelId": "bob",
        "channelType": 1,
        "fromUid": "bob",
        "payload": {"a": 1},
    }
    setting = int(Setting.TOPIC | Setting.RECEIPT | Setting.NO_ENCRYPT | Setting.STREAM)
    flags = NO_PERSIST | RED_DOT | DUP
    full = params_of(
        received(recv_of(b"", setting=setting, flags=flags, expire=9, topic="t")), "recv"
    )
    assert full["header"] == {"noPersist": True, "redDot": True, "syncOnce": False, "dup": True}
    assert full["setting"] == {
        "receipt": True,
        "signal": False,
        "topic": True,
        "stream": True,
    }
    assert (full["topic"], full["expire"], full["payload"]) == ("t", 9, "")


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b' \n{"a" : 1}\n',
        '{"content":"grüß dich \\u0000 \U0001f600","n":[1,2.5,null,true]}'.encode(),
        b'{"n":99999999999999999999999999999}',
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"a":[1,' + b"{}," * 1_000 + b"{}]}",
    ],
)
def test_an_object_goes_out_as_it_was_written(payload: bytes) -> None:
    text = received(recv_of(payload))
    assert b'"payload":' + payload in text
    assert params_of(text, "recv")["payload"] == json.loads(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"words",
        b"[1]",
        b'"text"',
        b"7",
        b"null",
        b"\x00\xff",
        b"{",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":1},"injected":{}',
        b'{"a":' * 101 + b"1" + b"}" * 101,
        b'{"a":' + b"[" * 101 + b"]" * 101 + b"}",
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    ],
)
def test_everything_else_goes_out_as_base64(payload: bytes) -> None:
    assert base64.b64decode(params_of(received(recv_of(payload)), "recv")["payload"]) == payload


def test_a_kick_is_told_with_its_reason() -> None:
    params = params_of(connected().text_of(Disconnect(12, "logged in elsewhere")), "disconnect")
    assert params == {"reasonCode": 12, "reason_code": 12, "reason": "logged in elsewhere"}


def test_an_event_carries_its_data_as_a_string() -> None:
    event = Event("e1", "stream.delta", 1_725_000_000_123, b'{"a":1}')
    params = params_of(connected().text_of(event), "event")
    assert params.pop("header")["redDot"] is False
    assert params == {
        "id": "e1",
        "type": "stream.delta",
        "timestamp": 1_725_000_000_123,
        "data": '{"a":1}',
    }


@pytest.mark.parametrize(
    "packet",
    [
        Event("", "t", 1, b""),
        Event("e", "", 1, b""),
        Event("e", "t", 1, b"\xff"),
        Event("e", "t", 1, b"\0" * (FRAME_BYTES_MAX // 6)),
        Suback("1", "g", 2, 0, 11),
        Sendack(1, 1, 1, 1),
    ],
)
def test_what_cannot_be_said_is_a_wire_error(packet: Any) -> None:
    with pytest.raises(WireError):
        connected().text_of(packet)
