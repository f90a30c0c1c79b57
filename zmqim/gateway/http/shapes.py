"""Requests and answers of the HTTP API, as WuKongIM v2.2 spells them.

Types and bounds are checked by msgspec before a handler runs. Flags may be 0/1 or true/false, as
the peer's backends send both.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar.params import Parameter
from msgspec import Meta, Struct

from zmqim.gateway.http.stored import StoredMessage
from zmqim.limits import (
    HTTP_LIST_MAX,
    MESSAGES_BY_MAX,
    PAYLOAD_BYTES_MAX,
    PULL_MESSAGES_MAX,
    SYNC_BATCH_ITEMS_MAX,
    SYSTEM_UIDS_MAX,
)

Text = Annotated[str, Meta(min_length=1, max_length=512)]
OptionalText = Annotated[str, Meta(max_length=512)]
Flag = bool | Annotated[int, Meta(ge=0, le=1)]
TypeNumber = Annotated[int, Meta(ge=1, le=255)]
DeviceFlag = Annotated[int, Meta(ge=0, le=255)]
SequenceNumber = Annotated[int, Meta(ge=0, le=2**63 - 1)]
MessageId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Payload = Annotated[str, Meta(min_length=1, max_length=PAYLOAD_BYTES_MAX * 4 // 3 + 4)]
Uids = Annotated[list[Text], Meta(max_length=HTTP_LIST_MAX)]


ChannelId = Annotated[
    str,
    Parameter(
        min_length=1,
        max_length=512,
        description="For a person channel the peer's uid, or both uids joined by @.",
    ),
]
TypeOfChannel = Annotated[int, Parameter(ge=1, le=255, description="1 person, 2 group.")]
ClientMsgNo = Annotated[
    str,
    Parameter(min_length=1, max_length=512, description="As the sender or the server named it."),
]
LoginUid = Annotated[
    str,
    Parameter(
        max_length=512,
        description="Who asks; nothing that this user may not see is shown. Without it everything "
        "is, and a person channel must be named by both uids.",
    ),
]

Intranet = Annotated[
    int,
    Parameter(ge=0, le=1, description="1: the listeners' own addresses, not the advertised ones."),
]


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


class UidsRequest(Struct):
    """POST /user/systemuids_add and _remove"""

    uids: Annotated[list[Text], Meta(min_length=1, max_length=SYSTEM_UIDS_MAX)]


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


class TemporaryRequest(Struct):
    """POST /tmpchannel/subscriber_set"""

    channel_id: Text
    uids: Uids


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
    """POST /message/send; the payload is base64. `subscribers`: a command message (sync_once) to
    these uids, without a channel"""

    payload: Payload
    channel_id: OptionalText = ""
    channel_type: Annotated[int, Meta(ge=0, le=255)] = 0
    from_uid: OptionalText = ""
    client_msg_no: OptionalText = ""
    header: MessageHeader = msgspec.field(default_factory=MessageHeader)
    setting: Annotated[int, Meta(ge=0, le=255)] = 0
    expire: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    topic: OptionalText = ""
    subscribers: Uids = msgspec.field(default_factory=list)
    sender_uid: OptionalText = ""
    """Another name of from_uid (v3)."""
    device_id: OptionalText = ""
    """Accepted, and without effect (v3)."""
    is_stream: Flag = False
    """The same as `setting` 2 (v2.2)."""


class SendBatchRequest(Struct):
    """POST /message/sendbatch; the payload is base64"""

    subscribers: Uids
    payload: Payload
    from_uid: OptionalText = ""
    header: MessageHeader = msgspec.field(default_factory=MessageHeader)
    client_msg_no: OptionalText = ""


class SendBatchAnswer(Struct):
    """Who of /message/sendbatch did not get the message, and why, in the same order."""

    fail_uids: list[str]
    reason: list[str]


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


class SyncItem(Struct):
    """A page of one channel. limit 0 means 50."""

    channel_id: Text
    channel_type: TypeNumber
    start_message_seq: SequenceNumber = 0
    end_message_seq: SequenceNumber = 0
    limit: Annotated[int, Meta(ge=0, le=PULL_MESSAGES_MAX)] = 50
    pull_mode: Annotated[int, Meta(ge=0, le=1)] = 0
    event_summary_mode: OptionalText = ""


class MessageSyncRequest(SyncItem, kw_only=True):
    """POST /channel/messagesync"""

    login_uid: Text


class SyncBatchRequest(Struct):
    """POST /channel/messagesyncbatch"""

    login_uid: Text
    items: Annotated[list[SyncItem], Meta(max_length=SYNC_BATCH_ITEMS_MAX)]


class MessagesRequest(Struct):
    """POST /messages: what any of the lists names"""

    channel_id: Text
    channel_type: TypeNumber
    login_uid: OptionalText = ""
    message_seqs: Annotated[list[SequenceNumber], Meta(max_length=MESSAGES_BY_MAX)] = []
    message_ids: Annotated[list[MessageId], Meta(max_length=MESSAGES_BY_MAX)] = []
    client_msg_nos: Annotated[list[Text], Meta(max_length=MESSAGES_BY_MAX)] = []


class MessageRequest(Struct):
    """POST /message: by message_id, or without one by client_msg_no"""

    channel_id: Text
    channel_type: TypeNumber
    login_uid: OptionalText = ""
    message_id: MessageId = 0
    client_msg_no: OptionalText = ""


class MessageSyncAnswer(Struct):
    """Answer of /channel/messagesync, ascending."""

    start_message_seq: int
    end_message_seq: int
    more: int
    messages: list[StoredMessage]


class SyncBatchPage(Struct):
    """One channel of /channel/messagesyncbatch; with an `error` it has no messages."""

    channel_id: str
    channel_type: int
    start_message_seq: int
    end_message_seq: int
    more: int = 0
    messages: list[StoredMessage] = []
    error: str = ""


class SyncBatchAnswer(Struct):
    """Answer of /channel/messagesyncbatch, in the order of the items asked for."""

    items: list[SyncBatchPage]


class MaxSequenceAnswer(Struct):
    """Answer of /channel/max_message_seq"""

    message_seq: int


class NotThere(Struct):
    """There is no such message. The HTTP status is 200, as WuKongIM has it."""

    status: int = 404


class RouteAnswer(Struct):
    """GET /route: where a client connects"""

    tcp_addr: str
    ws_addr: str
    wss_addr: str
    node_id: int


class RouteGroup(RouteAnswer):
    """POST /route/batch: where these users connect"""

    uids: list[str]


class HealthAnswer(Struct, omit_defaults=True):
    """GET /health: status "ok", or "error" with the reason"""

    status: Literal["ok", "error"]
    message: str = ""


class WebhookForgetRequest(Struct):
    """POST /webhook/forget"""

    name: Annotated[str, Meta(min_length=1, max_length=32)]


class Ok(Struct):
    """Success without data."""

    status: int = 200
