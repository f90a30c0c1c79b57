"""What is asked of a partition's leader, which confirms itself first (`zmqim.chat.reading`)."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec

from zmqim.chat.encoding import Value
from zmqim.errors import WireError
from zmqim.limits import MESSAGES_BY_MAX

_T = TypeVar("_T")
_Few = Annotated[list[_T], msgspec.Meta(max_length=MESSAGES_BY_MAX)]


class Probe(Value, tag=1, frozen=True):
    """Does a leader serve this partition? Answered by `Done`."""


class UserQuery(Value, tag=2, frozen=True):
    """What CONNECT needs to know of (uid, device_flag). Answered by `UserRow`."""

    uid: str
    device_flag: int


class ChannelQuery(Value, tag=3, frozen=True):
    """Answered by `ChannelRow`."""

    channel_type: int
    channel_id: str


class MembersQuery(Value, tag=4, frozen=True):
    """Members in byte order after `after_uid`. Answered by `MembersPage`.

    For a person or agent channel the two uids of its id are the members, without a row.
    """

    channel_type: int
    channel_id: str
    after_uid: str = ""
    limit: int = 10_000


class ListQuery(Value, tag=5, frozen=True):
    """A deny or allow list, after `after_uid`. Answered by `MembersPage`."""

    channel_type: int
    channel_id: str
    which: int
    after_uid: str = ""
    limit: int = 10_000


class MessagesQuery(Value, tag=6, frozen=True):
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
    streams: int = 0
    """Whether the page says how the streams of its messages are: 0 not, 1 without their snapshots,
    2 with them."""


class ConversationsQuery(Value, tag=20, frozen=True):
    """The conversations of `uid`, from the place `after` on. Answered by `ConversationsPage`."""

    uid: str
    after: bytes = b""
    limit: int = 1_000


class HeadWanted(Value, frozen=True):
    """What somebody wants to know of a channel: what is unread behind `floor`, and up to `messages`
    of the newest messages above `above`. `leaving` not -1: also where to read to so that so many
    are left unread. `streams` is that of a `MessagesQuery`, for messages with the stream bit."""

    channel_type: int
    channel_id: str
    floor: int
    above: int = 0
    messages: int = 0
    leaving: int = -1
    streams: int = 0


class HeadsQuery(Value, tag=21, frozen=True):
    """How far channels are, as `uid` sees them. Answered by `HeadsPage`, in the same order."""

    uid: str
    channels: list[HeadWanted]


class CommandsWanted(Value, frozen=True):
    """The commands of a channel above a sequence, but for the ascending runs (first, last)
    `taken`."""

    channel_type: int
    channel_id: str
    above: int
    taken: list[tuple[int, int]] = msgspec.field(default_factory=list)


class CommandsQuery(Value, tag=22, frozen=True):
    """The oldest commands of channels, up to `limit` of each. Answered by `CommandsPage`."""

    channels: list[CommandsWanted]
    limit: int = 200


class PendingQuery(Value, tag=23, frozen=True):
    """What `uid` was shown and has not acknowledged. Answered by `PendingCommands`."""

    uid: str


class PartQuery(Value, frozen=True):
    """A question about channels of one partition."""

    partition: int
    query: HeadsQuery | CommandsQuery


class Together(Value, tag=24, frozen=True):
    """Questions to several partitions, in an item for the leader of one of them. Answered by
    `Answers`: of those that the same storage leads; whoever asks asks again for the others."""

    parts: list[PartQuery]


class EventsQuery(Value, tag=50, frozen=True):
    """The events of a message's stream above sequence `after`, those under `event_key` or all (""),
    as `uid` may see them. Answered by `EventsPage`; of an unknown message there are none."""

    channel_type: int
    channel_id: str
    uid: str
    client_msg_no: str
    event_key: str = ""
    after: int = 0
    limit: int = 200
    include_private: bool = False


class OutboxQuery(Value, tag=7, frozen=True):
    """Answered by `Done` once every outbox row up to `upto` is delivered (or not, at deadline)."""

    upto: int


class MessagesBy(Value, tag=10, frozen=True):
    """Messages of a history by their sequences, ids and client_msg_nos, MESSAGES_BY_MAX of each.
    Answered by `MessagesFound`.

    What `login_uid` may not see is not found, as in `MessagesQuery`. In a channel with many senders
    not all of them are looked through at once: `after_uid` goes on behind the sender that the
    answer before named.
    """

    channel_type: int
    channel_id: str
    login_uid: str = ""
    sequences: _Few[int] = msgspec.field(default_factory=list)
    message_ids: _Few[int] = msgspec.field(default_factory=list)
    client_msg_nos: _Few[str] = msgspec.field(default_factory=list)
    after_uid: str = ""
    streams: int = 0
    """That of a `MessagesQuery`."""


class FollowQuery(Value, tag=40, frozen=True):
    """Messages that the log got after index `after`, or after the position of `name` if that is
    higher. Answered by `FollowedPage`, from what is committed here: no other leader is asked for,
    as the log up to there is the same everywhere."""

    name: str
    after: int = -1
    limit: int = 100


Query = (
    Probe
    | UserQuery
    | ChannelQuery
    | MembersQuery
    | ListQuery
    | MessagesQuery
    | OutboxQuery
    | ConversationsQuery
    | HeadsQuery
    | CommandsQuery
    | PendingQuery
    | Together
    | MessagesBy
    | FollowQuery
    | EventsQuery
)

_query: Final[msgspec.msgpack.Decoder[Query]] = msgspec.msgpack.Decoder(Query)


def decode_query(body: bytes) -> Query:
    """The query in `body`; `WireError` if it is none."""
    try:
        return _query.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not a query: {error}") from None
