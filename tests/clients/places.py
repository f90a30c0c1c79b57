"""Where the scenarios of every client are played, and what goes wrong there meanwhile.

A scenario is played in rounds. In quickstart there is one round and no trouble. In three-storages
rounds follow one another until every process, of gateways, routers and storages, was killed with
-9, each one when the last was back and every partition fully replicated; so the calls of a round
meet each death at another place.
"""

from __future__ import annotations

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self

from http_calls import Api
from running_cluster import RunningCluster, topology_text, wait_for

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.1
BACK_SECONDS = 60.0
CALM_SECONDS = 1.0
"""From everybody being there to the next death: rounds also begin in peace."""
THREE_STORAGES = (2, 2, 3)
"""Gateways, routers, storages of topology/three-storages.toml."""


class PatientApi(Api):
    """The HTTP API as a careful backend uses it: a call that found no gateway, or was told to try
    again (503), is repeated as it is at the next gateway. Any other answer counts."""

    def __init__(self, urls: list[str], key: str) -> None:
        self.urls = urls
        self.key = key
        self.repeats = 0
        self._gateways = [Api(url, key) for url in urls]
        self._turn = 0

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> tuple[int, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            gateway = self._gateways[self._turn % len(self._gateways)]
            try:
                status, answer = gateway.call(method, path, body, headers, raw)
            except (OSError, http.client.HTTPException) as error:
                status, answer = 503, repr(error)
            if status != 503 or time.monotonic() > deadline:
                return status, answer
            self.repeats += 1
            self._turn += 1
            time.sleep(PAUSE_SECONDS)


class Trouble:
    """Kills the processes `names`, one after the other, in a thread of its own."""

    def __init__(self, cluster: RunningCluster, names: list[str]) -> None:
        self._cluster = cluster
        self._names = names
        self._rounds = 0
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._killing = self._pool.submit(self._kill_all)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._pool.shutdown()
        if error is None:
            self._killing.result()

    def goes_on(self) -> bool:
        """Whether another round is to be played: one at least, and until the last one that was
        killed is back."""
        self._rounds += 1
        return self._rounds == 1 or not self._killing.done()

    def _kill_all(self) -> None:
        for name in self._names:
            if self._over.wait(CALM_SECONDS):
                return
            gone = self._cluster.kill(name)
            wait_for(partial(self._is_back, name, gone), BACK_SECONDS, f"{name} is back")

    def _is_back(self, name: str, gone: int) -> bool:
        """Whether a process has another pid, and everything is whole; or the scenario failed."""
        if self._over.wait(PAUSE_SECONDS):
            return True
        if self._cluster.pid(name) in (0, gone):
            return False
        status = self._cluster.status()
        return {row["state"] for row in status["processes"]} == {"alive"} and all(
            row["fully_replicated"] for row in status["partitions"]
        )


class Place:
    """A running cluster, and the trouble that belongs to it."""

    def __init__(self, cluster: RunningCluster, kills: bool) -> None:
        self.cluster = cluster
        self.kills = kills
        self.api = PatientApi([one["http"] for one in cluster.gateways], cluster.api_key)

    @property
    def gateways(self) -> list[dict[str, str]]:
        """Addresses of every gateway."""
        return self.cluster.gateways

    def trouble(self) -> Trouble:
        """What happens while a scenario is played."""
        rows = self.cluster.status()["processes"] if self.kills else []
        return Trouble(self.cluster, [row["name"] for row in rows])


def topology_of(name: str) -> str:
    """The topology of a place on free ports."""
    if name == "quickstart":
        return topology_text()
    return topology_text(*THREE_STORAGES, replicas=3)
