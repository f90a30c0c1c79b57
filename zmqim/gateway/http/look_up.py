"""Single messages by what names them: sequence, id, client_msg_no.

A client_msg_no is known under its sender. In a group the partition goes through the senders some at
a time, so one call may take several questions, until LOOK_UP_MS_MAX.
"""

from __future__ import annotations

import asyncio

from litestar import get, post

from zmqim import limits
from zmqim.chat.channels import route_key_of_channel
from zmqim.chat.queries import MessagesBy
from zmqim.chat.results import MessageRow, MessagesFound, StreamView
from zmqim.chat.stream_views import WITH_SNAPSHOTS, size_of
from zmqim.gateway.http.asking import Asking, channel_read_by
from zmqim.gateway.http.expiring import has_expired, wall_clock_ms
from zmqim.gateway.http.given import Given
from zmqim.gateway.http.problems import Problem, bad_request
from zmqim.gateway.http.shapes import (
    ChannelId,
    ClientMsgNo,
    LoginUid,
    MessageRequest,
    MessagesRequest,
    MessageSyncAnswer,
    NotThere,
    TypeOfChannel,
)
from zmqim.gateway.http.stored import StoredMessage, channel_shown, stored_messages


@post("/messages", status_code=200, tags=["messages"])
async def messages(data: MessagesRequest, asking: Given) -> MessageSyncAnswer:
    """The messages that any of the lists names, ascending by sequence; what is not there is left
    out. `more` 1: the answer was full, ask for the rest by itself."""
    query = MessagesBy(
        data.channel_type,
        channel_read_by(data.channel_type, data.channel_id, data.login_uid),
        data.login_uid,
        data.message_seqs,
        data.message_ids,
        data.client_msg_nos,
        streams=WITH_SNAPSHOTS,
    )
    found, cut = await _found(asking, query, all_of_them=True)
    return MessageSyncAnswer(0, 0, int(cut), found)


@post("/message", status_code=200, tags=["messages"])
async def message(data: MessageRequest, asking: Given) -> StoredMessage | NotThere:
    """One message, by message_id or without one by client_msg_no; `{"status": 404}` if it is not
    there. Of several senders' messages under one client_msg_no it is any: /messages has all."""
    if not data.message_id and not data.client_msg_no:
        raise bad_request("message_id and client_msg_no are missing", "give one of them")
    ids = [data.message_id] if data.message_id else []
    numbers = [] if ids else [data.client_msg_no]
    return await _one(asking, data.channel_type, data.channel_id, data.login_uid, ids, numbers)


@get("/message/byclientmsgno", tags=["messages"])
async def message_by_client_msg_no(
    channel_id: ChannelId,
    channel_type: TypeOfChannel,
    client_msg_no: ClientMsgNo,
    asking: Given,
    login_uid: LoginUid = "",
) -> StoredMessage | NotThere:
    """One message by its client_msg_no, as /message has it."""
    return await _one(asking, channel_type, channel_id, login_uid, [], [client_msg_no])


async def _one(
    asking: Asking,
    channel_type: int,
    channel_id: str,
    login_uid: str,
    ids: list[int],
    numbers: list[str],
) -> StoredMessage | NotThere:
    channel_id = channel_read_by(channel_type, channel_id, login_uid)
    query = MessagesBy(
        channel_type, channel_id, login_uid, [], ids, numbers, streams=WITH_SNAPSHOTS
    )
    found, _ = await _found(asking, query, all_of_them=False)
    return found[0] if found else NotThere()


async def _found(
    asking: Asking, query: MessagesBy, all_of_them: bool
) -> tuple[list[StoredMessage], bool]:
    """What `query` names, ascending, or only the first that is met, with their streams; and whether
    the bound of bytes cut it."""
    key = route_key_of_channel(query.channel_type, query.channel_id)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limits.LOOK_UP_MS_MAX / 1000
    rows: dict[int, MessageRow] = {}
    streams: dict[int, StreamView] = {}
    while True:
        answer = await asking.read(key, query, MessagesFound)
        wall_ms = wall_clock_ms()
        rows.update((row.sequence, row) for row in answer.messages if not has_expired(row, wall_ms))
        streams.update((view.sequence, view) for view in answer.streams)
        size = sum(len(row.operation) for row in rows.values())
        size += sum(size_of(view) for view in streams.values())
        cut = answer.cut or bool(answer.after_uid and size > limits.PULL_BYTES_MAX)
        if cut or not answer.after_uid or (rows and not all_of_them):
            ascending = [rows[sequence] for sequence in sorted(rows)]
            name = channel_shown(query.channel_type, query.channel_id, query.login_uid)
            return stored_messages(ascending, list(streams.values()), name, basic=False), cut
        if loop.time() > deadline:
            raise Problem(
                503,
                "unavailable",
                "the channel has too many senders to look through now",
                hint="ask by message_id or message_seq",
            )
        query = MessagesBy(
            query.channel_type,
            query.channel_id,
            query.login_uid,
            client_msg_nos=query.client_msg_nos,
            after_uid=answer.after_uid,
            streams=query.streams,
        )
