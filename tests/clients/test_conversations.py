"""Conversations and unread counts over the HTTP API of a real cluster, in both of its shapes."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from http_calls import Api
from raw_client import WEB, RawClient, fresh
from running_cluster import wait_for

RED = {"red_dot": 1}


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


def sync(api: Api, uid: str, **more: object) -> dict[str, Any]:
    """/conversation/sync by channel id."""
    answer = api.done("/conversation/sync", uid=uid, msg_count=10, **more)
    return {one["channel_id"]: one for one in answer}


def listed(api: Api, uid: str, count: int) -> dict[str, Any]:
    """The same once the person has so many: who belongs to a channel is told a moment later."""
    wait_for(lambda: len(sync(api, uid)) == count, 30, f"{count} conversations")
    return sync(api, uid)


def group_of(api: Api, *members: str) -> str:
    group = fresh("g")
    api.done("/channel", channel_id=group, channel_type=2, subscribers=list(members))
    return group


def text_of(message: dict[str, Any]) -> str:
    return base64.b64decode(message["payload"]).decode()


def test_both_sides_of_a_person_channel_have_it_named_by_the_other(api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    for text in ("a", "b", "c"):
        api.sent(one, two, text, header=RED)
    mine, theirs = listed(api, one, 1)[two], listed(api, two, 1)[one]
    assert (mine["unread"], theirs["unread"]) == (0, 3)
    assert (mine["readed_to_msg_seq"], theirs["readed_to_msg_seq"]) == (3, 0)
    assert [text_of(message) for message in theirs["recents"]] == ["c", "b", "a"]
    assert theirs["last_msg_seq"] == 3
    assert theirs["last_client_msg_no"] == theirs["recents"][0]["client_msg_no"]
    assert theirs["timestamp"] == theirs["recents"][0]["timestamp"]


@pytest.mark.promise("P11")
def test_what_counts_as_unread(api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    group = group_of(api, one, two)
    api.sent(one, group, "counts", channel_type=2, header=RED)
    api.sent(one, group, "no dot", channel_type=2)
    api.sent(one, group, "command", channel_type=2, header={"red_dot": 1, "sync_once": 1})
    assert listed(api, two, 1)[group]["unread"] == 1
    api.sent(two, group, "own", channel_type=2, header=RED)
    assert sync(api, two)[group]["unread"] == 0
    assert sync(api, one)[group]["unread"] == 1


def test_reading_marking_and_deleting(api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    for number in range(5):
        api.sent(one, two, str(number), header=RED)
    assert listed(api, two, 1)[one]["unread"] == 5
    channel = {"uid": two, "channel_id": one, "channel_type": 1}

    def unread() -> int:
        count: int = sync(api, two)[one]["unread"]
        return count

    api.done("/conversations/clearUnread", **channel, message_seq=2)
    assert unread() == 3
    api.done("/conversations/setUnread", **channel, unread=1)
    assert unread() == 1
    api.done("/conversations/setUnread", **channel, unread=4)
    assert unread() == 4
    api.done("/conversations/clearUnread", **channel)
    assert unread() == 0
    api.done("/conversations/setUnread", **channel, unread=1)
    assert list(sync(api, two, only_unread=1)) == [one]
    api.done("/conversations/delete", **channel)
    assert sync(api, two) == {}
    assert sync(api, one)[two]["last_msg_seq"] == 5
    api.sent(one, two, "again", header=RED)
    back = sync(api, two)[one]
    assert (back["unread"], back["offset_msg_seq"]) == (1, 5)
    assert [text_of(message) for message in back["recents"]] == ["again"]


def test_joining_leaving_and_coming_back(api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    group = group_of(api, one)
    for _ in range(3):
        api.sent(one, group, "before", channel_type=2, header=RED)
    members = {"channel_id": group, "channel_type": 2, "subscribers": [two]}
    api.done("/channel/subscriber_add", **members)
    found = listed(api, two, 1)[group]
    assert (found["unread"], found["readed_to_msg_seq"]) == (0, 3)
    api.sent(one, group, "in", channel_type=2, header=RED)
    assert sync(api, two)[group]["unread"] == 1
    api.done("/channel/subscriber_remove", **members)
    assert listed(api, two, 0) == {}
    api.sent(one, group, "away", channel_type=2, header=RED)
    api.done("/channel/subscriber_add", **members)
    assert listed(api, two, 1)[group]["unread"] == 0


def test_a_version_gives_what_changed_since_and_leaves_nothing_out(api: Api) -> None:
    me = fresh("u")
    peers = [fresh("p") for _ in range(12)]
    for peer in peers:
        api.sent(peer, me, "first", header=RED)
    first = listed(api, me, len(peers))

    def version_of(seen: dict[str, Any], old: int) -> int:
        return max([one["version"] for one in seen.values()], default=old)

    version = version_of(first, 0)
    for peer in peers[3:6]:
        api.sent(peer, me, "second", header=RED)
        seen = sync(api, me, version=version)
        assert seen[peer]["unread"] == 2
        version = version_of(seen, version)

    def only_the_last() -> bool:
        return set(sync(api, me, version=version_of(sync(api, me), 0))) <= {peers[5]}

    wait_for(only_the_last, 30, "a version that leaves out what is old")


def test_pages_leave_nothing_out(api: Api) -> None:
    me = fresh("u")
    peers = {fresh("p") for _ in range(7)}
    for peer in peers:
        api.sent(peer, me, "x", header=RED)
    listed(api, me, 7)
    seen: list[str] = []
    for page, count in ((1, 3), (2, 3), (3, 1), (4, 0)):
        answer = sync(api, me, page=page, page_size=3)
        assert len(answer) == count
        assert all(one["recents"] for one in answer.values())
        seen += answer
    assert sorted(seen) == sorted(peers)


def test_known_messages_are_not_sent_again_and_types_can_be_left_out(api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    group = group_of(api, one, two)
    for text in "abc":
        api.sent(one, two, text)
        api.sent(one, group, text, channel_type=2)
    listed(api, two, 2)
    seen = sync(api, two, last_msg_seqs=f"{one}:1:2|{group}:2:3")
    assert [text_of(message) for message in seen[one]["recents"]] == ["c"]
    assert seen[group]["recents"] == []
    assert list(sync(api, two, exclude_channel_types=[2])) == [one]
    status, answer = api.post("/conversation/sync", uid=two, last_msg_seqs="nonsense")
    assert (status, answer["code"]) == (400, "bad_request")


def test_the_channels_and_some_of_them_by_name(api: Api) -> None:
    one, two, three = fresh("u"), fresh("u"), fresh("u")
    api.sent(two, one, "x", header=RED)
    api.sent(three, one, "x", header=RED)
    listed(api, one, 2)
    keys = api.done("/conversation/channels", uid=one)
    assert sorted(key["channel_id"] for key in keys) == sorted([two, three])
    api.done("/conversations/delete", uid=one, channel_id=three, channel_type=1)
    keys = api.done("/conversation/channels", uid=one)
    assert keys == [{"channel_id": two, "channel_type": 1}]
    api.sent(three, one, "again", header=RED)
    keys = api.done("/conversation/channels", uid=one)
    assert sorted(key["channel_id"] for key in keys) == sorted([two, three])
    answer = api.done(
        "/conversation/syncByChannels",
        uid=one,
        channels=[
            {"channel_id": two, "channel_type": 1},
            {"channel_id": "none", "channel_type": 2},
        ],
        msg_count=1,
    )
    assert [(conversation["channel_id"], conversation["unread"]) for conversation in answer] == [
        (two, 1)
    ]
    for text in "yz":
        api.sent(two, one, text)
    known = [{"channel_id": two, "channel_type": 1, "last_msg_seq": 1}]
    for newest_first, texts in ((0, ["y", "z"]), (1, ["z", "y"])):
        (recent,) = api.done(
            "/conversation/syncMessages", uid=one, channels=known, order_by_last=newest_first
        )
        assert [text_of(message) for message in recent["messages"]] == texts
        assert (recent["channel_id"], recent["user_last_msg_seq"]) == (two, 0)


def test_the_list_of_v3_in_pages_with_what_changed_and_what_is_gone(api: Api) -> None:
    me = fresh("u")
    peers = [fresh("p") for _ in range(5)]
    for peer in peers:
        api.sent(peer, me, "x", header=RED)
    listed(api, me, 5)

    def whole(coverage: str = "") -> tuple[list[Any], list[Any], str]:
        found, gone, cursor = [], [], ""
        while True:
            page = api.done(
                "/conversation/list", uid=me, limit=2, cursor=cursor, completed_coverage=coverage
            )
            assert page["unresolved"] == []
            found += page["conversations"]
            gone += page["deletes"]
            cursor = page["next_cursor"]
            if page["done"]:
                return found, gone, page["coverage"]

    found, gone, coverage = whole()
    assert (sorted(one["channel_id"] for one in found), gone) == (sorted(peers), [])
    assert all(one["last_message"]["message_seq"] == 1 and one["unread"] == 1 for one in found)
    api.sent(peers[0], me, "y", header=RED)
    api.done("/conversations/delete", uid=me, channel_id=peers[1], channel_type=1)
    found, gone, _ = whole(coverage)
    unread = {one["channel_id"]: one["unread"] for one in found}
    assert unread[peers[0]] == 2
    assert {"channel_id": peers[1], "channel_type": 1} in gone
    channels = [{"channel_id": peer, "channel_type": 1} for peer in peers[:2]]
    again = api.done("/conversation/retry", uid=me, channels=channels)
    assert [one["channel_id"] for one in again["conversations"]] == peers[:1]
    assert [one["channel_id"] for one in again["deletes"]] == peers[1:2]
    assert api.post("/conversation/list", uid=me, cursor="nonsense")[0] == 400


def test_a_channel_may_be_put_among_the_conversations(api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    channel = {"channel_id": fresh("news"), "channel_type": 6}
    api.sent(one, channel["channel_id"], "x", channel_type=6, header=RED)
    assert sync(api, two) == {}
    api.done("/conversations/activate", uid=two, channels=[channel])
    assert sync(api, two)[channel["channel_id"]]["unread"] == 1


COMMAND = {"sync_once": 1}


def commands(api: Api, uid: str, **more: object) -> list[tuple[int, str]]:
    """(number, text) of what /message/sync shows."""
    answer = api.done("/message/sync", uid=uid, **more)
    return [(message["message_seq"], text_of(message)) for message in answer]


def test_commands_are_shown_until_they_are_acknowledged_whatever_channel_they_are_of(
    api: Api,
) -> None:
    one, two = fresh("u"), fresh("u")
    group = group_of(api, one, two)
    api.sent(one, group, "a", channel_type=2, header=COMMAND)
    api.sent(one, two, "b", header=COMMAND)
    api.sent(one, group, "c", channel_type=2, header=COMMAND)
    wait_for(lambda: len(commands(api, two)) == 3, 30, "three commands")
    assert commands(api, two) == [(1, "a"), (2, "b"), (3, "c")]
    api.done("/message/syncack", uid=two, last_message_seq=2)
    assert commands(api, two) == [(3, "c")]
    api.sent(one, two, "d", header=COMMAND)
    assert commands(api, two) == [(3, "c"), (4, "d")]
    api.done("/message/syncack", uid=two, last_message_seq=4)
    assert commands(api, two) == []
    assert sync(api, two) == {}, "a command is no message of a conversation"
    assert api.history(two, one) == []


def test_the_oldest_commands_come_first_and_the_rest_after_their_acknowledgement(api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    for number in range(5):
        api.sent(one, two, str(number), header=COMMAND)
    wait_for(lambda: len(commands(api, two, limit=2)) == 2, 30, "two commands")
    for first in (0, 2, 4):
        shown = commands(api, two, limit=2)
        assert [text for _, text in shown] == [str(n) for n in range(first, min(first + 2, 5))]
        api.done("/message/syncack", uid=two, last_message_seq=shown[-1][0])
    assert commands(api, two) == []


def test_who_joins_gets_the_commands_from_then_on_and_may_be_bound_without_joining(
    api: Api,
) -> None:
    one, two, three = fresh("u"), fresh("u"), fresh("u")
    group = group_of(api, one)
    api.sent(one, group, "before", channel_type=2, header=COMMAND)
    api.done("/channel/subscriber_add", channel_id=group, channel_type=2, subscribers=[two])
    api.done("/message/cmd/bind", uid=three, channel_id=group, channel_type=2)
    api.sent(one, group, "after", channel_type=2, header=COMMAND)
    for uid in (two, three):
        wait_for(lambda uid=uid: commands(api, uid), 30, "a command")
        assert [text for _, text in commands(api, uid)] == ["after"]
    api.done("/message/cmd/unbind", uid=three, channel_id=group, channel_type=2)
    assert commands(api, three) == []


def test_what_a_master_device_acknowledged_is_not_shown_again(cluster: Any, api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    group = group_of(api, one, two)
    api.sent(one, two, "while away", header=COMMAND)
    with (
        RawClient.login(cluster, api, two, level=1) as phone,
        RawClient.login(cluster, api, two, flag=WEB) as browser,
    ):
        api.sent(one, two, "a", header=COMMAND)
        api.sent(one, group, "b", channel_type=2, header=COMMAND)
        texts = sorted(recv.payload for recv in phone.receive(2))
        assert texts == sorted(recv.payload for recv in browser.receive(2)) == [b"a", b"b"]
        wait_for(lambda: commands(api, two) == [(1, "while away")], 30, "the older command alone")
        api.sent(one, two, "c", header=COMMAND)
        browser.receive()
        phone.receive(acknowledge=False)
    wait_for(lambda: len(commands(api, two)) == 2, 30, "what only the browser has")
    assert [text for _, text in commands(api, two)] == ["while away", "c"]
    api.done("/message/syncack", uid=two, last_message_seq=commands(api, two)[-1][0])
    assert commands(api, two) == []


def test_a_topic_is_a_conversation_of_the_members_that_it_was_given_to(api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    community = fresh("town")
    members = {"channel_id": community, "channel_type": 4, "subscribers": [two]}
    api.done("/channel", channel_id=community, channel_type=4, subscribers=[one, two])
    topic = {"channel_id": f"{community}@square", "channel_type": 5}
    api.sent(one, topic["channel_id"], "x", channel_type=5, header=RED)
    api.sent(one, topic["channel_id"], "command", channel_type=5, header=COMMAND)
    assert (sync(api, two), commands(api, two)) == ({}, [])
    api.done("/conversations/activate", uid=two, channels=[topic])
    assert sync(api, two)[topic["channel_id"]]["unread"] == 1
    assert commands(api, two) == [(1, "command")]
    api.done("/channel/subscriber_remove", **members)
    api.sent(one, topic["channel_id"], "y", channel_type=5, header=RED)
    api.sent(one, topic["channel_id"], "later", channel_type=5, header=COMMAND)
    assert sync(api, two) == {}
    assert api.done("/conversation/list", uid=two)["conversations"] == []
    wait_for(lambda: commands(api, two) == [], 30, "no commands")
    api.done("/channel/subscriber_add", **members)
    assert sync(api, two)[topic["channel_id"]]["unread"] == 2
