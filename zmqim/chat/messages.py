"""Stored messages: bodies of the rows `M` and `D`, message ids, and reading a run of messages."""

from __future__ import annotations

import struct
from typing import NamedTuple

from xxhash import xxh3_128_digest

from zmqim.chat.heads import Channel
from zmqim.chat.keys import Keys, probes
from zmqim.chat.operations import MessageRow
from zmqim.chat.view import RowView
from zmqim.errors import DamagedData
from zmqim.ids import HLC_COUNTER_BITS

MESSAGE_ID_EPOCH_MS = 1_704_067_200_000
"""2024-01-01 UTC."""
LOGGED_PER_MS = 1 << 10
"""Counters of logged messages: the top one of 11 bits is clear."""
_MS_SHIFT = 22
_PARTITION_SHIFT = 11
_COUNTER_MASK = (1 << _PARTITION_SHIFT) - 1
_MESSAGE = struct.Struct(">QQQ")
_DUPLICATE = struct.Struct(">QQQQ16s")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_READ_ROWS = 256


def next_message_id(last: int, hlc: int, partition: int) -> int:
    """The id after `last` of the same partition for an entry stamped `hlc`.

    41 bits of milliseconds since 2024, 11 bits of partition, 11 bits of counter; a full counter
    borrows the next millisecond, so ids only grow.
    """
    ms = max((hlc >> HLC_COUNTER_BITS) - MESSAGE_ID_EPOCH_MS, 0)
    last_ms = last >> _MS_SHIFT
    counter = 0
    if ms <= last_ms:
        ms = last_ms
        counter = (last & _COUNTER_MASK) + 1
        if counter == LOGGED_PER_MS:
            ms, counter = ms + 1, 0
    return (ms << _MS_SHIFT) | (partition << _PARTITION_SHIFT) | counter


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


class Duplicate(NamedTuple):
    """Body of a `D` row: the answer that the first send got, and for which bytes."""

    sequence: int
    message_id: int
    hlc: int
    log_index: int
    payload_hash: bytes


def identity_of(channel: Channel, sender: str, client_msg_no: str) -> bytes:
    """What makes two sends the same one, in full. `channel` is stored."""
    name = sender.encode()
    return channel.chan16 + _U32.pack(len(name)) + name + client_msg_no.encode()


class MessageRows:
    """The messages of one partition."""

    def __init__(self, keys: Keys, view: RowView) -> None:
        self._keys = keys
        self._view = view
        self._duplicate_tag = keys.duplicate_tag

    def find_duplicate(self, identity: bytes) -> tuple[bytes, Duplicate | None]:
        """The `D` row of that send if there is one, and the key where it is or would be.

        Identities are compared in full: hashes may collide.
        """
        digest = xxh3_128_digest(identity)
        key = self._duplicate_tag + digest
        body = self._view.get(key)
        if body is None:
            return key, None
        for probe in probes(digest):
            key = self._duplicate_tag + probe
            body = self._view.get(key)
            if body is None:
                return key, None
            if body[_DUPLICATE.size :] == identity:
                return key, Duplicate(*_DUPLICATE.unpack_from(body))
        raise AssertionError("probes never end")

    def put_duplicate(self, key: bytes, identity: bytes, first: Duplicate) -> None:
        """Remember the first answer under the key that `find_duplicate` gave."""
        self._view.put(key, _DUPLICATE.pack(*first) + identity)

    def put(self, channel: Channel, message_id: int, hlc: int, operation: bytes) -> None:
        """Store the message that the channel's head already counts."""
        head = channel.head
        key = self._keys.message_tag + channel.chan16 + _U64.pack(head.last_sequence)
        self._view.put(key, _MESSAGE.pack(message_id, hlc, head.red_count) + operation)

    def get(self, channel: Channel, sequence: int) -> MessageRow:
        """The message with that sequence, which exists."""
        return self._read(channel, sequence, sequence)[0]

    def run(
        self, channel: Channel, first: int, last: int, *, down: bool, bytes_max: int
    ) -> list[MessageRow]:
        """Messages `first` to `last` ascending, read upwards or `down`; it stops where `bytes_max`
        is reached, but gives at least one."""
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
            message_id, hlc, red_count = _MESSAGE.unpack_from(body)
            operation = body[_MESSAGE.size :]
            found.append(MessageRow(sequence, message_id, hlc, red_count, operation))
        if len(found) != last - first + 1:
            raise DamagedData(
                f"message {first + len(found)} of a channel is missing among its rows",
                path="state",
                hint="The rows are damaged: nothing is served from them. Restore this storage.",
            )
        return found
