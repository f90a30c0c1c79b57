"""The head of each channel: flags and counters, kept decoded while the partition is led.

A head is read once, changed in memory by the state machine, which is its only owner, and written
with the rows of the same turn. The cache never holds what the rows of the turn will not hold.
"""

from __future__ import annotations

from typing import Final

import msgspec

from zmqim.chat.keys import Keys, channel_digest, probes
from zmqim.chat.rows import Head
from zmqim.chat.view import RowView


class Channel:
    """A head with its place among the rows. `chan16` is empty until the head is first stored."""

    __slots__ = ("chan16", "dirty", "first_prefix", "head", "message_prefix")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.chan16 = b""
        self.message_prefix = b""
        """How the key of each of its messages begins."""
        self.first_prefix = b""
        """The same for the rows that know messages again."""
        self.dirty = False

    def place(self, keys: Keys, chan16: bytes) -> None:
        """It stands there among the rows."""
        self.chan16 = chan16
        self.message_prefix = keys.message_tag + chan16
        self.first_prefix = keys.duplicate_tag + chan16

    @property
    def exists(self) -> bool:
        """Was anything ever stored of it?"""
        return bool(self.chan16)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Head).decode


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
        tag, put = self._keys.head_tag, self._view.put
        for channel in self._dirty:
            channel.dirty = False
            put(tag + channel.chan16, _encode(channel.head))
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
            head = _decode(body)
            if (head.channel_type, head.channel_id, head.command) == name:
                channel = Channel(head)
                channel.place(self._keys, chan16)
                return channel
        return Channel(Head(*name))

    def _create(self, channel: Channel) -> None:
        head = channel.head
        digest = channel_digest(head.channel_type, head.channel_id, head.command)
        for chan16 in probes(digest):
            key = self._keys.head_tag + chan16
            if self._view.get(key) is None:
                channel.place(self._keys, chan16)
                self._view.put(key, _encode(head))
                return
