"""What the rows of a partition hold (`zmqim.chat.keys` says where): disk formats.

Everything is a msgpack array: fields are only ever added at the end. Messages, whose rows begin
with fixed numbers, are in `zmqim.chat.messages`; row `A` is in `zmqim.chat.applied`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec


class PersonRule(msgspec.Struct, array_like=True):
    """What one side of a person channel rules for the other; derived from its user partition.

    `restricts` is true while the owner's allow list is in force. Versions are log indexes there.
    """

    owner: str
    deny: bool = False
    deny_version: int = 0
    allow: bool = False
    allow_version: int = 0
    restricts: bool = False


class HeadRow(msgspec.Struct, array_like=True, frozen=True):
    """Row `C`: the head of a channel (`zmqim.chat.heads.Head`)."""

    channel_type: int
    channel_id: str
    command: bool
    last_sequence: int = 0
    red_count: int = 0
    large: bool = False
    ban: bool = False
    disband: bool = False
    send_ban: bool = False
    allow_stranger: bool = True
    member_count: int = 0
    member_version: int = 0
    deny_count: int = 0
    allow_count: int = 0
    rules: list[PersonRule] = msgspec.field(default_factory=list)
    senders: dict[str, int] = msgspec.field(default_factory=dict)
    """Last sequence of who sent lately; older ones are in rows `Y`."""


class User(msgspec.Struct, array_like=True, frozen=True):
    """Row `S`: a person."""

    ban: bool = False
    send_ban: bool = False
    allow_stranger: bool = True
    version: int = 0
    """Log index of the last change of bans or tokens."""


class Token(msgspec.Struct, array_like=True, frozen=True):
    """Row `T`: a login token."""

    device_level: int
    salt: bytes
    token_hash: bytes


class ConversationRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Row `N`: a person in a channel (`zmqim.chat.conversations`).

    `joined` is the channel's last sequence when the person came in, `read` and `deleted` how far
    the person read and deleted it. `marked_count` holds while `read` is not above `marked_at`.
    `version` is the log index, in the channel's partition, of what is known from there; `hlc` the
    stamp of the last change of this row.
    """

    channel_type: int
    channel_id: str
    present: bool = False
    version: int = 0
    joined: int = 0
    read: int = 0
    deleted: int = 0
    marked_count: int = 0
    marked_at: int = 0
    hlc: int = 0
    joined_commands: int = 0
    read_commands: int = 0
    bound: bool = False
    """Its commands are wanted although the person is no member (`BindCommands`)."""
    taken: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """Runs (first, last) of commands above `read_commands` that the person has, ascending."""


decode_conversation: Final = msgspec.msgpack.Decoder(ConversationRow).decode


class PendingCommand(msgspec.Struct, array_like=True, frozen=True):
    """A command that a person was shown as `number`, and has not acknowledged."""

    number: int
    channel_type: int
    channel_id: str
    sequence: int


class PendingRow(msgspec.Struct, array_like=True, frozen=True):
    """Row `J`: the commands that a person was shown, ascending, and the last number given."""

    last_number: int = 0
    commands: list[PendingCommand] = msgspec.field(default_factory=list)


class LaneRow(msgspec.Struct, array_like=True):
    """The events of a stream under one `event_key`. `last` is the number of its last event, `hlc`
    and `index` the stamp and log index of that; its row `E t` covers the events up to `folded`."""

    event_key: str
    visibility: str
    status: int
    last: int = 0
    hlc: int = 0
    index: int = 0
    folded: int = 0
    end_reason: int = 0
    error: str = ""


class StreamRow(msgspec.Struct, array_like=True):
    """Row `E s`: the stream of a message. `last` counts its events, `size` their bytes."""

    client_msg_no: str
    from_uid: str
    message_id: int
    last: int = 0
    size: int = 0
    finished: bool = False
    lanes: list[LaneRow] = msgspec.field(default_factory=list)


class EventRow(msgspec.Struct, array_like=True, frozen=True):
    """Row `E e`: an event. Those of a lane that ended are gone but for the one that ended it."""

    event_id: str
    event_type: int
    event_key: str
    occurred_at: int
    payload: bytes
    index: int


class Derived(NamedTuple):
    """An operation for another partition: its route key and its encoding."""

    route_key: bytes
    operation: bytes


class OutboxRow(msgspec.Struct, array_like=True, frozen=True):
    """Row `X`: an operation for another partition."""

    route_key: bytes
    operation: bytes


class FollowerRow(msgspec.Struct, array_like=True, frozen=True):
    """Row `Z`: how far a follower is in this log."""

    position: int


class Remembered(msgspec.Struct, array_like=True, frozen=True):
    """Row `R`: the first result of a request id."""

    hlc: int
    result: bytes
