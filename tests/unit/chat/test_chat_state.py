"""The state machine: sequences, duplicates, ids, members, lists, users, request memory."""

from __future__ import annotations

import pytest
from chat_partition import HLC, PARTITION, Partition

from zmqim.chat import keys as keys_module
from zmqim.chat.channels import SYSTEM_UIDS, person_channel_id, route_key_of_channel
from zmqim.chat.codes import ChannelType, ListAction, ListName, MessageFlag, Reason
from zmqim.chat.encoding import encode
from zmqim.chat.messages import MESSAGE_ID_EPOCH_MS, TransientIds, next_message_id
from zmqim.chat.notices import MembersNotice, MessageNotice, UserNotice
from zmqim.chat.operations import (
    AddMembers,
    ChangeList,
    ClearToken,
    DerivePersonRule,
    Notified,
    OutboxDone,
    RemoveMembers,
    SendMessage,
    SetToken,
    SetUser,
    UpsertChannel,
    decode_operation,
)
from zmqim.chat.queries import (
    ChannelQuery,
    ListQuery,
    MembersQuery,
    MessagesQuery,
    OutboxQuery,
    Probe,
    UserQuery,
)
from zmqim.chat.results import ChannelRow, Done, MembersPage, MessagesPage, Rejected, Sent, UserRow
from zmqim.errors import DamagedData
from zmqim.limits import REQUEST_MEMORY_MS

GROUP, PERSON = ChannelType.GROUP, ChannelType.PERSON
DENY, ALLOW = ListName.DENY, ListName.ALLOW
BOTH = person_channel_id("alice", "bob")


def group(*uids: str) -> Partition:
    partition = Partition()
    partition.apply(AddMembers(GROUP, "g", list(uids)))
    return partition


def send(number: str, sender: str = "alice", payload: bytes = b"x", flags: int = 0) -> SendMessage:
    return SendMessage(GROUP, "g", sender, number, payload, flags=flags)


def history(partition: Partition, **fields: object) -> MessagesPage:
    page = partition.query(MessagesQuery(GROUP, "g", **fields))  # type: ignore[arg-type]
    assert isinstance(page, MessagesPage)
    return page


def sequences(partition: Partition, **fields: object) -> list[int]:
    return [row.sequence for row in history(partition, **fields).messages]


# ---- messages ------------------------------------------------------------------------------------


@pytest.mark.promise("P2")
def test_sequences_start_at_one_without_gaps_whatever_is_refused_between() -> None:
    partition = group("alice")
    results = [partition.apply(send(str(n), sender="alice" if n % 2 else "eve")) for n in range(10)]
    given = [result.sequence for result in results if isinstance(result, Sent)]
    assert given == [1, 2, 3, 4, 5]


@pytest.mark.promise("P3")
@pytest.mark.parametrize("durable", [False, True])
def test_a_retry_gets_the_first_answer_and_another_payload_a_conflict(durable: bool) -> None:
    partition = group("alice", "bob")
    first = partition.apply(send("1"))
    if durable:
        partition.turn()
        partition.open()
    assert isinstance(first, Sent)
    again = partition.apply(send("1"))
    assert again == Sent(first.sequence, first.message_id, first.hlc, duplicate=True)
    conflict = partition.apply(send("1", payload=b"y"))
    assert isinstance(conflict, Rejected)
    assert conflict.reason == Reason.IDEMPOTENCY_CONFLICT
    other = partition.apply(send("1", sender="bob"))
    assert isinstance(other, Sent)
    assert (other.sequence, other.duplicate) == (2, False)
    assert sequences(partition) == [1, 2]
    assert len([n for _, n in partition.notices if isinstance(n, MessageNotice)]) == 2


@pytest.mark.promise("P3")
def test_a_retry_is_answered_even_when_the_sender_may_not_send_any_more() -> None:
    partition = group("alice")
    first = partition.apply(send("1"))
    partition.apply(RemoveMembers(GROUP, "g", ["alice"]))
    assert isinstance(first, Sent)
    assert partition.apply(send("1")) == Sent(1, first.message_id, first.hlc, duplicate=True)
    assert partition.apply(send("2")) == Rejected(Reason.NOT_SUBSCRIBER)


