"""Start a cluster, wait until it serves, and keep it running until Ctrl-C or `zmqim down`.

Usage:
  zmqim up [TOPOLOGY] [--host NAME] [--data DIR]

Options:
  --host NAME  Start only the processes of this host of the topology.
  --data DIR   Keep data here instead of the folder that the topology names.
  -h --help    Show this.

TOPOLOGY is a path, or the name of a topology that comes with zmqim; without it quickstart.toml is
taken: one process of each kind, reachable from this machine only.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from zmqim.bus.messages import Role
from zmqim.errors import EXIT_OK, UsageError
from zmqim.ids import NodeName
from zmqim.node.folders import (
    DataFolder,
    api_key_path,
    new_api_key,
    read_api_key,
    write_json,
    write_whole,
)
from zmqim.node.ports import check_ports
from zmqim.node.supervisor import SUPERVISOR, Supervisor
from zmqim.ring.guarantee import guarantee, warnings
from zmqim.telemetry.logs import file_logger
from zmqim.toml_tables import did_you_mean
from zmqim.topology import (
    API_KEY_VARIABLE,
    DATA_FOLDER_DEFAULT,
    Gateway,
    Topology,
    find,
    load,
    shipped,
)
from zmqim.version import version_text

QUICKSTART = "quickstart.toml"


def run(arguments: Mapping[str, str | None]) -> int:
    """Starts and supervises; returns when everything has ended."""
    given = arguments["TOPOLOGY"]
    path = find(given) if given else shipped(QUICKSTART)
    topology = load(path)
    host = _host(topology, arguments["--host"])
    data = DataFolder(arguments["--data"] or topology.data_folder)
    data.create()
    lock_fd = data.lock()
    processes = topology.processes(host)
    check_ports(processes)
    write_whole(data.topology, path.read_bytes())
    key_path = _make_api_key(topology, data)
    write_json(data.cluster, _description(topology, host, path, key_path))
    terminal = Terminal(topology, data, host, key_path)
    terminal.begin(path)
    logger = file_logger(data.log(SUPERVISOR), SUPERVISOR)
    try:
        code = Supervisor(
            processes,
            data,
            lock_fd,
            terminal,
            logger,
            elsewhere=_elsewhere(topology, host),
            is_replicated=topology.replicas >= REPLICAS_TO_GO_ON,
        ).run()
    finally:
        data.cluster.unlink(missing_ok=True)
        os.close(lock_fd)
    terminal.say("Stopped." if code == EXIT_OK else "Ended: what failed is needed to serve.")
    return code


REPLICAS_TO_GO_ON = 3
"""With so many copies of a partition a majority is left without any one storage."""


class Terminal:
    """Tells the person in front of `up` what happens."""

    def __init__(
        self, topology: Topology, data: DataFolder, host: str, key_path: Path | None
    ) -> None:
        self._topology = topology
        self._data = data
        self._host = host
        self._key_path = key_path
        self._began = time.monotonic()
        self._is_watched = True

    def begin(self, path: Path) -> None:
        """Says what is started, and what should be known about it."""
        names = ", ".join(process.name for process in self._topology.processes(self._host))
        self.say(f"zmqim {version_text()}: starting {self._topology.cluster} ({_shown(path)})")
        self.say(f"  {names}")
        for note in (*warnings(self._topology), *self._topology.notes()):
            self.say(f"Warning: {note}.")

    def say(self, line: str) -> None:
        """One line, at once; nothing any more when the terminal is gone."""
        if self._is_watched:
            try:
                print(line, flush=True)
            except OSError:
                self._is_watched = False

    def serves(self, failed: Sequence[NodeName]) -> None:
        """Says where it serves, what it guarantees, and what to try."""
        topology = self._topology
        rows: list[tuple[str, str]] = []
        for gateway in topology.gateways:
            if not self._host or gateway.host == self._host:
                rows.append((gateway.name, "  ".join(one.url for one in gateway.listeners)))
        serves_clients = bool(rows)
        rows.append(("guarantee", guarantee(topology)))
        rows.append(("data", str(self._data.path)))
        rows.append(("API key", str(self._key_path or f"from {API_KEY_VARIABLE}")))
        if serves_clients:
            words = f"{_own_command()} chat --as alice --with bob"
            rows.append(("try", words + self._data_option()))
        width = max(len(name) for name, _ in rows)
        self.say(f"Serving after {time.monotonic() - self._began:.1f} s. Ctrl-C stops it.\n")
        for name, text in rows:
            self.say(f"  {name:<{width}}  {text}")
        self.say("")
        for name in failed:
            self.say(f"Warning: {name} failed: this serves without it; see `zmqim status`.")

    def _data_option(self) -> str:
        is_default = self._data.path == Path(DATA_FOLDER_DEFAULT).absolute()
        return "" if is_default else f" --data {self._data.path}"


def _shown(path: Path) -> str:
    """A path below the current folder is shown from there."""
    real = path.resolve()
    return str(real.relative_to(Path.cwd()) if real.is_relative_to(Path.cwd()) else real)


def _host(topology: Topology, name: str | None) -> str:
    names = [host.name for host in topology.hosts]
    if name is None:
        if len(names) > 1:
            raise UsageError(
                f"The topology has several hosts: {', '.join(names)}.",
                hint="Say which one this machine is: --host NAME.",
            )
        return ""
    if name not in names:
        raise UsageError(f"The topology has no host {name!r}{did_you_mean(name, names)}.")
    return name


def _elsewhere(topology: Topology, host: str) -> AbstractSet[Role]:
    """The kinds of process that the other hosts run."""
    return {one.role for one in topology.processes() if host and one.host != host}


def _make_api_key(topology: Topology, data: DataFolder) -> Path | None:
    """Makes the key at the first start; a file that the topology names must be there."""
    path = api_key_path(topology, data)
    if path == data.api_key and not path.exists():
        new_api_key(data)
    read_api_key(path)
    return path


def _description(
    topology: Topology, host: str, path: Path, key_path: Path | None
) -> dict[str, object]:
    """What chat, status and down need to know of the running cluster."""
    return {
        "pid": os.getpid(),
        "cluster": topology.cluster,
        "topology": str(path.absolute()),
        "host": host,
        "api_key_file": str(key_path) if key_path else "",
        "gateways": [
            _addresses(gateway) for gateway in topology.gateways if not host or gateway.host == host
        ],
    }


def _addresses(gateway: Gateway) -> dict[str, str]:
    """How a client on this machine reaches the gateway; empty where it has no such listener."""
    found = {"name": str(gateway.name), "tcp": "", "ws": "", "http": ""}
    for listener in gateway.listeners:
        host = "127.0.0.1" if listener.host == "0.0.0.0" else listener.host
        if listener.scheme == "wkproto":
            found["tcp"] = f"{host}:{listener.port}"
        elif listener.scheme in found:
            found[listener.scheme] = f"{listener.scheme}://{host}:{listener.port}"
    return found


def _own_command() -> str:
    """`zmqim`, or the path by which it was started when the shell would not find it."""
    command = sys.argv[0]
    if shutil.which("zmqim") or not command.endswith("zmqim"):
        return "zmqim"
    return command
