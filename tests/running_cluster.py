"""A real cluster for tests: `zmqim up` as a child process, on free ports and its own data folder.

    cluster.tcp       "127.0.0.1:PORT" of the first gateway's WKProto listener
    cluster.tcp_address   the same as (host, port)
    cluster.ws        "ws://127.0.0.1:PORT"
    cluster.http      "http://127.0.0.1:PORT"
    cluster.gateways  the same for every gateway: dicts with name, tcp, ws, http
    cluster.api_key   key of the HTTP API
    cluster.data      data folder (Path)
    cluster.topology  topology file (Path)

`up()` starts and waits until it serves, `down()` stops it in order, `kill(name)` is kill -9 and
`kill_all()` is that for every process at once,
`status()` is `zmqim status --json`, `close()` leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.ports import free_ports

UP_SECONDS_MAX = 40.0
DOWN_SECONDS_MAX = 40.0
SCHEMES = ("wkproto", "ws", "http")


def wait_for(condition: Callable[[], Any], seconds: float, what: str | Callable[[], str]) -> Any:
    """The first true value of `condition`; fails, saying `what`, when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {seconds} s: {what if isinstance(what, str) else what()}"
            )
        time.sleep(0.02)
    return value


def topology_text(
    gateways: int = 1,
    routers: int = 1,
    storages: int = 1,
    extra: str = "",
    replicas: int = 1,
    *,
    bench: bool = False,
) -> str:
    """A topology on free ports; `extra` is put in front of the first table, `bench` switches
    /bench/v1 on."""
    ports = iter(free_ports(4 * gateways + routers + storages))
    text = f'cluster = "test"\nreplicas = {replicas}\n{extra}\n'
    if "[limits]" not in extra:
        text += "[limits]\nreserve_file_bytes = 1_048_576\n"
    for number in range(1, gateways + 1):
        urls = ", ".join(f'"{kind}://127.0.0.1:{next(ports)}"' for kind in SCHEMES)
        if bench:
            urls = re.sub('("http:[^"]*")', r"{ url = \1, bench = true }", urls)
        text += f'[[gateway]]\nname = "gateway-{number}"\nlisteners = [{urls}]\n'
        text += f'address = "127.0.0.1:{next(ports)}"\n'
    for role, count in (("router", routers), ("storage", storages)):
        for number in range(1, count + 1):
            text += f'[[{role}]]\nname = "{role}-{number}"\naddress = "127.0.0.1:{next(ports)}"\n'
    return text


def zmqim(
    *words: str, timeout: float = 60.0, cwd: Path | None = None, api_key: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a command of `zmqim` to its end, in `cwd` and with ZMQIM_API_KEY when they are given."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "zmqim.cli", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=_environment(api_key),
        check=False,
    )


