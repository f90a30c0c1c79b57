"""`wkproto://HOST:PORT`: WKProto over TCP.

An idle connection is a transport, a codec and a session: no task, no stream buffers. The core hears
of a client that does not read at WRITE_BUFFER_BYTES_MAX; one that is closed has CLOSE_GRACE_SECONDS
to read the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast
from urllib.parse import urlsplit

from zmqim import limits
from zmqim.errors import PortInUse
from zmqim.gateway.listeners.client import CLOSE_GRACE_SECONDS, Client, Sharing
from zmqim.gateway.plugin import CloseReason, GatewayPort
from zmqim.wkproto.packets import FromServer

BACKLOG = 4_096


class WkprotoListener:
    """The plug-in of scheme ``wkproto``."""

    def __init__(self, url: str, port: GatewayPort, settings: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port_number = parts.port or 0
        self._port = port
        self._server: asyncio.Server | None = None
        self._sharing = Sharing()
        self._connections: dict[_Connection, None] = {}

    async def start(self) -> None:
        """Bind and accept; `PortInUse` if the address cannot be bound."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Connection(Client(self._port, self._sharing), self._connections),
                self._host,
                self._port_number,
                backlog=BACKLOG,
                reuse_address=True,
            )
        except OSError as error:
            raise PortInUse(
                f"wkproto://{self._host}:{self._port_number} cannot be bound: {error.strerror}.",
                hint="Stop what listens there, or change the listener in the topology.",
            ) from error

    def stop_accepting(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """End every connection; what was said last may still be read for a moment."""
        self.stop_accepting()
        for connection in list(self._connections):
            connection.close(CloseReason.DRAINING)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLOSE_GRACE_SECONDS / 2
        while self._connections and loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()

    @property
    def bound(self) -> str:
        """``host:port`` that it listens on."""
        assert self._server is not None, "known after start"
        host, number = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{number}"


class _Connection(asyncio.Protocol):
    """One TCP connection."""

    __slots__ = ("_client", "_connections", "_transport")

    def __init__(self, client: Client, connections: dict[_Connection, None]) -> None:
        self._client = client
        self._connections = connections
        self._transport: asyncio.Transport | None = None

    # ---- the transport tells -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        # uvloop's transports have the methods of asyncio.Transport without being subclasses.
        transport = cast(asyncio.Transport, transport)
        if not self._client.open(self, transport.get_extra_info("peername")):
            transport.abort()
            return
        self._transport = transport
        self._connections[self] = None
        transport.set_write_buffer_limits(limits.WRITE_BUFFER_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if not self._client.take(data):
            self.abort()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._client.writable(False)

    def resume_writing(self) -> None:
        """It has read."""
        self._client.writable(True)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._connections.pop(self, None)
        self._client.leave()
        self._transport = None

    # ---- the gateway tells -------------------------------------------------------------------

    def deliver(self, packets: Sequence[FromServer]) -> None:
        """One write for the turn."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(b"".join(self._client.frames_of(packets)))

    def close(self, reason: CloseReason) -> None:
        """Close when the client has read what was said, or after the grace."""
        self._client.session = 0
        transport = self._transport
        if transport is not None and not transport.is_closing():
            if transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(CLOSE_GRACE_SECONDS, self.abort)
            transport.close()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def set_reading(self, on: bool) -> None:
        """Stop or go on reading."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if on:
            transport.resume_reading()
        else:
            transport.pause_reading()
