"""Notices and outbox rows on their way to routers, whoever leads."""

from __future__ import annotations

import msgspec
import pytest
from storage_trio import NAMES, ONE, THREE, TWO, Trio
from storage_world import (
    GROUP,
    ROUTER,
    STORAGE,
    StorageWorld,
    ack_of,
    batches_in,
    deny,
    key_of,
    message,
    notices_in,
    outcomes_in,
    private,
    ring,
    router_peer,
    submits_in,
    user_key,
)

from zmqim.bus.effects import View
from zmqim.bus.messages import (
    Answer,
    Answers,
    ItemKind,
    NoticeBatches,
    OutcomeCode,
    Outcomes,
    Propose,
    Submit,
)
from zmqim.chat.codes import MessageFlag, Reason
from zmqim.chat.encoding import encode
from zmqim.chat.notices import MessageNotice
from zmqim.chat.queries import ConversationsQuery, OutboxQuery
from zmqim.chat.results import ConversationsPage, Done, Rejected, Sent
from zmqim.ids import HLC_COUNTER_BITS, NodeName
from zmqim.limits import NOTICE_REPEAT_MS, REQUEST_RETRY_MS, STAMP_AGE_MS_MAX
from zmqim.raft.peers import NEVER
from zmqim.storage.pushing import BOOK_MS


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
    world.receive(ack_of(0, 1, 2), other)
    world.turn()
    assert notices_in(world.turn(NOTICE_REPEAT_MS)) == first[1:]
    world.receive(ack_of(0, 1, 3), other)
    assert world.deliver_submits() > 0
    world.turn()
    assert notices_in(world.turn(5 * NOTICE_REPEAT_MS)) == []
    assert world.core.pushing.look_at == NEVER
    assert world.partition(key) == 0


def test_acknowledgements_are_logged_at_most_once_a_second_and_partition() -> None:
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    raft = world.core.groups[0].raft
    for n in range(20):
        world.send(message("alice", "g", str(n)))
        world.receive(ack_of(0, 1, 99))
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
    world.receive(ack_of(0, 1, first[0].index))
    world.turn()
    world.turn(1_000)
    world.restart()
    assert notices_in(world.sent) == first[1:]


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
        world.receive(ack_of(0, 1, seen[-1]))
        world.turn()
    assert seen == list(range(2, 23))


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
    world.turn(REQUEST_RETRY_MS)
    assert world.deliver_submits() == 2
    world.turn(1_000)
    world.turn(1_000)
    group = world.core.groups[world.partition(user_key("bob"))]
    assert group.state.outbox_after(0, 9) == []
    assert group.duties is not None
    assert group.duties.outbox.idle


@pytest.mark.promise("P6")
def test_outbox_rows_survive_a_crash_and_are_submitted_until_they_are_done() -> None:
    world = StorageWorld()
    world.write(user_key("bob"), deny("bob", "alice"))
    world.restart()
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
    assert world.core.counters["outbox_refused"] == 0
    world.receive(Answers([Answer(first.request, OutcomeCode.BAD_REQUEST, b"")]))
    assert world.core.counters["outbox_refused"] == 1
    world.turn(REQUEST_RETRY_MS)
    assert submits_in(world.sent) == [first, first, first]
    world.receive(Answers([Answer(first.request, OutcomeCode.DONE, b"")]))
    world.receive(Answers([Answer(first.request, OutcomeCode.DONE, b"")]))
    world.turn(REQUEST_RETRY_MS)
    assert submits_in(world.sent) == [first, first, first]


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


def test_outbox_rows_that_are_too_large_together_go_out_in_several_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zmqim.limits.BATCH_BYTES_MAX", 100)
    world = StorageWorld()
    world.write(user_key("bob"), deny("bob", *[f"u{n}" for n in range(10)]))
    frames = [one.message for one in world.sent if isinstance(one.message, Submit)]
    assert len(submits_in(world.sent)) == 10
    assert 1 < len(frames) < 10
    for frame in frames:
        assert sum(len(item.body) for item in frame.items) <= 100


def test_large_answers_and_notices_are_cut_into_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.limits.BATCH_BYTES_MAX", 100)
    monkeypatch.setattr("zmqim.limits.BATCH_ITEMS_MAX", 3)
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    world.receive(ack_of(0, 1, 2))
    world.turn(1_000)
    world.sent = []
    results = world.send(*[message("alice", "g", str(n)) for n in range(10)])
    assert [result.sequence for result in results if isinstance(result, Sent)] == list(range(1, 11))
    frames = [send.message for send in world.sent]
    assert len([frame for frame in frames if isinstance(frame, Outcomes)]) > 3
    assert len([frame for frame in frames if isinstance(frame, NoticeBatches)]) > 3
    notices = batches_in(world.sent)
    assert len(notices) > 3
    previous = 0
    for frame in notices:
        assert frame.previous == previous
        previous = frame.items[-1].index


