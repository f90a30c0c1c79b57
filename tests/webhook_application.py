"""An application with a webhook, for tests: a real HTTP server that keeps what it is told.

It checks each signature, refuses while it is told to, and forgets nothing. `address` is where a
topology says that it is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SECRET = "a secret that must not be in any log"


class Application:
    """Started by `start`, on a port of the system's that it keeps over `stop` and `start`."""

    def __init__(self) -> None:
        self.port = 0
        self.status = 200
        """What it answers."""
        self.status_of: dict[str, int] = {}
        """What it answers to one event."""
        self.say: Callable[[Any], object] = lambda question: {}
        """Its answer to msg.before_send."""
        self.told: list[tuple[str, Any]] = []
        """(event, body) of everything that it took."""
        self.refused = 0
        self.forged = 0
        """Requests whose signature was wrong."""
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> Application:
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                application.connections += 1
                application._open.add(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = application.take(self.path, dict(self.headers.items()), body)
                answer = b""
                if "event=msg.before_send" in self.path:
                    answer = json.dumps(application.say(json.loads(body))).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Nobody listens any more, and nobody is connected."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        parts = urlsplit(path)
        event = parse_qs(parts.query)["event"][0]
        signed = headers["X-Zmqim-Timestamp"].encode() + b"." + body
        wanted = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        with self._lock:
            if parts.path != "/im" or headers["X-Zmqim-Signature"] != wanted:
                self.forged += 1
                return 401
            status = self.status_of.get(event, self.status)
            if status == 200:
                self.told.append((event, json.loads(body)))
            else:
                self.refused += 1
            return status

    def bodies(self, event: str) -> list[Any]:
        """Of all events of that name."""
        with self._lock:
            return [body for name, body in self.told if name == event]

    def messages(self) -> list[dict[str, Any]]:
        """All messages of msg.notify, in the order in which they came."""
        return [message for batch in self.bodies("msg.notify") for message in batch]

    def texts(self) -> list[str]:
        """The payloads of all messages of msg.notify."""
        return [base64.b64decode(one["payload"]).decode() for one in self.messages()]
