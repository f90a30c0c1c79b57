"""A stored message as JSON: as WuKongIM v2.2 spells it, in history and in webhooks."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from zmqim.chat.channels import peer_of
from zmqim.chat.codes import ChannelType, MessageFlag, StreamStatus
from zmqim.chat.operations import SendMessage, decode_send
from zmqim.chat.results import MessageRow, StreamView
from zmqim.gateway.events import STATUS_NAMES
from zmqim.ids import seconds_of

MAIN_KEY: Final = "main"
"""The event key of who gives none (WuKongIM v2.2)."""
_NO_PERSIST: Final = int(MessageFlag.NO_PERSIST)
_RED_DOT: Final = int(MessageFlag.RED_DOT)
_SYNC_ONCE: Final = int(MessageFlag.SYNC_ONCE)
_PERSON: Final = int(ChannelType.PERSON)
"""Plain numbers: each `&` of an IntFlag makes an enum member, for each message of a page."""
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


class HeaderAnswer(Struct, gc=False):
    """Flags of a stored message, 0 or 1 as the SDKs expect."""

    no_persist: int
    red_dot: int
    sync_once: int


_HEADERS: Final = [
    HeaderAnswer(
        int(bool(flags & _NO_PERSIST)), int(bool(flags & _RED_DOT)), int(bool(flags & _SYNC_ONCE))
    )
    for flags in range(1 << 8)
]
"""By the flags of a message, which are a byte."""


class EventLane(Struct):
    """What the events of a message under one `event_key` come to. `snapshot` is the payload that
    says it all, null if there is none or event_summary_mode is `basic`."""

    event_key: str
    status: str
    last_msg_event_seq: int
    snapshot: dict[str, Any] | None
    end_reason: int
    error: str


class EventMeta(Struct):
    """The stream of a message. `completed`: nothing of it is open, or it is finished."""

    has_events: bool
    completed: bool
    event_version: int
    last_msg_event_seq: int
    event_count: int
    open_event_count: int
    events: list[EventLane]


class EventSyncHint(Struct):
    """From where /message/eventsync goes on."""

    client_msg_no: str
    from_msg_event_seq: int


class StoredMessage(Struct, omit_defaults=True, gc=False):
    """One message of a history page. The last fields are of one with a stream alone: end to
    stream_data (1: ended; base64 of the text) say of its lane `main` what event_meta says too, as
    older SDKs read it."""

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
    end: int = 0
    end_reason: int = 0
    error: str = ""
    stream_data: str = ""
    event_meta: EventMeta | None = None
    event_sync_hint: EventSyncHint | None = None


def stored_message(row: MessageRow, login_uid: str) -> StoredMessage:
    """`row` as `login_uid` sees it: a person channel is named by the other side, or for nobody in
    particular ("") by both."""
    message = decode_send(row.operation)
    return _shown(row, message, channel_shown(message.channel_type, message.channel_id, login_uid))


def _shown(row: MessageRow, message: SendMessage, channel_id: str) -> StoredMessage:
    return StoredMessage(
        _HEADERS[message.flags],
        message.setting,
        row.message_id,
        str(row.message_id),
        message.client_msg_no,
        row.sequence,
        message.from_uid,
        channel_id,
        message.channel_type,
        message.topic,
        message.expire,
        seconds_of(row.hlc),
        binascii.b2a_base64(message.payload, newline=False).decode(),
    )


def stored_messages(
    rows: Iterable[MessageRow], streams: Sequence[StreamView], channel_id: str, *, basic: bool
) -> list[StoredMessage]:
    """The messages of a channel that the reader knows by that id, with those of their streams that
    were read; `basic`: without snapshots."""
    messages = [_shown(row, decode_send(row.operation), channel_id) for row in rows]
    if not streams:
        return messages
    views = {view.sequence: view for view in streams}
    return [
        _with_stream(message, views[message.message_seq], basic=basic)
        if message.message_seq in views
        else message
        for message in messages
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
    """The name of a channel as `login_uid`, or nobody in particular (""), knows it."""
    is_peers = channel_type == _PERSON and login_uid
    return peer_of(channel_id, login_uid) if is_peers else channel_id
