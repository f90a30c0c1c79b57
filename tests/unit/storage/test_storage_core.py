"""The storage core over memory stores: turns, answers, refusals, notices, restarts."""

from __future__ import annotations

import pytest
from storage_world import (
    GROUP,
    OTHER,
    PERSON,
    ROUTER,
    STORAGE,
    StorageWorld,
    key_of,
    message,
    notices_in,
    outcomes_in,
    result_of,
    ring,
    router_peer,
    user_key,
)

from zmqim.bus.effects import Send, View
from zmqim.bus.messages import (
    ItemKind,
    NoticeAck,
    Notices,
    Outcome,
    OutcomeCode,
    Outcomes,
    Propose,
    RoutedItem,
)
from zmqim.chat.channels import person_channel_id
from zmqim.chat.operations import (
    Done,
    MessageFlag,
    MessageNotice,
    Notified,
    Probe,
    Reason,
    Rejected,
    Sent,
    encode,
)
from zmqim.ids import HLC_COUNTER_BITS, NodeName
from zmqim.limits import NOTICE_REPEAT_MS
from zmqim.raft.core import HardState
from zmqim.raft.entry import EntryKind, decode_entry
from zmqim.storage.effects import WriteJournal, WriteState


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


def test_a_read_sees_the_write_before_it_in_the_same_frame() -> None:
    world = StorageWorld()
    key = b"\x02g"
    from zmqim.chat.operations import AddMembers, MembersPage, MembersQuery

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


def test_a_message_notice_carries_what_the_fan_out_needs() -> None:
    import msgspec

    from zmqim.chat.operations import decode_result  # noqa: F401

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
    assert user_key("a") == b"\0a"
