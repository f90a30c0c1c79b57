"""Sending over HTTP: names of the sender, and one message to many."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from http_rig import HttpRig

from zmqim import limits
from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.codes import Reason
from zmqim.gateway.plugin import HookVerdict

PAYLOAD = base64.b64encode(b"hi").decode()


@pytest.fixture
def rig() -> Iterator[HttpRig]:
    with HttpRig() as rig:
        yield rig


def last(rig: HttpRig, uid: str, sender: str = "ada") -> dict[str, Any]:
    """The last message between the two, or the status that there is none."""
    channel = {"channel_id": sender, "channel_type": 1, "login_uid": uid}
    answer: dict[str, Any] = rig.get("/channel/last_message", **channel)[1]
    return answer


def batch(rig: HttpRig, *uids: str, **fields: object) -> tuple[int, Any]:
    body: dict[str, object] = {"from_uid": "ada", "subscribers": list(uids), "payload": PAYLOAD}
    return rig.post("/message/sendbatch", body | fields)


def test_the_sender_may_be_called_sender_uid_and_name_a_device(rig: HttpRig) -> None:
    body = {"channel_id": "bob", "channel_type": 1, "payload": PAYLOAD}
    rig.done("/message/send", sender_uid="ada", device_id="phone", **body)
    assert last(rig, "bob")["from_uid"] == "ada"
    rig.done("/message/send", sender_uid="ada", from_uid="ada", **body)
    status, answer = rig.post("/message/send", sender_uid="ada", from_uid="bob", **body)
    assert (status, answer["code"]) == (400, "bad_request")
    assert last(rig, "bob")["message_seq"] == 2


def test_a_stream_may_be_told_in_the_words_of_the_peer(rig: HttpRig) -> None:
    body = {"from_uid": "ada", "channel_id": "bob", "channel_type": 1, "payload": PAYLOAD}
    for said, setting in (({"is_stream": 1}, 2), ({"is_stream": 1, "setting": 0x80}, 0x82)):
        rig.done("/message/send", **body, **said)
        assert last(rig, "bob")["setting"] == setting
    rig.done("/message/send", **body, is_stream=0)
    assert last(rig, "bob")["setting"] == 0


def test_a_message_without_a_payload_is_refused_and_nothing_is_stored(rig: HttpRig) -> None:
    body = {"from_uid": "ada", "channel_id": "bob", "channel_type": 1, "payload": ""}
    assert rig.post("/message/send", body)[0] == 400
    assert batch(rig, "bob", payload="")[0] == 400
    assert last(rig, "bob") == {"status": 404}


def test_each_of_many_gets_a_message_of_its_own(rig: HttpRig) -> None:
    uids = [f"u{number}" for number in range(600)]
    assert batch(rig, *uids, uids[0]) == (200, {"fail_uids": [], "reason": []})
    for uid in (uids[0], uids[-1]):
        message = last(rig, uid)
        assert (message["message_seq"], message["payload"]) == (1, PAYLOAD)
    everybody = rig.done("/message/sendbatch", subscribers=["u1"], payload=PAYLOAD)
    assert everybody == {"fail_uids": [], "reason": []}
    assert last(rig, "u1", "____system")["from_uid"] == "____system"


@pytest.mark.promise("P3")
def test_a_repeated_batch_sends_only_what_is_missing(rig: HttpRig) -> None:
    batch(rig, "bob", client_msg_no="n1")
    assert batch(rig, "bob", "cid", client_msg_no="n1") == (200, {"fail_uids": [], "reason": []})
    for uid in ("bob", "cid"):
        message = last(rig, uid)
        assert (message["message_seq"], message["client_msg_no"]) == (1, f"n1:{uid}")
    batch(rig, "bob")
    batch(rig, "bob")
    assert last(rig, "bob")["message_seq"] == 3


@pytest.mark.promise("P9")
def test_who_did_not_get_it_is_named_with_the_reason(rig: HttpRig) -> None:
    rig.done("/channel/blacklist_add", channel_id="bob", channel_type=1, uids=["ada"])
    status, answer = batch(rig, "cid", "bob", "dan")
    assert (status, answer["fail_uids"]) == (200, ["bob"])
    assert answer["reason"] == ["the sender is on the blacklist"]
    assert last(rig, "dan")["message_seq"] == 1


def test_without_an_answer_the_reason_says_so(rig: HttpRig) -> None:
    rig.port.code = OutcomeCode.UNKNOWN
    body = {"subscribers": ["bob", "cid"], "payload": PAYLOAD}
    answer = rig.done("/message/sendbatch", body)
    assert answer["fail_uids"] == ["bob", "cid"]
    assert all("may or may not" in reason for reason in answer["reason"])


def test_what_is_left_when_the_call_takes_too_long_is_named(
    rig: HttpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEND_BATCH_MS_MAX", -1)
    asked = len(rig.port.asked)
    _, answer = batch(rig, "bob")
    assert (answer["fail_uids"], "not sent" in answer["reason"][0]) == (["bob"], True)
    assert rig.port.asked[asked:] == [ItemKind.READ]


def test_the_application_is_asked_for_each_of_many(rig: HttpRig) -> None:
    batch(rig, "bob", "cid")
    assert [(draft.from_uid, draft.channel_id) for draft in rig.port.drafts] == [
        ("ada", "bob"),
        ("ada", "cid"),
    ]
    rig.port.verdict = HookVerdict(Reason.NOT_ALLOWED, text="not these words")
    assert batch(rig, "dan") == (200, {"fail_uids": ["dan"], "reason": ["not these words"]})


@pytest.mark.parametrize(
    ("verdict", "code", "hint"),
    [
        (HookVerdict(11, text="not here"), "not_allowed", "the application of [before_send]"),
        (HookVerdict(100), "refused", "the application of [before_send]"),
        (HookVerdict(15, text="no answer"), "system_error", "try again later"),
    ],
)
def test_whom_the_application_refuses_is_told_that_it_did(
    rig: HttpRig, verdict: HookVerdict, code: str, hint: str
) -> None:
    rig.port.verdict = verdict
    body = {"from_uid": "ada", "channel_id": "bob", "channel_type": 1, "payload": PAYLOAD}
    status, answer = rig.post("/message/send", body)
    assert (status, answer["code"], answer["reason"]) == (400, code, verdict.reason)
    assert answer["msg"]
    assert hint in answer["hint"]


def test_a_batch_without_persistence_is_never_logged(rig: HttpRig) -> None:
    asked = len(rig.port.asked)
    batch(rig, "bob", header={"no_persist": 1})
    # Of the sender, then of bob, to whom nobody wrote before.
    assert rig.port.asked[asked:] == [ItemKind.READ, ItemKind.TRANSIENT] * 2


@pytest.mark.parametrize("ban", ["ban", "send_ban"])
def test_a_banned_sender_reaches_nobody(rig: HttpRig, ban: str) -> None:
    rig.done("/channel/info", channel_id="ada", channel_type=1, **{ban: 1})
    status, answer = batch(rig, "bob")
    assert (status, answer["code"]) == (400, {"ban": "banned", "send_ban": "send_banned"}[ban])
    assert last(rig, "bob") == {"status": 404}


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    "fields",
    [
        {"subscribers": []},
        {"subscribers": ["bob", "a@b"]},
        {"subscribers": ["bob", ""]},
        {"subscribers": "bob"},
        {"subscribers": ["u"] * (limits.HTTP_LIST_MAX + 1)},
        {"payload": "no base64!"},
        {"payload": "\u009bäöü"},
        {"payload": base64.b64encode(bytes(limits.PAYLOAD_BYTES_MAX + 1)).decode()},
        {"from_uid": "a@b"},
    ],
    ids=str,
)
def test_a_bad_batch_touches_nothing(rig: HttpRig, fields: dict[str, Any]) -> None:
    status, answer = batch(rig, "bob", **fields)
    assert (status, answer["code"]) == (400, "bad_request")
    assert rig.port.asked == []
