"""What the server says in JSON-RPC: responses and notifications, each the text of one message.

Everything keeps to what the strictest SDK requires: an id is a string, a response
has either `result` or `error`, `recv` has a header, numbers are integers and so never NaN. Results
carry the members in both spellings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from zmqim.chat.codes import MessageFlag
from zmqim.errors import WireError
from zmqim.jsonrpc.payloads import form_of
from zmqim.limits import FRAME_BYTES_MAX
from zmqim.wkproto.packets import Connack, Disconnect, Event, Recv, Sendack, Setting

VERSION: Final = "2.0"
_FLAGS_MASK: Final = 15
_TOPIC: Final = int(Setting.TOPIC)
_SHOWN_SETTINGS: Final = int(Setting.RECEIPT | Setting.SIGNAL | Setting.TOPIC | Setting.STREAM)
"""Plain numbers: an enumeration's member costs a look-up for each message."""

_encode: Final = msgspec.json.Encoder().encode


def result(request_id: str, value: Mapping[str, object] | None) -> bytes:
    """The response to a request that was done."""
    return _encode({"jsonrpc": VERSION, "id": request_id, "result": value})


def error(request_id: str, code: int, sentence: str) -> bytes:
    """The response to a request that was not; an empty id if the request's is not known."""
    fault = {"code": code, "message": sentence}
    return _encode({"jsonrpc": VERSION, "id": request_id, "error": fault})


def connected(request_id: str, packet: Connack, version: int, time_diff: int) -> bytes:
    """The response to connect; nothing is encrypted, so there is no key and no salt."""
    return result(
        request_id,
        {
            "reasonCode": packet.reason,
            "reason_code": packet.reason,
            "serverVersion": version,
            "server_version": version,
            "serverKey": "",
            "server_key": "",
            "salt": "",
            "timeDiff": time_diff,
            "time_diff": time_diff,
            "nodeId": packet.node_id,
            "node_id": packet.node_id,
        },
    )


def sent(request_id: str, packet: Sendack) -> bytes:
    """The response to a send that was done."""
    message_id = str(packet.message_id)
    return result(
        request_id,
        {
            "reasonCode": packet.reason,
            "reason_code": packet.reason,
            "messageId": message_id,
            "message_id": message_id,
            "messageSeq": packet.message_seq,
            "message_seq": packet.message_seq,
        },
    )


def received(packet: Recv) -> bytes:
    """The notification of a message: the same for every connection that gets it."""
    setting = packet.setting & _SHOWN_SETTINGS
    params: dict[str, object] = {
        "header": _HEADERS[packet.flags & _FLAGS_MASK],
        "messageId": str(packet.message_id),
        "messageSeq": packet.message_seq,
        "clientMsgNo": packet.client_msg_no,
        "timestamp": packet.timestamp,
        "channelId": packet.channel_id,
        "channelType": packet.channel_type,
        "fromUid": packet.from_uid,
        "payload": form_of(packet.payload),
    }
    if setting:
        params["setting"] = _setting_of(setting)
    if setting & _TOPIC:
        params["topic"] = packet.topic
    if packet.expire:
        params["expire"] = packet.expire
    return _notification("recv", params)


def happened(packet: Event) -> bytes:
    """The notification of an event, with its data as a string; `WireError` if it cannot be said."""
    if not packet.event_id or not packet.event_type:
        raise WireError("an event without an id or a type")
    try:
        data = packet.data.decode()
    except UnicodeDecodeError:
        raise WireError("the data of an event is not UTF-8") from None
    return _notification(
        "event",
        {
            "header": _HEADERS[packet.flags & _FLAGS_MASK],
            "id": packet.event_id,
            "type": packet.event_type,
            "timestamp": packet.timestamp,
            "data": data,
        },
    )


def ended(packet: Disconnect) -> bytes:
    """The notification that comes before a final close."""
    reason = packet.reason
    return _notification(
        "disconnect", {"reasonCode": reason, "reason_code": reason, "reason": packet.text}
    )


def _notification(method: str, params: Mapping[str, object]) -> bytes:
    text = _encode({"jsonrpc": VERSION, "method": method, "params": params})
    if len(text) > FRAME_BYTES_MAX:
        raise WireError(f"message of {len(text)} bytes, allowed are {FRAME_BYTES_MAX}")
    return text


def _header_of(flags: int) -> Raw:
    return Raw(
        _encode(
            {
                "noPersist": bool(flags & MessageFlag.NO_PERSIST),
                "redDot": bool(flags & MessageFlag.RED_DOT),
                "syncOnce": bool(flags & MessageFlag.SYNC_ONCE),
                "dup": bool(flags & MessageFlag.DUP),
            }
        )
    )


def _setting_of(setting: int) -> Mapping[str, bool]:
    return {
        "receipt": bool(setting & Setting.RECEIPT),
        "signal": bool(setting & Setting.SIGNAL),
        "topic": bool(setting & Setting.TOPIC),
        "stream": bool(setting & Setting.STREAM),
    }


_HEADERS: Final = tuple([_header_of(flags) for flags in range(_FLAGS_MASK + 1)])
"""By the flags of a message."""
