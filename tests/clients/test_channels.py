"""Every type of channel on a real cluster: who may write, and who hears it (docs/CHANNELS.md)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest
from http_calls import Api
from raw_client import RawClient, fresh
from running_cluster import wait_for

from zmqim.chat.channels import uid_list_id
from zmqim.chat.codes import MessageFlag
from zmqim.limits import READ_DEADLINE_MS, SYSTEM_UIDS_READ_MS

PERSON = 1
GROUP, SERVICE, COMMUNITY, TOPIC, INFO, DATA = 2, 3, 4, 5, 6, 7
TEMPORARY, LIVE, VISITORS, AGENT, AGENT_GROUP = 8, 9, 10, 11, 12

KNOWN_SECONDS = (SYSTEM_UIDS_READ_MS + READ_DEADLINE_MS) / 1000
"""So late a gateway knows of another system uid."""


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


class People:
    """Ann, Bob and Vic, online; they are three others in each test."""

    def __init__(self, cluster: Any, api: Api, stack: ExitStack) -> None:
        self.ann, self.bob, self.vic = (fresh(name) for name in ("ann", "bob", "vic"))
        self.clients = {
            uid: stack.enter_context(RawClient.login(cluster, api, uid))
            for uid in (self.ann, self.bob, self.vic)
        }
        self._api = api
        self._marks = 0

    def say(self, uid: str, channel_id: str, channel_type: int, text: str = "hi") -> int:
        """The reason in the SENDACK."""
        return self.clients[uid].send(channel_id, text.encode(), channel_type).reason

    def hear(self, expected: dict[str, list[tuple[str, str]]]) -> None:
        """These (channel id, text) come to each, and nothing else before a mark that follows."""
        for uid, messages in expected.items():
            assert self._received(uid, len(messages)) == messages
        self._marks += 1
        for uid in self.clients:
            self._api.sent("____system", uid, "mark", client_msg_no=f"{uid}{self._marks}")
        for uid in self.clients:
            assert self._received(uid, 1) == [("____system", "mark")]

    def _received(self, uid: str, count: int) -> list[tuple[str, str]]:
        messages = self.clients[uid].receive(count)
        return [(message.channel_id, message.payload.decode()) for message in messages]


@pytest.fixture
def people(cluster: Any, api: Api) -> Iterator[People]:
    with ExitStack() as stack:
        yield People(cluster, api, stack)


@pytest.mark.promise("P4")
@pytest.mark.parametrize("kind", [GROUP, COMMUNITY, INFO, DATA, TEMPORARY, LIVE, AGENT_GROUP])
def test_a_channel_with_members_is_heard_by_them(people: People, api: Api, kind: int) -> None:
    channel = fresh("c")
    api.done(
        "/channel", channel_id=channel, channel_type=kind, subscribers=[people.ann, people.bob]
    )
    assert people.say(people.ann, channel, kind) == 1
    people.hear({people.bob: [(channel, "hi")]})
    if kind == INFO:
        assert people.say(people.vic, channel, kind, "from outside") == 1
        outside = [(channel, "from outside")]
        people.hear({people.ann: outside, people.bob: outside})
    else:
        assert people.say(people.vic, channel, kind) == 3
    api.done(
        "/channel/subscriber_remove",
        channel_id=channel,
        channel_type=kind,
        subscribers=[people.bob],
    )
    assert people.say(people.ann, channel, kind) == 1
    people.hear({})
    assert api.history(people.ann, channel, channel_type=kind)[0] == (1, "hi")


@pytest.mark.promise("P5")
def test_topics_belong_to_the_members_of_their_community(people: People, api: Api) -> None:
    community = fresh("c")
    news, talk = f"{community}@news", f"{community}@talk"
    assert people.say(people.ann, news, TOPIC) == 5
    members = [people.ann, people.bob]
    api.done("/channel", channel_id=community, channel_type=COMMUNITY, subscribers=members)
    assert people.say(people.ann, news, TOPIC) == 1
    assert people.say(people.bob, talk, TOPIC) == 1
    people.hear({people.ann: [(talk, "hi")], people.bob: [(news, "hi")]})
    assert people.say(people.vic, talk, TOPIC) == 3
    api.done("/channel/whitelist_add", channel_id=news, channel_type=TOPIC, uids=[people.ann])
    assert people.say(people.bob, news, TOPIC) == 13
    assert people.say(people.bob, talk, TOPIC, "on") == 1
    people.hear({people.ann: [(talk, "on")]})
    api.done(
        "/channel/subscriber_remove",
        channel_id=community,
        channel_type=COMMUNITY,
        subscribers=[people.bob],
    )
    assert people.say(people.ann, talk, TOPIC) == 1
    people.hear({})
    assert api.history(people.bob, talk, channel_type=TOPIC) == []


@pytest.mark.parametrize("kind", [VISITORS, SERVICE])
def test_a_visitor_and_who_serves_him_hear_each_other(people: People, api: Api, kind: int) -> None:
    channel = people.vic if kind == VISITORS else f"{people.vic}|desk"
    assert people.say(people.vic, channel, kind, "anybody there?") == 1
    people.hear({})
    api.done(
        "/channel/subscriber_add", channel_id=channel, channel_type=kind, subscribers=[people.ann]
    )
    assert people.say(people.ann, channel, kind, "yes") == 1
    people.hear({people.vic: [(channel, "yes")]})
    assert people.say(people.vic, channel, kind, "good") == 1
    people.hear({people.ann: [(channel, "good")]})
    assert people.say(people.bob, channel, kind) == (3 if kind == VISITORS else 1)
    api.done("/channel/blacklist_add", channel_id=channel, channel_type=kind, uids=[people.vic])
    assert people.say(people.vic, channel, kind) == 4


def test_an_agent_and_its_user_may_call_the_channel_by_the_agent(people: People, api: Api) -> None:
    channel = f"{people.ann}@{people.bob}"
    assert people.say(people.ann, people.bob, AGENT, "help") == 1
    people.hear({people.bob: [(channel, "help")]})
    assert people.say(people.bob, channel, AGENT, "here") == 1
    people.hear({people.ann: [(channel, "here")]})
    assert people.say(people.vic, channel, AGENT) == 11
    both = [(1, "help"), (2, "here")]
    assert api.history(people.ann, people.bob, channel_type=AGENT) == both
    assert api.history(people.bob, channel, channel_type=AGENT) == both


@pytest.mark.promise("P9")
@pytest.mark.parametrize("kind", [SERVICE, INFO, VISITORS, AGENT, LIVE])
def test_bans_and_the_end_of_a_channel_hold_in_every_type(
    people: People, api: Api, kind: int
) -> None:
    names = {SERVICE: f"{people.ann}|d", VISITORS: people.ann, AGENT: f"{people.ann}@{people.bob}"}
    channel = {"channel_id": names.get(kind, fresh("c")), "channel_type": kind}
    if kind == LIVE:
        api.done("/channel/subscriber_add", subscribers=[people.ann], **channel)
    for flags, reason in (({}, 1), ({"send_ban": 1}, 25), ({"ban": 1}, 19), ({"large": 1}, 1)):
        api.done("/channel/info", **channel, **flags)
        assert people.say(people.ann, str(channel["channel_id"]), kind) == reason
    assert api.send("____system", str(channel["channel_id"]), "x", channel_type=kind)[0] == 200
    api.done("/channel/delete", **channel)
    assert people.say(people.ann, str(channel["channel_id"]), kind) == 24


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/channel", {"channel_id": "c", "channel_type": TOPIC}, "community's id"),
        ("/channel/info", {"channel_id": "v", "channel_type": SERVICE}, "visitor's uid"),
        ("/channel/delete", {"channel_id": "u", "channel_type": AGENT}, "two uids"),
        ("/channel/info", {"channel_id": "v@x", "channel_type": VISITORS}, "printable"),
        ("/channel/info", {"channel_id": "c____cmd", "channel_type": LIVE}, "____cmd"),
        (
            "/channel/subscriber_add",
            {"channel_id": "c@t", "channel_type": TOPIC, "subscribers": ["u"]},
            "members of its community",
        ),
        (
            "/channel",
            {"channel_id": "u@a", "channel_type": AGENT, "subscribers": ["x"]},
            "two parties",
        ),
        (
            "/channel/blacklist_add",
            {"channel_id": "c", "channel_type": TOPIC, "uids": ["u"]},
            "community's id",
        ),
        (
            "/message/send",
            {"channel_id": "c", "channel_type": TOPIC, "payload": "eA==", "from_uid": "u"},
            "community's id",
        ),
    ],
)
def test_an_id_that_its_type_cannot_have_is_refused_with_a_sentence(
    api: Api, path: str, body: dict[str, object], words: str
) -> None:
    status, answer = api.call("POST", path, body)
    assert (status, answer["code"]) == (400, "bad_request")
    assert words in answer["msg"]
    assert answer["hint"]


@pytest.mark.promise("P9")
def test_a_type_that_there_is_not_is_refused_by_its_reason(api: Api) -> None:
    for path, more in (("/channel/info", {}), ("/channel/subscriber_add", {"subscribers": ["u"]})):
        status, answer = api.post(path, channel_id="c", channel_type=13, **more)
        assert (status, answer["reason"]) == (400, 23)


@pytest.mark.promise("P9")
def test_who_takes_no_strangers_hears_only_whom_he_knows_or_lists(people: People, api: Api) -> None:
    ann, bob, vic, other = people.ann, people.bob, people.vic, fresh("other")
    assert people.say(bob, ann, PERSON, "before") == 1
    api.done("/channel/info", channel_id=ann, channel_type=PERSON, allow_stranger=0)
    assert people.say(bob, ann, PERSON, "known") == 1
    assert people.say(vic, ann, PERSON) == 11
    for flags in (MessageFlag.NO_PERSIST, MessageFlag.SYNC_ONCE):
        assert people.clients[vic].send(ann, b"typing", PERSON, flags=flags).reason == 11
    assert api.send(other, ann, "over HTTP")[1]["reason"] == 11
    people.hear({ann: [(bob, "before"), (bob, "known")]})
    assert people.say(ann, vic, PERSON, "hello") == 1
    assert people.say(vic, ann, PERSON, "an answer") == 1
    people.hear({vic: [(ann, "hello")], ann: [(vic, "an answer")]})
    api.done("/channel/whitelist_add", channel_id=ann, channel_type=PERSON, uids=[other])
    assert api.sent(other, ann, "listed")["message_seq"] == 1
    people.hear({ann: [(other, "listed")]})
    api.done("/channel/info", channel_id=ann, channel_type=PERSON)
    assert api.sent(fresh("new"), ann, "welcome")["message_seq"] == 1


def test_no_list_stops_a_system_uid_on_any_gateway_after_some_seconds(
    people: People, api: Api
) -> None:
    bot, group = people.vic, fresh("g")
    api.done("/channel", channel_id=group, channel_type=GROUP, subscribers=[people.ann])
    assert people.say(bot, group, GROUP) == 3
    api.done("/user/systemuids_add", uids=[bot, fresh("bot")])
    assert bot in api.call("GET", "/user/systemuids")[1]
    wait_for(lambda: people.say(bot, group, GROUP) == 1, KNOWN_SECONDS, "it is a system uid")
    api.done("/channel/blacklist_add", channel_id=group, channel_type=GROUP, uids=[bot])
    assert people.say(bot, group, GROUP) == 1
    assert api.send(bot, group, "over HTTP", channel_type=GROUP)[0] == 200
    api.done("/user/systemuids_remove", uids=[bot])
    assert bot not in api.call("GET", "/user/systemuids")[1]
    wait_for(lambda: people.say(bot, group, GROUP) == 4, KNOWN_SECONDS, "it is none any more")
    status, answer = api.post("/user/systemuids_add", uids=["a@b"])
    assert (status, answer["code"]) == (400, "bad_request")
    assert api.post("/user/systemuids_add", uids=[])[0] == 400


def test_a_message_that_has_expired_is_nowhere_and_keeps_its_sequence(
    people: People, api: Api
) -> None:
    group = fresh("g")
    api.done("/channel", channel_id=group, channel_type=GROUP, subscribers=[people.ann, people.bob])
    short = people.clients[people.ann].send(group, b"short", GROUP, expire=4)
    people.clients[people.ann].send(group, b"long", GROUP, expire=10_000)
    assert short.message_seq == 1
    both = [(group, "short"), (group, "long")]
    people.hear({people.bob: both})

    def is_gone() -> bool:
        return api.history(people.bob, group, channel_type=GROUP) == [(2, "long")]

    wait_for(is_gone, 30, "the message is left out")
    upwards = api.history(people.bob, group, channel_type=GROUP, start_message_seq=1, pull_mode=1)
    assert upwards == [(2, "long")]


@pytest.mark.parametrize("over_http", [False, True])
def test_a_message_that_is_not_stored_reaches_who_is_online(
    people: People, api: Api, over_http: bool
) -> None:
    group = fresh("g")
    api.done("/channel", channel_id=group, channel_type=GROUP, subscribers=[people.ann, people.bob])
    if over_http:
        header = {"no_persist": 1}
        sent = api.sent(people.ann, group, "now", channel_type=GROUP, header=header)
        assert sent["message_seq"] == 0
        people.hear({people.ann: [(group, "now")], people.bob: [(group, "now")]})
        refused = api.send(people.vic, group, "now", channel_type=GROUP, header=header)
        assert refused[1]["reason"] == 3
    else:
        ack = people.clients[people.ann].send(group, b"now", GROUP, flags=MessageFlag.NO_PERSIST)
        assert (ack.reason, ack.message_seq) == (1, 0)
        people.hear({people.bob: [(group, "now")]})
    assert api.history(people.bob, group, channel_type=GROUP) == []


def send_to(api: Api, uids: list[str], text: str, **more: object) -> tuple[int, Any]:
    payload = base64.b64encode(text.encode()).decode()
    body = {"payload": payload, "subscribers": uids, "header": {"sync_once": 1}, **more}
    return api.post("/message/send", **body)


def test_a_command_may_go_to_exactly_these_uids(people: People, api: Api) -> None:
    uids = [people.ann, people.bob, people.ann]
    channel = uid_list_id([people.ann, people.bob])
    for number, text in enumerate(("one", "two"), 1):
        status, answer = send_to(api, uids, text, client_msg_no=f"{channel}-{number}")
        assert (status, answer["data"]["message_seq"]) == (200, number)
    both = [(channel, "one"), (channel, "two")]
    people.hear({people.ann: both, people.bob: both})
    status, answer = send_to(api, uids, "two", client_msg_no=f"{channel}-2")
    assert (status, answer["data"]["message_seq"]) == (200, 2)
    people.hear({})
    assert api.history(people.ann, channel, channel_type=TEMPORARY) == []
    assert people.say(people.vic, channel, TEMPORARY) == 3


def test_a_command_to_many_uids_reaches_who_is_online(people: People, api: Api) -> None:
    crowd = [fresh("u") for _ in range(2_500)]
    status, _ = send_to(api, [*crowd, people.ann], "hi", from_uid=people.bob)
    assert status == 200
    people.hear({people.ann: [(uid_list_id([*crowd, people.ann]), "hi")]})


@pytest.mark.promise("P9")
def test_a_list_is_never_mixed_with_other_members(people: People, api: Api) -> None:
    channel = uid_list_id([people.ann])
    api.done("/tmpchannel/subscriber_set", channel_id=channel, uids=[people.ann, people.vic])
    status, answer = send_to(api, [people.ann], "hi")
    assert (status, answer["code"]) == (400, "bad_request")
    assert "other members" in answer["msg"]
    people.hear({})


def test_a_banned_user_sends_to_no_list(people: People, api: Api) -> None:
    api.done("/channel/info", channel_id=people.vic, channel_type=PERSON, send_ban=1)
    status, answer = send_to(api, [people.ann], "hi", from_uid=people.vic)
    assert (status, answer["reason"]) == (400, 25)


def test_the_members_of_a_temporary_channel_are_set_as_a_whole(people: People, api: Api) -> None:
    channel = fresh("t")
    for uids in ([people.ann, people.bob], [people.ann, people.vic]):
        api.done("/tmpchannel/subscriber_set", channel_id=channel, uids=uids)
        assert people.say(people.ann, channel, TEMPORARY) == 1
        people.hear({uids[1]: [(channel, "hi")]})
    assert people.say(people.bob, channel, TEMPORARY) == 3
    api.done("/tmpchannel/subscriber_set", channel_id=channel, uids=[])
    assert people.say(people.ann, channel, TEMPORARY) == 3


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (PERSON, "{0}"),
        (GROUP, "{0}"),
        (SERVICE, "{0}|desk"),
        (TOPIC, "{0}@t"),
        (LIVE, "{0}"),
        (AGENT, "{0}@bot"),
    ],
)
def test_both_lists_can_be_kept_for_every_type(api: Api, kind: int, name: str) -> None:
    channel_id = name.format(fresh("c"))
    channel = {"channel_id": channel_id, "channel_type": kind}
    path = f"/channel/whitelist?channel_id={quote(channel_id)}&channel_type={kind}"
    steps = (("add", ["a", "b"]), ("set", ["b", "c"]), ("remove", ["b"]), ("remove_all", None))
    after = (["a", "b"], ["b", "c"], ["c"], [])
    for (step, uids), expected in zip(steps, after, strict=True):
        body = {**channel, "uids": uids} if uids else channel
        for which in ("blacklist", "whitelist"):
            api.done(f"/channel/{which}_{step}", **body)
        assert [row["uid"] for row in api.call("GET", path)[1]] == expected
