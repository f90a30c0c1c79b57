"""Random input for a gateway, from a seed: bytes, frames and messages, right, nearly so and wrong.

`WkprotoInput` and `JsonInput` draw what a client says; the wires (`TcpWire`, `WebWire`) carry it. A
conversation ends with the client's half of the connection closed and everything read that comes, so
that the gateway has taken in all of it, or closed, when `TcpWire.end` returns.
"""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from random import Random
from typing import Any

from zmqim.wkproto.codec import ClientCodec
from zmqim.wkproto.framing import frame_head
from zmqim.wkproto.packets import Connect, Disconnect, Packet, Ping, Recvack, Send, Setting, Sub

DEADLINE_SECONDS = 20.0
FROM_CLIENT = (1, 3, 6, 7, 9, 10)
"""Packet types that a server reads."""
TEXT, BINARY = 1, 2
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CALL = (
    b"POST /user/token HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    b"Content-Length: 26\r\nToken: guessed\r\n\r\n" + b'{"uid":"ada","token":"x"}\r\n'
)
METHODS = (
    "connect", "send", "recvack", "ping", "disconnect", "subscribe", "unsubscribe", "recv", "",
)  # fmt: skip
FIELDS = (
    "uid", "token", "deviceFlag", "deviceId", "version", "clientTimestamp", "channelId",
    "channelType", "channel_type", "clientMsgNo", "payload", "header", "setting", "expire", "topic",
    "messageId", "messageSeq", "reasonCode", "subNo", "noPersist", "syncOnce", "stream",
)  # fmt: skip
NUMBERS = (0, 1, 2, -1, 255, 256, 2**31, 2**32, 2**53, 2**63, -(2**63), 2**64, 1.5, 1e308, -0.0)
TEXTS = ("", "\0", "a@b", "é" * 300, "\ud83d\ude00", "x" * 40_000, "2", "null", "{}", " ")


class WkprotoInput:
    """What a WKProto client says: `hostile` may be anything, `good` is a frame as it should be."""

    def __init__(self, source: Random, uids: list[str]) -> None:
        self._source = source
        self._uids = uids

    def hostile(self, codec: ClientCodec, *, may_send: bool) -> bytes:
        """Random bytes; a right type with a random body; a lying length; a good frame changed."""
        source = self._source
        match source.randrange(4):
            case 0:
                return source.randbytes(source.randrange(1, 300))
            case 1:
                body = source.randbytes(source.choice((0, 1, 8, 30, 200)))
                first = source.choice(FROM_CLIENT) << 4 | source.randrange(16)
                return frame_head(first, len(body)) + body
            case 2:
                length = bytes(source.randrange(128, 256) for _ in range(source.randrange(5)))
                first = bytes((source.randrange(256),)) + length + source.randbytes(1)
                return first + source.randbytes(source.randrange(100))
            case _:
                return changed(source, self.good(codec, may_send=may_send))

    def good(self, codec: ClientCodec, *, may_send: bool) -> bytes:
        """A frame that has its form, though not always a meaning."""
        return codec.encode_one(self._packet(codec, may_send))

    def _packet(self, codec: ClientCodec, may_send: bool) -> Packet:
        source = self._source
        number = source.getrandbits(32)
        name = source.choice((*self._uids, "", "a@b", "g", "é" * 90, "x" * 600))
        match source.randrange(5 if may_send else 4):
            case 0:
                return Ping()
            case 1:
                return Recvack(source.getrandbits(62), number, source.randrange(8))
            case 2:
                return Sub(str(number), name, source.randrange(256), source.randrange(3))
            case 3 if may_send:
                return Disconnect(source.randrange(256), name)
            case 3:
                version = source.randrange(256)
                return Connect(version, 0, name, name, "token", number, codec.client_key)
            case _:
                setting = source.choice((0, Setting.NO_ENCRYPT, Setting.TOPIC, Setting.SIGNAL))
                payload = source.randbytes(source.choice((0, 1, 100, 3_000)))
                kind = source.choice((1, 1, 2, 7, 9, 0, 255))
                return Send(number, f"n{number}", name, kind, payload, setting)


