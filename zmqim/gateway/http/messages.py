"""Calls about messages: send (answered after commit) and history."""

from __future__ import annotations

import binascii
import secrets
import time

from litestar import post
from msgspec.structs import replace

from zmqim import limits
from zmqim.bus.messages import ItemKind
from zmqim.chat.channels import (
    SYSTEM_UID,
    peer_of,
    peers_of,
    route_key_of_channel,
    route_key_of_user,
    uid_list_id,
)
from zmqim.chat.codes import ChannelType, MessageFlag, Reason, Stranger
from zmqim.chat.operations import SendMessage, decode_send
from zmqim.chat.queries import MessagesQuery, UserQuery
from zmqim.chat.results import MessageRow, Rejected, Sent, Strangers, UserRow
from zmqim.gateway.http.asking import Asking, channel_of, check_group, check_uid
from zmqim.gateway.http.given import Given, GivenPort
from zmqim.gateway.http.history import read_page
from zmqim.gateway.http.problems import bad_request, refused
from zmqim.gateway.http.shapes import (
    HeaderAnswer,
    MessageHeader,
    MessageSyncAnswer,
    MessageSyncRequest,
    SendAnswer,
    SendData,
    SendRequest,
    StoredMessage,
)
from zmqim.gateway.http.temporary import TEMPORARY, make_list, uids_of
from zmqim.ids import seconds_of


@post("/message/send", status_code=200, tags=["messages"])
async def send_message(data: SendRequest, asking: Given, port: GivenPort) -> SendAnswer:
    """Send a message. Answered when it is committed, with its id and sequence, or refused with the
    reason. The same client_msg_no again gets the first answer. With `subscribers` a command message
    goes to exactly these uids."""
    operation = _operation_of(data, port.system_uids)
    if operation.from_uid not in port.system_uids:
        await _check_sender(asking, operation.from_uid)
    if data.subscribers:
        await make_list(asking, operation.channel_id, uids_of(data))
    transient = bool(operation.flags & MessageFlag.NO_PERSIST)
    key = route_key_of_channel(operation.channel_type, operation.channel_id)
    kind = ItemKind.TRANSIENT if transient else ItemKind.WRITE
    result = await asking.send(key, operation, kind)
    if isinstance(result, Strangers):
        stranger = await _stranger(asking, operation)
        result = await asking.send(key, replace(operation, stranger=stranger), kind)
    if isinstance(result, Rejected):
        raise refused(result.reason, result.text)
    assert isinstance(result, Sent)
    return SendAnswer(
        SendData(
            result.message_id,
            str(result.message_id),
            operation.client_msg_no,
            result.sequence,
            int(Reason.SUCCESS),
        )
    )


def _operation_of(data: SendRequest, system_uids: frozenset[str]) -> SendMessage:
    """The operation that a valid request asks for; `Problem` for any other."""
    sender = data.from_uid or SYSTEM_UID
    if sender != SYSTEM_UID:
        check_uid(sender)
    channel_type, channel_id = _channel_of(data, sender)
    return SendMessage(
        channel_type,
        channel_id,
        sender,
        data.client_msg_no or secrets.token_hex(16),
        _payload_of(data.payload),
        data.setting,
        _flags_of(data.header),
        data.expire,
        data.topic,
        0,
        bool(data.subscribers) or sender in system_uids,
        int(Stranger.ASK) if channel_type == ChannelType.PERSON else 0,
    )


def _channel_of(data: SendRequest, sender: str) -> tuple[int, str]:
    """Where the message goes; `Problem` if it can go nowhere."""
    if data.subscribers:
        return TEMPORARY, uid_list_id(uids_of(data))
    if not data.channel_id or not data.channel_type:
        raise bad_request(
            "channel_id or channel_type is missing", "say both, or subscribers and sync_once"
        )
    channel_id = channel_of(data.channel_type, data.channel_id, sender)
    if data.channel_type == ChannelType.PERSON:
        for uid in peers_of(channel_id):
            check_uid(uid)
    else:
        check_group(data.channel_type, channel_id)
    return data.channel_type, channel_id


def _payload_of(text: str) -> bytes:
    try:
        payload = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise bad_request("payload is not base64", "encode the message body as base64") from None
    if len(payload) > limits.PAYLOAD_BYTES_MAX:
        raise bad_request(f"payload is above {limits.PAYLOAD_BYTES_MAX} bytes")
    return payload


def _flags_of(header: MessageHeader) -> int:
    return (
        (MessageFlag.NO_PERSIST if header.no_persist else 0)
        | (MessageFlag.RED_DOT if header.red_dot else 0)
        | (MessageFlag.SYNC_ONCE if header.sync_once else 0)
    )


async def _stranger(asking: Asking, message: SendMessage) -> int:
    """What to say of the receiver, to whom the sender never wrote (docs/adr/0010)."""
    receiver = peer_of(message.channel_id, message.from_uid)
    row = await asking.read(route_key_of_user(receiver), UserQuery(receiver, 0), UserRow)
    return int(Stranger.WELCOME if row.allow_stranger else Stranger.UNWELCOME)


async def _check_sender(asking: Asking, uid: str) -> None:
    """A user's own bans are facts of the user's partition, as at CONNECT."""
    row = await asking.read(route_key_of_user(uid), UserQuery(uid, 0), UserRow)
    if row.ban:
        raise refused(Reason.BANNED)
    if row.send_ban:
        raise refused(Reason.SEND_BANNED)


@post("/channel/messagesync", status_code=200, tags=["messages"])
async def message_sync(data: MessageSyncRequest, asking: Given) -> MessageSyncAnswer:
    """A page of history, ascending. pull_mode 1: start inclusive upwards, end exclusive; pull_mode
    0: start inclusive downwards (0 = newest), end exclusive. A removed member sees up to the
    removal. Messages whose expire seconds have passed are left out; their sequences stay theirs."""
    channel_id = channel_of(data.channel_type, data.channel_id, data.login_uid)
    query = MessagesQuery(
        data.channel_type,
        channel_id,
        data.login_uid,
        data.start_message_seq,
        data.end_message_seq,
        data.limit or 50,
        data.pull_mode,
    )
    page = await read_page(asking, query, time.time_ns() // 1_000_000)
    messages = [_stored(row, data.login_uid) for row in page.messages]
    return MessageSyncAnswer(data.start_message_seq, data.end_message_seq, int(page.more), messages)


def _stored(row: MessageRow, login_uid: str) -> StoredMessage:
    message = decode_send(row.operation)
    flags = message.flags
    person = message.channel_type == ChannelType.PERSON
    return StoredMessage(
        HeaderAnswer(
            int(bool(flags & MessageFlag.NO_PERSIST)),
            int(bool(flags & MessageFlag.RED_DOT)),
            int(bool(flags & MessageFlag.SYNC_ONCE)),
        ),
        message.setting,
        row.message_id,
        str(row.message_id),
        message.client_msg_no,
        row.sequence,
        message.from_uid,
        peer_of(message.channel_id, login_uid) if person else message.channel_id,
        message.channel_type,
        message.topic,
        message.expire,
        seconds_of(row.hlc),
        binascii.b2a_base64(message.payload, newline=False).decode(),
    )