# ---- three storages ------------------------------------------------------------------------------


@pytest.mark.promise("P4")
@pytest.mark.promise("P6")
def test_a_new_leader_sends_again_what_no_router_acknowledged() -> None:
    trio = Trio()
    trio.add("g", "alice")
    for n in range(3):
        trio.write(message("alice", "g", str(n)))
    notices = trio.notices(ONE)
    assert len(notices) == 4
    assert trio.notices(TWO) == [], "followers tell routers nothing"
    term = trio.group(ONE).raft.term
    trio[ONE].core.receive(trio.now, ROUTER, ack_of(0, term, notices[1]))
    trio.run(BOOK_MS)
    trio.until(trio.applied_alike)
    trio.crash(ONE)
    trio.until(lambda: trio.leads(TWO))
    trio.run(10)
    assert trio.notices(TWO) == notices[2:]
    frames = batches_in(trio[TWO].sent)
    assert [(frame.term, frame.previous) for frame in frames] == [(term + 1, 0)]
    trio.write(message("alice", "g", "3"))
    assert trio.notices(TWO)[2:] == [trio.group(TWO).raft.last]


@pytest.mark.promise("P4")
def test_a_notice_of_an_entry_that_its_leader_never_saw_committed_is_sent_by_the_next() -> None:
    trio = Trio()
    trio.add("g", "alice")
    before = trio.notices(ONE)
    trio.put(ONE, message("alice", "g", "1"))
    trio.turn(ONE)
    index = trio.group(ONE).raft.last
    trio.step()
    trio.crash(ONE)
    trio.until(lambda: trio.leads(TWO))
    trio.run(10)
    assert trio.notices(ONE) == before
    assert trio.notices(TWO) == [*before, index]


@pytest.mark.promise("P6")
def test_a_new_leader_delivers_the_outbox_rows_that_are_open() -> None:
    trio = Trio()
    trio.write(deny("bob", "alice", "carol"))
    first, second = submits_in(trio[ONE].sent)
    trio[ONE].core.receive(
        trio.now, ROUTER, Answers([Answer(first.request, OutcomeCode.DONE, b"")])
    )
    trio.run(BOOK_MS)
    trio.until(trio.applied_alike)
    assert submits_in(trio[TWO].sent) == []
    trio.crash(ONE)
    trio.until(lambda: trio.leads(TWO))
    trio.run(10)
    assert submits_in(trio[TWO].sent) == [second]
    asked = trio.ask(TWO, OutboxQuery(2))
    trio.run(10)
    assert trio.outcome(asked) is None
    trio[TWO].core.receive(
        trio.now, ROUTER, Answers([Answer(second.request, OutcomeCode.DONE, b"")])
    )
    assert trio.answered(asked).code == OutcomeCode.DONE
    trio.run(2 * BOOK_MS)
    for name in (TWO, THREE):
        assert trio.group(name).state.outbox_after(0, 9) == []


@pytest.mark.promise("P4")
def test_a_leader_that_comes_home_owes_what_the_one_in_between_was_not_told() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.cut(ONE)
    trio.until(lambda: trio.leads(TWO))
    trio.write(message("alice", "g", "1"))
    seen = set(trio.notices(TWO))
    trio.heal()
    trio.until(lambda: trio.leads(ONE))
    trio[ONE].sent.clear()
    trio.run(BOOK_MS)
    assert seen <= set(trio.notices(ONE))
    trio[TWO].core.receive(trio.now, ROUTER, ack_of(0, 2, 99))
    trio[ONE].core.receive(trio.now, ROUTER, ack_of(0, 3, 99))
    trio.run(2 * BOOK_MS)
    trio.until(trio.applied_alike)
    assert {trio.group(name).state.applied.notified for name in NAMES} == {max(seen)}
    duties = trio.group(ONE).duties
    assert duties is not None
    assert duties.notices.idle


def test_a_partition_that_nobody_writes_to_still_promises_young_stamps_to_who_reads() -> None:
    world = StorageWorld(ring(1))

    def promised() -> int:
        page = world.query(user_key("a"), ConversationsQuery("a"))
        assert isinstance(page, ConversationsPage)
        return page.promise >> HLC_COUNTER_BITS

    ends = world.core.log_ends()
    for _ in range(10):
        world.turn(STAMP_AGE_MS_MAX)
    assert world.core.log_ends() == ends, "nobody asked, so nothing is logged"
    first, asked_at = promised(), world.wall_ms
    for _ in range(3):
        world.turn(BOOK_MS)
    assert first < asked_at - STAMP_AGE_MS_MAX
    assert promised() >= asked_at
    ends = world.core.log_ends()
    promised()
    world.turn(BOOK_MS)
    assert world.core.log_ends() == ends, "the stamp was young"
