"""The storage core over memory stores: turns, answers, refusals, notices, outbox, restarts."""

from __future__ import annotations

import msgspec
import pytest
from storage_world import (
    GROUP,
    OTHER,
    PERSON,
    ROUTER,
    STORAGE,
    WALL_MS,
    StorageWorld,
    key_of,
    message,
    notices_in,
    outcomes_in,
    result_of,
    ring,
    router_peer,
    submits_in,
    user_key,
)

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.messages import (
    Answer,
    Answers,
    ItemKind,
    NoticeAck,
    Notices,
    Outcome,
    OutcomeCode,
    Outcomes,
    Propose,
    Role,
    RoutedItem,
)
from zmqim.chat.channels import person_channel_id
from zmqim.chat.operations import (
    AddMembers,
    ChangeList,
    ChannelQuery,
    ChannelRow,
    Done,
    ListAction,
    ListName,
    MembersPage,
    MembersQuery,
    MessageFlag,
    MessageNotice,
    Notified,
    OutboxQuery,
    Probe,
    Reason,
    Rejected,
    SendMessage,
    Sent,
    encode,
)
from zmqim.errors import DamagedData
from zmqim.ids import HLC_COUNTER_BITS, Incarnation, NodeName, NodeUuid
from zmqim.limits import NOTICE_REPEAT_MS, READ_DEADLINE_MS, REQUEST_RETRY_MS
from zmqim.raft.core import HardState
from zmqim.raft.entry import EntryKind, decode_entry
from zmqim.storage.effects import WriteJournal, WriteState
from zmqim.store.interface import Extent, JournalBatch
from zmqim.store.memory import MemoryJournal


@pytest.mark.promise("P1")
def test_an_answer_leaves_only_behind_both_writes() -> None:
    world = StorageWorld()
    world.add("g", "alice")
    one = message("alice", "g", "1")
    world.receive(Propose([world.item(key_of(one), ItemKind.WRITE, encode(one))]))
    world.turn()
    kinds = [type(effect) for effect in world.effects]
    assert kinds == [WriteJournal, WriteState, Send, Send]
    answer, notices = world.effects[2], world.effects[3]
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Outcomes)
    assert isinstance(notices, Send)
    assert isinstance(notices.message, Notices)


def test_a_turn_writes_all_partitions_with_one_journal_write_and_one_row_write() -> None:
    world = StorageWorld()
    messages = [
        message(f"a{n}", person_channel_id(f"a{n}", "b"), "1", channel_type=PERSON)
        for n in range(50)
    ]
    assert all(isinstance(result, Sent) for result in world.send(*messages))
    writes = [effect for effect in world.effects if not isinstance(effect, Send)]
    assert [type(effect) for effect in writes] == [WriteJournal, WriteState]
    assert len([effect for effect in world.effects if isinstance(effect, Send)]) == 5
    assert isinstance(writes[0], WriteJournal)
    assert len({partition for partition, _, _ in writes[0].batch.entries}) == 4


@pytest.mark.promise("P1")
def test_the_first_write_of_a_life_holds_the_new_term_the_own_vote_and_a_no_op() -> None:
    world = StorageWorld(ring(2))
    world.open()
    world.core.start(world.wall_ms)
    world.turn()
    write = world.effects[0]
    assert isinstance(write, WriteJournal)
    assert {p: HardState.decode(body) for p, body in write.batch.hard_states.items()} == {
        0: HardState(2, 1),
        1: HardState(2, 1),
    }
    entries = [decode_entry(body) for _, _, body in write.batch.entries]
    assert [(entry.term, entry.kind) for entry in entries] == [(2, EntryKind.NO_OP)] * 2


def test_nothing_is_served_before_the_no_op_of_the_own_term_is_applied() -> None:
    world = StorageWorld()
    world.open()
    assert not world.core.serving
    probe = world.item(b"\0x", ItemKind.READ, encode(Probe()))
    write = world.item(b"\0x", ItemKind.WRITE, encode(message("a", "g", "1")))
    world.core.start(world.wall_ms)
    codes = [outcome.code for outcome in world.outcomes(probe, write)]
    assert codes == [OutcomeCode.UNAVAILABLE, OutcomeCode.UNAVAILABLE]
    assert world.core.serving
    assert world.outcomes(probe)[0].code == OutcomeCode.DONE


