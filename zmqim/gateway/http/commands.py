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
from zmqim.chat.channels import members_channel
from zmqim.chat.codes import Reason
from zmqim.chat.operations import AcknowledgeCommands, BindCommands, CommandPlace, NoteCommands
from zmqim.chat.queries import CommandsWanted
from zmqim.chat.results import MessageRow
from zmqim.chat.rows import ConversationRow, PendingCommand
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
    rows = _in_force((await directory.rows(uid)).rows)
    taken = {(row.channel_type, row.channel_id): row.taken for row in rows if row.taken}
    found = [
        one
        for one in await directory.commands([_wanted(row) for row in rows], limit)
        if not _is_taken(taken, *_place_of(*one))
    ]
    found.sort(key=lambda one: (one[1].hlc, one[1].message_id))
    numbers = {_place(command): command.number for command in pending.commands}
    new = [one for one in found if _place_of(*one) not in numbers]
    new = new[: max(0, limit - (len(found) - len(new)))]
    for number, one in enumerate(new, pending.last_number + 1):
        numbers[_place_of(*one)] = number
    if new:
        places = [CommandPlace(*_place_of(*one)) for one in new]
        await directory.write(NoteCommands(uid, pending.last_number, places, request_id()))
    shown = [(numbers[_place_of(*one)], one[1]) for one in found if _place_of(*one) in numbers]
    shown.sort(key=lambda one: one[0])
    return [_numbered(stored_message(message, uid), number) for number, message in shown[:limit]]


def _in_force(rows: list[ConversationRow]) -> list[ConversationRow]:
    """Those whose commands the person gets: not of a topic whose community he had to leave."""
    left = {(row.channel_type, row.channel_id) for row in rows if row.version and not row.present}
    return [
        row
        for row in rows
        if row.bound
        or (row.present and members_channel(row.channel_type, row.channel_id) not in left)
    ]


def _wanted(row: ConversationRow) -> CommandsWanted:
    above = max(row.read_commands, row.joined_commands)
    return CommandsWanted(row.channel_type, row.channel_id, above)


def _is_taken(
    taken: dict[tuple[int, str], list[tuple[int, int]]],
    channel_type: int,
    channel_id: str,
    sequence: int,
) -> bool:
    """Whether the person has it already, though not all that are older."""
    runs = taken.get((channel_type, channel_id), ())
    return any(first <= sequence <= last for first, last in runs)


def _place(command: PendingCommand) -> tuple[int, str, int]:
    return command.channel_type, command.channel_id, command.sequence


def _place_of(wanted: CommandsWanted, message: MessageRow) -> tuple[int, str, int]:
    return wanted.channel_type, wanted.channel_id, message.sequence


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
