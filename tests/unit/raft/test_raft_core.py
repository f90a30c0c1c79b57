"""The log core: elections, votes, what a follower takes, what a leader commits, what is saved."""

from __future__ import annotations

import pytest
from raft_trio import (
    WALL_MS,
    append,
    asks,
    carried,
    elected,
    hears,
    holds,
    lacks,
    logged,
    proposed,
    replica,
    serving,
    to,
    turn,
    votes,
)

from zmqim.bus.replication import Append, AppendResult, SnapshotPull
from zmqim.errors import WireError
from zmqim.raft.core import HardState, RaftCore, Role
from zmqim.raft.entry import EntryKind, decode_entry, encode_entry
from zmqim.raft.log import LogExtent
from zmqim.sim.raft_replica import GROUP, PARTITION, Replica

# ---- elections -----------------------------------------------------------------------------------


@pytest.mark.promise("P1")
def test_a_candidate_asks_whether_it_would_be_elected_before_it_takes_a_term() -> None:
    one = replica(term=4)
    one.core.stand(WALL_MS)
    assert turn(one) == [asks(1, 2, 5, pre=True), asks(1, 3, 5, pre=True)]
    assert (one.core.role, one.core.hard_state) == (Role.PRE_CANDIDATE, HardState(4))
    assert hears(one, votes(3, 1, 5, pre=True)) == [asks(1, 2, 5), asks(1, 3, 5)]
    assert (one.core.role, one.core.hard_state) == (Role.CANDIDATE, HardState(5, 1))
    assert one.disk.hard_state == HardState(5, 1)


@pytest.mark.promise("P1")
def test_a_majority_makes_a_leader_which_begins_with_a_no_op() -> None:
    one = replica(term=4)
    sent = elected(one)
    assert (one.core.role, one.core.leader) == (Role.LEADER, 1)
    assert [(type(m), m.target, m.term, m.prev_index, carried(m)) for m in sent] == [
        (Append, 2, 5, 0, [(1, 5, EntryKind.NO_OP)]),
        (Append, 3, 5, 0, [(1, 5, EntryKind.NO_OP)]),
    ]
    assert not one.core.serving
    assert not one.core.accepts


@pytest.mark.promise("P1")
def test_a_leader_serves_once_its_no_op_is_applied() -> None:
    one = replica()
    elected(one)
    with pytest.raises(AssertionError):
        one.core.propose(b"x", WALL_MS)
    hears(one, holds(2, 1, 1, 1))
    assert (one.core.commit, one.core.applied, one.core.serving) == (1, 1, True)
    assert one.core.accepts


@pytest.mark.promise("P1")
def test_the_only_voter_counts_itself_only_when_saved() -> None:
    one = replica(voters=(1,), term=4)
    one.core.stand(WALL_MS)
    assert one.core.role is Role.LEADER
    assert one.core.committed() == []
    unsaved = one.core.unsaved()
    assert unsaved is not None
    assert (unsaved.hard_state, unsaved.extent) == (HardState(5, 1), LogExtent(1, 1))
    assert [decode_entry(body).kind for body in unsaved.entries] == [EntryKind.NO_OP]
    assert one.core.unsaved() is None
    assert one.core.committed() == []
    one.core.saved()
    assert [entry.index for entry in one.core.committed()] == [1]
    assert not one.core.serving
    one.core.applied_committed()
    assert one.core.serving


@pytest.mark.promise("P1")
def test_the_only_voter_sends_nothing_of_a_term_that_is_not_on_disk() -> None:
    one = replica(voters=(1,), learners=(2,))
    one.core.stand(WALL_MS)
    assert one.core.holds_back
    assert turn(one) == []
    assert not one.core.holds_back
    assert [(m.target, carried(m)) for m in turn(one)] == [(2, [(1, 1, EntryKind.NO_OP)])]


def test_refusals_and_foreign_votes_elect_nobody() -> None:
    one = replica(term=4)
    one.core.stand(WALL_MS)
    turn(one)
    for answer in (
        votes(2, 1, 4, pre=True, no=True),
        votes(2, 1, 5),
        votes(2, 1, 6, pre=True),
        votes(9, 1, 5, pre=True),
    ):
        assert hears(one, answer) == []
        assert one.core.role is Role.PRE_CANDIDATE
    follower = replica(term=4)
    assert hears(follower, votes(2, 1, 5, pre=True)) == []
    assert follower.core.role is Role.FOLLOWER


