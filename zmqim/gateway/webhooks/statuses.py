"""user.onlinestatus: who came and went on this gateway, told in batches, in order, while it lasts.

Nothing of it is logged in the cluster: what the application does not take after some tries, what
does not fit the queue, and what a killed gateway had, is lost, and presence can be asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque

from zmqim.gateway.plugin import SessionChanged
from zmqim.gateway.webhooks.delivering import Delivery, Telling
from zmqim.gateway.webhooks.events import status_of, statuses_body
from zmqim.limits import WEBHOOK_STATUSES_BATCH_MAX, WEBHOOK_STATUSES_MAX, WEBHOOK_STATUSES_MS
from zmqim.webhook_settings import USER_ONLINE


class Statuses:
    """What one webhook is to be told of sessions."""

    def __init__(self, delivery: Delivery, port: Telling) -> None:
        self._delivery = delivery
        self._port = port
        self._waiting: deque[str] = deque()

    def add(self, change: SessionChanged) -> None:
        """A session opened or ended; above the bound the oldest is dropped."""
        self._waiting.append(status_of(change))
        if len(self._waiting) > WEBHOOK_STATUSES_MAX:
            self._waiting.popleft()
            self._port.count("webhook_statuses_dropped")

    async def run(self) -> None:
        """Tell the application, until cancelled."""
        while True:
            if len(self._waiting) < WEBHOOK_STATUSES_BATCH_MAX:
                await asyncio.sleep(WEBHOOK_STATUSES_MS / 1_000)
            await self.tell()

    async def tell(self) -> None:
        """Tell the application of the oldest batch."""
        count = min(len(self._waiting), WEBHOOK_STATUSES_BATCH_MAX)
        if not count:
            return
        batch = [self._waiting.popleft() for _ in range(count)]
        if not await self._delivery.offer(USER_ONLINE, statuses_body(batch)):
            self._port.count("webhook_statuses_dropped", count)
