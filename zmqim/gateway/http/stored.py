"""A stored message as the HTTP API shows it."""

from __future__ import annotations

import binascii
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from zmqim.chat.channels import peer_of
from zmqim.chat.codes import ChannelType, MessageFlag, StreamStatus
from zmqim.chat.operations import decode_send
from zmqim.chat.results import MessageRow, StreamView
from zmqim.gateway.events import STATUS_NAMES
from zmqim.gateway.http.shapes import (
    EventLane,
    EventMeta,
    EventSyncHint,
    HeaderAnswer,
    StoredMessage,
)
from zmqim.ids import seconds_of

_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


def stored_message(row: MessageRow, login_uid: str) -> StoredMessage:
    """`row` as `login_uid` sees it: a person channel is named by the other side."""
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


def with_stream(message: StoredMessage, view: StreamView, *, basic: bool) -> StoredMessage:
    """The message with what its stream comes to. With the snapshots a reader has everything up to
    the last event; without them (`basic`) it begins with the first one."""
    lanes = [
        EventLane(
            lane.event_key,
            STATUS_NAMES[lane.status],
            lane.last,
            _decode_object(lane.snapshot) if lane.snapshot else None,
            lane.end_reason,
            lane.error,
        )
        for lane in view.lanes
    ]
    open_count = sum(lane.status == StreamStatus.OPEN for lane in view.lanes)
    return replace(
        message,
        event_meta=EventMeta(
            True,
            view.finished or not open_count,
            view.last,
            view.last,
            len(lanes),
            open_count,
            lanes,
        ),
        event_sync_hint=EventSyncHint(message.client_msg_no, 0 if basic else view.last),
    )


def channel_shown(channel_type: int, channel_id: str, login_uid: str) -> str:
    """The name of a channel as `login_uid` knows it."""
    return peer_of(channel_id, login_uid) if channel_type == ChannelType.PERSON else channel_id
