"""What is logged in a partition: one operation is the payload of one log entry.

An operation is encoded once, by the gateway, travels unopened through the router, becomes the
payload of the entry, and is decoded where it is applied and where it is pushed
(`zmqim.chat.encoding`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from zmqim.chat.encoding import Value
from zmqim.errors import WireError

OPERATION_BYTES_MAX: Final = 1 << 20
STREAM_SETTING: Final = 0x02
"""In the `setting` of a message whose sender will add events to it."""


class SendMessage(Value, tag=1, frozen=True):
    """One message. Applied: `Sent` or `Rejected`.

    `channel_id` is canonical, also when SYNC_ONCE stores it in the command channel. `origin` is
    the sending session, ``gateway uuid's first 4 bytes << 32 | session``, 0 for HTTP: that session
    gets no push. `privileged` marks a system uid, whom no list stops. `stranger` is a
    `zmqim.chat.codes.Stranger`; a gateway says ASK for a person channel, and what it read when the
    answer is `Strangers`.
    """

    channel_type: int
    channel_id: str
    from_uid: str
    client_msg_no: str
    payload: bytes
    setting: int = 0
    flags: int = 0
    expire: int = 0
    topic: str = ""
    origin: int = 0
    privileged: bool = False
    stranger: int = 0


class SetToken(Value, tag=10, frozen=True):
    """Store a login token's salt and BLAKE2b hash for (uid, device_flag)."""

    uid: str
    device_flag: int
    device_level: int
    salt: bytes
    token_hash: bytes
    request_id: bytes = b""


class ClearToken(Value, tag=11, frozen=True):
    """Forget the token of (uid, device_flag), -1 for every flag, and end its sessions."""

    uid: str
    device_flag: int
    request_id: bytes = b""


class SetUser(Value, tag=12, frozen=True):
    """A person: `ban` refuses CONNECT with 19, `send_ban` refuses SEND with 25; without
    `allow_stranger` nobody else may begin to write to him (docs/adr/0010)."""

    uid: str
    ban: bool
    send_ban: bool
    allow_stranger: bool = True
    request_id: bytes = b""


class UpsertChannel(Value, tag=20, frozen=True):
    """Create a channel or change its flags; members stay. `disband` is for good."""

    channel_type: int
    channel_id: str
    large: bool = False
    ban: bool = False
    disband: bool = False
    send_ban: bool = False
    allow_stranger: bool = True
    request_id: bytes = b""


class AddMembers(Value, tag=21, frozen=True):
    """Add up to MEMBERS_PER_ENTRY_MAX members, creating the channel; `reset` first removes all."""

    channel_type: int
    channel_id: str
    uids: list[str]
    reset: bool = False
    request_id: bytes = b""


class RemoveMembers(Value, tag=22, frozen=True):
    """Remove members; `everyone` removes all of them and `uids` is empty."""

    channel_type: int
    channel_id: str
    uids: list[str]
    everyone: bool = False
    request_id: bytes = b""


class ChangeList(Value, tag=23, frozen=True):
    """Change a deny or allow list. For a person (`channel_type` 1) `channel_id` is the owner's uid
    and the derived rows of the person channels go through the outbox."""

    channel_type: int
    channel_id: str
    which: int
    action: int
    uids: list[str]
    request_id: bytes = b""


class DerivePersonRule(Value, tag=30, frozen=True):
    """From the outbox: in person channel `channel_id`, `owner` denies or allows the other side.

    Idempotent: applied only if `version` (log index in the owner's partition) is newer than the
    row's. `owner_restricts` says whether the owner's allow list is in force (non-empty).
    """

    channel_id: str
    owner: str
    which: int
    present: bool
    version: int
    owner_restricts: bool = False


class DeriveConversations(Value, tag=40, frozen=True):
    """From the outbox: `uids`, who live in one partition, came into the channel or left it.

    Idempotent: applied only if `version` (log index in the channel's partition) is newer than what
    a row knows. `sequence` is the channel's last one then.
    """

    channel_type: int
    channel_id: str
    uids: list[str]
    present: bool
    version: int
    sequence: int
    commands: int = 0
    """The last sequence of its commands."""


