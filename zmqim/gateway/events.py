"""Events of streams on their way out: EVENT packets, for those sessions that can read them.

There is no RECVACK of an EVENT and no repeat for want of one, and a session that is LAGGING, takes
nothing, or is about to pull messages of that channel gets none. It may come twice where another
router takes over what one had under way. The numbers of a message's events show a client what it
has and what it missed, and /message/eventsync gives it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from zmqim.chat.channels import peer_of
from zmqim.chat.codes import ChannelType, EventType, StreamStatus
from zmqim.chat.notices import PushedEvent, PushedEvents
from zmqim.gateway.counters import Counters
from zmqim.gateway.sessions import OPEN, Sessions
from zmqim.wkproto.packets import Event

TYPE_NAMES: Final[dict[int, str]] = {one: f"stream.{one.name.lower()}" for one in EventType}
"""Of an `EventType`, on every wire."""
STATUS_NAMES: Final[dict[int, str]] = {one: one.name.lower() for one in StreamStatus}
_PERSON: Final = int(ChannelType.PERSON)
_encode: Final = msgspec.json.Encoder().encode


class EventData(msgspec.Struct, frozen=True):
    """The JSON in an EVENT (WuKongIM v2.2); `message_idstr` is ours, for JavaScript."""

    client_msg_no: str
    channel_id: str
    channel_type: int
    from_uid: str
    message_id: int
    message_idstr: str
    event_key: str
    msg_event_seq: int
    stream_status: str
    visibility: str
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Events:
    """Tells sessions of events."""

    def __init__(self, sessions: Sessions, counters: Counters) -> None:
        self._sessions = sessions
        self._counters = counters

    def push(self, pushed: PushedEvents, audience: Iterable[int]) -> None:
        """Events of one channel for these sessions, in order."""
        by_number = self._sessions.by_number
        made: dict[tuple[int, str], Event] = {}
        key = (pushed.channel_type, pushed.channel_id, False)
        for number in audience:
            session = by_number.get(number)
            if session is None or session.phase is not OPEN:
                continue
            is_behind = session.lagging or not session.writable or key in session.behind
            if is_behind or not session.takes_events:
                self._counters.count("events_dropped")
                continue
            shown = pushed.channel_id
            if pushed.channel_type == _PERSON:
                shown = peer_of(shown, session.uid)
            for place, event in enumerate(pushed.events):
                if event.only not in ("", session.uid):
                    continue
                packet = made.get((place, shown))
                if packet is None:
                    packet = made[place, shown] = _packet(event, shown, pushed.channel_type)
                self._counters.count("events_pushed")
                self._sessions.tell(session, packet)


def _packet(event: PushedEvent, channel_id: str, channel_type: int) -> Event:
    data = EventData(
        event.client_msg_no,
        channel_id,
        channel_type,
        event.from_uid,
        event.message_id,
        str(event.message_id),
        event.event_key,
        event.sequence,
        STATUS_NAMES[event.status],
        event.visibility,
        msgspec.Raw(event.payload) if event.payload else msgspec.UNSET,
    )
    return Event(event.event_id, TYPE_NAMES[event.event_type], event.occurred_at, _encode(data))
