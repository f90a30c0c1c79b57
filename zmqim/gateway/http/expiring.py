"""Pages of history for readers: without messages whose `expire` seconds have passed.

Such a message keeps its sequence, so a reader sees a gap. What is left out is made up for with what
comes behind it in the direction of reading, so that a page is short, or says that there is no more,
only where the range ends. That is bounded: after EXPIRED_PAGES_MAX pages that were read for one the
page is given as it is; one that is still empty then says that there is no more, as its reader could
not go on from it.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from msgspec.structs import replace

from zmqim.chat.channels import route_key_of_channel
from zmqim.chat.operations import decode_send
from zmqim.chat.queries import MessagesQuery
from zmqim.chat.results import MessageRow, PackedMessages, StreamView
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.finished import Finished, ShownMessage
from zmqim.ids import expiry_of, is_over
from zmqim.limits import PULL_MESSAGES_MAX

EXPIRED_PAGES_MAX: Final = 16
"""Reads of up to PULL_MESSAGES_MAX messages or PULL_BYTES_MAX, one after the other."""


class ShownPage(NamedTuple):
    """A `MessagesPage` as a reader sees it."""

    messages: list[ShownMessage]
    more: bool
    last_sequence: int
    streams: list[StreamView]


def wall_clock_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def has_expired(row: MessageRow, wall_ms: int) -> bool:
    """Is the message over at `wall_ms`, milliseconds since 1970?"""
    return is_over(expiry_of(row.hlc, decode_send(row.operation).expire), wall_ms)


async def read_page(
    asking: Asking, finished: Finished, query: MessagesQuery, channel_id: str, wall_ms: int
) -> ShownPage:
    """The page that `query` asks for, as of `wall_ms`, for whom the channel has that id."""
    upwards = query.pull_mode == 1 and bool(query.start or query.end)
    key = route_key_of_channel(query.channel_type, query.channel_id)
    kept: list[ShownMessage] = []
    streams: list[StreamView] = []
    asked = query
    for _ in range(EXPIRED_PAGES_MAX):
        page = await asking.read(key, asked, PackedMessages)
        found = [finished.message(bytes(packed), channel_id) for packed in page.messages]
        streams += page.streams
        alive = [one for one in found if not is_over(one.until_ms, wall_ms)]
        kept = kept + alive if upwards else alive + kept
        if len(kept) > query.limit:
            kept = kept[: query.limit] if upwards else kept[-query.limit :]
            return ShownPage(kept, True, page.last_sequence, streams)
        if not page.more or len(kept) == query.limit or len(alive) == len(found):
            return ShownPage(kept, page.more, page.last_sequence, streams)
        start = found[-1].sequence + 1 if upwards else found[0].sequence - 1
        asked = replace(asked, start=start, limit=PULL_MESSAGES_MAX, pull_mode=int(upwards))
    return ShownPage(kept, bool(kept), page.last_sequence, streams)
