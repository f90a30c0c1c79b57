"""What a partition answers to operations and queries."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final, TypeVar

import msgspec

from zmqim.chat.encoding import Value
from zmqim.chat.rows import ConversationRow, PendingCommand
from zmqim.errors import WireError


class Sent(Value, tag=1, frozen=True):
    """The message is committed. `duplicate`: this is the first answer, given again."""

    sequence: int
    message_id: int
    hlc: int
    duplicate: bool = False


class Rejected(Value, tag=2, frozen=True):
    """A definite refusal: nothing changed. `reason` is a `Reason`."""

    reason: int
    text: str = ""


class Done(Value, tag=3, frozen=True):
    """A state change is committed. `outbox_upto` > 0: derived rows up to there are on their way."""

    log_index: int = 0
    outbox_upto: int = 0


class UserRow(Value, tag=4, frozen=True):
    """A user as CONNECT sees it. `salt` empty: no token stored for that device flag."""

    uid: str
    exists: bool
    salt: bytes = b""
    token_hash: bytes = b""
    device_level: int = 0
    ban: bool = False
    send_ban: bool = False
    version: int = 0
    """Log index of the last change of the person's bans or tokens."""
    allow_stranger: bool = True


class ChannelRow(Value, tag=5, frozen=True):
    """A channel's flags and counters. `member_version` is the log index of its last change."""

    exists: bool
    large: bool = False
    ban: bool = False
    disband: bool = False
    send_ban: bool = False
    allow_stranger: bool = True
    last_sequence: int = 0
    member_count: int = 0
    member_version: int = 0


class MembersPage(Value, tag=6, frozen=True):
    """`uids` in byte order; `more`: ask again after the last. `version` is the member version."""

    version: int
    count: int
    uids: list[str]
    more: bool


class MessageRow(Value, tag=7, frozen=True):
    """A stored message. `operation` is the encoded `SendMessage`; `red_count` counts the channel's
    red-dot messages up to and including this one."""

    sequence: int
    message_id: int
    hlc: int
    red_count: int
    operation: bytes


class LaneView(Value, frozen=True):
    """One lane of a stream: `status` is a `StreamStatus`, `last` the sequence of its last event.
    `snapshot` is what its events come to, as JSON text; b"" if there is nothing, or none asked."""

    event_key: str
    status: int
    last: int
    snapshot: bytes = b""
    end_reason: int = 0
    error: str = ""


class StreamView(Value, frozen=True):
    """The stream of the message with that sequence; `last` is the sequence of its last event."""

    sequence: int
    last: int
    finished: bool
    lanes: list[LaneView]


class MessagesPage(Value, tag=8, frozen=True):
    """Ascending by sequence. `more`: the range goes on in the direction of the pull."""

    messages: list[MessageRow]
    more: bool
    last_sequence: int
    streams: list[StreamView] = msgspec.field(default_factory=list)
    """Of those messages that have one, if that was asked for."""


class PackedMessages(Value, tag=8, frozen=True):
    """A `MessagesPage` for somebody who may have seen the same `MessageRow`s before."""

    messages: list[msgspec.Raw]
    more: bool
    last_sequence: int
    streams: list[StreamView] = msgspec.field(default_factory=list)


class ConversationsPage(Value, tag=20, frozen=True):
    """`next` is where to go on, b"" at the end. `promise`: no later change of a conversation in
    this partition gets a lower `hlc`."""

    rows: list[ConversationRow]
    next: bytes
    promise: int


class PackedConversations(Value, tag=20, frozen=True):
    """A `ConversationsPage` whose `ConversationRow`s are as they are stored, which is how they
    travel: whoever answers need not decode them."""

    rows: list[msgspec.Raw]
    next: bytes
    promise: int


class HeadView(Value, frozen=True):
    """A channel as somebody sees it. `messages` ascend; `last_hlc` is the stamp of the newest one
    of all. `sent` is the sequence of the asker's own last message, `read_to` where to read to if
    that was asked."""

    last_sequence: int
    last_hlc: int
    unread: int
    sent: int
    messages: list[MessageRow]
    read_to: int = 0
    streams: list[StreamView] = msgspec.field(default_factory=list)
    """Of those messages that have one, if that was asked for."""


class HeadsPage(Value, tag=21, frozen=True):
    """The first of the channels asked for, as many as fit; ask again for the others. `promise`: no
    later message in this partition gets a lower `hlc`."""

    heads: list[HeadView]
    promise: int


