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
    """`row` as `login_uid` sees it: a person channel is named by the other side, or for nobody in
    particular ("") by both."""
    message = decode_send(row.operation)
    flags = message.flags
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
        channel_shown(message.channel_type, message.channel_id, login_uid),
        message.channel_type,
        message.topic,
        message.expire,
        seconds_of(row.hlc),
        binascii.b2a_base64(message.payload, newline=False).decode(),
    )


def channel_shown(channel_type: int, channel_id: str, login_uid: str) -> str:
    """The name of a channel as `login_uid`, or nobody in particular (""), knows it."""
    is_peers = channel_type == ChannelType.PERSON and login_uid
    return peer_of(channel_id, login_uid) if is_peers else channel_id
