"""A conversation as it is shown: what the person's partition holds of it, and what the channel's
partition says of the channel, put together.
"""

from __future__ import annotations

from zmqim.chat.queries import HeadWanted
from zmqim.chat.results import HeadView
from zmqim.chat.rows import ConversationRow
from zmqim.ids import HLC_COUNTER_BITS


def head_wanted(row: ConversationRow, messages: int, streams: int = 0) -> HeadWanted:
    """What to ask the channel's partition: with up to `messages` of the newest messages."""
    kind, name = row.channel_type, row.channel_id
    return HeadWanted(kind, name, _floor_of(row), row.deleted, messages, -1, streams)


def is_listed(row: ConversationRow, head: HeadView) -> bool:
    """Does the person see the conversation? A deleted one comes back with the next message."""
    return row.present and head.last_sequence > row.deleted


def unread_of(row: ConversationRow, head: HeadView) -> int:
    """Unread messages, or as many as were marked so."""
    return max(head.unread, row.marked_count)


def read_to(row: ConversationRow, head: HeadView) -> int:
    """Up to where nothing is unread: read, deleted, found there on joining, or before what the
    person sent."""
    return max(_floor_of(row), head.sent)


def _floor_of(row: ConversationRow) -> int:
    """What the row says of that; the channel's partition knows what the person sent."""
    return max(row.joined, row.read, row.deleted)


def changed_at(row: ConversationRow, head: HeadView) -> int:
    """Stamp of the last change: of the row, or by a message."""
    return max(row.hlc, head.last_hlc)


def version_of(hlc: int) -> int:
    """`hlc` as a version for clients: its milliseconds only, so that a JavaScript number holds it
    exactly. Never above `hlc`."""
    return hlc >> HLC_COUNTER_BITS << HLC_COUNTER_BITS
