"""`http://HOST:PORT`: the HTTP API as a listener, uvicorn inside the gateway's own loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final
from urllib.parse import urlsplit

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from zmqim.errors import PortInUse
from zmqim.gateway.http.app import make_app
from zmqim.gateway.listeners.library_log import library_log
from zmqim.gateway.plugin import GatewayPort

KEEP_ALIVE_SECONDS: Final = 75
BACKLOG: Final = 2_048
CONNECTIONS_MAX: Final = 4_096
"""Above: uvicorn answers 503 at once."""
DRAIN_SECONDS: Final = 5
_ABOUT_CLIENTS: Final = {
    "Invalid HTTP request": "wire_errors",
    "Exceeded concurrency limit": "connections_turned_away",
    "Unsupported upgrade": "",
    "No supported WebSocket": "",
}
"""What uvicorn logs of what clients do."""


def _protocol(port: GatewayPort) -> type[HttpToolsProtocol]:
    """uvicorn's connection, with a log that strangers cannot fill."""
    log = library_log("uvicorn.error", port, _ABOUT_CLIENTS)

    class Protocol(HttpToolsProtocol):
        def __init__(self, *values: Any, **named: Any) -> None:
            super().__init__(*values, **named)
            self.logger = log

    return Protocol


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the process belongs to the gateway's shell."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        """Signals are the shell's; its drain calls `stop_accepting` and `close`."""
        return nullcontext()


class HttpListener:
    """The plug-in of scheme ``http``."""

    def __init__(self, url: str, port: GatewayPort, settings: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port_number = parts.port or 0
        config = uvicorn.Config(
            make_app(port, bench_is_on=bool(settings.get("bench"))),
            loop="none",
            http=_protocol(port),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            limit_concurrency=CONNECTIONS_MAX,
            backlog=BACKLOG,
            server_header=False,
        )
        self._server = _Server(config)
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def bound(self) -> str:
        """``host:port`` that it listens on."""
        assert self._socket is not None
        host, number = self._socket.getsockname()[:2]
        return f"{host}:{number}"

    async def start(self) -> None:
        """Bind and serve; PortInUse if the address cannot be bound."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._host, self._port_number))
        except OSError as error:
            listening.close()
            raise PortInUse(
                f"http://{self._host}:{self._port_number} cannot be bound: {error.strerror}",
                hint="stop what listens there, or change the listener in the topology",
            ) from error
        self._socket = listening
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.005)

    def stop_accepting(self) -> None:
        """No new connection; requests under way are finished."""
        self._server.should_exit = True

    async def close(self) -> None:
        """Return when requests under way are answered, DRAIN_SECONDS at most."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