class MoveCursor(Value, tag=41, frozen=True):
    """How far `uid` has read and deleted a channel; both only grow, 0 leaves them.

    `marked_count` marks so many messages as unread until more is read; -1 leaves the mark. `listed`
    puts the channel among the person's conversations although nobody added them.
    """

    uid: str
    channel_type: int
    channel_id: str
    read: int = 0
    deleted: int = 0
    marked_count: int = -1
    listed: bool = False
    request_id: bytes = b""


class CommandPlace(Value, frozen=True):
    """A command message: its channel and its sequence there."""

    channel_type: int
    channel_id: str
    sequence: int


class NoteCommands(Value, tag=42, frozen=True):
    """`uid` is shown these commands, under the numbers behind `after`. Rejected if `after` is not
    the last number given, which another call has moved."""

    uid: str
    after: int
    commands: list[CommandPlace]
    request_id: bytes = b""


class AcknowledgeCommands(Value, tag=43, frozen=True):
    """`uid` has taken what it was shown under the numbers up to `upto`, and the commands `pushed`,
    which its device acknowledged as they came."""

    uid: str
    upto: int
    request_id: bytes = b""
    pushed: list[CommandPlace] = msgspec.field(default_factory=list)


class BindCommands(Value, tag=44, frozen=True):
    """`uid` wants, or no longer wants, the commands of a channel of which it is no member: those
    above `sequence`."""

    uid: str
    channel_type: int
    channel_id: str
    bound: bool
    sequence: int = 0
    request_id: bytes = b""


class AppendEvent(Value, tag=70, frozen=True):
    """An event of the stream of a stored message, which `from_uid` sent. Applied: `EventAppended`,
    `EventRefused` or `Rejected`. The same `event_id` again gets the first answer.

    The message is named by `client_msg_no`, by `message_id`, or by both. `event_type` is an
    `EventType`; `payload` is JSON text or empty; `visibility` "" is that of the lane, or public.
    `occurred_at` counts milliseconds since 1970, 0 is the time of the log entry.
    """

    channel_type: int
    channel_id: str
    from_uid: str
    client_msg_no: str
    message_id: int
    event_id: str
    event_type: int
    event_key: str
    payload: bytes = b""
    visibility: str = ""
    occurred_at: int = 0
    privileged: bool = False
    request_id: bytes = b""


class OutboxDone(Value, tag=31, frozen=True):
    """Outbox rows up to and including `upto` were applied by the partitions they name."""

    upto: int


class Notified(Value, tag=32, frozen=True):
    """Notices up to and including log index `upto` were acknowledged: a new leader starts there."""

    upto: int


class Follow(Value, tag=60, frozen=True):
    """From now on `name` follows the partition's messages: every replica keeps the log for it.

    Applied: `Done` with the position, which is this entry unless `name` follows already; `Rejected`
    above FOLLOWERS_MAX.
    """

    name: str


class FollowerMoved(Value, tag=61, frozen=True):
    """`name` needs the log only after `upto`. Applied: `Done` with the position, which never goes
    back; 0: there is no such follower."""

    name: str
    upto: int


class Unfollow(Value, tag=62, frozen=True):
    """`name` follows no more. Applied: `Done`."""

    name: str


FollowerChange = Follow | FollowerMoved | Unfollow

Operation = (
    SendMessage
    | SetToken
    | ClearToken
    | SetUser
    | UpsertChannel
    | AddMembers
    | RemoveMembers
    | ChangeList
    | DerivePersonRule
    | OutboxDone
    | Notified
    | DeriveConversations
    | MoveCursor
    | NoteCommands
    | AcknowledgeCommands
    | BindCommands
    | Follow
    | FollowerMoved
    | Unfollow
    | AppendEvent
)

_operation: Final[msgspec.msgpack.Decoder[Operation]] = msgspec.msgpack.Decoder(Operation)


def decode_operation(body: bytes) -> Operation:
    """The operation in `body`; `WireError` if it is none."""
    try:
        return _operation.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not an operation: {error}") from None


_send: Final[msgspec.msgpack.Decoder[SendMessage]] = msgspec.msgpack.Decoder(SendMessage)


def decode_send(body: bytes) -> SendMessage:
    """The `SendMessage` in `body`, as stored in rows and carried by notices."""
    try:
        return _send.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not a message: {error}") from None
