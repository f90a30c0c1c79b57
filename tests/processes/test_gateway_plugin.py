"""The plug-in of docs/GATEWAYS.md, installed as anybody would, serves clients."""

from __future__ import annotations

import json
import os
import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from running_cluster import RunningCluster, topology_text

from tools.ports import free_port

PAGE = Path(__file__).parents[2] / "docs" / "GATEWAYS.md"
ClusterMaker = Callable[..., RunningCluster]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's example as an installed distribution."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    folder = tmp_path / "site"
    info = folder / "linechat-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "linechat.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: linechat\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[zmqim.gateways]\nlines = linechat:LineListener\n")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.fixture
def address(plugin: None, new_cluster: ClusterMaker) -> tuple[RunningCluster, int]:
    port = free_port()
    text = topology_text().replace("listeners = [", f'listeners = ["lines://127.0.0.1:{port}", ')
    return new_cluster(text).up(), port


class Lines:
    """Somebody with netcat."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file: IO[str] = self._socket.makefile("rw", encoding="utf-8", newline="\n")

    def say(self, line: str) -> str:
        self._file.write(line + "\n")
        self._file.flush()
        return self.hear()

    def hear(self) -> str:
        return self._file.readline().rstrip("\n")

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def set_token(cluster: RunningCluster, uid: str) -> None:
    body = json.dumps({"uid": uid, "token": f"token-{uid}", "device_flag": 0, "device_level": 0})
    headers = {"token": cluster.api_key, "content-type": "application/json"}
    request = urllib.request.Request(f"{cluster.http}/user/token", body.encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def test_two_people_chat_through_the_plugin_of_the_documentation(
    address: tuple[RunningCluster, int],
) -> None:
    cluster, port = address
    for uid in ("ada", "bob"):
        set_token(cluster, uid)
    ada, bob, eve = Lines(port), Lines(port), Lines(port)
    try:
        assert eve.say("LOGIN ada wrong") == "refused: 2"
        assert eve.hear() == ""
        assert ada.say("LOGIN ada token-ada") == "welcome"
        assert bob.say("LOGIN bob token-bob") == "welcome"
        assert ada.say("SAY bob good morning") == "sent as 1"
        assert bob.hear() == "ada: good morning"
        assert bob.say("SAY ada and to you") == "sent as 2"
        assert ada.hear() == "bob: and to you"
        assert ada.say("what?") == "LOGIN uid token, or SAY uid words"
        cluster.down()
        assert ada.hear() == ""
    finally:
        for one in (ada, bob, eve):
            one.close()
