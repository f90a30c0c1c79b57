"""Items of routers: what is refused and how, what is answered and when."""

from __future__ import annotations

import msgspec
import pytest
from storage_trio import ONE, THREE, TWO, Trio, places
from storage_world import (
    GROUP,
    ROUTER,
    StorageWorld,
    deny,
    key_of,
    message,
    notices_in,
    outcomes_in,
    result_of,
    ring,
    router_peer,
    user_key,
)

from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    ItemKind,
    Outcome,
    OutcomeCode,
    Outcomes,
    Propose,
    RoutedItem,
)
from zmqim.bus.replication import NodeHeartbeat, NodeHeartbeatEcho
from zmqim.chat.codes import MessageFlag, Reason
from zmqim.chat.encoding import encode
from zmqim.chat.operations import AddMembers, Notified
from zmqim.chat.queries import MembersQuery, OutboxQuery, Probe
from zmqim.chat.results import Done, MembersPage, Rejected, Sent
from zmqim.ids import HLC_COUNTER_BITS, NodeName
from zmqim.limits import (
    FOLLOWER_APPLY_MS,
    NODE_HEARTBEAT_MS,
    NOTICE_REPEAT_MS,
    QUORUM_SILENCE_MS,
    READ_DEADLINE_MS,
)
from zmqim.storage.effects import WriteJournal
from zmqim.storage.repeats import Repeats


def test_nothing_is_served_before_the_no_op_of_the_own_term_is_applied() -> None:
    world = StorageWorld()
    world.open()
    assert not world.core.serving
    probe = world.item(b"\0x", ItemKind.READ, encode(Probe()))
    write = world.item(b"\0x", ItemKind.WRITE, encode(message("a", "g", "1")))
    codes = []
    while not world.core.serving:
        codes.append([outcome.code for outcome in world.outcomes(probe, write)])
    assert codes.pop() == [OutcomeCode.UNAVAILABLE, OutcomeCode.UNAVAILABLE]
    assert {code for turn in codes for code in turn} == {OutcomeCode.NOT_LEADER}
    assert world.outcomes(probe)[0].code == OutcomeCode.DONE


