"""The head of each channel: flags and counters, kept decoded while the partition is led.

A head is read once, changed in memory by the state machine, which is its only owner, and written
with the rows of the same turn. The cache never holds what the rows of the turn will not hold.
"""

from __future__ import annotations

from typing import Final

import msgspec

from zmqim.chat.keys import Keys, channel_digest, probes
from zmqim.chat.results import MessageRow
from zmqim.chat.rows import HeadRow, PersonRule
from zmqim.chat.view import RowView

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(HeadRow).decode


class Head:
    """Flags and counters of a channel, for the fields of `HeadRow`.

    A plain class, because each message reads most of it: a struct's fields cost compiled code a
    look-up each.
    """

    __slots__ = (
        "allow_count",
        "allow_stranger",
        "ban",
        "channel_id",
        "channel_type",
        "command",
        "deny_count",
        "disband",
        "large",
        "last_sequence",
        "member_count",
        "member_version",
        "red_count",
        "rules",
        "send_ban",
        "senders",
    )

    def __init__(self, row: HeadRow) -> None:
        self.channel_type = row.channel_type
        self.channel_id = row.channel_id
        self.command = row.command
        self.last_sequence = row.last_sequence
        self.red_count = row.red_count
        self.large = row.large
        self.ban = row.ban
        self.disband = row.disband
        self.send_ban = row.send_ban
        self.allow_stranger = row.allow_stranger
        self.member_count = row.member_count
        self.member_version = row.member_version
        self.deny_count = row.deny_count
        self.allow_count = row.allow_count
        self.rules: list[PersonRule] = row.rules
        self.senders: dict[str, int] = row.senders

    def encode(self) -> bytes:
        """The body of the row."""
        return _encode(
            HeadRow(
                self.channel_type,
                self.channel_id,
                self.command,
                self.last_sequence,
                self.red_count,
                self.large,
                self.ban,
                self.disband,
                self.send_ban,
                self.allow_stranger,
                self.member_count,
                self.member_version,
                self.deny_count,
                self.allow_count,
                self.rules,
                self.senders,
            )
        )


class Newest:
    """The message with that sequence, the last one of its channel when it was read. `size`: bytes
    of what was sent. `has_bit`: its sender meant to add to it."""

    __slots__ = ("has_bit", "hlc", "row", "sequence", "size")

    def __init__(self, row: MessageRow, *, has_bit: bool) -> None:
        self.sequence = row.sequence
        self.hlc = row.hlc
        self.row = row
        self.size = len(row.operation)
        self.has_bit = has_bit


class Channel:
    """A head with its place among the rows. `chan16` is empty until the head is first stored."""

    __slots__ = ("chan16", "dirty", "first_prefix", "head", "message_prefix", "newest")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.chan16 = b""
        self.message_prefix = b""
        """How the key of each of its messages begins."""
        self.first_prefix = b""
        """The same for the rows that know messages again."""
        self.dirty = False
        self.newest: Newest | None = None
        """Kept by `MessageRows.newest`; out of date unless it has the head's last sequence."""

    def place(self, keys: Keys, chan16: bytes) -> None:
        """It stands there among the rows."""
        self.chan16 = chan16
        self.message_prefix = keys.message_tag + chan16
        self.first_prefix = keys.duplicate_tag + chan16

    @property
    def exists(self) -> bool:
        """Was anything ever stored of it?"""
        return bool(self.chan16)


class Heads:
    """All heads of one partition."""

    def __init__(self, keys: Keys, view: RowView, cached_max: int) -> None:
        """Above `cached_max` heads, `trim` drops them all and they are read again."""
        self._keys = keys
        self._view = view
        self._cached_max = cached_max
        self._channels: dict[tuple[int, str, bool], Channel] = {}
        self._dirty: list[Channel] = []

    def find(self, channel_type: int, channel_id: str, command: bool = False) -> Channel:
        """The channel of that name, stored or not."""
        name = (channel_type, channel_id, command)
        found = self._channels.get(name)
        if found is None:
            found = self._channels[name] = self._load(name)
        return found

    def changed(self, channel: Channel) -> None:
        """The head of `channel` was, or is about to be, changed: write it with this turn's rows."""
        if channel.dirty:
            return
        channel.dirty = True
        self._dirty.append(channel)
        if not channel.chan16:
            self._create(channel)

    def flush(self) -> None:
        """Put every changed head into the view."""
        tag, view = self._keys.head_tag, self._view
        for channel in self._dirty:
            channel.dirty = False
            view.put(tag + channel.chan16, channel.head.encode())
        self._dirty = []

    def trim(self) -> None:
        """Between turns: forget the heads that were read if there are too many."""
        assert not self._dirty
        if len(self._channels) > self._cached_max:
            self._channels = {}

    def _load(self, name: tuple[int, str, bool]) -> Channel:
        for chan16 in probes(channel_digest(*name)):
            body = self._view.get(self._keys.head_tag + chan16)
            if body is None:
                break
            row = _decode(body)
            if (row.channel_type, row.channel_id, row.command) == name:
                channel = Channel(Head(row))
                channel.place(self._keys, chan16)
                return channel
        return Channel(Head(HeadRow(*name)))

    def _create(self, channel: Channel) -> None:
        head = channel.head
        digest = channel_digest(head.channel_type, head.channel_id, head.command)
        for chan16 in probes(digest):
            key = self._keys.head_tag + chan16
            if self._view.get(key) is None:
                channel.place(self._keys, chan16)
                self._view.put(key, head.encode())
                return
