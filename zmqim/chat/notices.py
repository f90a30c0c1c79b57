"""What a partition tells the fan-out of what it applied."""

from __future__ import annotations

from typing import Final

import msgspec

from zmqim.chat.encoding import Value
from zmqim.chat.operations import SendMessage
from zmqim.errors import WireError


class MessageNotice(Value, tag=1, frozen=True):
    """A committed message, to be pushed. `sequence` 0: a NO_PERSIST message.

    `member_version` is the version that its audience must have been read at, or later.
    """

    channel_type: int
    channel_id: str
    sequence: int
    message_id: int
    hlc: int
    member_version: int
    operation: bytes


class MembersNotice(Value, tag=2, frozen=True):
    """Members changed at `version`; applied before any later sequence is fanned out.

    `reset`: everyone who is not in `added` is gone. `count` is the number of members afterwards.
    `previous` is the member version before this change (-1: not told): a router that holds another
    one has missed a change and reads the members anew.
    """

    channel_type: int
    channel_id: str
    version: int
    added: list[str]
    removed: list[str]
    reset: bool
    count: int
    previous: int = -1


class UserNotice(Value, tag=3, frozen=True):
    """A person's bans changed, or (`kick_flag` not None, -1 = every flag) sessions must end.

    `version` is the log index of the change: a session that was admitted by a `UserRow` of that
    version or a later one is not concerned.
    """

    uid: str
    ban: bool
    send_ban: bool
    kick_flag: int | None = None
    kick_reason: int = 12
    version: int = 0


class EventNotice(Value, tag=40, frozen=True):
    """Events of streams of one channel, to be pushed to its members. `body` is an encoded
    `PushedEvents`, which routers hand on unopened."""

    channel_type: int
    channel_id: str
    member_version: int
    body: bytes


class PushedEvent(Value, frozen=True):
    """An event as it is pushed. `only` not "": that person alone gets it."""

    message_id: int
    client_msg_no: str
    from_uid: str
    event_id: str
    event_type: int
    event_key: str
    sequence: int
    status: int
    visibility: str
    occurred_at: int
    payload: bytes
    only: str = ""


class PushedEvents(Value, tag=41, frozen=True):
    """What a `Delivery` of events carries in the place of a message."""

    channel_type: int
    channel_id: str
    events: list[PushedEvent]


Notice = MessageNotice | MembersNotice | UserNotice | EventNotice

_pushed: Final[msgspec.msgpack.Decoder[SendMessage | PushedEvents]] = msgspec.msgpack.Decoder(
    SendMessage | PushedEvents
)


def decode_pushed(body: bytes) -> SendMessage | PushedEvents:
    """What is in a `Delivery`; `WireError` if it is nothing that is pushed."""
    try:
        return _pushed.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"nothing that is pushed: {error}") from None
