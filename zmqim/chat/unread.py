"""How many messages of a channel somebody has not read: counted when asked, from what the channel's
partition holds.

The one formula (docs/HTTP.md): ``red(last) - red(floor)``, where `red(s)` is the number
of red-dot messages up to sequence s, which each message row holds, and `floor` is the highest of
what the person read, deleted, found there on joining, and sent: whoever writes has seen what came
before. So own messages, messages without a red dot and commands are never unread.
"""

from __future__ import annotations

from typing import Final

from zmqim.chat.heads import Channel
from zmqim.chat.keys import Keys
from zmqim.chat.messages import MessageRows
from zmqim.chat.view import RowView

SENDERS_IN_HEAD: Final = 16
"""Senders whose last sequence stands in the head, which is written anyway. More would make each
head longer; of the one who sent longest ago it moves into a row."""


class Senders:
    """The last sequence that each sender of a channel sent."""

    def __init__(self, keys: Keys, view: RowView) -> None:
        self._keys = keys
        self._view = view

    def note(self, channel: Channel, uid: str) -> None:
        """`uid` sent the message that the head counts last."""
        head = channel.head
        senders = head.senders
        senders[uid] = head.last_sequence
        if len(senders) > SENDERS_IN_HEAD:
            oldest, sequence = min(senders.items(), key=_sequence)
            del senders[oldest]
            self._view.put(self._keys.sender(channel.chan16, oldest), sequence.to_bytes(8, "big"))

    def last(self, channel: Channel, uid: str) -> int:
        """Sequence of the last message of `uid`; 0 if there is none."""
        senders = channel.head.senders
        found = senders.get(uid)
        if found is not None:
            return found
        if len(senders) < SENDERS_IN_HEAD:
            return 0  # Nobody had to move into a row yet.
        body = self._view.get(self._keys.sender(channel.chan16, uid))
        return 0 if body is None else int.from_bytes(body, "big")


def _sequence(sender: tuple[str, int]) -> int:
    return sender[1]


def red_up_to(messages: MessageRows, channel: Channel, sequence: int) -> int:
    """How many of the messages up to `sequence` have a red dot."""
    head = channel.head
    if sequence >= head.last_sequence:
        return head.red_count
    return messages.red_count_of(channel, sequence) if sequence > 0 else 0


def unread_behind(messages: MessageRows, channel: Channel, floor: int) -> int:
    """How many messages behind `floor` count as unread."""
    return channel.head.red_count - red_up_to(messages, channel, floor)


def floor_leaving(messages: MessageRows, channel: Channel, count: int) -> int:
    """The lowest sequence behind which exactly `count` messages are unread, or as many as there
    are: where to read to, so that so many are left."""
    wanted = channel.head.red_count - count
    if wanted <= 0:
        return 0
    low, high = 1, channel.head.last_sequence
    while low < high:
        middle = (low + high) // 2
        if red_up_to(messages, channel, middle) < wanted:
            low = middle + 1
        else:
            high = middle
    return low
