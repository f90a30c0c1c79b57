"""What clients did and saw, written down to be judged at the end (`zmqim.sim.checks`).

A *send* is a message that a client wants sent, with its client_msg_no; it has one *attempt* for
each time it was put on a connection (or asked of the HTTP API). An attempt without an answer may
or may not have happened. Times are the world's microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from zmqim.chat.channels import canonical_channel_id

ChannelKey = tuple[int, str, bool]
"""(channel type, canonical id, whether it is the command channel)."""
SessionKey = tuple[str, int, int]
"""(gateway, its life, session number); HTTP: ("http", client number, 0)."""


def channel_key(channel_type: int, wire_id: str, uid: str, command: bool = False) -> ChannelKey:
    """The channel that `uid` calls `wire_id`."""
    return channel_type, canonical_channel_id(channel_type, wire_id, uid), command


class Acknowledged(NamedTuple):
    """A SENDACK of success, or HTTP's."""

    at: int
    sequence: int
    message_id: int


class Refused(NamedTuple):
    """A definite refusal."""

    at: int
    reason: int


@dataclass
class Attempt:
    """A send on one connection."""

    session: SessionKey
    began: int
    answer: Acknowledged | Refused | None = None


@dataclass
class Sending:
    """A message that somebody wants sent, through all its attempts."""

    uid: str
    channel: ChannelKey
    client_msg_no: str
    payload: bytes
    transient: bool = False
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def first_acknowledged(self) -> Acknowledged | None:
        """The earliest success, if there was one."""
        given = [each.answer for each in self.attempts if isinstance(each.answer, Acknowledged)]
        return min(given, default=None)

    @property
    def is_refused(self) -> bool:
        """Whether it certainly did not happen: every attempt was refused."""
        return bool(self.attempts) and all(
            isinstance(attempt.answer, Refused) for attempt in self.attempts
        )


class Seen(NamedTuple):
    """A stored message as somebody saw it."""

    channel: ChannelKey
    sequence: int
    message_id: int
    from_uid: str
    client_msg_no: str
    payload: bytes


class Push(NamedTuple):
    """A RECV that the gateway put on a connection."""

    at: int
    session: SessionKey
    uid: str
    seen: Seen
    repeated: bool
    """DUP is set."""


class Received(NamedTuple):
    """A RECVACK that reached the gateway."""

    at: int
    session: SessionKey
    message_id: int


class Session(NamedTuple):
    """A session from CONNACK to its end, as its gateway saw it."""

    key: SessionKey
    uid: str
    opened: int
    closed: int


class Pull(NamedTuple):
    """A page of history, upwards from `start`."""

    began: int
    ended: int
    reader: SessionKey
    channel: ChannelKey
    start: int
    rows: tuple[Seen, ...]
    more: bool
    last_sequence: int


class Absence(NamedTuple):
    """From the answer to a removal until a new membership was asked for."""

    uid: str
    channel: ChannelKey
    since: int
    until: int


class Gauge(NamedTuple):
    """A size that has a bound."""

    at: int
    node: str
    name: str
    value: int
    bound: int


@dataclass
class Added:
    """A word (or the end, or only the beginning) for one lane of a message's stream. `number` is
    that of its event; 0 with an answer: it was refused. `repeated` is that of a second answer."""

    event_id: str
    channel: ChannelKey
    sequence: int
    lane: str
    word: str
    began: int
    answered: int = 0
    number: int = 0
    repeated: int = 0
    ends: bool = False


class Heard(NamedTuple):
    """An EVENT that the gateway put on a connection."""

    at: int
    session: SessionKey
    event_id: str
    number: int
    lane: str
    word: str


class Told(NamedTuple):
    """The stream of a message as somebody read it; `reader` is a storage at the end."""

    channel: ChannelKey
    sequence: int
    reader: str
    began: int
    ended: int
    lanes: tuple[tuple[str, bool, str], ...]
    """(lane, whether it is open, its words)."""


class Place(NamedTuple):
    """How far a person is in a channel."""

    read: int = 0
    deleted: int = 0
    marked: int = 0


class Viewed(NamedTuple):
    """A conversation as a person saw it; `expected` is the place that was acknowledged to him."""

    uid: str
    channel: ChannelKey
    began: int
    last_sequence: int
    place: Place
    expected: Place
    unread: int
    read_to: int


class Command(NamedTuple):
    """A command that a person is shown under a number of his."""

    number: int
    channel: ChannelKey
    sequence: int
    message_id: int


class Shown(NamedTuple):
    """An answer of /message/sync: at most `limit` commands of the channels `present`."""

    uid: str
    began: int
    ended: int
    limit: int
    commands: tuple[Command, ...]
    present: frozenset[tuple[int, str]]
    is_last: bool = False
    """Devices have had the time to acknowledge what was pushed to them."""


@dataclass
class Taken:
    """A /message/syncack up to a number; `answered` 0: not yet."""

    uid: str
    upto: int
    began: int
    answered: int = 0


@dataclass
class History:
    """Everything of one run that the checks look at."""

    sendings: list[Sending] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    pulls: list[Pull] = field(default_factory=list)
    absences: list[Absence] = field(default_factory=list)
    gauges: list[Gauge] = field(default_factory=list)
    stored: dict[ChannelKey, list[Seen]] = field(default_factory=dict)
    """The log at the end, by channel."""
    deaf: set[SessionKey] = field(default_factory=set)
    """Sessions that could not be written to for a while, or whose gateway was stopped."""
    members: dict[ChannelKey, list[str]] = field(default_factory=dict)
    """Who is in each channel, all the time; of command channels: who is in the channel."""
    loses_frames: bool = True
    """Whether pushes could be lost without anybody knowing: then nobody is owed all of them."""
    missing: list[str] = field(default_factory=list)
    """What did not come about in time after everything had healed, as sentences."""
    differing: list[str] = field(default_factory=list)
    """Where replicas made something else of the same log, as sentences."""
    added: list[Added] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    viewed: list[Viewed] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    red: dict[ChannelKey, list[int]] = field(default_factory=dict)
    """The sequences of the messages with a red dot, at the end."""
    healed: int = 0
    """When faults were over and everybody whole again."""
    ended: int = 0
