"""Packets ↔ messages of one JSON-RPC connection: the server's end, without input or output.

`take` gives what one message means: a packet for the gateway, the text of an answer that needs no
gateway, or both. `text_of` gives what a packet of the gateway is on this connection. The methods:

    connect, send           requests; their CONNACK and SENDACK become `result` or `error`
    ping                    a request; its PONG is ``"result":null``
    recvack                 a notification
    disconnect              either; answered at once
    subscribe, unsubscribe  refused: who is a member of a channel gets its messages

The packets know no request ids, so they are kept here: of a SEND under a `client_seq` that counts
its connection's SENDs, of PINGs in order. An id that comes twice is answered twice. What cannot be
done gets an `error` with a sentence, and the connection goes on; until connect has succeeded, and
for a message above the bound, the connection ends behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from zmqim.chat.codes import MessageFlag, Reason
from zmqim.chat.refusals import sentence_of
from zmqim.errors import WireError
from zmqim.jsonrpc import shapes, texts
from zmqim.jsonrpc.payloads import bytes_of
from zmqim.jsonrpc.refusal import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Refusal,
)
from zmqim.limits import (
    CONNECT_FRAME_BYTES_MAX,
    FRAME_BYTES_MAX,
    JSONRPC_REQUESTS_OPEN_MAX,
    STRING_BYTES_MAX,
)
from zmqim.wkproto.codec import LATEST_VERSION, negotiated
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    Event,
    FromClient,
    FromServer,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
    Setting,
    Suback,
)

MESSAGE_ID_MAX: Final = 2**63 - 1
NAME_CHARACTERS_MAX: Final = 64
"""How much of an unknown method's name is told back."""
_SUCCESS: Final = int(Reason.SUCCESS)
_TOPIC: Final = int(Setting.TOPIC)
_FLAGS: Final = (
    (int(MessageFlag.NO_PERSIST), "noPersist", "no_persist"),
    (int(MessageFlag.RED_DOT), "redDot", "red_dot"),
    (int(MessageFlag.SYNC_ONCE), "syncOnce", "sync_once"),
)
_SETTINGS: Final = (
    (int(Setting.RECEIPT), "receipt", "receipt"),
    (int(Setting.SIGNAL), "signal", "signal"),
    (_TOPIC, "topic", "topic"),
    (int(Setting.STREAM), "stream", "stream"),
)
_LOGIN_SENTENCES: Final[dict[int, str]] = {
    Reason.SYSTEM_ERROR: "the uid is empty, too long, or has a character that none may have",
    Reason.BANNED: "the user is banned",
}
_NEW: Final = 0
_CONNECTING: Final = 1
_OPEN: Final = 2

_REQUEST: Final = msgspec.json.Decoder(shapes.Request)
_NAMED: Final = msgspec.json.Decoder(shapes.Named)
_Shape = TypeVar("_Shape", bound=shapes.Params)


class Taken(NamedTuple):
    """What one message of the client means."""

    packet: FromClient | None
    """For the gateway."""
    answer: bytes
    """A message for the client; empty if there is none."""
    is_over: bool
    """Whether the connection ends behind the answer."""


