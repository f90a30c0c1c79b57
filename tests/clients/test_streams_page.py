"""The example of docs/STREAMS.md works as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from http_calls import Api
from raw_client import RawClient
from running_cluster import RunningCluster

from zmqim.wkproto.packets import Event, Recv

PAGE = Path(__file__).parents[2] / "docs" / "STREAMS.md"
ANSWER = "An answer that grows."


def source_of_the_page() -> str:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return found.group(1)


def test_the_example_streams_an_answer(cluster: RunningCluster, tmp_path: Path) -> None:
    api = Api(cluster.http, cluster.api_key)
    path = tmp_path / "answer.py"
    source = source_of_the_page()
    assert "http://127.0.0.1:5001" in source
    path.write_text(source.replace("http://127.0.0.1:5001", cluster.http))
    with RawClient.login(cluster, api, "alice") as alice:
        subprocess.run([sys.executable, str(path), cluster.api_key], check=True, timeout=30)
        number = alice.expect(Recv).client_msg_no
        events = [alice.expect(Event) for _ in range(5)]
    kinds = [event.event_type for event in events]
    assert kinds == ["stream.delta"] * 4 + ["stream.close"]
    data = [json.loads(event.data) for event in events]
    assert "".join(one["payload"]["delta"] for one in data[:4]) == ANSWER
    assert data[0]["channel_id"] == "bot"
    (message,) = api.done(
        "/channel/messagesync", login_uid="alice", channel_id="bot", channel_type=1
    )["messages"]
    assert message["client_msg_no"] == number
    (lane,) = message["event_meta"]["events"]
    assert (lane["status"], lane["snapshot"]) == ("closed", {"kind": "text", "text": ANSWER})
