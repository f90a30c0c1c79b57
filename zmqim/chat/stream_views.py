"""StreamRows as a reader sees them: beside the messages of a page, and event by event.

Lanes that are not public are their sender's alone. Someone who was removed from the channel sees a
lane only if it ended before that (promise P5).
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from zmqim.chat.channels import members_channel
from zmqim.chat.codes import ChannelType, StreamStatus
from zmqim.chat.heads import Channel
from zmqim.chat.keys import MEMBER_TAG
from zmqim.chat.queries import EventsQuery
from zmqim.chat.results import EventsPage, EventView, LaneView, MessageRow, StreamView
from zmqim.chat.rows import EventRow, LaneRow, StreamRow
from zmqim.chat.snapshots import ENDING
from zmqim.chat.state import ChatState
from zmqim.chat.stream_rows import BROKEN, PUBLIC, Stream, StreamRows, is_broken
from zmqim.limits import EVENTS_PAGE_MAX, PULL_BYTES_MAX

WITHOUT_SNAPSHOTS: Final = 1
WITH_SNAPSHOTS: Final = 2
"""What `MessagesQuery.streams` and its kin ask for; 0: no streams."""
_EVER: Final = (1 << 63) - 1


def with_streams(
    state: ChatState,
    channel: Channel,
    messages: list[MessageRow],
    uid: str,
    streams: int,
    *,
    down: bool = False,
) -> tuple[list[MessageRow], list[StreamView]]:
    """As many of the ascending messages as fit into an answer together with their streams, at least
    one, and those streams as `uid` sees them. `streams` is one of the two above; with `down` the
    last messages are kept, else the first."""
    views = _views_of(state, channel, messages, uid)
    if not views:
        return messages, []
    if streams != WITH_SNAPSHOTS:
        return messages, [_without_snapshots(view) for view in views]
    by_sequence = {view.sequence: view for view in views}
    fitting: list[MessageRow] = []
    size = 0
    for message in reversed(messages) if down else messages:
        view = by_sequence.get(message.sequence)
        size += len(message.operation) + (size_of(view) if view is not None else 0)
        if fitting and size > PULL_BYTES_MAX:
            break
        fitting.append(message)
    if down:
        fitting.reverse()
    first, last = fitting[0].sequence, fitting[-1].sequence
    return fitting, [view for view in views if first <= view.sequence <= last]


def _views_of(
    state: ChatState, channel: Channel, messages: list[MessageRow], uid: str
) -> list[StreamView]:
    streams = state.streams.rows
    found = streams.of_messages(channel, [message.sequence for message in messages])
    if not found:
        return []
    upto = _seen_upto(state, channel, uid)
    hlc = state.applied.hlc
    views = []
    for stream in found:
        lanes = [
            _lane(streams, stream, lane, hlc)
            for lane in stream.row.lanes
            if _may_see(stream.row, lane, uid) and lane.index <= upto
        ]
        view = StreamView(stream.sequence, stream.row.last, stream.row.finished, lanes)
        views.append(view)
    return views


def _lane(streams: StreamRows, stream: Stream, lane: LaneRow, hlc: int) -> LaneView:
    status, error = lane.status, lane.error
    if is_broken(lane, hlc):
        status, error = int(StreamStatus.ERROR), BROKEN
    snapshot = streams.snapshot(stream, lane)
    return LaneView(lane.event_key, status, lane.last, snapshot, lane.end_reason, error)


def _without_snapshots(view: StreamView) -> StreamView:
    """The same, but for what its lanes come to."""
    return replace(view, lanes=[replace(lane, snapshot=b"") for lane in view.lanes])


def size_of(view: StreamView) -> int:
    """Bytes of the snapshots."""
    return sum(len(lane.snapshot) for lane in view.lanes)


def events_of(state: ChatState, channel: Channel, query: EventsQuery) -> EventsPage:
    """A page of the events of one stream."""
    streams = state.streams.rows
    stream = streams.named(channel, query.client_msg_no, query.uid)
    if stream is None:
        return EventsPage([], False)
    row = stream.row
    lanes = {
        lane.event_key: lane
        for lane in row.lanes
        if query.include_private or _may_see(row, lane, query.uid)
    }
    hidden = {lane.event_key for lane in row.lanes if lane.event_key not in lanes}
    upto = _seen_upto(state, channel, query.uid)
    limit = max(1, min(query.limit, EVENTS_PAGE_MAX))
    found: list[EventView] = []
    for number, event in streams.events(stream, max(query.after, 0), row.last):
        if event.event_key in hidden or event.index > upto:
            continue
        if query.event_key not in ("", event.event_key):
            continue
        if len(found) == limit:
            return EventsPage(found, True)
        lane = lanes.get(event.event_key)
        found.append(_event(streams, stream, number, event, lane))
    return EventsPage(found, False)


def _event(
    streams: StreamRows, stream: Stream, number: int, event: EventRow, lane: LaneRow | None
) -> EventView:
    is_end = lane is not None and lane.last == number and event.event_type in ENDING
    return EventView(
        number,
        event.event_id,
        event.event_type,
        event.event_key,
        PUBLIC if lane is None else lane.visibility,
        event.occurred_at,
        event.payload,
        streams.snapshot(stream, lane) if is_end and lane is not None else b"",
    )


def _may_see(row: StreamRow, lane: LaneRow, uid: str) -> bool:
    return lane.visibility == PUBLIC or uid == row.from_uid


def _seen_upto(state: ChatState, channel: Channel, uid: str) -> int:
    """The log index of the last event that `uid` may see. Of a topic, whose members are those of
    its community, someone removed sees none, as in its history."""
    channel_type = channel.head.channel_type
    if uid and channel_type != ChannelType.PERSON:
        home = state.heads.find(*members_channel(channel_type, channel.head.channel_id))
        membership = state.sets.get(MEMBER_TAG, home, uid)
        if membership is not None and not membership.present:
            return 0 if channel_type == ChannelType.COMMUNITY_TOPIC else membership.version
    return _EVER