class RunningCluster:
    """One cluster with its folder; see the module's docstring."""

    def __init__(self, folder: Path, text: str | None = None, host: str = "") -> None:
        self.folder = folder
        self.host = host
        self.data = folder / "data"
        self.topology = folder / "topology.toml"
        self.topology.write_text(text if text is not None else topology_text())
        self.process: subprocess.Popen[bytes] | None = None
        self.api_key_given = ""
        """ZMQIM_API_KEY of `up`."""
        self._output = folder / "up.out"

    def up(self, *, wait: bool = True, cwd: Path | None = None) -> RunningCluster:
        """Starts it (in the folder `cwd`); waits until it serves unless told not to."""
        assert self.process is None, "it runs already"
        with self._output.open("ab") as output:
            start = output.tell()
            self.process = subprocess.Popen(
                [
                    sys.executable, "-P", "-m", "zmqim.cli", "up", str(self.topology),
                    "--data", str(self.data), *(["--host", self.host] if self.host else []),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(self.api_key_given),
                cwd=cwd,
                start_new_session=True,
            )  # fmt: skip
        if wait:
            wait_for(lambda: self._serves(start), UP_SECONDS_MAX, self.output)
        return self

    def down(self) -> None:
        """Stops it with `zmqim down`."""
        assert self.process is not None
        done = zmqim("down", "--data", str(self.data))
        assert done.returncode == 0, done.stderr
        self.process.wait(DOWN_SECONDS_MAX)
        self.process = None

    def signal(self, number: int) -> int:
        """Sends a signal to the supervisor and waits for its end; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(DOWN_SECONDS_MAX)
        self.process = None
        return code

    def pid(self, name: str) -> int:
        """The pid of a process now; 0 while it does not run."""
        try:
            return int((self.data / "run" / f"{name}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def rss_kib(self, name: str) -> int:
        """Resident memory of a process now."""
        status = Path(f"/proc/{self.pid(name)}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1])

    def kill(self, name: str) -> int:
        """kill -9; returns the pid that it had."""
        pid = wait_for(lambda: self.pid(name), 10, f"{name} runs")
        os.kill(pid, signal.SIGKILL)
        return int(pid)

    def kill_all(self) -> None:
        """kill -9 of the supervisor and all its processes; returns when they are gone.

        Reads nothing in the data folder.
        """
        if self.process is None:
            return
        self.process.send_signal(signal.SIGSTOP)  # it would start them again
        children = _children_of(self.process.pid)
        self.process.kill()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        wait_for(lambda: not any(map(_runs, children)), 20, f"the end of {children}")

    def status(self) -> dict[str, Any]:
        """What `zmqim status --json` prints."""
        done = zmqim("status", "--json", "--data", str(self.data))
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def states(self) -> dict[str, str]:
        """Name → state."""
        return {row["name"]: row["state"] for row in self.status()["processes"]}

    def wait_alive(self, seconds: float = 30.0) -> None:
        """Until every process is alive."""
        wait_for(lambda: set(self.states().values()) == {"alive"}, seconds, "everybody alive")

    def output(self) -> str:
        """What `up` printed so far."""
        return self._output.read_text() if self._output.exists() else ""

    def log(self, name: str) -> list[dict[str, Any]]:
        """The log records of a process."""
        path = self.data / "logs" / f"{name}.log"
        return [json.loads(line) for line in path.read_text().splitlines()]

    @property
    def gateways(self) -> list[dict[str, str]]:
        """Addresses of every gateway."""
        found = json.loads((self.data / "run" / "cluster.json").read_bytes())
        gateways: list[dict[str, str]] = found["gateways"]
        return gateways

    @property
    def tcp(self) -> str:
        return self.gateways[0]["tcp"]

    @property
    def tcp_address(self) -> tuple[str, int]:
        host, _, port = self.tcp.rpartition(":")
        return host, int(port)

    @property
    def ws(self) -> str:
        return self.gateways[0]["ws"]

    @property
    def http(self) -> str:
        return self.gateways[0]["http"]

    @property
    def api_key(self) -> str:
        return (self.data / "secrets" / "api_key").read_text().strip()

    def close(self) -> None:
        """Ends whatever still runs."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DOWN_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        for path in (self.data / "run").glob("*.pid"):
            if path.stem != "supervisor" and (pid := self.pid(path.stem)) and _is_ours(pid):
                os.kill(pid, signal.SIGKILL)

    def _serves(self, start: int) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"up ended with exit code {code}:\n{self.output()}"
        output = self.output()[start:]
        assert "given up" not in output, output
        return "Serving" in output


def _is_ours(pid: int) -> bool:
    """Pids are given out again: only a process of a cluster is ended."""
    try:
        return b"zmqim" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _children_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


def _runs(pid: int) -> bool:
    """Whether it still holds anything: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _environment(api_key: str = "") -> dict[str, str]:
    environment = dict(os.environ)
    environment.pop("ZMQIM_API_KEY", None)
    return {**environment, "ZMQIM_API_KEY": api_key} if api_key else environment
