"""The streams of a partition: events that are added to a stored message, such as the tokens of an
answer while a model writes it.

A message has one stream, and the stream lanes, one for each `event_key`. The events of a message
are counted from 1 over all its lanes, so that one number says how far somebody is. Each is a log
entry and a row: no death of a process takes a delta. What the events of a lane come to is its
snapshot (`zmqim.chat.snapshots`), which is written every STREAM_FOLD_EVENTS and when the lane ends;
then its events go, but for the one that ended it. Their ids stay, so that an event that comes again
still gets its first answer.

An event is judged like a message: first whether it is a repeat, then whether its sender may write
to the channel, then whether it fits its stream. A lane without an event for STREAM_SILENCE_MS_MAX
counts as broken, by the stamps of the log: the next event of its message, or the next one that
opens a stream in its channel, ends it with an error, even if it is refused itself.

What is read of streams is in `zmqim.chat.stream_views`.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest

from zmqim.chat.channels import members_channel
from zmqim.chat.codes import EventType, Reason, StreamStatus
from zmqim.chat.encoding import encode
from zmqim.chat.heads import Channel, Heads
from zmqim.chat.keys import Keys
from zmqim.chat.members import MemberSets
from zmqim.chat.messages import MessageRows
from zmqim.chat.notices import EventNotice, PushedEvent, PushedEvents
from zmqim.chat.operations import AppendEvent, SendMessage, decode_send
from zmqim.chat.permissions import judge
from zmqim.chat.results import EventAppended, EventRefused, Rejected
from zmqim.chat.rows import EventRow, LaneRow, StreamRow
from zmqim.chat.snapshots import ENDING, end_of, fault_of
from zmqim.chat.stream_rows import BROKEN, PUBLIC, Stream, StreamRows, has_open_lane, is_broken
from zmqim.chat.view import RowView
from zmqim.ids import HLC_COUNTER_BITS
from zmqim.limits import (
    OPEN_STREAMS_MAX,
    STREAM_BYTES_MAX,
    STREAM_EVENTS_MAX,
    STREAM_FOLD_EVENTS,
    STREAM_LANES_MAX,
    STREAMS_ENDED_MAX,
)

_FIRST: Final = struct.Struct(">QQB")
"""Body of a row `E i`: number, digest of what the event said, status after it."""
SEQUENCE_BYTES: Final = 8
_OPEN: Final = int(StreamStatus.OPEN)
_FINISH: Final = int(EventType.FINISH)
_STATUS_AFTER: Final[dict[int, int]] = {
    EventType.OPEN: StreamStatus.OPEN,
    EventType.DELTA: StreamStatus.OPEN,
    EventType.SNAPSHOT: StreamStatus.OPEN,
    EventType.CLOSE: StreamStatus.CLOSED,
    EventType.ERROR: StreamStatus.ERROR,
    EventType.CANCEL: StreamStatus.CANCELLED,
    EventType.FINISH: StreamStatus.CLOSED,
}
_BROKEN_PAYLOAD: Final = msgspec.json.encode({"error": BROKEN})

Appended = EventAppended | EventRefused | Rejected


class Stamp(NamedTuple):
    """Of the log entry that is applied."""

    log_index: int
    hlc: int


class Streams:
    """Applies events; holds nothing but the ways to the rows."""

    def __init__(
        self, keys: Keys, view: RowView, heads: Heads, sets: MemberSets, messages: MessageRows
    ) -> None:
        self._keys = keys
        self._view = view
        self._heads = heads
        self._sets = sets
        self._messages = messages
        self.rows = StreamRows(keys, view)

    # ---- applying --------------------------------------------------------------------------------

    def append(
        self, index: int, hlc: int, event: AppendEvent
    ) -> tuple[Appended, EventNotice | None]:
        """Apply an event: the answer, and what the channel's members are told."""
        channel = self._heads.find(event.channel_type, event.channel_id)
        stream = self._stream_of(channel, event)
        if stream is None:
            return _UNKNOWN, None
        first = self._first_answer(stream, event)
        if first is not None:
            return first, None
        reason = judge(self._heads, channel, _as_send(event), self._sets)
        if reason is not Reason.SUCCESS:
            return Rejected(reason), None
        stamp = Stamp(index, hlc)
        pushed = self._end_broken(stamp, stream)
        refused = _why_not(stream, event)
        if refused is None and _opens(stream, event):
            refused, ended = self._room_in(stamp, channel)
            pushed += ended
        answer: Appended
        if refused is not None:
            answer = refused
        else:
            answer = self._put(stamp, channel, stream, event, pushed)
        if not pushed:
            return answer, None
        body = encode(PushedEvents(event.channel_type, event.channel_id, pushed))
        audience = self._heads.find(*members_channel(event.channel_type, event.channel_id))
        version = audience.head.member_version
        return answer, EventNotice(event.channel_type, event.channel_id, version, body)

    def _stream_of(self, channel: Channel, event: AppendEvent) -> Stream | None:
        """The stream, old or new, of the message that the event names, if its sender sent it."""
        if not channel.exists:
            return None
        messages = self._messages
        if event.client_msg_no:
            key = messages.first_key(channel, event.from_uid, event.client_msg_no)
            sequence = messages.first_sequence(key)
        else:
            last = channel.head.last_sequence
            sequence = messages.place_of_id(channel, event.message_id, 1, last)
            if sequence > last:
                return None
        if sequence is None:
            return None
        place = channel.chan16 + sequence.to_bytes(SEQUENCE_BYTES, "big")
        stream = self.rows.at(place)
        if stream is None:
            message = messages.get(channel, sequence)
            send = decode_send(message.operation)
            row = StreamRow(send.client_msg_no, send.from_uid, message.message_id)
            stream = Stream(place, row)
        if event.message_id not in (0, stream.row.message_id):
            return None
        return stream if stream.row.from_uid == event.from_uid else None

    def _first_answer(self, stream: Stream, event: AppendEvent) -> Appended | None:
        body = self._view.get(self._keys.event_by_id(stream.place, event.event_id))
        if body is None:
            return None
        number, digest, status = _FIRST.unpack(body)
        if digest != _digest_of(event):
            return EventRefused(
                "event_id_conflict", "this event_id was used for another event of the message"
            )
        return EventAppended(number, status, stream.row.client_msg_no, duplicate=True)

    def _put(
        self,
        stamp: Stamp,
        channel: Channel,
        stream: Stream,
        event: AppendEvent,
        pushed: list[PushedEvent],
    ) -> EventAppended:
        """The event is part of its stream from here on; a finish ends what is open before it."""
        row, place = stream.row, stream.place
        if not row.last:
            name = self._keys.named_stream(channel.chan16, row.client_msg_no, row.from_uid)
            self._view.put(name, place[-SEQUENCE_BYTES:])
        if event.event_type == _FINISH:
            for lane in [lane for lane in row.lanes if lane.status == _OPEN]:
                payload = event.payload if lane.event_key == event.event_key else b""
                close = _own(row, lane, EventType.CLOSE, payload)
                pushed.append(self._add(stamp, stream, close))
            row.finished = True
        row.size += _size_of(event)
        added = self._add(stamp, stream, event)
        pushed.append(added)
        self.rows.store(stream)
        first = _FIRST.pack(added.sequence, _digest_of(event), added.status)
        self._view.put(self._keys.event_by_id(place, event.event_id), first)
        return EventAppended(added.sequence, added.status, row.client_msg_no)

    def _add(self, stamp: Stamp, stream: Stream, event: AppendEvent) -> PushedEvent:
        """Number the event, let it act on its lane, and store it; the stream is stored later."""
        row = stream.row
        row.last += 1
        occurred_at = event.occurred_at or stamp.hlc >> HLC_COUNTER_BITS
        index = stamp.log_index
        stored = EventRow(
            event.event_id,
            event.event_type,
            event.event_key,
            occurred_at,
            event.payload,
            index,
        )
        self._view.put(self._keys.event(stream.place, row.last), encode(stored))
        status = _STATUS_AFTER[event.event_type]
        lane = stream.lane(event.event_key)
        if event.event_type != _FINISH:
            if lane is None:
                lane = LaneRow(event.event_key, event.visibility or PUBLIC, _OPEN)
                row.lanes.append(lane)
            lane.status = status
            lane.last, lane.hlc, lane.index = row.last, stamp.hlc, index
            if status != _OPEN:
                self._end(stream, lane, event.payload)
            elif row.last - lane.folded >= STREAM_FOLD_EVENTS:
                self.rows.fold(stream, lane)
        visibility = PUBLIC if lane is None else lane.visibility
        return PushedEvent(
            row.message_id,
            row.client_msg_no,
            row.from_uid,
            event.event_id,
            event.event_type,
            event.event_key,
            row.last,
            status,
            visibility,
            occurred_at,
            event.payload,
            "" if visibility == PUBLIC else row.from_uid,
        )

    def _end(self, stream: Stream, lane: LaneRow, payload: bytes) -> None:
        """The last event ended the lane: its snapshot stays, its other events go."""
        lane.end_reason, lane.error = end_of(payload)
        self.rows.fold(stream, lane)
        for number, stored in self.rows.events(stream, 0, lane.last - 1):
            if stored.event_key == lane.event_key and stored.event_type not in ENDING:
                self._view.delete(self._keys.event(stream.place, number))

    # ---- streams that were left open -------------------------------------------------------------

    def _room_in(
        self, stamp: Stamp, channel: Channel
    ) -> tuple[EventRefused | None, list[PushedEvent]]:
        """May one more stream of the channel be open? Broken ones are ended first."""
        start, stop = self._keys.open_streams(channel.chan16)
        pushed: list[PushedEvent] = []
        count = ended = 0
        for key, _ in self._view.scan(start, stop, limit=OPEN_STREAMS_MAX):
            other = self.rows.at(self._keys.place_of_stream(key))
            assert other is not None, "a row `E o` without its stream"
            if ended < STREAMS_ENDED_MAX:
                told = self._end_broken(stamp, other)
                ended += bool(told)
                pushed += told
            count += has_open_lane(other.row)
        if count < OPEN_STREAMS_MAX:
            return None, pushed
        text = f"{OPEN_STREAMS_MAX} messages of the channel have open streams: end one first"
        return EventRefused("too_many_streams", text), pushed

    def _end_broken(self, stamp: Stamp, stream: Stream) -> list[PushedEvent]:
        """End the lanes that were silent for too long, with an event of our own each."""
        row = stream.row
        pushed = [
            self._add(stamp, stream, _own(row, lane, EventType.ERROR, _BROKEN_PAYLOAD))
            for lane in row.lanes
            if is_broken(lane, stamp.hlc)
        ]
        if pushed:
            self.rows.store(stream)
        return pushed


