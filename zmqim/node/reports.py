"""What a process tells its supervisor, over an inherited pipe: lines.

``ready`` says that it serves; ``{…}`` is a log record at warning or above, which `up` shows on its
terminal. A line that does not fit the pipe at once is dropped: the log file has it too, and a
process never waits for its supervisor.
"""

from __future__ import annotations

import os

import orjson
from structlog.typing import EventDict

from zmqim import limits

_READY = b"ready"


class ReportWriter:
    """The process's end of the pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._said_ready = False
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)

    def ready(self) -> None:
        """Says once that the process serves."""
        if not self._said_ready:
            self._said_ready = True
            self._write(_READY)

    def record(self, _level: str, event: EventDict) -> None:
        """Passes a log record on."""
        event.pop("exception", None)
        line = orjson.dumps(event, default=str)
        if len(line) < limits.REPORT_LINE_BYTES_MAX:
            self._write(line)

    def _write(self, line: bytes) -> None:
        try:
            os.write(self._fd, line + b"\n")
        except (BlockingIOError, BrokenPipeError):
            return  # the supervisor is busy or gone


class ReportReader:
    """The supervisor's end of one process's pipe."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rest = b""
        os.set_blocking(fd, False)

    def read(self) -> tuple[bool, list[dict[str, object]]]:
        """(whether ``ready`` was among them, log records): the lines that came since."""
        ready = False
        records: list[dict[str, object]] = []
        try:
            data = os.read(self.fd, 65_536)
        except BlockingIOError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line == _READY:
                ready = True
                continue
            try:
                found = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # a line that its writer could not finish
            if isinstance(found, dict):
                records.append(found)
        return ready, records

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self.fd)
