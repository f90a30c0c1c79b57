"""The cluster under test: three storages, two routers, two gateways, as users run them.

On loopback it is one `zmqim up`; with a `Net` each of three hosts runs its own, with its own data
folder. The harness knows the cluster as an operator does: pid files, `zmqim status --json`, exit
codes, what `up` printed. Only `replicas` opens the stores, when everything has ended.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from tools.chaos.network import Net
from tools.ports import free_ports
from zmqim.commands import status
from zmqim.errors import ZmqimError
from zmqim.ring.document import RingDocument, ring_of
from zmqim.topology import Topology, parse

UP_SECONDS_MAX = 60.0
DOWN_SECONDS_MAX = 60.0
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))[:1]
"""libfaketime where Debian puts it; empty where it is not installed."""
LIMITS = """[limits]
reserve_file_bytes = 4_194_304
disk_free_min_bytes = 16_777_216
disk_free_warn_bytes = 33_554_432
"""
"""Small bounds for the disk that is filled."""
SMALL_BUFFERS_BYTES = 65_536
"""Of a LevelDB's write buffer: so small that every run switches logs."""
HOSTS = ("host1", "host2", "host3")
PLACES = {
    "gateway-1": "host1", "gateway-2": "host2", "router-1": "host1", "router-2": "host2",
    "storage-1": "host1", "storage-2": "host2", "storage-3": "host3",
}  # fmt: skip


class NotInTime(Exception):
    """The cluster did not do in time what it must; the text says what."""


@dataclass
class Host:
    """One `zmqim up` and its data folder."""

    name: str
    data: Path
    inside: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    serving_from: int = 0
    """Where in its output the present life begins."""

    @property
    def output(self) -> str:
        """What `up` printed in this life."""
        path = self.data.with_suffix(".out")
        return path.read_bytes()[self.serving_from :].decode() if path.exists() else ""


