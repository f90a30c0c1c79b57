"""Starts the processes of this host and keeps them running until told to stop.

The shell around `zmqim.node.supervision`: pipes, signals, pids and the terminal are here, every
decision is there. Processes are spawned with exec, never forked: ZeroMQ and LevelDB do not survive
a fork. Each child inherits

- the write end of its own report pipe (zmqim/node/reports.py),
- the read end of the supervisor's pipe and, for routers and storages, of the pipe of those who
  stop before them (zmqim/node/stopping.py),
- the lock of the data folder (zmqim/node/folders.py).
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import BinaryIO, Protocol, assert_never

from structlog.typing import FilteringBoundLogger

from zmqim import limits
from zmqim.bus.messages import Role
from zmqim.errors import EXIT_FAILED
from zmqim.ids import Milliseconds, NodeName
from zmqim.node.control import Answer, ControlServer
from zmqim.node.folders import DataFolder
from zmqim.node.reports import ReportReader
from zmqim.node.supervision import (
    AllGone,
    AllReady,
    Condition,
    Effect,
    GiveUp,
    Kill,
    Refused,
    Spawn,
    StillWaiting,
    Supervision,
    Terminate,
)
from zmqim.telemetry.logs import readable, tail
from zmqim.topology import Process

SUPERVISOR = "supervisor"
STDERR_BYTES_MAX = limits.MB
"""Kept of a process's stderr over its restarts; above, it starts anew."""
SAFE_PYTHON = (sys.executable, "-P")
"""Nothing that happens to lie in the current folder is imported instead of a package."""
Command = Callable[[Process], list[str]]
"""The command line of a process, without what the supervisor adds."""


class Audience(Protocol):
    """Who is told what happens: `up` on a terminal."""

    def say(self, line: str) -> None:
        """One line, as it is."""
        ...

    def serves(self, failed: Sequence[NodeName]) -> None:
        """Every process but those that failed is ready for the first time."""
        ...


@dataclass(slots=True)
class _Running:
    """A child while it runs."""

    process: subprocess.Popen[bytes]
    reports: ReportReader


