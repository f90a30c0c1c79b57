"""A whole cluster on a disk that forgets what was not synced: acknowledged messages survive.

Clients write all the time. At some change of some file the power fails, for all processes at once;
they are ended with kill -9, the disk forgets, and `zmqim up` is called again. ZMQIM_POWER_CUTS says
how often (`make soak`: 50).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from power_cut import PowerCutDisk
from running_cluster import RunningCluster, topology_text, wait_for

from zmqim.client import Client

sys.path.insert(0, str(Path(__file__).parent.parent / "clients"))
from http_calls import Api
from raw_client import token_for

CUTS = int(os.environ.get("ZMQIM_POWER_CUTS", "5"))
WRITERS = 4
IN_FLIGHT = 4
ROUND_MESSAGES = 60
"""Acknowledged between two cuts, at least."""
STEPS_MAX = 400
"""Changes on the disk from then until the power fails, at most."""
PERSON, GROUP = 1, 2
PAGE = 1_000

TOPOLOGIES: dict[str, tuple[int, Callable[[], str]]] = {
    "one storage": (CUTS * 2 // 5, topology_text),
    "three storages": (CUTS - CUTS * 2 // 5, lambda: topology_text(storages=3, replicas=3)),
}
"""How often each is cut. The data of all processes lies on one disk, so that all storages lose at
the same moment."""

Channel = tuple[str, str, int]
"""(who reads it, channel id, type)."""

pytestmark = [pytest.mark.needs_fuse, pytest.mark.timeout(60 + 15 * CUTS)]


class Writers:
    """Clients that send all the time, and what was acknowledged to them."""

    def __init__(self, clients: list[Client]) -> None:
        self.clients = clients
        self.acknowledged: dict[Channel, dict[str, int]] = {}
        """Channel → text → sequence number."""
        self.count = 0
        self.going = asyncio.Event()
        """While it is not set, no further message is begun."""
        self.going.set()
        self._stopping = False
        self._tasks = [
            asyncio.create_task(self._write(client, number * IN_FLIGHT + lane))
            for number, client in enumerate(clients)
            for lane in range(IN_FLIGHT)
        ]

    async def _write(self, client: Client, lane: int) -> None:
        for number in itertools.count():
            await self.going.wait()
            if self._stopping:
                return
            text = f"{client.uid} {lane} {number}"
            name, kind = (f"peer-{client.uid}", PERSON) if number % 2 else ("team", GROUP)
            sent = await client.send(name, text, kind)
            self.acknowledged.setdefault((client.uid, name, kind), {})[text] = sent.message_seq
            self.count += 1

    async def wait_for(self, count: int) -> None:
        """Until so many messages are acknowledged."""
        while self.count < count:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Every message that was begun is acknowledged in the end."""
        self._stopping = True
        self.going.set()
        await asyncio.gather(*self._tasks)


def history_from(api: Api, channel: Channel, first: int) -> tuple[list[tuple[int, str]]] | None:
    """A page of (sequence, text); None while nobody can answer."""
    reader, name, kind = channel
    try:
        return (
            api.history(
                reader, name, channel_type=kind, start_message_seq=first, pull_mode=1, limit=PAGE
            ),
        )
    except AssertionError:
        return None


def stored(api: Api, channel: Channel) -> list[str]:
    """All texts of a channel in order; there is no gap between them."""
    name = channel[1]
    found: list[str] = []
    while True:
        first = len(found) + 1
        page = wait_for(
            lambda first=first: history_from(api, channel, first), 60, f"{name} can be read"
        )[0]
        assert [seq for seq, _ in page] == list(range(first, first + len(page))), channel
        found += [text for _, text in page]
        if not page:
            return found


def check(api: Api, acknowledged: dict[Channel, dict[str, int]]) -> None:
    """Every acknowledged message is where its answer said, and no message is there twice."""
    for channel, texts in acknowledged.items():
        found = stored(api, channel)
        lost = {text: seq for text, seq in texts.items() if found[seq - 1 : seq] != [text]}
        assert not lost, f"{channel}: {len(lost)} of {len(texts)} lost or elsewhere: {lost}"
        assert len(found) == len(set(found)), f"{channel}: a message is there twice"


def fail_and_forget(cluster: RunningCluster, disk: PowerCutDisk, random: Random) -> None:
    """The power fails soon, everybody dies, the disk forgets; now and then again while starting."""
    for while_starting in (False, True):
        if while_starting:
            if random.random() < 0.7:
                break
            cluster.up(wait=False)
        disk.fail_after(random.randint(1, STEPS_MAX))
        wait_for(lambda: disk.is_off, 30, "the power fails")
        cluster.kill_all()
        disk.cut(random.randrange(2**32))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PowerCutDisk]:
    (tmp_path / "data").mkdir()
    mounted = PowerCutDisk(tmp_path / "data")
    yield mounted
    mounted.close()


@pytest.fixture
def cluster_on(disk: PowerCutDisk, tmp_path: Path) -> Iterator[Callable[[str], RunningCluster]]:
    """Makes a cluster whose data folder is the disk."""
    made: list[RunningCluster] = []

    def make(text: str) -> RunningCluster:
        made.append(RunningCluster(tmp_path, text))
        return made[-1]

    yield make
    for cluster in made:
        cluster.kill_all()


def test_a_disk_that_only_says_that_it_synced_is_noticed(
    disk: PowerCutDisk, cluster_on: Callable[[str], RunningCluster]
) -> None:
    cluster = cluster_on(topology_text()).up()
    api = Api(cluster.http, cluster.api_key)
    acknowledged = {}
    for number in range(20):
        if number == 10:
            disk.lie()
        acknowledged[f"{number}"] = api.sent("alice", "bob", f"{number}")["message_seq"]
    channel = ("alice", "bob", PERSON)
    check(api, {channel: acknowledged})
    cluster.kill_all()
    disk.cut()
    cluster.up()
    with pytest.raises(AssertionError, match="10 of 20 lost"):
        check(api, {channel: acknowledged})


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_power_cut_takes_nothing_that_was_acknowledged(
    disk: PowerCutDisk, cluster_on: Callable[[str], RunningCluster], name: str
) -> None:
    cuts, text = TOPOLOGIES[name]
    cluster = cluster_on(text()).up()
    random = Random(f"{name} {CUTS}")
    api = Api(cluster.http, cluster.api_key)
    users = [f"writer-{number}" for number in range(WRITERS)]
    api.done("/channel", channel_id="team", channel_type=GROUP, subscribers=[*users, "reader"])
    tokens = {user: token_for(api, user) for user in users}

    async def body() -> None:
        clients = [Client(f"tcp://{cluster.tcp}", user, tokens[user]) for user in users]
        await asyncio.gather(*(client.connect() for client in clients))
        writers = Writers(clients)
        for _ in range(cuts):
            writers.going.set()
            await writers.wait_for(writers.count + ROUND_MESSAGES)
            await asyncio.to_thread(fail_and_forget, cluster, disk, random)
            writers.going.clear()
            told = {channel: dict(texts) for channel, texts in writers.acknowledged.items()}
            await asyncio.to_thread(cluster.up)
            await asyncio.to_thread(check, api, told)
        await writers.stop()
        await asyncio.to_thread(check, api, writers.acknowledged)
        await asyncio.gather(*(client.close() for client in clients))

    asyncio.run(body())
