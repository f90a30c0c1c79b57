"""Items on their way in and out of the storage core: what it accepts, how answers are framed."""

from __future__ import annotations

from typing import Final

from zmqim.bus.batches import in_frames
from zmqim.bus.messages import Item, Outcome, Outcomes, Submit
from zmqim.chat.operations import (
    AddMembers,
    AppendEvent,
    ChangeList,
    DeriveConversations,
    Follow,
    FollowerMoved,
    NoteCommands,
    Notified,
    OutboxDone,
    RemoveMembers,
    Unfollow,
)
from zmqim.chat.queries import CommandsQuery, HeadsQuery, Together
from zmqim.errors import WireError
from zmqim.limits import (
    COMMANDS_SHOWN_MAX,
    FOLLOWER_NAME_BYTES_MAX,
    HEADS_PER_QUERY_MAX,
    MEMBERS_PER_ENTRY_MAX,
    PAYLOAD_BYTES_MAX,
    STREAM_NAME_BYTES_MAX,
)

OCCURRED_AT_MAX: Final = 2**53
"""Milliseconds since 1970 that JavaScript can say."""


def check_change(operation: object) -> None:
    """Raise `WireError` for what a gateway must not send."""
    if isinstance(operation, Notified | OutboxDone):
        raise WireError("an operation that only a leader makes")
    if (
        isinstance(operation, AddMembers | RemoveMembers | ChangeList | DeriveConversations)
        and len(operation.uids) > MEMBERS_PER_ENTRY_MAX
    ):
        raise WireError(f"more than {MEMBERS_PER_ENTRY_MAX} uids in one operation")
    if isinstance(operation, NoteCommands) and len(operation.commands) > COMMANDS_SHOWN_MAX:
        raise WireError(f"more than {COMMANDS_SHOWN_MAX} commands in one operation")
    if (
        isinstance(operation, Follow | FollowerMoved | Unfollow)
        and not 0 < len(operation.name.encode()) <= FOLLOWER_NAME_BYTES_MAX
    ):
        raise WireError(f"the name of a follower has 1 to {FOLLOWER_NAME_BYTES_MAX} bytes")
    if isinstance(operation, AppendEvent):
        _check_event(operation)


def _check_event(event: AppendEvent) -> None:
    for name in (event.event_id, event.event_key):
        if not 0 < len(name.encode()) <= STREAM_NAME_BYTES_MAX:
            raise WireError(f"an event_id or event_key has 1 to {STREAM_NAME_BYTES_MAX} bytes")
    if len(event.payload) > PAYLOAD_BYTES_MAX:
        raise WireError(f"the payload is above {PAYLOAD_BYTES_MAX} bytes")
    if not 0 <= event.occurred_at <= OCCURRED_AT_MAX:
        raise WireError("occurred_at is no time in milliseconds since 1970")
    if not event.client_msg_no and not event.message_id:
        raise WireError("client_msg_no or message_id is missing")


def check_query(query: object) -> None:
    """Raise `WireError` for what asks too much at once."""
    if isinstance(query, Together):
        count = sum([len(part.query.channels) for part in query.parts])
        # A part without channels would cost nothing there.
        if count > HEADS_PER_QUERY_MAX or not all(part.query.channels for part in query.parts):
            raise WireError(f"no channel in a part, or more than {HEADS_PER_QUERY_MAX} in all")
    if isinstance(query, HeadsQuery | CommandsQuery) and len(query.channels) > HEADS_PER_QUERY_MAX:
        raise WireError(f"more than {HEADS_PER_QUERY_MAX} channels in one query")


def frames_of(outcomes: list[Outcome]) -> list[Outcomes]:
    """`outcomes` cut so that each part fits one frame."""
    sizes = [len(outcome.result) for outcome in outcomes]
    return [Outcomes(part) for part in in_frames(outcomes, sizes)]


def submits_of(items: list[Item]) -> list[Submit]:
    """The same of what is asked of other partitions."""
    return [Submit(part) for part in in_frames(items, [len(item.body) for item in items])]
