"""What can be asked of a partition: operations (logged), queries (read) and their results.

An operation is encoded once, by the gateway, travels unopened through the router, becomes the
payload of one log entry, and is decoded where it is applied and where it is pushed. So its
encoding is a disk format and a wire format: fields are only ever added at the end, tags are never
reused (docs/PROTOCOL.md, docs/STORAGE.md).

Everything is a msgpack array `[tag, field, …]` in the order written here.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

import msgspec

from zmqim.errors import WireError

OPERATION_BYTES_MAX: Final = 1 << 20


class ChannelType(IntEnum):
    """wukongim.md 1.7; the types that this version serves in full are PERSON and GROUP."""

    PERSON = 1
    GROUP = 2
    CUSTOMER_SERVICE = 3
    COMMUNITY = 4
    COMMUNITY_TOPIC = 5
    INFO = 6
    DATA = 7
    TEMPORARY = 8
    LIVE = 9
    VISITORS = 10
    AGENT = 11
    AGENT_GROUP = 12


class Reason(IntEnum):
    """WKProto reason codes (wukongim.md 1.8), used on every wire."""

    UNKNOWN = 0
    SUCCESS = 1
    AUTH_FAILED = 2
    NOT_SUBSCRIBER = 3
    IN_BLACKLIST = 4
    CHANNEL_NOT_FOUND = 5
    USER_NOT_ON_NODE = 6
    SENDER_OFFLINE = 7
    MSG_KEY_ERROR = 8
    PAYLOAD_DECODE_ERROR = 9
    FORWARD_ERROR = 10
    NOT_ALLOWED = 11
    KICKED = 12
    NOT_IN_WHITELIST = 13
    TOKEN_LOOKUP_ERROR = 14
    SYSTEM_ERROR = 15
    CHANNEL_ID_ERROR = 16
    NODE_MATCH_ERROR = 17
    NODE_NOT_MATCH = 18
    BANNED = 19
    HEADER_NOT_SUPPORTED = 20
    CLIENT_KEY_EMPTY = 21
    RATE_LIMITED = 22
    CHANNEL_TYPE_NOT_SUPPORTED = 23
    DISBANDED = 24
    SEND_BANNED = 25
    CHANNEL_DELETING = 26
    PROTOCOL_UPGRADE_REQUIRED = 27
    IDEMPOTENCY_CONFLICT = 28
    SEQUENCE_EXHAUSTED = 29


class MessageFlag(IntFlag):
    """The low nibble of a WKProto header byte (DUP is never stored)."""

    NO_PERSIST = 1
    RED_DOT = 2
    SYNC_ONCE = 4
    DUP = 8


class ListName(IntEnum):
    """The two lists that a channel, or a person for private messages, keeps."""

    DENY = 0
    ALLOW = 1


class ListAction(IntEnum):
    """How `ChangeList` changes the list."""

    ADD = 0
    SET = 1
    REMOVE = 2
    REMOVE_ALL = 3


class _Value(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Common shape of everything here: an immutable msgpack array with an integer tag."""


# ---- operations: one log entry each ------------------------------------------------------------


class SendMessage(_Value, tag=1, frozen=True):
    """One message. Applied: `Sent` or `Rejected`.

    `channel_id` is canonical, also when SYNC_ONCE stores it in the command channel. `origin` is
    the sending session, ``gateway uuid's first 4 bytes << 32 | session``, 0 for HTTP: that session
    gets no push. `privileged` marks a system uid, whom no list stops.
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


class SetToken(_Value, tag=10, frozen=True):
    """Store a login token's salt and BLAKE2b hash for (uid, device_flag)."""

    uid: str
    device_flag: int
    device_level: int
    salt: bytes
    token_hash: bytes
    request_id: bytes = b""


class ClearToken(_Value, tag=11, frozen=True):
    """Forget the token of (uid, device_flag), -1 for every flag, and end its sessions."""

    uid: str
    device_flag: int
    request_id: bytes = b""


class SetUser(_Value, tag=12, frozen=True):
    """Bans of a person: `ban` refuses CONNECT with 19, `send_ban` refuses SEND with 25."""

    uid: str
    ban: bool
    send_ban: bool
    allow_stranger: bool = True
    request_id: bytes = b""


class UpsertChannel(_Value, tag=20, frozen=True):
    """Create a channel or change its flags; members stay. `disband` is for good."""

    channel_type: int
    channel_id: str
    large: bool = False
    ban: bool = False
    disband: bool = False
    send_ban: bool = False
    allow_stranger: bool = True
    request_id: bytes = b""


class AddMembers(_Value, tag=21, frozen=True):
    """Add up to MEMBERS_PER_ENTRY_MAX members, creating the channel; `reset` first removes all."""

    channel_type: int
    channel_id: str
    uids: list[str]
    reset: bool = False
    request_id: bytes = b""


class RemoveMembers(_Value, tag=22, frozen=True):
    """Remove members; `everyone` removes all of them and `uids` is empty."""

    channel_type: int
    channel_id: str
    uids: list[str]
    everyone: bool = False
    request_id: bytes = b""


class ChangeList(_Value, tag=23, frozen=True):
    """Change a deny or allow list. For a person (`channel_type` 1) `channel_id` is the owner's uid
    and the derived rows of the person channels go through the outbox."""

    channel_type: int
    channel_id: str
    which: int
    action: int
    uids: list[str]
    request_id: bytes = b""


