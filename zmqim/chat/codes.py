"""Numbers that stand on every wire and in every row: channel types, reasons, flags, lists."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final


class ChannelType(IntEnum):
    """WuKongIM v2.2; docs/CHANNELS.md says who writes to each and who hears it."""

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


MASTER: Final = 1
"""The device level of whose devices speak for the person; 0 is a slave (WuKongIM v2.2)."""


class Reason(IntEnum):
    """WKProto reason codes (WuKongIM v2.2), used on every wire."""

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


class Stranger(IntEnum):
    """What a message to a person says for the case that the two never exchanged one
    (docs/adr/0010)."""

    UNSAID = 0
    """Nothing, as before there was the rule: the message passes."""
    ASK = 1
    """Nobody looked yet: the answer is `Strangers`."""
    WELCOME = 2
    """The receiver takes messages of strangers (`UserRow.allow_stranger`)."""
    UNWELCOME = 3
    """The receiver takes none: reason 11, unless the sender is on the receiver's allow list."""


class EventType(IntEnum):
    """What happens to a stream (WuKongIM v2.2, EVENT); the wire name is `stream.` and this."""

    OPEN = 1
    DELTA = 2
    SNAPSHOT = 3
    CLOSE = 4
    ERROR = 5
    CANCEL = 6
    FINISH = 7


class StreamStatus(IntEnum):
    """How one lane of a stream is."""

    OPEN = 1
    CLOSED = 2
    ERROR = 3
    CANCELLED = 4


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