def test_a_foreign_partition_is_refused_with_its_leaders_name() -> None:
    world = StorageWorld(ring(2, foreign=(1,)))
    items = [RoutedItem(1, n, n, ItemKind.READ, encode(Probe())) for n in (0, 1, 2)]
    world.receive(Propose(items))
    assert outcomes_in(world.turn()) == [
        Outcome(1, 1, 1, OutcomeCode.NOT_LEADER, OTHER.encode()),
        Outcome(1, 2, 2, OutcomeCode.BAD_REQUEST, b"no partition 2"),
        Outcome(1, 0, 0, OutcomeCode.DONE, encode(Done(1))),
    ]


@pytest.mark.promise("P9")
@pytest.mark.parametrize("kind", list(ItemKind))
def test_what_cannot_be_decoded_is_refused_with_a_sentence(kind: ItemKind) -> None:
    world = StorageWorld()
    (outcome,) = world.outcomes(world.item(b"\0x", kind, b"\xc1"))
    assert outcome.code == OutcomeCode.BAD_REQUEST
    assert outcome.result.startswith(b"not a")


def test_an_operation_that_only_a_leader_makes_is_refused_from_outside() -> None:
    world = StorageWorld()
    (outcome,) = world.outcomes(world.item(b"\0x", ItemKind.WRITE, encode(Notified(9))))
    assert outcome.code == OutcomeCode.BAD_REQUEST


@pytest.mark.promise("P9")
def test_a_full_disk_refuses_writes_serves_reads_and_heals() -> None:
    world = StorageWorld()
    world.add("g", "alice")
    world.core.disk_state(world.now, True)
    one = message("alice", "g", "1")
    write = world.item(key_of(one), ItemKind.WRITE, encode(one))
    read = world.item(key_of(one), ItemKind.READ, encode(Probe()))
    codes = [outcome.code for outcome in world.outcomes(write, read)]
    assert codes == [OutcomeCode.DISK_FULL, OutcomeCode.DONE]
    assert not [effect for effect in world.effects if isinstance(effect, WriteJournal)]
    world.core.disk_state(world.now, False)
    assert isinstance(result_of(world.outcomes(write)[0]), Sent)


@pytest.mark.promise("P9")
def test_more_than_a_partition_may_have_uncommitted_is_refused_as_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zmqim.storage.core.UNCOMMITTED_PARTITION_BYTES_MAX", 300)
    world = StorageWorld()
    world.add("g", "alice")
    sizes = (100, 200, 1)
    messages = [message("alice", "g", str(size), bytes(size)) for size in sizes]
    items = [world.item(key_of(one), ItemKind.WRITE, encode(one)) for one in messages]
    codes = [outcome.code for outcome in world.outcomes(*items)]
    assert codes == [OutcomeCode.DONE, OutcomeCode.BUSY, OutcomeCode.BUSY]
    assert world.outcomes(items[1])[0].code == OutcomeCode.DONE


