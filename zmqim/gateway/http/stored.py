"""A stored message as JSON: as WuKongIM v2.2 spells it, in history and in webhooks."""

from __future__ import annotations

import binascii

from msgspec import Struct

from zmqim.chat.channels import peer_of
from zmqim.chat.codes import ChannelType, MessageFlag
from zmqim.chat.operations import decode_send
from zmqim.chat.results import MessageRow
from zmqim.ids import seconds_of


class HeaderAnswer(Struct):
    """Flags of a stored message, 0 or 1 as the SDKs expect."""

    no_persist: int
    red_dot: int
    sync_once: int


class StoredMessage(Struct):
    """One message; the payload is base64."""

    header: HeaderAnswer
    setting: int
    message_id: int
    message_idstr: str
    client_msg_no: str
    message_seq: int
    from_uid: str
    channel_id: str
    channel_type: int
    topic: str
    expire: int
    timestamp: int
    payload: str


def stored_message(row: MessageRow, login_uid: str) -> StoredMessage:
    """The message as `login_uid` sees it: a person channel is called by the other side's uid."""
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
