"""Examples of the calls about events, for `zmqim.gateway.http.examples`."""

from __future__ import annotations

from typing import Final

from zmqim.gateway.http.conversation_examples import Parts

_TEAM: Final = {"channel_id": "team", "channel_type": 2}
_OF_ADA: Final = {**_TEAM, "from_uid": "ada", "client_msg_no": "n-1"}
_DELTA: Final = {"kind": "text", "delta": "Hello"}

EVENT_EXAMPLES: Final[dict[str, Parts]] = {
    "POST /message/event": (
        {**_OF_ADA, "event_id": "e-1", "event_type": "stream.delta", "payload": _DELTA},
        {
            "data": {
                **_OF_ADA,
                "event_key": "main",
                "event_id": "e-1",
                "msg_event_seq": 1,
                "stream_status": "open",
            },
            "status": 200,
        },
        "The event is committed.",
    ),
    "POST /message/eventsync": (
        {**_OF_ADA, "from_msg_event_seq": 0},
        {
            "data": {
                "client_msg_no": "n-1",
                "from_msg_event_seq": 0,
                "next_msg_event_seq": 1,
                "more": 0,
                "events": [
                    {
                        "msg_event_seq": 1,
                        "event_id": "e-1",
                        "event_key": "main",
                        "event_type": "stream.delta",
                        "visibility": "public",
                        "occurred_at": 0,
                        "payload": _DELTA,
                    }
                ],
                "filtered_by_event_key": "",
            },
            "status": 200,
        },
        "What is above from_msg_event_seq, ascending.",
    ),
}