@pytest.mark.promise("P3")
def test_without_room_a_repeated_write_gets_its_first_result_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = StorageWorld()
    world.add("g", "alice")
    stored, command, fresh = (message("alice", "g", number) for number in "123")
    command = msgspec.structs.replace(command, flags=MessageFlag.SYNC_ONCE)
    members = AddMembers(GROUP, "g", ["bob"], request_id=b"r")
    sent, sent_command = world.send(stored, command)
    done = world.write(key_of(stored), members)
    assert isinstance(sent, Sent)
    assert isinstance(sent_command, Sent)
    other = msgspec.structs.replace(stored, payload=b"something else")
    unasked = AddMembers(GROUP, "g", ["carol"])
    sends = (stored, command, other, fresh, message("alice", "no such group", "1"))
    writes = [world.item(key_of(one), ItemKind.WRITE, encode(one)) for one in sends]
    writes += [
        world.item(key_of(stored), ItemKind.WRITE, encode(each)) for each in (members, unasked)
    ]
    world.core.disk_state(world.now, True)
    for refusal in (OutcomeCode.DISK_FULL, OutcomeCode.BUSY):
        again, command_again, conflict, *refused, changed, unchanged = world.outcomes(*writes)
        assert result_of(again) == msgspec.structs.replace(sent, duplicate=True)
        assert result_of(command_again) == msgspec.structs.replace(sent_command, duplicate=True)
        rejected = result_of(conflict)
        assert isinstance(rejected, Rejected)
        assert rejected.reason == Reason.IDEMPOTENCY_CONFLICT
        assert result_of(changed) == done
        assert [outcome.code for outcome in (*refused, unchanged)] == [refusal] * 3
        assert not [effect for effect in world.effects if not isinstance(effect, Send)]
        world.core.disk_state(world.now, False)
        monkeypatch.setattr("zmqim.storage.core.UNCOMMITTED_PARTITION_BYTES_MAX", 0)


def test_a_read_sees_the_write_before_it_in_the_same_frame() -> None:
    world = StorageWorld()
    key = b"\x02g"
    write = world.item(key, ItemKind.WRITE, encode(AddMembers(GROUP, "g", ["b", "a"])))
    read = world.item(key, ItemKind.READ, encode(MembersQuery(GROUP, "g")))
    done, page = (result_of(outcome) for outcome in world.outcomes(write, read))
    assert isinstance(done, Done)
    assert page == MembersPage(done.log_index, 2, ["a", "b"], False)


@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
def test_sequences_go_on_and_duplicates_are_found_after_a_restart() -> None:
    world = StorageWorld()
    world.add("g", "alice")
    first = world.send(message("alice", "g", "1"), message("alice", "g", "2"))
    world.restart()
    again, conflict, third = world.send(
        message("alice", "g", "1"), message("alice", "g", "2", b"other"), message("alice", "g", "3")
    )
    assert isinstance(first[0], Sent)
    assert again == Sent(1, first[0].message_id, first[0].hlc, duplicate=True)
    assert isinstance(conflict, Rejected)
    assert conflict.reason == Reason.IDEMPOTENCY_CONFLICT
    assert isinstance(third, Sent)
    assert third.sequence == 3
    assert isinstance(first[1], Sent)
    assert third.message_id > first[1].message_id


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
def test_a_crash_between_journal_and_rows_leaves_the_same_rows_after_replay() -> None:
    worlds = [StorageWorld(), StorageWorld()]
    messages = [message("alice", "g", str(n)) for n in range(5)]
    for world in worlds:
        world.add("g", "alice")
        items = [world.item(key_of(one), ItemKind.WRITE, encode(one)) for one in messages]
        world.receive(Propose(items))
        effects = world.core.turn(world.now + 1, world.wall_ms + 1)
        if world is worlds[0]:
            world.perform(effects[:1])
        else:
            world.perform(effects)
        world.now += 1
        world.wall_ms += 1
        world.restart()
    assert worlds[0].digest() == worlds[1].digest()
    results = worlds[0].send(*messages)
    assert [r.sequence for r in results if isinstance(r, Sent) and r.duplicate] == [1, 2, 3, 4, 5]


def test_a_no_persist_message_is_judged_and_pushed_but_never_logged() -> None:
    world = StorageWorld()
    world.add("g", "alice")
    world.turn()
    flags = MessageFlag.NO_PERSIST
    good, bad = message("alice", "g", "1", flags=flags), message("eve", "g", "1", flags=flags)
    items = [world.item(key_of(one), ItemKind.TRANSIENT, encode(one)) for one in (good, bad)]
    world.receive(Propose(items))
    sent = world.turn()
    first, second = (result_of(outcome) for outcome in outcomes_in(sent))
    assert isinstance(first, Sent)
    assert first.sequence == 0
    assert first.message_id & 0x400
    assert first.hlc == world.wall_ms << HLC_COUNTER_BITS
    assert second == Rejected(Reason.NOT_SUBSCRIBER)
    assert not [effect for effect in world.effects if not isinstance(effect, Send)]
    (item,) = notices_in(sent)
    assert item.index == 0
    repeated = notices_in(world.turn(NOTICE_REPEAT_MS))
    assert all(item.index for item in repeated)