class Cluster:
    """Starts, ends and asks; the nemeses do the rest with its pids, folders and hosts."""

    def __init__(
        self,
        folder: Path,
        net: Net | None,
        *,
        replicas: int,
        buffers: int = SMALL_BUFFERS_BYTES,
        small_disk: str,
        clock_host: str,
    ) -> None:
        """`buffers` are the bytes of a LevelDB's write buffer; `small_disk` names the storage whose
        folder is a tmpfs ("": none), `clock_host` the host whose clock can be set (the same)."""
        self.folder = folder
        self.net = net
        self.api_key = secrets.token_urlsafe(24)
        self.topology_path = folder / "topology.toml"
        text = _topology_text(net, replicas, buffers)
        self.topology_path.write_text(text)
        schemes = {"wkproto", "ws", "http"}
        self.topology: Topology = parse(
            text, str(self.topology_path), schemes=schemes, api_key_given=True
        )
        self.ring: RingDocument = ring_of(self.topology)
        self.clock = folder / "clock"
        self.hosts = [self._host(name, clock_host) for name in (HOSTS if net else ("all",))]
        self.small_disk = small_disk
        self._mounts: list[Path] = []

    # ---- life ------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start every host that does not run and wait until each of them serves."""
        started = [host for host in self.hosts if host.process is None]
        for host in started:
            self.start(host)
        for host in started:
            self.wait(partial(self._serves, host), UP_SECONDS_MAX, f"{host.name} serves")

    def start(self, host: Host) -> None:
        """`zmqim up` on that host; does not wait."""
        path = host.data.with_suffix(".out")
        with path.open("ab") as output:
            host.serving_from = output.tell()
            host.process = subprocess.Popen(
                [*host.inside, *self._up_words(host)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=host.environment,
                start_new_session=True,
            )

    def down(self, hosts: Iterable[Host] | None = None) -> None:
        """`zmqim down` on every host at once. Raises `NotInTime`."""
        chosen = [host for host in hosts or self.hosts if host.process is not None]
        asked = [
            subprocess.Popen(
                self._words("down", "--data", str(host.data)),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=host.environment,
            )
            for host in chosen
        ]
        for host, asking in zip(chosen, asked, strict=True):
            assert host.process is not None
            try:
                asking.wait(DOWN_SECONDS_MAX)
                host.process.wait(DOWN_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                asking.kill()
                asking.wait()
                raise NotInTime(f"{host.name} is not down in {DOWN_SECONDS_MAX:g} s") from None
            host.process = None

    def second_start(self, host: Host) -> int:
        """The exit code of a second `zmqim up` on the same data folder."""
        done = subprocess.run(
            [*host.inside, *self._up_words(host)],
            capture_output=True,
            timeout=UP_SECONDS_MAX,
            env=host.environment,
            check=False,
        )
        return done.returncode

    def kill(self) -> None:
        """kill -9 of everything that runs, at once; nothing is started again."""
        running = [host for host in self.hosts if host.process is not None]
        supervisors = [host.process.pid for host in running if host.process is not None]
        for pid in (*supervisors, *(pid for host in running for pid in self.pids(host).values())):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for host in running:
            assert host.process is not None
            host.process.wait()
            host.process = None

    def close(self) -> None:
        """End what still runs, unmount, forget nothing else: the folder stays."""
        self.kill()
        while self._mounts:
            subprocess.run(["umount", "-l", str(self._mounts.pop())], check=False)

    def mount_small_disk(self, size: int) -> None:
        """Put the folder of the storage `small_disk` on a file system of `size` bytes."""
        folder = self.folder_of(self.small_disk)
        folder.mkdir(parents=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "zmqim-chaos", str(folder)]
        subprocess.run(words, check=True)
        self._mounts.append(folder)

    # ---- who is where ----------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Every process of the topology."""
        return [str(process.name) for process in self.topology.processes()]

    def named(self, role: str) -> list[str]:
        """The processes of a role."""
        return [name for name in self.names if name.startswith(role)]

    def host_of(self, name: str) -> Host:
        """Where a process runs."""
        return self.hosts[HOSTS.index(PLACES[name])] if self.net else self.hosts[0]

    def folder_of(self, name: str) -> Path:
        """What a storage keeps."""
        return self.host_of(name).data / name

    def pids(self, host: Host) -> dict[str, int]:
        """The processes of a host that run now, by name, without their supervisor."""
        found = {}
        for name in self.names:
            pid = self.pid(name) if self.host_of(name) is host else 0
            if pid:
                found[name] = pid
        return found

    def pid(self, name: str) -> int:
        """The pid of a process now; 0 while it does not run."""
        path = self.host_of(name).data / "run" / f"{name}.pid"
        try:
            pid = int(path.read_text())
            is_ours = b"zmqim" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return 0
        return pid if is_ours else 0

    def signal(self, name: str, number: int) -> bool:
        """Send a signal to a process; whether it was there."""
        pid = self.pid(name)
        if not pid:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    # ---- what it says ----------------------------------------------------------------------------

    def status(self, host: Host | None = None) -> dict[str, Any] | None:
        """What `zmqim status --json` prints on a host; None while it cannot be asked.

        The command runs in this process: a Python of its own takes longer than a write stall.
        """
        host = host or self.hosts[0]
        words = {
            "--data": str(host.data),
            "--json": True,
            "--partitions": False,
            "--watch": False,
        }
        try:
            with redirect_stdout(StringIO()) as output:
                status.run(words)
        except (ZmqimError, OSError):
            return None
        found: dict[str, Any] = json.loads(output.getvalue())
        return found

    def is_compiled(self) -> bool:
        """Does the first host run compiled packages (docs/adr/0008)?"""
        details = (self.status() or {"details": {}})["details"]
        return any(one.get("compiled", False) for one in details.values())

    def states(self) -> dict[str, str]:
        """Name → state, each as its own host knows it; failed where `zmqim up` has ended."""
        found: dict[str, str] = {}
        for host in self.hosts:
            if host.process is None or host.process.poll() is not None:
                found |= {name: "failed" for name in self.names if self.host_of(name) is host}
            for row in (self.status(host) or {"processes": []})["processes"]:
                if self.host_of(row["name"]) is host:
                    found[row["name"]] = row["state"]
        return found

    def gateways_on(self, host: str) -> list[str]:
        """The gateways that lose the others when that host does."""
        return [name for name in self.named("gateway") if self.net and PLACES[name] == host]

    def leaders(self) -> dict[int, str]:
        """Partition → the storage that leads it: as the cluster says, else as the ring places."""
        told = self.partitions()
        by_partition = {row["id"]: row["leader"] for row in told if isinstance(row["id"], int)}
        placed = {number: owners[0] for number, owners in enumerate(self.ring.placement)}
        return {**placed, **{key: name for key, name in by_partition.items() if name}}

    def voters(self) -> int:
        """Replicas of a partition that count: as the cluster says, else as the ring places."""
        return max([len(row["voters"]) for row in self.partitions()], default=self.ring.voters)

    def is_whole(self) -> bool:
        """Whether everybody is alive and, as far as it is told, every partition replicated."""
        if set(self.states().values()) != {"alive"}:
            return False
        return all(row["fully_replicated"] for row in self.partitions())

    def partitions(self) -> list[dict[str, Any]]:
        """Every partition and the meta group, as the host says whose storage leads it."""
        found: dict[int | str, dict[str, Any]] = {}
        for host in self.hosts:
            for row in (self.status(host) or {}).get("partitions") or []:
                known = found.get(row["id"])
                if known is None or _told(row) > _told(known):
                    found[row["id"]] = row
        return list(found.values())

    def wait(self, condition: Callable[[], Any], seconds: float, what: str) -> float:
        """Wait until `condition`; the seconds that it took. Raises `NotInTime`."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise NotInTime(f"not within {seconds:g} s: {what}")
            time.sleep(0.1)
        return time.monotonic() - began

    @contextmanager
    def stopped(self, name: str) -> Iterator[Path]:
        """The folder of a storage that was killed and is not started again inside the block."""
        supervisor = self.host_of(name).process
        assert supervisor is not None
        supervisor.send_signal(signal.SIGSTOP)
        try:
            pid = self.pid(name)
            if self.signal(name, signal.SIGKILL):
                self.wait(lambda: has_ended(pid), 30, f"{name} ended after kill -9")
            yield self.folder_of(name)
        finally:
            supervisor.send_signal(signal.SIGCONT)

    # ---- own -------------------------------------------------------------------------------------

    def _host(self, name: str, clock_host: str) -> Host:
        environment = {**os.environ, "ZMQIM_API_KEY": self.api_key}
        if name == clock_host:
            self.clock.write_text("+0")
            environment |= {
                "LD_PRELOAD": str(FAKETIME[0]),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        inside = self.net.inside(name) if self.net else []
        return Host(name, self.folder / name, inside, environment)

    def _up_words(self, host: Host) -> list[str]:
        words = self._words("up", str(self.topology_path), "--data", str(host.data))
        return [*words, "--host", host.name] if self.net else words

    def _words(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "zmqim.cli", *words]

    def _serves(self, host: Host) -> bool:
        assert host.process is not None
        code = host.process.poll()
        if code is not None:
            raise NotInTime(f"`zmqim up` on {host.name} ended with {code}:\n{host.output}")
        return "Serving after" in host.output


def clock_can_be_set() -> bool:
    """Whether libfaketime is here."""
    return bool(FAKETIME)


def disk_can_be_small() -> bool:
    """Whether file systems can be mounted."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


def _told(row: dict[str, Any]) -> tuple[bool, int]:
    """How much a row of status is worth: what a leader says itself, and in a later term."""
    return row["fully_replicated"] is not None, row["term"] or 0


def has_ended(pid: int) -> bool:
    """Ended, though its stopped parent has not asked yet; its locks go with its last thread."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in ("Z", "X") and threads <= 1


def _topology_text(net: Net | None, replicas: int, buffers: int) -> str:
    text = f'cluster = "chaos"\nid = "{secrets.token_hex(8)}"\nreplicas = {replicas}\n'
    ports = iter(free_ports(2 * len(PLACES)) if net is None else [])
    if net is not None:
        text += "insecure_bus = true\n"
    text += f"{LIMITS}write_buffer_bytes = {buffers}\n"
    for host in HOSTS if net else ():
        assert net is not None
        text += f'[[host]]\nname = "{host}"\naddress = "{net.address(host)}"\n'
    for name, host in PLACES.items():
        text += f'[[{name.partition("-")[0]}]]\nname = "{name}"\n'
        text += f'host = "{host}"\n' if net else f'address = "127.0.0.1:{next(ports)}"\n'
        if name.startswith("storage"):
            text += f'zone = "{host}"\n'
        if name.startswith("gateway"):
            at = net.address(host) if net else "127.0.0.1"
            wkproto, http = (5100, 5001) if net else (next(ports), next(ports))
            text += f'listeners = ["wkproto://{at}:{wkproto}", "http://{at}:{http}"]\n'
    return text
