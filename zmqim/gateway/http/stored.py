"""A stored message as the HTTP API shows it."""

from __future__ import annotations

import binascii
from collections.abc import Iterable
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

MAIN_KEY: Final = "main"
"""The event key of who gives none (wukongim.md 3.2)."""
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


def stored_messages(
    rows: Iterable[MessageRow], streams: Iterable[StreamView], login_uid: str, *, basic: bool
) -> list[StoredMessage]:
    """The same with those of their streams that were read; `basic`: without snapshots."""
    views = {view.sequence: view for view in streams}
    return [
        _with_stream(stored_message(row, login_uid), views[row.sequence], basic=basic)
        if row.sequence in views
        else stored_message(row, login_uid)
        for row in rows
    ]


def _with_stream(message: StoredMessage, view: StreamView, *, basic: bool) -> StoredMessage:
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
    main = next((lane for lane in lanes if lane.event_key == MAIN_KEY), None)
    if main is not None:
        message = replace(
            message,
            end=int(main.status != STATUS_NAMES[StreamStatus.OPEN]),
            end_reason=main.end_reason,
            error=main.error,
            stream_data=_text_of(main),
        )
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


def _text_of(lane: EventLane) -> str:
    """The text of a lane, in base64; empty if it has none."""
    text = (lane.snapshot or {}).get("text")
    if not isinstance(text, str):
        return ""
    return binascii.b2a_base64(text.encode(), newline=False).decode()


def channel_shown(channel_type: int, channel_id: str, login_uid: str) -> str:
    """The name of a channel as `login_uid` knows it."""
    return peer_of(channel_id, login_uid) if channel_type == ChannelType.PERSON else channel_id