class ServerCodec:
    """The server's end of one connection."""

    __slots__ = ("_connect_id", "_has_clock", "_phase", "_pings", "_sends", "_seq", "_version")

    def __init__(self) -> None:
        self._phase = _NEW
        self._connect_id = ""
        self._has_clock = False
        """Whether the client told its time."""
        self._version = 0
        self._seq = 0
        self._sends: dict[int, str] = {}
        """Ids of SENDs without an answer, by `client_seq`."""
        self._pings: deque[str | None] = deque()
        """Ids of PINGs without an answer; None: it came without one."""

    @property
    def message_bytes_max(self) -> int:
        """Bytes that a message may have now."""
        return FRAME_BYTES_MAX if self._phase == _OPEN else CONNECT_FRAME_BYTES_MAX

    @property
    def requests_open(self) -> int:
        """Requests that wait for an answer of the gateway."""
        return len(self._sends) + len(self._pings)

    # ---- from the client ---------------------------------------------------------------------

    def take(self, message: bytes) -> Taken:
        """What the client's next message means."""
        request_id = ""
        try:
            if len(message) > self.message_bytes_max:
                sentence = f"the message is above {self.message_bytes_max} bytes"
                raise Refusal(INVALID_REQUEST, sentence, is_final=True)
            request = _request_in(message)
            request_id = request.id or ""
            if request.method == "send" and self._phase == _OPEN:
                return Taken(self._send(request), b"", False)
            return self._rare(request)
        except Refusal as refusal:
            answer = texts.error(request_id or refusal.request_id, refusal.code, refusal.sentence)
            return Taken(None, answer, refusal.is_final or self._phase != _OPEN)

    def _send(self, request: shapes.Request) -> Send:
        request_id = _id_of(request)
        params = _params_of(shapes.Sending, request)
        payload = bytes_of(params.payload, request.params)
        client_msg_no = _short("clientMsgNo", params.client_msg_no or "")
        channel_id = _short("channelId", params.channel_id)
        topic = _short("topic", params.topic or "")
        setting = _bits(params.setting, _SETTINGS) if params.setting else 0
        flags = _bits(params.header, _FLAGS) if params.header else 0
        self._check_room()
        self._seq += 1
        self._sends[self._seq] = request_id
        return Send(
            self._seq,
            client_msg_no,
            channel_id,
            params.channel_type,
            payload,
            setting | _TOPIC if topic else setting,
            flags,
            params.expire or 0,
            topic,
        )

    def _rare(self, request: shapes.Request) -> Taken:
        method = request.method
        if method == "connect":
            return Taken(self._connect(request), b"", False)
        if self._phase != _OPEN:
            raise Refusal(INVALID_REQUEST, "connect comes first, and its answer before all else")
        packet: FromClient
        match method:
            case "recvack":
                packet = _recvack_of(request)
            case "ping":
                self._check_room()
                self._pings.append(request.id or None)
                return Taken(Ping(), b"", False)
            case "disconnect":
                leaving = _params_of(shapes.Leaving, request)
                packet = Disconnect(leaving.reason_code or 0, leaving.reason or "")
            case "subscribe" | "unsubscribe":
                sentence = f"{method} is not served: a channel's members get its messages"
                raise Refusal(Reason.NOT_ALLOWED, sentence)
            case _:
                name = method[:NAME_CHARACTERS_MAX]
                raise Refusal(METHOD_NOT_FOUND, f"there is no method {name!r}")
        return Taken(packet, texts.result(request.id, None) if request.id else b"", False)

    def _connect(self, request: shapes.Request) -> Connect:
        if self._phase != _NEW:
            raise Refusal(INVALID_REQUEST, "connect came before on this connection")
        request_id = _id_of(request)
        params = _params_of(shapes.Connecting, request)
        self._phase = _CONNECTING
        self._connect_id = request_id
        self._has_clock = bool(params.client_timestamp)
        self._version = negotiated(params.version or 0)
        # What JSON can say does not depend on the version that the client names.
        return Connect(
            LATEST_VERSION,
            params.device_flag or 0,
            params.device_id or "",
            params.uid,
            params.token or "",
            params.client_timestamp or 0,
            "",
        )

    def _check_room(self) -> None:
        if self.requests_open >= JSONRPC_REQUESTS_OPEN_MAX:
            raise Refusal(Reason.RATE_LIMITED, "too many requests wait for their answers")

    # ---- from the gateway --------------------------------------------------------------------

    def text_of(self, packet: FromServer) -> bytes:
        """What `packet` is on this connection, empty if nothing; `WireError` if it cannot be
        said."""
        match packet:
            case Recv():
                return texts.received(packet)
            case Sendack():
                request_id = self._sends.pop(packet.client_seq, None)
                if request_id is None:
                    raise WireError("a SENDACK that nobody waits for")
                if packet.reason == _SUCCESS:
                    return texts.sent(request_id, packet)
                return texts.error(request_id, packet.reason, sentence_of(packet.reason))
            case Pong():
                request_id = self._pings.popleft() if self._pings else None
                return texts.result(request_id, None) if request_id else b""
            case Connack():
                return self._text_of_connack(packet)
            case Disconnect():
                return texts.ended(packet)
            case Event():
                return texts.happened(packet)
            case Suback():
                raise WireError("SUBACK has no form in JSON-RPC")

    def _text_of_connack(self, packet: Connack) -> bytes:
        if packet.reason != _SUCCESS:
            sentence = _LOGIN_SENTENCES.get(packet.reason) or sentence_of(packet.reason)
            return texts.error(self._connect_id, packet.reason, sentence)
        self._phase = _OPEN
        time_diff = packet.time_diff if self._has_clock else 0
        return texts.connected(self._connect_id, packet, self._version, time_diff)


def _request_in(message: bytes) -> shapes.Request:
    """The outer object of a message; `Refusal` if there is none."""
    try:
        message.decode()
        return _REQUEST.decode(message)
    except UnicodeDecodeError:
        raise Refusal(PARSE_ERROR, "the message is not UTF-8") from None
    except RecursionError:
        raise Refusal(PARSE_ERROR, "the message is nested too deeply") from None
    except msgspec.ValidationError as error:
        if message.lstrip()[:1] == b"[":
            sentence = "batches are not served: give each request a message of its own"
        else:
            sentence = f"no JSON-RPC request: {error}"
        raise Refusal(INVALID_REQUEST, sentence, request_id=_id_in(message)) from None
    except msgspec.DecodeError as error:
        raise Refusal(PARSE_ERROR, f"the message is not JSON: {error}") from None


def _id_in(message: bytes) -> str:
    try:
        return _NAMED.decode(message).id
    except (msgspec.DecodeError, RecursionError):
        return ""


def _id_of(request: shapes.Request) -> str:
    if request.id is UNSET or not request.id:
        raise Refusal(INVALID_REQUEST, f"{request.method} needs an id: it is answered")
    return request.id


def _params_of(shape: type[_Shape], request: shapes.Request) -> _Shape:
    try:
        return shapes.read(shape, request.params)
    except msgspec.MsgspecError as error:
        sentence = f"the params of {request.method}: {error}"
        raise Refusal(INVALID_PARAMS, sentence) from None
    except RecursionError:
        raise Refusal(INVALID_PARAMS, "the params are nested too deeply") from None


def _recvack_of(request: shapes.Request) -> Recvack:
    params = _params_of(shapes.Acknowledging, request)
    text = str(params.message_id)
    message_id = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
    if not 0 <= message_id <= MESSAGE_ID_MAX:
        raise Refusal(INVALID_PARAMS, "the params of recvack: message_id is no message id")
    flags = _bits(params.header, _FLAGS) if params.header else 0
    return Recvack(message_id, params.message_seq, flags)


def _short(name: str, text: str) -> str:
    """A string that has room in the packets of every protocol."""
    if len(text) > STRING_BYTES_MAX // 4 and len(text.encode()) > STRING_BYTES_MAX:
        raise Refusal(INVALID_PARAMS, f"{name} is above {STRING_BYTES_MAX} bytes")
    return text


def _bits(given: Mapping[str, object], names: tuple[tuple[int, str, str], ...]) -> int:
    found = 0
    for bit, camel, snake in names:
        if given.get(camel, given.get(snake)):
            found |= bit
    return found