def test_colliding_hashes_are_told_apart_by_the_full_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "xxh3_128_digest", lambda _: b"\xff" * 16)
    partition = Partition()
    for name in ("g", "h"):
        partition.apply(AddMembers(GROUP, name, ["alice", "bob"]))
        partition.turn()
    for number in ("1", "2"):
        for sender in ("alice", "bob"):
            for name in ("g", "h"):
                result = partition.apply(SendMessage(GROUP, name, sender, number, b"x"))
                assert isinstance(result, Sent)
                assert not result.duplicate
    partition.turn()
    partition.open()
    again = partition.apply(SendMessage(GROUP, "h", "bob", "2", b"x"))
    assert isinstance(again, Sent)
    assert (again.sequence, again.duplicate) == (4, True)
    assert partition.query(ChannelQuery(GROUP, "i")) == ChannelRow(False)


def test_a_sync_once_message_goes_to_the_command_channel_with_its_own_sequence() -> None:
    partition = group("alice")
    partition.apply(send("1"))
    command = partition.apply(send("2", flags=MessageFlag.SYNC_ONCE))
    assert isinstance(command, Sent)
    assert command.sequence == 1
    assert sequences(partition) == [1]
    page = history(partition, command=True)
    assert [decode_operation(row.operation) for row in page.messages] == [
        send("2", flags=MessageFlag.SYNC_ONCE)
    ]
    again = partition.apply(send("2", flags=MessageFlag.SYNC_ONCE))
    assert isinstance(again, Sent)
    assert again.duplicate


def test_a_channel_named_like_a_command_channel_is_another_one() -> None:
    partition = group("alice")
    partition.apply(AddMembers(GROUP, "g____cmd", ["alice"]))
    partition.apply(SendMessage(GROUP, "g____cmd", "alice", "1", b"x"))
    assert sequences(partition, command=True) == []


def test_red_count_counts_the_red_dot_messages_up_to_each() -> None:
    partition = group("alice")
    for number, flags in enumerate((2, 0, 2, 2, 0)):
        partition.apply(send(str(number), flags=flags))
    assert [row.red_count for row in history(partition).messages] == [1, 1, 2, 3, 3]


def test_message_ids_grow_whatever_the_clock_does_and_name_time_and_partition() -> None:
    last = 0
    for hlc in [HLC, HLC, HLC - (5 << 16), HLC + (1 << 16)]:
        message_id = next_message_id(last, hlc, PARTITION)
        assert message_id > last
        assert message_id >> 11 & 0x7FF == PARTITION
        last = message_id
    assert last >> 22 == (HLC >> 16) + 1 - MESSAGE_ID_EPOCH_MS


def test_a_full_counter_borrows_the_next_millisecond_and_never_has_the_top_bit() -> None:
    ids = [0]
    for _ in range(3000):
        ids.append(next_message_id(ids[-1], HLC, PARTITION))
    assert ids == sorted(set(ids))
    assert not any(one & 0x400 for one in ids)
    transient = TransientIds()
    others = [transient.next(HLC, PARTITION) for _ in range(3000)]
    assert others == sorted(set(others))
    assert all(one & 0x400 for one in others)


def test_the_first_milliseconds_before_the_epoch_count_as_the_epoch() -> None:
    assert next_message_id(0, 0, 3) == (3 << 11) | 1


# ---- history -------------------------------------------------------------------------------------


def _ten() -> Partition:
    partition = group("alice", "bob")
    for n in range(10):
        partition.apply(send(str(n)))
    return partition


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize(
    ("fields", "expected", "more"),
    [
        ({}, list(range(1, 11)), False),
        ({"limit": 3}, [8, 9, 10], True),
        ({"limit": 3, "pull_mode": 1}, [8, 9, 10], True),
        ({"start": 5, "limit": 3, "pull_mode": 1}, [5, 6, 7], True),
        ({"start": 8, "limit": 3, "pull_mode": 1}, [8, 9, 10], False),
        ({"start": 5, "end": 7, "limit": 9, "pull_mode": 1}, [5, 6], False),
        ({"start": 5, "end": 99, "limit": 9, "pull_mode": 1}, [5, 6, 7, 8, 9, 10], False),
        ({"end": 4, "limit": 2, "pull_mode": 1}, [1, 2], True),
        ({"start": 11, "pull_mode": 1}, [], False),
        ({"start": 7, "limit": 3}, [5, 6, 7], True),
        ({"start": 7, "end": 4, "limit": 3}, [5, 6, 7], False),
        ({"start": 7, "end": 4, "limit": 2}, [6, 7], True),
        ({"start": 99, "limit": 2}, [9, 10], True),
        ({"end": 8, "limit": 9}, [9, 10], False),
        ({"start": 3, "end": 3}, [], False),
        ({"start": -4, "limit": 0}, [10], True),
    ],
)
def test_pulls_follow_their_bounds_and_direction(
    fields: dict[str, int], expected: list[int], more: bool, durable: bool
) -> None:
    partition = _ten()
    if durable:
        partition.turn()
    page = history(partition, **fields)
    assert [row.sequence for row in page.messages] == expected
    assert (page.more, page.last_sequence) == (more, 10)


