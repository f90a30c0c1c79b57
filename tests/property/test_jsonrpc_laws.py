"""JSON-RPC: no message does worse than a refusal, and what goes out is what the SDKs can bear."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from wukong_easy_sdk.protocol import decode_frame, message_identity, successful_result

from zmqim.errors import WireError
from zmqim.jsonrpc.codec import ServerCodec, Taken
from zmqim.jsonrpc.texts import received
from zmqim.limits import FRAME_BYTES_MAX, STRING_BYTES_MAX
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    Event,
    FromServer,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
)

CONNECT = b'{"id":"c","method":"connect","params":{"uid":"u"}}'
METHODS = ("connect", "send", "ping", "recvack", "disconnect", "subscribe", "unsubscribe", "other")
U8, U63 = st.integers(0, 255), st.integers(0, 2**63 - 1)
REASONS = st.integers(0, 40)
NAMES = st.text(st.characters(codec="utf-8"), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
MEMBERS = (
    "uid", "token", "version", "deviceId", "device_id", "deviceFlag", "clientTimestamp",
    "channelId", "channel_id", "channelType", "channel_type", "clientMsgNo", "payload", "header",
    "setting", "topic", "expire", "messageId", "message_id", "messageSeq", "message_seq",
    "reasonCode", "reason",
)  # fmt: skip
LIKELY = st.sampled_from([1, 0, "1", "name", "e30=", "{}", {}, {"redDot": True}, {"a": [1]}])
PARAMS = st.dictionaries(st.sampled_from(MEMBERS), LIKELY | JSON, max_size=12)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "id": NAMES | JSON,
        "method": st.sampled_from(METHODS) | JSON,
        "jsonrpc": st.just("2.0") | JSON,
        "params": PARAMS | JSON,
    },
).map(lambda request: json.dumps(request).encode())
PAYLOADS = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(NAMES, JSON, max_size=4).map(lambda value: json.dumps(value).encode())
)
RECVS = st.builds(
    Recv, U63, U63, st.integers(0, 2**31), NAMES, NAMES, U8, NAMES, PAYLOADS, U8,
    st.integers(0, 15), st.integers(0, 2**32 - 1), NAMES,
)  # fmt: skip
EVENTS = st.builds(Event, NAMES, NAMES, U63, PAYLOADS, st.integers(0, 15))
PACKETS: st.SearchStrategy[FromServer] = st.one_of(
    st.builds(Sendack, U63, st.integers(1, 3), U63, REASONS, NAMES),
    st.builds(Disconnect, REASONS, NAMES),
    st.just(Pong()),
    RECVS,
    EVENTS,
)


def connected() -> ServerCodec:
    codec = ServerCodec()
    codec.take(CONNECT)
    codec.text_of(Connack(1))
    return codec


def bear(text: bytes) -> dict[str, Any]:
    """Read a message as the Easy SDK for Python does, which ends its session on any breach."""
    assert len(text) <= FRAME_BYTES_MAX
    frame = decode_frame(text.decode())
    assert frame["jsonrpc"] == "2.0"
    if "id" in frame:
        assert isinstance(frame["id"], str)
        assert "method" not in frame
        assert ("result" in frame) != ("error" in frame)
        if "error" in frame:
            assert type(frame["error"]["code"]) is int
            assert frame["error"]["message"]
        elif frame["result"] is not None:
            successful_result(frame["result"])
        return frame
    params = frame["params"]
    match frame["method"]:
        case "recv":
            message_identity(params)
            assert isinstance(params["header"], dict)
            assert isinstance(params["channelId"], str)
            assert isinstance(params["fromUid"], str)
            assert type(params["channelType"]) is type(params["timestamp"]) is int
            assert isinstance(params["payload"], (dict, str))
        case "event":
            assert params["id"]
            assert params["type"]
            assert type(params["timestamp"]) is int
            assert isinstance(params["data"], str)
        case "disconnect":
            assert type(params["reasonCode"]) is int
        case method:
            raise AssertionError(method)
    return frame


def judge(codec: ServerCodec, taken: Taken, was_open: bool) -> None:
    """Whatever was taken: a packet within its bounds, or an answer; the end only before OPEN."""
    if taken.answer:
        bear(taken.answer)
    assert taken.packet is not None or taken.answer
    assert not (taken.is_over and was_open)
    packet = taken.packet
    match packet:
        case Connect():
            assert 0 <= packet.device_flag <= 255
            assert abs(packet.client_timestamp) < 2**63
        case Send():
            assert 0 <= packet.channel_type <= 255
            assert 0 <= packet.setting | packet.flags <= 255
            for text in (packet.channel_id, packet.client_msg_no, packet.topic):
                assert len(text.encode()) <= STRING_BYTES_MAX
            answer = bear(codec.text_of(Sendack(1, packet.client_seq, 1, 1)))
            assert answer["result"]["messageId"] == "1"
        case Recvack():
            assert 0 <= packet.message_id < 2**63
            assert 0 <= packet.message_seq < 2**63
        case Ping():
            if text := codec.text_of(Pong()):
                assert bear(text)["result"] is None
        case Disconnect():
            assert 0 <= packet.reason <= 255
        case _:
            assert packet is None
    assert codec.requests_open == 0


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode) | REQUESTS)
@example(b"[" * 5_000)
@example(b'{"id":"a","method":"send","params":{"payload":' * 2_000)
def test_no_message_does_worse_than_a_refusal(message: bytes) -> None:
    for codec, is_open in ((ServerCodec(), False), (connected(), True)):
        judge(codec, codec.take(message), is_open)


@given(st.data(), REQUESTS)
def test_nor_does_a_message_with_bytes_changed_or_left_out(
    data: st.DataObject, text: bytes
) -> None:
    place = data.draw(st.integers(0, len(text)))
    other = data.draw(st.binary(max_size=3))
    codec = connected()
    judge(codec, codec.take(text[:place] + other + text[place + len(other) + 1 :]), True)


@given(st.lists(PACKETS, max_size=8))
def test_whatever_the_gateway_says_the_strictest_sdk_bears(packets: list[FromServer]) -> None:
    codec = connected()
    for name in ("a", "b", "c"):
        codec.take(
            json.dumps(
                {
                    "id": name,
                    "method": "send",
                    "params": {"channelId": "g", "channelType": 2, "payload": {}},
                }
            ).encode()
        )
    for packet in packets:
        try:
            text = codec.text_of(packet)
        except WireError:
            assert isinstance(packet, (Event, Sendack))
        else:
            assert text or isinstance(packet, Pong)
            if text:
                bear(text)


@given(REASONS, st.integers(-(2**62), 2**62), U63)
def test_every_answer_to_connect_can_be_borne(reason: int, time_diff: int, node: int) -> None:
    codec = ServerCodec()
    codec.take(CONNECT)
    answer = bear(codec.text_of(Connack(reason, time_diff, node)))
    assert answer["id"] == "c"
    assert ("result" in answer) == (reason == 1)


@given(RECVS)
def test_a_payload_arrives_as_it_was(packet: Recv) -> None:
    shown = bear(received(packet))["params"]["payload"]
    if isinstance(shown, dict):
        assert repr(shown) == repr(json.loads(packet.payload))
    else:
        assert base64.b64decode(shown, validate=True) == packet.payload


@given(NAMES, U8, NAMES, PAYLOADS, st.booleans(), st.booleans(), NAMES)
def test_a_message_is_read_as_its_sender_meant_it_in_either_spelling(
    channel: str, kind: int, number: str, payload: bytes, red: bool, snake: bool, topic: str
) -> None:
    names = ["channel_id", "channel_type", "client_msg_no", "topic", "payload", "header"]
    flag = "red_dot"
    if not snake:
        names = ["channelId", "channelType", "clientMsgNo", "topic", "payload", "header"]
        flag = "redDot"
    try:
        json.loads(base64.b64encode(payload))
    except ValueError:
        pass
    else:
        payload = b"{}"  # what is JSON is not taken for base64
    values = [channel, kind, number, topic, base64.b64encode(payload).decode(), {flag: red}]
    request = {"id": "s", "method": "send", "params": dict(zip(names, values, strict=True))}
    packet = connected().take(json.dumps(request).encode()).packet
    setting = 8 if topic else 0
    assert packet == Send(1, number, channel, kind, payload, setting, 2 * red, 0, topic)
