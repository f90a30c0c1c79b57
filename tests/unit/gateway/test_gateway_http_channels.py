"""Calls about channels: bad input is refused before a partition is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from http_rig import HttpRig

from zmqim.chat.notices import MembersNotice
from zmqim.chat.operations import Operation, RemoveMembers
from zmqim.chat.results import Done
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.problems import Problem

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


def removals(rig: HttpRig) -> list[int]:
    """How many left with each change of members, so far."""
    changes = [one for _, one in rig.port.partition.notices if isinstance(one, MembersNotice)]
    return [len(one.removed) for one in changes if not one.reset]


def member_count(rig: HttpRig, channel_id: str) -> int:
    return rig.port.partition.state.heads.find(2, channel_id).head.member_count


def test_members_who_leave_together_leave_in_portions(
    rig: HttpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmqim.limits.MEMBERS_PER_ENTRY_MAX", 2)
    group = {"channel_id": "leaving", "channel_type": 2}
    rig.done("/channel", **group, subscribers=[f"u{n}" for n in range(7)])
    before = len(removals(rig))
    rig.done("/channel/subscriber_remove_all", group)
    assert removals(rig)[before:] == [2, 2, 2]  # the last one as everybody
    assert member_count(rig, "leaving") == 0
    rig.done("/channel/subscriber_remove_all", channel_id="never", channel_type=2)


@pytest.mark.parametrize("stay", [1, 3])
def test_a_reset_of_many_leaves_those_who_stay_as_they_were(
    rig: HttpRig, monkeypatch: pytest.MonkeyPatch, stay: int
) -> None:
    monkeypatch.setattr("zmqim.limits.MEMBERS_PER_ENTRY_MAX", 2)
    name = f"reset{stay}"
    group = {"channel_id": name, "channel_type": 2}
    uids = [f"{name}-{n}" for n in range(7)]
    rig.done("/channel", **group, subscribers=uids)
    body = {"from_uid": uids[0], "payload": "aGk=", "header": {"red_dot": 1}}
    rig.done("/message/send", **group, **body)
    staying = uids[-stay:]
    rig.done("/channel/subscriber_add", **group, subscribers=[*staying, "new"], reset=1)
    assert member_count(rig, name) == stay + 1
    assert max(removals(rig)) <= 2
    for uid in [*staying, "new"]:
        rows = rig.done("/conversation/sync", uid=uid, msg_count=1)
        assert [one["unread"] for one in rows] == [0 if uid == "new" else 1]
    for uid in [*staying, "new"]:
        rig.done("/message/send", **group, **{**body, "from_uid": uid})
    assert rig.post("/message/send", **group, **body)[1]["code"] == "not_subscriber"
    rig.done("/channel/subscriber_remove_all", group)


def test_a_reset_that_stops_says_what_is_left_to_do(
    rig: HttpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmqim.limits.MEMBERS_PER_ENTRY_MAX", 2)
    group = {"channel_id": "stops", "channel_type": 2}
    rig.done("/channel", **group, subscribers=[f"u{n}" for n in range(7)])
    write = Asking.write

    async def broken(self: Asking, key: bytes, operation: Operation) -> Done:
        if isinstance(operation, RemoveMembers) and "u2" in operation.uids:
            raise Problem(503, "unavailable", "no leader")
        return await write(self, key, operation)

    monkeypatch.setattr(Asking, "write", broken)
    for path, more in (
        ("/channel/subscriber_remove_all", {}),
        ("/channel/subscriber_add", {"subscribers": ["u6"], "reset": 1}),
    ):
        status, answer = rig.post(path, **group, **more)
        assert (status, answer["code"]) == (503, "unavailable")
        assert "not everybody was removed: no leader" in answer["msg"]
        assert "again" in answer["hint"]


def test_a_list_is_read_back_in_byte_order(rig: HttpRig) -> None:
    rig.done("/channel/whitelist_set", {**GROUP, "uids": ["cid", "ada", "bob"]})
    rig.done("/channel/whitelist_remove", {**GROUP, "uids": ["bob"]})
    rows = [{"id": 1, "uid": "ada"}, {"id": 2, "uid": "cid"}]
    assert rig.get("/channel/whitelist", **GROUP) == (200, rows)
    rig.done("/channel/whitelist_remove_all", GROUP)
    assert rig.get("/channel/whitelist", **GROUP) == (200, [])
