"""Whether the addresses of a topology can be bound here, before anything is started."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

from zmqim.bus.messages import Role
from zmqim.errors import PortInUse
from zmqim.topology import Gateway, Process


def check_ports(processes: Iterable[Process]) -> None:
    """Raises PortInUse with every address that cannot be bound, and why."""
    faults = []
    port = 0
    for process in processes:
        for what, host, number in _addresses(process):
            why = _why_not(host, number)
            if why:
                faults.append(f"  {host}:{number} ({process.name}, {what}): {why}")
                port = port or number
    if faults:
        noun = "An address" if len(faults) == 1 else f"{len(faults)} addresses"
        raise PortInUse(
            "\n".join([f"{noun} of the topology cannot be used:", *faults]),
            hint=f"`ss -ltnp 'sport = :{port}'` shows who has a port; `zmqim status` whether it "
            "is a cluster of yours.",
        )


def _addresses(process: Process) -> list[tuple[str, str, int]]:
    found = []
    if process.role is not Role.GATEWAY:
        found.append(("bus", process.bus_host, process.bus_port))
    found.append(("bus PUB", process.bus_host, process.bus_port + 1))
    if isinstance(process, Gateway):
        found += [
            (listener.scheme, listener.host, listener.port)
            for listener in process.listeners
            if not listener.connects
        ]
    return found


def _why_not(host: str, port: int) -> str:
    """Why this address cannot be bound; empty when it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        return f"the name is not known ({error.strerror})"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "the port is in use"
        if error.errno == errno.EADDRNOTAVAIL:
            return "this machine does not have that address"
        return str(error.strerror)
    return ""
