"""Requests and answers of the HTTP API, as WuKongIM v2.2 spells them (wukongim.md 3.2).

Types and bounds are checked by msgspec before a handler runs. Flags may be 0/1 or true/false, as
the peer's backends send both.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from zmqim.limits import HTTP_LIST_MAX, PAYLOAD_BYTES_MAX, PULL_MESSAGES_MAX

Text = Annotated[str, Meta(min_length=1, max_length=512)]
OptionalText = Annotated[str, Meta(max_length=512)]
Flag = bool | Annotated[int, Meta(ge=0, le=1)]
TypeNumber = Annotated[int, Meta(ge=1, le=255)]
DeviceFlag = Annotated[int, Meta(ge=0, le=255)]
SequenceNumber = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Uids = Annotated[list[Text], Meta(max_length=HTTP_LIST_MAX)]


class TokenRequest(Struct):
    """POST /user/token"""

    uid: Text
    token: Annotated[str, Meta(min_length=1, max_length=4096)]
    device_flag: DeviceFlag = 0
    device_level: Annotated[int, Meta(ge=0, le=1)] = 0


class DeviceQuitRequest(Struct):
    """POST /user/device_quit; device_flag -1 means every device"""

    uid: Text
    device_flag: Annotated[int, Meta(ge=-1, le=255)] = -1


class OnlineDevice(Struct):
    """One device that is online."""

    uid: str
    device_flag: int
    online: int = 1


class ChannelRequest(Struct):
    """POST /channel/info"""

    channel_id: Text
    channel_type: TypeNumber
    large: Flag = False
    ban: Flag = False
    disband: Flag = False
    send_ban: Flag = False
    allow_stranger: Flag = True


class ChannelCreateRequest(ChannelRequest):
    """POST /channel"""

    reset: Flag = False
    subscribers: Uids = msgspec.field(default_factory=list)


class ChannelKey(Struct):
    """A channel, and nothing else."""

    channel_id: Text
    channel_type: TypeNumber = 2


class SubscribersRequest(Struct):
    """POST /channel/subscriber_add and _remove"""

    channel_id: Text
    subscribers: Uids
    channel_type: TypeNumber = 2
    reset: Flag = False
    temp_subscriber: Flag = False


class ListRequest(Struct):
    """POST /channel/blacklist_* and whitelist_*; for channel_type 1 channel_id is the owner's
    uid"""

    channel_id: Text
    channel_type: TypeNumber
    uids: Uids


class ListRow(Struct):
    """One row of GET /channel/whitelist"""

    id: int
    uid: str


class MessageHeader(Struct):
    """Flags of a message."""

    no_persist: Flag = False
    red_dot: Flag = False
    sync_once: Flag = False


class SendRequest(Struct):
    """POST /message/send; the payload is base64"""

    channel_id: OptionalText
    channel_type: TypeNumber
    payload: Annotated[str, Meta(max_length=PAYLOAD_BYTES_MAX * 4 // 3 + 4)]
    from_uid: OptionalText = ""
    client_msg_no: OptionalText = ""
    header: MessageHeader = msgspec.field(default_factory=MessageHeader)
    setting: Annotated[int, Meta(ge=0, le=255)] = 0
    expire: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    topic: OptionalText = ""
    subscribers: Uids = msgspec.field(default_factory=list)


class SendData(Struct):
    """What became of a message: it is committed."""

    message_id: int
    message_idstr: str
    client_msg_no: str
    message_seq: int
    reason: int = 1


class SendAnswer(Struct):
    """Answer of /message/send"""

    data: SendData
    status: int = 200


class MessageSyncRequest(Struct):
    """POST /channel/messagesync"""

    login_uid: Text
    channel_id: Text
    channel_type: TypeNumber
    start_message_seq: SequenceNumber = 0
    end_message_seq: SequenceNumber = 0
    limit: Annotated[int, Meta(ge=0, le=PULL_MESSAGES_MAX)] = 50
    pull_mode: Annotated[int, Meta(ge=0, le=1)] = 0
    event_summary_mode: OptionalText = ""


class HeaderAnswer(Struct):
    """Flags of a stored message, 0 or 1 as the SDKs expect."""

    no_persist: int
    red_dot: int
    sync_once: int


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


class StoredMessage(Struct, omit_defaults=True):
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


class MessageSyncAnswer(Struct):
    """Answer of /channel/messagesync, ascending."""

    start_message_seq: int
    end_message_seq: int
    more: int
    messages: list[StoredMessage]


class RouteAnswer(Struct):
    """GET /route: where a client connects"""

    tcp_addr: str
    ws_addr: str
    wss_addr: str


class Ok(Struct):
    """Success without data."""

    status: int = 200