def _opens(stream: Stream, event: AppendEvent) -> bool:
    return not has_open_lane(stream.row) and _STATUS_AFTER[event.event_type] == _OPEN


def _why_not(stream: Stream, event: AppendEvent) -> EventRefused | None:
    """Why the event cannot be part of its stream."""
    row, lane = stream.row, stream.lane(event.event_key)
    if event.event_type not in _STATUS_AFTER:
        return EventRefused("bad_event", f"there is no event type {event.event_type}")
    if row.finished:
        return EventRefused("stream_closed", "the stream of this message is finished")
    if lane is not None and lane.status != _OPEN and event.event_type != EventType.FINISH:
        why = f": {lane.error}" if lane.error else ""
        return EventRefused("stream_closed", f"the stream {event.event_key!r} is closed{why}")
    if lane is not None and event.visibility not in ("", lane.visibility):
        return EventRefused(
            "bad_event", f"the stream {event.event_key!r} is {lane.visibility} from its first event"
        )
    fault = fault_of(event.event_type, event.payload)
    if fault:
        return EventRefused("bad_payload", fault)
    if event.event_type != EventType.FINISH and lane is None and len(row.lanes) >= STREAM_LANES_MAX:
        return EventRefused("stream_full", f"a message has at most {STREAM_LANES_MAX} event keys")
    if event.event_type in ENDING:
        return None
    if row.last >= STREAM_EVENTS_MAX or row.size + _size_of(event) > STREAM_BYTES_MAX:
        text = f"at most {STREAM_EVENTS_MAX} events and {STREAM_BYTES_MAX} bytes a message: end it"
        return EventRefused("stream_full", text)
    return None


def _size_of(event: AppendEvent) -> int:
    return len(event.payload) + len(event.event_id.encode())


def _digest_of(event: AppendEvent) -> int:
    """Of what an event with the same id has to say again."""
    said = encode((event.event_type, event.event_key, event.visibility, event.payload))
    return xxh3_64_intdigest(said)


def _as_send(event: AppendEvent) -> SendMessage:
    """The message that may be sent where this event may be added."""
    return SendMessage(
        event.channel_type, event.channel_id, event.from_uid, "", b"", privileged=event.privileged
    )


def _own(row: StreamRow, lane: LaneRow, event_type: int, payload: bytes) -> AppendEvent:
    """An event that ends a lane as if its sender had said it. Ids of ours are never looked up."""
    return AppendEvent(
        0,
        "",
        row.from_uid,
        row.client_msg_no,
        row.message_id,
        f"zmqim-{row.last + 1}",
        event_type,
        lane.event_key,
        payload,
    )


_UNKNOWN: Final = EventRefused(
    "message_not_found", "the channel has no such message of this sender"
)
