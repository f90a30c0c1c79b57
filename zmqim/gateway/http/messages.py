"""Calls about messages: send (answered after commit) and history."""

from __future__ import annotations

import binascii
import secrets

from litestar import post

from zmqim import limits
from zmqim.bus.messages import ItemKind
from zmqim.chat.channels import SYSTEM_UID, route_key_of_channel, route_key_of_user
from zmqim.chat.codes import ChannelType, MessageFlag, Reason
from zmqim.chat.operations import SendMessage
from zmqim.chat.queries import MessagesQuery, UserQuery
from zmqim.chat.results import MessagesPage, Rejected, Sent, UserRow
from zmqim.chat.stream_views import WITH_SNAPSHOTS
from zmqim.gateway.http.asking import Asking, channel_of, check_uid
from zmqim.gateway.http.given import Given
from zmqim.gateway.http.problems import bad_request, refused
from zmqim.gateway.http.shapes import (
    MessageHeader,
    MessageSyncAnswer,
    MessageSyncRequest,
    SendAnswer,
    SendData,
    SendRequest,
)
from zmqim.gateway.http.stored import stored_messages


@post("/message/send", status_code=200, tags=["messages"])
async def send_message(data: SendRequest, asking: Given) -> SendAnswer:
    """Send a message. Answered when it is committed, with its id and sequence, or refused with the
    reason. The same client_msg_no again gets the first answer."""
    operation = _operation_of(data)
    if not operation.privileged:
        await _check_sender(asking, operation.from_uid)
    transient = bool(operation.flags & MessageFlag.NO_PERSIST)
    key = route_key_of_channel(operation.channel_type, operation.channel_id)
    kind = ItemKind.TRANSIENT if transient else ItemKind.WRITE
    result = await asking.send(key, operation, kind)
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


def _operation_of(data: SendRequest) -> SendMessage:
    """The operation that a valid request asks for; `Problem` for any other."""
    if data.subscribers:
        raise bad_request(
            "sending to a list of uids is not served", "create a group and send to it"
        )
    if not data.channel_id:
        raise bad_request("channel_id is missing")
    sender = data.from_uid or SYSTEM_UID
    if sender != SYSTEM_UID:
        check_uid(sender)
    if data.channel_type == ChannelType.PERSON and "@" not in data.channel_id:
        check_uid(data.channel_id)
    return SendMessage(
        data.channel_type,
        channel_of(data.channel_type, data.channel_id, sender),
        sender,
        data.client_msg_no or secrets.token_hex(16),
        _payload_of(data.payload),
        data.setting,
        _flags_of(data.header),
        data.expire,
        data.topic,
        0,
        sender == SYSTEM_UID,
    )


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
    removal. event_summary_mode `basic` leaves the snapshots of streams out."""
    channel_id = channel_of(data.channel_type, data.channel_id, data.login_uid)
    basic = data.event_summary_mode == "basic"
    query = MessagesQuery(
        data.channel_type,
        channel_id,
        data.login_uid,
        data.start_message_seq,
        data.end_message_seq,
        data.limit or 50,
        data.pull_mode,
        streams=1 if basic else WITH_SNAPSHOTS,
    )
    page = await asking.read(
        route_key_of_channel(data.channel_type, channel_id), query, MessagesPage
    )
    messages = stored_messages(page.messages, page.streams, data.login_uid, basic=basic)
    return MessageSyncAnswer(data.start_message_seq, data.end_message_seq, int(page.more), messages)
