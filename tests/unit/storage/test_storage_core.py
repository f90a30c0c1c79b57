"""The turn of the storage core: what leaves behind which write, what is told, determinism."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace
from storage_trio import NAMES, ONE, THREE, TWO, Trio, places
from storage_world import (
    GROUP,
    PERSON,
    ROUTER,
    StorageWorld,
    ack_of,
    deny,
    key_of,
    message,
    private,
    result_of,
    ring,
    router_peer,
    user_key,
)

from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    ItemKind,
    NoticeAck,
    NoticeAcks,
    NoticeBatches,
    OutcomeCode,
    Outcomes,
    Propose,
    Submit,
)
from zmqim.bus.replication import AppendResults, Appends, Leading, VoteRequest, VoteResult
from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import MessageFlag, Reason
from zmqim.chat.encoding import encode
from zmqim.chat.operations import AddMembers
from zmqim.chat.queries import ChannelQuery
from zmqim.chat.results import ChannelRow, Rejected, Sent
from zmqim.ids import NodeName
from zmqim.limits import FOLLOWER_APPLY_MS, HAND_HOME_MS, NODE_HEARTBEAT_MS
from zmqim.raft.entry import EntryKind, decode_entry
from zmqim.raft.state import HardState
from zmqim.storage.effects import Effect, WriteJournal, WriteState


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
    assert isinstance(notices.message, NoticeBatches)


def test_a_turn_writes_all_partitions_with_one_journal_write_and_one_row_write() -> None:
    world = StorageWorld()
    messages = [
        message(f"a{n}", person_channel_id(f"a{n}", "b"), "1", channel_type=PERSON)
        for n in range(50)
    ]
    assert all(isinstance(result, Sent) for result in world.send(*messages))
    writes = [effect for effect in world.effects if not isinstance(effect, Send)]
    assert [type(effect) for effect in writes] == [WriteJournal, WriteState]
    sends = [effect.message for effect in world.effects if isinstance(effect, Send)]
    assert [type(one) for one in sends] == [Outcomes, NoticeBatches, Submit]
    (notices,) = [one for one in sends if isinstance(one, NoticeBatches)]
    assert sorted(batch.partition for batch in notices.items) == [0, 1, 2, 3]
    assert isinstance(writes[0], WriteJournal)
    assert len(writes[0].batch.entries) == 4


@pytest.mark.promise("P1")
def test_the_first_write_of_a_life_holds_the_new_term_the_own_vote_and_a_no_op() -> None:
    world = StorageWorld(ring(2))
    world.open()
    while not world.core.led:
        world.turn()
    write = world.effects[0]
    assert isinstance(write, WriteJournal)
    assert {p: HardState.decode(body) for p, body in write.batch.hard_states.items()} == {
        0: HardState(2, 1),
        1: HardState(2, 2),
    }
    entries = [decode_entry(body) for (body,) in write.batch.entries.values()]
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
    monkeypatch.setattr("zmqim.storage.holdings.HEADS_CACHED_MAX", 4)
    world = StorageWorld(ring(1))
    for n in range(20):
        row = world.query(b"\x02g", ChannelQuery(GROUP, f"unknown{n}"))
        assert row == ChannelRow(False)
    assert len(world.core.groups[0].state.heads._channels) <= 5


def test_the_longest_log_is_halved_when_all_together_are_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zmqim.storage.shortening.JOURNAL_BYTES_MAX", 20_000)
    monkeypatch.setattr("zmqim.storage.log_size.STRETCH_BYTES", 1_000)
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    raft = world.core.groups[0].raft
    for n in range(30):
        world.send(message("alice", "g", str(n), bytes(1_000)))
    assert raft.log.first == 2, "only the NO-OP made no notice"
    world.receive(ack_of(0, 1, 99))
    for n in range(30, 60):
        world.send(message("alice", "g", str(n), bytes(1_000)))
        world.receive(ack_of(0, 1, 99))
    assert 40 < raft.log.first < raft.last
    assert world.core.groups[0].size.bytes_kept <= 20_000
    world.restart()
    again = world.send(message("alice", "g", "0", bytes(1_000)))[0]
    assert isinstance(again, Sent)
    assert again.duplicate


def test_messages_that_are_not_for_a_storage_are_counted_and_dropped() -> None:
    world = StorageWorld()
    before = world.core.counters["strays"]
    world.receive(NoticeBatches([]))
    world.receive(ack_of(77, 1, 1))
    world.core.undeliverable(world.now, ROUTER, NoticeBatches([]))
    world.core.wake(world.now)
    assert world.core.counters["strays"] == before + 2
    assert world.core.queued == 0
    assert world.turn() == []


def test_log_ends_and_applied_ends_are_told_for_the_witness() -> None:
    world = StorageWorld(ring(2))
    meta_group = 2
    ends = world.core.log_ends()
    assert ends.keys() == {0, 1, meta_group}
    assert (ends[0], ends[1]) == ((1, 1), (1, 1))
    assert world.core.applied_ends() == ends
    world.restart()
    after = world.core.log_ends()
    assert (after[0], after[1]) == ((2, 2), (2, 2))


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


# ---- three storages ------------------------------------------------------------------------------


@pytest.mark.promise("P1")
def test_an_acknowledgement_leaves_only_when_a_majority_has_synced() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.hold(TWO, ONE)
    trio.hold(THREE, ONE)
    item = trio.put(ONE, message("alice", "g", "1"))
    trio.run(100)
    last = trio.group(ONE).raft.last
    assert [trio[name].last() for name in NAMES] == [last] * 3
    assert trio.outcome(item) is None, "nobody told the leader that two disks hold it"
    trio.release(THREE, ONE)
    trio.run(2)
    assert isinstance(result_of(trio.answered(item)), Sent)


@pytest.mark.promise("P1")
def test_without_a_majority_nothing_is_acknowledged_and_with_one_it_is() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.crash(TWO)
    assert isinstance(trio.write(message("alice", "g", "1")), Sent)
    trio.crash(THREE)
    item = trio.put(ONE, message("alice", "g", "2"))
    trio.run(10_000)
    outcome = trio.outcome(item)
    assert outcome is not None
    assert outcome.code == OutcomeCode.UNKNOWN
    assert trio.leader() is None
    trio.boot(TWO)
    trio.until(lambda: trio.leader() is not None)
    assert isinstance(trio.write(message("alice", "g", "2")), Sent)


@pytest.mark.promise("P1")
def test_appends_leave_before_the_own_write_and_answers_behind_it() -> None:
    trio = Trio()
    trio.add("g", "alice")
    item = trio.put(ONE, message("alice", "g", "1"))
    proposing = trio.turn(ONE)
    (write,) = places(proposing, WriteJournal)
    assert len(places(proposing, Appends)) == 2
    assert max(places(proposing, Appends)) < write
    assert places(proposing, Outcomes) == places(proposing, WriteState) == []
    trio.step()
    for name in (TWO, THREE):
        following = trio[name].effects
        (write,), (answer,) = places(following, WriteJournal), places(following, AppendResults)
        assert write < answer
        assert places(following, WriteState) == []
    trio.now += 1
    trio.step()
    applying = trio[ONE].effects
    (rows,), (outcome,) = places(applying, WriteState), places(applying, Outcomes)
    assert places(applying, WriteJournal) == []
    assert rows < outcome < places(applying, NoticeBatches)[0]
    assert trio.outcome(item) is not None


def test_a_turn_says_to_each_peer_in_one_message_what_it_has_for_it() -> None:
    trio = Trio(4)
    for partition in range(4):
        trio.put(ONE, AddMembers(GROUP, "g", ["alice"]), partition)
    appends = [one for one in sends_of(trio.turn(ONE)) if isinstance(one.message, Appends)]
    assert [send.to for send in appends] == [TWO, THREE]
    assert [partitions_of(send) for send in appends] == [[0, 1, 2, 3]] * 2
    trio.step()
    for name in (TWO, THREE):
        (answer,) = sends_of(trio[name].effects)
        assert (answer.to, type(answer.message)) == (ONE, AppendResults)
        assert partitions_of(answer) == [0, 1, 2, 3]
    trio.now += 1
    trio.step()
    (notices,) = [
        one for one in sends_of(trio[ONE].effects) if isinstance(one.message, NoticeBatches)
    ]
    assert (notices.to, partitions_of(notices)) == (ROUTER, [0, 1, 2, 3])


def test_an_item_that_does_not_fit_its_group_is_dropped_alone() -> None:
    trio = Trio(2)
    for partition in range(2):
        trio.put(ONE, AddMembers(GROUP, "g", ["alice"]), partition)
    trio.turn(ONE)
    appends = trio.wires[ONE, TWO].popleft()
    assert isinstance(appends, Appends)
    first, second = appends.items
    bad = [
        replace(first, group=b"another!"),
        replace(first, partition=77),
        replace(first, target=0),
        replace(first, entries=[b"short"]),
    ]
    fenced = trio[TWO].core.counters["fenced"]
    trio[TWO].core.receive(trio.now, ONE, Appends([first, *bad, second]))
    effects = trio.turn(TWO)
    assert trio[TWO].core.counters["fenced"] == fenced + 4
    (answer,) = [one.message for one in sends_of(effects) if isinstance(one.message, AppendResults)]
    ends = [(first.partition, first.prev_index + 1), (second.partition, second.prev_index + 1)]
    assert [(one.partition, one.match) for one in answer.items if one.accepted] == ends
    one, other = answer.items
    bad_answers = [replace(one, group=b"another!"), replace(one, partition=77)]
    trio[ONE].core.receive(trio.now, TWO, AppendResults([one, *bad_answers, other]))
    trio.turn(ONE)
    assert [trio.group(ONE, n).raft.commit for n in range(2)] == [end for _, end in sorted(ends)]


def test_an_acknowledgement_of_another_partition_is_dropped_alone() -> None:
    world = StorageWorld(ring(2))
    for n in range(20):
        world.add(f"g{n}", "alice")
    duties = [group.duties for group in world.core.groups.values()]
    assert [one is not None and one.notices.idle for one in duties] == [False, False]
    world.receive(NoticeAcks([NoticeAck(number, 1, 99) for number in (0, 77, 1)]))
    assert [one is not None and one.notices.idle for one in duties] == [True, True]


@pytest.mark.promise("P1")
def test_a_vote_leaves_only_behind_the_write_that_remembers_it() -> None:
    trio = Trio()
    term = trio.group(ONE).raft.term + 1
    trio.crash(ONE)
    trio.until(lambda: trio.leads(TWO))
    told = []
    for name in (TWO, THREE):
        for effects in trio[name].turns:
            written: dict[int, HardState] = {}
            for effect in effects:
                if isinstance(effect, WriteJournal):
                    states = effect.batch.hard_states.items()
                    written = {p: HardState.decode(body) for p, body in states}
                elif isinstance(effect, Send) and isinstance(
                    effect.message, VoteRequest | VoteResult
                ):
                    vote = effect.message
                    if (vote.pre, vote.partition, vote.term) == (False, 0, term):
                        told.append((name, type(vote), written.get(0)))
    # The one asks in a turn that wrote its own vote; the other grants, having written that.
    voted = HardState(term, trio.group(TWO).raft.replica)
    assert told == [(TWO, VoteRequest, voted), (THREE, VoteResult, voted)]


def sends_of(effects: list[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


def partitions_of(send: Send) -> list[int]:
    """Of the items of a list."""
    assert isinstance(send.message, Appends | AppendResults | NoticeBatches)
    return [item.partition for item in send.message.items]


def _talk(trio: Trio) -> None:
    """Something of everything that an entry may be."""
    trio.add("g", "alice", "bob")
    for n in range(30):
        trio.write(message("alice", "g", str(n // 2)))
    trio.write(message("alice", "g", "c", flags=MessageFlag.SYNC_ONCE))
    trio.write(deny("bob", "alice", "carol"))
    trio.write(AddMembers(GROUP, "h", ["dave"], request_id=b"r"))
    trio.write(message("eve", "g", "refused"))


@pytest.mark.promise("P2")
def test_followers_hold_the_rows_of_the_leader() -> None:
    trio = Trio()
    _talk(trio)
    trio.until(trio.applied_alike)
    assert len(trio.digests()) == 1
    trio.crash(ONE)
    trio.until(lambda: trio.leads(TWO))
    _talk(trio)
    trio.boot(ONE)
    trio.until(trio.applied_alike)
    assert len(trio.digests()) == 1


def test_a_follower_lets_entries_gather_and_applies_them_in_one_write() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.run(2 * FOLLOWER_APPLY_MS)
    before = {name: len(trio[name].turns) for name in NAMES}
    began = trio.now
    for n in range(10):
        trio.write(message("alice", "g", str(n)))
    assert trio.now - began < FOLLOWER_APPLY_MS
    trio.run(2 * FOLLOWER_APPLY_MS)
    writes = {
        name: sum(len(places(effects, WriteState)) for effects in trio[name].turns[before[name] :])
        for name in NAMES
    }
    assert writes == {ONE: 10, TWO: 1, THREE: 1}
    assert len(trio.digests()) == 1


@pytest.mark.promise("P6")
@pytest.mark.parametrize("effects_max", range(4))
def test_a_follower_that_dies_anywhere_in_a_turn_comes_to_the_same_rows(effects_max: int) -> None:
    for applies in (False, True):
        trio = Trio()
        trio.add("g", "alice")
        trio.run(2 * FOLLOWER_APPLY_MS)
        trio.put(ONE, message("alice", "g", "1"))
        trio.run(1)
        if applies:
            trio.now += FOLLOWER_APPLY_MS
        trio.turn(TWO, effects_max)
        assert isinstance(trio.write(message("alice", "g", "2")), Sent)
        trio.boot(TWO)
        trio.until(trio.applied_alike)
        assert len(trio.digests()) == 1


@pytest.mark.promise("P1")
@pytest.mark.promise("P3")
@pytest.mark.parametrize("effects_max", range(8))
@pytest.mark.parametrize("steps", range(4))
def test_a_leader_that_dies_anywhere_in_a_turn_takes_nothing_acknowledged_along(
    effects_max: int, steps: int
) -> None:
    trio = Trio()
    trio.add("g", "alice")
    items = [trio.put(ONE, message("alice", "g", str(n))) for n in range(3)]
    for _ in range(steps):
        trio.step()
        trio.now += 1
    trio.turn(ONE, effects_max)
    told = [trio.outcome(item) for item in items]
    trio.until(lambda: trio.leader() is not None)
    again = [trio.write(message("alice", "g", str(n))) for n in range(3)]
    for before, now in zip(told, again, strict=True):
        assert isinstance(now, Sent)
        if before is not None:
            assert now == msgspec.structs.replace(result_of(before), duplicate=True)
    trio.boot(ONE)
    trio.until(trio.applied_alike)
    assert len(trio.digests()) == 1


def _heard(trio: Trio, name: NodeName, router: NodeName) -> dict[int, int]:
    """The latest terms of which `router` heard that `name` leads, by partition."""
    return {
        partition: term
        for send in trio[name].sent
        if send.to == router and isinstance(send.message, Leading)
        for partition, term in send.message.groups
    }


def test_routers_hear_of_a_lead_when_it_begins_and_of_all_when_they_come() -> None:
    trio = Trio(2)
    terms = {partition: trio.group(ONE, partition).raft.term for partition in (0, 1)}
    assert _heard(trio, ONE, ROUTER) == terms
    late = NodeName("router-2")
    trio[ONE].core.peer_up(trio.now, router_peer(late))
    trio.run(1)
    assert trio[ONE].sent[-1] == Send(late, Leading(sorted(terms.items())))
    trio[TWO].core.peer_up(trio.now, router_peer(late))
    trio.run(1)
    assert _heard(trio, TWO, late) == {}, "a follower has nothing to tell"
    trio.crash(ONE)
    trio.until(lambda: trio.leads(TWO) or trio.leads(THREE))
    leader = trio.leader()
    assert leader is not None
    trio[leader].core.peer_up(trio.now, router_peer(late))
    trio.run(1)
    after = {partition: trio.group(leader, partition).raft.term for partition in (0, 1)}
    assert _heard(trio, leader, ROUTER) == _heard(trio, leader, late) == after
    assert all(after[partition] > terms[partition] for partition in terms)


def test_a_lead_that_is_lost_is_not_told_to_a_router_that_comes_later() -> None:
    trio = Trio()
    trio.cut(ONE)
    trio.until(lambda: trio.leads(TWO))
    trio.run(1)
    before = trio.leading(ONE)
    trio[ONE].core.peer_down(trio.now, ROUTER)
    trio[ONE].core.peer_up(trio.now, router_peer(incarnation=2))
    trio.run(5)
    assert trio.leading(ONE) == before
    trio.heal()
    trio.until(lambda: trio.leads(ONE))
    assert trio.leading(ONE)[len(before) :] == [Leading([(0, trio.group(ONE).raft.term)])]


@pytest.mark.promise("P9")
def test_full_disks_keep_nobody_from_following_and_leading_but_what_is_new_is_refused() -> None:
    trio = Trio()
    for name in (TWO, THREE):
        trio[name].core.disk_state(trio.now, True)
    _talk(trio)
    trio.until(trio.applied_alike)
    assert len(trio.digests()) == 1
    trio.crash(ONE)
    trio.until(lambda: trio.leads(TWO) or trio.leads(THREE))
    leader = TWO if trio.leads(TWO) else THREE
    trio.run(2 * HAND_HOME_MS)
    assert trio.leads(leader)
    refused = trio.answered(trio.put(leader, message("alice", "g", "x")))
    assert refused.code == OutcomeCode.DISK_FULL
    stored = result_of(trio.answered(trio.put(leader, message("alice", "g", "0"))))
    assert isinstance(stored, Sent)
    assert stored.duplicate


@pytest.mark.promise("P9")
def test_a_leader_without_room_hands_on_its_lead_until_there_is_room_again() -> None:
    trio = Trio()
    _talk(trio)
    trio[THREE].core.disk_state(trio.now, True)
    trio.run(2 * NODE_HEARTBEAT_MS)
    trio[ONE].core.disk_state(trio.now, True)
    asked = trio.put(ONE, message("alice", "g", "x"))
    assert trio.answered(asked).code in (OutcomeCode.UNAVAILABLE, OutcomeCode.NOT_LEADER)
    trio.until(lambda: trio.leads(TWO))
    assert isinstance(result_of(trio.answered(trio.put(TWO, message("alice", "g", "x")))), Sent)
    trio.run(3 * HAND_HOME_MS)
    assert trio.leads(TWO)
    trio[ONE].core.disk_state(trio.now, False)
    trio.until(lambda: trio.leads(ONE))


@pytest.mark.promise("P9")
def test_whoever_is_without_room_stands_after_everyone_else() -> None:
    trio = Trio()
    _talk(trio)
    trio[TWO].core.disk_state(trio.now, True)
    trio.crash(ONE)
    trio.until(lambda: trio.leads(THREE))
    assert isinstance(result_of(trio.answered(trio.put(THREE, message("alice", "g", "x")))), Sent)


def test_a_storage_is_ready_when_all_its_partitions_have_a_leader() -> None:
    trio = Trio(2, is_led=False)
    assert [trio[name].core.serving for name in NAMES] == [False] * 3
    trio.until(lambda: all(trio[name].core.serving for name in NAMES))
    assert sum(trio[name].core.led for name in NAMES) == 2
    trio.crash(ONE)
    trio.crash(TWO)
    trio.run(10_000)
    assert trio[THREE].core.led == 0