def test_a_partition_that_is_not_held_or_does_not_exist_is_refused() -> None:
    world = StorageWorld(ring(2, foreign=(1,)))
    items = [RoutedItem(1, n, n, ItemKind.READ, encode(Probe())) for n in (0, 1, 2)]
    world.receive(Propose(items))
    assert outcomes_in(world.turn()) == [
        Outcome(1, 0, 0, OutcomeCode.DONE, encode(Done(1))),
        Outcome(1, 1, 1, OutcomeCode.NOT_LEADER, b""),
        Outcome(1, 2, 2, OutcomeCode.BAD_REQUEST, b"no partition 2"),
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
    monkeypatch.setattr("zmqim.storage.proposals.UNCOMMITTED_PARTITION_BYTES_MAX", 300)
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
        monkeypatch.setattr("zmqim.storage.proposals.UNCOMMITTED_PARTITION_BYTES_MAX", 0)


def test_a_read_sees_the_write_before_it_in_the_same_frame() -> None:
    world = StorageWorld()
    key = b"\x02g"
    write = world.item(key, ItemKind.WRITE, encode(AddMembers(GROUP, "g", ["b", "a"])))
    read = world.item(key, ItemKind.READ, encode(MembersQuery(GROUP, "g")))
    done, page = (result_of(outcome) for outcome in world.outcomes(write, read))
    assert isinstance(done, Done)
    assert page == MembersPage(done.log_index, 2, ["a", "b"], False)


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


def test_an_outbox_question_that_is_not_drained_is_answered_at_its_deadline() -> None:
    world = StorageWorld()
    world.write(user_key("bob"), deny("bob", "alice"))
    world.core.peer_down(world.now, ROUTER)
    asked = world.item(user_key("bob"), ItemKind.READ, encode(OutboxQuery(1)))
    world.receive(Propose([asked]))
    world.turn()
    assert world.core.pushing.look_at == world.now + READ_DEADLINE_MS
    wake = world.core.next_wake()
    assert wake is not None
    assert wake <= world.now + READ_DEADLINE_MS
    (answer,) = outcomes_in(world.turn(READ_DEADLINE_MS))
    assert (answer.request, answer.code) == (asked.request, OutcomeCode.UNAVAILABLE)


def test_too_many_uids_for_one_entry_are_refused() -> None:
    world = StorageWorld()
    many = AddMembers(GROUP, "g", [f"u{n}" for n in range(1_001)])
    (outcome,) = world.outcomes(world.item(b"\x02g", ItemKind.WRITE, encode(many)))
    assert outcome.code == OutcomeCode.BAD_REQUEST


# ---- three storages ------------------------------------------------------------------------------


def _probe(trio: Trio, name: NodeName) -> RoutedItem:
    return trio.ask(name, Probe())


def test_whoever_asks_a_follower_hears_who_leads() -> None:
    trio = Trio()
    items = [trio.put(TWO, message("a", "g", "1")), _probe(trio, THREE)]
    transient = trio.item(ItemKind.TRANSIENT, encode(message("a", "g", "1")))
    trio.propose(TWO, transient)
    outcomes = [trio.answered(item) for item in (*items, transient)]
    assert {(one.code, one.result) for one in outcomes} == {(OutcomeCode.NOT_LEADER, ONE.encode())}
    trio.crash(ONE)
    nobody = trio.answered(_probe(trio, THREE))
    assert (nobody.code, nobody.result) == (OutcomeCode.NOT_LEADER, b"")
    trio.until(lambda: trio.leads(TWO))
    trio.run(1)
    moved = trio.answered(_probe(trio, THREE))
    assert (moved.code, moved.result) == (OutcomeCode.NOT_LEADER, TWO.encode())


def test_who_is_elected_but_does_not_serve_yet_is_unavailable() -> None:
    trio = Trio()
    before = trio.leading(TWO)
    trio.crash(ONE)
    trio.until(lambda: trio.group(TWO).raft.lead is not None)
    trio.hold(THREE, TWO)
    items = [trio.put(TWO, message("a", "g", "1")), _probe(trio, TWO)]
    trio.run(10)
    assert [trio.answered(item).code for item in items] == [OutcomeCode.UNAVAILABLE] * 2
    assert trio.leading(TWO) == before
    trio.release(THREE, TWO)
    trio.run(2)
    assert trio.leads(TWO)
    assert trio.answered(_probe(trio, TWO)).code == OutcomeCode.DONE


def test_who_hands_over_is_unavailable_and_answers_what_it_took_before() -> None:
    trio = Trio()
    trio.add("g", "alice")
    before = trio.put(ONE, message("alice", "g", "1"))
    trio.turn(ONE)
    raft = trio.group(ONE).raft
    assert raft.hand_over(trio.now, trio.group(TWO).raft.replica)
    items = [trio.put(ONE, message("alice", "g", "2")), _probe(trio, ONE)]
    trio.turn(ONE)
    assert [trio.answered(item).code for item in items] == [OutcomeCode.UNAVAILABLE] * 2
    trio.until(lambda: trio.leads(TWO))
    assert isinstance(result_of(trio.answered(before)), Sent)


@pytest.mark.promise("P1")
def test_a_lost_lead_leaves_open_writes_unknown_and_sends_readers_on() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.write(deny("bob", "alice"))
    trio.cut(ONE)
    write, read = trio.put(ONE, message("alice", "g", "1")), _probe(trio, ONE)
    transient = trio.item(ItemKind.TRANSIENT, encode(message("alice", "g", "2")))
    trio.propose(ONE, transient)
    outbox = trio.ask(ONE, OutboxQuery(1))
    trio.run(QUORUM_SILENCE_MS // 2)
    assert trio.outcome(write) is trio.outcome(read) is None
    assert trio.answered(write).code == OutcomeCode.UNKNOWN
    for item in (read, transient, outbox):
        outcome = trio.answered(item)
        assert (outcome.code, outcome.result) == (OutcomeCode.NOT_LEADER, b"")
    group = trio.group(ONE)
    assert (group.duties, group.uncommitted, len(group.waiting)) == (None, 0, 0)


@pytest.mark.promise("P1")
def test_a_leader_that_was_stopped_finds_its_lead_lost_before_it_answers_anything() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.cut(ONE)
    write, read = trio.put(ONE, message("alice", "g", "1")), _probe(trio, ONE)
    trio.turn(ONE)
    trio[ONE].is_stopped = True
    trio.until(lambda: trio.leads(TWO))
    trio.add("g", "bob")
    later = _probe(trio, ONE)
    trio.heal()
    trio.run(1)
    trio[ONE].is_stopped = False
    trio.run(FOLLOWER_APPLY_MS)
    assert trio.answered(write).code == OutcomeCode.UNKNOWN
    for item in (read, later):
        outcome = trio.answered(item)
        assert (outcome.code, outcome.result) == (OutcomeCode.NOT_LEADER, TWO.encode())


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
def test_results_never_go_to_who_proposed_another_entry_at_the_same_index() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.cut(ONE)
    common = trio.group(TWO).raft.last
    lost = [trio.put(ONE, message("alice", "g", f"lost {n}")) for n in range(3)]
    trio.turn(ONE)
    assert trio.group(ONE).raft.last == common + 3
    trio.until(lambda: trio.leads(TWO))
    kept = [trio.put(TWO, message("alice", "g", f"kept {n}")) for n in range(2)]
    results = [result_of(trio.answered(item)) for item in kept]
    assert trio.group(TWO).raft.last == common + 3
    assert [result.sequence for result in results if isinstance(result, Sent)] == [1, 2]
    trio.heal()
    trio.until(trio.applied_alike)
    assert {trio.answered(item).code for item in lost} == {OutcomeCode.UNKNOWN}
    assert len(trio.digests()) == 1
    trio.until(lambda: trio.leads(ONE))
    assert trio.group(ONE).operations == trio.group(ONE).results == {}
    again = trio.write(message("alice", "g", "lost 0"))
    assert isinstance(again, Sent)
    assert (again.sequence, again.duplicate) == (3, False)


@pytest.mark.promise("P4")
def test_a_read_is_answered_only_by_a_round_that_began_after_it_came() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.hold(TWO, ONE)
    trio.hold(THREE, ONE)
    trio.run(2 * NODE_HEARTBEAT_MS)
    old = {name: list(trio.wires[name, ONE]) for name in (TWO, THREE)}
    assert all(isinstance(echoes[-1], NodeHeartbeatEcho) for echoes in old.values())
    read = _probe(trio, ONE)
    trio.turn(ONE)
    for name, echoes in old.items():
        trio.wires[name, ONE].clear()
        for echo in echoes:
            trio[ONE].core.receive(trio.now, name, echo)
    trio.run(10)
    assert trio.outcome(read) is None, "only old echoes came"
    trio.release(TWO, ONE)
    trio.run(1)
    assert trio.answered(read).code == OutcomeCode.DONE


@pytest.mark.promise("P4")
def test_reads_of_a_turn_and_messages_that_are_not_logged_share_one_round() -> None:
    trio = Trio(2)
    trio.add("g", "alice")
    trio.run(2 * NODE_HEARTBEAT_MS)
    reads = [trio.ask(ONE, Probe(), partition) for partition in (0, 1, 0)]
    send = message("alice", "g", "1", flags=MessageFlag.NO_PERSIST)
    transient = trio.item(ItemKind.TRANSIENT, encode(send))
    trio.propose(ONE, transient)
    effects = trio.turn(ONE)
    assert len(places(effects, NodeHeartbeat)) == 2
    assert places(effects, Outcomes) == []
    trio.run(2)
    assert [trio.answered(read).code for read in reads] == [OutcomeCode.DONE] * 3
    assert isinstance(result_of(trio.answered(transient)), Sent)


@pytest.mark.promise("P4")
def test_a_round_that_is_lost_is_followed_by_one_that_confirms() -> None:
    trio = Trio()
    trio.cut(ONE)
    read = _probe(trio, ONE)
    trio.turn(ONE)
    trio.cut_wires.clear()
    trio.run(NODE_HEARTBEAT_MS - 1)
    assert trio.outcome(read) is None
    trio.run(3)
    assert trio.answered(read).code == OutcomeCode.DONE


@pytest.mark.promise("P4")
def test_a_read_behind_a_write_sees_it_and_waits_for_both() -> None:
    trio = Trio()
    members = AddMembers(GROUP, "g", ["alice"])
    write = trio.item(ItemKind.WRITE, encode(members))
    read = trio.item(ItemKind.READ, encode(MembersQuery(GROUP, "g")))
    trio.hold(TWO, ONE)
    trio.hold(THREE, ONE)
    trio.propose(ONE, write, read)
    trio.run(20)
    assert trio.outcome(read) is None
    trio.release(TWO, ONE)
    page = result_of(trio.answered(read))
    assert isinstance(page, MembersPage)
    assert page.uids == ["alice"]
    assert trio.outcome(write) is not None


# ---- writes that come again ----------------------------------------------------------------------


@pytest.mark.promise("P3")
def test_a_repeat_of_what_is_stored_gets_its_first_result_without_the_log() -> None:
    world = StorageWorld()
    world.add("g", "alice")
    one = message("alice", "g", "1")
    write = world.item(key_of(one), ItemKind.WRITE, encode(one))
    first = result_of(world.outcomes(write)[0])
    assert isinstance(first, Sent)
    last = world.core.groups[write.partition].raft.last
    again = msgspec.structs.replace(first, duplicate=True)
    assert result_of(world.outcomes(write)[0]) == again
    assert world.core.groups[write.partition].raft.last == last
    assert world.core.counters["repeats"] == 1
    world.core.peer_down(world.now, ROUTER)
    world.core.peer_up(world.now, router_peer(incarnation=2))
    assert result_of(world.outcomes(write)[0]) == again
    assert world.core.groups[write.partition].raft.last > last
    assert world.core.counters["repeats"] == 1


def test_what_was_refused_is_judged_anew_when_it_comes_again() -> None:
    world = StorageWorld()
    one = message("alice", "g", "1")
    write = world.item(key_of(one), ItemKind.WRITE, encode(one))
    assert isinstance(result_of(world.outcomes(write)[0]), Rejected)
    world.add("g", "alice")
    assert isinstance(result_of(world.outcomes(write)[0]), Sent)


@pytest.mark.promise("P3")
def test_a_repeat_of_what_is_under_way_is_neither_logged_nor_answered_twice() -> None:
    trio = Trio()
    trio.add("g", "alice")
    for follower in (TWO, THREE):
        trio.hold(follower, ONE)
    write = trio.put(ONE, message("alice", "g", "1"))
    trio.run(5)
    last = trio.group(ONE).raft.last
    trio.propose(ONE, write)
    trio.run(5)
    assert trio.group(ONE).raft.last == last
    assert trio.outcome(write) is None
    for follower in (TWO, THREE):
        trio.release(follower, ONE)
    trio.run(50)
    told = [one for send in trio[ONE].sent for one in outcomes_in([send])]
    assert [one.request for one in told].count(write.request) == 1


@pytest.mark.promise("P3")
def test_a_repeat_in_a_later_lead_of_the_same_storage_is_not_taken_for_the_first() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.cut(ONE)
    write = trio.put(ONE, message("alice", "g", "1"))
    trio.until(lambda: trio.leader() != ONE)
    trio.heal()
    trio.until(lambda: trio.leads(ONE))
    trio.propose(ONE, write)
    trio.until(lambda: trio.outcome(write) is not None)
    codes = [one.code for send in trio[ONE].sent for one in outcomes_in([send])]
    assert OutcomeCode.UNKNOWN in codes
    trio.run(50)
    told = [one for send in trio[ONE].sent for one in outcomes_in([send])]
    assert isinstance(result_of([one for one in told if one.request == write.request][-1]), Sent)


def test_of_the_writes_of_a_router_only_so_many_are_known_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zmqim.storage.repeats.REPEATS_KNOWN_MAX", 2)
    repeats = Repeats()
    items = [RoutedItem(1, number, 0, ItemKind.WRITE, b"") for number in range(3)]
    for at, item in enumerate(items, 1):
        repeats.note(ROUTER, item, (1, at))
    found = [repeats.find(ROUTER, item) for item in items]
    assert found == [None, (1, 2), (1, 3)]
    assert repeats.find(NodeName("router-9"), items[2]) is None
    repeats.forget(ROUTER)
    assert repeats.find(ROUTER, items[2]) is None
