"""A replica gets rows instead of entries: what of its log stays, and what it says afterwards."""

from __future__ import annotations

import pytest

from zmqim.bus.replication import Append, AppendResult, SnapshotOffer, VoteRequest, VoteResult
from zmqim.raft.config import GroupConfig, Place
from zmqim.raft.core import RaftCore
from zmqim.raft.entry import Entry, EntryKind, chain_of, decode_entry, encode_entry
from zmqim.raft.log import Log, LogEnd, LogExtent
from zmqim.raft.progress import Sending
from zmqim.raft.state import HardState, Identity

ONE, TWO, THREE = 1, 2, 3
CONFIG = GroupConfig(tuple(Place(n, f"storage-{n}", bytes([n]) * 16) for n in (ONE, TWO, THREE)))
GROUP = b"history!"
TERM = 5


def bodies(first: int, last: int, term: int = TERM, chain: int = 0) -> list[bytes]:
    """Entries that continue one chain."""
    found = []
    for index in range(first, last + 1):
        kind = int(EntryKind.OPERATION)
        content = encode_entry(Entry(term, index, index, kind, b"x", 0))[8:]
        chain = chain_of(chain, content)
        found.append(encode_entry(Entry(term, index, index, kind, b"x", chain)))
    return found


def follower(held: list[bytes], applied: int, *, is_damaged: bool = False) -> RaftCore:
    """Replica 2 with these entries, from the first on, on disk."""
    entries = [decode_entry(body) for body in held]
    end = LogEnd(entries[-1].term, entries[-1].chain, entries[-1].hlc) if entries else LogEnd()
    last = len(held)

    def read(first: int, last: int, _bytes_max: int) -> list[bytes]:
        return held[first - 1 : last][:2]

    return RaftCore(
        Identity(0, GROUP, TWO),
        HardState(TERM),
        Log(LogExtent(1, last), end, last if is_damaged else applied, entries[applied:], read)
        if not is_damaged
        else Log(LogExtent(1, last), end, last, [], read),
        CONFIG,
        is_damaged=is_damaged,
    )


def end_of(body: bytes) -> LogEnd:
    entry = decode_entry(body)
    return LogEnd(entry.term, entry.chain, entry.hlc)


def hear(raft: RaftCore, prev: int, entries: list[bytes], chain: int = 0) -> list[object]:
    append = Append(0, GROUP, ONE, TWO, TERM, prev, TERM if prev else 0, chain, 0, entries)
    raft.receive(0, 0, append)
    raft.unsaved()
    raft.saved()
    return list(raft.take_late())


@pytest.mark.promise("P1")
@pytest.mark.parametrize("is_damaged", [False, True])
def test_entries_behind_the_snapshot_stay_for_they_may_be_acknowledged(is_damaged: bool) -> None:
    held = bodies(1, 9)
    raft = follower(held, 2, is_damaged=is_damaged)
    assert not raft.install(6, end_of(held[5]), CONFIG, 0)
    assert raft.log.extent == LogExtent(7, 9, TERM, end_of(held[5]).chain)
    assert (raft.applied, raft.commit, raft.last) == (6, 6, 9)
    assert [entry.index for entry in raft.log.tail] == [7, 8, 9]
    assert not raft.is_damaged
    unsaved = raft.unsaved()
    assert unsaved is not None
    assert (unsaved.entries, unsaved.extent) == ([], raft.log.extent)


@pytest.mark.parametrize("index", [6, 9, 20])
def test_a_log_of_another_history_or_a_shorter_one_begins_anew(index: int) -> None:
    raft = follower(bodies(1, 9), 2)
    end = end_of(bodies(1, index, term=TERM - 1)[-1])
    assert raft.install(index, end, CONFIG, 0)
    assert raft.log.extent == LogExtent(index + 1, index, end.term, end.chain)
    assert (raft.applied, raft.commit, raft.last) == (index, index, index)
    assert raft.log.tail == []


def test_what_was_received_and_is_not_saved_stays_only_behind_the_snapshot() -> None:
    held = bodies(1, 9)
    raft = follower(held[:2], 2)
    raft.receive(
        0, 0, Append(0, GROUP, ONE, TWO, TERM, 2, TERM, end_of(held[1]).chain, 0, held[2:])
    )
    raft.install(6, end_of(held[5]), CONFIG, 0)
    unsaved = raft.unsaved()
    assert unsaved is not None
    assert [decode_entry(body).index for body in unsaved.entries] == [7, 8, 9]


def test_only_rows_that_are_newer_are_of_use_and_never_to_a_leader() -> None:
    raft = follower(bodies(1, 9), 4)
    assert [raft.can_install(index, TERM) for index in (3, 4, 5)] == [False, False, True]
    damaged = follower(bodies(1, 9), 4, is_damaged=True)
    assert damaged.can_install(0, TERM)
    assert not damaged.can_install(9, TERM - 1)
    alone = RaftCore(
        Identity(0, GROUP, ONE),
        HardState(TERM),
        Log(LogExtent(), LogEnd(), 0, [], lambda *_: []),
        GroupConfig(CONFIG.voters[:1]),
    )
    alone.stand(0)
    assert not alone.can_install(100, TERM)


def test_a_damaged_replica_says_so_and_neither_votes_nor_holds_what_it_is_sent() -> None:
    held = bodies(1, 9)
    raft = follower(held[:5], 0, is_damaged=True)
    (answer,) = hear(raft, 5, held[5:], end_of(held[4]).chain)
    assert isinstance(answer, AppendResult)
    assert (answer.accepted, answer.match, answer.damaged) == (False, 0, True)
    assert raft.last == 5
    raft.receive(0, 0, VoteRequest(0, GROUP, THREE, TWO, TERM + 1, 99, TERM, False, True))
    assert not raft.take_late()
    assert not raft.may_stand
    assert raft.pulse(ONE, TERM, 5)
    assert raft.committed() == []


