"""The second witness of the synced tail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store_damage import cut, flip_byte

from zmqim.errors import DamagedData
from zmqim.store.mark import SECTOR_BYTES, SLOTS_PER_SECTOR, DurableMark

PARTITIONS = 64
Opener = Callable[..., DurableMark]


@pytest.fixture
def open_mark(tmp_path: Path) -> Iterator[Opener]:
    """Open tmp_path/durable.mark; the end of the test closes it."""
    opened: list[DurableMark] = []

    def opener(*, create: bool = False, partitions: int = PARTITIONS) -> DurableMark:
        opened.append(DurableMark(tmp_path / "durable.mark", partitions, create=create))
        return opened[-1]

    yield opener
    for mark in opened:
        mark.close()


def test_what_was_noted_is_there_after_the_process_died_without_a_sync(open_mark: Opener) -> None:
    mark = open_mark(create=True)
    mark.note({0: (1, 5), 20: (2, 7), 21: (2, 8), 63: (2**63, 2**63)})
    mark.note({20: (3, 6)})
    mark.note({})
    expected = dict.fromkeys(range(PARTITIONS), (0, 0))
    expected |= {0: (1, 5), 20: (3, 6), 21: (2, 8), 63: (2**63, 2**63)}
    assert open_mark().ends() == mark.ends() == expected
    mark.sync()
    mark.sync()
    assert open_mark().ends() == expected


def test_no_slot_crosses_a_sector(tmp_path: Path, open_mark: Opener) -> None:
    open_mark(create=True).note({partition: (1, partition) for partition in range(PARTITIONS)})
    content = (tmp_path / "durable.mark").read_bytes()
    assert len(content) == SECTOR_BYTES * -(-PARTITIONS // SLOTS_PER_SECTOR)
    for begin in range(0, len(content), SECTOR_BYTES):
        assert content[begin + SLOTS_PER_SECTOR * 24 : begin + SECTOR_BYTES] == bytes(8)


def test_a_log_that_ends_at_or_above_its_mark_passes(open_mark: Opener) -> None:
    mark = open_mark(create=True)
    mark.note({1: (4, 100), 2: (4, 100)})
    mark.check({1: (4, 100), 2: (5, 90), 3: (1, 1)}, {1: (4, 99), 3: (1, 1)})


@pytest.mark.promise("P8")
@pytest.mark.parametrize("end", [(4, 99), (3, 200), None])
def test_a_log_that_ends_below_its_mark_is_damaged(
    open_mark: Opener, end: tuple[int, int] | None
) -> None:
    mark = open_mark(create=True)
    mark.note({1: (4, 100)})
    with pytest.raises(DamagedData, match="was synced up to term 4, index 100"):
        mark.check({1: end} if end else {}, {})


@pytest.mark.promise("P8")
def test_a_log_that_ends_below_what_is_applied_is_damaged(open_mark: Opener) -> None:
    with pytest.raises(DamagedData, match="is applied up to term 4, index 100"):
        open_mark(create=True).check({1: (4, 99)}, {1: (4, 100)})


@pytest.mark.promise("P8")
def test_a_log_that_a_snapshot_shortens_raises_no_alarm_wherever_it_crashes(
    open_mark: Opener,
) -> None:
    mark = open_mark(create=True)
    mark.note({1: (3, 100), 2: (3, 100)})
    mark.sync()
    mark.announce({1: (2, 60), 2: (3, 101)}, {1: (2, 60)})
    # Before the batch is written the log still has its old end, afterwards the new one.
    assert open_mark().ends()[1] == (2, 60)
    open_mark().check({1: (3, 100), 2: (3, 100)}, {})
    open_mark().check({1: (2, 60), 2: (3, 101)}, {})
    with pytest.raises(DamagedData, match="partition 1 ends at term 2, index 59"):
        open_mark().check({1: (2, 59), 2: (3, 101)}, {})
    mark.note({1: (2, 60), 2: (3, 101)})
    assert open_mark().ends()[2] == (3, 101)


def test_what_is_lowered_is_synced_before_the_batch(
    open_mark: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    write, sync = os.pwrite, os.fdatasync
    monkeypatch.setattr(os, "pwrite", lambda *words: (calls.append("write"), write(*words))[1])
    monkeypatch.setattr(os, "fdatasync", lambda *words: (calls.append("sync"), sync(*words))[1])
    mark = open_mark(create=True)
    mark.announce({1: (3, 100)}, {})
    assert calls == []
    mark.note({1: (3, 100)})
    mark.announce({1: (2, 60)}, {1: (2, 60)})
    assert calls == ["write", "write", "sync"]
    mark.announce({1: (2, 60)}, {1: (2, 60)})
    mark.sync()
    assert calls == ["write", "write", "sync"]


def test_a_lower_end_that_was_not_announced_is_a_mistake_found_before_it_is_written(
    open_mark: Opener,
) -> None:
    mark = open_mark(create=True)
    mark.note({1: (3, 100)})
    with pytest.raises(AssertionError, match="below its mark"):
        mark.announce({1: (3, 99)}, {})
    with pytest.raises(AssertionError, match="below its mark"):
        mark.announce({1: (2, 59)}, {1: (2, 60)})
    with pytest.raises(AssertionError, match="below its mark"):
        mark.announce({1: (4, 50)}, {1: (4, 60)})
    mark.announce({1: (4, 1)}, {})


def test_a_mark_that_is_missing_is_not_made_anew(open_mark: Opener) -> None:
    with pytest.raises(DamagedData, match="is missing"):
        open_mark()
    open_mark(create=True).note({1: (1, 1)})
    assert open_mark(create=True).ends()[1] == (1, 1)


def test_a_damaged_mark_is_refused(tmp_path: Path, open_mark: Opener) -> None:
    path = tmp_path / "durable.mark"
    open_mark(create=True).note({30: (1, 9)})
    good = path.read_bytes()
    flip_byte(path, SECTOR_BYTES + 9 * 24 + 15)
    with pytest.raises(DamagedData, match="slot for partition 30"):
        open_mark()
    path.write_bytes(bytes(len(good)))
    with pytest.raises(DamagedData, match="slot for partition 0"):
        open_mark()
    path.write_bytes(good)
    cut(path, SECTOR_BYTES)
    with pytest.raises(DamagedData, match="512 bytes"):
        open_mark()
