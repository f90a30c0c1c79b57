"""The values that a topology file describes: hosts, processes, listeners and limits of a cluster.

They never change while a process runs. `zmqim.topology` reads them from a file; everything else
only asks them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import urlsplit

from zmqim import limits, webhook_settings
from zmqim.bus.messages import Role
from zmqim.errors import UsageError
from zmqim.ids import ClusterId, NodeName
from zmqim.toml_tables import did_you_mean

ANY_ADDRESS = ("0.0.0.0", "::")
"""Bound to, they mean every address of the machine; nobody can connect to them."""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: other hosts reach its processes at `address`."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a gateway accepts clients; `scheme` names the plug-in that speaks to them."""

    scheme: str
    host: str
    port: int
    advertise: str
    """What clients are told (`/route`); the URL itself when nothing else was given."""
    path: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    """What else its table says, for its plug-in."""

    @property
    def url(self) -> str:
        """The URL of the topology; only that of a webhook has a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def connects(self) -> bool:
        """It connects to an application there instead of accepting clients."""
        return self.scheme == webhook_settings.SCHEME


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the cluster; a router has no more than this."""

    name: NodeName
    role: Role
    host: str
    bus_host: str
    bus_port: int

    @property
    def address(self) -> str:
        """Where its ROUTER is bound."""
        return f"tcp://{self.bus_host}:{self.bus_port}"

    @property
    def pub_address(self) -> str:
        """Where its PUB is bound: the next port."""
        return f"tcp://{self.bus_host}:{self.bus_port + 1}"


@dataclass(frozen=True, slots=True)
class Gateway(Process):
    """A process that holds client connections."""

    listeners: tuple[Listener, ...]


@dataclass(frozen=True, slots=True)
class Storage(Process):
    """A process that keeps partitions: `zone` is its failure domain, `weight` its share."""

    zone: str
    weight: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that an operator may set; each defaults to its like in zmqim/limits.py."""

    disk_free_min_bytes: int = limits.DISK_FREE_MIN_BYTES
    disk_free_warn_bytes: int = limits.DISK_FREE_WARN_BYTES
    reserve_file_bytes: int = limits.RESERVE_FILE_BYTES
    write_buffer_bytes: int = limits.WRITE_BUFFER_BYTES
    sessions_max: int = limits.SESSIONS_MAX
    connects_pending_max: int = limits.CONNECTS_PENDING_MAX
    sends_per_second: int = limits.SENDS_PER_SECOND_MAX
    send_burst: int = limits.SEND_BURST_MAX


@dataclass(frozen=True, slots=True)
class Topology:
    """A cluster as its file describes it."""

    cluster: str
    id_line: str
    replicas: int
    partitions: int
    data_folder: str
    api_key_file: str
    insecure_bus: bool
    hosts: tuple[Host, ...]
    gateways: tuple[Gateway, ...]
    routers: tuple[Process, ...]
    storages: tuple[Storage, ...]
    limits: Limits
    before_send: webhook_settings.HookSettings | None = None
    """Whom gateways ask before they propose a message; None: nobody."""

    @property
    def cluster_id(self) -> ClusterId:
        """16 bytes that every frame of this cluster carries."""
        text = f"{self.cluster}\n{self.id_line}".encode()
        return ClusterId(blake2b(text, digest_size=16).digest())

    def processes(self, host: str = "") -> tuple[Process, ...]:
        """All processes (of one host, if named) in the order in which they are started."""
        everyone = (*self.storages, *self.routers, *self.gateways)
        return tuple(process for process in everyone if not host or process.host == host)

    def process(self, name: str) -> Process:
        """The process of that name. UsageError when there is none."""
        for process in self.processes():
            if process.name == name:
                return process
        names = [process.name for process in self.processes()]
        raise UsageError(f"The topology has no process {name!r}{did_you_mean(name, names)}.")

    def gateway_number(self, name: NodeName) -> int:
        """A gateway's place among the gateways, from 1: what clients and the HTTP API call its node
        id."""
        return [gateway.name for gateway in self.gateways].index(name) + 1

    def notes(self) -> tuple[str, ...]:
        """What is allowed but should be known; about replicas see `zmqim.ring.guarantee`."""
        found = []
        if self.insecure_bus and not all(is_loopback(p.bus_host) for p in self.processes()):
            found.append(
                "the bus is not encrypted and not authenticated (insecure_bus = true): "
                "whoever reaches its ports reads and writes everything; keep them on a private net"
            )
        for gateway in self.gateways:
            found += [
                f"{one.url} of {gateway.name} has no advertise: clients that ask where to connect "
                f"are told {one.host}"
                for one in gateway.listeners
                if one.scheme != "http" and one.host in ANY_ADDRESS and one.advertise == one.url
            ]
            found += [
                f"{one.url} of {gateway.name} is not encrypted: messages go there in the clear; "
                "say tls = true, or keep it on a private net"
                for one in gateway.listeners
                if one.connects and not is_loopback(one.host) and not dict(one.settings)["tls"]
            ]
        hook = self.before_send
        if hook is not None and not hook.tls and not is_loopback(urlsplit(hook.url).hostname or ""):
            found.append(
                "[before_send] is not encrypted: messages go there in the clear; say tls = true, "
                "or keep it on a private net"
            )
        return tuple(found)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
