"""The log of a replica: growing, being cut at both ends, and where its bytes come from."""

from __future__ import annotations

import pytest

from zmqim.limits import SEND_WINDOW_BYTES_MAX, SEND_WINDOW_ENTRIES_MAX
from zmqim.raft import log as log_module
from zmqim.raft.entry import EntryKind, decode_entry, encode_entry, follows
from zmqim.raft.log import Log, LogEnd, LogExtent

WALL = 1_000
OPERATION = int(EntryKind.OPERATION)


class Journal:
    """What was written, read back as the log asks for it."""

    def __init__(self) -> None:
        self.bodies: dict[int, bytes] = {}
        self.reads: list[tuple[int, int]] = []

    def read(self, first: int, last: int, bytes_max: int) -> list[bytes]:
        self.reads.append((first, last))
        return [self.bodies[index] for index in range(first, last + 1)]


def empty() -> tuple[Log, Journal]:
    journal = Journal()
    return Log(LogExtent(), LogEnd(), 0, [], journal.read), journal


def save(log: Log, journal: Journal) -> None:
    new = log.take_new()
    journal.bodies.update(enumerate(new, log.last + 1 - len(new)))
    log.saved = log.last


def filled(count: int, *, term: int = 1, applied: int = 0) -> tuple[Log, Journal]:
    log, journal = empty()
    for number in range(count):
        log.append(term, OPERATION, b"%d" % number, WALL)
    save(log, journal)
    del log.tail[:applied]
    log.applied = applied
    return log, journal


def indices(bodies: list[bytes]) -> list[int]:
    return [decode_entry(body).index for body in bodies]


def test_entries_continue_one_chain_and_their_clock_only_rises() -> None:
    log, journal = empty()
    walls = (WALL, WALL, WALL - 500, 0, WALL + 1)
    assert [log.append(3, OPERATION, b"", wall) for wall in walls] == [1, 2, 3, 4, 5]
    new = log.take_new()
    assert indices(new) == [1, 2, 3, 4, 5]
    assert [entry.hlc for entry in log.tail] == [
        *((WALL << 16) + step for step in range(4)),
        (WALL + 1) << 16,
    ]
    chain = 0
    for body in new:
        assert follows(body, chain)
        chain = decode_entry(body).chain
    assert (log.chain, log.last_term, log.extent) == (chain, 3, LogExtent(1, 5))
    assert [encode_entry(entry) for entry in log.tail] == new
    assert not log.has_unsaved
    assert journal.bodies == {}


def test_what_a_leader_sends_is_taken_over_only_if_it_continues_the_chain() -> None:
    leader, journal = filled(3)
    log, _ = empty()
    assert not log.take_over(leader.tail[1], journal.bodies[2])
    assert (log.last, log.has_unsaved) == (0, False)
    for index in (1, 2, 3):
        assert log.take_over(leader.tail[index - 1], journal.bodies[index])
    assert (log.last, log.chain, log.hlc, log.saved) == (3, leader.chain, leader.hlc, 0)
    assert log.tail == leader.tail
    assert log.take_new() == [journal.bodies[index] for index in (1, 2, 3)]


def test_what_is_taken_over_is_not_kept_for_sending() -> None:
    leader, _ = filled(2)
    log, journal = filled(1)
    entry, body = leader.tail[1], leader.bodies(2, 1_000)[0]
    assert log.take_over(entry, body)
    save(log, journal)
    assert log.bodies(1, 1_000) == [journal.bodies[1], journal.bodies[2]]
    assert journal.reads == [(1, 2)]


def test_a_suffix_is_forgotten_and_its_place_taken() -> None:
    log, journal = filled(4, applied=1)
    at_two = log.at(2)
    log.append(1, OPERATION, b"unsaved", WALL)
    log.truncate(3)
    assert (log.last, log.saved, (log.last_term, log.chain)) == (2, 2, at_two)
    assert [entry.index for entry in log.tail] == [2]
    assert log.hlc == log.tail[-1].hlc
    assert (log.has_unsaved, log.is_truncated) == (True, True)
    assert (log.take_new(), log.is_truncated) == ([], False)
    assert log.append(2, OPERATION, b"other", WALL) == 3
    save(log, journal)
    assert (indices(log.bodies(2, 1_000)), indices(log.bodies(3, 1_000))) == ([2], [3])


def test_after_everything_unapplied_is_forgotten_the_clock_stays() -> None:
    log, _ = filled(3, applied=1)
    before = log.hlc
    log.truncate(2)
    assert (log.last, log.hlc, log.tail) == (1, before, [])
    assert log.append(2, OPERATION, b"", 0) == 2
    assert log.hlc == before + 1


