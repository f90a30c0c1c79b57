"""The raw protocol over TCP against a real cluster: what every client may rely on."""

from __future__ import annotations

import time
from typing import Any

import pytest
from http_calls import Api
from raw_client import APP, WEB, RawClient, fresh, token_for

from zmqim.chat.codes import MessageFlag
from zmqim.wkproto.packets import (
    Connack,
    Disconnect,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
    Setting,
)

PERSON, GROUP = 1, 2
VERSIONS = range(1, 7)


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


def silent(client: RawClient, seconds: float = 0.5) -> bool:
    """Whether no message comes for so long."""
    try:
        client.expect(Recv, seconds)
    except AssertionError:
        return True
    return False


# ---- chat ----------------------------------------------------------------------------------------


@pytest.mark.promise("P4")
@pytest.mark.parametrize("version", VERSIONS)
def test_two_people_of_any_version_chat_in_order(cluster: Any, api: Api, version: int) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    with (
        RawClient.login(cluster, api, alice, version=version) as one,
        RawClient.login(cluster, api, bob, version=7 - version) as two,
    ):
        for number in range(1, 6):
            ack = one.send(bob, f"message {number}".encode(), flags=MessageFlag.RED_DOT)
            assert (ack.reason, ack.message_seq, ack.client_seq) == (1, number, number)
        received = two.receive(5)
        assert [message.payload for message in received] == [
            f"message {number}".encode() for number in range(1, 6)
        ]
        assert [message.message_seq for message in received] == [1, 2, 3, 4, 5]
        assert {(m.from_uid, m.channel_id, m.channel_type) for m in received} == {
            (alice, alice, PERSON)
        }
        assert {message.flags for message in received} == {MessageFlag.RED_DOT}
        assert two.send(alice, b"an answer").message_seq == 6
        [answer] = one.receive()
        assert (answer.from_uid, answer.payload, answer.flags) == (bob, b"an answer", 0)


@pytest.mark.promise("P2")
def test_a_group_hears_every_message_in_one_order(cluster: Any, api: Api) -> None:
    group, names = fresh("group"), [fresh("user") for _ in range(5)]
    api.done("/channel", channel_id=group, channel_type=GROUP, subscribers=names)
    users = [RawClient.login(cluster, api, name) for name in names]
    try:
        for round_number in range(10):
            for index, user in enumerate(users[:3]):
                user.seq += 1
                text = f"{round_number} {index}".encode()
                user.put(Send(user.seq, f"{names[index]} {user.seq}", group, GROUP, text))
        acks = [user.expect(Sendack) for user in users[:3] for _ in range(10)]
        assert sorted(ack.message_seq for ack in acks) == list(range(1, 31))
        heard = [[m.message_seq for m in user.receive(30)] for user in users[3:]]
        assert heard == [list(range(1, 31))] * 2
        for user, name in zip(users[:3], names, strict=False):
            others = user.receive(20)
            assert name not in {message.from_uid for message in others}
            sequences = [message.message_seq for message in others]
            assert sequences == sorted(sequences)
    finally:
        for user in users:
            user.socket.close()


def test_setting_topic_and_expire_reach_the_receiver(cluster: Any, api: Api) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    with RawClient.login(cluster, api, alice) as one, RawClient.login(cluster, api, bob) as two:
        one.send(bob, b"x", setting=Setting.TOPIC | Setting.RECEIPT, topic="news", expire=60)
        one.send(bob, b"plain", setting=Setting.NO_ENCRYPT)
        first, second = two.receive(2)
        assert (first.setting, first.topic, first.expire) == (0x88, "news", 60)
        assert (second.setting, second.payload) == (0, b"plain")


def test_the_senders_other_devices_hear_it_without_a_red_dot(cluster: Any, api: Api) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    with (
        RawClient.login(cluster, api, alice) as one,
        RawClient.login(cluster, api, alice, flag=WEB) as other,
    ):
        one.send(bob, b"hello", flags=MessageFlag.RED_DOT)
        [echo] = other.receive()
        assert (echo.from_uid, echo.channel_id, echo.flags) == (alice, bob, 0)
        assert silent(one)


