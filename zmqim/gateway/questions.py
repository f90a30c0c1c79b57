"""What listeners and the gateway itself ask beside the traffic of sessions.

`ask` and `online` carry a token of the shell, which gets the answer as an effect. `Probe`s find out
once whether every partition has a leader: the gateway is ready when all have answered.
"""

from __future__ import annotations

from zmqim import limits
from zmqim.bus.effects import Send
from zmqim.bus.messages import ItemKind, OnlineAnswer, OnlineQuery
from zmqim.chat.encoding import encode
from zmqim.chat.queries import Probe
from zmqim.gateway.effects import Answered, Effect, OnlineFound
from zmqim.gateway.partition_keys import keys_of_partitions
from zmqim.gateway.requests import DONE, Numbers, Requests, Routers
from zmqim.gateway.wheel import Wheel
from zmqim.ids import NodeName


class _OnlineAsked:
    """Who is online, asked of one router after the other."""

    __slots__ = ("deadline", "query", "token")

    def __init__(self, token: int, query: OnlineQuery, deadline: int) -> None:
        self.token = token
        self.query = query
        self.deadline = deadline


class Questions:
    """Questions of the HTTP API, and probes."""

    def __init__(
        self,
        requests: Requests,
        routers: Routers,
        wheel: Wheel,
        numbers: Numbers,
        partitions: int,
    ) -> None:
        self._requests = requests
        self._routers = routers
        self._wheel = wheel
        self._numbers = numbers
        self._partitions = partitions
        self._unprobed = dict.fromkeys(range(partitions))
        self._online: dict[int, _OnlineAsked] = {}
        self._effects: list[Effect] = []

    @property
    def all_led(self) -> bool:
        """Whether a leader of every partition has answered once."""
        return not self._unprobed

    @property
    def unprobed(self) -> list[int]:
        """Partitions whose leader has not answered yet."""
        return list(self._unprobed)

    @property
    def waiting(self) -> int:
        """Questions of listeners without an answer (probes are none)."""
        return len(self._requests) + len(self._online)

    # ---- partitions --------------------------------------------------------------------------

    def ask(
        self, now: int, token: int, kind: int, key: bytes, body: bytes, deadline_ms: int
    ) -> None:
        """Ask a partition for a listener."""
        self._requests.ask(now, kind, key, body, deadline_ms, self._answered, token)

    def _answered(self, now: int, token: int, code: int, result: bytes) -> None:
        self._effects.append(Answered(token, code, result))

    def probe(self, now: int) -> None:
        """Ask every partition's leader whether it serves, until all have said so."""
        body = encode(Probe())
        for partition, key in keys_of_partitions(self._partitions).items():
            self._probe(now, (partition, key, body))

    def _probe(self, now: int, probe: tuple[int, bytes, bytes]) -> None:
        _, key, body = probe
        deadline_ms = limits.READ_DEADLINE_MS
        self._requests.ask(
            now, ItemKind.READ, key, body, deadline_ms, self._probed, probe, patient=True
        )

    def _probed(self, now: int, probe: tuple[int, bytes, bytes], code: int, _: bytes) -> None:
        if code == DONE:
            self._unprobed.pop(probe[0], None)
        else:
            self._wheel.add(now + limits.NOT_LEADER_RETRY_MS, self._probe, probe)

    # ---- presence ----------------------------------------------------------------------------

    def online(self, now: int, token: int, uids: list[str]) -> None:
        """Ask a router which devices of `uids` are online: each of them knows all."""
        query = OnlineQuery(self._numbers.take(), uids)
        asked = _OnlineAsked(token, query, now + limits.READ_DEADLINE_MS)
        self._online[query.request] = asked
        self._ask_router(now, asked)

    def _ask_router(self, now: int, asked: _OnlineAsked) -> None:
        if asked.query.request not in self._online:
            return
        if now >= asked.deadline:
            del self._online[asked.query.request]
            self._effects.append(OnlineFound(asked.token, None))
            return
        router = self._a_router(now)
        pause = limits.NOT_LEADER_RETRY_MS
        if router is not None:
            self._effects.append(Send(router, asked.query))
            pause = limits.REQUEST_RETRY_MS
        self._wheel.add(min(now + pause, asked.deadline), self._ask_router, asked)

    def _a_router(self, now: int) -> NodeName | None:
        live = self._routers.live
        return live[now // limits.REQUEST_RETRY_MS % len(live)] if live else None

    def online_answered(self, answer: OnlineAnswer) -> None:
        """A router said who is online."""
        asked = self._online.pop(answer.request, None)
        if asked is not None:
            self._effects.append(OnlineFound(asked.token, answer.devices))

    def flush(self) -> list[Effect]:
        """The turn's questions and answers."""
        effects, self._effects = self._effects, []
        return effects