class Supervisor:
    """One `up`: runs until it was asked to stop and everything is gone."""

    def __init__(
        self,
        processes: Sequence[Process],
        data: DataFolder,
        lock_fd: int,
        audience: Audience,
        logger: FilteringBoundLogger,
        command: Command | None = None,
        elsewhere: AbstractSet[Role] = frozenset(),
        *,
        is_replicated: bool = False,
    ) -> None:
        """`elsewhere`: the kinds of process that other hosts of the cluster run; `is_replicated`:
        the other storages go on without one that ended."""
        self._processes = {process.name: process for process in processes}
        self._core = Supervision(
            [(one.name, one.role) for one in processes], elsewhere, is_replicated=is_replicated
        )
        self._data = data
        self._lock_fd = lock_fd
        self._audience = audience
        self._logger = logger
        self._command = command or self._real_command
        self._children: dict[NodeName, _Running] = {}
        self._started: set[NodeName] = set()
        self._errors: dict[NodeName, str] = {}
        """The last error of each process since it was ready: shown by `status` when it failed."""
        self._poll = select.poll()
        self._life_read, self._life_write = os.pipe()
        self._gateways_read, self._gateways_write = os.pipe()
        self._routers_read, self._routers_write = os.pipe()
        self._signal_fd, self._signalled_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._over = False

    def run(self) -> int:
        """Starts and supervises; returns the exit code: 0 when it was asked to stop."""
        answers: dict[str, Answer] = {
            restart_question(name): partial(self._asked_to_restart, name)
            for name in self._core.conditions()
        }
        answers["stop"] = self._asked_to_stop
        control = ControlServer(self._data.run, SUPERVISOR, answers, {})
        self._write_pid(SUPERVISOR, os.getpid())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._signalled)
        signal.set_wakeup_fd(self._signalled_fd, warn_on_full_buffer=False)
        self._poll.register(self._signal_fd, select.POLLIN)
        self._poll.register(control.fileno(), select.POLLIN)
        try:
            while not self._over:
                self._turn(control)
        finally:
            self._end_children()
            signal.set_wakeup_fd(-1)
            control.close()
            self._data.pid(SUPERVISOR).unlink(missing_ok=True)
            self._close_pipes()
        return self._core.exit_code

    def _turn(self, control: ControlServer) -> None:
        self._perform(self._core.wake(_now()))
        ready = {fd for fd, _ in self._poll.poll(self._poll_ms())} if not self._over else set()
        if control.fileno() in ready:
            control.serve(self._status)
        if self._signal_fd in ready:
            self._take_signals()
        for name, child in list(self._children.items()):
            if child.reports.fd in ready:
                self._read_reports(name, child)
        for name, child in list(self._children.items()):
            if child.process.poll() is not None:
                self._bury(name, child)

    def _poll_ms(self) -> int | None:
        wake = self._core.next_wake()
        return None if wake is None else max(0, wake - _now())

    def _take_signals(self) -> None:
        for number in os.read(self._signal_fd, 256):
            if number != signal.SIGCHLD:
                self._stop(f"got {signal.Signals(number).name}")

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        """The wake-up descriptor carries the number to the loop; nothing is done in a handler."""

    def _asked_to_stop(self) -> Mapping[str, object]:
        if not self._core.stopping:
            self._stop("asked by `zmqim down`")
        return {"stopping": True}

    def _asked_to_restart(self, name: NodeName) -> Mapping[str, object]:
        if self._core.stopping:
            return {"error": "The cluster is being stopped."}
        self._audience.say(f"Restarting {name}, asked by `zmqim restart`.")
        self._logger.info("restarting", name=name)
        self._errors.pop(name, None)
        self._perform(self._core.restart(_now(), name))
        return {"restarting": name}

    def _stop(self, why: str) -> None:
        if self._core.stopping:
            self._audience.say("Killing what is left.")
        else:
            self._audience.say(
                "Stopping in order: gateways, routers, storages. (Ctrl-C again kills.)"
            )
        self._logger.info("stopping", why=why)
        self._perform(self._core.stop(_now()))

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Spawn(name):
                    self._spawn(name)
                case Terminate(name):
                    self._children[name].process.send_signal(signal.SIGTERM)
                case Kill(name):
                    self._logger.warning("killing", name=name)
                    self._children[name].process.kill()
                case GiveUp(name):
                    self._show_failure(name)
                case Refused(name, code):
                    self._show_refusal(name, code)
                case StillWaiting(names):
                    self._audience.say(f"Still waiting for {', '.join(names)} ...")
                case AllReady(failed):
                    self._audience.serves(failed)
                case AllGone():
                    self._over = True
                case _:
                    assert_never(effect)

    def _spawn(self, name: NodeName) -> None:
        process = self._processes[name]
        report_read, report_write = os.pipe()
        inherited = [report_write, self._life_read, self._lock_fd]
        command = [
            *self._command(process),
            f"--report-fd={report_write}",
            f"--supervisor-fd={self._life_read}",
        ]
        match process.role:
            case Role.GATEWAY:
                inherited.append(self._gateways_write)
            case Role.ROUTER:
                inherited += [self._gateways_read, self._routers_write]
                command.append(f"--before-fd={self._gateways_read}")
            case Role.STORAGE:
                inherited.append(self._routers_read)
                command.append(f"--before-fd={self._routers_read}")
        try:
            with self._stderr_of(name) as sink:
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    pass_fds=inherited,
                    env=_environment(),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(report_read)
            self._logger.error("cannot be started", name=name, reason=error.strerror)
            self._perform(self._core.ended(_now(), name, EXIT_FAILED))
            return
        finally:
            os.close(report_write)
        self._write_pid(name, child.pid)
        reports = ReportReader(report_read)
        self._poll.register(report_read, select.POLLIN)
        self._children[name] = _Running(child, reports)
        self._logger.info("started", name=name, pid=child.pid)

    def _write_pid(self, name: str, pid: int) -> None:
        """A full disk must not end the supervisor: reads go on without pid files."""
        try:
            self._data.pid(name).write_text(f"{pid}\n")
        except OSError as error:
            self._logger.warning("pid file not written", name=name, reason=error.strerror)

    def _stderr_of(self, name: NodeName) -> BinaryIO:
        """Appends over the restarts of one `up`, up to a bound; otherwise begins anew."""
        path = self._data.stderr(name)
        is_first = name not in self._started
        self._started.add(name)
        is_long = path.exists() and path.stat().st_size > STDERR_BYTES_MAX
        return path.open("wb" if is_first or is_long else "ab")

    def _real_command(self, process: Process) -> list[str]:
        return [
            *SAFE_PYTHON, "-m", "zmqim.node.main", process.name, f"--data={self._data.path}",
        ]  # fmt: skip

    def _read_reports(self, name: NodeName, child: _Running) -> None:
        ready, records = child.reports.read()
        for record in records:
            if not self._is_repeated(name, record):
                self._audience.say(readable(record))
        if ready:
            self._errors.pop(name, None)
            self._logger.info("ready", name=name)
            self._perform(self._core.ready(_now(), name))

    def _is_repeated(self, name: NodeName, record: Mapping[str, object]) -> bool:
        """Whether a process that was started again only says the same error again."""
        if record.get("level") != "error":
            return False
        sentence, before = _sentence(record), self._errors.get(name)
        self._errors[name] = sentence
        return sentence == before and self._core.conditions()[name] is Condition.STARTING

    def _bury(self, name: NodeName, child: _Running) -> None:
        self._read_reports(name, child)
        self._poll.unregister(child.reports.fd)
        child.reports.close()
        del self._children[name]
        self._data.pid(name).unlink(missing_ok=True)
        how = _how_it_ended(child.process.returncode)
        if self._core.stopping:
            self._audience.say(f"{name} {how}")
        self._logger.info("ended", name=name, how=how)
        effects = self._core.ended(_now(), name, child.process.returncode)
        if not self._core.stopping and not effects:
            self._audience.say(f"{name} {how}; it is started again")
        self._perform(effects)

    def _show_failure(self, name: NodeName) -> None:
        deaths = limits.CRASH_LOOP_DEATHS
        self._audience.say(f"{name} ended {deaths} times before it was ready: given up. Its log:")
        self._show_log(name)
        self._audience.say(f"The others go on. More in {self._data.log(name)}")
        self._logger.error("given up", name=name, deaths=deaths)

    def _show_refusal(self, name: NodeName, code: int) -> None:
        """Its error was said when it was reported; without one its last lines are shown."""
        self._audience.say(f"{name} ended with exit code {code}; it is not started again.")
        if name not in self._errors:
            self._show_log(name)
        if self._core.stopping:
            self._audience.say("The cluster cannot serve without it: stopping the others in order.")
        else:
            self._audience.say("The others go on without it.")
        self._logger.error("refused to run", name=name, code=code)

    def _show_log(self, name: NodeName) -> None:
        lines = tail(self._data.log(name), limits.LOG_TAIL_LINES)
        lines += tail(self._data.stderr(name), limits.LOG_TAIL_LINES - len(lines))
        for line in lines:
            self._audience.say(f"    {line}")

    def _status(self) -> Mapping[str, object]:
        children = self._children
        return {
            "stopping": self._core.stopping,
            "processes": {
                name: {
                    "condition": condition.value,
                    "pid": children[name].process.pid if name in children else None,
                    "error": self._errors.get(name, ""),
                }
                for name, condition in self._core.conditions().items()
            },
        }

    def _end_children(self) -> None:
        """Nothing is left running behind an error of the supervisor's own."""
        for child in self._children.values():
            child.process.kill()
            child.process.wait()
            child.reports.close()

    def _close_pipes(self) -> None:
        for fd in (
            self._life_read, self._life_write, self._gateways_read, self._gateways_write,
            self._routers_read, self._routers_write, self._signal_fd, self._signalled_fd,
        ):  # fmt: skip
            os.close(fd)


def restart_question(name: str) -> str:
    """What the supervisor is asked to restart a process."""
    return f"restart {name}"


def _now() -> Milliseconds:
    return Milliseconds(time.monotonic_ns() // 1_000_000)


def _sentence(record: Mapping[str, object]) -> str:
    """What a log record says, in one line."""
    hint = str(record.get("hint") or "")
    return " ".join(f"{record.get('event', '')} {hint}".split())


def _environment() -> dict[str, str]:
    """Ours, but asserts stay on and output is not held back."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONOPTIMIZE", None)
    return environment


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return "stopped" if code == 0 else f"ended with exit code {code}"
