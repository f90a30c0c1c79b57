"""What the listeners of WKProto have in common: a bound server and the connections it accepted.

A listener says only how its server is made (`_serve`); binding, the refusal of an address, and the
end with its moment to read what was said last are the same over TCP and WebSocket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from zmqim.errors import PortInUse
from zmqim.gateway.listeners.client import CLOSE_GRACE_SECONDS, Sharing
from zmqim.gateway.plugin import CloseReason, GatewayPort

BACKLOG: Final = 4_096
LINGERING_MAX: Final = 400
"""Connections of one listener that are over and wait for their clients' close: no session counts
them, and each is a file of `zmqim.gateway.shell.FILES_RESERVED`. Above: closed at once."""


class Closable(Protocol):
    """A connection as its server ends it."""

    def close(self, reason: CloseReason) -> None:
        """End it after what was delivered is written."""

    def abort(self) -> None:
        """End it now."""


ConnectionT = TypeVar("ConnectionT", bound=Closable)


class Connections(Generic[ConnectionT]):
    """The connections of one listener, from accept until they are gone.

    One that the gateway ends lingers: what is said last is written, nothing more is, and what comes
    is dropped until the client closes too, or for CLOSE_GRACE_SECONDS. To hang up at once on a
    client that is still sending makes the kernel reset the connection, and takes from the client
    what it has not read (RFC 1122 4.2.2.13, RFC 6455 7.1).
    """

    def __init__(self) -> None:
        self._all: dict[ConnectionT, None] = {}
        self._lingering: dict[ConnectionT, asyncio.TimerHandle] = {}

    def __iter__(self) -> Iterator[ConnectionT]:
        return iter(list(self._all))

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: ConnectionT) -> None:
        """It stands."""
        self._all[connection] = None

    def linger(self, connection: ConnectionT) -> bool:
        """It is over, and is aborted after the grace. False: too many linger, so it shall not wait
        for its client but be closed as soon as everything is written."""
        has_room = len(self._lingering) < LINGERING_MAX
        loop = asyncio.get_running_loop()
        self._lingering[connection] = loop.call_later(CLOSE_GRACE_SECONDS, connection.abort)
        return has_room

    def remove(self, connection: ConnectionT) -> None:
        """It is gone."""
        self._all.pop(connection, None)
        timer = self._lingering.pop(connection, None)
        if timer is not None:
            timer.cancel()


class ServerListener(Generic[ConnectionT]):
    """A listener around one asyncio server."""

    def __init__(self, url: str, port: GatewayPort, settings: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._scheme = parts.scheme
        self._host = parts.hostname or "127.0.0.1"
        self._port_number = parts.port or 0
        self._port = port
        self._server: asyncio.Server | None = None
        self._sharing = Sharing()
        self._connections: Connections[ConnectionT] = Connections()

    async def _serve(self) -> asyncio.Server:
        """Bind and accept; OSError if the address cannot be bound."""
        raise AssertionError("each listener makes its own server")

    async def start(self) -> None:
        """Bind and accept; `PortInUse` if the address cannot be bound."""
        try:
            self._server = await self._serve()
        except OSError as error:
            place = f"{self._scheme}://{self._host}:{self._port_number}"
            raise PortInUse(
                f"{place} cannot be bound: {error.strerror}.",
                hint="Stop what listens there, or change the listener in the topology.",
            ) from error

    def stop_accepting(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """End every connection; what was said last may still be read for a moment."""
        self.stop_accepting()
        for connection in self._connections:
            connection.close(CloseReason.DRAINING)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLOSE_GRACE_SECONDS / 2
        while len(self._connections) and loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in self._connections:
            connection.abort()

    @property
    def bound(self) -> str:
        """``host:port`` that it listens on."""
        assert self._server is not None, "known after start"
        host, number = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{number}"
