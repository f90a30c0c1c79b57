"""Who has which conversations, and how what is unread is found."""

from __future__ import annotations

import pytest
from chat_partition import PARTITIONS, Partition

from zmqim.chat.channels import person_channel_id, route_key_of_user
from zmqim.chat.codes import ChannelType, MessageFlag
from zmqim.chat.listing import head_wanted, read_to, unread_of
from zmqim.chat.operations import (
    AddMembers,
    DeriveConversations,
    MoveCursor,
    RemoveMembers,
    SendMessage,
    decode_operation,
)
from zmqim.chat.queries import ConversationsQuery, HeadsQuery, HeadWanted
from zmqim.chat.results import ConversationsPage, HeadsPage, HeadView
from zmqim.chat.rows import ConversationRow
from zmqim.chat.unread import SENDERS_IN_HEAD
from zmqim.limits import MEMBERS_PER_ENTRY_MAX, PULL_BYTES_MAX
from zmqim.ring.partitions import partition_of
from zmqim.storage.items import check_change

GROUP, PERSON, AGENT = ChannelType.GROUP, ChannelType.PERSON, ChannelType.AGENT


def send(
    partition: Partition, sender: str, channel: str, *, kind: int = GROUP, payload: bytes = b"x"
) -> None:
    number = str(len(partition.log))
    flags = MessageFlag.RED_DOT
    partition.apply(SendMessage(kind, channel, sender, number, payload, flags=flags))


def owed(partition: Partition) -> list[DeriveConversations]:
    """What the partition owes others, with the place of each checked."""
    found = []
    for _, row in partition.state.outbox_after(0, 10_000):
        operation = decode_operation(row.operation)
        assert isinstance(operation, DeriveConversations)
        places = {partition_of(route_key_of_user(uid), PARTITIONS) for uid in operation.uids}
        assert places == {partition_of(row.route_key, PARTITIONS)}
        found.append(operation)
    return found


def rows(partition: Partition, uid: str, after: bytes = b"", limit: int = 99) -> ConversationsPage:
    page = partition.query(ConversationsQuery(uid, after, limit))
    assert isinstance(page, ConversationsPage)
    return page


def head(partition: Partition, uid: str, wanted: HeadWanted) -> HeadView:
    page = partition.query(HeadsQuery(uid, [wanted]))
    assert isinstance(page, HeadsPage)
    return page.heads[0]


def test_one_operation_for_each_partition_that_holds_some_of_the_members() -> None:
    partition = Partition()
    uids = [f"user-{n}" for n in range(1_000)]
    partition.apply(AddMembers(GROUP, "g", uids))
    told = owed(partition)
    assert sorted(uid for operation in told for uid in operation.uids) == sorted(uids)
    assert len(told) == PARTITIONS
    assert {(one.present, one.version, one.sequence) for one in told} == {(True, 1, 0)}


def test_however_many_leave_at_once_each_operation_is_one_that_a_storage_takes() -> None:
    partition = Partition()
    uids = [uid for n in range(70_000) if in_partition_0(uid := f"user-{n}")]
    assert len(uids) > MEMBERS_PER_ENTRY_MAX
    for first in range(0, len(uids), MEMBERS_PER_ENTRY_MAX):
        partition.apply(AddMembers(GROUP, "g", uids[first : first + MEMBERS_PER_ENTRY_MAX]))
    partition.apply(RemoveMembers(GROUP, "g", [], everyone=True))
    told = owed(partition)
    for operation in told:
        check_change(operation)
    left = [uid for operation in told if not operation.present for uid in operation.uids]
    assert sorted(left) == sorted(uids)


def in_partition_0(uid: str) -> bool:
    return partition_of(route_key_of_user(uid), PARTITIONS) == 0


def test_only_who_really_joined_or_left_is_told_of() -> None:
    partition = Partition()
    partition.apply(AddMembers(GROUP, "g", ["a", "b"]))
    partition.apply(AddMembers(GROUP, "g", ["b", "c"], reset=True))
    partition.apply(RemoveMembers(GROUP, "g", ["c", "nobody"]))
    changes = [(uid, one.present) for one in owed(partition) for uid in one.uids]
    assert sorted(changes[:2]) == [("a", True), ("b", True)]
    assert changes[2:] == [("c", True), ("a", False), ("c", False)]


