"""Ports of 127.0.0.1 for the clusters of tests and of tools, given to no other process as well.

Seconds pass before a port that was found free is bound, by another process still. Two that look for
free ports at random meet now and then: so each takes a block of its own, by binding the first port
of it, and gives the others away in turn. The block is free again when the process has ended.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

BLOCK = 400
BLOCKS = range(10_000, 32_000, BLOCK)
"""Below the ports that the kernel gives to outgoing connections."""


def free_ports(count: int) -> list[int]:
    """`count` ports that nobody has bound, each with the next one."""
    return [free_port(2) for _ in range(count)]


def free_port(in_a_row: int = 10) -> int:
    """The first of so many that nobody has bound (room for a small topology); an OSError when there
    are none in the block."""
    for _ in range(BLOCK):
        ports = [next(_own_block) for _ in range(in_a_row)]
        if ports[-1] - ports[0] == in_a_row - 1 and all(map(_is_free, ports)):
            return ports[0]
    raise OSError(f"none of the {BLOCK} ports around {ports[0]} is free")


def _ports_of_a_block() -> Iterator[int]:
    for first in BLOCKS:
        with socket.socket() as claim:
            try:
                claim.bind(("127.0.0.1", first))
            except OSError:
                continue
            while True:
                yield from range(first + 1, first + BLOCK)
    raise OSError(f"{len(BLOCKS)} processes have taken the ports from {BLOCKS[0]} on")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_own_block = _ports_of_a_block()
