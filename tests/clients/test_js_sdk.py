"""The unmodified JavaScript SDK over WebSocket against a real cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from http_calls import Api
from raw_client import WEB, fresh, token_for
from sdk_user import CONNECTED, DISCONNECTED, KICKED, REFUSED, SdkUser, missing

pytestmark = [
    pytest.mark.needs_node,
    pytest.mark.skipif(bool(missing()), reason=missing() or "nothing is missing"),
]
PERSON, GROUP, DATA = 1, 2, 7
NOT_ALLOWED = 11


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Callable[[], SdkUser]]:
    """Starts users, not yet connected, and ends them with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(SdkUser(tmp_path / f"{time.monotonic_ns()}.log"))


@pytest.fixture
def online(cluster: Any, api: Api, user: Callable[[], SdkUser]) -> Callable[[str], SdkUser]:
    """Starts users that are online."""

    def connect(uid: str) -> SdkUser:
        one = user()
        status = one.connect(cluster.ws, uid, token_for(api, uid, WEB))
        assert (status["status"], status["reason"]) == (CONNECTED, 1)
        return one

    return connect


@pytest.mark.promise("P10")
def test_a_wrong_token_is_refused_with_reason_2_and_not_tried_again(
    cluster: Any, api: Api, user: Callable[[], SdkUser]
) -> None:
    uid = fresh("user")
    token_for(api, uid, WEB)
    one = user()
    status = one.connect(cluster.ws, uid, "wrong")
    assert (status["status"], status["reason"]) == (REFUSED, 2)
    assert one.expect("status")["status"] == DISCONNECTED
    assert one.quiet("status", 4)  # it reconnects after 3 s when it does


def test_a_command_that_fails_in_the_sdk_does_not_end_those_behind_it(
    cluster: Any, api: Api, user: Callable[[], SdkUser]
) -> None:
    """As in a page: the SDK throws where it writes to a socket that is still connecting, and says
    what it has to say once it is connected."""
    uid = fresh("user")
    one = user()
    one.do("connect", addr=cluster.ws, uid=uid, token=token_for(api, uid, WEB))
    one.do("subscribe", channel=fresh("data"), type=DATA)
    assert "CONNECTING" in one.expect("error")["text"]
    assert one.expect("suback")["reason"] == NOT_ALLOWED
    one.do("listen", on=True)
    assert one.expect("listening")["on"]


@pytest.mark.promise("P4")
def test_two_people_chat_in_order(online: Callable[[str], SdkUser]) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    one, two = online(alice), online(bob)
    for number in range(1, 21):
        ack = one.send(bob, f"message {number}")
        assert (ack["reason"], ack["message_seq"]) == (1, number)
    received = two.messages(20)
    assert [message["text"] for message in received] == [f"message {n}" for n in range(1, 21)]
    assert [message["seq"] for message in received] == list(range(1, 21))
    assert {(m["from"], m["channel"], m["type"]) for m in received} == {(alice, alice, PERSON)}
    assert all(message["red_dot"] for message in received)
    assert all(abs(message["timestamp"] - time.time()) < 60 for message in received)
    assert two.send(alice, "an answer")["message_seq"] == 21
    [answer] = one.messages(1)
    assert (answer["from"], answer["channel"], answer["text"]) == (bob, bob, "an answer")


@pytest.mark.promise("P2")
def test_a_group_gets_every_message_in_one_order(
    api: Api, online: Callable[[str], SdkUser]
) -> None:
    group, names = fresh("group"), [fresh("user") for _ in range(4)]
    api.done("/channel", channel_id=group, channel_type=GROUP, subscribers=names)
    users = [online(name) for name in names]
    for number in range(12):
        sender = users[number % 3]
        assert sender.send(group, f"{number}", GROUP)["reason"] == 1
    seen = users[3].messages(12)
    assert [message["text"] for message in seen] == [f"{number}" for number in range(12)]
    assert [message["seq"] for message in seen] == list(range(1, 13))
    assert {(message["channel"], message["type"]) for message in seen} == {(group, GROUP)}
    assert [message["from"] for message in seen] == [names[number % 3] for number in range(12)]


