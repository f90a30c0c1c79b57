"""`wkproto://HOST:PORT`: WKProto over TCP.

An idle connection is a transport, a codec and a session: no task, no stream buffers. The core hears
of a client that does not read at WRITE_BUFFER_BYTES_MAX; one that is closed has CLOSE_GRACE_SECONDS
to read the rest and to close as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from zmqim import limits
from zmqim.gateway.listeners.client import WkprotoClient
from zmqim.gateway.listeners.server import BACKLOG, Connections, ServerListener
from zmqim.gateway.plugin import CloseReason
from zmqim.wkproto.packets import FromServer


class WkprotoListener(ServerListener["_Connection"]):
    """The plug-in of scheme ``wkproto``."""

    async def _serve(self) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            lambda: _Connection(WkprotoClient(self._port, self._sharing), self._connections),
            self._host,
            self._port_number,
            backlog=BACKLOG,
            reuse_address=True,
        )


class _Connection(asyncio.Protocol):
    """One TCP connection."""

    __slots__ = ("_client", "_connections", "_talking", "_transport")

    def __init__(self, client: WkprotoClient, connections: Connections[_Connection]) -> None:
        self._client = client
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        """None before and after the connection."""
        self._talking: asyncio.Transport | None = None
        """The same, and None once the gateway has said its last."""

    # ---- the transport tells -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        # uvloop's transports have the methods of asyncio.Transport without being subclasses.
        transport = cast(asyncio.Transport, transport)
        if not self._client.open(self, transport.get_extra_info("peername")):
            transport.abort()
            return
        self._transport = self._talking = transport
        self._connections.add(self)
        transport.set_write_buffer_limits(limits.WRITE_BUFFER_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        """Bytes came; the client drops them when its session is over."""
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
        self._connections.remove(self)
        self._client.leave()
        self._transport = self._talking = None

    # ---- the gateway tells -------------------------------------------------------------------

    def deliver(self, packets: Sequence[FromServer]) -> None:
        """One write for the turn."""
        transport = self._talking
        if transport is not None and not transport.is_closing():
            transport.write(b"".join(self._client.frames_of(packets)))

    def close(self, reason: CloseReason) -> None:
        """Write the rest and say no more, and close once the client does, or after the grace."""
        self._client.session = 0
        transport, self._talking = self._talking, None
        if transport is None or transport.is_closing():
            return
        if self._connections.linger(self):
            transport.resume_reading()
            transport.write_eof()
        else:
            transport.close()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def set_reading(self, on: bool) -> None:
        """Stop or go on reading."""
        transport = self._talking
        if transport is None or transport.is_closing():
            return
        if on:
            transport.resume_reading()
        else:
            transport.pause_reading()