def test_one_vote_counts_once() -> None:
    one = replica(voters=(1, 2, 3, 4, 5))
    one.core.stand(WALL_MS)
    turn(one)
    hears(one, votes(2, 1, 1, pre=True), votes(2, 1, 1, pre=True))
    assert one.core.role is Role.PRE_CANDIDATE
    hears(one, votes(3, 1, 1, pre=True))
    assert one.core.role is Role.CANDIDATE


def test_a_later_term_in_a_refusal_ends_the_candidacy() -> None:
    one = replica(term=4)
    one.core.stand(WALL_MS)
    assert hears(one, votes(2, 1, 9, pre=True, no=True)) != []
    assert (one.core.role, one.disk.hard_state) == (Role.FOLLOWER, HardState(9))


def test_who_stands_again_asks_again() -> None:
    one = replica()
    one.core.stand(WALL_MS)
    turn(one)
    hears(one, votes(2, 1, 1, pre=True))
    one.core.stand(WALL_MS)
    assert turn(one) == [asks(1, 2, 2, pre=True), asks(1, 3, 2, pre=True)]
    assert one.core.hard_state == HardState(1, 1)


# ---- votes ---------------------------------------------------------------------------------------


def test_a_pre_vote_changes_nothing() -> None:
    one = replica(2, term=4)
    assert hears(one, asks(1, 2, 5, pre=True)) == [votes(2, 1, 5, pre=True)]
    assert one.core.hard_state == HardState(4)
    assert hears(one, asks(3, 2, 5, pre=True)) == [votes(2, 3, 5, pre=True)]
    assert hears(one, asks(1, 2, 4, pre=True)) == [votes(2, 1, 4, pre=True, no=True)]


@pytest.mark.promise("P1")
def test_a_vote_is_on_disk_before_it_is_told() -> None:
    one = replica(2, term=4)
    one.receive(asks(1, 2, 5))
    one.turn(one.phases.index("flush"))
    assert (one.out, one.disk.hard_state) == ([], HardState(4))
    one.restart()
    assert hears(one, asks(1, 2, 5)) == [votes(2, 1, 5)]
    assert one.disk.hard_state == HardState(5, 1)
    assert one.error == ""


@pytest.mark.promise("P1")
def test_one_vote_a_term_also_after_a_crash() -> None:
    one = replica(2)
    assert hears(one, asks(1, 2, 5)) == [votes(2, 1, 5)]
    assert hears(one, asks(3, 2, 5)) == [votes(2, 3, 5, no=True)]
    one.restart()
    assert hears(one, asks(3, 2, 5)) == [votes(2, 3, 5, no=True)]
    assert hears(one, asks(1, 2, 5)) == [votes(2, 1, 5)]
    assert hears(one, asks(3, 2, 6)) == [votes(2, 3, 6)]


def test_a_request_of_an_older_term_hears_the_later_one() -> None:
    one = replica(2, term=7)
    assert hears(one, asks(1, 2, 6)) == [votes(2, 1, 7, no=True)]


@pytest.mark.parametrize(
    ("last", "granted"),
    [((2, 1), True), ((3, 1), True), ((1, 2), True), ((1, 1), False), ((9, 0), False)],
)
def test_only_a_log_that_lacks_nothing_gets_a_vote(last: tuple[int, int], granted: bool) -> None:
    leader = serving()
    proposed(leader, b"x")
    one = replica(2)
    hears(one, append(leader, 2, 1, 2))
    (pre,) = hears(one, asks(3, 2, 2, last=last, pre=True))
    (vote,) = hears(one, asks(3, 2, 2, last=last))
    assert (pre.granted, vote.granted) == (granted, granted)
    assert one.disk.hard_state == HardState(2, 3 if granted else 0)


def test_who_hears_its_leader_is_loyal() -> None:
    one = replica(2, term=4)
    one.core.receive(0, WALL_MS, asks(3, 2, 5, pre=True), leader_alive=True)
    one.core.receive(0, WALL_MS, asks(3, 2, 5), leader_alive=True)
    assert turn(one) == [votes(2, 3, 4, pre=True, no=True)]
    assert one.core.hard_state == HardState(4)
    one.core.receive(0, WALL_MS, asks(3, 2, 5, transfer=True), leader_alive=True)
    assert turn(one) == [votes(2, 3, 5)]


def test_a_leader_is_loyal_to_itself_unless_it_hands_over() -> None:
    one = serving()
    assert hears(one, asks(2, 1, 9, last=(9, 9))) == []
    assert one.core.role is Role.LEADER
    assert hears(one, asks(2, 1, 9, last=(9, 9), transfer=True)) == [votes(1, 2, 9)]
    assert (one.core.role, one.core.lead) == (Role.FOLLOWER, None)


