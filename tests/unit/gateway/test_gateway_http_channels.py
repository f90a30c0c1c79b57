"""Calls about channels: bad input is refused before a partition is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from http_rig import HttpRig

GROUP = {"channel_id": "g", "channel_type": 2}
BAD_GROUPS = [{"channel_id": name, "channel_type": 2} for name in ("g#1", "a@b", " ", "", "g\n")]
LISTS = [
    f"/channel/{name}_{action}"
    for name in ("blacklist", "whitelist")
    for action in ("add", "set", "remove")
]
MEMBERS = ["/channel/subscriber_add", "/channel/subscriber_remove"]


@pytest.fixture(scope="module")
def rig() -> Iterator[HttpRig]:
    with HttpRig() as rig:
        yield rig


def refused(rig: HttpRig, path: str, body: dict[str, Any]) -> None:
    asked = len(rig.port.asked)
    status, answer = rig.post(path, body)
    assert (status, answer["code"]) == (400, "bad_request")
    assert answer["msg"]
    assert len(rig.port.asked) == asked


@pytest.mark.promise("P9")
@pytest.mark.parametrize("channel", BAD_GROUPS, ids=str)
def test_a_group_that_cannot_be_is_not_touched(rig: HttpRig, channel: dict[str, Any]) -> None:
    for path in LISTS:
        refused(rig, path, {**channel, "uids": ["ada"]})
    for path in ("/channel/blacklist_remove_all", "/channel/subscriber_remove_all"):
        refused(rig, path, channel)
    for path in ("/channel", "/channel/info", "/channel/delete"):
        refused(rig, path, channel)
    for path in MEMBERS:
        refused(rig, path, {**channel, "subscribers": ["ada"]})


@pytest.mark.promise("P9")
@pytest.mark.parametrize("uid", ["a@b", "", "\0", "a#", "x" * 513])
def test_one_uid_that_cannot_be_refuses_the_whole_list(rig: HttpRig, uid: str) -> None:
    for path in LISTS:
        refused(rig, path, {**GROUP, "uids": ["ada", uid]})
        refused(rig, path, {"channel_id": "ada", "channel_type": 1, "uids": [uid]})
        refused(rig, path, {"channel_id": uid, "channel_type": 1, "uids": ["ada"]})
    for path in [*MEMBERS, "/channel"]:
        refused(rig, path, {**GROUP, "subscribers": ["ada", uid]})


def test_a_list_is_read_back_in_byte_order(rig: HttpRig) -> None:
    rig.done("/channel/whitelist_set", {**GROUP, "uids": ["cid", "ada", "bob"]})
    rig.done("/channel/whitelist_remove", {**GROUP, "uids": ["bob"]})
    rows = [{"id": 1, "uid": "ada"}, {"id": 2, "uid": "cid"}]
    assert rig.get("/channel/whitelist", **GROUP) == (200, rows)
    rig.done("/channel/whitelist_remove_all", GROUP)
    assert rig.get("/channel/whitelist", **GROUP) == (200, [])
