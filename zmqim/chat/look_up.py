"""Finding single messages of a channel: by sequence, by id, by client_msg_no.

There is no index by id: ids grow with the sequence inside a channel, so a binary search over the
messages finds one. A client_msg_no is known under its sender (row `D`), so the senders of the
channel are gone through, one seek each: two in a person channel; in a large group LOOK_UP_STEPS_MAX
rows a question, and the asker goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable

from zmqim.chat.heads import Channel
from zmqim.chat.queries import MessagesBy
from zmqim.chat.results import MessageRow, MessagesFound
from zmqim.chat.state import ChatState
from zmqim.chat.stream_views import with_streams
from zmqim.limits import LOOK_UP_STEPS_MAX, PULL_BYTES_MAX


def messages_by(
    state: ChatState, channel: Channel, query: MessagesBy, visible: int
) -> MessagesFound:
    """What `query` names among the messages of `channel` up to the sequence `visible`."""
    if not visible:
        return MessagesFound([])
    sequences = set(query.sequences)
    sequences |= _by_id(state, channel, query.message_ids, visible)
    under_numbers, after_uid = _by_number(state, channel, query)
    sequences |= under_numbers
    found: list[MessageRow] = []
    size = 0
    cut = False
    for sequence in sorted(one for one in sequences if 1 <= one <= visible):
        message = state.messages.get(channel, sequence)
        size += len(message.operation)
        if found and size > PULL_BYTES_MAX:
            cut = True
            break
        found.append(message)
    if not query.streams or not found:
        return MessagesFound(found, cut, after_uid)
    fitting, streams = with_streams(state, channel, found, query.login_uid, query.streams)
    return MessagesFound(fitting, cut or len(fitting) < len(found), after_uid, streams)


def _by_id(
    state: ChatState, channel: Channel, message_ids: Iterable[int], visible: int
) -> set[int]:
    """The sequences of those ids among the first `visible` messages."""
    found = set()
    messages, first = state.messages, 1
    for message_id in sorted(set(message_ids)):
        # No greater id stands before the place of this one.
        first = messages.place_of_id(channel, message_id, first, visible)
        if first <= visible and messages.id_of(channel, first) == message_id:
            found.add(first)
    return found


def _by_number(state: ChatState, channel: Channel, query: MessagesBy) -> tuple[set[int], str]:
    """The sequences under those client_msg_nos, and after whom to go on; "": all are done."""
    found: set[int] = set()
    numbers = set(query.client_msg_nos)
    sender = query.after_uid or None
    steps = 0
    while numbers:
        if steps >= LOOK_UP_STEPS_MAX:
            return found, sender or ""
        sender = state.messages.sender_behind(channel, sender)
        if sender is None:
            break
        for number in numbers:
            sequence = state.messages.first_sequence(
                state.messages.first_key(channel, sender, number)
            )
            if sequence is not None:
                found.add(sequence)
        steps += 1 + len(numbers)
    return found, ""