def test_after_the_switch_the_leader_hears_how_far_the_replica_is() -> None:
    held = bodies(1, 9)
    raft = follower(held[:2], 2)
    raft.receive(0, 0, SnapshotOffer(0, GROUP, ONE, TWO, TERM, 1, 9, TERM, 0, 0))
    assert raft.leader == ONE
    raft.install(9, end_of(held[8]), CONFIG, 0)
    (answer,) = raft.take_late()
    assert isinstance(answer, AppendResult)
    assert (answer.accepted, answer.match, answer.damaged) == (True, 9, False)


def test_an_offer_of_what_is_committed_here_is_answered_with_that() -> None:
    raft = follower(bodies(1, 9), 6)
    raft.receive(0, 0, SnapshotOffer(0, GROUP, ONE, TWO, TERM, 1, 6, TERM, 0, 0))
    (answer,) = raft.take_late()
    assert isinstance(answer, AppendResult)
    assert (answer.accepted, answer.match) == (True, 6)
    raft.receive(0, 0, SnapshotOffer(0, GROUP, ONE, TWO, TERM, 1, 7, TERM, 0, 0))
    assert not raft.take_late()


def test_an_offer_of_an_old_term_makes_nobody_a_leader() -> None:
    raft = follower(bodies(1, 2), 2)
    raft.receive(0, 0, SnapshotOffer(0, GROUP, ONE, TWO, TERM - 1, 1, 9, TERM, 0, 0))
    assert (raft.leader, raft.term) == (0, TERM)


def leading() -> RaftCore:
    """Replica 1 leads with replica 2 at its side; the first ten entries are forgotten."""
    end = LogEnd(TERM, 1, 1)
    raft = RaftCore(
        Identity(0, GROUP, ONE),
        HardState(TERM),
        Log(LogExtent(11, 10, TERM, 1), end, 10, [], lambda *_: []),
        GroupConfig(CONFIG.voters[:1], CONFIG.voters[1:2]),
    )
    raft.stand(0)
    raft.unsaved()
    raft.saved()
    raft.applied_committed()
    raft.take_early(0, [TWO])
    return raft


def answer_to(raft: RaftCore, *, damaged: bool) -> AppendResult:
    return AppendResult(0, GROUP, TWO, ONE, raft.term, False, 0, 10, damaged)


@pytest.mark.parametrize("damaged", [False, True])
def test_who_lacks_what_is_gone_or_lost_its_rows_is_offered_a_snapshot(damaged: bool) -> None:
    raft = leading()
    lead = raft.lead
    assert lead is not None
    raft.receive(0, 0, answer_to(raft, damaged=damaged))
    assert raft.take_early(0, [TWO]) == []
    assert lead.wants_snapshot == {TWO}
    assert lead.needs_snapshot(TWO)
    assert lead.feed_snapshot(0, TWO, 11)
    assert not lead.wants_snapshot
    assert not lead.needs_snapshot(TWO)
    raft.receive(0, 0, AppendResult(0, GROUP, TWO, ONE, raft.term, True, 11))
    assert lead.progress[TWO].sending is Sending.STREAMING
    assert not lead.progress[TWO].is_damaged
    assert not lead.feed_snapshot(0, TWO, 11)


def test_a_snapshot_that_nobody_pulls_is_wanted_again() -> None:
    raft = leading()
    lead = raft.lead
    assert lead is not None
    raft.receive(0, 0, answer_to(raft, damaged=True))
    raft.take_early(0, [TWO])
    lead.feed_snapshot(0, TWO, 11)
    assert not lead.tick(999)
    lead.feed_snapshot(500, TWO, 11)
    assert not lead.tick(1_499)
    assert lead.tick(1_500)
    assert raft.take_early(1_500, [TWO]) == []
    assert lead.wants_snapshot == {TWO}


def test_who_learns_that_its_rows_are_wrong_says_so_and_is_healed_like_a_damaged_one() -> None:
    held = bodies(1, 9)
    raft = follower(held, 4)
    hear(raft, 9, [], end_of(held[8]).chain)
    raft.lose_rows()
    assert raft.is_damaged
    assert not raft.may_stand
    assert raft.committed() == []
    assert raft.take_late() == [AppendResult(0, GROUP, TWO, ONE, TERM, False, 0, 9, True)]
    raft.receive(0, 0, VoteRequest(0, GROUP, THREE, TWO, TERM + 1, 9, TERM, False, False))
    assert raft.take_late() == []
    assert not raft.install(3, end_of(held[2]), CONFIG, 0)
    assert [entry.index for entry in raft.log.tail] == [4, 5, 6, 7, 8, 9]
    assert not raft.is_damaged


def test_a_leader_whose_rows_are_wrong_leads_no_more() -> None:
    raft = follower(bodies(1, 9), 9)
    raft.stand(0)
    for pre in (True, False):
        term = TERM + 1
        raft.receive(0, 0, VoteResult(0, GROUP, ONE, TWO, term, pre, True))
    assert raft.lead is not None
    raft.lose_rows()
    assert (raft.lead, raft.leader, raft.is_damaged) == (None, 0, True)
    unsaved = raft.unsaved()
    assert unsaved is not None
    assert [decode_entry(body).index for body in unsaved.entries] == [10]
    raft.saved()
    assert not any(isinstance(message, AppendResult) for message in raft.take_late())
