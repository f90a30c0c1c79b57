"""The log core: terms, votes, commit by majority, what must be saved first, cutting."""

from __future__ import annotations

import pytest

from zmqim.raft.core import HardState, LogEnd, LogExtent, RaftCore, Role, Unsaved
from zmqim.raft.entry import Entry, EntryKind, decode_entry, follows

WALL_MS = 1_000


def core(*voters: int, term: int = 0) -> RaftCore:
    return RaftCore(1, voters or (1,), HardState(term), LogExtent(), LogEnd(), 0, [])


def save(raft: RaftCore) -> list[Entry]:
    """What a turn writes, and the report that it is written."""
    unsaved = raft.unsaved()
    assert unsaved is not None
    raft.saved()
    return [decode_entry(body) for _, body in unsaved.entries]


def apply(raft: RaftCore) -> list[int]:
    applied = [entry.index for entry in raft.committed()]
    raft.applied_committed()
    return applied


@pytest.mark.promise("P1")
def test_the_only_voter_leads_a_new_term_once_its_vote_and_no_op_are_saved_and_applied() -> None:
    raft = core(term=4)
    assert raft.unsaved() is None
    assert not raft.serving
    raft.campaign(WALL_MS)
    assert raft.role is Role.LEADER
    assert raft.committed() == []
    unsaved = raft.unsaved()
    assert unsaved is not None
    assert unsaved.hard_state == HardState(5, 1)
    assert unsaved.extent == LogExtent(1, 1, 0, 0)
    (entry,) = [decode_entry(body) for _, body in unsaved.entries]
    assert (entry.term, entry.index, entry.kind, entry.hlc) == (
        5,
        1,
        EntryKind.NO_OP,
        WALL_MS << 16,
    )
    assert raft.committed() == []
    raft.saved()
    assert not raft.serving
    assert apply(raft) == [1]
    assert raft.serving
    assert (raft.last_term, raft.last, raft.commit, raft.applied) == (5, 1, 1, 1)


def test_nothing_is_proposed_before_the_leader_serves() -> None:
    raft = core()
    with pytest.raises(AssertionError):
        raft.propose(b"x", WALL_MS)
    raft.campaign(WALL_MS)
    with pytest.raises(AssertionError):
        raft.propose(b"x", WALL_MS)


def leading(*voters: int) -> RaftCore:
    raft = core(*voters)
    raft.campaign(WALL_MS)
    for voter in voters[1:]:
        raft.granted(voter, 1, WALL_MS)
    save(raft)
    for voter in voters[1:]:
        raft.acknowledged(voter, raft.last)
    apply(raft)
    assert raft.serving
    return raft


def test_entries_of_a_turn_are_written_together_and_continue_one_chain() -> None:
    raft = leading()
    assert [raft.propose(b"%d" % n, WALL_MS + n) for n in range(3)] == [2, 3, 4]
    unsaved = raft.unsaved()
    assert unsaved is not None
    assert unsaved.hard_state is None
    assert raft.unsaved() is None
    raft.saved()
    entries = raft.committed()
    assert [entry.payload for entry in entries] == [b"0", b"1", b"2"]
    for before, (_, body) in zip(entries, unsaved.entries[1:], strict=False):
        assert follows(body, before.chain)


def test_the_clock_of_the_log_never_stands_or_goes_back() -> None:
    raft = leading()
    for wall_ms in (WALL_MS, WALL_MS, WALL_MS - 500, WALL_MS + 1):
        raft.propose(b"", wall_ms)
    save(raft)
    hlcs = [entry.hlc for entry in raft.committed()]
    assert hlcs == [(WALL_MS << 16) + n for n in (1, 2, 3)] + [(WALL_MS + 1) << 16]


def test_a_candidate_of_three_needs_two_votes_of_its_term() -> None:
    raft = core(1, 2, 3)
    raft.campaign(WALL_MS)
    assert raft.role is Role.CANDIDATE
    raft.granted(9, 1, WALL_MS)
    raft.granted(2, 0, WALL_MS)
    unsaved = raft.unsaved()
    assert unsaved == Unsaved(HardState(1, 1), [], LogExtent())
    raft.saved()
    assert raft.role is Role.CANDIDATE
    raft.granted(3, 1, WALL_MS)
    assert raft.role is Role.LEADER
    raft.granted(2, 1, WALL_MS)
    assert raft.last == 1


def test_an_entry_is_committed_when_two_of_three_hold_it_whoever_they_are() -> None:
    raft = leading(1, 2, 3)
    for n in range(3):
        raft.propose(b"%d" % n, WALL_MS)
    raft.acknowledged(2, 3)
    raft.acknowledged(3, 2)
    assert raft.commit == 2
    raft.acknowledged(2, 2)
    assert raft.commit == 2
    save(raft)
    assert raft.commit == 3
    assert apply(raft) == [2, 3]
    raft.acknowledged(3, 4)
    assert apply(raft) == [4]
    with pytest.raises(AssertionError):
        raft.acknowledged(3, 5)


@pytest.mark.promise("P1")
def test_entries_of_an_earlier_term_are_committed_only_with_one_of_the_own_term() -> None:
    old = [Entry(1, n, n, EntryKind.OPERATION, b"", n) for n in (1, 2)]
    raft = RaftCore(1, (1, 2, 3), HardState(1), LogExtent(1, 2), LogEnd(1, 2, 2), 0, old)
    raft.campaign(WALL_MS)
    raft.granted(2, 2, WALL_MS)
    raft.acknowledged(2, 2)
    raft.acknowledged(3, 2)
    assert raft.commit == 0
    raft.acknowledged(2, 3)
    save(raft)
    assert raft.commit == 3
    assert apply(raft) == [1, 2, 3]


def test_a_log_is_cut_behind_what_is_applied_and_continues() -> None:
    raft = leading()
    for n in range(5):
        raft.propose(b"%d" % n, WALL_MS)
    entries = save(raft)
    apply(raft)
    base = entries[2]
    raft.cut_before(base)
    unsaved = raft.unsaved()
    assert unsaved == Unsaved(None, [], LogExtent(5, 6, base.term, base.chain))
    assert raft.propose(b"", WALL_MS) == 7
    with pytest.raises(AssertionError):
        raft.cut_before(entries[0])


def test_what_is_loaded_must_fit_together() -> None:
    with pytest.raises(AssertionError):
        RaftCore(1, (1,), HardState(), LogExtent(1, 2), LogEnd(), 0, [])
    with pytest.raises(AssertionError):
        RaftCore(2, (1,), HardState(), LogExtent(), LogEnd(), 0, [])


def test_only_a_leader_counts_what_is_held() -> None:
    raft = core(1, 2, 3)
    with pytest.raises(AssertionError):
        raft.acknowledged(2, 0)