def test_many_messages_at_once_reach_a_client_that_reads_one_frame_a_message(
    online: Callable[[str], SdkUser],
) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    one, two = online(alice), online(bob)
    for number in range(200):
        one.do("send", to=bob, type=PERSON, text=f"{number}")
    assert [message["text"] for message in two.messages(200)] == [f"{n}" for n in range(200)]


@pytest.mark.promise("P5")
def test_a_stranger_to_a_group_is_refused_and_hears_nothing(
    api: Api, online: Callable[[str], SdkUser]
) -> None:
    group, member, stranger = fresh("group"), fresh("member"), fresh("stranger")
    api.done("/channel", channel_id=group, channel_type=GROUP, subscribers=[member])
    one, two = online(member), online(stranger)
    assert two.send(group, "let me in", GROUP)["reason"] == 3
    assert one.send(group, "nobody else hears this", GROUP)["reason"] == 1
    assert two.quiet("message", 1)


def test_a_second_master_login_kicks_the_first_which_stays_away(
    cluster: Any, api: Api, user: Callable[[], SdkUser]
) -> None:
    uid = fresh("user")
    token = token_for(api, uid, WEB, level=1)
    one, two = user(), user()
    assert one.connect(cluster.ws, uid, token)["status"] == CONNECTED
    assert two.connect(cluster.ws, uid, token)["status"] == CONNECTED
    kicked = one.expect("status")
    assert (kicked["status"], kicked["reason"]) == (KICKED, 12)
    assert one.quiet("message", 4)
    assert two.send(fresh("friend"), "still here")["reason"] == 1


def test_quitting_a_device_kicks_it(api: Api, online: Callable[[str], SdkUser]) -> None:
    uid = fresh("user")
    one = online(uid)
    api.done("/user/device_quit", uid=uid, device_flag=WEB)
    kicked = one.expect("status")
    assert (kicked["status"], kicked["reason"]) == (KICKED, 12)


@pytest.mark.promise("P4")
def test_what_is_not_acknowledged_comes_again_until_it_is(
    online: Callable[[str], SdkUser],
) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    one, two = online(alice), online(bob)
    two.do("drop_recvacks", count=2)
    begun = time.monotonic()
    one.send(bob, "hear me")
    [first] = two.messages(1)
    again = two.expect("message", 20)
    last = two.expect("message", 30)
    assert time.monotonic() - begun > 14  # pauses of 5 and 10 s
    assert [m["id"] for m in (again, last)] == [first["id"]] * 2
    assert [m["dup"] for m in (first, again, last)] == [False, True, True]
    assert two.quiet("message", 6)


@pytest.mark.promise("P4")
def test_what_came_while_away_is_in_the_history(
    cluster: Any, online: Callable[[str], SdkUser]
) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    one = online(alice)
    for number in range(1, 6):
        assert one.send(bob, f"message {number}")["message_seq"] == number
    two = online(bob)
    assert two.quiet("message", 1)
    two.do("history", api=cluster.http, key=cluster.api_key, channel=alice, type=PERSON, limit=3)
    missed = two.expect("history")["messages"]
    assert [message["seq"] for message in missed] == [3, 4, 5]
    assert [message["text"] for message in missed] == [f"message {n}" for n in (3, 4, 5)]
    assert {(m["from"], m["channel"], m["red_dot"]) for m in missed} == {(alice, alice, True)}
    assert one.send(bob, "live again")["message_seq"] == 6
    assert two.messages(1)[0]["text"] == "live again"


@pytest.mark.promise("P6")
@pytest.mark.promise("P3")
def test_the_sdk_gets_through_the_death_of_each_process(
    cluster: Any, online: Callable[[str], SdkUser]
) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    one, two = online(alice), online(bob)
    assert one.send(bob, "before")["message_seq"] == 1
    assert two.messages(1)[0]["text"] == "before"
    sequence = 1
    for name in ("router-1", "storage-1"):
        cluster.kill(name)
        ack = one.send(bob, f"after {name}")
        sequence += 1
        assert (ack["reason"], ack["message_seq"]) == (1, sequence)
        assert two.messages(1)[0]["text"] == f"after {name}"
    cluster.kill("gateway-1")
    for user in (one, two):
        while user.expect("status", 30)["status"] != CONNECTED:
            pass
    assert one.send(bob, "after all")["message_seq"] == sequence + 1
    assert two.messages(1)[0]["text"] == "after all"
