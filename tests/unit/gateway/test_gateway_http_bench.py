"""/bench/v1: off unless it is switched on, batches checked as a whole, each item what its own call
does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from http_rig import HttpRig

from zmqim.bus.messages import OutcomeCode
from zmqim.chat.queries import MembersQuery, UserQuery
from zmqim.chat.results import MembersPage, UserRow
from zmqim.gateway.http.bench_examples import BENCH_EXAMPLES
from zmqim.gateway.tokens import token_is_right
from zmqim.limits import BENCH_ITEMS_MAX, HTTP_LIST_MAX

RUN = {"run_id": "r", "batch_id": "r-0"}
TOKENS = "/bench/v1/users/tokens"
CHANNELS = "/bench/v1/channels"
MEMBERS = "/bench/v1/channels/subscribers"
REMOVAL = "/bench/v1/channels/subscribers/remove"


@pytest.fixture
def rig() -> Iterator[HttpRig]:
    with HttpRig(bench_is_on=True) as rig:
        yield rig


def members_of(rig: HttpRig, channel_id: str) -> list[str]:
    page = rig.port.partition.query(MembersQuery(2, channel_id))
    assert isinstance(page, MembersPage)
    return page.uids


def user(rig: HttpRig, uid: str) -> UserRow:
    row = rig.port.partition.query(UserQuery(uid, 0))
    assert isinstance(row, UserRow)
    return row


def group(name: str, *uids: str, **more: object) -> dict[str, object]:
    return {"channel_id": name, "channel_type": 2, "subscribers": list(uids), **more}


@pytest.mark.promise("P10")
@pytest.mark.parametrize("name", BENCH_EXAMPLES)
def test_switched_off_each_call_says_how_it_is_switched_on(name: str) -> None:
    method, path = name.split()
    with HttpRig() as rig:
        status, answer = rig.get(path) if method == "GET" else rig.post(path, {"bad": 1})
        assert (status, answer["code"]) == (404, "bench_off")
        assert "bench = true" in answer["hint"]
        assert rig.port.asked == []


def test_what_is_supported_and_where_to_connect_are_told(rig: HttpRig) -> None:
    status, told = rig.get("/bench/v1/capabilities")
    assert (status, told["enabled"], told["version"]) == (200, True, "bench/v1")
    supports = told["supports"]
    assert supports.pop("channel_types") == ["person", "group"]
    assert {name for name in supports if supports[name]} == {
        "users_tokens_batch",
        "channels_batch",
        "channel_subscribers_batch",
        "channel_subscriber_removals_batch",
        "snapshot",
    }
    target = rig.get("/bench/v1/capacity-target")[1]["gateway"]
    assert target == {"tcp_addr": "127.0.0.1:5100", "ws_addr": "", "wss_addr": "wss://one.example"}
    rig.port.alive = ("gateway-1",)
    assert rig.get("/route", uid="ada") == (200, {**target, "node_id": 1})


def test_a_snapshot_has_the_gateways_own_counts(rig: HttpRig) -> None:
    assert rig.get("/bench/v1/snapshot") == (
        200,
        {"counts": dict(rig.port.counters()), "version": "bench/v1"},
    )


def test_a_batch_of_tokens_stores_each_of_them_and_the_last_of_one_user_counts(
    rig: HttpRig,
) -> None:
    users = [{"uid": f"u-{number}", "token": f"t-{number}"} for number in range(500)]
    users += [{"uid": "u-7", "token": "other"}, {"uid": "u-7", "token": "last"}]
    answer = rig.done(TOKENS, **RUN, users=users, upsert=True)
    assert answer == {**RUN, "accepted": 502}
    for uid, token in (("u-0", "t-0"), ("u-499", "t-499"), ("u-7", "last")):
        row = user(rig, uid)
        assert token_is_right(token, row.salt, row.token_hash)


def test_channels_and_members_of_many_groups_come_and_go_in_batches(rig: HttpRig) -> None:
    names = [f"g-{number}" for number in range(20)]
    channels = [{"channel_id": name, "channel_type": 2} for name in names]
    assert rig.done(CHANNELS, **RUN, channels=channels)["accepted"] == 20
    items = [group(name, "ada", "bob", name) for name in names]
    items += [group("g-0", "cid"), group("g-1", "only", reset=True), group("g-1", "more")]
    assert rig.done(MEMBERS, **RUN, items=items)["accepted"] == 23
    assert members_of(rig, "g-0") == ["ada", "bob", "cid", "g-0"]
    assert members_of(rig, "g-1") == ["more", "only"]
    assert members_of(rig, "g-19") == ["ada", "bob", "g-19"]
    assert rig.done(REMOVAL, **RUN, items=[group("g-0", "ada", "cid")])["accepted"] == 1
    assert members_of(rig, "g-0") == ["bob", "g-0"]


HALF = HTTP_LIST_MAX // 2 + 1
BAD: list[tuple[str, dict[str, Any]]] = [
    (TOKENS, {"users": [{"uid": "ada", "token": "t"}, {"uid": "a@b", "token": "t"}]}),
    (TOKENS, {"users": [{"uid": "ada", "token": "t"}, {"uid": "bob", "token": ""}]}),
    (TOKENS, {"users": []}),
    (TOKENS, {"users": [{"uid": "ada", "token": "t"}] * (BENCH_ITEMS_MAX + 1)}),
    (CHANNELS, {"channels": [group("g"), group("g#1")]}),
    (CHANNELS, {"channels": [group("g"), {"channel_id": "ada", "channel_type": 1}]}),
    (CHANNELS, {"items": [group("g")]}),
    (MEMBERS, {"items": [group("g", "ada"), group("h", "bob", "a&b")]}),
    (MEMBERS, {"items": [group("g", "ada"), group("a@b", "bob", channel_type=1)]}),
    (MEMBERS, {"items": [group("g", *["ada"] * HALF), group("h", *["bob"] * HALF)]}),
    (REMOVAL, {"items": [group("g", "ada"), group("h", "bob", reset=True)]}),
]


@pytest.mark.promise("P9")
@pytest.mark.parametrize(("path", "body"), BAD, ids=range(len(BAD)))
def test_one_item_that_cannot_be_refuses_the_whole_batch(
    rig: HttpRig, path: str, body: dict[str, Any]
) -> None:
    status, answer = rig.post(path, {**RUN, **body})
    assert (status, answer["code"]) == (400, "bad_request")
    assert len(answer["msg"]) > 10
    assert rig.port.asked == []


def test_a_batch_without_its_names_is_refused(rig: HttpRig) -> None:
    users = [{"uid": "ada", "token": "t"}]
    for names in ({}, {"run_id": "r"}, {"run_id": "", "batch_id": "b"}):
        assert rig.post(TOKENS, {**names, "users": users})[0] == 400
    assert rig.port.asked == []


def test_a_banned_user_stops_a_batch_which_says_how_much_is_done(rig: HttpRig) -> None:
    rig.done("/channel/info", channel_id="bad", channel_type=1, ban=1)
    users = [{"uid": uid, "token": "t"} for uid in ("ada", "bad", "cid")]
    status, answer = rig.post(TOKENS, **RUN, users=users)
    assert (status, answer["code"], answer["reason"]) == (400, "banned", 19)
    assert answer["msg"] in (f"{count} of 3 are done: 'bad' is banned" for count in (1, 2))
    assert user(rig, "bad").salt == b""


def test_what_no_partition_answers_stops_a_batch(rig: HttpRig) -> None:
    rig.port.code = OutcomeCode.UNAVAILABLE
    status, answer = rig.post(MEMBERS, **RUN, items=[group("g", "ada")])
    assert (status, answer["code"]) == (503, "unavailable")
    assert "0 of 1 are done" in answer["msg"]
