"""The data folder of a host: where everything is, who owns it, and the key of the HTTP API.

    <data>/<process>/      what a process keeps
    <data>/logs/           <process>.log (JSON lines), <process>.stderr (what came outside of it)
    <data>/secrets/        api_key, mode 0600
    <data>/run/            lock, cluster.json, topology.toml, <process>.pid, <process>.sock

The lock is held by the supervisor and, inherited, by each of its children: as long as one process
of an earlier run is alive, no second `up` starts on the same data.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import orjson

from zmqim.errors import AlreadyRunning, NotRunning, UsageError, ZmqimError
from zmqim.topology import API_KEY_VARIABLE, Topology, check_api_key

LOCK_WAIT_S = 15.0
"""How long a new `up` waits for orphans of a killed one: longer than they take to end in order."""


class DataFolder:
    """Paths below one data folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self.logs = self.path / "logs"
        self.secrets = self.path / "secrets"
        self.run = self.path / "run"
        self.api_key = self.secrets / "api_key"
        self.topology = self.run / "topology.toml"
        self.cluster = self.run / "cluster.json"

    def create(self) -> None:
        """Makes the folders; UsageError when they cannot be."""
        try:
            for folder in (self.path, self.logs, self.secrets, self.run):
                folder.mkdir(parents=True, exist_ok=True)
            for folder in (self.secrets, self.run):
                folder.chmod(0o700)
        except OSError as error:
            raise UsageError(
                f"The data folder {str(self.path)!r} cannot be used: {error.strerror} "
                f"({error.filename}).",
                hint="Give another one with --data.",
            ) from None

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.logs / f"{name}.log"

    def stderr(self, name: str) -> Path:
        """What a process wrote outside of its log: a crash of the interpreter, for one."""
        return self.logs / f"{name}.stderr"

    def pid(self, name: str) -> Path:
        """The pid file of a process."""
        return self.run / f"{name}.pid"

    def lock(self) -> int:
        """Takes the lock and returns its descriptor; AlreadyRunning when somebody has it.

        Processes whose supervisor was killed hold it until they have ended in order: waits for it.
        """
        fd = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._check_may_wait(deadline)
                time.sleep(0.05)
            else:
                return fd

    def locked(self) -> bool:
        """Whether a supervisor, or a process that it left behind, is alive."""
        try:
            fd = os.open(self.run / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def _check_may_wait(self, deadline: float) -> None:
        try:
            supervisor = int(self.pid("supervisor").read_text())
        except (OSError, ValueError):
            supervisor = 0
        if supervisor and _is_alive(supervisor):
            raise AlreadyRunning(
                f"A cluster already runs on {str(self.path)!r} (pid {supervisor}).",
                hint="See `zmqim status`, stop it with `zmqim down`, or use another --data.",
            )
        if time.monotonic() > deadline:
            raise AlreadyRunning(
                f"Processes of an earlier run still hold {str(self.path)!r}.",
                hint=f"Their pids are in {self.run}/*.pid; end them and try again.",
            )


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Replaces a small file as a whole: a reader finds the old or the new one."""
    write_whole(path, orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside `path`, then renames; mode 0600."""
    try:
        fd, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise ZmqimError(f"{str(path)!r} cannot be written: {error.strerror}.") from None


def _is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and whose parent has not asked yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def new_api_key(data: DataFolder) -> str:
    """Writes a new key of the HTTP API and returns it; NotRunning when nothing ever ran there."""
    if not data.secrets.is_dir():
        raise NotRunning(
            f"{str(data.path)!r} is not the data folder of a cluster.",
            hint="`zmqim up` makes it, with a key; name the right one with --data.",
        )
    key = secrets.token_urlsafe(32)
    write_whole(data.api_key, key.encode() + b"\n")
    return key


def api_key_path(topology: Topology, data: DataFolder) -> Path | None:
    """The file that holds the API key; None when it comes from the environment."""
    if os.environ.get(API_KEY_VARIABLE):
        return None
    if topology.api_key_file:
        return Path(topology.api_key_file).expanduser().absolute()
    return data.api_key


def read_api_key(path: Path | None) -> str:
    """The API key; UsageError when it is nowhere or too short."""
    if path is None:
        key = os.environ.get(API_KEY_VARIABLE, "").strip()
        if not key:
            raise UsageError(
                f"The cluster was started with {API_KEY_VARIABLE}, which is not set here.",
                hint="Set it to the same key.",
            )
        check_api_key(key, API_KEY_VARIABLE)
        return key
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        key = ""
    if not key:
        raise UsageError(
            f"There is no API key in {str(path)!r}.",
            hint=f"`zmqim up` makes one in its data folder (is --data right?); a file that "
            f"api_key_file names is yours to write; or set {API_KEY_VARIABLE}.",
        )
    check_api_key(key, str(path))
    return key
