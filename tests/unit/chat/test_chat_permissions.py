"""Who may send where (WuKongIM v2.2), as a table."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chat_partition import Partition

from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import ChannelType, ListAction, ListName, MessageFlag, Reason, Stranger
from zmqim.chat.operations import (
    AddMembers,
    ChangeList,
    DerivePersonRule,
    SendMessage,
    UpsertChannel,
)
from zmqim.chat.results import Rejected, Sent, Strangers, decode_result

BOTH = person_channel_id("alice", "bob")
GROUP, PERSON = ChannelType.GROUP, ChannelType.PERSON


def _lists(which: ListName, *uids: str) -> ChangeList:
    return ChangeList(GROUP, "g", which, ListAction.ADD, list(uids))


def _rule(which: ListName, present: bool, version: int = 1, force: bool = False):  # type: ignore[no-untyped-def]
    return DerivePersonRule(BOTH, "bob", which, present, version, force)


MEMBERS = AddMembers(GROUP, "g", ["alice", "bob"])
DENY, ALLOW = ListName.DENY, ListName.ALLOW

SUCCESS, STRANGER, DENIED = Reason.SUCCESS, Reason.NOT_SUBSCRIBER, Reason.IN_BLACKLIST
UNLISTED = Reason.NOT_IN_WHITELIST
COMMUNITY, TOPIC = ChannelType.COMMUNITY, ChannelType.COMMUNITY_TOPIC
INFO, VISITORS = ChannelType.INFO, ChannelType.VISITORS

MADE = (
    ChannelType.GROUP,
    ChannelType.COMMUNITY,
    ChannelType.DATA,
    ChannelType.TEMPORARY,
    ChannelType.LIVE,
    ChannelType.AGENT_GROUP,
)
"""Types whose channels somebody must have made."""
NAMES = dict.fromkeys(ChannelType, "x") | {
    ChannelType.CUSTOMER_SERVICE: "v|desk",
    COMMUNITY: "c",
    TOPIC: "c@t",
    VISITORS: "v",
    ChannelType.AGENT: "u@a",
}
WRITERS = dict.fromkeys(MADE, "ann") | {
    ChannelType.CUSTOMER_SERVICE: "v",
    TOPIC: "ann",
    INFO: "anybody",
    VISITORS: "v",
    ChannelType.AGENT: "a",
}
"""Who may write to each, once it is made."""


def _members(kind: ChannelType) -> AddMembers:
    return AddMembers(kind, NAMES[kind], ["ann"])


def _list(kind: ChannelType, which: ListName, uid: str) -> ChangeList:
    return ChangeList(kind, NAMES[kind], which, ListAction.ADD, [uid])


HOME = AddMembers(COMMUNITY, "c", ["ann"])
IN_TOPIC = (TOPIC, "c@t", "ann", False)
MAKING: dict[ChannelType, list[AddMembers]] = {
    kind: [_members(kind)] if kind in MADE else [HOME] if kind == TOPIC else [] for kind in WRITERS
}

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
    *[
        row
        for kind in MADE
        for row in (
            (
                f"{kind.name}: a stranger",
                [_members(kind)],
                kind,
                NAMES[kind],
                "eve",
                False,
                STRANGER,
            ),
            (f"{kind.name}: never made", [], kind, "y", "ann", False, Reason.CHANNEL_NOT_FOUND),
        )
    ],
    *[
        (f"{kind.name}: {words}", [*MAKING[kind], *before], kind, NAMES[kind], sender, False, why)
        for kind, sender in WRITERS.items()
        for words, before, why in (
            ("a writer", [], Reason.SUCCESS),
            ("a denied writer", [_list(kind, DENY, sender)], Reason.IN_BLACKLIST),
            ("a send ban", [UpsertChannel(kind, NAMES[kind], send_ban=True)], Reason.SEND_BANNED),
            ("a ban", [UpsertChannel(kind, NAMES[kind], ban=True)], Reason.BANNED),
            ("disbanded", [UpsertChannel(kind, NAMES[kind], disband=True)], Reason.DISBANDED),
        )
    ],
    *[
        (f"{kind.name}: privileged", before, kind, NAMES[kind], "sys", True, Reason.SUCCESS)
        for kind in WRITERS
        for before in (
            [*MAKING[kind], _list(kind, DENY, "sys"), _list(kind, ALLOW, "ann")],
            [*MAKING[kind], UpsertChannel(kind, NAMES[kind], send_ban=True)],
        )
    ],
    ("info: off its allow list", [_list(INFO, ALLOW, "ann")], INFO, "x", "eve", False, UNLISTED),
    ("info: on its allow list", [_list(INFO, ALLOW, "eve")], INFO, "x", "eve", False, SUCCESS),
    (
        "the allow list does not stop the visitor",
        [_list(VISITORS, ALLOW, "staff")],
        VISITORS,
        "v",
        "v",
        False,
        SUCCESS,
    ),
    (
        "it stops a member of the visitor's channel",
        [AddMembers(VISITORS, "v", ["ann"]), _list(VISITORS, ALLOW, "staff")],
        VISITORS,
        "v",
        "ann",
        False,
        UNLISTED,
    ),
    ("a topic of no community", [], TOPIC, "c@t", "ann", False, Reason.CHANNEL_NOT_FOUND),
    ("the same, privileged", [], TOPIC, "c@t", "ann", True, Reason.CHANNEL_NOT_FOUND),
    ("a stranger in a topic", [HOME], TOPIC, "c@t", "eve", False, STRANGER),
    ("a topic's allow list", [HOME, _list(TOPIC, ALLOW, "x")], *IN_TOPIC, UNLISTED),
    ("the community denies", [HOME, _list(COMMUNITY, DENY, "ann")], *IN_TOPIC, DENIED),
    ("the community's allow list", [HOME, _list(COMMUNITY, ALLOW, "x")], *IN_TOPIC, UNLISTED),
    ("both lists allow", [HOME, _list(TOPIC, ALLOW, "ann")], *IN_TOPIC, SUCCESS),
    (
        "the community is banned",
        [HOME, UpsertChannel(COMMUNITY, "c", ban=True)],
        *IN_TOPIC,
        Reason.BANNED,
    ),
    (
        "the community is disbanded",
        [HOME, UpsertChannel(COMMUNITY, "c", disband=True)],
        *IN_TOPIC,
        Reason.DISBANDED,
    ),
    (
        "the community may send nothing",
        [HOME, UpsertChannel(COMMUNITY, "c", send_ban=True)],
        *IN_TOPIC,
        Reason.SEND_BANNED,
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
    refusal = partition.state.refusal(send)
    assert (decode_result(refusal) if refusal else Rejected(SUCCESS)) == Rejected(reason)
    result = partition.apply(send)
    if reason is Reason.SUCCESS:
        assert isinstance(result, Sent)
        assert result.sequence == 1
    else:
        assert result == Rejected(reason)


ASK, WELCOME, UNWELCOME = Stranger.ASK, Stranger.WELCOME, Stranger.UNWELCOME


def _to_bob(number: str, stranger: int, sender: str = "alice", **more: object) -> SendMessage:
    return SendMessage(PERSON, BOTH, sender, number, b"x", stranger=stranger, **more)  # type: ignore[arg-type]


@pytest.mark.promise("P9")
def test_a_first_message_to_a_person_is_asked_for_and_judged_by_the_answer() -> None:
    partition = Partition()
    for flags in (0, MessageFlag.SYNC_ONCE):
        assert partition.apply(_to_bob("1", ASK, flags=flags)) == Strangers()
        assert partition.apply(_to_bob("1", UNWELCOME, flags=flags)) == Rejected(Reason.NOT_ALLOWED)
    refusal = partition.state.refusal(_to_bob("1", ASK))
    assert refusal is not None
    assert decode_result(refusal) == Strangers()
    assert partition.state.refusal(_to_bob("1", WELCOME)) is None
    result = partition.apply(_to_bob("1", WELCOME))
    assert isinstance(result, Sent)
    assert result.sequence == 1


@pytest.mark.parametrize(
    "first", [_to_bob("1", WELCOME), _to_bob("1", ASK, "bob", privileged=True)]
)
def test_who_exchanged_a_message_is_no_stranger_in_either_direction(first: SendMessage) -> None:
    partition = Partition()
    assert isinstance(partition.apply(first), Sent)
    for number, sender in enumerate(("alice", "bob")):
        for stranger in (ASK, UNWELCOME):
            send = _to_bob(f"{number}{stranger}", stranger, sender)
            assert isinstance(partition.apply(send), Sent)


def test_a_command_message_makes_nobody_known() -> None:
    partition = Partition()
    command = _to_bob("1", WELCOME, flags=MessageFlag.SYNC_ONCE)
    assert isinstance(partition.apply(command), Sent)
    assert partition.apply(_to_bob("2", ASK)) == Strangers()


@pytest.mark.parametrize(
    ("before", "send"),
    [
        ([_rule(ALLOW, True, 1, True)], _to_bob("1", UNWELCOME)),
        ([], _to_bob("1", UNWELCOME, "sys", privileged=True)),
        ([], SendMessage(PERSON, "bob@bob", "bob", "1", b"x", stranger=UNWELCOME)),
        ([], _to_bob("1", Stranger.UNSAID)),
    ],
    ids=["on the allow list", "privileged", "to oneself", "of an older gateway"],
)
def test_some_pass_without_being_asked_for(
    before: list[DerivePersonRule], send: SendMessage
) -> None:
    partition = Partition()
    for rule in before:
        partition.apply(rule)
    assert isinstance(partition.apply(send), Sent)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (_rule(DENY, True), Reason.IN_BLACKLIST),
        (_rule(ALLOW, False, 1, True), Reason.NOT_IN_WHITELIST),
    ],
)
def test_the_lists_are_asked_before_strangers_are(rule: DerivePersonRule, reason: Reason) -> None:
    partition = Partition()
    partition.apply(rule)
    for stranger in (ASK, UNWELCOME):
        assert partition.apply(_to_bob("1", stranger)) == Rejected(reason)


@pytest.mark.promise("P3")
def test_a_repeat_gets_the_first_answer_whatever_it_says_of_strangers() -> None:
    partition = Partition()
    first = partition.apply(_to_bob("1", WELCOME))
    assert isinstance(first, Sent)
    for stranger in (ASK, UNWELCOME):
        again = partition.apply(_to_bob("1", stranger))
        assert isinstance(again, Sent)
        assert (again.sequence, again.duplicate) == (1, True)


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