@pytest.mark.parametrize(("mode", "expected"), [(0, [9, 10]), (1, [1, 2])])
def test_a_pull_stops_at_its_bytes_but_gives_one_message(
    monkeypatch: pytest.MonkeyPatch, mode: int, expected: list[int]
) -> None:
    partition = _ten()
    size = len(encode(send("1")))
    for bytes_max, count in ((2 * size, 2), (1, 1)):
        monkeypatch.setattr("zmqim.chat.reading.PULL_BYTES_MAX", bytes_max)
        page = history(partition, pull_mode=mode, start=mode)
        wanted = expected[-count:] if mode == 0 else expected[:count]
        assert [row.sequence for row in page.messages] == wanted
        assert page.more


def test_long_runs_are_read_whole_in_both_directions() -> None:
    partition = group("alice")
    for n in range(600):
        partition.apply(send(str(n)))
    partition.turn()
    assert sequences(partition, limit=1_000) == list(range(1, 601))
    assert sequences(partition, limit=1_000, start=1, pull_mode=1) == list(range(1, 601))


@pytest.mark.promise("P8")
@pytest.mark.parametrize("lost", [3, 10])
def test_a_missing_message_is_damage_and_never_a_gap(lost: int) -> None:
    partition = _ten()
    partition.turn()
    channel = partition.state.heads.find(GROUP, "g")
    key, _ = partition.state.keys.messages(channel.chan16, lost, lost)
    assert partition.store.get(key) is not None
    partition.store.write([(key, None)])
    with pytest.raises(DamagedData):
        history(partition)


def test_an_unknown_channel_has_no_history() -> None:
    assert history(Partition()) == MessagesPage([], False, 0)


@pytest.mark.promise("P5")
def test_a_removed_member_sees_what_was_before_the_removal() -> None:
    partition = group("alice", "bob")
    partition.apply(send("1"))
    partition.apply(send("c0", flags=MessageFlag.SYNC_ONCE))
    partition.apply(send("c1", flags=MessageFlag.SYNC_ONCE))
    partition.apply(RemoveMembers(GROUP, "g", ["bob"]))
    partition.apply(send("2"))
    partition.apply(send("c2", flags=MessageFlag.SYNC_ONCE))
    partition.apply(send("c3", flags=MessageFlag.SYNC_ONCE))
    assert sequences(partition, login_uid="bob") == [1]
    assert sequences(partition, login_uid="bob", command=True) == [1, 2]
    assert history(partition, login_uid="bob").last_sequence == 1
    assert sequences(partition, login_uid="alice") == [1, 2]
    assert sequences(partition, login_uid="eve") == [1, 2]
    partition.apply(AddMembers(GROUP, "g", ["bob"]))
    assert sequences(partition, login_uid="bob") == [1, 2]


@pytest.mark.promise("P5")
def test_someone_removed_from_a_community_sees_nothing_more_of_its_topics() -> None:
    partition = Partition()
    community, topic = (ChannelType.COMMUNITY, "c"), (ChannelType.COMMUNITY_TOPIC, "c@t")
    partition.apply(AddMembers(*community, ["ann", "bob"]))
    partition.apply(SendMessage(*topic, "ann", "1", b"x"))
    partition.apply(RemoveMembers(*community, ["bob"]))
    seen = {}
    for uid in ("ann", "bob"):
        page = partition.query(MessagesQuery(*topic, uid))
        assert isinstance(page, MessagesPage)
        seen[uid] = [row.sequence for row in page.messages]
    assert seen == {"ann": [1], "bob": []}