@pytest.mark.parametrize(
    ("kind", "channel"), [(PERSON, person_channel_id("a", "b")), (AGENT, "a@b")]
)
def test_a_channel_of_two_begins_for_both_with_its_first_message(kind: int, channel: str) -> None:
    partition = Partition()
    send(partition, "a", channel, kind=kind)
    send(partition, "b", channel, kind=kind)
    told = owed(partition)
    assert sorted(uid for one in told for uid in one.uids) == ["a", "b"]
    assert {(one.present, one.sequence) for one in told} == {(True, 0)}


def test_a_live_channel_is_no_conversation() -> None:
    partition = Partition()
    partition.apply(AddMembers(ChannelType.LIVE, "g", ["a"]))
    assert owed(partition) == []


def test_a_topic_is_shown_only_to_whom_nobody_removed_from_its_community() -> None:
    partition = Partition()
    partition.apply(AddMembers(ChannelType.COMMUNITY, "c", ["a", "b"]))
    send(partition, "a", "c@t", kind=ChannelType.COMMUNITY_TOPIC)
    assert {one.channel_type for one in owed(partition)} == {ChannelType.COMMUNITY}
    wanted = HeadWanted(ChannelType.COMMUNITY_TOPIC, "c@t", 0, messages=1)
    assert len(head(partition, "b", wanted).messages) == 1
    partition.apply(RemoveMembers(ChannelType.COMMUNITY, "c", ["b"]))
    assert head(partition, "b", wanted) == HeadView(0, 0, 0, 0, [])
    assert len(head(partition, "a", wanted).messages) == 1
    partition.apply(AddMembers(ChannelType.COMMUNITY, "c", ["b"]))
    assert len(head(partition, "b", wanted).messages) == 1


def test_a_visitors_channel_begins_for_the_visitor_with_its_first_message() -> None:
    partition = Partition()
    send(partition, "v", "v", kind=ChannelType.VISITORS)
    assert [(one.uids, one.present) for one in owed(partition)] == [(["v"], True)]


def test_conversations_are_paged_by_place() -> None:
    partition = Partition()
    for number in range(7):
        partition.apply(DeriveConversations(GROUP, f"g{number}", ["a", "ab"], True, 1, 0))
    partition.turn()
    found: list[ConversationRow] = []
    after = b""
    for pages in (3, 6, 7):
        page = rows(partition, "a", after, 3)
        found += page.rows
        after = page.next
        assert len(found) == pages
    assert after == b""
    assert sorted(row.channel_id for row in found) == [f"g{number}" for number in range(7)]


def test_the_last_sequence_of_each_sender_is_known_however_many_there_are() -> None:
    partition = Partition(heads_max=1)
    uids = [f"u{n}" for n in range(3 * SENDERS_IN_HEAD)]
    partition.apply(AddMembers(GROUP, "g", uids))
    for uid in uids + uids[:3]:
        send(partition, uid, "g")
    partition.turn()
    partition.open()
    channel = partition.state.heads.find(GROUP, "g")
    assert len(channel.head.senders) == SENDERS_IN_HEAD
    expected = {uid: number for number, uid in enumerate(uids + uids[:3], 1)}
    assert {uid: partition.state.senders.last(channel, uid) for uid in uids} == expected
    assert partition.state.senders.last(channel, "stranger") == 0


def test_a_read_position_that_leaves_so_many_unread_is_found() -> None:
    partition = Partition()
    partition.apply(AddMembers(GROUP, "g", ["a", "b"]))
    for flags in (2, 0, 2, 2, 0, 2):
        number = str(len(partition.log))
        partition.apply(SendMessage(GROUP, "g", "a", number, b"x", flags=flags))
    row = ConversationRow(GROUP, "g", present=True)
    assert head(partition, "b", head_wanted(row, 0)).unread == 4
    for left in range(6):
        found = head(partition, "b", HeadWanted(GROUP, "g", 0, leaving=left))
        after = ConversationRow(GROUP, "g", present=True, read=found.read_to)
        assert head(partition, "b", head_wanted(after, 0)).unread == min(left, 4)