@pytest.mark.promise("P4")
def test_notices_are_repeated_until_acknowledged_and_go_to_the_router_that_is_there() -> None:
    world = StorageWorld(ring(1))
    key = key_of(message("a", "g", "1"))
    world.add("g", "alice")
    world.send(message("alice", "g", "1"))
    first = notices_in(world.sent)
    assert [item.index for item in first] == [2, 3]
    assert notices_in(world.turn()) == []
    assert world.core.next_wake() is not None
    assert notices_in(world.turn(NOTICE_REPEAT_MS)) == first
    other = NodeName("router-2")
    world.core.peer_up(world.now, router_peer(other))
    world.core.view_changed(world.now, View((), (other,), (STORAGE,)))
    sent = world.turn()
    assert {send.to for send in sent} == {other}
    assert notices_in(sent) == first
    world.receive(NoticeAck(0, 1, 2), other)
    world.turn()
    assert notices_in(world.turn(NOTICE_REPEAT_MS)) == first[1:]
    world.receive(NoticeAck(0, 1, 3), other)
    world.turn()
    assert notices_in(world.turn(5 * NOTICE_REPEAT_MS)) == []
    assert world.core.next_wake() is None
    assert world.partition(key) == 0


def test_acknowledgements_are_logged_at_most_once_a_second_and_partition() -> None:
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    raft = world.core.groups[0].raft
    for n in range(20):
        world.send(message("alice", "g", str(n)))
        world.receive(NoticeAck(0, 1, 99))
        world.turn(100)
    assert raft.last == 2 + 20 + 2
    world.turn(1_000)
    assert world.core.groups[0].state.applied.notified == raft.last - 1


@pytest.mark.promise("P4")
def test_a_router_that_came_back_gets_the_unacknowledged_notices_at_once() -> None:
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    first = notices_in(world.sent)
    world.core.peer_down(world.now, ROUTER)
    assert notices_in(world.turn()) == []
    world.core.peer_up(world.now, router_peer(incarnation=2))
    assert notices_in(world.turn()) == first


@pytest.mark.promise("P4")
@pytest.mark.promise("P6")
def test_notices_of_an_earlier_life_are_read_again_from_the_log() -> None:
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    world.send(message("alice", "g", "1"))
    world.send(message("alice", "g", "1"), message("eve", "g", "2"))
    world.send(message("alice", "g", "3", flags=MessageFlag.SYNC_ONCE))
    first = notices_in(world.sent)
    assert len(first) == 3
    world.receive(NoticeAck(0, 1, first[0].index))
    world.turn()
    world.turn(1_000)
    world.restart()
    assert notices_in(world.turn()) == first[1:]


@pytest.mark.promise("P4")
def test_notices_above_the_bound_come_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.storage.notices.NOTICES_UNACKED_MAX", 4)
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    world.send(*[message("alice", "g", str(n)) for n in range(20)])
    seen: list[int] = []
    for _ in range(40):
        for item in notices_in(world.sent):
            if item.index not in seen:
                seen.append(item.index)
        world.sent = []
        world.receive(NoticeAck(0, 1, seen[-1]))
        world.turn()
    assert seen == list(range(2, 23))


def test_heads_that_reads_brought_into_memory_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.storage.core.HEADS_CACHED_MAX", 4)
    world = StorageWorld(ring(1))
    for n in range(20):
        row = world.query(b"\x02g", ChannelQuery(GROUP, f"unknown{n}"))
        assert row == ChannelRow(False)
    assert len(world.core.groups[0].state.heads._channels) <= 5


