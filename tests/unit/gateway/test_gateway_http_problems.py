"""Refusals over HTTP have one shape, and say what there is instead of a call that is not built."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_rig import HttpRig

from zmqim.gateway.http.not_built import NOT_BUILT

BELOW = {
    "/migrate": ("/result",),
    "/stress": ("/add", "/remove", "/start", "/stop", "/report", "/infoList", "/templates"),
    "/tag": ("/remove",),
    "/cluster": ("/nodes", "/slots/1/config", "/channels/g/2/subscribers"),
    "/plugins": ("/ai/chat",),
    "/plugin": ("/bind",),
    "/pluginconfig": ("/ai",),
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


def test_other_paths_are_just_not_there(rig: HttpRig) -> None:
    for path in ("/", "/nowhere", "/tagged", "/user", "/user/update", "/manager", "/clusters/x"):
        status, answer = rig.get(path)
        assert (status, answer["code"]) == (404, "not_found")