class DerivePersonRule(_Value, tag=30, frozen=True):
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


class OutboxDone(_Value, tag=31, frozen=True):
    """Outbox rows up to and including `upto` were applied by the partitions they name."""

    upto: int


class Notified(_Value, tag=32, frozen=True):
    """Notices up to and including log index `upto` were acknowledged: a new leader starts there."""

    upto: int


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
)

# ---- queries: read from the leader after it confirmed itself ------------------------------------


class Probe(_Value, tag=1, frozen=True):
    """Does a leader serve this partition? Answered by `Done`."""


class UserQuery(_Value, tag=2, frozen=True):
    """What CONNECT needs to know of (uid, device_flag). Answered by `UserRow`."""

    uid: str
    device_flag: int


class ChannelQuery(_Value, tag=3, frozen=True):
    """Answered by `ChannelRow`."""

    channel_type: int
    channel_id: str


class MembersQuery(_Value, tag=4, frozen=True):
    """Members in byte order after `after_uid`. Answered by `MembersPage`.

    For a person channel the two uids of its id are the members, without a row.
    """

    channel_type: int
    channel_id: str
    after_uid: str = ""
    limit: int = 10_000


class ListQuery(_Value, tag=5, frozen=True):
    """A deny or allow list, after `after_uid`. Answered by `MembersPage`."""

    channel_type: int
    channel_id: str
    which: int
    after_uid: str = ""
    limit: int = 10_000


class MessagesQuery(_Value, tag=6, frozen=True):
    """History. Answered by `MessagesPage`, ascending.

    `pull_mode` 1: upwards, `start` inclusive, `end` exclusive (0 = none). `pull_mode` 0: downwards
    from `start` inclusive (0 = newest) to `end` exclusive. Both 0: the newest page. A removed
    `login_uid` sees up to the sequence of its removal; an empty one sees all (a gateway's pull).
    `command` reads the command channel instead of the history.
    """

    channel_type: int
    channel_id: str
    login_uid: str = ""
    start: int = 0
    end: int = 0
    limit: int = 50
    pull_mode: int = 0
    command: bool = False


class OutboxQuery(_Value, tag=7, frozen=True):
    """Answered by `Done` once every outbox row up to `upto` is delivered (or not, at deadline)."""

    upto: int


Query = Probe | UserQuery | ChannelQuery | MembersQuery | ListQuery | MessagesQuery | OutboxQuery

# ---- results ------------------------------------------------------------------------------------


class Sent(_Value, tag=1, frozen=True):
    """The message is committed. `duplicate`: this is the first answer, given again."""

    sequence: int
    message_id: int
    hlc: int
    duplicate: bool = False


class Rejected(_Value, tag=2, frozen=True):
    """A definite refusal: nothing changed. `reason` is a `Reason`."""

    reason: int
    text: str = ""


class Done(_Value, tag=3, frozen=True):
    """A state change is committed. `outbox_upto` > 0: derived rows up to there are on their way."""

    log_index: int = 0
    outbox_upto: int = 0


class UserRow(_Value, tag=4, frozen=True):
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


class ChannelRow(_Value, tag=5, frozen=True):
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


class MembersPage(_Value, tag=6, frozen=True):
    """`uids` in byte order; `more`: ask again after the last. `version` is the member version."""

    version: int
    count: int
    uids: list[str]
    more: bool


class MessageRow(_Value, tag=7, frozen=True):
    """A stored message. `operation` is the encoded `SendMessage`; `red_count` counts the channel's
    red-dot messages up to and including this one."""

    sequence: int
    message_id: int
    hlc: int
    red_count: int
    operation: bytes


class MessagesPage(_Value, tag=8, frozen=True):
    """Ascending by sequence. `more`: the range goes on in the direction of the pull."""

    messages: list[MessageRow]
    more: bool
    last_sequence: int


Result = Sent | Rejected | Done | UserRow | ChannelRow | MembersPage | MessageRow | MessagesPage

# ---- notices: what the partition tells the fan-out ----------------------------------------------


class MessageNotice(_Value, tag=1, frozen=True):
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


class MembersNotice(_Value, tag=2, frozen=True):
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


class UserNotice(_Value, tag=3, frozen=True):
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


Notice = MessageNotice | MembersNotice | UserNotice

encode: Final = msgspec.msgpack.Encoder().encode
_operation: Final[msgspec.msgpack.Decoder[Operation]] = msgspec.msgpack.Decoder(Operation)
_query: Final[msgspec.msgpack.Decoder[Query]] = msgspec.msgpack.Decoder(Query)
_result: Final[msgspec.msgpack.Decoder[Result]] = msgspec.msgpack.Decoder(Result)
_send: Final[msgspec.msgpack.Decoder[SendMessage]] = msgspec.msgpack.Decoder(SendMessage)


def decode_operation(body: bytes) -> Operation:
    """The operation in `body`; `WireError` if it is none."""
    try:
        return _operation.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not an operation: {error}") from None


def decode_send(body: bytes) -> SendMessage:
    """The `SendMessage` in `body`, as stored in rows and carried by notices."""
    try:
        return _send.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not a message: {error}") from None


def decode_query(body: bytes) -> Query:
    """The query in `body`; `WireError` if it is none."""
    try:
        return _query.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not a query: {error}") from None


def decode_result(body: bytes) -> Result:
    """The result in `body`; `WireError` if it is none."""
    try:
        return _result.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not a result: {error}") from None
