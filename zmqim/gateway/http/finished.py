"""What a partition's bytes look like as JSON, made once for the same bytes.

Histories and lists of conversations are read again and again, and most of what they show is as it
was. How a message or a conversation looks to somebody follows from its rows as the partitions sent
them and from the words of the call, and from nothing else: so what was made for these is right
whenever they come again, and nobody has to be told of changes. What changes with time is left out:
messages that expire (`until_ms` says when), streams beside a message, and the version of a
conversation, which depends on all that the call asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeVar, cast

import msgspec
from msgspec import Raw, Struct

from zmqim import limits
from zmqim.chat.listing import changed_at, is_listed, read_to, unread_of, version_of
from zmqim.chat.operations import decode_send
from zmqim.chat.results import HeadView, StreamView, decode_head, decode_message
from zmqim.chat.rows import ConversationRow, decode_conversation
from zmqim.gateway.http.conversation_shapes import ConversationAnswer
from zmqim.gateway.http.stored import StoredMessage, channel_shown, stored_messages
from zmqim.ids import expiry_of, is_over, seconds_of

T = TypeVar("T")

_encode: Final = msgspec.json.Encoder().encode
_VERSION: Final = b'"version":%d,'
"""No text has this in it: quotes in texts have a backslash before them."""


class ShownMessage(Struct, frozen=True, gc=False):
    """A message as readers see it who know its channel by the same id, without its stream. `answer`
    is JSON for an encoder. `until_ms`: when it is over, in milliseconds since 1970; 0: never."""

    packed: bytes
    sequence: int
    answer: StoredMessage
    until_ms: int


def shown_message(packed: bytes, channel_id: str) -> ShownMessage:
    """How the encoded `MessageRow` looks to them."""
    row = decode_message(packed)
    (message,) = stored_messages([row], [], channel_id, basic=False)
    ends = expiry_of(row.hlc, message.expire)
    return ShownMessage(packed, row.sequence, _finished(message), ends)


def with_streams(
    messages: list[ShownMessage], streams: Sequence[StreamView], channel_id: str, *, basic: bool
) -> list[StoredMessage]:
    """The messages for an answer, with those of their streams that were read; `basic`: without
    snapshots."""
    views = {view.sequence: [view] for view in streams}
    found = []
    for one in messages:
        own = views.get(one.sequence)
        if own:
            found += stored_messages([decode_message(one.packed)], own, channel_id, basic=basic)
        else:
            found.append(one.answer)
    return found


def _finished(value: T) -> T:
    """The same as JSON: something that encoders put into an answer as it is."""
    return cast(T, Raw(_encode(value)))


class Shown(Struct, frozen=True, gc=False):
    """The conversation of a row as somebody sees it. `order`: the newest comes first. `version` is
    that of its last change, and stands in its `json`, which is empty if no message was read.
    `until_ms`: when the first of its messages is over, in milliseconds since 1970; 0: never."""

    packed_row: bytes
    is_listed: bool
    changed_at: int
    unread: int
    order: tuple[int, str]
    version: int
    json: Raw
    until_ms: int

    def answer(self, version: int) -> ConversationAnswer:
        """The conversation in an answer that goes up to `version`."""
        json = self.json
        if version < self.version:
            own, other = _VERSION % self.version, _VERSION % version
            json = Raw(bytes(json).replace(own, other, 1))
        return cast(ConversationAnswer, json)  # As in `_finished`.


def shown(
    uid: str, packed_row: bytes, packed_head: bytes, count: int, above: int, wall_ms: int = 0
) -> Shown:
    """How `uid` sees a conversation with its `count` newest messages above the sequence `above`,
    of which none is over at `wall_ms`."""
    row, head = decode_conversation(packed_row), decode_head(packed_head)
    json, until_ms = b"", 0
    if head.messages:
        answer, until_ms = _answer(uid, row, head, count, above, wall_ms)
        json = _encode(answer)
    return Shown(
        packed_row,
        is_listed(row, head),
        changed_at(row, head),
        unread_of(row, head),
        (-head.last_hlc, row.channel_id),
        version_of(changed_at(row, head)),
        Raw(json),
        until_ms,
    )


def _answer(
    uid: str, row: ConversationRow, head: HeadView, count: int, above: int, wall_ms: int
) -> tuple[ConversationAnswer, int]:
    """The answer, and when the first of its messages is over."""
    kind = row.channel_type
    name = channel_shown(kind, row.channel_id, uid)
    last = head.messages[-count:] if count else []
    messages = [one for one in reversed(last) if one.sequence > above]
    recents = stored_messages(messages, head.streams, name, basic=False)
    newest = decode_send(head.messages[-1].operation)
    both = [
        (message, ends)
        for one, message in zip(messages, recents, strict=True)
        if not is_over(ends := expiry_of(one.hlc, message.expire), wall_ms)
    ]
    answer = ConversationAnswer(
        name,
        kind,
        unread_of(row, head),
        seconds_of(head.last_hlc),
        head.last_sequence,
        newest.client_msg_no,
        row.deleted,
        read_to(row, head),
        version_of(changed_at(row, head)),
        [message for message, _ in both],
    )
    return answer, min([ends for _, ends in both if ends], default=0)


class Finished:
    """Remembers what was made last."""

    def __init__(self) -> None:
        self._message = lru_cache(limits.FINISHED_MAX // 2)(shown_message)
        self._shown = lru_cache(limits.FINISHED_MAX)(shown)

    def message(self, packed: bytes, channel_id: str) -> ShownMessage:
        """`shown_message`, but not made anew."""
        if len(packed) > limits.FINISHED_BYTES_MAX:
            return shown_message(packed, channel_id)
        return self._message(packed, channel_id)

    def conversation(
        self, uid: str, row: bytes, head: bytes, count: int, above: int, wall_ms: int
    ) -> Shown:
        """`shown`, but not made anew."""
        if len(row) + len(head) > limits.FINISHED_BYTES_MAX:
            return shown(uid, row, head, count, above, wall_ms)
        found = self._shown(uid, row, head, count, above)
        if is_over(found.until_ms, wall_ms):
            return shown(uid, row, head, count, above, wall_ms)
        return found
