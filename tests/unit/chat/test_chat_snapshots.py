"""What the events of a lane come to, and payloads that do not fit."""

from __future__ import annotations

import json

import pytest

from zmqim.chat.codes import EventType
from zmqim.chat.snapshots import DEPTH_MAX, end_of, fault_of, grown

OPEN, DELTA, SNAPSHOT, CLOSE = (
    EventType.OPEN,
    EventType.DELTA,
    EventType.SNAPSHOT,
    EventType.CLOSE,
)


def text(words: str) -> bytes:
    return json.dumps({"kind": "text", "text": words}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("events", "snapshot"),
    [
        ([(OPEN, b"")], b""),
        ([(OPEN, b'{"model":"m"}')], b""),
        ([(DELTA, b'{"delta":"a"}'), (DELTA, b'{"kind":"text","delta":"b\\n"}')], text("ab\n")),
        ([(DELTA, b'{"delta":""}')], text("")),
        ([(DELTA, b'{"delta":"a"}'), (SNAPSHOT, b'{"text":"new","lang":"en"}')],
         b'{"text":"new","lang":"en"}'),
        ([(SNAPSHOT, b'{"text":"new","lang":"en"}'), (DELTA, b'{"delta":"er"}')], text("newer")),
        ([(DELTA, b'{"delta":"a"}'), (DELTA, b'{"kind":"plan","step":1}')],
         b'{"kind":"plan","step":1}'),
        ([(DELTA, b'{"kind":"plan","step":1}'), (DELTA, b'{"delta":"a"}')], text("a")),
        ([(DELTA, b'{"delta":"a"}'), (CLOSE, b'{"end_reason":1}')], text("a")),
        ([(DELTA, b'{"delta":"a"}'), (CLOSE, b'{"snapshot":{"kind":"text","text":"A"}}')],
         text("A")),
    ],
)  # fmt: skip
def test_events_come_to_a_snapshot(events: list[tuple[int, bytes]], snapshot: bytes) -> None:
    assert grown(b"", events) == snapshot
    folded = b""
    for event in events:
        folded = grown(folded, [event])
    assert folded == snapshot


@pytest.mark.parametrize(
    ("event_type", "payload", "why"),
    [
        (DELTA, b"", "needs a payload"),
        (SNAPSHOT, b"", "needs a payload"),
        (DELTA, b"{}", "needs the string `delta`"),
        (SNAPSHOT, b'{"delta":"a"}', "needs the string `text`"),
        (DELTA, b'{"delta":{"a":1}}', "does not fit"),
        (DELTA, b'{"kind":7}', "does not fit"),
        (DELTA, b"[1]", "does not fit"),
        (DELTA, b'{"delta":"a"', "does not fit"),
        (DELTA, b'{"delta":"\xff"}', "does not fit"),
        (OPEN, b'{"x":"\xff"}', "does not fit"),
        (CLOSE, b'{"snapshot":"text"}', "no object"),
        (CLOSE, b'{"end_reason":"done"}', "does not fit"),
        (CLOSE, b'{"end_reason":-1}', "does not fit"),
        (CLOSE, b'{"end_reason":%d}' % 10**30, "does not fit"),
        (CLOSE, b'{"error":"%s"}' % (b"e" * 1_001), "does not fit"),
        (OPEN, b'{"n":1e400}', "does not fit"),
        (OPEN, b'{"n":%s}' % (b"9" * 5_000), "does not fit"),
        (OPEN, b'{"a":' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}", "nested deeper"),
        (OPEN, b'{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}", "nested deeper"),
    ],
)
def test_a_payload_that_does_not_fit_is_named(event_type: int, payload: bytes, why: str) -> None:
    assert why in fault_of(event_type, payload)


@pytest.mark.parametrize(
    ("event_type", "payload"),
    [
        (OPEN, b""),
        (CLOSE, b""),
        (DELTA, b'{"delta":"a"}'),
        (DELTA, b'{"kind":"plan"}'),
        (DELTA, b'{"kind":"plan","delta":[1],"error":{},"end_reason":"x","snapshot":1}'),
        (OPEN, b'{"kind":7,"error":{}}'),
        (CLOSE, b'{"kind":7,"delta":1,"end_reason":2147483647}'),
        (DELTA, json.dumps({"delta": "{[" * 100 + '"\\'}).encode()),
        (OPEN, b'{"a":[' + b"{}," * 100 + b"{}]}"),
    ],
)
def test_what_fits_is_taken(event_type: int, payload: bytes) -> None:
    assert fault_of(event_type, payload) == ""


def test_an_end_has_a_reason_and_an_error_or_neither() -> None:
    assert end_of(b"") == (0, "")
    assert end_of(b'{"end_reason":3,"error":"no model","snapshot":{}}') == (3, "no model")
