"""Stored messages: bodies of the rows `M` and `D`, message ids, and reading a run of messages."""

from __future__ import annotations

import struct
from typing import Final

from zmqim.chat.heads import Channel, Newest
from zmqim.chat.keys import Keys
from zmqim.chat.operations import STREAM_SETTING, decode_send
from zmqim.chat.results import MessageRow
from zmqim.chat.view import RowView
from zmqim.errors import DamagedData
from zmqim.ids import HLC_COUNTER_BITS

MESSAGE_ID_EPOCH_MS: Final = 1_704_067_200_000
"""2024-01-01 UTC."""
LOGGED_PER_MS: Final = 1 << 10
"""Counters of logged messages: the top one of 11 bits is clear."""
_MS_SHIFT: Final = 22
_PARTITION_SHIFT: Final = 11
_COUNTER_MASK: Final = (1 << _PARTITION_SHIFT) - 1
_MESSAGE: Final = struct.Struct(">QQQ")
_U64: Final = struct.Struct(">Q")
_RED_COUNT_AT: Final = 16
_pack_message: Final = _MESSAGE.pack
_READ_ROWS: Final = 256
NEWEST_BYTES_MAX: Final = 1024
"""Up to this length the last message of a channel stays beside its head, if somebody looked at it:
some 20 MB for all heads that are cached, 64 MB at most. Longer: read each time."""


def next_message_id(last: int, hlc: int, partition: int) -> int:
    """The id after `last` of the same partition for an entry stamped `hlc`.

    41 bits of milliseconds since 2024, 11 bits of partition, 11 bits of counter; a full counter
    borrows the next millisecond, so ids only grow.
    """
    ms = (hlc >> HLC_COUNTER_BITS) - MESSAGE_ID_EPOCH_MS
    last_ms = last >> _MS_SHIFT
    if ms > last_ms:
        return (ms << _MS_SHIFT) | (partition << _PARTITION_SHIFT)
    counter = (last & _COUNTER_MASK) + 1
    if counter == LOGGED_PER_MS:
        last_ms, counter = last_ms + 1, 0
    return (last_ms << _MS_SHIFT) | (partition << _PARTITION_SHIFT) | counter


class TransientIds:
    """Ids of messages that are never logged: the counter's top bit is set. Only in memory."""

    def __init__(self) -> None:
        self._ms = 0
        self._counter = 0

    def next(self, hlc: int, partition: int) -> int:
        """A new id of `partition`, whose log's clock is `hlc`."""
        ms = max((hlc >> HLC_COUNTER_BITS) - MESSAGE_ID_EPOCH_MS, self._ms)
        self._counter = self._counter + 1 if ms == self._ms else 0
        if self._counter == LOGGED_PER_MS:
            ms, self._counter = ms + 1, 0
        self._ms = ms
        return (ms << _MS_SHIFT) | (partition << _PARTITION_SHIFT) | LOGGED_PER_MS | self._counter


