"""What a partition answers to operations and queries."""

from __future__ import annotations

from typing import Final

import msgspec

from zmqim.chat.encoding import Value
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


class MessagesPage(Value, tag=8, frozen=True):
    """Ascending by sequence. `more`: the range goes on in the direction of the pull."""

    messages: list[MessageRow]
    more: bool
    last_sequence: int


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


Result = (
    Sent
    | Rejected
    | Done
    | UserRow
    | ChannelRow
    | MembersPage
    | MessageRow
    | MessagesPage
    | FollowedPage
)

_result: Final[msgspec.msgpack.Decoder[Result]] = msgspec.msgpack.Decoder(Result)


def decode_result(body: bytes) -> Result:
    """The result in `body`; `WireError` if it is none."""
    try:
        return _result.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not a result: {error}") from None