@pytest.mark.promise("P3")
def test_a_repeat_is_answered_alike_delivered_once_and_never_changed(
    cluster: Any, api: Api
) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    with RawClient.login(cluster, api, bob) as two:
        with RawClient.login(cluster, api, alice) as one:
            first = one.send(bob, b"hello", client_msg_no="n1")
        with RawClient.login(cluster, api, alice) as one:
            again = one.send(bob, b"hello", client_msg_no="n1")
            other = one.send(bob, b"changed", client_msg_no="n1")
            assert one.send(bob, b"next").message_seq == 2
        assert (again.message_id, again.message_seq) == (first.message_id, first.message_seq)
        assert (other.reason, other.message_seq) == (28, 0)
        assert [message.payload for message in two.receive(2)] == [b"hello", b"next"]


def test_a_message_that_is_not_to_be_stored_is_only_heard(cluster: Any, api: Api) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    with RawClient.login(cluster, api, alice) as one, RawClient.login(cluster, api, bob) as two:
        ack = one.send(bob, b"typing", flags=MessageFlag.NO_PERSIST)
        assert (ack.reason, ack.message_seq) == (1, 0)
        [message] = two.receive()
        assert (message.payload, message.message_seq) == (b"typing", 0)
        assert message.flags & MessageFlag.NO_PERSIST
        assert api.history(alice, bob) == []


def test_a_command_is_heard_and_not_in_the_history(cluster: Any, api: Api) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    with RawClient.login(cluster, api, alice) as one, RawClient.login(cluster, api, bob) as two:
        assert one.send(bob, b"command", flags=MessageFlag.SYNC_ONCE).reason == 1
        assert one.send(bob, b"hello").message_seq == 1
        assert {message.payload for message in two.receive(2)} == {b"command", b"hello"}
        assert api.history(alice, bob) == [(1, "hello")]


def test_timestamps_are_the_same_in_push_and_history(cluster: Any, api: Api) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    with RawClient.login(cluster, api, alice) as one, RawClient.login(cluster, api, bob) as two:
        one.send(bob, b"hello")
        [pushed] = two.receive()
        answer = api.done(
            "/channel/messagesync", login_uid=bob, channel_id=alice, channel_type=PERSON
        )
        [stored] = answer["messages"]
        assert stored["timestamp"] == pushed.timestamp
        assert stored["message_id"] == pushed.message_id
        assert abs(pushed.timestamp - time.time()) < 60


def test_a_ping_is_answered(cluster: Any, api: Api) -> None:
    with RawClient.login(cluster, api, fresh("user")) as user:
        user.put(Ping(), Ping())
        assert [user.expect(Pong), user.expect(Pong)] == [Pong(), Pong()]


# ---- sessions ------------------------------------------------------------------------------------


def test_connack_tells_the_time_difference_and_the_version(cluster: Any, api: Api) -> None:
    uid = fresh("user")
    token = token_for(api, uid)
    for version in VERSIONS:
        with RawClient(cluster.tcp_address, version) as client:
            answer = client.connect(uid, token)
            assert (answer.reason, answer.server_version) == (1, version if version > 3 else 0)
            assert abs(answer.time_diff) < 10_000
            assert (answer.node_id > 0) == (version >= 4)


@pytest.mark.parametrize(("level", "same_device"), [(1, False), (0, True)])
def test_a_second_login_of_a_device_kicks_the_first(
    cluster: Any, api: Api, level: int, same_device: bool
) -> None:
    uid = fresh("user")
    token = token_for(api, uid, APP, level)
    with RawClient(cluster.tcp_address) as one, RawClient(cluster.tcp_address) as two:
        assert one.connect(uid, token, APP, "device").reason == 1
        second = "device" if same_device else "another"
        assert two.connect(uid, token, APP, second).reason == 1
        if level == 1:
            assert one.expect(Disconnect).reason == 12
        assert one.is_closed()
        assert two.send(fresh("friend"), b"still here").reason == 1