@pytest.mark.promise("P5")
def test_a_message_of_a_topic_is_for_the_members_of_the_community_as_they_were() -> None:
    partition = Partition()
    topic = (ChannelType.COMMUNITY_TOPIC, "c@t")
    partition.apply(AddMembers(ChannelType.COMMUNITY, "c", ["ann"]))
    for number in range(2):
        partition.apply(AddMembers(ChannelType.COMMUNITY, "c", [f"bob{number}"]))
        send = SendMessage(*topic, "ann", str(number), b"x")
        partition.apply(send)
        notice = partition.notices[-1][1]
        assert isinstance(notice, MessageNotice)
        assert notice.member_version == len(partition.log) - 1
        assert partition.state.member_version(send) == notice.member_version


@pytest.mark.promise("P5")
def test_whom_the_id_names_sees_everything_even_if_once_removed_as_a_member() -> None:
    partition = Partition()
    channel = (ChannelType.VISITORS, "v")
    partition.apply(AddMembers(*channel, ["v", "ann"]))
    partition.apply(RemoveMembers(*channel, [], everyone=True))
    partition.apply(SendMessage(*channel, "v", "1", b"x"))
    counts = {}
    for uid in ("v", "ann"):
        page = partition.query(MessagesQuery(*channel, uid))
        assert isinstance(page, MessagesPage)
        counts[uid] = len(page.messages)
    assert counts == {"v": 1, "ann": 0}


# ---- members -------------------------------------------------------------------------------------


def members(partition: Partition, **fields: object) -> MembersPage:
    page = partition.query(MembersQuery(GROUP, "g", **fields))  # type: ignore[arg-type]
    assert isinstance(page, MembersPage)
    return page


@pytest.mark.parametrize("durable", [False, True])
def test_member_changes_are_counted_versioned_and_told(durable: bool) -> None:
    partition = Partition()
    changes = [
        AddMembers(GROUP, "g", ["b", "a", "b"]),
        AddMembers(GROUP, "g", ["a"]),
        RemoveMembers(GROUP, "g", ["a", "x"]),
        AddMembers(GROUP, "g", ["c", "b"], reset=True),
        AddMembers(GROUP, "g", ["d"], reset=True),
        RemoveMembers(GROUP, "g", [], everyone=True),
        RemoveMembers(GROUP, "g", [], everyone=True),
        RemoveMembers(GROUP, "unknown", ["a"]),
    ]
    pages = []
    for change in changes:
        assert isinstance(partition.apply(change), Done)
        if durable:
            partition.turn()
        pages.append(members(partition))
    assert pages == [
        MembersPage(1, 2, ["a", "b"], False),
        MembersPage(1, 2, ["a", "b"], False),
        MembersPage(3, 1, ["b"], False),
        MembersPage(4, 2, ["b", "c"], False),
        MembersPage(5, 1, ["d"], False),
        MembersPage(6, 0, [], False),
        MembersPage(6, 0, [], False),
        MembersPage(6, 0, [], False),
    ]
    assert partition.notices == [
        (1, MembersNotice(GROUP, "g", 1, ["b", "a"], [], False, 2, 0)),
        (3, MembersNotice(GROUP, "g", 3, [], ["a"], False, 1, 1)),
        (4, MembersNotice(GROUP, "g", 4, ["c", "b"], [], True, 2, 3)),
        (5, MembersNotice(GROUP, "g", 5, ["d"], [], True, 1, 4)),
        (6, MembersNotice(GROUP, "g", 6, [], [], True, 0, 5)),
    ]
    assert partition.query(ChannelQuery(GROUP, "unknown")) == ChannelRow(False)


def test_members_come_in_pages_that_skip_those_who_left() -> None:
    partition = group(*[f"u{n}" for n in range(9)])
    partition.apply(RemoveMembers(GROUP, "g", ["u0", "u1", "u2", "u5"]))
    seen, after, pages = [], "", 0
    while True:
        page = members(partition, limit=2, after_uid=after)
        seen += page.uids
        pages += 1
        if not page.more:
            break
        after = page.uids[-1]
    assert seen == ["u3", "u4", "u6", "u7", "u8"]
    assert pages == 3
    partition.apply(RemoveMembers(GROUP, "g", ["u8"]))
    assert members(partition, limit=4).more is False


