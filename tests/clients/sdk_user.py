"""A user of the unmodified JavaScript SDK: a Node process of its own, driven from a test."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FOLDER = Path(__file__).parent
DEADLINE_SECONDS = 15.0
CONNECTED, DISCONNECTED, REFUSED, KICKED = 1, 0, 3, 4
"""Connection states of the SDK."""


def missing() -> str:
    """What is missing to run the SDK; empty if nothing is."""
    if shutil.which("node") is None:
        return "Node.js is not installed"
    if not (FOLDER / "node_modules" / "wukongimjssdk").is_dir():
        return "run `npm install` in tests/clients"
    return ""


class SdkUser:
    """See sdk_driver.mjs for commands and events."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            ["node", "sdk_driver.mjs"],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.expect("ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()

    def do(self, action: str, **more: object) -> None:
        """Give a command."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": action, **more}).encode() + b"\n")
        self._process.stdin.flush()

    def connect(self, address: str, uid: str, token: str) -> dict[str, Any]:
        """Connect; the first change of the connection's state."""
        self.do("connect", addr=address, uid=uid, token=token)
        return self.expect("status")

    def send(self, to: str, text: str, channel_type: int = 1) -> dict[str, Any]:
        """Send a text; the answer to it."""
        self.do("send", to=to, type=channel_type, text=text)
        return self.expect("sendack")

    def messages(self, count: int) -> list[dict[str, Any]]:
        """The next `count` messages."""
        return [self.expect("message") for _ in range(count)]

    def expect(self, kind: str, seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """The next event of this kind; others that come before it are dropped."""
        deadline = time.monotonic() + seconds
        dropped = []
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind} within {seconds} s, only {dropped}") from None
            if event["event"] == kind:
                return event
            dropped.append(event)

    def take(self, seconds: float) -> dict[str, Any] | None:
        """The next event, whatever it is; None if there is none in time."""
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return None

    def quiet(self, kind: str, seconds: float) -> bool:
        """Whether no event of this kind comes for so long."""
        try:
            self.expect(kind, seconds)
        except AssertionError:
            return True
        return False

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._events.put(json.loads(line))
