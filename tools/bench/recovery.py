"""How a cluster with much in it recovers.

Usage:
  tools.bench.recovery restart [options]
  tools.bench.recovery rejoin [options]

Options:
  --messages N     Stored before the trouble [default: 1000000].
  --rate N         Messages per second offered before and during a rejoin [default: 2000].
  --topology NAME  The cluster; without it quickstart, for rejoin three-storages.
  --storage NAME   Who is struck [default: storage-1].
  --data DIR       Where the data folder is made and removed again [default: /tmp].
  -h --help        Show this.

A fresh cluster is filled by `zmqim bench`. Then

restart  The storage is killed with -9, and from that moment one message after the other is sent to
         a private chat in every partition until it is acknowledged. Printed are seconds until the
         first, the median and the last partition answered, and until `zmqim status` finds nothing
         wrong.
rejoin   The storage ends, loses its folder and is started again: it gets every partition as a
         snapshot. Printed are the SENDACK times of the same load before and meanwhile, how long it
         took.

The figures are one line of JSON. To be started from the folder of the repository with
`python -m tools.bench.recovery`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
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

from tools.chaos.cluster import has_ended
from zmqim.chat.channels import person_channel_id, route_key_of_channel
from zmqim.chat.codes import ChannelType
from zmqim.commands.bench import is_compiled
from zmqim.node.cluster import running_cluster
from zmqim.ring.partitions import partition_of

ZMQIM = (sys.executable, "-P", "-m", "zmqim.cli")
FILL_SECONDS = 30
START_SECONDS = 60.0
ANSWER_SECONDS = 120.0
REJOIN_SECONDS = 1_800.0
LOAD_SECONDS = 10
PAUSE_SECONDS = 0.05


def main() -> None:
    """The command."""
    arguments = docopt(__doc__)
    if arguments["restart"]:
        word, strike, usual = "restart", _restart, "quickstart"
    else:
        word, strike, usual = "rejoin", _rejoin, "three-storages"
    topology = arguments["--topology"] or usual
    with TemporaryDirectory(prefix="zmqim-recovery-", dir=arguments["--data"]) as folder:
        data = Path(folder) / "data"
        with (Path(folder) / "up.log").open("wb") as log:
            words = [*ZMQIM, "up", topology, "--data", str(data)]
            up = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            _until(lambda: _is_whole(data), START_SECONDS)
            stored = _fill(data, int(arguments["--messages"]))
            found = strike(up, data, arguments["--storage"], arguments["--rate"])
            known = {
                "shape": word,
                "compiled": is_compiled(running_cluster(data)),
                "topology": topology,
            }
            print(json.dumps({**known, "messages": stored, **found}))
        finally:
            up.terminate()
            up.wait()


def _fill(data: Path, messages: int) -> int:
    stored = 0
    while stored < messages:
        stored += _load(data, FILL_SECONDS)["total_acknowledged"]
        print(f"{stored:,} messages are stored", file=sys.stderr)
    return stored


def _load(data: Path, seconds: int, *more: str) -> Any:
    words = [*ZMQIM, "bench", f"--seconds={seconds}", f"--data={data}", "--json", *more]
    return json.loads(subprocess.run(words, capture_output=True, check=True).stdout)


def _restart(up: subprocess.Popen[bytes], data: Path, storage: str, rate: str) -> dict[str, Any]:
    """A kill; seconds until each partition answers."""
    cluster = running_cluster(data)
    os.kill(_pid(data, storage), signal.SIGKILL)
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


def _rejoin(up: subprocess.Popen[bytes], data: Path, storage: str, rate: str) -> dict[str, Any]:
    """A disk is lost; what the same load feels before and until its successor is whole."""
    before = _load(data, 2 * LOAD_SECONDS, f"--rate={rate}")
    pid = _pid(data, storage)
    up.send_signal(signal.SIGSTOP)  # It is not started again before its folder is empty.
    os.kill(pid, signal.SIGKILL)
    _until(lambda: has_ended(pid), START_SECONDS)
    shutil.rmtree(data / storage)
    up.send_signal(signal.SIGCONT)
    lost_at = monotonic()
    meanwhile = []
    while not _is_whole(data):
        if monotonic() - lost_at > REJOIN_SECONDS:
            raise SystemExit(f"not whole again within {REJOIN_SECONDS:g} s")
        meanwhile.append(_load(data, LOAD_SECONDS, f"--rate={rate}"))
    took = monotonic() - lost_at
    return {
        "rate": int(rate),
        "p50_ms": before["p50_ms"],
        "p99_ms": before["p99_ms"],
        "meanwhile_p50_ms": [load["p50_ms"] for load in meanwhile],
        "meanwhile_p99_ms": [load["p99_ms"] for load in meanwhile],
        "acknowledged_per_s": [load["acknowledged_per_s"] for load in (before, *meanwhile)],
        "whole_s": round(took, 1),
    }


def _pid(data: Path, name: str) -> int:
    (pid,) = [row["pid"] for row in _status(data)["processes"] if row["name"] == name]
    return int(pid)


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
