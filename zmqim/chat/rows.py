"""What the rows of a partition hold (`zmqim.chat.keys` says where): disk formats.

Everything is a msgpack array: fields are only ever added at the end. Messages, whose rows begin
with fixed numbers, are in `zmqim.chat.messages`; row `A` is in `zmqim.chat.applied`.
"""

from __future__ import annotations

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