def test_the_members_of_an_agent_channel_are_its_two_parties() -> None:
    page = Partition().query(MembersQuery(ChannelType.AGENT, "u@a"))
    assert page == MembersPage(0, 2, ["a", "u"], False)


def test_the_members_of_a_person_channel_are_its_two_uids() -> None:
    partition = Partition()
    assert partition.query(MembersQuery(PERSON, BOTH)) == MembersPage(0, 2, ["alice", "bob"], False)
    page = partition.query(MembersQuery(PERSON, BOTH, after_uid="alice", limit=1))
    assert page == MembersPage(0, 2, ["bob"], False)
    page = partition.query(MembersQuery(PERSON, BOTH, limit=1))
    assert page == MembersPage(0, 2, ["alice"], True)
    assert partition.query(MembersQuery(PERSON, "a@a")) == MembersPage(0, 1, ["a"], False)


@pytest.mark.parametrize(
    "operation",
    [
        AddMembers(PERSON, BOTH, ["eve"]),
        AddMembers(ChannelType.AGENT, "u@a", ["eve"]),
        AddMembers(ChannelType.COMMUNITY_TOPIC, "c@t", ["eve"]),
        AddMembers(13, "l", ["eve"]),
        UpsertChannel(13, "l"),
        ChangeList(13, "l", DENY, ListAction.ADD, ["eve"]),
    ],
)
def test_what_a_type_does_not_have_cannot_be_changed(operation: AddMembers) -> None:
    result = Partition().apply(operation)
    assert isinstance(result, Rejected)
    assert result.reason == Reason.CHANNEL_TYPE_NOT_SUPPORTED


def test_the_system_uids_are_members_of_a_channel_that_nobody_writes_to() -> None:
    partition = Partition()
    partition.apply(AddMembers(*SYSTEM_UIDS, ["bot", "other"]))
    partition.apply(RemoveMembers(*SYSTEM_UIDS, ["other"]))
    assert partition.query(MembersQuery(*SYSTEM_UIDS)) == MembersPage(2, 1, ["bot"], False)
    for operation in (
        SendMessage(*SYSTEM_UIDS, "bot", "1", b"x", privileged=True),
        UpsertChannel(*SYSTEM_UIDS, ban=True),
        AddMembers(SYSTEM_UIDS[0], "another", ["bot"]),
    ):
        result = partition.apply(operation)
        assert isinstance(result, Rejected)
        assert result.reason == Reason.CHANNEL_TYPE_NOT_SUPPORTED


def test_a_disbanded_channel_takes_no_members() -> None:
    partition = group("alice")
    partition.apply(UpsertChannel(GROUP, "g", disband=True))
    result = partition.apply(AddMembers(GROUP, "g", ["bob"]))
    assert isinstance(result, Rejected)
    assert result.reason == Reason.DISBANDED


def test_a_channel_shows_its_flags_and_counters() -> None:
    partition = group("alice", "bob")
    partition.apply(UpsertChannel(GROUP, "g", large=True, allow_stranger=False))
    partition.apply(send("1"))
    expected = ChannelRow(
        True, large=True, allow_stranger=False, last_sequence=1, member_count=2, member_version=1
    )
    assert partition.query(ChannelQuery(GROUP, "g")) == expected


# ---- lists ---------------------------------------------------------------------------------------


def test_lists_of_a_group_are_changed_in_every_way() -> None:
    partition = group("alice")
    actions = [
        (ListAction.ADD, ["b", "a"], ["a", "b"]),
        (ListAction.SET, ["c", "b"], ["b", "c"]),
        (ListAction.REMOVE, ["b", "x"], ["c"]),
        (ListAction.REMOVE_ALL, [], []),
    ]
    for which in (DENY, ALLOW):
        for action, uids, expected in actions:
            done = partition.apply(ChangeList(GROUP, "g", which, action, uids))
            assert isinstance(done, Done)
            assert done.outbox_upto == 0
            page = partition.query(ListQuery(GROUP, "g", which))
            assert page == MembersPage(1, len(expected), expected, False)


