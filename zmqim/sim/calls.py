"""Calls of the HTTP API in a simulated cluster, one after the other, as a program writes them.

The simulation has no HTTP: gateways are asked what their HTTP listener would ask, again and again
until there is a definite answer. `Calls.run` takes a generator that yields what it waits for: a
`Call`, whose result it gets, or microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.encoding import encode
from zmqim.chat.operations import Operation
from zmqim.chat.queries import Query
from zmqim.chat.results import Result, decode_result
from zmqim.sim.nodes import GatewayNode
from zmqim.sim.world import MS, World

DEADLINE_MS = 5_000
LOOK_US = 500 * MS
"""How often a caller looks whether the gateway that it asked is still the same."""
AGAIN_US = 300 * MS
"""Pause before a call without a definite answer is repeated."""


class Call(NamedTuple):
    """Something to ask. `make` gives what one attempt says: a repeat may be a call of its own."""

    what: str
    kind: ItemKind
    key: bytes
    make: Callable[[], Operation | Query]


Steps = Generator["Call | int", "Result | None", None]
ResultT = TypeVar("ResultT", bound=Result)


def reading(
    key: bytes, query: Query, kind: type[ResultT]
) -> Generator[Call | int, Result | None, ResultT]:
    """Read, and go on with the answer."""
    result = yield Call(type(query).__name__, ItemKind.READ, key, lambda: query)
    assert isinstance(result, kind), result
    return result


def writing(
    key: bytes, make: Callable[[], Operation]
) -> Generator[Call | int, Result | None, Result]:
    """Write, and go on with the answer."""
    result = yield Call(type(make()).__name__, ItemKind.WRITE, key, make)
    assert result is not None
    return result


class _Asked:
    """A call that waits for its answer."""

    __slots__ = ("attempt", "call", "is_done", "then")

    def __init__(self, call: Call, then: Callable[[Result], None]) -> None:
        self.call = call
        self.then = then
        self.attempt = 0
        self.is_done = False


class Calls:
    """Everything that is asked by these programs."""

    def __init__(self, world: World, gateways: Sequence[GatewayNode]) -> None:
        self._world = world
        self._gateways = gateways
        self._random = world.fork()
        self._open: dict[int, str] = {}
        self._last = 0

    @property
    def waiting(self) -> list[str]:
        """Programs that are not at their end: what each waits for."""
        return list(self._open.values())

    def run(self, steps: Steps) -> None:
        """Begin a program; it goes on by itself."""
        self._last += 1
        self._go(self._last, steps, None)

    def _go(self, number: int, steps: Steps, result: Result | None) -> None:
        try:
            wanted = steps.send(result)
        except StopIteration:
            self._open.pop(number, None)
            return
        if isinstance(wanted, int):
            self._open[number] = "time"
            self._world.after(wanted, partial(self._go, number, steps, None))
        else:
            self._open[number] = wanted.what
            self._ask(_Asked(wanted, partial(self._go, number, steps)))

    def _ask(self, asked: _Asked) -> None:
        if asked.is_done:
            return
        asked.attempt += 1
        gateway = self._random.choice(self._gateways)
        if not gateway.is_alive or gateway.sockets.is_stopped:
            self._world.after(AGAIN_US, partial(self._ask, asked))
            return
        call, attempt = asked.call, asked.attempt
        then = partial(self._answered, asked, attempt)
        gateway.ask(call.kind, call.key, encode(call.make()), DEADLINE_MS, then)
        until = self._world.now + 2 * DEADLINE_MS * MS
        look = partial(self._look, asked, attempt, gateway, gateway.life, until)
        self._world.after(LOOK_US, look)

    def _answered(self, asked: _Asked, attempt: int, code: int, result: bytes) -> None:
        if asked.is_done:
            return
        if code == OutcomeCode.DONE:
            asked.is_done = True
            asked.then(decode_result(result))
        elif attempt == asked.attempt:
            self._world.after(AGAIN_US, partial(self._ask, asked))

    def _look(
        self, asked: _Asked, attempt: int, gateway: GatewayNode, life: int, until: int
    ) -> None:
        """Ask another gateway if this one died with the call, or is silent."""
        if asked.is_done or attempt != asked.attempt:
            return
        if gateway.life == life and gateway.is_alive and self._world.now < until:
            look = partial(self._look, asked, attempt, gateway, life, until)
            self._world.after(LOOK_US, look)
        else:
            self._ask(asked)
