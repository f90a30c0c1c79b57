"""Requests and answers of the calls about conversations: as WuKongIM v2.2 spells them, and as its
v3 does (WuKongIM v2.2)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from zmqim.gateway.http.shapes import (
    ChannelKey,
    Flag,
    SequenceNumber,
    Text,
    TypeNumber,
)
from zmqim.gateway.http.stored import StoredMessage
from zmqim.limits import COMMANDS_SHOWN_MAX, CONVERSATIONS_SHOWN_MAX, RECENT_MESSAGES_MAX

MessageCount = Annotated[int, Meta(ge=0, le=RECENT_MESSAGES_MAX)]
ChannelKeys = Annotated[list[ChannelKey], Meta(max_length=CONVERSATIONS_SHOWN_MAX)]


class ConversationSyncRequest(Struct):
    """POST /conversation/sync; `last_msg_seqs` is ``id:type:seq|…``"""

    uid: Text
    version: SequenceNumber = 0
    last_msg_seqs: Annotated[str, Meta(max_length=1 << 20)] = ""
    msg_count: MessageCount = 0
    only_unread: Flag = False
    exclude_channel_types: Annotated[list[TypeNumber], Meta(max_length=255)] = msgspec.field(
        default_factory=list
    )
    page: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    page_size: Annotated[int, Meta(ge=1, le=500)] = 100


class ConversationAnswer(Struct, gc=False):
    """One conversation, as /conversation/sync shows it; `recents` are newest first."""

    channel_id: str
    channel_type: int
    unread: int
    timestamp: int
    last_msg_seq: int
    last_client_msg_no: str
    offset_msg_seq: int
    readed_to_msg_seq: int
    version: int
    recents: list[StoredMessage]


class UidRequest(Struct):
    """POST /conversation/channels"""

    uid: Text


class ConversationsByChannelsRequest(Struct):
    """POST /conversation/syncByChannels"""

    uid: Text
    channels: ChannelKeys
    msg_count: MessageCount = 0


class KnownChannel(Struct):
    """A channel, and up to where the client has it."""

    channel_id: Text
    channel_type: TypeNumber
    last_msg_seq: SequenceNumber = 0


class RecentMessagesRequest(Struct):
    """POST /conversation/syncMessages"""

    uid: Text
    channels: Annotated[list[KnownChannel], Meta(max_length=CONVERSATIONS_SHOWN_MAX)]
    msg_count: MessageCount = 15
    order_by_last: Flag = False


class RecentMessages(Struct):
    """The newest messages of a channel."""

    channel_id: str
    channel_type: int
    messages: list[StoredMessage]
    user_last_msg_seq: int


class ClearUnreadRequest(Struct):
    """POST /conversations/clearUnread; message_seq 0: everything is read"""

    uid: Text
    channel_id: Text
    channel_type: TypeNumber
    message_seq: SequenceNumber = 0


class SetUnreadRequest(Struct):
    """POST /conversations/setUnread"""

    uid: Text
    channel_id: Text
    channel_type: TypeNumber
    unread: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    message_seq: SequenceNumber = 0


class DeleteConversationRequest(Struct):
    """POST /conversations/delete"""

    uid: Text
    channel_id: Text
    channel_type: TypeNumber


class CommandsRequest(Struct):
    """POST /message/sync"""

    uid: Text
    message_seq: SequenceNumber = 0
    limit: Annotated[int, Meta(ge=0, le=COMMANDS_SHOWN_MAX)] = 200


class CommandsAckRequest(Struct):
    """POST /message/syncack"""

    uid: Text
    last_message_seq: SequenceNumber


class CommandChannelRequest(Struct):
    """POST /message/cmd/bind and /message/cmd/unbind"""

    uid: Text
    channel_id: Text
    channel_type: TypeNumber


class ConversationListRequest(Struct):
    """POST /conversation/list; `cursor` and `completed_coverage` come from earlier answers"""

    uid: Text
    cursor: Annotated[str, Meta(max_length=256)] = ""
    limit: Annotated[int, Meta(ge=0, le=500)] = 100
    completed_coverage: Annotated[str, Meta(max_length=256)] = ""


class ConversationRetryRequest(Struct):
    """POST /conversation/retry and /conversations/activate"""

    uid: Text
    channels: ChannelKeys


class LastMessage(Struct):
    """The newest message of a conversation."""

    message_id: int
    message_idstr: str
    message_seq: int
    from_uid: str
    client_msg_no: str
    server_timestamp_ms: int
    payload: str


class ListedConversation(Struct):
    """One conversation, as /conversation/list shows it."""

    channel_id: str
    channel_type: int
    active_at: int
    read_seq: int
    deleted_to_seq: int
    unread: int
    last_message: LastMessage | None


class ConversationListAnswer(Struct):
    """A page of /conversation/list: ask on with `next_cursor` until `done`."""

    conversations: list[ListedConversation]
    deletes: list[ChannelKey]
    unresolved: list[ChannelKey]
    next_cursor: str
    done: bool
    coverage: str
    tombstones_retained_since: int = 0
    reset_required: bool = False