@pytest.mark.promise("P8")
def test_a_damaged_replica_abstains_from_everything() -> None:
    leader = serving()
    proposed(leader, b"x")
    one = replica(2)
    hears(one, append(leader, 2, 1, 2, commit=1))
    assert one.damage()
    assert not one.core.may_stand
    assert hears(one, asks(3, 2, 5, last=(9, 9), pre=True), asks(3, 2, 5, last=(9, 9))) == []
    lost = AppendResult(PARTITION, GROUP, 2, 1, 1, False, 0, 0, True)
    assert hears(one, append(leader, 2, 1, 2, commit=2)) == [lost]
    assert one.core.pulse(1, 1, 2)
    assert (one.core.commit, one.core.hard_state) == (1, HardState(1))
    with pytest.raises(AssertionError):
        one.core.stand(WALL_MS)


@pytest.mark.promise("P6")
def test_a_learner_votes_for_it_may_be_a_voter_in_the_log_of_who_asks() -> None:
    learner = replica(3, (1, 2), (3,))
    (answer,) = hears(learner, asks(1, 3, 5, last=(1, 1)))
    assert (answer.granted, learner.disk.hard_state) == (True, HardState(5, 1))
    (answer,) = hears(learner, asks(2, 3, 5, last=(1, 1)))
    assert not answer.granted


@pytest.mark.promise("P1")
def test_a_learner_neither_stands_nor_counts() -> None:
    learner = replica(3, (1, 2), (3,))
    assert not learner.core.may_stand
    leader = replica(1, (1, 2), (3,))
    elected(leader)
    hears(leader, holds(3, 1, 1, 1))
    assert leader.core.commit == 0
    hears(leader, holds(2, 1, 1, 1))
    assert leader.core.commit == 1


# ---- what a follower takes -----------------------------------------------------------------------


@pytest.mark.promise("P1")
def test_entries_are_on_disk_before_they_are_acknowledged() -> None:
    leader = serving()
    one = replica(2)
    one.receive(append(leader, 2, 1, 1))
    one.turn(one.phases.index("flush"))
    assert (one.out, logged(one)) == ([], [])
    one.restart()
    assert hears(one, append(leader, 2, 1, 1)) == [holds(2, 1, 1, 1)]
    assert logged(one) == [(1, 1, b"")]
    assert one.core.leader == 1


def test_an_append_behind_what_is_missing_is_refused_with_what_is_committed() -> None:
    leader = serving()
    proposed(leader, b"x", b"y")
    one = replica(2)
    assert hears(one, append(leader, 2, 3, 3)) == [lacks(2, 1, 1, 2)]
    hears(one, append(leader, 2, 1, 1, commit=1))
    assert hears(one, append(leader, 2, 3, 3)) == [lacks(2, 1, 1, 2, agreed=1)]


def test_an_append_of_an_older_term_hears_the_later_one() -> None:
    leader = serving()
    one = replica(2, term=3)
    assert hears(one, append(leader, 2, 1, 1)) == [lacks(2, 1, 3, 0)]
    assert logged(one) == []


def diverged() -> tuple[Replica, Replica, Replica]:
    """Replica 1 led term 1 and holds 2 and 3 alone; replica 2 leads term 2; 3 has entry 1."""
    one, two, three = serving(), replica(2), replica(3)
    for other in (two, three):
        hears(other, append(one, other.replica, 1, 1))
    proposed(one, b"x", b"y")
    elected(two)
    return one, two, three


@pytest.mark.promise("P1")
def test_only_what_a_leader_contradicts_is_truncated() -> None:
    one, two, _ = diverged()
    one.core.step_down()
    assert logged(one) == [(1, 1, b""), (2, 1, b"x"), (3, 1, b"y")]
    assert hears(one, append(two, 1, 1, 1)) == [holds(1, 2, 2, 1)]
    assert logged(one) == [(1, 1, b""), (2, 1, b"x"), (3, 1, b"y")]
    assert hears(one, append(two, 1, 2, 2)) == [holds(1, 2, 2, 2)]
    assert logged(one) == [(1, 1, b""), (2, 2, b"")]
    assert one.disk.extent == LogExtent(1, 2)


@pytest.mark.promise("P1")
def test_a_short_or_late_append_takes_nothing_away() -> None:
    leader = serving()
    proposed(leader, b"x", b"y")
    one = replica(2)
    assert hears(one, append(leader, 2, 1, 3)) == [holds(2, 1, 1, 3)]
    assert hears(one, append(leader, 2, 1, 2)) == [holds(2, 1, 1, 2)]
    assert hears(one, append(leader, 2, 2, 1)) == [holds(2, 1, 1, 1)]
    assert logged(one) == [(1, 1, b""), (2, 1, b"x"), (3, 1, b"y")]


