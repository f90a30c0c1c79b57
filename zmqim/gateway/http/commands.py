"""Calls about commands (messages with sync_once): which of them a person has not taken yet.

Commands are pushed like other messages, but are in no history. Who was away asks /message/sync, and
says with /message/syncack what arrived; what a master device acknowledged as it was pushed is not
shown (`zmqim.gateway.command_acks`). `message_seq` is the person's own count here, not that of a
channel: so one number says what was taken of all channels (`zmqim.chat.commands`).
"""

from __future__ import annotations

from litestar import Router, post
from msgspec.structs import replace

from zmqim import limits
from zmqim.chat.codes import Reason
from zmqim.chat.operations import AcknowledgeCommands, BindCommands, NoteCommands
from zmqim.chat.shown_commands import chosen, commands_wanted
from zmqim.gateway.http.asking import channel_of, check_group, check_uid
from zmqim.gateway.http.conversation_shapes import (
    CommandChannelRequest,
    CommandsAckRequest,
    CommandsRequest,
)
from zmqim.gateway.http.directory import Directory
from zmqim.gateway.http.given import GivenDirectory
from zmqim.gateway.http.portions import request_id
from zmqim.gateway.http.problems import Problem
from zmqim.gateway.http.shapes import Ok
from zmqim.gateway.http.stored import StoredMessage, stored_message

NOTED_TRIES = 5
"""How often the oldest commands are read anew because another call of the same person came first.
Above: refused, ask again."""


@post("/message/sync", status_code=200)
async def commands_sync(data: CommandsRequest, directory: GivenDirectory) -> list[StoredMessage]:
    """The oldest commands that the person has not acknowledged, at most `limit`. `message_seq` of
    each is the person's own count: give the last one to /message/syncack."""
    check_uid(data.uid)
    for _ in range(NOTED_TRIES):
        try:
            return await _oldest(directory, data.uid, data.limit or limits.COMMANDS_SHOWN_MAX)
        except Problem as problem:
            if problem.reason != Reason.IDEMPOTENCY_CONFLICT:
                raise
    raise Problem(503, "unavailable", "too many calls for this uid at once", hint="try again")


@post("/message/syncack", status_code=200)
async def commands_acknowledged(data: CommandsAckRequest, directory: GivenDirectory) -> Ok:
    """The person has taken what /message/sync showed, up to the `message_seq` that it gave."""
    check_uid(data.uid)
    await directory.write(AcknowledgeCommands(data.uid, data.last_message_seq, request_id()))
    return Ok()


@post("/message/cmd/bind", status_code=200)
async def bind(data: CommandChannelRequest, directory: GivenDirectory) -> Ok:
    """Give the person the commands of a channel of which it is no member, from now on."""
    channel_id = _channel(data)
    last = await directory.last_command(data.channel_type, channel_id)
    await _bind(directory, data, channel_id, True, last)
    return Ok()


@post("/message/cmd/unbind", status_code=200)
async def unbind(data: CommandChannelRequest, directory: GivenDirectory) -> Ok:
    """The person no longer gets them."""
    await _bind(directory, data, _channel(data), False, 0)
    return Ok()


def command_router() -> Router:
    """All calls of this module."""
    calls = [commands_sync, commands_acknowledged, bind, unbind]
    return Router(path="/", route_handlers=calls, tags=["messages"])


async def _oldest(directory: Directory, uid: str, limit: int) -> list[StoredMessage]:
    pending = await directory.pending(uid)
    rows = [one.row for one in (await directory.rows(uid)).rows]
    found = await directory.commands(commands_wanted(rows), limit)
    shown, new = chosen(pending, found, limit)
    if new:
        await directory.write(NoteCommands(uid, pending.last_number, new, request_id()))
    return [_numbered(stored_message(message, uid), number) for number, message in shown]


def _numbered(message: StoredMessage, number: int) -> StoredMessage:
    return replace(message, message_seq=number)


def _channel(data: CommandChannelRequest) -> str:
    check_uid(data.uid)
    if data.channel_type != 1:
        check_group(data.channel_type, data.channel_id)
    return channel_of(data.channel_type, data.channel_id, data.uid)


async def _bind(
    directory: Directory, data: CommandChannelRequest, channel_id: str, bound: bool, last: int
) -> None:
    await directory.write(
        BindCommands(data.uid, data.channel_type, channel_id, bound, last, request_id())
    )
