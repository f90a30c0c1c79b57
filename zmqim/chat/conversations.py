"""A person's conversations: which channels they are in, and how far they have read.

The rows lie in the person's partition, one for each channel. What a channel's partition knows comes
there through its outbox: that a person joined or left, and at which sequence (`joined`, `left`,
`begun` say it). Cursors come from the person. So no message writes a row for each of its receivers;
what is unread is counted when somebody asks (`zmqim.chat.unread`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from zmqim.chat.channels import named_in, route_key_of_user
from zmqim.chat.codes import ChannelType
from zmqim.chat.encoding import encode
from zmqim.chat.heads import Channel, Heads
from zmqim.chat.keys import Keys, channel_digest, probes
from zmqim.chat.operations import BindCommands, DeriveConversations, MoveCursor
from zmqim.chat.rows import ConversationRow, Derived, decode_conversation
from zmqim.chat.view import RowView
from zmqim.limits import MEMBERS_PER_ENTRY_MAX
from zmqim.ring.partitions import partition_of

_WITHOUT: Final = frozenset((ChannelType.LIVE,))
"""Types whose members get no conversation (WuKongIM v2.2)."""
TAKEN_RUNS_MAX: Final = 64
"""Runs of commands that a person took in one channel behind others that he did not. Above, the
lowest is forgotten: its commands are shown once more."""


class Conversations:
    """The conversations of the persons of one partition."""

    def __init__(self, keys: Keys, view: RowView, cached_max: int) -> None:
        """Above `cached_max` rows, those that were read are dropped and read again."""
        self._keys = keys
        self._view = view
        self._cached_max = cached_max
        self._cached: dict[str, list[Raw]] = {}
        """All rows of a person, until one of them is written."""
        self._cached_rows = 0

    def get(self, uid: str, channel_type: int, channel_id: str) -> ConversationRow:
        """What is known of `uid` in that channel; the row of somebody who never was there."""
        return self._find(uid, channel_type, channel_id)[1]

    def page(self, uid: str, after: bytes, limit: int) -> tuple[list[Raw], bytes]:
        """Encoded `ConversationRow`s of `uid` behind the place `after` (b"": from the first), at
        most `limit`, and the place to go on from; b"" if there are no more."""
        cached = self._cached.get(uid)
        if cached is not None and not after and len(cached) <= limit:
            return cached, b""
        start, stop = self._keys.conversations(uid, after)
        rows = self._view.scan(start, stop, limit=limit + 1)
        found = [Raw(body) for _, body in rows[:limit]]
        if len(rows) > limit:
            return found, self._keys.place_of_conversation(rows[limit - 1][0])
        if not after:
            self._keep(uid, found)
        return found, b""

    def _keep(self, uid: str, rows: list[Raw]) -> None:
        if self._cached_rows + len(rows) >= self._cached_max:
            self._cached.clear()
            self._cached_rows = 0
        self._cached[uid] = rows
        self._cached_rows += len(rows) + 1  # One more, as many persons have none.

    def derive(self, hlc: int, operation: DeriveConversations) -> None:
        """Take over what the channel's partition says, unless something newer is known."""
        for uid in operation.uids:
            key, row = self._find(uid, operation.channel_type, operation.channel_id)
            if operation.version > row.version:
                present = operation.present
                joined = operation.sequence if present else row.joined
                commands = operation.commands if present else row.joined_commands
                self._put(
                    uid,
                    key,
                    replace(
                        row,
                        present=present,
                        version=operation.version,
                        joined=joined,
                        joined_commands=commands,
                        hlc=hlc,
                    ),
                )

    def move(self, hlc: int, operation: MoveCursor) -> None:
        """The person read, deleted or marked. Sequences only grow; of two marks the later holds,
        until more is read or deleted."""
        key, row = self._find(operation.uid, operation.channel_type, operation.channel_id)
        read = max(row.read, operation.read)
        count, at = row.marked_count, row.marked_at
        if operation.marked_count >= 0:
            count, at = operation.marked_count, read
        elif read > at or operation.deleted > row.deleted:
            count = 0
        self._put(
            operation.uid,
            key,
            replace(
                row,
                present=row.present or operation.listed,
                read=read,
                deleted=max(row.deleted, operation.deleted),
                marked_count=count,
                marked_at=at,
                hlc=hlc,
            ),
        )

    def take_commands(
        self, uid: str, channel_type: int, channel_id: str, sequences: Iterable[int]
    ) -> None:
        """The person has these commands of the channel. Those behind one that is still wanted are
        kept as runs: the position never moves over what nobody took."""
        key, row = self._find(uid, channel_type, channel_id)
        read = max(row.read_commands, row.joined_commands)
        taken = _merged(row.taken, sequences, read)
        if taken and taken[0][0] == read + 1:
            read = taken.pop(0)[1]
        taken = taken[-TAKEN_RUNS_MAX:]
        if read > row.read_commands or taken != row.taken:
            self._put(uid, key, replace(row, read_commands=read, taken=taken))

    def bind(self, operation: BindCommands) -> None:
        """The person wants the commands of a channel, or no longer does."""
        key, row = self._find(operation.uid, operation.channel_type, operation.channel_id)
        if operation.bound != row.bound:
            read = max(row.read_commands, operation.sequence)
            self._put(operation.uid, key, replace(row, bound=operation.bound, read_commands=read))

    def _put(self, uid: str, key: bytes, row: ConversationRow) -> None:
        cached = self._cached.pop(uid, None)
        if cached is not None:
            self._cached_rows -= len(cached) + 1
        self._view.put(key, encode(row))

    def _find(self, uid: str, channel_type: int, channel_id: str) -> tuple[bytes, ConversationRow]:
        """Where the row stands, or would."""
        for chan16 in probes(channel_digest(channel_type, channel_id, False)):
            key = self._keys.conversation(uid, chan16)
            body = self._view.get(key)
            if body is None:
                return key, ConversationRow(channel_type, channel_id)
            row = decode_conversation(body)
            if (row.channel_type, row.channel_id) == (channel_type, channel_id):
                return key, row
        raise AssertionError("probes have no end")


