"""`ws://HOST:PORT`: WKProto or JSON-RPC over WebSocket (docs/adr/0003-websocket-library.md).

The first byte of a connection says which, for as long as it lives: a brace, a bracket or a space
begins JSON, and no WKProto (it would be a packet that only a server sends, or a PING before
CONNECT).

WKProto comes in binary messages. Each packet out is a message of its own, because old JS SDKs lose
the second of two; what comes in is a byte stream, however it is cut into messages
and fragments. JSON-RPC goes out in text messages and may come in either kind; there a message is a
message, in as many fragments as the client likes.

Close codes are 1000, or 1013 where the client should come back: the Easy SDKs take 1002, 1003 and
1007 to 1009 for the end of all attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from zmqim import limits
from zmqim.gateway.listeners.client import Client, JsonClient, WkprotoClient
from zmqim.gateway.listeners.library_log import library_log
from zmqim.gateway.listeners.server import BACKLOG, Connections, ServerListener
from zmqim.gateway.plugin import CloseReason, GatewayPort
from zmqim.wkproto.packets import FromServer

PATH: Final = b"/"
READ_BUFFER_BYTES: Final = 1_024
"""Of a new connection; it grows with what comes. picows' default costs 14 KB more a connection."""
MESSAGE_BYTES_MAX: Final = limits.FRAME_BYTES_MAX + limits.KB
"""A WebSocket frame. Above: the connection is closed."""
HANDSHAKE_SECONDS_MAX: Final = limits.CONNECT_DEADLINE_MS / 1000

_ABOUT_CLIENTS: Final = {"WS parser error": "wire_errors", "Protocol writing": ""}
"""What picows logs of bytes that it cannot read, and of slow readers, of whom the core knows."""
_JSON_STARTS: Final = (b"{", b"[", b" ", b"\t", b"\r", b"\n")
_BINARY: Final = (WSMsgType.BINARY, WSMsgType.CONTINUATION)
_DATA: Final = (*_BINARY, WSMsgType.TEXT)


class WebSocketListener(ServerListener["_Connection"]):
    """The plug-in of scheme ``ws``."""

    async def _serve(self) -> asyncio.Server:
        return await ws_create_server(
            self._accept,
            self._host,
            self._port_number,
            websocket_handshake_timeout=HANDSHAKE_SECONDS_MAX,
            enable_auto_ping=False,
            enable_auto_pong=True,
            max_frame_size=MESSAGE_BYTES_MAX,
            read_buffer_init_size=READ_BUFFER_BYTES,
            logger_name=library_log("picows", self._port, _ABOUT_CLIENTS),
            backlog=BACKLOG,
            reuse_address=True,
        )

    def _accept(self, request: WSUpgradeRequest) -> WSListener | None:
        """None answers 404."""
        if request.path.partition(b"?")[0] != PATH:
            return None
        return _Connection(self._port, WkprotoClient(self._port, self._sharing), self._connections)


class _Connection(WSListener):
    """One WebSocket connection."""

    __slots__ = ("_client", "_connections", "_kind", "_port", "_transport", "_wkproto")

    def __init__(
        self, port: GatewayPort, client: WkprotoClient, connections: Connections[_Connection]
    ) -> None:
        self._port = port
        self._client: Client = client
        self._connections = connections
        self._transport: WSTransport | None = None
        self._wkproto: WkprotoClient | None = None
        """The client, once it is known to speak WKProto."""
        self._kind = WSMsgType.BINARY
        """Of the messages to the client."""

    # ---- the transport tells -----------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """A client connected, and asked for the right path."""
        stream = transport.underlying_transport
        self._transport = transport
        self._connections.add(self)
        if self._client.open(self, stream.get_extra_info("peername")):
            stream.set_write_buffer_limits(limits.WRITE_BUFFER_BYTES_MAX)
        else:
            self.close(CloseReason.UNAVAILABLE)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A message, or a fragment of one; what comes after our close counts no more."""
        kind = frame.msg_type
        wkproto = self._wkproto
        if transport.is_close_frame_sent:
            if kind == WSMsgType.CLOSE:
                transport.disconnect()
        elif wkproto is not None and kind in _BINARY:
            if not wkproto.take(frame.get_payload_as_bytes()):
                self.close(CloseReason.BAD_BYTES)
        elif kind in _DATA:
            self._take_other(transport, frame)
        elif kind == WSMsgType.CLOSE:
            self._client.leave()
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def _take_other(self, transport: WSTransport, frame: WSFrame) -> None:
        """What comes before the protocol is known, all of JSON-RPC, and text that is neither."""
        data = frame.get_payload_as_bytes()
        client = self._client
        is_first = self._wkproto is None
        if is_first and isinstance(client, WkprotoClient) and data[:1] in _JSON_STARTS:
            client = self._client = client.speaking_json()
            self._kind = WSMsgType.TEXT
        if isinstance(client, JsonClient):
            answer, goes_on = client.take(data, bool(frame.fin))
            if answer and not transport.is_disconnected:
                transport.send(WSMsgType.TEXT, answer)
        elif not data:
            return
        elif frame.msg_type == WSMsgType.TEXT:
            self._port.count("text_messages")
            client.leave()
            goes_on = False
        else:
            assert isinstance(client, WkprotoClient), "a client speaks one or the other"
            self._wkproto = client
            goes_on = client.take(data)
        if not goes_on:
            self.close(CloseReason.BAD_BYTES)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._client.writable(False)

    def resume_writing(self) -> None:
        """It has read."""
        self._client.writable(True)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        self._connections.remove(self)
        self._client.leave()
        self._transport = None

    @property
    def _talking(self) -> WSTransport | None:
        """The transport, until it is closed by either side."""
        transport = self._transport
        if transport is None or transport.is_disconnected or transport.is_close_frame_sent:
            return None
        return transport

    # ---- the gateway tells -------------------------------------------------------------------

    def deliver(self, packets: Sequence[FromServer]) -> None:
        """One message a packet."""
        transport = self._talking
        if transport is not None:
            kind = self._kind
            for frame in self._client.frames_of(packets):
                transport.send(kind, frame)

    def close(self, reason: CloseReason) -> None:
        """Say so, and hang up once the client said the same, or after the grace."""
        self._client.session = 0
        transport = self._talking
        if transport is None:
            return
        transport.send_close(WSCloseCode.TRY_AGAIN_LATER if reason.temporary else WSCloseCode.OK)
        if self._connections.linger(self):
            transport.underlying_transport.resume_reading()
        else:
            transport.disconnect()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def set_reading(self, on: bool) -> None:
        """Stop or go on reading."""
        transport = self._talking
        if transport is None:
            return
        stream = transport.underlying_transport
        if on:
            stream.resume_reading()
        else:
            stream.pause_reading()
