"""The router as a process of a real cluster: fans out, is killed, kicks, and stops in order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ClusterMaker
from running_cluster import RunningCluster, topology_text, wait_for

sys.path.insert(0, str(Path(__file__).parent.parent / "clients"))
from http_calls import Api
from raw_client import RawClient, fresh

from zmqim.wkproto.packets import Disconnect

GROUP = 2


def api_of(cluster: RunningCluster) -> Api:
    return Api(cluster.http, cluster.api_key)


@pytest.mark.promise("P4")
def test_person_group_and_large_group_messages_reach_who_is_online(
    cluster: RunningCluster,
) -> None:
    api = api_of(cluster)
    alice, bob = fresh("alice"), fresh("bob")
    small, large = fresh("small"), fresh("large")
    api.done("/channel", channel_id=small, channel_type=GROUP, subscribers=[alice, bob])
    crowd = [f"u{number}" for number in range(300)]
    api.done("/channel", channel_id=large, channel_type=GROUP, subscribers=[alice, bob, *crowd])
    with RawClient.login(cluster, api, alice) as one, RawClient.login(cluster, api, bob) as two:
        for sequence in (1, 2):
            for channel, kind in ((bob, 1), (small, GROUP), (large, GROUP)):
                assert one.send(channel, b"hello", kind).message_seq == sequence
                (received,) = two.receive()
                assert (received.message_seq, received.payload) == (sequence, b"hello")


@pytest.mark.promise("P5")
def test_a_removed_member_of_a_large_group_gets_nothing_more(cluster: RunningCluster) -> None:
    api = api_of(cluster)
    alice, bob, large = fresh("alice"), fresh("bob"), fresh("large")
    crowd = [f"u{number}" for number in range(300)]
    api.done("/channel", channel_id=large, channel_type=GROUP, subscribers=[alice, bob, *crowd])
    with RawClient.login(cluster, api, alice) as one, RawClient.login(cluster, api, bob) as two:
        one.send(large, b"for both", GROUP)
        two.receive()
        api.done(
            "/channel/subscriber_remove", channel_id=large, channel_type=GROUP, subscribers=[bob]
        )
        one.send(large, b"not for bob", GROUP)
        one.send(bob, b"in private")
        assert [received.payload for received in two.receive()] == [b"in private"]


def test_a_master_login_ends_the_session_of_another_device(cluster: RunningCluster) -> None:
    api = api_of(cluster)
    alice = fresh("alice")
    with (
        RawClient.login(cluster, api, alice, level=1, device_id="phone") as one,
        RawClient.login(cluster, api, alice, level=1, device_id="tablet"),
    ):
        assert one.expect(Disconnect).reason == 12
        assert one.is_closed()


@pytest.mark.promise("P4")
@pytest.mark.promise("P6")
def test_after_a_router_was_killed_online_clients_get_messages_again(
    new_cluster: ClusterMaker,
) -> None:
    cluster = new_cluster().up()
    api = api_of(cluster)
    with RawClient.login(cluster, api, "alice") as one, RawClient.login(cluster, api, "bob") as two:
        one.send("bob", b"before")
        assert [received.payload for received in two.receive()] == [b"before"]
        cluster.kill("router-1")
        assert one.send("bob", b"while it is gone").reason == 1
        assert [received.payload for received in two.receive()] == [b"while it is gone"]


def test_after_every_process_was_killed_once_nobody_reports_an_earlier_life(
    new_cluster: ClusterMaker,
) -> None:
    cluster = new_cluster(topology_text(routers=2)).up()
    names = ["gateway-1", "router-1", "router-2", "storage-1"]
    for name in names:
        before = cluster.kill(name)
        wait_for(
            lambda name=name, before=before: cluster.pid(name) not in (0, before), 20, "it is back"
        )
        cluster.wait_alive()

    def is_well() -> bool:
        status = cluster.status()
        seen = [
            [member["name"] for member in status["details"].get(name, {}).get("members", [])]
            for name in names
        ]
        return status["problems"] == [] and seen == [names] * len(names)

    wait_for(is_well, 20, lambda: f"no problems: {cluster.status()}")


def test_a_router_that_is_told_to_stop_says_so(new_cluster: ClusterMaker) -> None:
    cluster = new_cluster().up()
    cluster.down()
    wait_for(
        lambda: any(row["event"] == "stopped" for row in cluster.log("router-1")), 10, "it stopped"
    )
    assert any(row["event"] == "router serves" for row in cluster.log("router-1"))
