"""The conversation on docs/JSONRPC.md, played against a real cluster."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from http_calls import Api
from raw_client import WEB
from websockets.sync.client import connect

PAGE = Path(__file__).parents[2] / "docs" / "JSONRPC.md"
DEADLINE_SECONDS = 10.0
DRAWN = ("messageId", "message_id", "timestamp", "timeDiff", "time_diff", "nodeId", "node_id")
"""Members whose values are others each time."""


def lines_of_the_page() -> list[tuple[str, Any]]:
    """(who, message) of every line in the page's conversation."""
    blocks = PAGE.read_text().split("```chat\n")[1:]
    lines = [line for block in blocks for line in block.partition("```")[0].splitlines()]
    return [(who, json.loads(text)) for who, _, text in (line.partition(" ") for line in lines)]


def without_drawn(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: type(inner) if name in DRAWN else without_drawn(inner)
            for name, inner in value.items()
        }
    return value


def make_happen(api: Api, told: dict[str, Any]) -> None:
    """What makes the server tell this notification."""
    params = told["params"]
    if told["method"] == "recv":
        api.done(
            "/message/send",
            from_uid=params["fromUid"],
            channel_id="alice",
            channel_type=1,
            client_msg_no=params["clientMsgNo"],
            header={"red_dot": 1},
            payload=base64.b64encode(json.dumps(params["payload"]).encode()).decode(),
        )
    else:
        api.done("/user/device_quit", uid="alice", device_flag=WEB)


def test_the_conversation_on_the_page_is_what_happens(cluster: Any) -> None:
    api = Api(cluster.http, cluster.api_key)
    api.done("/user/token", uid="alice", token="a-secret", device_flag=WEB, device_level=0)
    lines = lines_of_the_page()
    assert len(lines) > 10
    with connect(cluster.ws, compression=None) as socket:
        for who, message in lines:
            if who == "C":
                socket.send(json.dumps(message))
                continue
            if "method" in message:
                make_happen(api, message)
            answer = json.loads(socket.recv(DEADLINE_SECONDS))
            assert without_drawn(answer) == without_drawn(message)
