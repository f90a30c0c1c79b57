"""The storage as a process of a real cluster: served through HTTP, killed, damaged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ClusterMaker
from running_cluster import RunningCluster, topology_text, wait_for
from store_damage import flip_byte, newest_log

sys.path.insert(0, str(Path(__file__).parent.parent / "clients"))
from http_calls import Api

GROUP = 2


def api_of(cluster: RunningCluster) -> Api:
    return Api(cluster.http, cluster.api_key)


def history(api: Api, channel: str) -> list[dict[str, object]]:
    body = {"login_uid": "alice", "channel_id": channel, "channel_type": GROUP, "limit": 1_000}
    answer = api.done("/channel/messagesync", pull_mode=1, start_message_seq=1, **body)
    messages: list[dict[str, object]] = answer["messages"]
    return messages


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
def test_a_storage_killed_again_and_again_loses_and_repeats_nothing(
    new_cluster: ClusterMaker,
) -> None:
    cluster = new_cluster().up()
    api = api_of(cluster)
    api.done("/channel", channel_id="g", channel_type=GROUP, subscribers=["alice", "bob"])
    given: dict[str, int] = {}
    for round_no in range(3):
        for n in range(20):
            number = f"{round_no}-{n}"
            if n == 10:
                cluster.kill("storage-1")
            status, answer = wait_for(
                lambda number=number: (lambda found: found if found[0] == 200 else None)(
                    api.send("alice", "g", number, channel_type=GROUP, client_msg_no=number)
                ),
                60,
                f"message {number} is acknowledged",
            )
            assert status == 200
            given[number] = answer["data"]["message_seq"]
    assert sorted(given.values()) == list(range(1, 61))
    stored = {str(row["client_msg_no"]): row["message_seq"] for row in history(api, "g")}
    assert stored == given


def test_a_persons_blacklist_stops_private_messages_once_the_call_returned(
    cluster: RunningCluster,
) -> None:
    api = api_of(cluster)
    status, _ = api.send("alice", "bob", "hello", client_msg_no="1")
    assert status == 200
    api.done("/channel/blacklist_add", channel_id="bob", channel_type=1, uids=["alice"])
    status, answer = api.send("alice", "bob", "hello", client_msg_no="2")
    assert (status, answer["reason"]) == (400, 4)
    status, _ = api.send("bob", "alice", "hello", client_msg_no="1")
    assert status == 200
    api.done("/channel/blacklist_remove", channel_id="bob", channel_type=1, uids=["alice"])
    status, _ = api.send("alice", "bob", "hello", client_msg_no="3")
    assert status == 200


@pytest.mark.promise("P9")
def test_on_a_full_disk_writes_get_reason_15_and_reads_go_on(new_cluster: ClusterMaker) -> None:
    limits = "[limits]\nreserve_file_bytes = 1_048_576\n"
    cluster = new_cluster(topology_text(extra=limits)).up()
    api = api_of(cluster)
    api.done("/channel", channel_id="g", channel_type=GROUP, subscribers=["alice"])
    assert api.send("alice", "g", "x", channel_type=GROUP, client_msg_no="1")[0] == 200
    cluster.down()
    full = f"{limits}disk_free_min_bytes = {1 << 50}\ndisk_free_warn_bytes = {1 << 50}\n"
    cluster.topology.write_text(cluster.topology.read_text().replace(limits, full))
    cluster.up()
    api = api_of(cluster)
    status, answer = api.send("alice", "g", "x", channel_type=GROUP, client_msg_no="2")
    assert status >= 400
    assert answer["reason"] == 15
    assert len(history(api, "g")) == 1
    assert any("disk" in problem for problem in cluster.status()["problems"])


@pytest.mark.promise("P8")
def test_a_flipped_byte_in_the_journal_is_refused_and_the_file_is_named(
    new_cluster: ClusterMaker,
) -> None:
    cluster = new_cluster().up()
    api = api_of(cluster)
    api.done("/channel", channel_id="g", channel_type=GROUP, subscribers=["alice"])
    for n in range(20):
        assert api.send("alice", "g", "x", channel_type=GROUP, client_msg_no=str(n))[0] == 200
    cluster.down()
    generation = next((cluster.data / "storage-1" / "raft").glob("g*[0-9]"))
    flip_byte(newest_log(generation), 600)
    cluster.up(wait=False)
    errors = wait_for(
        lambda: [row for row in cluster.log("storage-1") if row["level"] == "error"],
        40,
        "the storage says why it does not start",
    )
    assert errors[0]["exit_code"] == 6
    assert str(generation) in errors[0]["event"]
    assert cluster.log("storage-1")[-1]["event"] != "storage serves"
