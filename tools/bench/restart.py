"""How soon a storage that was killed with -9 serves again what it holds, with much in it.

Usage:
  restart.py [options]

Options:
  --messages N     Stored before the kill [default: 1000000].
  --topology NAME  The cluster [default: quickstart].
  --storage NAME   Who is killed [default: storage-1].
  --data DIR       Where the data folder is made and removed again [default: /tmp].
  -h --help        Show this.

A fresh cluster is filled by `zmqim bench`, the storage is killed, and from that moment one message
after the other is sent to a private chat in every partition until it is acknowledged. Printed is a
line of JSON: seconds until the first, the median and the last partition answered, and until
`zmqim status` finds nothing wrong.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

import aiohttp
from docopt import docopt

from zmqim.chat.channels import person_channel_id, route_key_of_channel
from zmqim.chat.operations import ChannelType
from zmqim.node.cluster import running_cluster
from zmqim.ring.partitions import partition_of

ZMQIM = (sys.executable, "-P", "-m", "zmqim.cli")
FILL_SECONDS = 30
START_SECONDS = 60.0
ANSWER_SECONDS = 120.0
PAUSE_SECONDS = 0.05


def main() -> None:
    """The command."""
    arguments = docopt(__doc__)
    with TemporaryDirectory(prefix="zmqim-restart-", dir=arguments["--data"]) as folder:
        data = Path(folder) / "data"
        log = (Path(folder) / "up.log").open("wb")
        up = subprocess.Popen(
            [*ZMQIM, "up", arguments["--topology"], "--data", str(data)], stdout=log, stderr=log
        )
        try:
            _until(lambda: _is_whole(data), START_SECONDS)
            stored = _fill(data, int(arguments["--messages"]))
            print(json.dumps({"messages": stored, **_killed(data, arguments["--storage"])}))
        finally:
            up.terminate()
            up.wait()


def _fill(data: Path, messages: int) -> int:
    stored = 0
    while stored < messages:
        told = subprocess.run(
            [*ZMQIM, "bench", f"--seconds={FILL_SECONDS}", f"--data={data}", "--json"],
            capture_output=True,
            check=True,
        )
        stored += json.loads(told.stdout)["total_acknowledged"]
        print(f"{stored:,} messages are stored", file=sys.stderr)
    return stored


def _killed(data: Path, storage: str) -> dict[str, Any]:
    cluster = running_cluster(data)
    rows = _status(data)["processes"]
    (pid,) = [row["pid"] for row in rows if row["name"] == storage]
    os.kill(pid, signal.SIGKILL)
    killed_at = monotonic()
    partitions = cluster.topology().partitions
    answers = asyncio.run(
        _answers(cluster.gateways[0]["http"], cluster.api_key(), partitions, killed_at)
    )
    _until(lambda: _is_whole(data), ANSWER_SECONDS)
    return {
        "partitions": partitions,
        "first_s": round(min(answers), 2),
        "median_s": round(median(answers), 2),
        "last_s": round(max(answers), 2),
        "whole_s": round(monotonic() - killed_at, 2),
    }


async def _answers(api: str, key: str, partitions: int, killed_at: float) -> list[float]:
    """Seconds from the kill until each partition acknowledged a message."""

    async def answered(session: aiohttp.ClientSession, partition: int) -> float:
        sender, reader = _chat_in(partition, partitions)
        message = {
            "from_uid": sender,
            "channel_id": reader,
            "channel_type": int(ChannelType.PERSON),
            "client_msg_no": f"restart-{partition}",
            "payload": base64.b64encode(b"after the kill").decode(),
        }
        while True:
            async with session.post("/message/send", json=message) as answer:
                if answer.status == 200:
                    return monotonic() - killed_at
            await asyncio.sleep(PAUSE_SECONDS)

    connector = aiohttp.TCPConnector(limit=partitions)
    async with (
        asyncio.timeout(ANSWER_SECONDS),
        aiohttp.ClientSession(api, headers={"token": key}, connector=connector) as session,
    ):
        return await asyncio.gather(*[answered(session, n) for n in range(partitions)])


def _chat_in(partition: int, partitions: int) -> tuple[str, str]:
    """Two users whose private chat lives in this partition."""
    number = 0
    while True:
        chat = person_channel_id("restart", f"restart-{number}")
        if partition_of(route_key_of_channel(ChannelType.PERSON, chat), partitions) == partition:
            return "restart", f"restart-{number}"
        number += 1


def _status(data: Path) -> Any:
    command = [*ZMQIM, "status", f"--data={data}", "--json"]
    told = subprocess.run(command, capture_output=True, check=False)
    return json.loads(told.stdout) if told.stdout else {}


def _is_whole(data: Path) -> bool:
    told = _status(data)
    rows, partitions = told.get("processes", []), told.get("partitions", [])
    return (
        bool(rows and partitions)
        and all(row["state"] == "alive" for row in rows)
        and all(row["fully_replicated"] for row in partitions)
    )


def _until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = monotonic() + seconds
    while not holds():
        if monotonic() > deadline:
            raise SystemExit(f"this did not come about within {seconds:g} s")
        sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
