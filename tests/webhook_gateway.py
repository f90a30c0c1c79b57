"""A gateway with a webhook over the storage core of tests/storage_world.py, without any socket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any, cast

from storage_world import StorageWorld, ring

from zmqim.bus.effects import View
from zmqim.bus.messages import OutcomeCode
from zmqim.chat.operations import decode_operation
from zmqim.errors import DeadlinePassed
from zmqim.gateway.plugin import Answer, GatewayPort
from zmqim.gateway.webhooks.delivering import Delivery
from zmqim.gateway.webhooks.following import Following, Place
from zmqim.ids import NodeName
from zmqim.limits import WEBHOOK_BOOK_MS
from zmqim.storage.sizes import Sizes
from zmqim.webhook_settings import EVENTS, WebhookSettings

ME, OTHER = NodeName("gateway-1"), NodeName("gateway-2")


class Gateway:
    """The port and the delivery of a webhook, over one storage that leads everything."""

    def __init__(
        self,
        partitions: int = 1,
        events: tuple[str, ...] = EVENTS,
        world: StorageWorld | None = None,
    ) -> None:
        self.world = world or StorageWorld(ring(partitions), sizes=Sizes(rows_wait_ms=0))
        self.name = ME
        self.told: list[tuple[str, Any]] = []
        self.written: list[object] = []
        self.live: tuple[NodeName, ...] = (ME, OTHER)
        self.online_uids: set[str] = set()
        self.counts: dict[str, int] = {}
        self.reports: dict[str, str] = {}
        self.is_reachable = True
        self.now = 10 * WEBHOOK_BOOK_MS
        settings = WebhookSettings("im", "s", "", events, 1, False)
        self.following = Following(
            cast(GatewayPort, self), settings, [ME, OTHER], cast(Delivery, self), partitions
        )
        self.places = self.following._places
        self.place: Place = self.places[0]

    async def deliver(self, event: str, body: bytes) -> None:
        self.told.append((event, json.loads(body)))

    async def ask(self, kind: int, key: bytes, body: bytes, deadline_ms: int) -> Answer:
        if not self.is_reachable:
            return Answer(OutcomeCode.UNAVAILABLE, b"")
        if kind == 0:
            self.written.append(decode_operation(body))
        self.world.turn()
        outcome = self.world.outcomes(self.world.item(key, kind, body))[0]
        return Answer(outcome.code, outcome.result)

    async def online(self, uids: Sequence[str]) -> list[tuple[str, int]]:
        if not self.is_reachable:
            raise DeadlinePassed("nobody answered")
        return [(uid, 0) for uid in uids if uid in self.online_uids]

    def view(self) -> View:
        return View(self.live, (), ())

    def count(self, counter: str, by: int = 1) -> None:
        self.counts[counter] = self.counts.get(counter, 0) + by

    def report(self, source: str, problem: str) -> None:
        self.reports[source] = problem

    def step(self, place: Place | None = None, ms: int = 0) -> bool:
        self.now += ms
        return asyncio.run(self.following.step(place or self.place, self.now))

    def take(self) -> list[tuple[str, Any]]:
        told, self.told = self.told, []
        return told

    def texts(self) -> list[str]:
        """Of all messages that msg.notify told since the last call."""
        return [
            base64.b64decode(one["payload"]).decode()
            for event, body in self.take()
            if event == "msg.notify"
            for one in body
        ]

    def position(self) -> int | None:
        return self.world.core.groups[0].state.followers.position("im")