def test_notices_in_the_log_are_fetched_without_waiting_for_anybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zmqim.storage.notices.NOTICES_UNACKED_MAX", 0)
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    assert notices_in(world.sent) == []
    assert world.core.next_wake() == 0
    assert [item.index for item in notices_in(world.turn())] == [2]


def test_a_message_notice_carries_what_the_fan_out_needs() -> None:
    world = StorageWorld(ring(1))
    added = world.add("g", "alice")
    one = message("alice", "g", "1")
    (sent,) = world.send(one)
    assert isinstance(added, Done)
    assert isinstance(sent, Sent)
    notice = msgspec.msgpack.decode(notices_in(world.sent)[-1].body, type=MessageNotice)
    assert notice == MessageNotice(
        GROUP, "g", 1, sent.message_id, sent.hlc, added.log_index, encode(one)
    )


# ---- outbox --------------------------------------------------------------------------------------


def deny(owner: str, *uids: str) -> ChangeList:
    return ChangeList(PERSON, owner, ListName.DENY, ListAction.ADD, list(uids))


def private(sender: str, receiver: str, number: str) -> SendMessage:
    return message(sender, person_channel_id(sender, receiver), number, channel_type=PERSON)


def test_a_persons_deny_list_reaches_the_person_channel_through_a_router() -> None:
    world = StorageWorld()
    done = world.write(user_key("bob"), deny("bob", "alice", "carol"))
    assert done == Done(2, 2)
    waits = world.item(user_key("bob"), ItemKind.READ, encode(OutboxQuery(2)))
    world.receive(Propose([waits]))
    assert outcomes_in(world.turn()) == []
    assert world.deliver_submits() == 2
    (answer,) = outcomes_in(world.turn())
    assert (answer.request, answer.code) == (waits.request, OutcomeCode.DONE)
    results = world.send(private("alice", "bob", "1"), private("bob", "alice", "1"))
    assert results[0] == Rejected(Reason.IN_BLACKLIST)
    assert isinstance(results[1], Sent)
    world.turn(1_000)
    world.turn(1_000)
    group = world.core.groups[world.partition(user_key("bob"))]
    assert group.state.outbox_after(0, 9) == []
    assert group.outbox.idle


@pytest.mark.promise("P6")
def test_outbox_rows_survive_a_crash_and_are_submitted_until_they_are_done() -> None:
    world = StorageWorld()
    world.write(user_key("bob"), deny("bob", "alice"))
    world.restart()
    world.sent = []
    world.turn()
    (first,) = submits_in(world.sent)
    world.turn(REQUEST_RETRY_MS - 1)
    assert submits_in(world.sent) == [first]
    due = world.core.next_wake()
    assert due is not None
    assert due <= world.now + 1
    world.turn(1)
    assert submits_in(world.sent) == [first, first]
    world.receive(Answers([Answer(first.request, OutcomeCode.BUSY, b"")]))
    world.receive(Answers([Answer(99 << 48, OutcomeCode.DONE, b"")]))
    world.turn(REQUEST_RETRY_MS)
    assert submits_in(world.sent) == [first, first, first]
    world.receive(Answers([Answer(first.request, OutcomeCode.DONE, b"")]))
    world.receive(Answers([Answer(first.request, OutcomeCode.DONE, b"")]))
    world.turn(REQUEST_RETRY_MS)
    assert submits_in(world.sent) == [first, first, first]


def test_an_outbox_question_that_is_not_drained_is_answered_at_its_deadline() -> None:
    world = StorageWorld()
    world.write(user_key("bob"), deny("bob", "alice"))
    world.core.peer_down(world.now, ROUTER)
    asked = world.item(user_key("bob"), ItemKind.READ, encode(OutboxQuery(1)))
    world.receive(Propose([asked]))
    world.turn()
    assert world.core.next_wake() == world.now + READ_DEADLINE_MS
    (answer,) = outcomes_in(world.turn(READ_DEADLINE_MS))
    assert (answer.request, answer.code) == (asked.request, OutcomeCode.UNAVAILABLE)


