"""Requests and answers of the calls about message events (WuKongIM v2.2)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from zmqim.gateway.http.shapes import Flag, OptionalText, SequenceNumber, Text, TypeNumber


class EventRequest(Struct):
    """POST /message/event. The message is named by client_msg_no or by message_id, or by both;
    from_uid is its sender, empty for the system."""

    channel_id: Text
    channel_type: TypeNumber
    event_id: Text
    event_type: Literal[
        "stream.open",
        "stream.delta",
        "stream.snapshot",
        "stream.close",
        "stream.error",
        "stream.cancel",
        "stream.finish",
    ]
    from_uid: OptionalText = ""
    client_msg_no: OptionalText = ""
    message_id: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    event_key: OptionalText = "main"
    visibility: Literal["", "public", "private", "restricted"] = ""
    occurred_at: Annotated[int, Meta(ge=0, le=2**53)] = 0
    payload: dict[str, Any] | None = None
    headers: dict[str, Any] | None = None


class EventDone(Struct):
    """The event is committed."""

    client_msg_no: str
    event_key: str
    event_id: str
    msg_event_seq: int
    stream_status: str
    channel_id: str
    channel_type: int
    from_uid: str


class EventAnswer(Struct):
    """Answer of /message/event"""

    data: EventDone
    status: int = 200


class EventSyncRequest(Struct):
    """POST /message/eventsync; event_key "" means all, a limit above 2000 is 2000"""

    channel_id: Text
    channel_type: TypeNumber
    client_msg_no: Text
    from_uid: OptionalText = ""
    event_key: OptionalText = ""
    from_msg_event_seq: SequenceNumber = 0
    limit: Annotated[int, Meta(ge=0)] = 200
    include_private: Flag = False


class SyncedEvent(Struct):
    """One event. The payload of one that ended its lane says with `snapshot` what the lane came
    to."""

    msg_event_seq: int
    event_id: str
    event_key: str
    event_type: str
    visibility: str
    occurred_at: int
    payload: dict[str, Any] | None


class EventSyncData(Struct):
    """A page of events, ascending; next_msg_event_seq is where the next one begins."""

    client_msg_no: str
    from_msg_event_seq: int
    next_msg_event_seq: int
    more: int
    events: list[SyncedEvent]
    filtered_by_event_key: str


class EventSyncAnswer(Struct):
    """Answer of /message/eventsync"""

    data: EventSyncData
    status: int = 200
