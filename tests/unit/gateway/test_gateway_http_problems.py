"""Refusals over HTTP have one shape, and say what there is instead of a call that is not built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_rig import HttpRig

from zmqim.gateway.http import problems
from zmqim.gateway.http.not_built import NOT_BUILT
from zmqim.gateway.http.problems import REFUSALS
from zmqim.limits import HTTP_BODY_BYTES_MAX

ROOT = Path(__file__).parents[3]

BELOW = {
    "/migrate": ("/result",),
    "/stress": ("/add", "/remove", "/start", "/stop", "/report", "/infoList", "/templates"),
    "/tag": ("/remove",),
    "/cluster": ("/nodes", "/slots/1/config", "/channels/g/2/subscribers"),
    "/plugins": ("/ai/chat",),
    "/plugin": ("/bind",),
    "/pluginconfig": ("/ai",),
    "/bench/v1/presence": ("/snapshot",),
    "/bench/v1/channel-runtime": ("/snapshot", "/probe", "/evict"),
    "/bench/v1/terminal-fence": ("/prepare",),
}
CALLS = [
    (path + end, words)
    for path, words in NOT_BUILT.items()
    for end in ("", "/", *BELOW.get(path, ()))
]


@pytest.fixture(scope="module")
def rig() -> Iterator[HttpRig]:
    with HttpRig() as rig:
        yield rig


@pytest.mark.promise("P9")
@pytest.mark.parametrize(("path", "words"), CALLS)
def test_a_call_that_is_not_built_says_what_there_is_instead(
    rig: HttpRig, path: str, words: str
) -> None:
    for status, answer in (rig.get(path), rig.post(path, {})):
        assert (status, answer["code"], answer["status"]) == (404, "not_built", 404)
        assert words in answer["msg"]
        assert "docs/COMPATIBILITY.md" in answer["hint"]


@pytest.mark.promise("P9")
def test_a_channel_type_that_no_row_can_hold_is_refused(rig: HttpRig) -> None:
    for path in ("/channel/whitelist", "/channel/last_message"):
        for channel_type in (2**31 + 1, -1, 0, 256):
            status, answer = rig.get(path, channel_id="g", channel_type=channel_type)
            assert (status, answer["code"]) == (400, "bad_request")


def test_the_table_of_codes_has_every_code() -> None:
    given = {code for code, _ in REFUSALS.values()} | {problems.OTHER}
    for module in Path(problems.__file__).parent.glob("*.py"):
        given |= set(re.findall(r'Problem\(\s*\d+,\s*"([a-z_]+)"', module.read_text()))
    table = (ROOT / "docs" / "HTTP.md").read_text()
    assert {code for code in given if f"`{code}`" not in table} == set()
    assert {"busy", "disk_full", "not_built", "no_key", "other_gateway"} <= given


def test_a_body_above_the_bound_is_refused_with_the_bound(rig: HttpRig) -> None:
    status, answer = rig.post("/user/token", {"uid": "ada", "token": HTTP_BODY_BYTES_MAX * "t"})
    assert (status, answer["code"]) == (413, "too_large")
    assert str(HTTP_BODY_BYTES_MAX) in answer["msg"]
    shown = rig.get("/docs/openapi.json")[1]["paths"]["/user/token"]["post"]["responses"]["413"]
    assert shown["content"]["application/json"]["example"] == answer


def test_other_paths_are_just_not_there(rig: HttpRig) -> None:
    for path in ("/", "/nowhere", "/tagged", "/user", "/user/update", "/manager", "/clusters/x"):
        status, answer = rig.get(path)
        assert (status, answer["code"]) == (404, "not_found")