def test_more_outbox_rows_than_the_window_go_out_one_window_after_the_other() -> None:
    world = StorageWorld()
    many = [f"u{n}" for n in range(600)]
    assert world.write(user_key("bob"), deny("bob", *many)) == Done(2, 600)
    count, turns = 0, 0
    while count < 600:
        delivered = world.deliver_submits()
        assert delivered <= 256
        count += delivered
        world.turn()
        turns += 1
        assert turns < 20
    assert count == 600


# ---- bounds, cutting, damage ---------------------------------------------------------------------


def test_the_log_is_cut_only_behind_what_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.storage.group.JOURNAL_ENTRIES_KEPT", 10)
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    for n in range(40):
        world.send(message("alice", "g", str(n)))
    group = world.core.groups[0]
    assert group.raft.extent.first == 1
    world.receive(NoticeAck(0, 1, 30))
    world.turn(5_000)
    for n in range(40, 45):
        world.send(message("alice", "g", str(n)))
    assert group.raft.extent.first == 31
    assert world.journal.load()[0].extent == Extent(*group.raft.extent)
    world.restart()
    assert notices_in(world.turn())[0].index == 31
    again = world.send(message("alice", "g", "0"))[0]
    assert isinstance(again, Sent)
    assert (again.sequence, again.duplicate) == (1, True)


def test_an_idle_log_that_was_cut_away_whole_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.storage.group.JOURNAL_ENTRIES_KEPT", 0)
    world = StorageWorld(ring(1))
    for _ in range(3):
        world.add("g", "alice")
        world.receive(NoticeAck(0, 1, 99))
        world.turn()
    assert world.core.groups[0].raft.extent.first > 2
    before = world.core.groups[0].raft.hlc
    world.restart()
    assert world.core.groups[0].raft.hlc > before
    assert isinstance(world.send(message("alice", "g", "1"))[0], Sent)


def test_the_longest_log_is_halved_when_all_together_are_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zmqim.storage.core.JOURNAL_BYTES_MAX", 20_000)
    monkeypatch.setattr("zmqim.storage.log_size.RUN_BYTES", 1_000)
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    raft = world.core.groups[0].raft
    for n in range(30):
        world.send(message("alice", "g", str(n), bytes(1_000)))
    assert raft.first == 2, "only the NO-OP made no notice"
    world.receive(NoticeAck(0, 1, 99))
    for n in range(30, 60):
        world.send(message("alice", "g", str(n), bytes(1_000)))
        world.receive(NoticeAck(0, 1, 99))
    assert 40 < raft.first < raft.last
    assert world.core.groups[0].size.bytes_kept <= 20_000
    world.restart()
    again = world.send(message("alice", "g", "0", bytes(1_000)))[0]
    assert isinstance(again, Sent)
    assert again.duplicate


def test_large_answers_and_notices_are_cut_into_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.storage.items.BATCH_BYTES_MAX", 60)
    monkeypatch.setattr("zmqim.storage.notices.BATCH_BYTES_MAX", 150)
    monkeypatch.setattr("zmqim.storage.items.BATCH_ITEMS_MAX", 3)
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    world.receive(NoticeAck(0, 1, 2))
    world.turn(1_000)
    world.sent = []
    results = world.send(*[message("alice", "g", str(n)) for n in range(10)])
    assert [result.sequence for result in results if isinstance(result, Sent)] == list(range(1, 11))
    frames = [send.message for send in world.sent]
    assert len([frame for frame in frames if isinstance(frame, Outcomes)]) > 3
    notices = [frame for frame in frames if isinstance(frame, Notices)]
    assert len(notices) > 3
    previous = 0
    for frame in notices:
        assert frame.previous == previous
        previous = frame.items[-1].index


