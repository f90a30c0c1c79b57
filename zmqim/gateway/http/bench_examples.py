"""Examples of the calls of /bench/v1, for `zmqim.gateway.http.examples`."""

from __future__ import annotations

from typing import Final

from zmqim.gateway.http.conversation_examples import Parts
from zmqim.limits import BENCH_ITEMS_MAX, HTTP_BODY_BYTES_MAX

_RUN: Final = {"run_id": "run-1", "batch_id": "run-1-part-0"}
_GROUP: Final = {"channel_id": "run-1-group-0", "channel_type": 2}
_ANSWER: Final = {**_RUN, "accepted": 1}

BENCH_EXAMPLES: Final[dict[str, Parts]] = {
    "GET /bench/v1/capabilities": (
        None,
        {
            "supports": {
                "users_tokens_batch": True,
                "channels_batch": True,
                "channel_subscribers_batch": True,
                "channel_subscriber_removals_batch": True,
                "snapshot": True,
                "presence_snapshot": False,
                "channel_runtime_snapshot": False,
                "channel_runtime_probe": False,
                "channel_runtime_evict": False,
                "channel_runtime_faults": False,
                "channel_runtime_activate": False,
                "terminal_fence_prepare": False,
                "channel_types": ["person", "group"],
            },
            "limits": {
                "max_batch_size": BENCH_ITEMS_MAX,
                "max_payload_bytes": HTTP_BODY_BYTES_MAX,
            },
            "enabled": True,
            "version": "bench/v1",
        },
        "What there is of bench/v1.",
    ),
    "GET /bench/v1/capacity-target": (
        None,
        {
            "gateway": {
                "tcp_addr": "chat.example.com:5100",
                "ws_addr": "ws://chat.example.com:5200",
                "wss_addr": "",
            },
            "version": "bench/v1",
        },
        "Where to connect.",
    ),
    "GET /bench/v1/snapshot": (
        None,
        {
            "counts": {"sessions": 2, "sends": 3, "sends_acknowledged": 3, "pushed": 5},
            "version": "bench/v1",
        },
        "What this gateway has counted.",
    ),
    "POST /bench/v1/users/tokens": (
        {**_RUN, "users": [{"uid": "run-1-0", "token": "a long random text"}]},
        _ANSWER,
        "All tokens are stored.",
    ),
    "POST /bench/v1/channels": ({**_RUN, "channels": [_GROUP]}, _ANSWER, "All channels are there."),
    "POST /bench/v1/channels/subscribers": (
        {**_RUN, "items": [{**_GROUP, "subscribers": ["run-1-0", "run-1-1"]}]},
        _ANSWER,
        "All of them are members.",
    ),
    "POST /bench/v1/channels/subscribers/remove": (
        {**_RUN, "items": [{**_GROUP, "subscribers": ["run-1-1"]}]},
        _ANSWER,
        "None of them is a member.",
    ),
}
