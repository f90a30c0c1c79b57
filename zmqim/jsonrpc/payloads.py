"""A message's payload between its bytes and the forms that the Easy SDKs give it.

They write JSON objects as they are (iOS), as a string that holds JSON (Android) or as a string that
holds base64 (Flutter, JavaScript, Python); in `recv` all of them read an object, or base64 for
everything else. A string that is valid JSON is never taken for base64.
"""

from __future__ import annotations

import binascii
from typing import Final

import msgspec
from msgspec import Raw

from zmqim.chat.codes import Reason
from zmqim.jsonrpc.refusal import Refusal
from zmqim.jsonrpc.shapes import Holder
from zmqim.limits import PAYLOAD_BYTES_MAX

TEXT_CHARACTERS_MAX: Final = (PAYLOAD_BYTES_MAX + 2) // 3 * 4
"""The largest payload in base64. Above: refused, before anybody reads it."""
NESTING_MAX: Final = 100
"""Objects and arrays within each other in a payload that goes out as an object. Above: it goes out
as base64, because the Python SDK never comes back after a message that its JSON reader gives up,
which it does below a thousand."""

_BAD: Final = int(Reason.PAYLOAD_DECODE_ERROR)
_ANY: Final = msgspec.json.Decoder(object)
_SYNTAX: Final = msgspec.json.Decoder(Raw)
_PAYLOAD: Final = msgspec.json.Decoder(Holder)


def bytes_of(payload: object, params: Raw) -> bytes:
    """The bytes of a payload that was read from `params`; `Refusal` with reason 9.

    An object stays as the client wrote it, every space and digit of it.
    """
    if isinstance(payload, dict):
        return bytes(_PAYLOAD.decode(params).payload)
    if not isinstance(payload, str):
        raise Refusal(_BAD, "the payload must be a JSON object or a string")
    if len(payload) > TEXT_CHARACTERS_MAX:
        raise Refusal(_BAD, f"the payload is above {PAYLOAD_BYTES_MAX} bytes")
    if _is_json(payload):
        return payload.encode()
    try:
        return binascii.a2b_base64(payload, strict_mode=True)
    except ValueError:
        raise Refusal(_BAD, "the payload is neither JSON nor base64") from None


def _is_json(text: str) -> bool:
    try:
        _SYNTAX.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def form_of(payload: bytes) -> Raw | str:
    """What stands in `recv`: the object itself if it is one that every JSON reader takes (finite
    numbers of at most some 38 digits, valid UTF-8, no deep nesting), else base64."""
    if payload.lstrip()[:1] == b"{":
        try:
            value = _ANY.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            openers = payload.count(b"{") + payload.count(b"[")
            if openers <= NESTING_MAX or _nests_at_most(NESTING_MAX, value):
                return Raw(payload)
    return binascii.b2a_base64(payload, newline=False).decode()


def _nests_at_most(levels: int, value: object) -> bool:
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        return True
    return levels > 0 and all(_nests_at_most(levels - 1, one) for one in inner)
