"""The turn of the storage core: what leaves behind which write, what is told, determinism."""

from __future__ import annotations

import pytest
from storage_world import (
    GROUP,
    PERSON,
    ROUTER,
    StorageWorld,
    deny,
    key_of,
    message,
    private,
    ring,
    user_key,
)

from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    ItemKind,
    NoticeAck,
    Notices,
    Outcomes,
    Propose,
)
from zmqim.chat.channels import person_channel_id
from zmqim.chat.operations import (
    ChannelQuery,
    ChannelRow,
    Reason,
    Rejected,
    Sent,
    encode,
)
from zmqim.raft.entry import EntryKind, decode_entry
from zmqim.raft.state import HardState
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
    world.turn()
    write = world.effects[0]
    assert isinstance(write, WriteJournal)
    assert {p: HardState.decode(body) for p, body in write.batch.hard_states.items()} == {
        0: HardState(2, 1),
        1: HardState(2, 2),
    }
    entries = [decode_entry(body) for _, _, body in write.batch.entries]
    assert [(entry.term, entry.kind) for entry in entries] == [(2, EntryKind.NO_OP)] * 2


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


def test_heads_that_reads_brought_into_memory_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.storage.core.HEADS_CACHED_MAX", 4)
    world = StorageWorld(ring(1))
    for n in range(20):
        row = world.query(b"\x02g", ChannelQuery(GROUP, f"unknown{n}"))
        assert row == ChannelRow(False)
    assert len(world.core.groups[0].state.heads._channels) <= 5


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
    assert raft.log.first == 2, "only the NO-OP made no notice"
    world.receive(NoticeAck(0, 1, 99))
    for n in range(30, 60):
        world.send(message("alice", "g", str(n), bytes(1_000)))
        world.receive(NoticeAck(0, 1, 99))
    assert 40 < raft.log.first < raft.last
    assert world.core.groups[0].size.bytes_kept <= 20_000
    world.restart()
    again = world.send(message("alice", "g", "0", bytes(1_000)))[0]
    assert isinstance(again, Sent)
    assert again.duplicate


def test_messages_that_are_not_for_a_storage_are_counted_and_dropped() -> None:
    world = StorageWorld()
    before = world.core.counters["strays"]
    world.receive(Notices(0, 1, 0, []))
    world.receive(NoticeAck(77, 1, 1))
    world.core.undeliverable(world.now, ROUTER, Notices(0, 1, 0, []))
    world.core.wake(world.now)
    assert world.core.counters["strays"] == before + 2
    assert world.core.queued == 0
    assert world.turn() == []


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
