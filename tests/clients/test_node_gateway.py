"""A gateway written in another language joins a running cluster after docs/PROTOCOL.md alone."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Api
from running_cluster import RunningCluster

from zmqim.topology import load

HERE = Path(__file__).parent
DEADLINE_S = 20.0

pytestmark = [
    pytest.mark.needs_node,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
    pytest.mark.skipif(
        not (HERE / "node_modules" / "zeromq").is_dir(), reason="npm ci in tests/clients is missing"
    ),
]


class NodeGateway:
    """The Node process, and what it prints."""

    def __init__(self, cluster: RunningCluster) -> None:
        topology = load(cluster.topology)
        script = str(HERE / "node_gateway.mjs")
        address = topology.routers[0].address
        self.process = subprocess.Popen(
            ["node", script, address, topology.cluster_id.hex(), "nora", "olaf"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.seen: list[dict[str, Any]] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def until(self, event: str, **fields: object) -> dict[str, Any]:
        """The first event with these fields, in all that was printed."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            for one in self.seen:
                if one["event"] == event and all(one.get(k) == v for k, v in fields.items()):
                    return one
            assert time.monotonic() < deadline, f"no {event} {fields}: {self.seen}"
            try:
                self.seen.append(json.loads(self._lines.get(timeout=0.1)))
            except queue.Empty:
                assert self.process.poll() is None, f"it ended: {self.seen}"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def node(cluster: RunningCluster) -> Iterator[NodeGateway]:
    gateway = NodeGateway(cluster)
    yield gateway
    gateway.close()


@pytest.mark.promise("P4")
def test_a_node_gateway_logs_in_sends_and_receives(
    cluster: RunningCluster, node: NodeGateway
) -> None:
    assert node.until("welcome")["name"] == "router-1"
    assert node.until("vouched")["partitions"], "the router asks for its sessions, and gets them"
    node.until("login", uid="nora")
    node.until("login", uid="olaf")
    answer = node.until("answer", request=100)
    assert answer["code"] == 0
    tag, sequence, message_id, *_ = answer["result"]
    assert (tag, sequence) == (1, 1)
    delivered = node.until("deliver", payload="hello from Node")
    assert delivered["from"] == "nora"
    assert delivered["to"] == ["olaf"]
    assert (delivered["sequence"], delivered["id"]) == (1, message_id)


def test_a_message_over_http_reaches_a_session_of_the_node_gateway(
    cluster: RunningCluster, node: NodeGateway
) -> None:
    node.until("login", uid="olaf")
    api = Api(cluster.http, cluster.api_key)
    body = {"from_uid": "backend", "channel_id": "olaf", "channel_type": 1, "payload": "aGVsbG8="}
    status, answer = api.call("POST", "/message/send", body)
    assert status == 200, answer
    delivered = node.until("deliver", payload="hello")
    assert delivered["to"] == ["olaf"]
