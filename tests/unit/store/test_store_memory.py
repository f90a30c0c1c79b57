"""The memory stores lose in a crash what LevelDB loses, and nothing that was synced."""

from __future__ import annotations

from random import Random

import pytest

from zmqim.errors import DamagedData
from zmqim.limits import KB
from zmqim.store.interface import Extent, JournalBatch
from zmqim.store.memory import MemoryJournal, MemoryRowStore

SEEDS = range(200)


def survivors(seed: int, *, synced: bool, batches: int, buffer: int = 2 * KB) -> list[int]:
    """Which of the batches, each one row of 300 bytes, are there after a crash."""
    store = MemoryRowStore(synced=synced, write_buffer_bytes=buffer)
    for number in range(batches):
        store.write([(b"%04d" % number, bytes(300))])
    store.crash(Random(seed))
    return [int(key) for key, _ in store.scan(b"", b"z")]


def is_prefix(numbers: list[int]) -> bool:
    return numbers == list(range(len(numbers)))


@pytest.mark.promise("P1")
def test_synced_writes_survive_every_crash() -> None:
    for seed in SEEDS:
        assert survivors(seed, synced=True, batches=40) == list(range(40))


def test_unsynced_writes_lose_a_suffix_of_a_log_and_are_sometimes_whole() -> None:
    lost = {len(survivors(seed, synced=False, batches=5)) for seed in SEEDS}
    assert lost == {0, 1, 2, 3, 4, 5}
    assert all(is_prefix(survivors(seed, synced=False, batches=5)) for seed in SEEDS)


def test_the_tail_of_an_older_log_can_vanish_under_later_rows() -> None:
    found = [survivors(seed, synced=False, batches=14) for seed in SEEDS]
    holes = [numbers for numbers in found if numbers and not is_prefix(numbers)]
    assert holes
    assert any(13 in numbers for numbers in holes)


def test_only_the_last_two_logs_can_lose_anything() -> None:
    for seed in SEEDS:
        numbers = survivors(seed, synced=False, batches=60)
        assert numbers[:42] == list(range(42))


def test_a_batch_is_lost_whole_or_not_at_all() -> None:
    for seed in SEEDS:
        store = MemoryRowStore(synced=False)
        store.write([(b"a", b"1"), (b"b", b"1")])
        store.write([(b"a", b"2"), (b"b", None)])
        store.crash(Random(seed))
        assert store.scan(b"", b"z") in (
            [],
            [(b"a", b"1"), (b"b", b"1")],
            [(b"a", b"2")],
        )


def test_the_same_seed_loses_the_same() -> None:
    assert survivors(7, synced=False, batches=14) == survivors(7, synced=False, batches=14)


def test_what_a_log_left_out_is_gone_at_once_and_does_not_come_back() -> None:
    journal = MemoryJournal()
    journal.write(JournalBatch({0: [b"old"] * 10}, {0: Extent(1, 10, 0, 0)}))
    journal.write(JournalBatch({0: [b"new"]}, {0: Extent(3, 5, 0, 0)}))
    assert journal.read(0, 3, 5, KB) == [b"old", b"old", b"new"]
    for extent in (Extent(3, 6, 0, 0), Extent(2, 5, 0, 0)):
        journal.write(JournalBatch(extents={0: extent}))  # a log that counts what it has not
        with pytest.raises(DamagedData, match="missing"):
            journal.read(0, extent.first, extent.last, KB)
    journal.write(JournalBatch(extents={0: Extent(21, 20, 9, 9)}))
    journal.write(JournalBatch(extents={0: Extent(3, 5, 0, 0)}))
    with pytest.raises(DamagedData, match="missing"):
        journal.read(0, 3, 5, KB)


def test_a_snapshot_shows_the_rows_of_its_moment() -> None:
    store = MemoryRowStore()
    store.write([(b"a", b"1"), (b"b", b"1")])
    snapshot = store.snapshot()
    store.write([(b"a", b"2"), (b"b", None), (b"c", b"2")])
    assert snapshot.scan(b"", b"z") == [(b"a", b"1"), (b"b", b"1")]
    assert snapshot.scan(b"", b"z", limit=1) == [(b"a", b"1")]
    assert snapshot.scan(b"", b"z", bytes_max=1) == [(b"a", b"1")]
    snapshot.close()
    snapshot.close()
    with pytest.raises(AssertionError, match="closed"):
        snapshot.scan(b"", b"z")


def test_a_closed_store_refuses_use_until_it_is_opened_again() -> None:
    store = MemoryRowStore()
    store.write([(b"k", b"v")])
    store.close()
    with pytest.raises(AssertionError, match="closed"):
        store.get(b"k")
    store.reopen()
    assert store.get(b"k") == b"v"


def test_an_unsynced_journal_forgets_its_tail_in_a_crash_and_a_synced_one_does_not() -> None:
    lasts = set()
    for synced in (True, False):
        for seed in SEEDS:
            journal = MemoryJournal(synced=synced)
            for index in range(1, 6):
                extent = Extent(1, index, 0, 0)
                journal.write(JournalBatch({0: [b"%d" % index]}, {0: extent}))
            journal.close()
            journal.crash(Random(seed))
            extent_now = journal.load()[0].extent if 0 in journal.load() else None
            last = extent_now.last if extent_now else 0
            if last:
                assert journal.read(0, 1, last, KB) == [b"%d" % i for i in range(1, last + 1)]
            lasts.add((synced, last))
    assert lasts == {(True, 5), *((False, last) for last in range(6))}
