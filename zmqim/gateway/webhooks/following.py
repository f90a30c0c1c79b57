"""A webhook's way through the logs: one task a partition, from its follower's position on.

A step asks the partition's leader for the next page, tells the application of it, in order, and
goes on behind it. The position is moved by an entry of the log, at most each WEBHOOK_BOOK_MS: what
was told since is told again by whoever goes on after a crash. Nothing here is kept on disk.

Gateways that have the same webhook share the partitions by rendezvous over those that gossip sees
alive. Where two see it differently both tell the application, which is allowed; that nobody does
lasts no longer than gossip takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.encoding import encode
from zmqim.chat.operations import Follow, FollowerMoved
from zmqim.chat.queries import FollowQuery
from zmqim.chat.results import FollowedPage, MessageRow, Rejected, Result, decode_result
from zmqim.gateway.partition_keys import keys_of_partitions
from zmqim.gateway.plugin import GatewayPort
from zmqim.gateway.webhooks.delivering import Delivery
from zmqim.gateway.webhooks.events import gap_body, offline_body, stored_body
from zmqim.gateway.webhooks.recipients import Unanswered, offline_of
from zmqim.ids import NodeName, PartitionId
from zmqim.limits import (
    FOLLOWED_MESSAGES_MAX,
    READ_DEADLINE_MS,
    SEND_DEADLINE_MS,
    WEBHOOK_BOOK_MS,
    WEBHOOK_IDLE_ENTRIES_MAX,
    WEBHOOK_POLL_MS,
    WEBHOOK_POLLS_PER_SECOND_MAX,
    WEBHOOK_POSTS_MAX,
)
from zmqim.ring.routers import owner_of
from zmqim.webhook_settings import GAP, MESSAGE_OFFLINE, MESSAGE_STORED, WebhookSettings


class Place:
    """Where the webhook is in one partition, while it is this gateway's."""

    __slots__ = ("booked_at", "is_dirty", "key", "partition", "upto")

    def __init__(self, partition: int, key: bytes) -> None:
        self.partition = partition
        self.key = key
        self.upto = -1
        """Everything up to this index was told; -1: go on from the follower's position."""
        self.is_dirty = False
        """The application was told of something that the position does not contain yet."""
        self.booked_at = 0


class Following:
    """The partitions of one webhook, as far as they are this gateway's."""

    def __init__(
        self,
        port: GatewayPort,
        settings: WebhookSettings,
        sharing: Sequence[NodeName],
        delivery: Delivery,
        partitions: int,
    ) -> None:
        """`sharing`: all gateways of the topology that have the webhook, with this one."""
        self._port = port
        self._settings = settings
        self._sharing = sharing
        self._delivery = delivery
        keys = keys_of_partitions(partitions)
        self._places = [Place(partition, keys[partition]) for partition in range(partitions)]
        self._unfollowed = set(range(partitions))
        self._working = asyncio.Semaphore(WEBHOOK_POSTS_MAX)
        self._is_stopping = False

    def tasks(self) -> list[asyncio.Task[None]]:
        """Begin: one task a partition, which ends only when it is cancelled."""
        self._report()
        return [asyncio.create_task(self._follow(place)) for place in self._places]

    def stop(self) -> list[asyncio.Task[None]]:
        """Ask for nothing more; the tasks that write down how far everything is."""
        self._is_stopping = True
        return [asyncio.create_task(self._book(place)) for place in self._places if place.is_dirty]

    def is_mine(self, partition: int) -> bool:
        """Is the partition this gateway's, as gossip sees it here?"""
        live = self._port.view().gateways
        me = NodeName(self._port.name)
        able = [name for name in self._sharing if name in live or name == me]
        return owner_of(PartitionId(partition), able) == me

    async def _follow(self, place: Place) -> None:
        loop = asyncio.get_running_loop()
        while True:
            more = False
            if not self.is_mine(place.partition):
                self._let_go(place)
            elif not self._is_stopping:
                async with self._working:
                    more = await self.step(place, int(loop.time() * 1_000))
            if not more:
                # All wake at the same moments: then what they ask shares frames and turns.
                pause = self._pause_ms()
                await asyncio.sleep((pause - loop.time() * 1_000 % pause) / 1_000)

    async def step(self, place: Place, now: int) -> bool:
        """Tell the application of the next page; True: there is another one already."""
        query = FollowQuery(self._settings.name, place.upto, FOLLOWED_MESSAGES_MAX)
        page = await self._asked(ItemKind.READ, place.key, encode(query), READ_DEADLINE_MS)
        if not isinstance(page, FollowedPage):
            return False
        if page.position < 0:
            place.upto = -1
            await self._begin(place)
            return False
        self._followed(place.partition)
        try:
            await self._tell(place.partition, page)
        except Unanswered:
            return False
        place.upto = page.upto
        place.is_dirty |= bool(page.messages or page.lost_upto)
        is_far = page.upto - page.position >= WEBHOOK_IDLE_ENTRIES_MAX
        if (place.is_dirty or is_far) and now - place.booked_at >= WEBHOOK_BOOK_MS:
            place.booked_at = now
            await self._book(place)
        return page.more

    async def _begin(self, place: Place) -> None:
        """Become a follower of the partition."""
        body = encode(Follow(self._settings.name))
        result = await self._asked(ItemKind.WRITE, place.key, body, SEND_DEADLINE_MS)
        if isinstance(result, Rejected):
            name = self._settings.name
            self._port.report(f"webhook {name}, following", f"webhook {name}: {result.text}")

    async def _tell(self, partition: int, page: FollowedPage) -> None:
        name, events, deliver = self._settings.name, self._settings.events, self._delivery.deliver
        rows: list[MessageRow] = page.messages
        offline = await offline_of(self._port, rows) if MESSAGE_OFFLINE in events else None
        if page.lost_upto:
            self._port.count("webhook_gaps")
            await deliver(GAP, gap_body(name, partition, page.lost_from, page.lost_upto))
        if rows and MESSAGE_STORED in events:
            await deliver(MESSAGE_STORED, stored_body(rows))
        if offline is not None:
            for row in rows:
                for uids in offline.slices(row):
                    await deliver(MESSAGE_OFFLINE, offline_body(row, uids))

    async def _book(self, place: Place) -> None:
        """Move the position in the log to where the application was told to."""
        upto = place.upto
        body = encode(FollowerMoved(self._settings.name, upto))
        if await self._asked(ItemKind.WRITE, place.key, body, SEND_DEADLINE_MS) is not None:
            place.is_dirty = place.is_dirty and place.upto > upto

    async def _asked(
        self, kind: ItemKind, key: bytes, body: bytes, deadline_ms: int
    ) -> Result | None:
        answer = await self._port.ask(kind, key, body, deadline_ms)
        return decode_result(answer.result) if answer.code == OutcomeCode.DONE else None

    def _let_go(self, place: Place) -> None:
        """Another gateway goes on from the position in the log."""
        place.upto = -1
        place.is_dirty = False
        self._followed(place.partition)

    def _followed(self, partition: int) -> None:
        if partition not in self._unfollowed:
            return
        self._unfollowed.discard(partition)
        self._report()

    def _report(self) -> None:
        name, left = self._settings.name, len(self._unfollowed)
        text = f"webhook {name}: {left} partitions are not followed yet" if left else ""
        self._port.report(f"webhook {name}, following", text)

    def _pause_ms(self) -> int:
        return max(WEBHOOK_POLL_MS, len(self._places) * 1_000 // WEBHOOK_POLLS_PER_SECOND_MAX)
