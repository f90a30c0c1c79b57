"""Sending over HTTP: answered after commit, or refused with the reason."""

from __future__ import annotations

import binascii
import secrets
from typing import Final

from litestar import post
from msgspec.structs import replace

from zmqim import limits
from zmqim.bus.messages import ItemKind
from zmqim.chat.channels import (
    SYSTEM_UID,
    peer_of,
    route_key_of_channel,
    route_key_of_user,
    uid_list_id,
)
from zmqim.chat.codes import ChannelType, MessageFlag, Reason, Stranger
from zmqim.chat.operations import STREAM_SETTING, SendMessage
from zmqim.chat.queries import UserQuery
from zmqim.chat.results import Rejected, Sent, Strangers, UserRow
from zmqim.gateway.http.asking import Asking, channel_of, check_group, check_uid
from zmqim.gateway.http.given import Given, GivenSenders
from zmqim.gateway.http.problems import bad_request, refused
from zmqim.gateway.http.shapes import MessageHeader, SendAnswer, SendData, SendRequest
from zmqim.gateway.http.temporary import TEMPORARY, make_list, uids_of
from zmqim.gateway.plugin import Draft, GatewayPort

_BY_APPLICATION: Final = "the application of [before_send] refused it"


@post("/message/send", status_code=200, tags=["messages"])
async def send_message(data: SendRequest, asking: Given, senders: GivenSenders) -> SendAnswer:
    """Send a message. Answered when it is committed, with its id and sequence, or refused with the
    reason. The same client_msg_no again gets the first answer. With `subscribers` a command message
    goes to exactly these uids."""
    port = asking.port
    operation = _operation_of(data, port.system_uids)
    await senders.check(operation.from_uid)
    if data.subscribers:
        await make_list(asking, operation.channel_id, uids_of(data))
    operation = await approved(port, operation, data.channel_id)
    result = await commit(asking, operation)
    return SendAnswer(
        SendData(
            result.message_id,
            str(result.message_id),
            operation.client_msg_no,
            result.sequence,
            int(Reason.SUCCESS),
        )
    )


async def commit(asking: Asking, operation: SendMessage) -> Sent:
    """Ask the channel's partition until the message is committed; `Problem` if it is not."""
    key = route_key_of_channel(operation.channel_type, operation.channel_id)
    transient = operation.flags & MessageFlag.NO_PERSIST
    kind = ItemKind.TRANSIENT if transient else ItemKind.WRITE
    result = await asking.send(key, operation, kind)
    if isinstance(result, Strangers):
        stranger = await _stranger(asking, operation)
        result = await asking.send(key, replace(operation, stranger=stranger), kind)
    if isinstance(result, Rejected):
        raise refused(result.reason, result.text)
    assert isinstance(result, Sent)
    return result


async def _stranger(asking: Asking, message: SendMessage) -> int:
    """What to say of the receiver, to whom the sender never wrote (docs/adr/0010)."""
    receiver = peer_of(message.channel_id, message.from_uid)
    row = await asking.read(route_key_of_user(receiver), UserQuery(receiver, 0), UserRow)
    return int(Stranger.WELCOME if row.allow_stranger else Stranger.UNWELCOME)


def _operation_of(data: SendRequest, system_uids: frozenset[str]) -> SendMessage:
    """The operation that a valid request asks for; `Problem` for any other."""
    if data.from_uid and data.sender_uid and data.from_uid != data.sender_uid:
        raise bad_request("from_uid and sender_uid are not the same", "give one of them")
    sender = sender_of(data.from_uid or data.sender_uid)
    channel_type, channel_id = _channel_of(data, sender)
    return SendMessage(
        channel_type,
        channel_id,
        sender,
        data.client_msg_no or secrets.token_hex(16),
        payload_of(data.payload),
        data.setting | (STREAM_SETTING if data.is_stream else 0),
        flags_of(data.header),
        data.expire,
        data.topic,
        0,
        bool(data.subscribers) or sender in system_uids,
        stranger_asked(channel_type),
    )


def stranger_asked(channel_type: int) -> int:
    """What a send says of strangers at first: to persons, that it asks."""
    return int(Stranger.ASK) if channel_type == ChannelType.PERSON else 0


def _channel_of(data: SendRequest, sender: str) -> tuple[int, str]:
    """Where the message goes; `Problem` if it can go nowhere."""
    if data.subscribers:
        return TEMPORARY, uid_list_id(uids_of(data))
    if not data.channel_id or not data.channel_type:
        raise bad_request(
            "channel_id or channel_type is missing", "say both, or subscribers and sync_once"
        )
    channel_id = channel_of(data.channel_type, data.channel_id, sender)
    if data.channel_type != ChannelType.PERSON:
        check_group(data.channel_type, channel_id)
    return data.channel_type, channel_id


def sender_of(uid: str) -> str:
    """Who sends: the system if nobody is named; `Problem` for what can be no user."""
    if uid and uid != SYSTEM_UID:
        check_uid(uid)
    return uid or SYSTEM_UID


def payload_of(text: str) -> bytes:
    """The bytes of a base64 payload; `Problem` if it is none, or too long."""
    try:
        payload = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error is one; text beyond ASCII is plainly one.
        raise bad_request("payload is not base64", "encode the message body as base64") from None
    if len(payload) > limits.PAYLOAD_BYTES_MAX:
        raise bad_request(
            f"payload is above {limits.PAYLOAD_BYTES_MAX} bytes",
            "keep large content elsewhere, and send where it is",
        )
    return payload


def flags_of(header: MessageHeader) -> int:
    """The `MessageFlag`s of a header."""
    return (
        (MessageFlag.NO_PERSIST if header.no_persist else 0)
        | (MessageFlag.RED_DOT if header.red_dot else 0)
        | (MessageFlag.SYNC_ONCE if header.sync_once else 0)
    )


async def approved(port: GatewayPort, message: SendMessage, channel_id: str) -> SendMessage:
    """The message as the application lets it through; `Problem` if it refuses it."""
    draft = Draft(
        message.from_uid,
        message.channel_type,
        channel_id,
        message.client_msg_no,
        message.payload,
        message.flags,
        message.setting,
        message.topic,
        message.expire,
    )
    verdict = await port.before_send(draft)
    if verdict.reason != Reason.SUCCESS:
        gave_none = verdict.reason == Reason.SYSTEM_ERROR
        raise refused(verdict.reason, verdict.text, None if gave_none else _BY_APPLICATION)
    if verdict.payload is None:
        return message
    return replace(message, payload=verdict.payload)