def test_slaves_and_other_flags_live_side_by_side(cluster: Any, api: Api) -> None:
    uid = fresh("user")
    with (
        RawClient.login(cluster, api, uid) as one,
        RawClient.login(cluster, api, uid) as two,
        RawClient.login(cluster, api, uid, flag=WEB, level=1) as three,
    ):
        for client in (one, two, three):
            client.put(Ping())
            assert client.expect(Pong) == Pong()


def test_a_banned_user_is_refused_with_reason_19(cluster: Any, api: Api) -> None:
    uid = fresh("user")
    token = token_for(api, uid)
    api.done("/channel/info", channel_id=uid, channel_type=PERSON, ban=1)
    with RawClient(cluster.tcp_address) as client:
        client.put(client.connect_packet(uid, token))
        assert client.expect(Connack).reason == 19
        assert client.is_closed()


@pytest.mark.promise("P5")
def test_a_removed_member_hears_nothing_more(cluster: Any, api: Api) -> None:
    group, alice, bob = fresh("group"), fresh("alice"), fresh("bob")
    api.done("/channel", channel_id=group, channel_type=GROUP, subscribers=[alice, bob])
    with RawClient.login(cluster, api, alice) as one, RawClient.login(cluster, api, bob) as two:
        one.send(group, b"before", GROUP)
        assert two.receive()[0].payload == b"before"
        removed = {"channel_id": group, "channel_type": GROUP, "subscribers": [bob]}
        api.done("/channel/subscriber_remove", **removed)
        assert one.send(group, b"after", GROUP).message_seq == 2
        assert silent(two, 1)
        assert two.send(group, b"me too", GROUP).reason == 3


# ---- delivery ------------------------------------------------------------------------------------


@pytest.mark.promise("P4")
def test_a_message_comes_again_after_5_seconds_marked_and_not_after_its_recvack(
    cluster: Any, api: Api
) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    with RawClient.login(cluster, api, alice) as one, RawClient.login(cluster, api, bob) as two:
        one.send(bob, b"hear me")
        [first] = two.receive(acknowledge=False)
        begun = time.monotonic()
        again = two.expect(Recv, 20)
        assert time.monotonic() - begun > 3.5  # a pause of 5 s
        assert (again.message_id, again.payload) == (first.message_id, first.payload)
        assert again.flags == first.flags | MessageFlag.DUP
        two.put(Recvack(again.message_id, again.message_seq))
        assert silent(two, 12)


@pytest.mark.promise("P4")
def test_a_receiver_that_does_not_acknowledge_gets_the_rest_once_it_does(
    cluster: Any, api: Api
) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    count = 600
    with RawClient.login(cluster, api, alice) as one, RawClient.login(cluster, api, bob) as two:
        one.put(*(Send(n, f"n{n}", bob, PERSON, b"%d" % n) for n in range(1, count + 1)))
        for _ in range(count):
            assert one.expect(Sendack).reason == 1
        seen: dict[int, bytes] = {}
        order: list[int] = []
        deadline = time.monotonic() + 60
        while len(seen) < count:
            assert time.monotonic() < deadline, f"only {len(seen)} messages"
            message = two.expect(Recv, 30)
            if message.message_seq not in seen:
                order.append(message.message_seq)
            seen[message.message_seq] = message.payload
            two.put(Recvack(message.message_id, message.message_seq))
        assert order == list(range(1, count + 1))
        assert all(payload == b"%d" % sequence for sequence, payload in seen.items())


@pytest.mark.promise("P4")
def test_what_came_while_away_is_found_by_sync(cluster: Any, api: Api) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    with RawClient.login(cluster, api, alice) as one:
        for number in range(1, 8):
            assert one.send(bob, b"%d" % number).message_seq == number
    assert api.history(bob, alice, start_message_seq=3, pull_mode=1, limit=3) == [
        (3, "3"),
        (4, "4"),
        (5, "5"),
    ]
    assert [sequence for sequence, _ in api.history(bob, alice)] == [1, 2, 3, 4, 5, 6, 7]