def derived(partition: Partition) -> list[DerivePersonRule]:
    """The rules that the outbox holds, in order; they count as delivered afterwards."""
    rows = partition.state.outbox_after(0, 1_000)
    rules = []
    for _, row in rows:
        rule = decode_operation(row.operation)
        assert isinstance(rule, DerivePersonRule)
        assert row.route_key == route_key_of_channel(PERSON, rule.channel_id)
        rules.append(rule)
    if rows:
        partition.apply(OutboxDone(rows[-1][0]))
    assert partition.state.outbox_after(0, 1_000) == []
    return rules


def _bobs(which: ListName, action: ListAction, *uids: str) -> ChangeList:
    return ChangeList(PERSON, "bob", which, action, list(uids))


def test_a_persons_deny_list_derives_a_rule_for_each_change() -> None:
    partition = Partition()
    done = partition.apply(_bobs(DENY, ListAction.ADD, "alice", "carol"))
    assert done == Done(1, 2)
    channels = [person_channel_id("bob", "alice"), person_channel_id("bob", "carol")]
    assert derived(partition) == [
        DerivePersonRule(channel, "bob", DENY, True, 1) for channel in channels
    ]
    done = partition.apply(_bobs(DENY, ListAction.REMOVE, "carol", "dave"))
    assert done == Done(3, 3)
    assert derived(partition) == [DerivePersonRule(channels[1], "bob", DENY, False, 3)]
    assert partition.apply(_bobs(DENY, ListAction.ADD, "alice")) == Done(5, 0)


def test_an_allow_list_stops_whom_it_once_named_while_it_names_anyone() -> None:
    partition = Partition()

    def change(action: ListAction, *uids: str) -> dict[str, tuple[bool, bool]]:
        partition.apply(_bobs(ALLOW, action, *uids))
        return {
            rule.channel_id.replace("bob", "").strip("@"): (rule.present, rule.owner_restricts)
            for rule in derived(partition)
        }

    assert change(ListAction.ADD, "a", "b") == {"a": (True, True), "b": (True, True)}
    assert change(ListAction.REMOVE, "a") == {"a": (False, True)}
    assert change(ListAction.REMOVE_ALL) == {"a": (False, False), "b": (False, False)}
    assert change(ListAction.ADD, "c") == {
        "a": (False, True),
        "b": (False, True),
        "c": (True, True),
    }
    assert change(ListAction.SET, "a") == {"a": (True, True), "c": (False, True)}


# ---- users ---------------------------------------------------------------------------------------


def test_tokens_are_kept_by_device_flag_and_read_at_connect() -> None:
    partition = Partition()
    assert partition.query(UserQuery("alice", 0)) == UserRow("alice", False)
    partition.apply(SetToken("alice", 0, 1, b"salt", b"hash"))
    partition.apply(SetToken("alice", 1, 0, b"s2", b"h2"))
    partition.apply(SetToken("alicea", 0, 0, b"s3", b"h3"))
    partition.turn()
    assert partition.query(UserQuery("alice", 0)) == UserRow(
        "alice", True, b"salt", b"hash", 1, version=2
    )
    assert partition.query(UserQuery("alice", 2)) == UserRow("alice", True, version=2)
    assert partition.notices == [(1, UserNotice("alice", False, False, 0, 12, 1))]
    partition.apply(ClearToken("alice", 1))
    assert partition.query(UserQuery("alice", 1)) == UserRow("alice", True, version=4)
    assert partition.query(UserQuery("alice", 0)) != UserRow("alice", True, version=4)
    partition.apply(ClearToken("alice", -1))
    assert partition.query(UserQuery("alice", 0)) == UserRow("alice", True, version=5)
    assert partition.query(UserQuery("alicea", 0)) == UserRow(
        "alicea", True, b"s3", b"h3", 0, version=3
    )
    partition.apply(ClearToken("nobody", -1))
    assert [notice for _, notice in partition.notices[1:]] == [
        UserNotice("alice", False, False, 1, 12, 4),
        UserNotice("alice", False, False, -1, 12, 5),
        UserNotice("nobody", False, False, -1, 12, 6),
    ]


