"""Who may send where (wukongim.md 1.11), as a table."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chat_partition import Partition

from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import ChannelType, ListAction, ListName, Reason
from zmqim.chat.operations import (
    AddMembers,
    ChangeList,
    DerivePersonRule,
    SendMessage,
    UpsertChannel,
)
from zmqim.chat.results import Rejected, Sent

BOTH = person_channel_id("alice", "bob")
GROUP, PERSON = ChannelType.GROUP, ChannelType.PERSON


def _lists(which: ListName, *uids: str) -> ChangeList:
    return ChangeList(GROUP, "g", which, ListAction.ADD, list(uids))


def _rule(which: ListName, present: bool, version: int = 1, force: bool = False):  # type: ignore[no-untyped-def]
    return DerivePersonRule(BOTH, "bob", which, present, version, force)


MEMBERS = AddMembers(GROUP, "g", ["alice", "bob"])
DENY, ALLOW = ListName.DENY, ListName.ALLOW

TABLE = [
    ("a member of a group may send", [MEMBERS], GROUP, "g", "alice", False, Reason.SUCCESS),
    ("an unknown group", [], GROUP, "g", "alice", False, Reason.CHANNEL_NOT_FOUND),
    ("an unknown group, privileged", [], GROUP, "g", "sys", True, Reason.CHANNEL_NOT_FOUND),
    ("a stranger in a group", [MEMBERS], GROUP, "g", "eve", False, Reason.NOT_SUBSCRIBER),
    ("a privileged stranger", [MEMBERS], GROUP, "g", "sys", True, Reason.SUCCESS),
    (
        "ban comes before everything",
        [MEMBERS, UpsertChannel(GROUP, "g", ban=True, disband=True)],
        GROUP,
        "g",
        "sys",
        True,
        Reason.BANNED,
    ),
    (
        "disbanded stays disbanded",
        [MEMBERS, UpsertChannel(GROUP, "g", disband=True), UpsertChannel(GROUP, "g")],
        GROUP,
        "g",
        "alice",
        False,
        Reason.DISBANDED,
    ),
    (
        "the deny list comes before membership",
        [MEMBERS, _lists(DENY, "eve")],
        GROUP,
        "g",
        "eve",
        False,
        Reason.IN_BLACKLIST,
    ),
    (
        "a denied member",
        [MEMBERS, _lists(DENY, "alice")],
        GROUP,
        "g",
        "alice",
        False,
        Reason.IN_BLACKLIST,
    ),
    (
        "a member outside the allow list",
        [MEMBERS, _lists(ALLOW, "bob")],
        GROUP,
        "g",
        "alice",
        False,
        Reason.NOT_IN_WHITELIST,
    ),
    (
        "a member on the allow list",
        [MEMBERS, _lists(ALLOW, "bob")],
        GROUP,
        "g",
        "bob",
        False,
        Reason.SUCCESS,
    ),
    (
        "the allow list alone makes nobody a member",
        [MEMBERS, _lists(ALLOW, "eve")],
        GROUP,
        "g",
        "eve",
        False,
        Reason.NOT_SUBSCRIBER,
    ),
    (
        "a group whose sending is banned",
        [MEMBERS, UpsertChannel(GROUP, "g", send_ban=True)],
        GROUP,
        "g",
        "alice",
        False,
        Reason.SEND_BANNED,
    ),
    ("two persons", [], PERSON, BOTH, "alice", False, Reason.SUCCESS),
    ("a third in a person channel", [], PERSON, BOTH, "eve", False, Reason.NOT_ALLOWED),
    ("a privileged third", [], PERSON, BOTH, "sys", True, Reason.SUCCESS),
    ("denied", [_rule(DENY, True)], PERSON, BOTH, "alice", False, Reason.IN_BLACKLIST),
    ("the denier himself", [_rule(DENY, True)], PERSON, BOTH, "bob", False, Reason.SUCCESS),
    ("denied, privileged", [_rule(DENY, True)], PERSON, BOTH, "alice", True, Reason.SUCCESS),
    (
        "off the allow list in force",
        [_rule(ALLOW, False, 1, True)],
        PERSON,
        BOTH,
        "alice",
        False,
        Reason.NOT_IN_WHITELIST,
    ),
    (
        "on the allow list in force",
        [_rule(ALLOW, True, 1, True)],
        PERSON,
        BOTH,
        "alice",
        False,
        Reason.SUCCESS,
    ),
    (
        "an older derived rule changes nothing",
        [
            _rule(DENY, False, 7),
            _rule(DENY, True, 3),
            _rule(ALLOW, False, 4),
            _rule(ALLOW, False, 2, True),
        ],
        PERSON,
        BOTH,
        "alice",
        False,
        Reason.SUCCESS,
    ),
    ("info passes", [], ChannelType.INFO, "news", "eve", False, Reason.SUCCESS),
    (
        "customer service passes",
        [],
        ChannelType.CUSTOMER_SERVICE,
        "v|c",
        "eve",
        False,
        Reason.SUCCESS,
    ),
    ("the visitor himself", [], ChannelType.VISITORS, "v1", "v1", False, Reason.SUCCESS),
    (
        "another in a visitor's channel",
        [],
        ChannelType.VISITORS,
        "v1",
        "eve",
        False,
        Reason.NOT_SUBSCRIBER,
    ),
    ("a party of an agent channel", [], ChannelType.AGENT, "u@a", "a", False, Reason.SUCCESS),
    (
        "no party of an agent channel",
        [],
        ChannelType.AGENT,
        "u@a",
        "eve",
        False,
        Reason.NOT_ALLOWED,
    ),
    (
        "live is not served",
        [],
        ChannelType.LIVE,
        "l",
        "eve",
        False,
        Reason.CHANNEL_TYPE_NOT_SUPPORTED,
    ),
    ("an unknown type", [], 200, "l", "sys", True, Reason.CHANNEL_TYPE_NOT_SUPPORTED),
]


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    ("before", "channel_type", "channel", "sender", "privileged", "reason"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_the_permission_table(before, channel_type, channel, sender, privileged, reason) -> None:  # type: ignore[no-untyped-def]
    partition = Partition()
    for operation in before:
        partition.apply(operation)
    send = SendMessage(channel_type, channel, sender, "1", b"x", privileged=privileged)
    assert partition.state.judge_transient(send) == reason
    result = partition.apply(send)
    if reason is Reason.SUCCESS:
        assert isinstance(result, Sent)
        assert result.sequence == 1
    else:
        assert result == Rejected(reason)


def test_a_refusal_takes_no_sequence_and_is_judged_anew() -> None:
    partition = Partition()
    partition.apply(MEMBERS)
    send = SendMessage(GROUP, "g", "eve", "1", b"x")
    assert partition.apply(send) == Rejected(Reason.NOT_SUBSCRIBER)
    partition.apply(AddMembers(GROUP, "g", ["eve"]))
    result = partition.apply(send)
    assert isinstance(result, Sent)
    assert (result.sequence, result.duplicate) == (1, False)


_: Callable[..., object] = _rule
