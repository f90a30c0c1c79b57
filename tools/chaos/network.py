"""Hosts as network namespaces on a bridge, and the ways to cut them off from each other.

Everything lies in namespaces of this run, the bridge too: nothing of the machine's own network is
touched, and deleting the namespaces removes it all. Clients live in the namespace of the bridge
(`Net.clients`) and reach every host, whatever is cut between hosts.

A cut is a DROP rule in the namespace of the one who no longer hears: packets vanish without a word,
as behind a broken switch.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import permutations
from pathlib import Path

CLIENTS_ADDRESS = "10.77.0.254"
DROP = ("-j", "DROP")
PREFIX = "zq"
"""Of our namespaces; the pid of the harness and a few letters by chance follow."""

Link = tuple[str, str]
"""(who does not hear, whom)."""


class Net:
    """A bridge with one namespace a host; a context manager that leaves nothing behind."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = tuple(hosts)
        self._prefix = f"{PREFIX}{os.getpid()}-{secrets.token_hex(2)}-"
        self._made: list[str] = []

    def __enter__(self) -> Net:
        if missing := [name for name in ("ip", "iptables") if shutil.which(name) is None]:
            raise OSError(f"{' and '.join(missing)} missing: apt-get install iproute2 iptables")
        _remove_leftovers()
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove every namespace; a second call does nothing."""
        while self._made:
            _run("ip", "netns", "del", self._made.pop())

    def address(self, host: str) -> str:
        """Where a host is reached."""
        return f"10.77.0.{self.hosts.index(host) + 1}"

    def inside(self, host: str) -> list[str]:
        """What to put before a command so that it runs on `host`."""
        return ["ip", "netns", "exec", self._prefix + host]

    @property
    def clients(self) -> list[str]:
        """What to put before a command so that it runs where the clients are."""
        return self.inside("clients")

    def cut(self, links: Iterable[Link]) -> None:
        """Drop what the first of each pair would hear from the second."""
        for deaf, speaker in links:
            rule = ("INPUT", "-s", self.address(speaker), *DROP)
            _run(*self.inside(deaf), "iptables", "-w", "-A", *rule)

    def heal(self) -> None:
        """Let everybody hear everybody."""
        for host in self.hosts:
            _run(*self.inside(host), "iptables", "-w", "-F", "INPUT")

    def _make(self) -> None:
        clients = self._prefix + "clients"
        for name in (clients, *(self._prefix + host for host in self.hosts)):
            _run("ip", "netns", "add", name)
            self._made.append(name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", clients, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", clients, "addr", "add", f"{CLIENTS_ADDRESS}/24", "dev", "br0")
        _run("ip", "-n", clients, "link", "set", "br0", "up")
        for number, host in enumerate(self.hosts):
            name, port = self._prefix + host, f"port{number}"
            ends = ("type", "veth", "peer", "name", "eth0", "netns", name)
            _run("ip", "-n", clients, "link", "add", port, *ends)
            _run("ip", "-n", clients, "link", "set", port, "master", "br0", "up")
            _run("ip", "-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")


def both_ways(one: Iterable[str], other: Iterable[str]) -> list[Link]:
    """Nobody of `one` hears anybody of `other`, nor the other way round."""
    others = list(other)
    return [link for a in one for b in others for link in ((a, b), (b, a))]


def isolate(host: str, hosts: Iterable[str]) -> list[Link]:
    """`host` hears nobody, and nobody hears it."""
    return both_ways([host], [other for other in hosts if other != host])


def bridge(middle: str, hosts: Iterable[str]) -> list[Link]:
    """All hear `middle`, and nobody else."""
    rest = [host for host in hosts if host != middle]
    return list(permutations(rest, 2))


def _remove_leftovers() -> None:
    """Namespaces, and what runs in them, of a harness that was killed."""
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        pid, dash, _ = name.removeprefix(PREFIX).partition("-")
        if not name.startswith(PREFIX) or not dash or not pid.isdigit() or _is_alive(pid):
            continue
        for process in _run("ip", "netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        _run("ip", "netns", "del", name)


def _is_alive(pid: str) -> bool:
    return Path("/proc", pid).exists()


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
