"""The rows of streams, and how they are read (`zmqim.chat.streams` says what they mean)."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from zmqim.chat.codes import StreamStatus
from zmqim.chat.encoding import encode
from zmqim.chat.heads import Channel
from zmqim.chat.keys import Keys
from zmqim.chat.rows import EventRow, LaneRow, StreamRow
from zmqim.chat.snapshots import grown
from zmqim.chat.view import RowView
from zmqim.ids import HLC_COUNTER_BITS
from zmqim.limits import STREAM_SILENCE_MS_MAX

PUBLIC: Final = "public"
BROKEN: Final = f"no event for {STREAM_SILENCE_MS_MAX // 60_000} minutes"
"""The error of a lane that was left open."""
_SILENCE_HLC: Final = STREAM_SILENCE_MS_MAX << HLC_COUNTER_BITS
_OPEN: Final = int(StreamStatus.OPEN)
_U64: Final = struct.Struct(">Q")
_decode_stream: Final = msgspec.msgpack.Decoder(StreamRow).decode
_decode_event: Final = msgspec.msgpack.Decoder(EventRow).decode


class Stream:
    """A stream with its place among the rows: chan16 and sequence of its message."""

    __slots__ = ("place", "row")

    def __init__(self, place: bytes, row: StreamRow) -> None:
        self.place = place
        self.row = row

    @property
    def sequence(self) -> int:
        """Of the message."""
        return int.from_bytes(self.place[-_U64.size :], "big")

    def lane(self, event_key: str) -> LaneRow | None:
        """The lane of that key, if it has events."""
        return next((lane for lane in self.row.lanes if lane.event_key == event_key), None)


class StreamRows:
    """The streams of one partition."""

    def __init__(self, keys: Keys, view: RowView) -> None:
        self._keys = keys
        self._view = view

    def at(self, place: bytes) -> Stream | None:
        """The stream of the message at `place`."""
        body = self._view.get(self._keys.stream(place))
        return None if body is None else Stream(place, _decode_stream(body))

    def of_messages(self, channel: Channel, sequences: list[int]) -> list[Stream]:
        """The streams of the messages with these ascending sequences."""
        if not channel.exists or not sequences:
            return []
        first, last = sequences[0], sequences[-1]
        if last - first >= len(sequences):
            places = [channel.chan16 + _U64.pack(sequence) for sequence in sequences]
            return [stream for place in places if (stream := self.at(place)) is not None]
        rows = self._view.scan(*self._keys.streams(channel.chan16, first, last))
        return [Stream(self._keys.place_of_stream(key), _decode_stream(body)) for key, body in rows]

    def named(self, channel: Channel, client_msg_no: str, uid: str) -> Stream | None:
        """The stream of the message that was sent under that number: by `uid`, else by anyone."""
        if not channel.exists:
            return None
        own = self._view.get(self._keys.named_stream(channel.chan16, client_msg_no, uid))
        if own is None:
            start, stop = self._keys.named_streams(channel.chan16, client_msg_no)
            own = next((body for _, body in self._view.scan(start, stop, limit=1)), None)
        return None if own is None else self.at(channel.chan16 + own)

    def events(self, stream: Stream, after: int, upto: int) -> list[tuple[int, EventRow]]:
        """The events that are still there, above `after` up to `upto`, by number."""
        start = self._keys.event(stream.place, after + 1)
        stop = self._keys.event(stream.place, upto + 1)
        rows = self._view.scan(start, stop)
        return [(*_U64.unpack_from(key, len(key) - 8), _decode_event(body)) for key, body in rows]

    def snapshot(self, stream: Stream, lane: LaneRow) -> bytes:
        """What the events of the lane come to, as JSON text; b"" if they say nothing."""
        key = self._keys.lane_snapshot(stream.place, lane.event_key)
        stored = self._view.get(key) or b""
        if lane.folded >= lane.last:
            return stored
        return grown(
            stored,
            (
                (event.event_type, event.payload)
                for _, event in self.events(stream, lane.folded, lane.last)
                if event.event_key == lane.event_key
            ),
        )

    def fold(self, stream: Stream, lane: LaneRow) -> None:
        """Write the snapshot of the lane as of the last event."""
        snapshot = self.snapshot(stream, lane)
        if snapshot:
            key = self._keys.lane_snapshot(stream.place, lane.event_key)
            self._view.put(key, snapshot)
        lane.folded = stream.row.last

    def store(self, stream: Stream) -> None:
        """Write the stream, and whether it is open."""
        self._view.put(self._keys.stream(stream.place), encode(stream.row))
        key = self._keys.open_stream(stream.place)
        is_open = self._view.get(key) is not None
        if has_open_lane(stream.row) != is_open:
            if is_open:
                self._view.delete(key)
            else:
                self._view.put(key, b"")


def is_broken(lane: LaneRow, hlc: int) -> bool:
    """Is the lane open, and was it silent for too long at `hlc`?"""
    return lane.status == _OPEN and hlc - lane.hlc > _SILENCE_HLC


def has_open_lane(row: StreamRow) -> bool:
    """Does anything of the stream go on?"""
    return any(lane.status == _OPEN for lane in row.lanes)
