"""The bot of the README works as it stands there."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from http_calls import Api
from running_cluster import RunningCluster, wait_for

from zmqim.client import Client

README = Path(__file__).parents[2] / "README.md"


def bot_source() -> str:
    found = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found
    return found.group(1)


def test_the_bot_is_short() -> None:
    code = [line for line in bot_source().splitlines() if line.strip()]
    assert len(code) <= 15


def test_the_bot_answers(cluster: RunningCluster, tmp_path: Path) -> None:
    api = Api(cluster.http, cluster.api_key)
    for uid in ("echo", "alice"):
        assert api.call("POST", "/user/token", {"uid": uid, "token": f"{uid}-token"})[0] == 200
    path = tmp_path / "bot.py"
    path.write_text(bot_source().replace("127.0.0.1:5100", cluster.tcp))
    with subprocess.Popen(
        [sys.executable, str(path), "echo-token"], stdout=subprocess.PIPE, text=True
    ) as bot:
        try:
            wait_for(lambda: _is_online(api), 20, "the bot is online")
            assert asyncio.run(_answer(cluster)) == "you said: hello"
            assert bot.stdout is not None
            assert bot.stdout.readline() == "answered alice with message 2\n"
        finally:
            bot.terminate()


def _is_online(api: Api) -> bool:
    status, answer = api.call("POST", "/user/onlinestatus", ["echo"])
    assert status == 200
    return isinstance(answer, list)  # nobody online: {"status": 200}


async def _answer(cluster: RunningCluster) -> str:
    async with asyncio.timeout(20), Client(cluster.tcp, "alice", "alice-token") as alice:
        await alice.send("echo", "hello")
        return (await anext(alice)).text
