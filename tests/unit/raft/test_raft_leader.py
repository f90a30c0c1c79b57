"""What a leader does besides committing: changes of the configuration, handing over, snapshots."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
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
    timeout_now,
    to,
    turn,
)

from zmqim.limits import APPEND_RETRY_MS, LEARNER_LAG_ENTRIES_MAX, QUORUM_SILENCE_MS
from zmqim.raft.config import GroupConfig, Place, Step, StepKind, StepRefused
from zmqim.raft.core import Role
from zmqim.raft.entry import EntryKind
from zmqim.raft.log import LogEnd, LogExtent
from zmqim.raft.progress import Sending
from zmqim.sim.raft_replica import Replica, Snapshot, places

EVERYONE = {1, 2, 3, 4}
FOUR = Place(4, "s4", b"uuid-4")


def add(one: Replica, place: Place = FOUR) -> int:
    step = Step(StepKind.ADD_LEARNER, one.core.conf_id, place)
    return one.core.change(step, EVERYONE, WALL_MS)


def promote(one: Replica, number: int) -> int:
    step = Step(StepKind.PROMOTE, one.core.conf_id, Place(number, "", b""))
    return one.core.change(step, EVERYONE, WALL_MS)


def remove(one: Replica, number: int, live: set[int] = EVERYONE) -> int:
    step = Step(StepKind.REMOVE, one.core.conf_id, Place(number, "", b""))
    return one.core.change(step, live, WALL_MS)


def voters(one: Replica) -> list[int]:
    return [place.replica for place in one.core.config.voters]


# ---- changes -------------------------------------------------------------------------------------


@pytest.mark.promise("P1")
def test_a_configuration_holds_from_the_moment_it_is_appended() -> None:
    one = serving()
    assert add(one) == 2
    assert one.core.conf_id == 2
    assert one.core.config == GroupConfig(places(1, 2, 3), (FOUR,))
    assert [(m.target, m.prev_index, carried(m)) for m in turn(one)] == [
        (2, 1, [(2, 1, EntryKind.CONFIG)]),
        (3, 1, [(2, 1, EntryKind.CONFIG)]),
        (4, 2, []),
    ]
    follower = replica(2)
    hears(follower, append(one, 2, 1, 2))
    assert (follower.core.conf_id, follower.core.config) == (2, one.core.config)
    assert follower.core.applied_config == (0, GroupConfig(places(1, 2, 3)))
    hears(follower, append(one, 2, 3, 2, commit=2))
    assert follower.core.applied_config == (2, one.core.config)


@pytest.mark.promise("P1")
def test_a_replica_comes_as_a_learner_catches_up_and_becomes_a_voter() -> None:
    one = serving()
    add(one)
    turn(one)
    hears(one, holds(2, 1, 1, 2))
    with pytest.raises(StepRefused, match="replica 4 is 2 entries behind"):
        promote(one, 4)
    assert [(m.prev_index, len(m.entries)) for m in hears(one, lacks(4, 1, 1, 2))] == [(0, 2)]
    hears(one, holds(4, 1, 1, 2))
    assert promote(one, 4) == 3
    assert voters(one) == [1, 2, 3, 4]
    turn(one)
    hears(one, holds(2, 1, 1, 3))
    assert one.core.commit == 2
    hears(one, holds(4, 1, 1, 3))
    assert one.core.commit == 3


def test_a_learner_that_is_far_behind_stays_one() -> None:
    one = serving(voters=(1, 2), learners=(3,))
    for _ in range(LEARNER_LAG_ENTRIES_MAX + 1):
        one.core.propose(b"", WALL_MS)
    turn(one)
    with pytest.raises(StepRefused, match="1001 entries behind"):
        promote(one, 3)
    hears(one, holds(3, 1, 1, 2))
    assert promote(one, 3) == LEARNER_LAG_ENTRIES_MAX + 3


@pytest.mark.promise("P1")
def test_nobody_changes_anything_before_the_leader_serves() -> None:
    for one in (replica(), replica()):
        with pytest.raises(StepRefused, match="does not lead"):
            remove(one, 3)
    elected(one)
    with pytest.raises(StepRefused, match="or not yet"):
        remove(one, 3)


@pytest.mark.promise("P1")
def test_one_change_at_a_time() -> None:
    one = serving()
    remove(one, 3)
    turn(one)
    with pytest.raises(StepRefused, match="the change at 2 is not committed yet"):
        remove(one, 2)
    hears(one, holds(2, 1, 1, 2))
    assert remove(one, 2) == 3


def test_who_knows_another_configuration_changes_nothing() -> None:
    one = serving()
    step = Step(StepKind.REMOVE, 7, Place(3, "", b""))
    with pytest.raises(StepRefused, match="the configuration is 0, not 7"):
        one.core.change(step, EVERYONE, WALL_MS)
    assert (one.core.last, voters(one)) == (1, [1, 2, 3])


def test_a_majority_of_the_new_voters_must_live() -> None:
    one = serving()
    with pytest.raises(StepRefused, match="no majority"):
        remove(one, 2, live={2})
    assert remove(one, 3, live={2}) == 2


@pytest.mark.promise("P1")
def test_a_configuration_that_is_truncated_holds_no_longer() -> None:
    one = serving()
    remove(one, 3)
    turn(one)
    assert (one.core.conf_id, voters(one)) == (2, [1, 2])
    two = replica(2)
    hears(two, append(one, 2, 1, 1))
    elected(two)
    hears(one, append(two, 1, 2, 2))
    assert (one.core.conf_id, voters(one)) == (0, [1, 2, 3])
    assert one.core.places.keys() == {1, 2, 3}
    one.restart()
    assert (one.core.conf_id, voters(one)) == (0, [1, 2, 3])


def test_a_restart_knows_a_configuration_that_is_not_applied() -> None:
    one = serving()
    remove(one, 3)
    turn(one)
    one.restart()
    assert (one.core.conf_id, voters(one), one.core.applied) == (2, [1, 2], 1)


def test_who_is_removed_is_fed_no_longer() -> None:
    one = serving()
    remove(one, 3)
    assert [m.target for m in turn(one)] == [2]
    assert one.core.lead is not None
    assert list(one.core.lead.progress) == [2]


@pytest.mark.promise("P1")
def test_a_leader_that_removes_itself_resigns_once_that_is_committed_without_it() -> None:
    one = serving()
    remove(one, 1)
    turn(one)
    assert one.core.serving
    hears(one, holds(2, 1, 1, 2))
    assert one.core.commit == 1
    hears(one, holds(3, 1, 1, 2))
    assert (one.core.applied, one.core.lead, one.core.role) == (2, None, Role.FOLLOWER)
    assert not one.core.may_stand


# ---- handing over --------------------------------------------------------------------------------


def test_a_follower_that_holds_everything_is_handed_the_lead_at_once() -> None:
    one = serving()
    assert one.core.hand_over(0, 2)
    assert turn(one) == [timeout_now(1, 2, 1)]
    assert not one.core.accepts
    assert one.core.serving
    two = replica(2)
    hears(two, append(one, 2, 1, 1, commit=1))
    requests = hears(two, timeout_now(1, 2, 1))
    assert [(m.target, m.term, m.pre, m.transfer) for m in requests] == [
        (1, 2, False, True),
        (3, 2, False, True),
    ]
    (vote,) = hears(one, requests[0])
    assert (vote.granted, one.core.lead) == (True, None)
    hears(two, vote)
    assert two.core.role is Role.LEADER


def test_a_follower_that_lacks_something_is_handed_the_lead_later() -> None:
    one = serving()
    proposed(one, b"x")
    assert one.core.hand_over(0, 2)
    assert turn(one) == []
    assert hears(one, holds(3, 1, 1, 2)) != [timeout_now(1, 2, 1)]
    assert timeout_now(1, 2, 1) in hears(one, holds(2, 1, 1, 2))


def test_a_hand_over_that_makes_no_sense_is_none() -> None:
    assert not replica().core.hand_over(0, 2)
    one = replica(voters=(1, 2, 3), learners=(4,))
    elected(one)
    assert not one.core.hand_over(0, 2)
    hears(one, holds(2, 1, 1, 1), holds(4, 1, 1, 1))
    assert not one.core.hand_over(0, 1)
    assert not one.core.hand_over(0, 9)
    assert not one.core.hand_over(0, 3)
    assert not one.core.hand_over(0, 4)
    assert one.core.hand_over(0, 2)
    assert not one.core.hand_over(0, 2)


def test_a_hand_over_without_an_end_is_given_up() -> None:
    one = serving()
    one.core.hand_over(5, 2)
    lead = one.core.lead
    assert lead is not None
    lead.tick(4 + QUORUM_SILENCE_MS)
    assert not one.core.accepts
    lead.tick(5 + QUORUM_SILENCE_MS)
    assert one.core.accepts


def test_a_word_of_somebody_else_or_of_another_term_starts_no_election() -> None:
    two = replica(2)
    hears(two, append(serving(), 2, 1, 1))
    assert hears(two, timeout_now(3, 2, 1), timeout_now(1, 2, 0), timeout_now(1, 2, 2)) == []
    learner = replica(3, (1, 2), (3,))
    hears(learner, append(serving(voters=(1, 2), learners=(3,)), 3, 1, 1))
    assert hears(learner, timeout_now(1, 3, 1)) == []


# ---- lost Appends --------------------------------------------------------------------------------


def test_an_append_without_an_answer_is_sent_again_after_a_while() -> None:
    one = serving()
    proposed(one, b"x")
    hears(one, holds(3, 1, 1, 2))
    lead = one.core.lead
    assert lead is not None
    assert not lead.tick(APPEND_RETRY_MS - 1)
    assert lead.tick(APPEND_RETRY_MS)
    assert [(m.target, m.prev_index, len(m.entries)) for m in turn(one)] == [(2, 1, 1)]


def test_a_follower_that_answers_late_is_not_taken_for_one_that_has_nothing() -> None:
    """A new leader knows of no follower what it holds; its log may begin late."""
    one = cut_leader()
    one.core.step_down()
    elected(one)
    lead = one.core.lead
    assert lead is not None
    for lose in (lambda: lead.tick(APPEND_RETRY_MS), lambda: one.core.lost(2)):
        lose()
        assert [(m.target, m.prev_index) for m in one.core.take_early(0, {2})] == [(2, 3)]
        assert not lead.wants_snapshot
    hears(one, lacks(2, 1, 2, 3))
    assert lead.progress[2].sending is Sending.SNAPSHOT


# ---- snapshots -----------------------------------------------------------------------------------


def cut_leader() -> Replica:
    """A leader of entries 1 to 3, 3 applied and the log in front of it gone; 2 has none of them."""
    one = serving()
    one.core.lost(2)
    one.core.lead.progress[2].match = 0  # type: ignore[union-attr]
    one.core.lead.progress[2].probe(1)  # type: ignore[union-attr]
    one.core.propose(b"x", WALL_MS)
    one.core.propose(b"y", WALL_MS)
    one.core.take_early(0, {3})
    turn_without_2(one)
    one.receive(holds(3, 1, 1, 3))
    turn_without_2(one)
    assert one.core.applied == 3
    assert one.cut()
    turn_without_2(one)
    return one


def turn_without_2(one: Replica) -> None:
    for phase in one.phases[1:]:
        getattr(one, phase)()


def test_what_the_log_does_not_hold_any_more_is_sent_as_rows() -> None:
    one = cut_leader()
    assert one.disk.extent == LogExtent(4, 3, 1, one.core.log.chain)
    assert one.core.take_early(0, {2, 3}) == []
    assert one.core.lead is not None
    assert one.core.lead.wants_snapshot == {2}
    (offer,) = turn(one)
    assert offer == Snapshot(*to(1, 2, 1), 3, *one.disk.rows.end, 0, GroupConfig(places(1, 2, 3)))
    assert one.core.lead.progress[2].sending is Sending.SNAPSHOT


def test_rows_are_installed_and_what_is_missing_behind_them_follows() -> None:
    one = cut_leader()
    (offer,) = turn(one)
    proposed(one, b"z")
    two = replica(2)
    assert hears(two, offer) == [holds(2, 1, 1, 3)]
    assert (two.core.applied, two.core.commit, two.disk.extent) == (
        3,
        3,
        one.disk.extent.up_to(3),
    )
    (sent,) = hears(one, holds(2, 1, 1, 3))[:1]
    assert (sent.prev_index, carried(sent)) == (3, [(4, 1, EntryKind.OPERATION)])
    assert hears(two, sent) == [holds(2, 1, 1, 4)]


@pytest.mark.promise("P1")
def test_a_suffix_of_the_same_history_stays_when_rows_come() -> None:
    one = serving()
    proposed(one, b"x", b"y")
    two = replica(2)
    hears(two, append(one, 2, 1, 3))
    (_, entry, _) = (one.core.log.at(index) for index in (1, 2, 3))
    two.core.install(2, LogEnd(*entry, 5), GroupConfig(places(1, 2, 3)), 0)
    assert (two.core.applied, two.core.commit, two.core.last) == (2, 2, 3)
    assert [entry.index for entry in two.core.log.tail] == [3]


def test_rows_bring_their_configuration_and_what_follows_brings_its_own() -> None:
    one = serving()
    remove(one, 3)
    turn(one)
    two = replica(2)
    hears(two, append(one, 2, 1, 2))
    term, chain = one.core.log.at(1)
    two.core.install(1, LogEnd(term, chain, 5), GroupConfig(places(1, 2, 3)), 0)
    assert (two.core.conf_id, voters(two)) == (2, [1, 2])
    other = GroupConfig(places(1, 2))
    two.core.install(9, LogEnd(4, 99, 5), other, 7)
    assert (two.core.applied_config, two.core.conf_id) == ((7, other), 7)


def test_rows_heal_a_damaged_replica() -> None:
    one = cut_leader()
    (offer,) = turn(one)
    two = replica(2)
    hears(two, append(serving(), 2, 1, 1))
    two.damage()
    assert two.core.is_damaged
    hears(two, offer)
    assert not two.core.is_damaged
    assert two.core.may_stand
    assert logged(two) == []


@pytest.mark.promise("P8")
def test_rows_that_may_lack_what_it_acknowledged_heal_no_damaged_replica() -> None:
    """A new leader's rows end before its term's NO-OP, and before the entry that only it and this
    damaged replica held: healed by them it could elect somebody who lacks that entry."""
    one = cut_leader()
    (offer,) = turn(one)
    two = replica(2, term=2)
    two.disk = two.disk._replace(is_damaged=True)
    two.restart()
    assert hears(two, replace(offer, term=2)) == []
    assert (two.core.applied, two.core.is_damaged, two.disk.is_damaged) == (0, True, True)
    assert hears(two, asks(3, 2, 3, last=(9, 9))) == []
    later = replace(offer, term=2, index=4, index_term=2)
    assert hears(two, later) == [holds(2, 1, 2, 4)]
    assert (two.core.is_damaged, two.disk.is_damaged) == (False, False)


def test_rows_of_the_past_or_for_a_leader_are_an_error() -> None:
    one = serving()
    config = GroupConfig(places(1, 2, 3))
    with pytest.raises(AssertionError):
        one.core.install(1, LogEnd(), config, 0)
    with pytest.raises(AssertionError):
        one.core.install(9, LogEnd(), config, 0)


def test_a_replica_without_a_leader_answers_nobody_after_an_install() -> None:
    two = replica(2)
    two.core.install(9, LogEnd(4, 99, 5), GroupConfig(places(1, 2, 3)), 0)
    assert two.core.take_late() == []
