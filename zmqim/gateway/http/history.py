"""Reading history: pages of one channel or of many, a last message, a last sequence.

Who may see what is the partition's to say: someone removed sees what was before (P5). Here is only
checked that `login_uid` is one of the two of a person channel.
"""

from __future__ import annotations

import asyncio
from typing import Final

from litestar import get, post

from zmqim import limits
from zmqim.chat.queries import MessagesQuery
from zmqim.chat.stream_views import WITH_SNAPSHOTS, WITHOUT_SNAPSHOTS
from zmqim.gateway.http.asking import Asking, channel_of, channel_read_by
from zmqim.gateway.http.expiring import ShownPage, read_page, wall_clock_ms
from zmqim.gateway.http.finished import Finished, with_streams
from zmqim.gateway.http.given import Given, GivenFinished
from zmqim.gateway.http.problems import Problem
from zmqim.gateway.http.shapes import (
    ChannelId,
    LoginUid,
    MaxSequenceAnswer,
    MessageSyncAnswer,
    MessageSyncRequest,
    NotThere,
    SyncBatchAnswer,
    SyncBatchPage,
    SyncBatchRequest,
    SyncItem,
    TypeOfChannel,
)
from zmqim.gateway.http.stored import StoredMessage, channel_shown

LIMIT_DEFAULT: Final = 50
"""Messages of a page whose limit is 0."""


@post("/channel/messagesync", status_code=200, tags=["messages"])
async def message_sync(
    data: MessageSyncRequest, asking: Given, finished: GivenFinished
) -> MessageSyncAnswer:
    """A page of history, ascending. pull_mode 1: start inclusive upwards, end exclusive; pull_mode
    0: start inclusive downwards (0 = newest), end exclusive. A removed member sees up to the
    removal. Messages whose expire seconds have passed are left out; their sequences stay theirs.
    event_summary_mode `basic` leaves the snapshots of streams out."""
    page, messages = await _page(asking, finished, data.login_uid, data)
    return MessageSyncAnswer(data.start_message_seq, data.end_message_seq, int(page.more), messages)


async def _page(
    asking: Asking, finished: Finished, login_uid: str, wanted: SyncItem
) -> tuple[ShownPage, list[StoredMessage]]:
    """The page that is wanted, and its messages as `login_uid` sees them."""
    is_basic = wanted.event_summary_mode == "basic"
    channel_id = channel_of(wanted.channel_type, wanted.channel_id, login_uid)
    query = MessagesQuery(
        wanted.channel_type,
        channel_id,
        login_uid,
        wanted.start_message_seq,
        wanted.end_message_seq,
        wanted.limit or LIMIT_DEFAULT,
        wanted.pull_mode,
        streams=WITHOUT_SNAPSHOTS if is_basic else WITH_SNAPSHOTS,
    )
    name = channel_shown(wanted.channel_type, channel_id, login_uid)
    page = await read_page(asking, finished, query, name, wall_clock_ms())
    return page, with_streams(page.messages, page.streams, name, basic=is_basic)


@post("/channel/messagesyncbatch", status_code=200, tags=["messages"])
async def message_sync_batch(
    data: SyncBatchRequest, asking: Given, finished: GivenFinished
) -> SyncBatchAnswer:
    """Pages of several channels, in the order of `items`. Each stands for itself: one that cannot
    be answered has an `error`, and the others their messages."""
    batch = _Batch(asking, finished, data.login_uid)
    return SyncBatchAnswer(await asyncio.gather(*[batch.page(item) for item in data.items]))


class _Batch:
    """One call's questions, HTTP_ASKS_AT_ONCE_MAX of them at a time, and the size of its answer."""

    def __init__(self, asking: Asking, finished: Finished, login_uid: str) -> None:
        self._asking = asking
        self._finished = finished
        self._login_uid = login_uid
        self._slots = asyncio.Semaphore(limits.HTTP_ASKS_AT_ONCE_MAX)
        self._bytes = 0

    async def page(self, item: SyncItem) -> SyncBatchPage:
        """The page of one item, or why there is none."""
        answer = SyncBatchPage(
            item.channel_id, item.channel_type, item.start_message_seq, item.end_message_seq
        )
        async with self._slots:
            if self._bytes > limits.HTTP_ANSWER_BYTES_MAX:
                answer.more = 1
                answer.error = "the answer is full: ask for this channel in a further call"
                return answer
            try:
                page, messages = await _page(self._asking, self._finished, self._login_uid, item)
            except Problem as problem:
                answer.error = problem.msg
                return answer
        self._bytes += sum(len(one.packed) for one in page.messages)
        answer.more = int(page.more)
        answer.messages = messages
        return answer


@get("/channel/max_message_seq", tags=["messages"])
async def max_message_seq(
    channel_id: ChannelId,
    channel_type: TypeOfChannel,
    asking: Given,
    finished: GivenFinished,
    login_uid: LoginUid = "",
) -> MaxSequenceAnswer:
    """The sequence of the last message that login_uid may see; 0: there is none."""
    canonical = channel_read_by(channel_type, channel_id, login_uid)
    page, _ = await _newest(asking, finished, channel_type, canonical, login_uid)
    return MaxSequenceAnswer(page.last_sequence)


@get("/channel/last_message", tags=["messages"])
async def last_message(
    channel_id: ChannelId,
    channel_type: TypeOfChannel,
    asking: Given,
    finished: GivenFinished,
    login_uid: LoginUid = "",
) -> StoredMessage | NotThere:
    """The last message that login_uid may see; `{"status": 404}` if there is none."""
    canonical = channel_read_by(channel_type, channel_id, login_uid)
    _, shown = await _newest(asking, finished, channel_type, canonical, login_uid)
    return shown[-1] if shown else NotThere()


async def _newest(
    asking: Asking, finished: Finished, channel_type: int, channel_id: str, login_uid: str
) -> tuple[ShownPage, list[StoredMessage]]:
    query = MessagesQuery(channel_type, channel_id, login_uid, limit=1, streams=WITH_SNAPSHOTS)
    name = channel_shown(channel_type, channel_id, login_uid)
    page = await read_page(asking, finished, query, name, wall_clock_ms())
    return page, with_streams(page.messages, page.streams, name, basic=False)
