"""The short way of a call says what the framework's way says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from http_rig import KEY, HttpRig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.types import Scope

from zmqim.bus.messages import OutcomeCode
from zmqim.gateway.http.app import framework_app, make_app
from zmqim.gateway.http.direct import direct_calls, has_key
from zmqim.gateway.http.examples import EXAMPLES
from zmqim.limits import HTTP_BODY_BYTES_MAX

BODIES = {
    name.removeprefix("POST "): example.request
    for name, example in EXAMPLES.items()
    if name.startswith("POST ")
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.integers(min_value=-(1 << 70), max_value=1 << 70),
    st.floats(allow_nan=False),
    st.sampled_from(["", "1", "0", "true", "ada", "a@b", "é", "\x00", "x" * 300]),
    st.lists(st.sampled_from(["ada", "", 1, None]), max_size=3),
    st.dictionaries(st.sampled_from(["uid", "red_dot"]), st.integers(-1, 2), max_size=2),
)


@pytest.fixture(scope="module")
def rigs() -> Iterator[tuple[HttpRig, HttpRig]]:
    """Two of the same, one for each way."""
    with HttpRig() as short, HttpRig() as framework:
        yield short, framework


def answers(rigs: tuple[HttpRig, HttpRig], path: str, body: bytes) -> list[tuple[int, Any, str]]:
    """(status, JSON, content type) of a body whose length is said, and of the same in chunks, which
    is the framework's to read."""
    short, framework = rigs
    found = []
    for content, rig in ((body, short), (iter([body]), framework)):
        answer = rig.client.post(path, content=content, headers={"token": KEY})
        kind = answer.headers["content-type"]
        found.append((answer.status_code, without_chance(answer.json()), kind))
    return found


def without_chance(answer: Any) -> Any:
    """The answer but for the numbers that were made up for who gave none."""
    if isinstance(answer, list):
        return [without_chance(value) for value in answer]
    if isinstance(answer, dict):
        kept = answer.keys() - {"client_msg_no", "last_client_msg_no"}
        return {key: without_chance(answer[key]) for key in kept}
    return answer


def test_every_post_with_a_body_and_nothing_else_has_a_short_way() -> None:
    rig = HttpRig()
    known = {"asking": 0, "directory": 0, "finished": 0, "senders": 0, "port": 0}
    app = framework_app(rig.gateway_port, known, b"key")
    served = direct_calls(app, known).keys()
    others = BODIES.keys() - served
    assert {path for path in others if not path.startswith("/bench/v1/")} == {"/route/batch"}
    assert len(others) > 1, "what has a guard of its own goes the framework's way"


@pytest.mark.parametrize("path", BODIES)
def test_both_ways_answer_the_same_to_each_example(
    rigs: tuple[HttpRig, HttpRig], path: str
) -> None:
    short, framework = answers(rigs, path, json.dumps(BODIES[path]).encode())
    assert short == framework


@given(data=st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_both_ways_answer_the_same_to_any_values(
    rigs: tuple[HttpRig, HttpRig], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(sorted(BODIES)))
    body = BODIES[path]
    if isinstance(body, dict):
        body = dict(body)
        for key in data.draw(st.lists(st.sampled_from(sorted(body)), max_size=2)):
            body[key] = data.draw(VALUES)
        for key in data.draw(st.lists(st.sampled_from(sorted(body)), max_size=1, unique=True)):
            del body[key]
    else:
        body = data.draw(VALUES)
    short, framework = answers(rigs, path, json.dumps(body).encode())
    assert short == framework


@pytest.mark.parametrize(
    "body",
    [b"{", b"null", b"[]", b"\xff", b'{"uid": "\xff"}', b"[" * 100_000, b'"' + b"x" * 70_000],
    ids=["cut", "null", "list", "bytes", "no-utf8", "deep", "open-string"],
)
def test_what_is_no_json_of_the_call_is_refused_the_same_way(
    rigs: tuple[HttpRig, HttpRig], body: bytes
) -> None:
    short, framework = answers(rigs, "/user/token", body)
    assert short[0] == 400
    assert short == framework


def test_a_wrong_key_is_refused_before_the_body_is_looked_at(
    rigs: tuple[HttpRig, HttpRig],
) -> None:
    answer = rigs[0].client.post("/message/send", content=b"{", headers={"token": "wrong"})
    assert (answer.status_code, answer.json()["code"]) == (401, "no_key")


def test_a_body_above_the_bound_is_refused(rigs: tuple[HttpRig, HttpRig]) -> None:
    body = b" " * (HTTP_BODY_BYTES_MAX + 1)
    answer = rigs[0].client.post("/message/send", content=body, headers={"token": KEY})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_what_the_partition_does_not_answer_is_said_as_ever(rigs: tuple[HttpRig, HttpRig]) -> None:
    for code in (OutcomeCode.BUSY, OutcomeCode.UNAVAILABLE, OutcomeCode.UNKNOWN):
        for rig in rigs:
            rig.port.code = code
        short, framework = answers(rigs, "/channel", json.dumps(BODIES["/channel"]).encode())
        assert short == framework
    for rig in rigs:
        rig.port.code = OutcomeCode.DONE


def test_a_fault_of_ours_is_answered_without_details_and_ends_the_connection() -> None:
    rig = HttpRig()
    rig.port.system_uids = None  # type: ignore[assignment]
    body = json.dumps(BODIES["/message/send"]).encode()
    headers = [(b"token", KEY.encode()), (b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": "POST", "path": "/message/send", "headers": headers}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(TypeError):  # The server ends a connection whose application raised.
        asyncio.run(make_app(rig.gateway_port)(cast(Scope, scope), receive, send))
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["code"] == "internal"


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ([(b"token", b"key")], True),
        ([(b"authorization", b"Bearer key")], True),
        ([(b"authorization", b"bearer key")], True),
        ([(b"authorization", b"Basic key")], False),
        ([(b"authorization", b"key")], False),
        ([(b"token", b"")], False),
        ([(b"token", b""), (b"authorization", b"Bearer key")], True),
        ([(b"token", b"wrong"), (b"authorization", b"Bearer key")], False),
        ([], False),
    ],
)
def test_the_key_is_shown_by_either_header(headers: list[tuple[bytes, bytes]], shown: bool) -> None:
    assert has_key(headers, b"key") is shown
    assert not has_key(headers, b"")
