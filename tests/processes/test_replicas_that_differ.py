"""Real storages: a replica whose rows are wrong, and readable, is found by its digests."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from running_cluster import RunningCluster, topology_text, wait_for

sys.path.insert(0, str(Path(__file__).parents[1] / "clients"))
sys.path.append(str(Path(__file__).parents[2]))
from http_calls import Api

from tools.chaos.cluster import has_ended
from tools.chaos.replicas import differences, read_storage
from zmqim.chat.channels import route_key_of_channel
from zmqim.chat.codes import ChannelType
from zmqim.chat.rows import HeadRow
from zmqim.limits import DIGEST_ENTRIES
from zmqim.ring.partitions import partition_of
from zmqim.store.names import ROWS_NAME
from zmqim.store.rows import open_rows

PARTITIONS = 4
NAMES = ("storage-1", "storage-2", "storage-3")
GROUP = int(ChannelType.GROUP)
SAYING_AT_ONCE = 16
SKIPPED = 5


def skip_sequences(folder: Path, partition: int, channel_id: str) -> None:
    """As after a bug in applying: the stored head of a channel counts messages that are not there.
    The row's checksum is right."""
    rows = open_rows(folder / ROWS_NAME)
    try:
        changed = []
        for key, body in rows.scan(partition.to_bytes(2), (partition + 1).to_bytes(2)):
            if key[6:7] == b"C":
                head = msgspec.msgpack.decode(body, type=HeadRow)
                if head.channel_id == channel_id:
                    wrong = replace(head, last_sequence=head.last_sequence + SKIPPED)
                    changed.append((key, msgspec.msgpack.encode(wrong)))
        assert len(changed) == 1
        rows.write(changed)
    finally:
        rows.close()


@contextmanager
def killed(cluster: RunningCluster, name: str) -> Iterator[Path]:
    """The folder of a storage that is killed and not started again inside the block."""
    assert cluster.process is not None
    cluster.process.send_signal(signal.SIGSTOP)
    try:
        pid = cluster.kill(name)
        wait_for(lambda: has_ended(pid), 10, f"{name} ended")
        yield cluster.data / name
    finally:
        cluster.process.send_signal(signal.SIGCONT)


@pytest.mark.promise("P2")
@pytest.mark.timeout(180)
def test_a_follower_that_applies_otherwise_is_found_and_gets_the_rows_of_the_majority(
    new_cluster: Callable[..., RunningCluster],
) -> None:
    text = topology_text(storages=3, replicas=3, extra=f"partitions = {PARTITIONS}")
    cluster = new_cluster(text).up()
    api = Api(cluster.http, cluster.api_key)

    def say(number: int) -> int:
        return int(api.sent("ann", "g", f"message {number}", channel_type=GROUP)["message_seq"])

    api.done("/channel", channel_id="g", channel_type=GROUP, subscribers=["ann"])
    assert say(0) == 1
    wait_for(lambda: is_whole(cluster), 30, "every partition fully replicated")
    partition = partition_of(route_key_of_channel(GROUP, "g"), PARTITIONS)
    leader = cluster.status()["partitions"][partition]["leader"]
    victim = next(name for name in NAMES if name != leader)
    with killed(cluster, victim) as folder:
        skip_sequences(folder, partition, "g")
    cluster.wait_alive()
    with ThreadPoolExecutor(SAYING_AT_ONCE) as speakers:
        sequences = sorted(speakers.map(say, range(1, DIGEST_ENTRIES + 1)))
    assert sequences == list(range(2, DIGEST_ENTRIES + 2))
    wait_for(lambda: is_told(cluster, victim), 30, f"{victim} says that its rows are wrong")
    wait_for(lambda: is_whole(cluster), 30, "every partition fully replicated again")
    cluster.down()
    replicas = [one for name in NAMES for one in read_storage(cluster.data / name)]
    assert len(replicas) == len(NAMES) * (PARTITIONS + 1)
    assert differences(replicas) == []


def is_told(cluster: RunningCluster, name: str) -> bool:
    return any(record.get("digest_mismatches") for record in cluster.log(name))


def is_whole(cluster: RunningCluster) -> bool:
    return all(one["fully_replicated"] for one in cluster.status()["partitions"])
