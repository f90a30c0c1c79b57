"""Calls about the events of a stored message: an answer that is streamed, and what a client missed.

Each event is committed before it is answered and before it is pushed (docs/STREAMS.md).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Router, post

from zmqim import limits
from zmqim.chat.channels import SYSTEM_UID, route_key_of_channel
from zmqim.chat.operations import AppendEvent
from zmqim.chat.queries import EventsQuery
from zmqim.chat.results import EventAppended, EventRefused, EventsPage, EventView, Rejected
from zmqim.gateway.events import STATUS_NAMES, TYPE_NAMES
from zmqim.gateway.http.asking import channel_of
from zmqim.gateway.http.event_shapes import (
    EventAnswer,
    EventDone,
    EventRequest,
    EventSyncAnswer,
    EventSyncData,
    EventSyncRequest,
    SyncedEvent,
)
from zmqim.gateway.http.given import Given, GivenPort
from zmqim.gateway.http.messages import sender_of
from zmqim.gateway.http.problems import Problem, bad_request, refused
from zmqim.gateway.http.stored import MAIN_KEY

_TYPES: Final = {name: number for number, name in TYPE_NAMES.items()}
_HINTS: Final = {
    "message_not_found": "send the message first; from_uid is its sender",
    "stream_closed": "use another event_key, or send another message",
    "stream_full": "end it with stream.close, which is always taken",
    "too_many_streams": "a stream that is silent for 30 minutes makes room",
    "event_id_conflict": "use a new event_id for a new event",
    "bad_payload": "see docs/STREAMS.md",
}
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode


@post("/message/event", status_code=200)
async def append_event(data: EventRequest, asking: Given, port: GivenPort) -> EventAnswer:
    """Add an event to the stream of a stored message: answered when it is committed, pushed to the
    channel's online members. The same event_id again gets the first answer."""
    event = _operation_of(data, port.system_uids)
    key = route_key_of_channel(event.channel_type, event.channel_id)
    result = await asking.append(key, event)
    if isinstance(result, Rejected):
        raise refused(result.reason, result.text)
    if isinstance(result, EventRefused):
        raise Problem(400, result.code, result.text, hint=_HINTS.get(result.code, ""))
    assert isinstance(result, EventAppended)
    return EventAnswer(
        EventDone(
            result.client_msg_no,
            event.event_key,
            event.event_id,
            result.sequence,
            STATUS_NAMES[result.status],
            data.channel_id,
            data.channel_type,
            data.from_uid,
        )
    )


def _operation_of(data: EventRequest, system_uids: frozenset[str]) -> AppendEvent:
    """The operation that a valid request asks for; `Problem` for any other."""
    if not data.client_msg_no and not data.message_id:
        raise bad_request("client_msg_no or message_id is missing")
    if data.headers:
        raise bad_request("headers are not served", "put what clients need into the payload")
    sender = sender_of(data.from_uid)
    payload = b"" if data.payload is None else _encode(data.payload)
    if len(payload) > limits.PAYLOAD_BYTES_MAX:
        raise bad_request(f"payload is above {limits.PAYLOAD_BYTES_MAX} bytes", "send it in pieces")
    return AppendEvent(
        data.channel_type,
        channel_of(data.channel_type, data.channel_id, sender),
        sender,
        data.client_msg_no,
        data.message_id,
        data.event_id,
        _TYPES[data.event_type],
        data.event_key or MAIN_KEY,
        payload,
        data.visibility,
        data.occurred_at,
        sender in system_uids,
    )


@post("/message/eventsync", status_code=200)
async def sync_events(data: EventSyncRequest, asking: Given) -> EventSyncAnswer:
    """The events of a message above from_msg_event_seq, as from_uid may see them. Those of a part
    that ended are gone, but for the one that ended it, which has the snapshot."""
    channel_id = channel_of(data.channel_type, data.channel_id, data.from_uid or SYSTEM_UID)
    query = EventsQuery(
        data.channel_type,
        channel_id,
        data.from_uid,
        data.client_msg_no,
        data.event_key,
        data.from_msg_event_seq,
        data.limit or 200,
        bool(data.include_private),
    )
    key = route_key_of_channel(data.channel_type, channel_id)
    page = await asking.read(key, query, EventsPage)
    events = [_shown(event) for event in page.events]
    return EventSyncAnswer(
        EventSyncData(
            data.client_msg_no,
            data.from_msg_event_seq,
            events[-1].msg_event_seq if events else data.from_msg_event_seq,
            int(page.more),
            events,
            data.event_key,
        )
    )


def event_router() -> Router:
    """All calls of this module."""
    return Router(path="/", route_handlers=[append_event, sync_events], tags=["messages"])


def _shown(event: EventView) -> SyncedEvent:
    payload = _decode_object(event.payload) if event.payload else None
    if event.snapshot:
        payload = {**(payload or {}), "snapshot": _decode_object(event.snapshot)}
    return SyncedEvent(
        event.sequence,
        event.event_id,
        event.event_key,
        TYPE_NAMES[event.event_type],
        event.visibility,
        event.occurred_at,
        payload,
    )