class MessageRows:
    """The messages of one partition."""

    def __init__(self, keys: Keys, view: RowView) -> None:
        self._keys = keys
        self._view = view

    def first_key(self, channel: Channel, sender: str, client_msg_no: str) -> bytes:
        """Key of the `D` row of that send into the stored `channel`.

        It holds the names as they are: numbers that a client counts up lie side by side, which
        makes looking for a new one, the price of every message, several times cheaper.
        """
        name = sender.encode()
        return channel.first_prefix + len(name).to_bytes(4, "big") + name + client_msg_no.encode()

    def first(self, channel: Channel, key: bytes) -> MessageRow | None:
        """The message of `channel` that was stored under that `first_key`, if there is one."""
        sequence = self.first_sequence(key)
        return None if sequence is None else self.get(channel, sequence)

    def first_sequence(self, key: bytes) -> int | None:
        """The sequence of that message."""
        body = self._view.get(key)
        return None if body is None else int.from_bytes(body, "big")

    def sender_behind(self, channel: Channel, behind: str | None) -> str | None:
        """The next of all who ever sent into the stored `channel`, in the order of the rows; None
        behind the last."""
        rows = self._view.scan(*self._keys.firsts(channel.chan16, behind), limit=1)
        return self._keys.sender_of_first(rows[0][0]) if rows else None

    def put(
        self, channel: Channel, message_id: int, hlc: int, operation: bytes, first_key: bytes
    ) -> None:
        """Store the message that the channel's head already counts, to be found by `first`."""
        head = channel.head
        view = self._view
        sequence = head.last_sequence.to_bytes(8, "big")
        body = _pack_message(message_id, hlc, head.red_count) + operation
        view.put(channel.message_prefix + sequence, body)
        view.put(first_key, sequence)

    def get(self, channel: Channel, sequence: int) -> MessageRow:
        """The message with that sequence, which exists."""
        return _row(sequence, self._body(channel, sequence))

    def newest(self, channel: Channel) -> Newest | None:
        """The last message of `channel`, None if it has none.

        Lists of conversations ask for it again and again, so it stays with the channel: a stored
        message never changes, and one that came later has a higher sequence.
        """
        last = channel.head.last_sequence
        kept = channel.newest
        if kept is not None and kept.sequence == last:
            return kept
        if not last:
            return None
        row = self.get(channel, last)
        newest = Newest(row, has_bit=says_stream(row))
        channel.newest = newest if newest.size <= NEWEST_BYTES_MAX else None
        return newest

    def red_count_of(self, channel: Channel, sequence: int) -> int:
        """How many of the messages up to that one, which exists, have a red dot."""
        return int.from_bytes(self._body(channel, sequence)[_RED_COUNT_AT : _MESSAGE.size], "big")

    def id_of(self, channel: Channel, sequence: int) -> int:
        """The id of the message with that sequence, which exists."""
        return int.from_bytes(self._body(channel, sequence)[:8], "big")

    def place_of_id(self, channel: Channel, message_id: int, first: int, last: int) -> int:
        """The lowest of the sequences `first` to `last` whose id is not below `message_id`, found
        by halves as ids grow with sequences; `last` + 1 if there is none."""
        while first <= last:
            middle = (first + last) // 2
            if self.id_of(channel, middle) < message_id:
                first = middle + 1
            else:
                last = middle - 1
        return first

    def _body(self, channel: Channel, sequence: int) -> bytes:
        body = self._view.get(channel.message_prefix + sequence.to_bytes(8, "big"))
        if body is None:
            raise _missing(sequence)
        return body

    def run(
        self, channel: Channel, first: int, last: int, *, down: bool, bytes_max: int
    ) -> list[MessageRow]:
        """Messages `first` to `last` ascending, read upwards or `down`; it stops where `bytes_max`
        is reached, but gives at least one."""
        if first == last:
            return [self.get(channel, first)]
        found: list[MessageRow] = []
        size = 0
        while first <= last:
            if down:
                chunk = self._read(channel, max(first, last - _READ_ROWS + 1), last)
                chunk.reverse()
                last -= len(chunk)
            else:
                chunk = self._read(channel, first, min(last, first + _READ_ROWS - 1))
                first += len(chunk)
            for message in chunk:
                size += len(message.operation)
                if found and size > bytes_max:
                    return found[::-1] if down else found
                found.append(message)
        return found[::-1] if down else found

    def _read(self, channel: Channel, first: int, last: int) -> list[MessageRow]:
        rows = self._view.scan(*self._keys.messages(channel.chan16, first, last))
        found = []
        for sequence, (key, body) in enumerate(rows, first):
            if _U64.unpack_from(key, len(key) - 8)[0] != sequence:
                break
            found.append(_row(sequence, body))
        if len(found) != last - first + 1:
            raise _missing(first + len(found))
        return found


def says_stream(message: MessageRow) -> bool:
    """Whether its sender meant to add to it: cheaper to see than whether it has a stream."""
    return bool(decode_send(message.operation).setting & STREAM_SETTING)


def _row(sequence: int, body: bytes) -> MessageRow:
    message_id, hlc, red_count = _MESSAGE.unpack_from(body)
    return MessageRow(sequence, message_id, hlc, red_count, body[_MESSAGE.size :])


def _missing(sequence: int) -> DamagedData:
    return DamagedData(
        f"message {sequence} of a channel is missing among its rows",
        path="state",
        hint="The rows are damaged: nothing is served from them. Restore this storage.",
    )
