"""All groups of a process: who is heard, who is silent, who stands when, and which reads count."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from raft_rig import WALL_MS, Rig, name_of
from raft_trio import append, asks, holds

from zmqim.bus.replication import (
    Append,
    AppendResults,
    GroupPulse,
    NodeHeartbeat,
    NodeHeartbeatEcho,
    TimeoutNow,
    VoteRequest,
)
from zmqim.limits import (
    CLOCK_JUMP_MS,
    ELECTION_FALLBACK_MS,
    ELECTION_STAGGER_MS,
    HAND_HOME_MS,
    LEADER_LOST_MS,
    LEADER_SILENCE_MS,
    NODE_HEARTBEAT_MS,
    QUORUM_SILENCE_MS,
)
from zmqim.raft.config import GroupConfig, Place, Step, StepKind
from zmqim.raft.groups import NEVER, Groups
from zmqim.raft.state import Role
from zmqim.sim.raft_replica import GROUP, PARTITION, birth_of, places

ONE, TWO, THREE = (name_of(one) for one in (1, 2, 3))


def led() -> Rig:
    """Storage 1 leads and serves, and everyone knows it."""
    rig = Rig()
    rig.lead(1)
    rig.run(500)
    return rig


def time_until(rig: Rig, condition: Any) -> int:
    before = rig.now
    rig.until(condition)
    return rig.now - before


# ---- elections -----------------------------------------------------------------------------------


def test_who_should_lead_stands_first() -> None:
    rig = Rig()
    assert time_until(rig, lambda: rig[1].core.serving) < 2 * ELECTION_STAGGER_MS
    assert [one.groups.counters["elections"] for one in rig.storages.values()] == [1, 0, 0]
    assert {one.core.leader for one in rig.storages.values()} == {1}


def test_those_behind_who_is_away_stand_first() -> None:
    rig = Rig()
    rig.part(1)
    assert time_until(rig, lambda: rig[2].core.serving) < 3 * ELECTION_STAGGER_MS
    assert rig[1].core.role is not Role.LEADER


def test_a_quiet_group_keeps_its_leader_and_costs_only_heartbeats() -> None:
    rig = led()
    rig.sent.clear()
    rig.run(20_000)
    assert [one.core.term for one in rig.storages.values()] == [1, 1, 1]
    assert {type(message) for _, _, message in rig.sent} == {NodeHeartbeat, NodeHeartbeatEcho}
    assert all(
        message.groups == [] for *_, message in rig.sent if isinstance(message, NodeHeartbeat)
    )
    rounds = 20_000 // NODE_HEARTBEAT_MS
    assert 4 * (rounds - 3) <= len(rig.sent) <= 4 * (rounds + 3)


@pytest.mark.promise("P6")
def test_a_lost_link_to_the_leader_makes_the_others_stand_soon() -> None:
    rig = led()
    rig.part(1)
    took = time_until(rig, lambda: rig[2].core.serving or rig[3].core.serving)
    assert LEADER_LOST_MS <= took < LEADER_LOST_MS + 3 * ELECTION_STAGGER_MS + 100
    assert rig.leader is not None
    assert rig.leader.core.term == 2


@pytest.mark.parametrize(("seen", "patience"), [([], 1), ([ONE, TWO, THREE], 2)])
def test_a_silent_leader_is_waited_for_twice_as_long_while_gossip_does_not_suspect_it(
    seen: list[Any], patience: int
) -> None:
    rig = led()
    for one in rig.storages.values():
        one.groups.view_changed(seen)
    rig.silent = {frozenset((ONE, TWO)), frozenset((ONE, THREE))}
    took = time_until(rig, lambda: rig[2].core.serving or rig[3].core.serving)
    assert took >= patience * LEADER_SILENCE_MS - NODE_HEARTBEAT_MS
    assert took < patience * LEADER_SILENCE_MS + 4 * ELECTION_STAGGER_MS + 2 * NODE_HEARTBEAT_MS


def test_a_follower_that_hears_the_leader_disturbs_nobody() -> None:
    rig = led()
    rig.part(2, 3)
    rig.run(10_000)
    assert [one.core.term for one in rig.storages.values()] == [1, 1, 1]
    assert rig[1].core.serving


def test_one_that_hears_nobody_takes_no_term_and_disturbs_nobody_later() -> None:
    rig = led()
    rig.part(3)
    rig.run(30_000)
    assert (rig[3].core.term, rig[1].core.term) == (1, 1)
    assert rig[3].groups.counters["elections"] > 3
    rig.heal()
    rig.run(3_000)
    assert [one.core.term for one in rig.storages.values()] == [1, 1, 1]
    assert rig[3].core.leader == 1


@pytest.mark.promise("P1")
def test_a_leader_that_hears_no_majority_resigns() -> None:
    rig = led()
    rig.silent = {frozenset((ONE, TWO)), frozenset((ONE, THREE))}
    took = time_until(rig, lambda: rig[1].core.lead is None)
    assert QUORUM_SILENCE_MS < took <= QUORUM_SILENCE_MS + 2 * NODE_HEARTBEAT_MS
    assert rig[1].groups.counters["step_downs"] == 1


def test_a_leader_that_hears_one_of_two_stays() -> None:
    rig = led()
    rig.part(1, 3)
    rig.run(5_000)
    assert rig[1].core.serving


def test_a_group_whose_leader_is_in_no_heartbeat_stands_up_by_itself() -> None:
    rig = led()
    rig.drop = lambda source, target, what: isinstance(what, NodeHeartbeat)
    rig[2].groups._follow_up(rig.now, rig[2].core, (0, 0, Role.FOLLOWER))
    assert rig[2].groups._stand_at == {PARTITION: rig.now + ELECTION_FALLBACK_MS}


def test_a_group_that_its_leader_gave_up_is_led_by_another_soon() -> None:
    rig = led()
    rig[1].core.step_down()
    rig[1].groups._follow_up(rig.now, rig[1].core, (1, 1, Role.LEADER))
    assert time_until(rig, lambda: rig.leader is not None and rig.leader.core.serving) < 1_500


def test_a_lead_goes_home_when_the_one_who_should_have_it_is_back_for_long() -> None:
    rig = led()
    rig.part(1)
    rig.until(lambda: rig[1].core.lead is None)
    rig.heal()
    took = time_until(rig, lambda: rig[1].core.serving)
    assert HAND_HOME_MS <= took <= 2 * HAND_HOME_MS + 1_000
    assert rig[1].core.term == 3


def test_a_lead_does_not_go_home_to_one_that_echoes_nothing() -> None:
    rig = led()
    rig.part(1)
    rig.until(lambda: rig[2].core.serving)
    rig.heal()
    rig.drop = lambda source, target, what: isinstance(what, NodeHeartbeatEcho) and source == ONE
    rig.run(3 * HAND_HOME_MS)
    assert rig[2].core.serving


def test_after_an_own_pause_the_silence_of_the_others_says_nothing() -> None:
    rig = led()
    rig.now += 60_000
    for one in rig.storages.values():
        if one.number != 1:
            one.groups.tick(rig.now, WALL_MS + rig.now)
            assert one.groups.counters["elections"] == 0
    rig.run(1_000)
    assert [one.core.term for one in rig.storages.values()] == [1, 1, 1]


# ---- data ----------------------------------------------------------------------------------------


def test_what_is_proposed_is_applied_everywhere_with_the_next_heartbeat() -> None:
    rig = led()
    index = rig.propose(1)
    rig.step()
    assert rig[1].core.applied == index
    rig.run(NODE_HEARTBEAT_MS + 20)
    assert [one.core.applied for one in rig.storages.values()] == [index] * 3


def test_a_lost_append_is_sent_again() -> None:
    rig = led()
    rig.drop = lambda source, target, what: isinstance(what, Append)
    index = rig.propose(1)
    rig.run(200)
    assert rig[1].core.commit == index - 1
    rig.drop = lambda source, target, what: False
    assert time_until(rig, lambda: rig[1].core.applied == index) <= 1_300


def test_a_link_that_comes_back_is_fed_at_once() -> None:
    rig = led()
    rig.part(1, 3)
    index = rig.propose(1)
    rig.run(100)
    rig.heal()
    assert time_until(rig, lambda: rig[3].core.last == index) <= 50


@pytest.mark.promise("P1")
def test_a_heartbeat_tells_each_follower_only_what_it_holds() -> None:
    rig = led()
    rig.drop = lambda source, target, what: isinstance(what, Append) and target == THREE
    rig.propose(1)
    rig.sent.clear()
    rig.run(500)
    told = {
        (target, pulse.commit)
        for _, target, what in rig.sent
        if isinstance(what, NodeHeartbeat)
        for pulse in what.groups
    }
    assert told == {(TWO, 2)}
    assert (rig[2].core.applied, rig[3].core.applied) == (2, 1)


def test_the_only_voter_feeds_its_learner_from_the_next_turn_on() -> None:
    rig = Rig(2, GroupConfig(places(1), places(2)))
    groups = rig[1].groups
    sent: list[Any] = []
    while rig[1].core.lead is None:
        assert sent == []
        rig.now += 10
        sent = rig[1].turn(rig.now)
    assert {type(message) for _, message in sent} == {NodeHeartbeat}
    assert (groups.touched, groups.next_wake()) == ({PARTITION}, 0)
    rig.run(100)
    assert (rig[2].core.last, rig[2].core.leader) == (1, 1)


def test_an_error_of_the_wire_is_counted() -> None:
    rig = led()
    wrong = Append(PARTITION, GROUP, 1, 2, 1, 0, 0, 0, 0, [b"short"])
    rig[2].groups.receive(rig.now, WALL_MS, ONE, wrong)
    assert rig[2].groups.counters["fenced"] == 1


def test_who_answers_its_leader_and_then_stands_says_it_in_this_order() -> None:
    rig = led()
    groups = rig[2].groups
    groups.receive(rig.now, WALL_MS, ONE, append(rig[1].replica, 2, 1, 1))
    groups.receive(rig.now, WALL_MS, ONE, TimeoutNow(PARTITION, GROUP, 1, 2, 1))
    late = groups.late([PARTITION])
    assert [(name, type(message)) for name, message in late] == [
        (ONE, AppendResults),
        (ONE, VoteRequest),
        (THREE, VoteRequest),
    ]


@pytest.mark.promise("P6")
def test_a_leader_that_was_removed_says_so_and_another_leads_soon() -> None:
    rig = led()
    step = Step(StepKind.REMOVE, 0, places(1)[0])
    rig[1].core.change(step, {1, 2, 3}, WALL_MS)
    rig[1].groups.touched.add(PARTITION)
    rig.until(lambda: rig[1].core.lead is None)
    took = time_until(rig, lambda: rig[2].core.serving or rig[3].core.serving)
    assert took <= NODE_HEARTBEAT_MS + 3 * ELECTION_STAGGER_MS
    rig.run(2 * HAND_HOME_MS)
    assert rig[1].groups.counters["step_downs"] == 1


@pytest.mark.promise("P6")
def test_a_leader_that_restarts_at_once_does_not_leave_its_groups_without_one() -> None:
    """Its former self is not taken to be alive because it asks for votes."""
    rig = led()
    rig.restart(1)
    took = time_until(rig, lambda: rig.leader is not None and rig.leader.core.serving)
    assert took <= 4 * ELECTION_STAGGER_MS


def test_a_link_that_only_flickers_costs_no_election() -> None:
    rig = led()
    rig.part(1)
    rig.run(50)
    rig.heal()
    rig.run(3_000)
    assert [one.core.term for one in rig.storages.values()] == [1, 1, 1]
    assert [one.groups.counters["elections"] for one in rig.storages.values()] == [1, 0, 0]


@pytest.mark.promise("P6")
def test_a_leader_whose_own_removal_nobody_else_has_does_not_block_the_group() -> None:
    """Its log is the longest, so nobody is elected without it: it leads once more, and goes."""
    rig = Rig(2, GroupConfig(places(1, 2)))
    rig.lead(1)
    rig.drop = lambda source, target, what: isinstance(what, Append)
    step = Step(StepKind.REMOVE, 0, places(1)[0])
    rig[1].core.change(step, {1, 2}, WALL_MS)
    rig[1].groups.touched.add(PARTITION)
    rig.run(200)
    rig.drop = lambda source, target, what: False
    rig.restart(1)
    rig.until(lambda: rig[2].core.serving)
    assert rig[2].core.config == GroupConfig(places(2))
    assert rig[1].core.lead is None


# ---- fencing -------------------------------------------------------------------------------------


@pytest.mark.promise("P1")
def test_only_what_fits_the_group_and_its_replicas_is_heard() -> None:
    rig = led()
    groups = rig[1].groups
    right = holds(2, 1, 1, 1)
    assert groups.fenced(TWO, right) is rig[1].core
    wrong = [
        (TWO, replace(right, partition=8)),
        (TWO, replace(right, group=b"another!")),
        (TWO, replace(right, target=3)),
        (THREE, right),
        (name_of(9), right),
        (name_of(9), asks(9, 1, 7)),
    ]
    assert [groups.fenced(source, message) for source, message in wrong] == [None] * 6
    assert groups.counters["fenced"] == 6


@pytest.mark.promise("P1")
def test_another_process_under_the_old_name_is_no_replica() -> None:
    rig = led()
    rig.restart(3, disk=birth_of(rig[1].core.config), uuid=b"another")
    assert rig[1].groups.fenced(THREE, holds(3, 1, 1, 1)) is None
    index = rig.propose(1)
    rig.run(2_000)
    assert rig[1].core.applied == index
    assert rig[3].core.last == 0
    rig.part(2)
    rig.run(5_000)
    assert rig[1].core.lead is None


def test_a_leader_that_no_configuration_here_names_is_answered() -> None:
    """A new learner knows the configuration of birth; its leader may have come later."""
    rig = led()
    groups = rig[2].groups
    message = append(rig[1].replica, 2, 1, 1)
    foreign = replace(message, source=7, term=9)
    groups.peer_up(rig.now, name_of(7), rig[1].uuid)
    groups.receive(rig.now, WALL_MS, name_of(7), foreign)
    ((name, answers),) = groups.late([PARTITION])
    assert isinstance(answers, AppendResults)
    assert (name, [one.target for one in answers.items]) == (name_of(7), [7])
    groups.peer_down(rig.now, name_of(7))
    groups.receive(rig.now, WALL_MS, name_of(7), foreign)
    assert groups.late([PARTITION]) == []


def test_messages_to_places_without_a_link_are_not_sent() -> None:
    rig = led()
    rig.part(1, 3)
    rig.propose(1)
    rig.sent.clear()
    rig.step()
    assert {target for source, target, _ in rig.sent if source == ONE} == {TWO}
    assert rig[1].groups.late([PARTITION]) == []


# ---- reads ---------------------------------------------------------------------------------------


@pytest.mark.promise("P2")
def test_a_read_is_confirmed_by_a_round_that_began_after_it() -> None:
    rig = led()
    groups = rig[1].groups
    asked = groups.ask_round(PARTITION)
    assert groups.confirmed(PARTITION) == asked - 1
    assert groups.next_wake() == 0
    rig.step()
    assert groups.confirmed(PARTITION) == asked
    assert groups.next_wake() > rig.now


@pytest.mark.promise("P2")
def test_a_leader_without_a_majority_confirms_no_read() -> None:
    rig = led()
    rig.silent = {frozenset((ONE, TWO)), frozenset((ONE, THREE))}
    asked = rig[1].groups.ask_round(PARTITION)
    rig.run(1_000)
    assert rig[1].core.serving
    assert rig[1].groups.confirmed(PARTITION) < asked


@pytest.mark.promise("P2")
def test_an_echo_that_knows_a_later_term_ends_the_lead() -> None:
    rig = led()
    rig.part(1)
    rig.until(lambda: rig[2].core.serving or rig[3].core.serving)
    assert rig[1].core.lead is not None
    rig.drop = lambda source, target, what: not isinstance(what, NodeHeartbeat | NodeHeartbeatEcho)
    asked = rig[1].groups.ask_round(PARTITION)
    rig.heal()
    rig.run(NODE_HEARTBEAT_MS)
    assert rig[1].core.lead is None
    assert rig[1].groups.confirmed(PARTITION) < asked or rig[1].core.term == 2


def test_an_echo_about_groups_that_are_not_led_or_not_here_changes_nothing() -> None:
    rig = led()
    before = rig[1].core.term
    rig[1].groups.echo(rig.now, WALL_MS, TWO, NodeHeartbeatEcho(1, 0, WALL_MS, [(99, 9)]))
    rig[2].groups.echo(rig.now, WALL_MS, ONE, NodeHeartbeatEcho(1, 0, WALL_MS, [(PARTITION, 9)]))
    rig[1].groups.echo(rig.now, WALL_MS, TWO, NodeHeartbeatEcho(1, 0, WALL_MS, [(PARTITION, 1)]))
    assert [rig[1].core.term, rig[2].core.term] == [before, before]


@pytest.mark.promise("P2")
def test_another_life_of_a_voter_confirms_no_read() -> None:
    rig = led()
    new = rig.restart(3, disk=birth_of(rig[1].core.config), uuid=b"another")
    new.groups.cores.clear()
    new.groups._stand_at.clear()
    new.groups.touched.clear()
    rig.part(2)
    asked = rig[1].groups.ask_round(PARTITION)
    rig.run(500)
    assert rig[1].core.serving
    assert rig[1].groups.confirmed(PARTITION) < asked


@pytest.mark.promise("P2")
def test_a_damaged_replica_confirms_no_read() -> None:
    rig = led()
    rig.propose(1)
    rig.step()
    assert rig[3].replica.damage()
    rig.restart(3)
    rig.part(2)
    asked = rig[1].groups.ask_round(PARTITION)
    rig.run(500)
    assert rig[1].core.serving
    assert rig[1].groups.confirmed(PARTITION) < asked


def test_a_voter_that_was_never_heard_confirms_nothing() -> None:
    rig = Rig(1, GroupConfig(places(1)))
    rig.lead(1)
    groups = rig[1].groups
    assert groups.confirmed(PARTITION) == NEVER
    step = Step(StepKind.ADD_LEARNER, 0, Place(2, "s2", b"uuid-2"))
    rig[1].core.change(step, {1, 2}, WALL_MS)
    assert groups.peers.echoed(rig[1].core, 2) == 0
    assert groups.peers.is_live(rig.now, ONE)
    assert not groups.peers.is_live(rig.now, TWO)


def test_a_process_lives_while_it_is_linked_and_heard() -> None:
    rig = led()
    groups = rig[1].groups
    assert groups.peers.is_live(rig.now, TWO)
    assert not groups.peers.is_live(rig.now + QUORUM_SILENCE_MS, TWO)
    groups.peer_down(rig.now, TWO)
    assert not groups.peers.is_live(rig.now, TWO)


# ---- clocks and heartbeats -----------------------------------------------------------------------


def test_a_clock_far_from_the_median_of_the_others_stamps_nothing() -> None:
    rig = led()
    assert rig[1].groups.peers.stamp(123) == 123
    rig[1].wall_ahead = CLOCK_JUMP_MS + 50
    rig.run(500)
    assert rig[1].groups.peers.stamp(123) == 0
    rig[1].wall_ahead = 0
    rig[2].wall_ahead = 100 * CLOCK_JUMP_MS
    rig.run(500)
    assert rig[1].groups.peers.stamp(123) == 123


def test_pulses_for_another_replica_history_or_partition_are_held_and_mean_nothing() -> None:
    rig = led()
    groups, core = rig[2].groups, rig[2].core
    foreign = [
        GroupPulse(99, GROUP, 1, 2, 5, 0),
        GroupPulse(PARTITION, b"another!", 1, 2, 5, 0),
        GroupPulse(PARTITION, GROUP, 1, 3, 5, 0),
        GroupPulse(PARTITION, GROUP, 3, 2, 0, 0),
    ]
    for pulse in foreign:
        groups.heartbeat(rig.now, WALL_MS, THREE, NodeHeartbeat(1, False, 0, WALL_MS, [pulse]))
    assert (core.term, core.leader) == (1, 1)


def test_a_pulse_of_an_older_term_is_refused() -> None:
    rig = led()
    groups = rig[2].groups
    rig[2].core.term_seen(7)
    pulse = GroupPulse(PARTITION, GROUP, 1, 2, 5, 0)
    groups.heartbeat(rig.now, WALL_MS, ONE, NodeHeartbeat(1, True, 0, WALL_MS, [pulse]))
    ((name, echo),) = groups.take_echoes()
    assert (name, echo.refused) == (ONE, [(PARTITION, 7)])
    assert groups.take_echoes() == []


def test_alone_a_process_waits_only_for_its_elections() -> None:
    rig = Rig(1, GroupConfig(places(1)))
    groups: Groups = rig[1].groups
    groups.touched.clear()
    assert groups.next_wake() == groups._stand_at[PARTITION]
    rig.lead(1)
    groups.touched.clear()
    assert groups.next_wake() == NEVER


def test_a_request_for_a_vote_that_a_loyal_follower_gets_is_refused() -> None:
    rig = led()
    request = VoteRequest(PARTITION, GROUP, 3, 2, 2, 9, 9, True, False)
    rig[2].groups.receive(rig.now, WALL_MS, THREE, request)
    assert [(m.pre, m.granted) for _, m in rig[2].groups.late([PARTITION])] == [(True, False)]
    rig[2].groups.peer_down(rig.now, ONE)
    rig[2].groups.receive(rig.now, WALL_MS, THREE, request)
    assert [(m.pre, m.granted) for _, m in rig[2].groups.late([PARTITION])] == [(True, True)]
