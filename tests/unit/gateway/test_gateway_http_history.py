"""Reading messages over HTTP: pages, batches, last ones and single ones, and who may see what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from http_rig import HttpRig

from zmqim import limits
from zmqim.bus.messages import OutcomeCode
from zmqim.chat import look_up as partition_look_up
from zmqim.chat.channels import person_channel_id
from zmqim.gateway.http import look_up

BOTH = person_channel_id("ada", "bob")
ELSEWHERE = person_channel_id("cid", "dan")


@pytest.fixture
def rig() -> Iterator[HttpRig]:
    """A group g of ada, bob and eve with two messages of ada; eve left between them. A message of
    ada to bob."""
    with HttpRig() as rig:
        members = ["ada", "bob", "eve"]
        rig.done("/channel", channel_id="g", channel_type=2, subscribers=members)
        rig.sent("ada", "g", "one", "n1")
        rig.done("/channel/subscriber_remove", channel_id="g", subscribers=["eve"])
        rig.sent("ada", "g", "two", "n2")
        rig.sent("ada", "bob", "private", "p1", channel_type=1)
        yield rig


def seqs(answer: dict[str, Any]) -> list[int]:
    return [message["message_seq"] for message in answer["messages"]]


# ---- the newest ----------------------------------------------------------------------------------


@pytest.mark.promise("P5")
def test_the_last_sequence_and_message_are_those_that_the_asker_may_see(rig: HttpRig) -> None:
    for uid, last, number in (("ada", 2, "n2"), ("eve", 1, "n1"), ("", 2, "n2")):
        channel = {"channel_id": "g", "channel_type": 2, "login_uid": uid}
        assert rig.get("/channel/max_message_seq", **channel) == (200, {"message_seq": last})
        status, message = rig.get("/channel/last_message", **channel)
        assert (status, message["client_msg_no"]) == (200, number)


def test_an_empty_channel_has_sequence_0_and_no_last_message(rig: HttpRig) -> None:
    channel = {"channel_id": "nowhere", "channel_type": 2}
    assert rig.get("/channel/max_message_seq", **channel) == (200, {"message_seq": 0})
    assert rig.get("/channel/last_message", **channel) == (200, {"status": 404})


def test_a_person_channel_is_named_by_the_peer_or_by_both(rig: HttpRig) -> None:
    for channel_id, uid, seen_as in (
        ("bob", "ada", "bob"),
        ("ada", "bob", "ada"),
        (BOTH, "bob", "ada"),
        ("bob@ada", "ada", "bob"),
        (BOTH, "", BOTH),
    ):
        channel = {"channel_id": channel_id, "channel_type": 1, "login_uid": uid}
        status, message = rig.get("/channel/last_message", **channel)
        assert (status, message["client_msg_no"], message["channel_id"]) == (200, "p1", seen_as)


@pytest.mark.parametrize(
    ("channel_id", "uid"),
    [("bob", ""), (BOTH, "eve"), (ELSEWHERE, "ada"), ("a@b@c", "a"), ("@", ""), ("b", "a@b")],
)
def test_who_is_no_party_of_a_person_channel_is_refused_everywhere(
    rig: HttpRig, channel_id: str, uid: str
) -> None:
    asked = len(rig.port.asked)
    channel = {"channel_id": channel_id, "channel_type": 1, "login_uid": uid}
    answers = [
        rig.get("/channel/max_message_seq", **channel),
        rig.get("/channel/last_message", **channel),
        rig.get("/message/byclientmsgno", client_msg_no="p1", **channel),
        rig.post("/message", client_msg_no="p1", **channel),
        rig.post("/messages", client_msg_nos=["p1"], **channel),
        rig.post("/channel/messagesync", **channel),
    ]
    for status, answer in answers:
        assert (status, answer["code"]) == (400, "bad_request")
        assert answer["msg"]
    assert len(rig.port.asked) == asked


# ---- by name -------------------------------------------------------------------------------------


def test_messages_are_found_by_any_of_the_lists(rig: HttpRig) -> None:
    _, last = rig.get("/channel/last_message", channel_id="g", channel_type=2)
    channel = {"channel_id": "g", "channel_type": 2, "login_uid": "ada"}
    answer = rig.done(
        "/messages", message_seqs=[1], message_ids=[last["message_id"]], client_msg_nos=["n1"],
        **channel,
    )  # fmt: skip
    assert {name: answer[name] for name in ("start_message_seq", "end_message_seq", "more")} == {
        "start_message_seq": 0,
        "end_message_seq": 0,
        "more": 0,
    }
    assert seqs(answer) == [1, 2]
    assert rig.done("/messages", **channel)["messages"] == []
    assert seqs(rig.done("/messages", message_seqs=[3, 9, 2], **channel)) == [2]


@pytest.mark.promise("P5")
def test_a_removed_member_finds_nothing_behind_the_removal(rig: HttpRig) -> None:
    channel = {"channel_id": "g", "channel_type": 2, "login_uid": "eve"}
    assert seqs(rig.done("/messages", message_seqs=[1, 2], **channel)) == [1]
    assert rig.done("/message", client_msg_no="n2", **channel) == {"status": 404}
    by_number = rig.get("/message/byclientmsgno", client_msg_no="n2", **channel)
    assert by_number == (200, {"status": 404})


def test_one_message_is_found_by_its_id_or_its_number(rig: HttpRig) -> None:
    channel = {"channel_id": "g", "channel_type": 2}
    first = rig.done("/message", client_msg_no="n1", **channel)
    assert (first["message_seq"], first["from_uid"]) == (1, "ada")
    assert rig.done("/message", message_id=first["message_id"], **channel) == first
    both = rig.done("/message", message_id=first["message_id"], client_msg_no="n2", **channel)
    assert both == first
    assert rig.get("/message/byclientmsgno", client_msg_no="n1", **channel) == (200, first)
    assert rig.done("/message", message_id=first["message_id"] + 1, **channel) == {"status": 404}
    status, answer = rig.post("/message", **channel)
    assert (status, answer["msg"]) == (400, "message_id and client_msg_no are missing")


def test_a_private_message_is_found_by_the_number_under_either_name(rig: HttpRig) -> None:
    for channel_id, uid in ((BOTH, ""), ("bob", "ada"), ("ada", "bob")):
        status, message = rig.get(
            "/message/byclientmsgno",
            channel_id=channel_id, channel_type=1, client_msg_no="p1", login_uid=uid,
        )  # fmt: skip
        assert (status, message["message_seq"]) == (200, 1)


def test_a_call_goes_on_until_all_senders_of_a_group_were_looked_through(
    rig: HttpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_look_up, "LOOK_UP_STEPS_MAX", 2)
    rig.sent("bob", "g", "three", "n1")
    channel = {"channel_id": "g", "channel_type": 2}
    asked = len(rig.port.asked)
    assert seqs(rig.done("/messages", client_msg_nos=["n1"], **channel)) == [1, 3]
    assert len(rig.port.asked) > asked + 1
    monkeypatch.setattr(limits, "LOOK_UP_MS_MAX", -1)
    status, answer = rig.post("/messages", client_msg_nos=["n1"], **channel)
    assert (status, answer["code"]) == (503, "unavailable")
    assert rig.done("/message", client_msg_no="n1", **channel)["message_seq"] == 1


def test_more_messages_than_fit_into_an_answer_are_cut_between_questions(
    rig: HttpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_look_up, "LOOK_UP_STEPS_MAX", 2)
    monkeypatch.setattr(look_up.limits, "PULL_BYTES_MAX", 1)
    rig.sent("bob", "g", "three", "n1")
    answer = rig.done("/messages", channel_id="g", channel_type=2, client_msg_nos=["n1"])
    assert (seqs(answer), answer["more"]) == ([1], 1)


# ---- many channels -------------------------------------------------------------------------------


def test_a_batch_answers_each_channel_for_itself_in_the_order_asked(rig: HttpRig) -> None:
    items = [
        {"channel_id": "g", "channel_type": 2, "limit": 1},
        {"channel_id": ELSEWHERE, "channel_type": 1},
        {"channel_id": "ada", "channel_type": 1},
        {"channel_id": "nowhere", "channel_type": 2},
        {"channel_id": "g", "channel_type": 2, "start_message_seq": 1, "pull_mode": 1},
    ]
    answer = rig.done("/channel/messagesyncbatch", login_uid="bob", items=items)["items"]
    assert [(page["channel_id"], page["channel_type"]) for page in answer] == [
        (item["channel_id"], item["channel_type"]) for item in items
    ]
    assert [seqs(page) for page in answer] == [[2], [], [1], [], [1, 2]]
    assert [page["more"] for page in answer] == [1, 0, 0, 0, 0]
    assert [bool(page["error"]) for page in answer] == [False, True, False, False, False]
    assert rig.done("/channel/messagesyncbatch", login_uid="bob", items=[]) == {"items": []}


def test_a_batch_says_which_channels_no_longer_fit_into_the_answer(
    rig: HttpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_ANSWER_BYTES_MAX", 0)
    monkeypatch.setattr(limits, "HTTP_ASKS_AT_ONCE_MAX", 1)
    items = [{"channel_id": "g", "channel_type": 2}] * 2
    pages = rig.done("/channel/messagesyncbatch", login_uid="bob", items=items)["items"]
    assert [(seqs(page), page["more"]) for page in pages] == [([1, 2], 0), ([], 1)]
    assert "full" in pages[1]["error"]


def test_a_batch_without_a_leader_has_an_error_in_every_item(rig: HttpRig) -> None:
    rig.port.code = OutcomeCode.UNAVAILABLE
    items = [{"channel_id": "g", "channel_type": 2}] * 2
    pages = rig.done("/channel/messagesyncbatch", login_uid="bob", items=items)["items"]
    assert all("no leader" in page["error"] for page in pages)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/messages", {"message_seqs": [1] * (limits.MESSAGES_BY_MAX + 1)}),
        ("/messages", {"client_msg_nos": [""]}),
        ("/messages", {"message_ids": [-1]}),
        ("/message", {"message_id": "x7"}),
        ("/message", {"message_id": 2**63}),
    ],
)
def test_bad_lists_are_refused_with_a_sentence(
    rig: HttpRig, path: str, fields: dict[str, Any]
) -> None:
    asked = len(rig.port.asked)
    status, answer = rig.post(path, channel_id="g", channel_type=2, **fields)
    assert (status, answer["code"]) == (400, "bad_request")
    assert next(iter(fields)) in answer["msg"]
    assert len(rig.port.asked) == asked


def test_more_channels_than_a_batch_takes_are_refused(rig: HttpRig) -> None:
    items = [{"channel_id": "g", "channel_type": 2}] * (limits.SYNC_BATCH_ITEMS_MAX + 1)
    status, answer = rig.post("/channel/messagesyncbatch", login_uid="bob", items=items)
    assert (status, answer["code"]) == (400, "bad_request")
