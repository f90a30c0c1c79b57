"""`webhook://HOST:PORT/PATH`: the plug-in that tells an application over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from zmqim.gateway.plugin import GatewayPort
from zmqim.gateway.webhooks.delivering import Delivery
from zmqim.gateway.webhooks.following import Following
from zmqim.gateway.webhooks.letters import letters_of
from zmqim.gateway.webhooks.posting import Poster, secret_of
from zmqim.gateway.webhooks.statuses import Statuses
from zmqim.ids import NodeName
from zmqim.topology_values import Topology
from zmqim.webhook_settings import MESSAGE_OFFLINE, MESSAGE_STORED, USER_ONLINE, settings_of


class WebhookListener:
    """The plug-in of scheme ``webhook``."""

    def __init__(self, url: str, port: GatewayPort, settings: Mapping[str, str]) -> None:
        self._url = url
        self._port = port
        self._settings = settings_of(settings)
        self._poster: Poster | None = None
        self._following: Following | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._last: list[asyncio.Task[None]] = []

    @property
    def bound(self) -> str:
        """``host:port`` of the application."""
        assert self._poster is not None
        return self._poster.address

    async def start(self) -> None:
        """Begin to follow; UsageError without a secret."""
        settings, context = self._settings, self._port.context
        poster = self._poster = Poster(self._url, settings, secret_of(settings))
        letters = letters_of(context.folder, settings.name)
        name, address = settings.name, poster.address
        delivery = Delivery(name, address, poster.post, letters, self._port, context.logger)
        if {MESSAGE_STORED, MESSAGE_OFFLINE} & set(settings.events):
            sharing = sharing_of(context.topology, name)
            partitions = context.topology.partitions
            self._following = Following(self._port, settings, sharing, delivery, partitions)
            self._tasks += self._following.tasks()
        if USER_ONLINE in settings.events:
            statuses = Statuses(delivery, self._port)
            self._port.watch_sessions(statuses.add)
            self._tasks.append(asyncio.create_task(statuses.run()))
        for task in self._tasks:
            task.add_done_callback(_ended)

    def stop_accepting(self) -> None:
        """Ask for nothing more, and write down how far everything is."""
        if self._following is not None:
            self._last = self._following.stop()

    async def close(self) -> None:
        """End what is under way: whoever goes on tells it again."""
        for task in (*self._tasks, *self._last):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._last, return_exceptions=True)
        if self._poster is not None:
            await self._poster.close()


def sharing_of(topology: Topology, name: str) -> list[NodeName]:
    """The gateways that have the webhook of that name."""
    return [
        gateway.name
        for gateway in topology.gateways
        if any(dict(one.settings).get("name") == name for one in gateway.listeners)
    ]


def _ended(task: asyncio.Task[None]) -> None:
    """A task of ours ended by a fault: that is the process's, not only its own."""
    if not task.cancelled() and task.exception() is not None:
        context = {"message": "a webhook ended by a fault", "exception": task.exception()}
        task.get_loop().call_exception_handler(context)