@pytest.mark.parametrize("index", [1, 2, 5])
def test_what_is_applied_or_not_there_is_never_truncated(index: int) -> None:
    log, _ = filled(4, applied=2)
    with pytest.raises(AssertionError):
        log.truncate(index)


def test_the_beginning_is_cut_behind_what_is_applied() -> None:
    log, journal = filled(5, applied=4)
    entry = decode_entry(journal.bodies[3])
    log.cut_before(entry)
    assert log.extent == LogExtent(4, 5, entry.term, entry.chain)
    assert log.at(3) == (entry.term, entry.chain)
    assert log.has_unsaved
    with pytest.raises(AssertionError):
        log.at(2)
    with pytest.raises(AssertionError):
        log.cut_before(decode_entry(journal.bodies[5]))


def test_rows_of_the_same_history_keep_what_follows_them() -> None:
    log, journal = filled(5, applied=1)
    entry = decode_entry(journal.bodies[3])
    assert not log.restart_at(3, LogEnd(entry.term, entry.chain, entry.hlc))
    assert log.extent == LogExtent(4, 5, entry.term, entry.chain)
    assert [one.index for one in log.tail] == [4, 5]
    assert (log.applied, log.saved, log.has_unsaved) == (3, 5, True)


@pytest.mark.parametrize(("index", "chain"), [(3, 99), (9, 99)])
def test_rows_of_another_history_or_from_ahead_replace_the_log(index: int, chain: int) -> None:
    log, _ = filled(5, applied=1)
    log.append(1, OPERATION, b"", WALL)
    assert log.restart_at(index, LogEnd(7, chain, 5))
    assert log.extent == LogExtent(index + 1, index, 7, chain)
    assert (log.applied, log.saved, log.last_term, log.chain) == (index, index, 7, chain)
    assert (log.tail, log.take_new()) == ([], [])
    assert log.hlc > 5
    assert log.at(index) == (7, chain)


def test_an_applied_entry_is_looked_up_where_its_bytes_are() -> None:
    log, journal = filled(4, applied=4)
    expected = [(1, decode_entry(journal.bodies[index]).chain) for index in (1, 2, 3, 4)]
    assert [log.at(index) for index in (1, 2, 3, 4)] == expected
    assert journal.reads == []
    log.forget_recent()
    assert [log.at(index) for index in (1, 2, 3, 4)] == expected
    assert journal.reads == [(1, 1), (2, 2), (3, 3)]


def test_the_last_bodies_come_from_memory_as_many_as_fit_and_at_least_one() -> None:
    log, journal = filled(4)
    size = len(journal.bodies[1])
    assert indices(log.bodies(1, 4 * size)) == [1, 2, 3, 4]
    assert indices(log.bodies(1, 3 * size)) == [1, 2, 3]
    assert indices(log.bodies(3, 4 * size)) == [3, 4]
    assert indices(log.bodies(2, 1)) == [2]
    assert journal.reads == []


def test_older_bodies_come_from_the_journal_a_window_at_most() -> None:
    log, journal = filled(SEND_WINDOW_ENTRIES_MAX + 5)
    log.trim_recent(2)
    assert indices(log.bodies(1, 1 << 30)) == [1, 2, 3, 4, 5]
    log.forget_recent()
    assert len(log.bodies(1, 1 << 30)) == SEND_WINDOW_ENTRIES_MAX
    assert journal.reads == [(1, 5), (1, SEND_WINDOW_ENTRIES_MAX)]


def test_bodies_stay_in_memory_while_they_are_unsaved_or_needed() -> None:
    log, journal = filled(3)
    log.append(1, OPERATION, b"", WALL)
    log.trim_recent(0)
    assert indices(log.bodies(1, 1_000)) == [1, 2, 3, 4]
    log.trim_recent(2)
    assert indices(log.bodies(3, 1_000)) == [3, 4]
    log.trim_recent(4)
    assert indices(log.bodies(4, 1_000)) == [4]
    assert journal.reads == []
    save(log, journal)
    log.trim_recent(4)
    assert indices(log.bodies(4, 1_000)) == [4]
    assert journal.reads == [(4, 4)]


def test_no_more_bytes_than_a_window_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    log, journal = filled(4)
    monkeypatch.setattr(log_module, "SEND_WINDOW_BYTES_MAX", 2 * len(journal.bodies[1]))
    log.trim_recent(0)
    assert indices(log.bodies(3, SEND_WINDOW_BYTES_MAX)) == [3, 4]
    assert journal.reads == []
    log.bodies(2, SEND_WINDOW_BYTES_MAX)
    assert journal.reads == [(2, 2)]


def test_what_is_neither_saved_nor_kept_cannot_be_sent() -> None:
    log, _ = empty()
    log.append(1, OPERATION, b"", WALL)
    log.forget_recent()
    with pytest.raises(AssertionError):
        log.bodies(1, 1_000)