@pytest.mark.promise("P1")
def test_a_follower_tells_what_is_the_leaders_not_how_long_its_own_log_is() -> None:
    one, two, _ = diverged()
    one.core.step_down()
    assert hears(one, append(two, 1, 2, 1)) == [holds(1, 2, 2, 1)]


@pytest.mark.parametrize("field", ["prev_index", "prev_term", "prev_chain"])
def test_index_term_and_chain_of_the_entry_before_must_be_the_same(field: str) -> None:
    leader = serving()
    proposed(leader, b"x", b"y")
    one = replica(2)
    hears(one, append(leader, 2, 1, 2))
    right = append(leader, 2, 3, 3)
    fields = {name: getattr(right, name) for name in right.__struct_fields__}
    fields[field] += 1
    wrong = Append(**fields)
    assert hears(one, wrong) == [lacks(2, 1, 1, fields["prev_index"])]
    assert hears(one, right) == [holds(2, 1, 1, 3)]


def test_what_is_committed_needs_no_comparison() -> None:
    leader = serving()
    proposed(leader, b"x", b"y")
    one = replica(2)
    hears(one, append(leader, 2, 1, 2, commit=2))
    assert one.core.applied == 2
    early = Append(*to(1, 2, 1), 1, 99, 99, 2, leader.read(2, 3, 1 << 30))
    assert hears(one, early) == [holds(2, 1, 1, 3)]
    assert hears(one, Append(*to(1, 2, 1), 0, 0, 0, 0, [])) == [holds(2, 1, 1, 2)]


def test_what_no_leader_sends_is_a_wire_error() -> None:
    leader = serving()
    proposed(leader, b"x", b"y")
    bodies = leader.read(1, 3, 1 << 30)
    one = replica(2)
    with pytest.raises(WireError, match="entry 3 in the place of 2"):
        one.receive(Append(*to(1, 2, 1), 0, 0, 0, 0, [bodies[0], bodies[2]]))
    entry = decode_entry(bodies[1])
    forged = encode_entry(type(entry)(entry.term, 2, entry.hlc, 1, b"forged", entry.chain))
    with pytest.raises(WireError, match="does not continue"):
        one.receive(Append(*to(1, 2, 1), 0, 0, 0, 0, [bodies[0], forged]))
    with pytest.raises(WireError, match="not for the core"):
        one.core.receive(0, WALL_MS, SnapshotPull(*to(1, 2, 1), 1, b""))


def test_a_follower_commits_no_more_than_it_holds_of_the_leader() -> None:
    leader = serving()
    proposed(leader, b"x")
    hears(leader, holds(2, 1, 1, 2))
    one = replica(3)
    hears(one, append(leader, 3, 1, 1, commit=2))
    assert (one.core.commit, one.core.applied) == (1, 1)
    hears(one, append(leader, 3, 2, 2, commit=2))
    assert one.core.applied == 2


def test_a_pulse_tells_the_leader_and_what_is_committed() -> None:
    leader = serving()
    one = replica(2)
    hears(one, append(leader, 2, 1, 1))
    assert one.core.pulse(1, 1, 1)
    turn(one)
    assert one.core.applied == 1
    assert one.core.pulse(3, 4, 0)
    assert (one.core.leader, one.core.term) == (3, 4)
    assert not one.core.pulse(1, 3, 1)


def test_who_hears_of_commits_above_its_own_end_knows_that_it_has_forgotten() -> None:
    leader = serving()
    one = replica(2)
    hears(one, append(leader, 2, 1, 1))
    assert one.core.pulse(1, 1, 2)
    assert (one.core.has_forgotten, one.core.commit) == (True, 0)
    one.core.lose_rows()
    assert (one.core.has_forgotten, one.core.is_damaged) == (False, True)


def test_two_leaders_in_one_term_are_an_error() -> None:
    one = replica(2)
    one.core.pulse(1, 1, 0)
    with pytest.raises(AssertionError, match="two leaders"):
        one.core.pulse(3, 1, 0)


# ---- committing ----------------------------------------------------------------------------------


@pytest.mark.promise("P1")
def test_a_leader_commits_what_a_majority_holds() -> None:
    one = serving(voters=(1, 2, 3, 4, 5))
    proposed(one, b"x", b"y")
    assert one.core.commit == 1
    hears(one, holds(2, 1, 1, 3))
    assert one.core.commit == 1
    hears(one, holds(3, 1, 1, 2))
    assert one.core.commit == 2
    hears(one, holds(4, 1, 1, 3))
    assert (one.core.commit, one.core.applied) == (3, 3)