def test_too_many_uids_for_one_entry_are_refused() -> None:
    world = StorageWorld()
    many = AddMembers(GROUP, "g", [f"u{n}" for n in range(1_001)])
    (outcome,) = world.outcomes(world.item(b"\x02g", ItemKind.WRITE, encode(many)))
    assert outcome.code == OutcomeCode.BAD_REQUEST


def test_messages_that_are_not_for_a_storage_are_counted_and_dropped() -> None:
    world = StorageWorld()
    refused = world.core.counters["refused"]
    world.receive(Notices(0, 1, 0, []))
    world.receive(NoticeAck(77, 1, 1))
    world.core.undeliverable(world.now, ROUTER, Notices(0, 1, 0, []))
    world.core.wake(world.now)
    world.core.peer_up(world.now, Peer(OTHER, Role.STORAGE, NodeUuid(bytes(16)), Incarnation(1)))
    assert world.core.counters["refused"] == refused + 3
    assert world.core.queued == 0
    assert world.turn() == []


@pytest.mark.promise("P8")
def test_rows_that_are_ahead_of_the_log_are_damage() -> None:
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    world.journal = MemoryJournal()
    with pytest.raises(DamagedData, match="its rows are applied up to 2"):
        world.open()


@pytest.mark.promise("P8")
def test_rows_of_another_log_are_damage() -> None:
    worlds = [StorageWorld(ring(1), wall_ms=WALL_MS + n) for n in (0, 5)]
    for world in worlds:
        world.add("g", "alice")
    worlds[0].rows = worlds[1].rows
    with pytest.raises(DamagedData, match="were not made from entry 2"):
        worlds[0].open()


def _unapplied(world: StorageWorld) -> None:
    """Three entries that are in the journal but not in the rows."""
    world.add("g", "alice")
    for n in range(3):
        one = message("alice", "g", str(n))
        world.receive(Propose([world.item(key_of(one), ItemKind.WRITE, encode(one))]))
    world.perform(world.core.turn(world.now, world.wall_ms)[:1])


@pytest.mark.promise("P8")
@pytest.mark.parametrize("damage", ["changed", "exchanged", "cut"])
def test_entries_that_are_not_what_was_written_are_never_applied(damage: str) -> None:
    world = StorageWorld(ring(1))
    _unapplied(world)
    bodies = world.journal.read(0, 3, 5, 1 << 20)
    if damage == "changed":
        entries = [(0, 4, bodies[1][:-1] + b"?")]
    elif damage == "exchanged":
        entries = [(0, 3, bodies[1]), (0, 4, bodies[0])]
    else:
        entries = [(0, 4, b"short")]
    world.journal.write(JournalBatch(entries, {0: Extent(1, 5, 0, 0)}))
    with pytest.raises(DamagedData):
        world.open()


@pytest.mark.promise("P8")
@pytest.mark.parametrize("body", [b"short", HardState(0, 1).encode()])
def test_a_hard_state_that_is_not_what_was_written_is_damage(body: bytes) -> None:
    world = StorageWorld(ring(1))
    world.journal.write(JournalBatch(hard_states={0: body}))
    with pytest.raises(DamagedData):
        world.open()


def test_log_ends_and_applied_ends_are_told_for_the_witness() -> None:
    world = StorageWorld(ring(2))
    assert world.core.log_ends() == {0: (1, 1), 1: (1, 1)}
    assert world.core.applied_ends() == {0: (1, 1), 1: (1, 1)}
    assert world.core.terms([1]) == {1: 1}
    world.restart()
    assert world.core.log_ends() == {0: (2, 2), 1: (2, 2)}


@pytest.mark.promise("P2")
def test_the_same_frames_make_the_same_effects() -> None:
    logs = []
    for _ in range(2):
        world = StorageWorld()
        world.add("g", "alice", "bob")
        world.write(user_key("bob"), deny("bob", "alice", "carol"))
        seen = [repr(world.effects)]
        for n in range(20):
            world.send(message("alice", "g", str(n)), private("bob", "carol", str(n)))
            seen.append(repr(world.effects))
        logs.append((seen, world.digest()))
    assert logs[0] == logs[1]