def _merged(
    runs: list[tuple[int, int]], sequences: Iterable[int], above: int
) -> list[tuple[int, int]]:
    """The runs and the sequences together, ascending, without what is not above `above`."""
    found: list[tuple[int, int]] = []
    for first, last in sorted([*runs, *((one, one) for one in sequences)]):
        first = max(first, above + 1)
        if last < first:
            continue
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def joined(
    heads: Heads,
    channel: Channel,
    index: int,
    added: Iterable[str],
    removed: Iterable[str],
    partitions: int,
) -> list[Derived]:
    """What the members' partitions are told of a change at log index `index`."""
    head = channel.head
    if head.channel_type in _WITHOUT:
        return []
    command = heads.find(head.channel_type, head.channel_id, command=True)
    at = (head.last_sequence, command.head.last_sequence)
    return [
        *_derived(channel, index, added, True, at, partitions),
        *_derived(channel, index, removed, False, at, partitions),
    ]


def begun(channel: Channel, index: int, partitions: int) -> list[Derived]:
    """What is told to the partitions of those whom the channel's id names, when its first message
    or its first command came."""
    head = channel.head
    named = dict.fromkeys(named_in(head.channel_type, head.channel_id))
    return _derived(channel, index, named, True, (0, 0), partitions)


def _derived(
    channel: Channel,
    index: int,
    uids: Iterable[str],
    present: bool,
    at: tuple[int, int],
    partitions: int,
) -> list[Derived]:
    """Operations for each partition that holds some of `uids`, of up to MEMBERS_PER_ENTRY_MAX;
    `at` are the channel's last sequences."""
    head = channel.head
    places: dict[int, list[str]] = {}
    for uid in uids:
        place = partition_of(route_key_of_user(uid), partitions)
        places.setdefault(place, []).append(uid)
    size = MEMBERS_PER_ENTRY_MAX
    portions = [
        together[first : first + size]
        for _, together in sorted(places.items())
        for first in range(0, len(together), size)
    ]
    return [
        Derived(
            route_key_of_user(part[0]),
            encode(
                DeriveConversations(head.channel_type, head.channel_id, part, present, index, *at)
            ),
        )
        for part in portions
    ]