class JsonInput:
    """What a JSON-RPC client says, each text one message."""

    def __init__(self, source: Random, uids: list[str]) -> None:
        self._source = source
        self._uids = uids

    def hostile(self) -> bytes:
        """Random bytes; a random value; a request with random fields; a good request changed."""
        source = self._source
        match source.randrange(4):
            case 0:
                return source.choice((b"{", b"[", b" ")) + source.randbytes(source.randrange(300))
            case 1:
                return json.dumps(self._value(5)).encode() if source.random() < 0.9 else _DEEP
            case 2:
                return json.dumps(self._request()).encode()
            case _:
                return changed(source, self.good())

    def good(self) -> bytes:
        """A request that has its form."""
        source = self._source
        name = source.choice((*self._uids, "g"))
        kind = source.choice((1, 2, 9))
        payload = {"type": 1, "content": source.randbytes(20).hex()}
        params = {"channelId": name, "channelType": kind, "payload": payload}
        request = {"id": str(source.getrandbits(16)), "method": "send", "params": params}
        return json.dumps(source.choice((request, {"id": "p", "method": "ping"}))).encode()

    def _request(self) -> Any:
        source = self._source
        fields = source.sample(FIELDS, source.randrange(8))
        request = {
            "method": source.choice(METHODS),
            "params": {field: self._value(2) for field in fields},
            "id": source.choice(("1", "", self._value(1))),
            "jsonrpc": source.choice(("2.0", "2.0", self._value(0))),
        }
        for member in source.sample(sorted(request), source.randrange(3)):
            del request[member]
        return request

    def _value(self, depth: int) -> Any:
        source = self._source
        kind = source.randrange(6 if depth else 4)
        if kind == 4:
            return [self._value(depth - 1) for _ in range(source.randrange(4))]
        if kind == 5:
            fields = source.sample(FIELDS, source.randrange(4))
            return {field: self._value(depth - 1) for field in fields}
        return source.choice(([None, True, False], NUMBERS, TEXTS, self._uids)[kind])


_DEEP = b"[" * 5_000


def changed(source: Random, data: bytes) -> bytes:
    """`data` with a bit turned, cut short, with something doubled, or with something put in."""
    at = source.randrange(len(data))
    match source.randrange(4):
        case 0:
            return data[:at] + bytes((data[at] ^ 1 << source.randrange(8),)) + data[at + 1 :]
        case 1:
            return data[: at + 1]
        case 2:
            return data[:at] + data[at : at + 9] * 2 + data[at + 9 :]
        case _:
            return data[:at] + source.randbytes(3) + data[at:]


class TcpWire:
    """One TCP connection; what is said goes out as it is."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), DEADLINE_SECONDS)

    def say(self, data: bytes) -> None:
        """Send; the gateway may have closed meanwhile."""
        try:
            self.socket.sendall(data)
        except ConnectionError:
            return

    def hear(self) -> bytes:
        """The next bytes of the gateway; nothing: it closed."""
        try:
            return self.socket.recv(1 << 16)
        except ConnectionError:
            return b""

    def end(self) -> None:
        """Say no more, and read until the gateway closes; `TimeoutError` if it does not."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        while self.hear():
            pass
        self.socket.close()


class WebWire(TcpWire):
    """One WebSocket connection over `TcpWire`: what is said goes out in messages of `kind`."""

    def __init__(self, host: str, port: int, kind: int) -> None:
        super().__init__(host, port)
        self._kind = kind
        self._rest = b""
        super().say(HANDSHAKE)
        while b"\r\n\r\n" not in self._rest:
            self._rest += super().hear()
        status, _, self._rest = self._rest.partition(b"\r\n\r\n")
        assert status.startswith(b"HTTP/1.1 101"), status

    def say(self, data: bytes) -> None:
        """One message, masked as a client's must be."""
        super().say(message(self._kind | 0x80, data))

    def say_raw(self, data: bytes) -> None:
        """Bytes that need not be a message."""
        super().say(data)

    def hear_message(self) -> bytes:
        """The next message of the gateway; nothing: it closed."""
        while True:
            data = self._rest
            if len(data) >= 4:
                size, at = data[1], 2
                if size == 126:
                    (size,), at = struct.unpack_from(">H", data, 2), 4
                assert size < 126 or at == 4, "no answer is that long"
                if len(data) >= at + size:
                    self._rest = data[at + size :]
                    return data[at : at + size]
            more = self.hear()
            if not more:
                return b""
            self._rest += more


def message(first: int, data: bytes, mask: bytes = b"mask") -> bytes:
    """A client's WebSocket frame with that first byte."""
    size = len(data)
    if size < 126:
        length = bytes((size | 0x80,))
    elif size < 1 << 16:
        length = struct.pack(">BH", 0xFE, size)
    else:
        length = struct.pack(">BQ", 0xFF, size)
    repeated = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")
    return bytes((first,)) + length + mask + masked.to_bytes(size, "big")


def web_garbage(source: Random) -> bytes:
    """WebSocket frames of any opcode, fragment bit, reserved bits, mask and length."""
    first = source.randrange(256)
    data = source.randbytes(source.choice((0, 1, 5, 126, 300)))
    frame = message(first, data, source.randbytes(4))
    return changed(source, frame) if source.random() < 0.7 else frame


def http_garbage(source: Random) -> bytes:
    """Random bytes, or a handshake or a call that is changed in some places."""
    if source.random() < 0.2:
        return source.randbytes(source.randrange(1, 400))
    data = source.choice((HANDSHAKE, CALL, CALL * 2))
    for _ in range(source.randrange(4)):
        data = changed(source, data)
    return data