@pytest.mark.parametrize(
    ("row", "upto"),
    [
        (ConversationRow(GROUP, "g", present=True), 2),
        (ConversationRow(GROUP, "g", present=True, joined=1), 2),
        (ConversationRow(GROUP, "g", present=True, joined=3), 3),
        (ConversationRow(GROUP, "g", present=True, joined=3, read=4), 4),
        (ConversationRow(GROUP, "g", present=True, joined=3, read=4, deleted=5), 5),
    ],
)
def test_nothing_is_unread_up_to_where_the_person_is_said_to_have_read(
    row: ConversationRow, upto: int
) -> None:
    partition = Partition()
    partition.apply(AddMembers(GROUP, "g", ["a", "b"]))
    for uid in ("a", "b", "a", "a", "a", "a"):
        send(partition, uid, "g")
    view = head(partition, "b", head_wanted(row, 0))
    assert read_to(row, view) == upto
    assert unread_of(row, view) == view.last_sequence - upto


def test_recent_messages_are_those_that_are_not_deleted() -> None:
    partition = Partition()
    partition.apply(AddMembers(GROUP, "g", ["a"]))
    for _ in range(9):
        send(partition, "a", "g")
    row = ConversationRow(GROUP, "g", present=True, deleted=2)
    view = head(partition, "b", head_wanted(row, 3))
    assert [message.sequence for message in view.messages] == [7, 8, 9]
    assert view.last_hlc == view.messages[-1].hlc
    view = head(partition, "b", head_wanted(row, 99))
    assert [message.sequence for message in view.messages] == list(range(3, 10))
    row = ConversationRow(GROUP, "g", present=True, deleted=9)
    view = head(partition, "b", head_wanted(row, 3))
    assert (view.messages, view.last_hlc) == ([], partition.hlc)


def test_an_answer_that_would_be_too_large_leaves_the_last_channels_out() -> None:
    partition = Partition()
    for number in range(3):
        partition.apply(AddMembers(GROUP, f"g{number}", ["a"]))
        send(partition, "a", f"g{number}", payload=bytes(PULL_BYTES_MAX // 2))
    wanted = [HeadWanted(GROUP, f"g{number}", 0, 0, 1) for number in range(3)]
    page = partition.query(HeadsQuery("b", wanted))
    assert isinstance(page, HeadsPage)
    assert len(page.heads) == 1


def test_a_cursor_may_come_before_the_channel_told_of_the_person() -> None:
    partition = Partition()
    partition.apply(MoveCursor("a", GROUP, "g", read=3))
    assert [row.present for row in rows(partition, "a").rows] == [False]
    partition.apply(DeriveConversations(GROUP, "g", ["a"], True, 9, 1))
    (row,) = rows(partition, "a").rows
    assert (row.present, row.read, row.joined, row.version) == (True, 3, 1, 9)


def test_a_mark_holds_until_more_is_read() -> None:
    partition = Partition()
    for operation in (
        DeriveConversations(GROUP, "g", ["a"], True, 9, 1),
        MoveCursor("a", GROUP, "g", read=3),
        MoveCursor("a", GROUP, "g", marked_count=1),
        MoveCursor("a", GROUP, "g", read=2),
    ):
        partition.apply(operation)
    (row,) = rows(partition, "a").rows
    assert unread_of(row, HeadView(3, 0, 0, 0, [])) == 1
    assert unread_of(row, HeadView(9, 0, 6, 0, [])) == 6
    partition.apply(MoveCursor("a", GROUP, "g", read=4))
    (row,) = rows(partition, "a").rows
    assert unread_of(row, HeadView(4, 0, 0, 0, [])) == 0


def test_a_conversation_may_be_listed_by_hand() -> None:
    partition = Partition()
    partition.apply(MoveCursor("a", ChannelType.INFO, "news", listed=True))
    assert [row.present for row in rows(partition, "a").rows] == [True]