@pytest.mark.promise("P1")
def test_entries_of_earlier_terms_are_committed_only_with_one_of_the_own() -> None:
    one, _, _ = diverged()
    one.core.step_down()
    elected(one)
    assert one.core.term == 2
    hears(one, holds(3, 1, 2, 3))
    assert one.core.commit == 1
    hears(one, holds(3, 1, 2, 4))
    assert one.core.commit == 4


def test_the_followers_alone_may_commit_before_the_leader_has_saved() -> None:
    one = serving()
    one.core.propose(b"x", WALL_MS)
    one.receive(holds(2, 1, 1, 2))
    assert one.core.commit == 1
    one.receive(holds(3, 1, 1, 2))
    assert one.core.commit == 2


def test_a_leader_that_hears_a_later_term_leads_no_more() -> None:
    for message in (holds(2, 1, 5, 1), lacks(2, 1, 5, 0), asks(2, 1, 5, transfer=True)):
        one = serving()
        hears(one, message)
        assert (one.core.lead, one.core.role, one.core.term) == (None, Role.FOLLOWER, 5)
        assert not one.core.serving
    one = serving()
    one.core.term_seen(1)
    assert one.core.lead is not None


def test_answers_of_strangers_and_of_earlier_terms_do_not_count() -> None:
    one = serving()
    one.core.step_down()
    elected(one)
    assert (one.core.term, one.core.last) == (2, 2)
    hears(one, holds(9, 1, 2, 2), holds(2, 1, 1, 2))
    assert one.core.commit == 1
    follower = replica(2)
    assert hears(follower, holds(3, 2, 0, 9)) == []


def test_a_refused_append_is_tried_again_from_where_the_follower_agrees() -> None:
    one, _, _ = diverged()
    one.core.step_down()
    sent = elected(one)
    assert [(m.target, m.prev_index) for m in sent] == [(2, 3), (3, 3)]
    assert [(m.prev_index, carried(m)) for m in hears(one, lacks(3, 1, 2, 3, agreed=1))] == [
        (1, [(2, 1, EntryKind.OPERATION), (3, 1, EntryKind.OPERATION)])
    ]
    (rest,) = [m for m in hears(one, holds(3, 1, 2, 3)) if isinstance(m, Append)]
    assert (rest.prev_index, carried(rest)) == (3, [(4, 2, EntryKind.NO_OP)])


def test_appends_follow_each_other_without_waiting_for_answers() -> None:
    one = serving()
    sent = [proposed(one, payload) for payload in (b"x", b"y")]
    assert [[(m.target, m.prev_index, m.commit, len(m.entries)) for m in out] for out in sent] == [
        [(2, 1, 1, 1), (3, 1, 1, 1)],
        [(2, 2, 1, 1), (3, 2, 1, 1)],
    ]


def test_what_was_on_its_way_over_a_broken_link_is_sent_again() -> None:
    one = serving()
    proposed(one, b"x")
    one.core.lost(2)
    one.core.lost(9)
    assert [(m.target, m.prev_index, len(m.entries)) for m in turn(one)] == [(2, 1, 1)]
    follower = replica(2)
    follower.core.lost(1)
    assert turn(follower) == []


def test_only_linked_followers_are_fed() -> None:
    one = serving()
    one.core.propose(b"x", WALL_MS)
    assert [m.target for m in one.core.take_early(0, {3})] == [3]
    assert [m.target for m in one.core.take_early(0, {2, 3})] == [2]
    assert replica(2).core.take_early(0, {1}) == []


@pytest.mark.promise("P4")
def test_a_restart_knows_what_was_saved_and_applied() -> None:
    one = serving()
    proposed(one, b"x", b"y")
    hears(one, holds(2, 1, 1, 2))
    before = (one.core.hard_state, one.core.log.extent, one.core.log.chain, one.core.log.hlc)
    one.restart()
    core: RaftCore = one.core
    assert (core.hard_state, core.log.extent, core.log.chain, core.log.hlc) == before
    assert (core.applied, core.commit, core.last) == (2, 2, 3)
    assert [entry.payload for entry in core.log.tail] == [b"y"]
    assert (core.role, core.leader, core.serving) == (Role.FOLLOWER, 0, False)


def test_a_leader_that_resigned_keeps_its_vote() -> None:
    one = serving()
    one.core.step_down()
    assert hears(one, asks(2, 1, 1, last=(9, 9))) == [votes(1, 2, 1, no=True)]
    assert one.core.may_stand