def test_bans_are_told_and_a_ban_ends_every_session() -> None:
    partition = Partition()
    partition.apply(SetToken("alice", 0, 0, b"salt", b"hash"))
    partition.apply(SetUser("alice", False, True, allow_stranger=False))
    closed = partition.query(UserQuery("alice", 0))
    assert isinstance(closed, UserRow)
    assert not closed.allow_stranger
    partition.apply(SetUser("alice", True, False))
    assert [notice for _, notice in partition.notices] == [
        UserNotice("alice", False, True, version=2),
        UserNotice("alice", True, False, -1, 19, 3),
    ]
    row = partition.query(UserQuery("alice", 0))
    assert row == UserRow("alice", True, b"salt", b"hash", 0, ban=True, version=3)
    refused = partition.apply(SetToken("alice", 0, 0, b"new", b"new"))
    assert isinstance(refused, Rejected)
    assert refused.reason == Reason.BANNED
    assert partition.query(UserQuery("alice", 0)) == row


# ---- requests, notices, probes -------------------------------------------------------------------


def test_a_repeated_request_id_answers_its_first_result_for_an_hour() -> None:
    partition = Partition()
    first = partition.apply(AddMembers(GROUP, "g", ["a"], request_id=b"r1"))
    partition.apply(RemoveMembers(GROUP, "g", ["a"]))
    assert partition.apply(AddMembers(GROUP, "g", ["a"], request_id=b"r1")) == first
    assert members(partition).uids == []
    partition.turn()
    assert partition.apply(AddMembers(GROUP, "g", ["b"], request_id=b"r2")) == Done(4, 3)
    late = partition.apply(AddMembers(GROUP, "g", ["a"], request_id=b"r1"), ms=REQUEST_MEMORY_MS)
    assert late == Done(5, 4)
    assert members(partition).uids == ["a", "b"]


def test_a_refusal_is_remembered_too() -> None:
    partition = Partition()
    partition.apply(UpsertChannel(GROUP, "g", disband=True))
    change = AddMembers(GROUP, "g", ["a"], request_id=b"r")
    assert partition.apply(change) == partition.apply(change)


def test_old_request_ids_are_forgotten_so_that_their_rows_do_not_grow() -> None:
    partition = Partition()
    for n in range(50):
        partition.apply(UpsertChannel(GROUP, "g", request_id=b"%d" % n))
    for n in range(20):
        partition.apply(UpsertChannel(GROUP, "g", request_id=b"late%d" % n), ms=REQUEST_MEMORY_MS)
    keys = partition.state.keys
    assert len(partition.view.scan(keys.prefix + b"R", keys.prefix + b"S")) == 1
    assert len(partition.view.scan(keys.prefix + b"Q", keys.prefix + b"R")) == 1


@pytest.mark.promise("P4")
@pytest.mark.parametrize("durable", [False, True])
def test_every_notice_can_be_made_again_from_the_rows(durable: bool) -> None:
    partition = group("alice", "bob")
    partition.apply(send("1"))
    partition.apply(send("1"))
    partition.apply(send("2", sender="eve"))
    partition.apply(SendMessage(GROUP, "nowhere", "eve", "1", b"x"))
    partition.apply(send("3", flags=MessageFlag.SYNC_ONCE))
    partition.apply(SetUser("alice", True, False))
    partition.apply(UpsertChannel(GROUP, "g"))
    if durable:
        partition.turn()
        partition.open()
    again = {}
    for index, (hlc, body) in enumerate(partition.log, 1):
        notice = partition.state.notice_again(index, hlc, body)
        if notice is not None:
            again[index] = notice
    assert again == {index: encode(notice) for index, notice in partition.notices}
    partition.apply(Notified(7))
    partition.apply(Notified(3))
    assert partition.state.applied.notified == 7
    assert partition.state.notice_again(7, *partition.log[6]) is None


def test_a_probe_and_a_drained_outbox_are_done() -> None:
    partition = group("alice")
    assert partition.query(Probe()) == Done(1)
    assert partition.query(OutboxQuery(3)) == Done(1)


def test_entries_are_applied_in_order_only() -> None:
    partition = group("alice")
    with pytest.raises(AssertionError):
        partition.state.apply(5, 1, HLC, encode(Probe()), send("1"))


def test_more_heads_than_are_cached_are_read_again() -> None:
    partition = Partition(heads_max=2)
    for n in range(6):
        partition.apply(AddMembers(GROUP, f"g{n}", ["alice"]))
        partition.turn()
    for n in range(6):
        assert isinstance(partition.apply(SendMessage(GROUP, f"g{n}", "alice", "1", b"")), Sent)
    partition.turn()
    assert partition.replayed().digest() == partition.digest()
