"""The HTTP API against a real cluster: shapes, permissions, history, refusals."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from http_calls import Api
from raw_client import APP, WEB, RawClient

from zmqim.chat.channels import person_channel_id
from zmqim.wkproto.packets import Disconnect


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


def fresh(name: str) -> str:
    return f"{name}{secrets.token_hex(4)}"


@pytest.mark.promise("P10")
def test_every_call_but_health_and_docs_needs_the_key(api: Api) -> None:
    for path in ("/route", "/metrics", "/channel/whitelist?channel_id=a&channel_type=2"):
        assert api.call("GET", path, headers={})[0] == 401
    for headers in ({}, {"token": "wrong"}, {"authorization": "Bearer wrong"}):
        status, answer = api.call("POST", "/user/token", {"uid": "a", "token": "b"}, headers)
        assert (status, answer["code"]) == (401, "no_key")
        assert {"msg", "status", "code", "hint"} <= set(answer)
    for path in ("/healthz", "/readyz", "/docs", "/docs/openapi.json"):
        assert api.call("GET", path, headers={})[0] == 200


def test_the_key_may_come_as_bearer(cluster: Any, api: Api) -> None:
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    assert api.call("GET", "/route", headers=headers)[0] == 200


def test_a_message_is_answered_with_its_id_and_sequence(api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    first = api.sent(one, two, "hello", client_msg_no="n1")
    assert (first["message_seq"], first["client_msg_no"], first["reason"]) == (1, "n1", 1)
    assert first["message_idstr"] == str(first["message_id"])
    assert first["message_id"] > 0
    second = api.sent(two, one, "hello back")
    assert second["message_seq"] == 2
    assert second["message_id"] > first["message_id"]


@pytest.mark.promise("P3")
def test_a_repeated_message_number_gets_the_first_answer_and_never_another_payload(
    api: Api,
) -> None:
    one, two = fresh("u"), fresh("u")
    first = api.sent(one, two, "hello", client_msg_no="n1")
    assert api.sent(one, two, "hello", client_msg_no="n1") == first
    status, answer = api.send(one, two, "other", client_msg_no="n1")
    assert (status, answer["reason"], answer["code"]) == (400, 28, "idempotency_conflict")
    assert api.history(one, two) == [(1, "hello")]


@pytest.mark.promise("P9")
def test_group_permissions_say_why(api: Api) -> None:
    group, member, stranger = fresh("g"), fresh("u"), fresh("u")
    status, answer = api.send(member, group, "x", channel_type=2)
    assert (status, answer["reason"]) in {(400, 5), (400, 3)}
    api.done("/channel", channel_id=group, channel_type=2, subscribers=[member])
    assert api.sent(member, group, "x", channel_type=2)["message_seq"] == 1
    assert api.send(stranger, group, "x", channel_type=2)[1]["reason"] == 3
    api.done("/channel/blacklist_add", channel_id=group, channel_type=2, uids=[member])
    assert api.send(member, group, "y", channel_type=2)[1]["reason"] == 4
    api.done("/channel/blacklist_remove", channel_id=group, channel_type=2, uids=[member])
    api.done("/channel/whitelist_set", channel_id=group, channel_type=2, uids=[stranger])
    assert api.send(member, group, "y", channel_type=2)[1]["reason"] == 13
    path = f"/channel/whitelist?channel_id={group}&channel_type=2"
    assert [row["uid"] for row in api.call("GET", path)[1]] == [stranger]
    api.done("/channel/whitelist_remove_all", channel_id=group, channel_type=2)
    assert api.sent(member, group, "y", channel_type=2)["message_seq"] == 2
    api.done("/channel/info", channel_id=group, channel_type=2, ban=1)
    assert api.send(member, group, "z", channel_type=2)[1]["reason"] == 19
    api.done("/channel/info", channel_id=group, channel_type=2, ban=0)
    api.done("/channel/delete", channel_id=group, channel_type=2)
    status, answer = api.send(member, group, "z", channel_type=2)
    assert (status, answer["reason"], answer["code"]) == (400, 24, "disbanded")
    assert api.history(member, group, channel_type=2) == [(1, "x"), (2, "y")]


def test_a_persons_blacklist_stops_private_messages_and_nothing_else(api: Api) -> None:
    owner, blocked, friend = fresh("u"), fresh("u"), fresh("u")
    api.done("/channel/blacklist_add", channel_id=owner, channel_type=1, uids=[blocked])
    assert api.send(blocked, owner, "x")[1]["reason"] == 4
    assert api.sent(friend, owner, "x")["message_seq"] == 1
    assert api.sent(owner, blocked, "x")["message_seq"] == 1
    api.done("/channel/blacklist_remove", channel_id=owner, channel_type=1, uids=[blocked])
    assert api.sent(blocked, owner, "y")["message_seq"] == 2


def test_a_persons_bans(api: Api) -> None:
    uid, peer = fresh("u"), fresh("u")
    api.done("/channel/info", channel_id=uid, channel_type=1, send_ban=1)
    assert api.send(uid, peer, "x")[1]["reason"] == 25
    api.done("/channel/info", channel_id=uid, channel_type=1, ban=1)
    assert api.done("/user/token", uid=uid, token="t")["status"] == 19
    api.done("/channel/info", channel_id=uid, channel_type=1)
    assert api.done("/user/token", uid=uid, token="t") == {"status": 200}
    assert api.sent(uid, peer, "x")["message_seq"] == 1


@pytest.mark.promise("P5")
def test_a_removed_member_reads_up_to_the_removal(api: Api) -> None:
    group, stays, leaves = fresh("g"), fresh("u"), fresh("u")
    api.done("/channel/subscriber_add", channel_id=group, subscribers=[stays, leaves])
    api.sent(stays, group, "before", channel_type=2)
    api.done("/channel/subscriber_remove", channel_id=group, subscribers=[leaves])
    api.sent(stays, group, "after", channel_type=2)
    assert api.history(leaves, group, channel_type=2) == [(1, "before")]
    assert api.history(stays, group, channel_type=2) == [(1, "before"), (2, "after")]
    api.done("/channel/subscriber_remove_all", channel_id=group, channel_type=2)
    assert api.send(stays, group, "x", channel_type=2)[1]["reason"] == 3


def test_history_pages_in_both_directions(api: Api) -> None:
    one, two = fresh("u"), fresh("u")
    for number in range(1, 11):
        api.sent(one, two, str(number))
    numbers = [(n, str(n)) for n in range(1, 11)]
    assert api.history(two, one, limit=3) == numbers[7:]
    assert api.history(two, one, start_message_seq=4, limit=3, pull_mode=1) == numbers[3:6]
    assert (
        api.history(two, one, start_message_seq=4, end_message_seq=6, limit=9, pull_mode=1)
        == numbers[3:5]
    )
    assert api.history(two, one, start_message_seq=4, limit=3) == numbers[1:4]
    assert api.history(two, one, start_message_seq=4, end_message_seq=3, limit=3) == numbers[3:4]
    answer = api.done(
        "/channel/messagesync", login_uid=two, channel_id=one, channel_type=1, limit=3
    )
    assert answer["more"] == 1
    message = answer["messages"][0]
    assert (message["channel_id"], message["from_uid"]) == (one, one)
    assert message["timestamp"] > 1_700_000_000
    assert message["header"] == {"no_persist": 0, "red_dot": 0, "sync_once": 0}


@pytest.mark.promise("P5")
def test_single_messages_are_found_by_sequence_id_and_number(api: Api) -> None:
    one, two, stranger = fresh("u"), fresh("u"), fresh("u")
    first = api.sent(one, two, "hello", client_msg_no="n1")
    second = api.sent(two, one, "hello back", client_msg_no="n2")
    channel = {"channel_id": two, "channel_type": 1, "login_uid": one}
    found = api.done("/messages", message_seqs=[1, 9], client_msg_nos=["n2"], **channel)
    assert [message["message_seq"] for message in found["messages"]] == [1, 2]
    message = api.done("/message", message_id=second["message_id"], **channel)
    assert (message["client_msg_no"], message["from_uid"]) == ("n2", two)
    assert api.done("/message", client_msg_no="n1", **channel)["message_seq"] == 1
    assert api.done("/message", message_id=first["message_id"] + 1, **channel) == {"status": 404}
    both = person_channel_id(one, two)
    path = f"/message/byclientmsgno?channel_id={both}&channel_type=1&client_msg_no=n2"
    assert api.call("GET", path)[1]["message_id"] == second["message_id"]
    for query in ("max_message_seq", "last_message"):
        path = f"/channel/{query}?channel_id={both}&channel_type=1&login_uid="
        assert api.call("GET", path + one)[1]["message_seq"] == 2
        assert api.call("GET", path + stranger)[0] == 400


@pytest.mark.promise("P3")
def test_one_message_to_many_users_can_be_repeated(api: Api) -> None:
    sender, users = fresh("u"), [fresh("u") for _ in range(300)]
    body = {"from_uid": sender, "payload": "aGk=", "client_msg_no": "n1"}
    for _ in range(2):
        answer = api.done("/message/sendbatch", subscribers=users, **body)
        assert answer == {"fail_uids": [], "reason": []}
    for uid in (users[0], users[-1]):
        assert api.history(uid, sender) == [(1, "hi")]


def test_histories_of_many_channels_come_in_one_call(api: Api) -> None:
    me, peers = fresh("u"), [fresh("u") for _ in range(40)]
    for peer in peers:
        api.sent(peer, me, f"from {peer}")
    items = [{"channel_id": peer, "channel_type": 1, "limit": 1} for peer in peers]
    pages = api.done("/channel/messagesyncbatch", login_uid=me, items=items)["items"]
    assert [page["channel_id"] for page in pages] == peers
    assert [page["messages"][0]["from_uid"] for page in pages] == peers
    assert not any(page["error"] for page in pages)


def test_a_channel_that_never_was_cannot_be_disbanded(api: Api) -> None:
    group, member = fresh("g"), fresh("u")
    status, answer = api.post("/channel/delete", channel_id=group, channel_type=2)
    assert (status, answer["code"]) == (400, "channel_not_found")
    api.done("/channel", channel_id=group, channel_type=2, subscribers=[member])
    assert api.sent(member, group, "x", channel_type=2)["message_seq"] == 1


def test_large_member_lists_are_taken_whole(api: Api) -> None:
    group = fresh("g")
    uids = [f"{group}-{number}" for number in range(2_500)]
    api.done("/channel", channel_id=group, channel_type=2, subscribers=uids)
    for uid in (uids[0], uids[1_200], uids[-1]):
        api.sent(uid, group, "x", channel_type=2)


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/user/token", {"uid": "a@b", "token": "t"}),
        ("/user/token", {"uid": "", "token": "t"}),
        ("/user/token", {"uid": "a"}),
        ("/user/token", {"uid": "a\nb", "token": "t"}),
        ("/user/token", {"uid": "a\0", "token": "t"}),
        ("/user/token", {"uid": " ", "token": "t"}),
        ("/user/token", {"uid": "\U0001f600" * 200, "token": "t"}),
        ("/user/token", {"uid": 7, "token": "t"}),
        ("/channel", {"channel_id": "g", "channel_type": 1}),
        ("/channel", {"channel_id": "g#1", "channel_type": 2}),
        ("/channel", {"channel_id": "g", "channel_type": 2, "subscribers": ["a@b"]}),
        ("/channel", {"channel_id": "g", "channel_type": 2, "ban": 2}),
        ("/channel/subscriber_remove", {"channel_id": "g", "subscribers": ["a@b"]}),
        ("/channel/blacklist_add", {"channel_id": "g#1", "channel_type": 2, "uids": ["a"]}),
        ("/channel/whitelist_set", {"channel_id": "g", "channel_type": 2, "uids": ["a@b"]}),
        ("/channel/whitelist_remove_all", {"channel_id": "a@b", "channel_type": 1}),
        (
            "/channel/subscriber_add",
            {"channel_id": "g", "subscribers": ["u"], "temp_subscriber": 1},
        ),
        ("/message/send", {"channel_id": "u", "channel_type": 1, "payload": "no base64!"}),
        ("/message/send", {"channel_id": "u", "channel_type": 1, "payload": "\u009bäöü"}),
        ("/message/send", {"channel_id": "", "channel_type": 1, "payload": "aGk="}),
        (
            "/message/send",
            {"channel_id": "a@b", "channel_type": 1, "payload": "aGk=", "from_uid": "c"},
        ),
        ("/message/send", {"channel_id": "u", "channel_type": 300, "payload": "aGk="}),
        (
            "/message/send",
            {"channel_id": "", "channel_type": 0, "payload": "aGk=", "subscribers": ["a"]},
        ),
        ("/message/send", {"channel_id": "g", "payload": "aGk="}),
        (
            "/message/send",
            {
                "channel_id": "g",
                "payload": "aGk=",
                "subscribers": ["a"],
                "header": {"sync_once": 1},
            },
        ),
        (
            "/message/send",
            {"payload": "aGk=", "subscribers": ["a", "b@c"], "header": {"sync_once": 1}},
        ),
        (
            "/message/send",
            {
                "payload": "aGk=",
                "subscribers": [f"u{number}" for number in range(10_001)],
                "header": {"sync_once": 1},
            },
        ),
        ("/tmpchannel/subscriber_set", {"channel_id": "t@x", "uids": ["a"]}),
        ("/tmpchannel/subscriber_set", {"channel_id": "t", "uids": ["a#b"]}),
        ("/tmpchannel/subscriber_set", {"channel_id": "t"}),
        (
            "/channel/whitelist_add",
            {"channel_id": "g#", "channel_type": 2, "uids": ["a"]},
        ),
        ("/channel/messagesync", {"login_uid": "a", "channel_id": "b@c", "channel_type": 1}),
        (
            "/channel/messagesync",
            {"login_uid": "a", "channel_id": "b", "channel_type": 1, "limit": -1},
        ),
        ("/user/onlinestatus", {"uid": "a"}),
    ],
)
def test_bad_input_gets_a_sentence_and_touches_nothing(
    api: Api, path: str, body: dict[str, Any]
) -> None:
    status, answer = api.call("POST", path, body)
    assert status == 400
    assert {"msg", "status", "code", "hint"} <= set(answer)
    assert answer["msg"]


def test_what_is_no_json_or_no_path_is_refused_in_the_same_shape(api: Api) -> None:
    for body in (b"{", b"", b'{"uid":"\xff","token":"t"}', b"[" * 100_000, b"null", b"7"):
        status, answer = api.call("POST", "/user/token", raw=body)
        assert (status, answer["code"]) == (400, "bad_request"), body[:20]
    status, answer = api.call("GET", "/nowhere")
    assert (status, answer["code"]) == (404, "not_found")
    status, answer = api.call("GET", "/user/token")
    assert (status, answer["code"]) == (405, "method_not_allowed")


def test_route_answers_the_listeners(cluster: Any, api: Api) -> None:
    status, answer = api.call("GET", "/route?uid=a")
    assert status == 200
    assert answer["tcp_addr"].rpartition(":")[2] == str(cluster.tcp).rpartition(":")[2]
    assert answer["ws_addr"].rpartition(":")[2] == str(cluster.ws).rpartition(":")[2]
    assert answer["node_id"] == 1
    assert api.call("POST", "/route/batch", ["a", "b"]) == (200, [answer | {"uids": ["a", "b"]}])


def test_an_operator_sees_connections_and_ends_them(cluster: Any, api: Api) -> None:
    kicked, removed = fresh("u"), fresh("u")
    for uid, path in ((kicked, "/conn/kick"), (removed, "/conn/remove")):
        with RawClient.login(cluster, api, uid, device_id="phone") as client:
            assert client.send(uid, b"to myself").reason == 1
            answer = api.call("GET", f"/connz?uid={uid}")[1]
            assert answer["total"] == 1
            row = answer["connections"][0]
            assert (row["uid"], row["device_id"], row["in_msgs"]) == (uid, "phone", 1)
            assert row["port"] == client.socket.getsockname()[1]
            status, refusal = api.post(path, uid="someone", conn_id=row["id"])
            assert (status, refusal["code"]) == (404, "not_found")
            api.done(path, uid=uid, conn_id=row["id"], node_id=row["node_id"])
            if path == "/conn/kick":
                assert client.expect(Disconnect).reason == 12
            assert client.is_closed()
    assert api.call("GET", f"/connz?uid={kicked}")[1]["total"] == 0


def test_the_server_says_how_it_is(api: Api) -> None:
    assert api.call("GET", "/health", headers={}) == (200, {"status": "ok"})
    answer = api.call("GET", "/varz?show=conn")[1]
    assert (answer["server_id"], answer["server_name"]) == ("1", "gateway-1")
    assert len(answer["conns"]) == answer["connections"]
    assert api.call("GET", "/varz/setting")[1]["prometheus_on"] == 1


def test_metrics_are_prometheus_text(api: Api) -> None:
    status, text = api.call("GET", "/metrics")
    assert status == 200
    assert "zmqim_" in text


def test_the_reference_page_lists_every_call(api: Api) -> None:
    _, document = api.call("GET", "/docs/openapi.json")
    _, page = api.call("GET", "/docs")
    assert "/message/send" in document["paths"]
    for path in document["paths"]:
        assert path in page


def test_nobody_online_is_a_status(api: Api) -> None:
    assert api.call("POST", "/user/onlinestatus", [fresh("u")]) == (200, {"status": 200})


def test_who_is_online_is_told_by_device(cluster: Any, api: Api) -> None:
    uid, away = fresh("u"), fresh("u")
    with (
        RawClient.login(cluster, api, uid),
        RawClient.login(cluster, api, uid, flag=WEB, device_id="browser"),
    ):
        rows = api.call("POST", "/user/onlinestatus", [uid, away])[1]
    assert sorted(rows, key=lambda row: int(row["device_flag"])) == [
        {"uid": uid, "device_flag": flag, "online": 1} for flag in (APP, WEB)
    ]
