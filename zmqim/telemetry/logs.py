"""Structured logs: JSON lines in a bounded file for machines, one readable line on a terminal.

Nothing global is configured: whoever needs a logger gets one passed in. Records of libraries that
use `logging` end in the same file. A value under a name that sounds like a secret is never written.
A record that cannot be written (a full disk) is counted and dropped: nothing stops for its log.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from zmqim import limits

Watcher = Callable[[str, EventDict], None]
"""Is told (level, event) of every record at warning or above."""

_HIDDEN = frozenset(
    {"token", "key", "api_key", "payload", "secret", "password", "authorization", "body"}
)
_LOUD = frozenset({"warning", "error", "critical"})
_MARKS = {"warning": "warning: ", "error": "error: ", "critical": "error: "}


def file_logger(path: Path, process: str, watcher: Watcher | None = None) -> FilteringBoundLogger:
    """A logger that appends to `path`; records of all libraries go there as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, process)
    sink = logging.Logger(process)
    sink.addHandler(handler)

    def tell(_logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
        if watcher is not None and level in _LOUD:
            watcher(level, dict(event))
        return event

    logger: FilteringBoundLogger = structlog.wrap_logger(
        sink,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            hide_secrets,
            tell,
            _as_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
        process=process,
    )
    _adopt_libraries(logger)
    return logger


def hide_secrets(_logger: WrappedLogger, _level: str, event: EventDict) -> EventDict:
    """Replaces what must not be in a log; a last fence, not a reason to pass secrets in."""
    for name in event:
        if name.lower() in _HIDDEN:
            event[name] = "(hidden)"
    return event


def readable(event: dict[str, Any]) -> str:
    """One log record as a person reads it: time, process, sentence, facts."""
    facts = dict(event)
    time = str(facts.pop("time", ""))
    level = str(facts.pop("level", "info"))
    process = str(facts.pop("process", ""))
    sentence = str(facts.pop("event", ""))
    trace = str(facts.pop("exception", ""))
    words = [_local_time(time), process, _MARKS.get(level, "") + sentence]
    words += [f"{name}={value}" for name, value in facts.items()]
    line = "  ".join(word for word in words if word)
    return f"{line}\n{trace}" if trace else line


def tail(path: Path, count: int) -> list[str]:
    """The last `count` records of a log file, readable; none when there is no file."""
    lines: list[str] = []
    try:
        raw = path.read_bytes().splitlines()[-count:]
    except OSError:
        return lines
    for line in raw:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = None
        text = readable(event) if isinstance(event, dict) else line.decode(errors="replace")
        lines.extend(text.splitlines())
    return lines[-count:]


def _as_json(_logger: WrappedLogger, _level: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str).decode()


def _local_time(stamp: str) -> str:
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return stamp


class _LogFile(RotatingFileHandler):
    """A bounded file that says once on stderr that it cannot be written, and later how much."""

    def __init__(self, path: Path, process: str) -> None:
        super().__init__(
            path,
            maxBytes=limits.LOG_FILE_BYTES_MAX,
            backupCount=limits.LOG_FILES_KEPT - 1,
            encoding="utf-8",
            delay=True,
        )
        self.setFormatter(logging.Formatter("%(message)s"))
        self._process = process
        self._was_told = False
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        before = self._lost
        super().emit(record)
        if before and self._lost == before:
            self._lost = 0
            event = {
                "process": self._process,
                "count": before,
                "event": "log records were lost",
                "level": "warning",
                "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            }
            super().emit(logging.makeLogRecord({"msg": orjson.dumps(event).decode()}))

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by `emit` inside its `except`: the file is opened anew for the next record."""
        self._lost += 1
        with suppress(OSError):
            self.close()
        if not self._was_told:
            self._was_told = True
            error = sys.exc_info()[1]
            reason = error.strerror if isinstance(error, OSError) else str(error)
            with suppress(OSError):
                sys.stderr.write(
                    f"zmqim: the log {self.baseFilename} cannot be written ({reason}): "
                    "what does not fit is dropped and counted.\n"
                )
                sys.stderr.flush()


class _FromLibraries(logging.Handler):
    """Hands records of `logging` to the process's logger."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        self._logger.log(
            record.levelno, record.getMessage(), library=record.name, exc_info=record.exc_info
        )


def _adopt_libraries(logger: FilteringBoundLogger) -> None:
    root = logging.getLogger()
    root.handlers = [_FromLibraries(logger)]
    root.setLevel(logging.WARNING)
