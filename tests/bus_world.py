"""Endpoints of a small cluster over real sockets, turned by the tests; shared by several folders.

Run as a program it is one process of that cluster, to be killed:
``python tests/bus_world.py <topology file> <name>``.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random

from zmqim.bus.effects import Peer
from zmqim.bus.endpoint import BusEvent, Endpoint
from zmqim.bus.link_events import PeerDown, PeerUp, Received
from zmqim.bus.messages import DeliverAck, Message
from zmqim.ids import Incarnation, Milliseconds, NodeName, NodeUuid, WallMilliseconds
from zmqim.ring.document import ring_of
from zmqim.topology import Topology, parse

DEADLINE_S = 15.0


def topology_text(
    port: int, *, cluster: str = "bus-tests", routers: int = 1, more: str = ""
) -> str:
    """One gateway, one storage and some routers."""
    names = "".join(f'[[router]]\nname = "router-{n}"\n' for n in range(1, routers + 1))
    return (
        f'cluster = "{cluster}"\nbus_port = {port}\n{more}\n'
        f'[[storage]]\nname = "storage-1"\n{names}'
        '[[gateway]]\nname = "gateway-1"\nlisteners = ["wkproto://127.0.0.1:5100"]\n'
    )


def now_ms() -> Milliseconds:
    return Milliseconds(time.monotonic_ns() // 1_000_000)


def endpoint_of(name: str, topology: Topology, incarnation: int = 1) -> Endpoint:
    process = topology.process(name)
    life = Peer(process.name, process.role, NodeUuid(uuid.uuid4().bytes), Incarnation(incarnation))
    return Endpoint(life, topology, ring_of(topology), Random(name), now_ms())


class BusWorld:
    """Several endpoints in this process, turned together."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.events: dict[str, list[BusEvent]] = {}

    def start(self, name: str, text: str) -> Endpoint:
        """A process under that name; a second one replaces the first in this world."""
        self.endpoints[name] = endpoint_of(name, parse(text, "test.toml"))
        self.events[name] = []
        return self.endpoints[name]

    def turn(self) -> None:
        """One turn of everybody."""
        for name, endpoint in self.endpoints.items():
            wall = WallMilliseconds(time.time_ns() // 1_000_000)
            self.events[name] += endpoint.turn(now_ms(), wall)

    def until(self, holds: Callable[[], object], deadline_s: float = DEADLINE_S) -> float:
        """Turn until it holds; gives the seconds that it took."""
        begin = time.monotonic()
        while not holds():
            took = time.monotonic() - begin
            assert took < deadline_s, f"not within {deadline_s} s: {self.describe()}"
            self.turn()
            time.sleep(0.001)
        return time.monotonic() - begin

    def describe(self) -> str:
        return "\n".join(
            f"{name}: {one.problems()} {one.counters()} {self.events[name][-5:]}"
            for name, one in self.endpoints.items()
        )

    def peers(self, name: str) -> set[str]:
        """Names of the processes that `name` was told are up."""
        up: set[str] = set()
        for event in self.events[name]:
            if isinstance(event, PeerUp):
                up.add(event.peer.name)
            elif isinstance(event, PeerDown):
                up.discard(event.name)
        return up

    def received(self, name: str) -> list[Message]:
        return [event.message for event in self.events[name] if isinstance(event, Received)]

    def send(self, source: str, to: str, message: Message) -> bool:
        done = self.endpoints[source].send(now_ms(), NodeName(to), message)
        self.endpoints[source].flush(now_ms())
        return done

    def close(self, name: str | None = None) -> None:
        """Close one, without Goodbye, or all."""
        for one in [name] if name else list(self.endpoints):
            self.endpoints.pop(one).close()


def serve(path: str, name: str) -> None:
    """Echo every DeliverAck until killed."""
    endpoint = endpoint_of(name, parse(Path(path).read_text(), path))
    print("bound", flush=True)
    while True:
        wall = WallMilliseconds(time.time_ns() // 1_000_000)
        for event in endpoint.turn(now_ms(), wall):
            if isinstance(event, Received) and isinstance(event.message, DeliverAck):
                endpoint.send(now_ms(), event.source, event.message)
        endpoint.flush(now_ms())
        endpoint.wait(max(0, endpoint.next_wake(now_ms()) - now_ms()))


if __name__ == "__main__":
    serve(*sys.argv[1:])
