"""What the events of a lane come to, and what their payloads must look like.

Payloads are JSON objects. `kind` says what they hold, "text" if it is left out:

    stream.delta      {"kind": "text", "delta": "…"}        the text is added to the snapshot
    stream.snapshot   {"kind": "text", "text": "…"}         the snapshot is replaced
    any that ends     {"end_reason": 0, "error": "…", "snapshot": {…}}   all of it may be left out

So the snapshot of text is ``{"kind": "text", "text": …}``, as the peer and the pages of its SDKs
have it. Of another kind nothing is known here: the payload of its last delta or snapshot is the
snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from zmqim.chat.codes import EventType
from zmqim.limits import STREAM_ERROR_CHARACTERS_MAX

_DELTA: Final = int(EventType.DELTA)
_SNAPSHOT: Final = int(EventType.SNAPSHOT)
ENDING: Final = frozenset((EventType.CLOSE, EventType.ERROR, EventType.CANCEL, EventType.FINISH))
"""After one of these nothing is added."""
_TEXT: Final = "text"
_TEXT_MEMBER: Final = {_DELTA: "delta", _SNAPSHOT: "text"}
DEPTH_MAX: Final = 64
"""Of objects and lists in a payload. Above: refused."""
_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)


class _Said(msgspec.Struct, frozen=True):
    """Of a delta or a snapshot."""

    kind: str = _TEXT
    delta: msgspec.Raw = msgspec.Raw(b"")
    text: msgspec.Raw = msgspec.Raw(b"")


class _End(msgspec.Struct, frozen=True):
    """Of an event that ends a lane."""

    end_reason: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    error: Annotated[str, msgspec.Meta(max_length=STREAM_ERROR_CHARACTERS_MAX)] = ""
    snapshot: msgspec.Raw = msgspec.Raw(b"")


class _Text(msgspec.Struct, frozen=True):
    kind: str
    text: str


_read_said: Final = msgspec.json.Decoder(_Said).decode
_read_end: Final = msgspec.json.Decoder(_End).decode
_read_object: Final = msgspec.json.Decoder(dict[str, object]).decode
_read_text: Final = msgspec.json.Decoder(str).decode
_encode: Final = msgspec.json.Encoder().encode


def fault_of(event_type: int, payload: bytes) -> str:
    """Why `payload` does not fit that type of event, as a sentence; "" if it does."""
    if not payload:
        return "a delta needs a payload" if event_type in (_DELTA, _SNAPSHOT) else ""
    if _is_deep(payload):
        return f"the payload is nested deeper than {DEPTH_MAX}"
    try:
        payload.decode()
        _read_object(payload)
        if event_type in ENDING:
            snapshot = bytes(_read_end(payload).snapshot)
            return "the payload's snapshot is no object" if snapshot[:1] not in (b"", b"{") else ""
        if event_type in _TEXT_MEMBER:
            return _fault_of_text(event_type, _read_said(payload))
    except (msgspec.MsgspecError, ValueError):
        # Not in the library's words: replicas with another version of it must say the same.
        return "the payload does not fit: it is not the JSON object that its event_type has"
    return ""


def _fault_of_text(event_type: int, said: _Said) -> str:
    if said.kind != _TEXT:
        return ""
    text = said.delta if event_type == _DELTA else said.text
    if not bytes(text):
        return f"a payload of kind text needs the string `{_TEXT_MEMBER[event_type]}`"
    _read_text(text)
    return ""


def _is_deep(payload: bytes) -> bool:
    """Counted here: how deep a decoder can follow depends on who calls it, and all replicas have to
    judge alike."""
    if payload.count(b"{") + payload.count(b"[") <= DEPTH_MAX:
        return False
    depth = 0
    for token in _TOKENS.findall(payload):
        if token in (b"{", b"["):
            depth += 1
            if depth > DEPTH_MAX:
                return True
        elif token in (b"}", b"]"):
            depth -= 1
    return False


def end_of(payload: bytes) -> tuple[int, str]:
    """(end_reason, error) of an event that ends a lane."""
    found = _read_end(payload) if payload else _End()
    return found.end_reason, found.error


def grown(snapshot: bytes, events: Iterable[tuple[int, bytes]]) -> bytes:
    """`snapshot` (b"" at first) with the (type, payload) of further events, in order."""
    parts: list[str] = []
    for event_type, payload in events:
        if not payload:
            continue
        if event_type in ENDING:
            end = bytes(_read_end(payload).snapshot)
            if end:
                snapshot = end
                parts = []
        elif event_type in _TEXT_MEMBER:
            said = _read_said(payload)
            if event_type == _SNAPSHOT or said.kind != _TEXT:
                snapshot = payload
                parts = []
                continue
            if not parts:
                parts.append(_text_of(snapshot))
            parts.append(_read_text(said.delta))
    return _encode(_Text(_TEXT, "".join(parts))) if parts else snapshot


def _text_of(snapshot: bytes) -> str:
    """The text of a snapshot, "" if it is of another kind."""
    found = _read_said(snapshot) if snapshot else _Said()
    if found.kind != _TEXT or bytes(found.text)[:1] != b'"':
        return ""
    return _read_text(found.text)
