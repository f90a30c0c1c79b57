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
    floor = max(row.joined, row.read, row.deleted)
    kind, name = row.channel_type, row.channel_id
    return HeadWanted(kind, name, floor, row.deleted, messages, streams=streams)


def is_listed(row: ConversationRow, head: HeadView) -> bool:
    """Does the person see the conversation? A deleted one comes back with the next message."""
    return row.present and head.last_sequence > row.deleted


def unread_of(row: ConversationRow, head: HeadView) -> int:
    """Unread messages, or as many as were marked so."""
    return max(head.unread, row.marked_count)


def read_to(row: ConversationRow, head: HeadView) -> int:
    """Up to where the person has read: whoever sent has read what came before."""
    return max(row.read, head.sent)


def changed_at(row: ConversationRow, head: HeadView) -> int:
    """Stamp of the last change: of the row, or by a message."""
    return max(row.hlc, head.last_hlc)


def version_of(hlc: int) -> int:
    """`hlc` as a version for clients: its milliseconds only, so that a JavaScript number holds it
    exactly. Never above `hlc`."""
    return hlc >> HLC_COUNTER_BITS << HLC_COUNTER_BITS
