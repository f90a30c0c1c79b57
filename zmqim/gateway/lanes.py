"""Lanes: what one session sends to one channel, and the batch of it that is in flight.

A lane has one batch in flight, because a batch that is asked again would else come behind its
successor (docs/REPLICATION.md 8). Rows of plain fields, which `sending` reads and writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zmqim import limits
from zmqim.bus.messages import Item
from zmqim.gateway.requests import ITEM_OVERHEAD_BYTES
from zmqim.ids import NodeName

if TYPE_CHECKING:
    from zmqim.gateway.sessions import Session


class Waiting:
    """A SEND without an answer."""

    __slots__ = (
        "client_msg_no",
        "client_seq",
        "doubtful",
        "item",
        "lane",
        "proposed",
        "since",
        "size",
    )

    def __init__(
        self, item: Item, lane: Lane, client_seq: int, client_msg_no: str, since: int, size: int
    ) -> None:
        self.item = item
        self.lane = lane
        self.client_seq = client_seq
        self.client_msg_no = client_msg_no
        self.since = since
        self.size = size
        self.proposed = False
        """Whether the latest attempt may have been taken."""
        self.doubtful = False
        """Whether an earlier attempt may have been taken: then no refusal is definite."""


class Lane:
    """What one session sends to one channel."""

    __slots__ = (
        "asking",
        "channel_id",
        "flight",
        "key",
        "open_count",
        "partition",
        "patience",
        "pause",
        "queue",
        "ready",
        "retry_at",
        "router",
        "session",
        "timer_at",
        "tries",
    )

    def __init__(self, session: Session, channel_id: str, key: bytes, partition: int) -> None:
        self.session = session
        self.channel_id = channel_id
        self.key = key
        self.partition = partition
        self.queue: list[Waiting] = []
        self.flight: list[Waiting] = []
        self.open_count = 0
        """Items of the flight without an answer."""
        self.ready = False
        self.router: NodeName | None = None
        """Whom the flight was sent to; None: it waits out a pause."""
        self.tries = 0
        """How often the flight came to nothing."""
        self.pause = limits.NOT_LEADER_RETRY_MS
        self.patience = limits.REQUEST_RETRY_MS
        """How long the flight waits for an answer before it is asked again."""
        self.retry_at = 0
        self.timer_at = 0
        """When the wheel looks at the lane next; 0: it does not."""
        self.asking = False
        """The receiver's row is being read: the two never exchanged a message."""

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is in flight."""
        return not self.queue and not self.flight


def batch_of(queue: list[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
    """The beginning of `queue` that fits into a frame, and the rest."""
    size = 0
    for each in queue:
        size += each.size + ITEM_OVERHEAD_BYTES
    if len(queue) <= limits.BATCH_ITEMS_MAX and size <= limits.BATCH_BYTES_MAX:
        return queue, []
    left = limits.BATCH_BYTES_MAX
    count = 0
    for each in queue[: limits.BATCH_ITEMS_MAX]:
        left -= each.size + ITEM_OVERHEAD_BYTES
        if left < 0 and count:
            break
        count += 1
    return queue[:count], queue[count:]