class PackedHeads(Value, tag=21, frozen=True):
    """A `HeadsPage` for somebody who may have seen the same `HeadView`s before."""

    heads: list[msgspec.Raw]
    promise: int


class CommandsOf(Value, frozen=True):
    """Commands of a channel, ascending, and the last sequence of its commands."""

    last_sequence: int
    messages: list[MessageRow]


class CommandsPage(Value, tag=22, frozen=True):
    """The first of the channels asked for, as many as fit; ask again for the others."""

    channels: list[CommandsOf]


class PendingCommands(Value, tag=23, frozen=True):
    """What somebody was shown and has not acknowledged, and the last number given."""

    last_number: int
    commands: list[PendingCommand]


class MessagesFound(Value, tag=10, frozen=True):
    """Ascending by sequence, without repeats. `cut`: PULL_BYTES_MAX was reached, ask for the rest
    by itself. `after_uid`: not all senders were looked through, ask again with it; "" if they
    were."""

    messages: list[MessageRow]
    cut: bool = False
    after_uid: str = ""
    streams: list[StreamView] = msgspec.field(default_factory=list)
    """Of those messages that have one, if that was asked for."""


class Answers(Value, tag=24, frozen=True):
    """One encoded result for each part of a `Together`; b"": not answered here."""

    results: list[bytes]


class Strangers(Value, tag=30, frozen=True):
    """Nothing was stored: the two never exchanged a message, and the operation does not say whether
    the receiver takes messages of strangers. Read that (`UserRow`) and send again, saying it."""


class FollowedPage(Value, tag=40, frozen=True):
    """What a follower has not had. `position` is where it stands; -1: it does not follow.

    `messages` in the order of the log, up to index `upto`, from where the next page goes on;
    `more`: at once. `lost_from` to `lost_upto` (0: none): entries that the log here has no more.
    """

    position: int
    upto: int = 0
    messages: list[MessageRow] = msgspec.field(default_factory=list)
    more: bool = False
    lost_from: int = 0
    lost_upto: int = 0


class EventAppended(Value, tag=50, frozen=True):
    """The event is committed. `sequence` counts the events of the message, `status` is the lane's
    `StreamStatus` after it. `duplicate`: this is the first answer, given again."""

    sequence: int
    status: int
    client_msg_no: str
    duplicate: bool = False


class EventRefused(Value, tag=51, frozen=True):
    """A definite refusal of an event: it was not appended. `code` is for programs."""

    code: str
    text: str


class EventView(Value, frozen=True):
    """An event as it was appended. `snapshot` is what its lane came to, with an event that ended
    it."""

    sequence: int
    event_id: str
    event_type: int
    event_key: str
    visibility: str
    occurred_at: int
    payload: bytes
    snapshot: bytes = b""


class EventsPage(Value, tag=52, frozen=True):
    """Ascending by sequence. `more`: there are others above the last of these."""

    events: list[EventView]
    more: bool


Result = (
    Sent
    | Rejected
    | Done
    | UserRow
    | ChannelRow
    | MembersPage
    | MessageRow
    | MessagesPage
    | ConversationsPage
    | HeadsPage
    | CommandsPage
    | PendingCommands
    | Answers
    | MessagesFound
    | Strangers
    | FollowedPage
    | EventAppended
    | EventRefused
    | EventsPage
)

_result: Final[msgspec.msgpack.Decoder[Result]] = msgspec.msgpack.Decoder(Result)


def decode_result(body: bytes) -> Result:
    """The result in `body`; `WireError` if it is none."""
    try:
        return _result.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not a result: {error}") from None


_ResultT = TypeVar("_ResultT", bound=Value)

decode_head: Final = msgspec.msgpack.Decoder(HeadView).decode
decode_message: Final = msgspec.msgpack.Decoder(MessageRow).decode
"""What is packed in `PackedHeads` and in `PackedMessages`."""


def decode_answer(body: bytes, expected: type[_ResultT]) -> _ResultT | Rejected:
    """The result of that type in `body`, or a refusal; `WireError` if it is neither."""
    try:
        return _decoder_of(expected)(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"no {expected.__name__}: {error}") from None


@cache
def _decoder_of(expected: type[_ResultT]) -> Callable[[bytes], _ResultT | Rejected]:
    return msgspec.msgpack.Decoder(expected | Rejected).decode
