"""The journal on LevelDB: what comes back, how it rolls, and what it refuses to open."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_damage import cut, flip_byte, in_another_process, newest_log, tables
from store_opening import Opener, journal_opener

from zmqim.errors import AlreadyRunning, DamagedData, DiskError
from zmqim.limits import KB, MB
from zmqim.store.interface import Extent, JournalBatch, LoadedPartition
from zmqim.store.journal import LevelJournal, open_journal
from zmqim.store.keys import RUN_BYTES_MAX, entry_key
from zmqim.store.mark import DurableMark
from zmqim.store.rows import open_rows

GENERATION_BYTES = 40 * KB


def body_of(partition: int, index: int, life: int = 0) -> bytes:
    return b"entry %d %d %d " % (partition, index, life) + b"x" * 80


def append(journal: LevelJournal, partition: int, extent: Extent, life: int = 0) -> None:
    """Write the entries after what is alive up to `extent.last`, in batches of ten."""
    loaded = journal.load().get(partition)
    alive = loaded.extent.last if loaded and loaded.extent else extent.first - 1
    while alive < extent.last:
        top = min(alive + 10, extent.last)
        entries = {partition: bodies(partition, alive + 1, top, life)}
        journal.write(JournalBatch(entries, {partition: extent.up_to(top)}))
        alive = top


def forget(journal: LevelJournal, partition: int, extent: Extent) -> None:
    """Change which entries are alive, without an entry."""
    journal.write(JournalBatch(extents={partition: extent}))


def bodies(partition: int, first: int, last: int, life: int = 0) -> list[bytes]:
    return [body_of(partition, index, life) for index in range(first, last + 1)]


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


@pytest.fixture
def open_raft(tmp_path: Path) -> Iterator[Opener]:
    """Open the journal in tmp_path/raft; the end of the test closes it."""
    with journal_opener(tmp_path / "raft", GENERATION_BYTES) as opener:
        yield opener


def test_everything_that_was_written_comes_back_after_opening_again(open_raft: Opener) -> None:
    journal = open_raft(create=True)
    journal.write(
        JournalBatch(
            entries={3: [b"a", b""], 5: [b"c"]},
            extents={3: Extent(1, 2, 0, 0), 5: Extent(7, 7, 4, 2**64 - 1)},
            hard_states={3: b"hard", 9: b"only"},
            replica_metas={3: b"meta"},
            peers={b"u" * 16: 3},
        )
    )
    journal.write(JournalBatch(peers={b"u" * 16: 4, b"w" * 16: 2**63}))
    for look in (lambda: journal, open_raft):
        opened = look()
        assert opened.load() == {
            3: LoadedPartition(b"hard", b"meta", Extent(1, 2, 0, 0)),
            5: LoadedPartition(None, None, Extent(7, 7, 4, 2**64 - 1)),
            9: LoadedPartition(b"only", None, None),
        }
        assert opened.peers() == {b"u" * 16: 4, b"w" * 16: 2**63}
        assert opened.read(3, 1, 2, MB) == [b"a", b""]
        assert opened.read(5, 7, 7, MB) == [b"c"]


def test_a_new_journal_is_empty_and_stays_so(open_raft: Opener) -> None:
    assert open_raft(create=True).load() == {}
    assert open_raft().load() == {}
    assert open_raft(create=True).load() == {}


def test_reading_stops_after_the_entry_that_reaches_the_bytes_asked_for(open_raft: Opener) -> None:
    journal = open_raft(create=True)
    journal.write(JournalBatch({0: [bytes(100)] * 5}, {0: Extent(1, 5, 0, 0)}))
    assert len(journal.read(0, 1, 5, 250)) == 3
    assert len(journal.read(0, 2, 5, 200)) == 2
    assert len(journal.read(0, 1, 5, 0)) == 1
    assert journal.read(0, 6, 5, 100) == []


def test_reading_what_is_not_alive_is_a_mistake(open_raft: Opener) -> None:
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 10, 0, 0))
    forget(journal, 0, Extent(4, 8, 1, 1))
    with pytest.raises(AssertionError):
        journal.read(0, 3, 8, MB)
    with pytest.raises(AssertionError):
        journal.read(0, 4, 9, MB)


def test_entries_without_an_extent_are_a_mistake(open_raft: Opener) -> None:
    with pytest.raises(KeyError):
        open_raft(create=True).write(JournalBatch(entries={0: [b""]}))


def test_a_truncated_suffix_is_replaced_even_across_generations(
    tmp_path: Path, open_raft: Opener
) -> None:
    journal = open_raft(create=True)
    append(journal, 1, Extent(1, 600, 0, 0))
    assert len(folders(tmp_path / "raft")) == 2
    forget(journal, 1, Extent(1, 90, 0, 0))
    assert open_raft().read(1, 80, 90, MB) == bodies(1, 80, 90)
    journal = open_raft()
    append(journal, 1, Extent(1, 120, 0, 0), life=1)
    expected = bodies(1, 1, 90) + bodies(1, 91, 120, life=1)
    assert journal.read(1, 1, 120, MB) == expected
    assert open_raft().read(1, 1, 120, MB) == expected


def test_old_generations_are_removed_as_folders_once_every_log_begins_after_them(
    tmp_path: Path, open_raft: Opener
) -> None:
    journal = open_raft(create=True)
    append(journal, 1, Extent(1, 500, 0, 0))
    append(journal, 2, Extent(1, 30, 0, 0))
    assert folders(tmp_path / "raft") == ["g000001", "g000002"]
    forget(journal, 1, Extent(490, 500, 3, 4))
    assert folders(tmp_path / "raft") == ["g000001.dead", "g000002"]
    for number in range(20):
        journal.write(JournalBatch(peers={b"u" * 16: number}))
    assert sorted(path.name for path in (tmp_path / "raft").iterdir()) == [
        "g000002",
        "g000002.lock",
    ]
    journal = open_raft()
    assert journal.read(1, 490, 500, MB) == bodies(1, 490, 500)
    assert journal.read(2, 1, 30, MB) == bodies(2, 1, 30)


def test_an_idle_partition_pins_no_generation_because_it_is_carried_forward(
    tmp_path: Path, open_raft: Opener
) -> None:
    journal = open_raft(create=True)
    journal.write(JournalBatch(hard_states={7: b"vote"}))
    append(journal, 7, Extent(1, 50, 0, 0))
    last = 0
    for _ in range(300):
        last += 10
        entries = {1: bodies(1, last - 9, last)}
        journal.write(JournalBatch(entries, {1: Extent(max(1, last - 99), last, 0, 0)}))
        assert len(folders(tmp_path / "raft")) <= 3
    assert "g000001" not in folders(tmp_path / "raft")
    for look in (lambda: journal, open_raft):
        opened = look()
        assert opened.read(7, 1, 50, MB) == bodies(7, 1, 50)
        assert opened.read(1, last - 99, last, MB) == bodies(1, last - 99, last)
        assert opened.load()[7].hard_state == b"vote"
        assert opened.bytes_used() < 10 * GENERATION_BYTES


def test_carrying_forward_survives_truncation_in_the_middle_of_it(open_raft: Opener) -> None:
    journal = open_raft(create=True)
    append(journal, 7, Extent(1, 900, 0, 0))
    append(journal, 1, Extent(1, 900, 0, 0))
    forget(journal, 7, Extent(1, 40, 0, 0))
    append(journal, 1, Extent(800, 1_000, 0, 0))
    append(journal, 7, Extent(1, 60, 0, 0), life=1)
    reset(journal, 1, 1_899)
    append(journal, 1, Extent(1_900, 2_000, 9, 77))
    expected = bodies(7, 1, 40) + bodies(7, 41, 60, life=1)
    assert journal.read(7, 1, 60, MB) == expected
    assert open_raft().read(7, 1, 60, MB) == expected


def test_a_log_that_restarts_above_its_old_end_reads_only_the_new_entries(
    open_raft: Opener,
) -> None:
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 40, 0, 0))
    forget(journal, 0, Extent(500, 499, 9, 77))
    assert open_raft().load()[0].extent == Extent(500, 499, 9, 77)
    journal = open_raft()
    append(journal, 0, Extent(500, 520, 9, 77))
    assert open_raft().read(0, 500, 520, MB) == bodies(0, 500, 520)


def reset(journal: LevelJournal, partition: int, base: int) -> None:
    """A snapshot that contains everything up to `base` takes the log's place."""
    forget(journal, partition, Extent(base + 1, base, 9, 77))


@pytest.mark.parametrize("base", [500, 95, 10])
def test_a_log_that_a_snapshot_reset_anywhere_goes_on_with_new_entries_only(
    open_raft: Opener, base: int
) -> None:
    journal = open_raft(create=True, generation_bytes=4 * KB)
    append(journal, 0, Extent(1, 100, 0, 0))
    forget(journal, 0, Extent(41, 100, 0, 0))
    reset(journal, 0, base)
    for look in (lambda: journal, open_raft):
        assert look().load()[0].extent == Extent(base + 1, base, 9, 77)
    journal = open_raft(generation_bytes=4 * KB)
    append(journal, 0, Extent(base + 1, base + 35, 9, 77), life=1)
    append(journal, 1, Extent(1, 60, 0, 0))
    append(journal, 0, Extent(base + 1, base + 150, 9, 77), life=1)
    expected = bodies(0, base + 1, base + 150, life=1)
    assert journal.read(0, base + 1, base + 150, MB) == expected
    assert open_raft().read(0, base + 1, base + 150, MB) == expected


def test_a_reset_and_what_follows_it_may_come_in_one_batch(open_raft: Opener) -> None:
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 100, 0, 0))
    entries = {0: bodies(0, 51, 53, life=1)}
    journal.write(JournalBatch(entries, {0: Extent(51, 53, 9, 77)}))
    for look in (lambda: journal, open_raft):
        assert look().read(0, 51, 53, MB) == bodies(0, 51, 53, life=1)


def test_a_conflict_may_reach_back_into_an_older_generation_and_roll_on(
    tmp_path: Path, open_raft: Opener
) -> None:
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 600, 0, 0))
    assert folders(tmp_path / "raft") == ["g000001", "g000002"]
    journal.write(JournalBatch({0: bodies(0, 81, 85, life=1)}, {0: Extent(1, 85, 0, 0)}))
    append(journal, 0, Extent(1, 700, 0, 0), life=1)
    append(journal, 1, Extent(1, 400, 0, 0))
    expected = bodies(0, 1, 80) + bodies(0, 81, 700, life=1)
    for look in (lambda: journal, open_raft):
        assert look().read(0, 1, 700, MB) == expected


def test_a_reset_log_pins_no_generation(tmp_path: Path, open_raft: Opener) -> None:
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 300, 0, 0))
    append(journal, 1, Extent(1, 200, 0, 0))
    assert folders(tmp_path / "raft") == ["g000001", "g000002"]
    reset(journal, 1, 150)
    assert folders(tmp_path / "raft") == ["g000001", "g000002"]
    reset(journal, 0, 1_000)
    assert folders(tmp_path / "raft") == ["g000001.dead", "g000002"]
    append(journal, 1, Extent(151, 160, 9, 77), life=1)
    assert open_raft().read(1, 151, 160, MB) == bodies(1, 151, 160, life=1)


def test_a_log_that_is_being_carried_forward_may_be_reset(
    tmp_path: Path, open_raft: Opener
) -> None:
    journal = open_raft(create=True)
    append(journal, 7, Extent(1, 900, 0, 0))
    append(journal, 1, Extent(1, 20, 0, 0))
    assert len(folders(tmp_path / "raft")) > 2, "entries of 7 are being carried forward"
    reset(journal, 7, 890)
    append(journal, 1, Extent(15, 300, 0, 0))
    append(journal, 7, Extent(891, 920, 9, 77), life=1)
    append(journal, 1, Extent(290, 900, 0, 0))
    for look in (lambda: journal, open_raft):
        opened = look()
        assert opened.read(7, 891, 920, MB) == bodies(7, 891, 920, life=1)
        assert opened.read(1, 290, 900, MB) == bodies(1, 290, 900)


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a crash of a process says nothing about syncs."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


def test_a_crash_at_any_step_of_rolling_and_removing_loses_nothing(memory_folder: Path) -> None:
    driver = Path(__file__).parents[2] / "store_crash_driver.py"
    code = f"import runpy; runpy.run_path({str(driver)!r}, run_name='__main__')"
    crashes = int(in_another_process(code, memory_folder).splitlines()[-1])
    assert crashes > 40, "each roll and each removal has more steps than that"


def test_a_generation_cut_before_it_was_ready_never_existed_and_is_set_aside(
    tmp_path: Path, open_raft: Opener
) -> None:
    journal = open_raft(create=True, generation_bytes=MB)
    append(journal, 0, Extent(1, 20, 0, 0))
    journal.close()
    shutil.copytree(tmp_path / "raft" / "g000001", tmp_path / "raft" / "g000002")
    for log in (tmp_path / "raft" / "g000002").glob("*.log"):
        cut(log, 0)
    assert open_raft().read(0, 1, 20, MB) == bodies(0, 1, 20)
    assert folders(tmp_path / "raft") == ["g000001", "g000002.aside1"]


def test_a_journal_that_was_lost_is_not_begun_anew(tmp_path: Path, open_raft: Opener) -> None:
    with pytest.raises(DamagedData, match="raft is missing"):
        open_raft()
    (tmp_path / "raft").mkdir()
    with pytest.raises(DamagedData, match="no generation"):
        open_raft()


@pytest.mark.parametrize("loss", ["marker", "rows"])
def test_the_only_generation_is_never_set_aside(
    tmp_path: Path, open_raft: Opener, loss: str
) -> None:
    append(open_raft(create=True), 0, Extent(1, 20, 0, 0))
    open_raft().close()
    folder = tmp_path / "raft" / "g000001"
    if loss == "marker":
        (folder / "CLEAN").unlink()
    else:
        for path in [*folder.iterdir()]:
            if path.name != "CLEAN":
                path.unlink()
    with pytest.raises(DamagedData):
        open_raft()
    assert folders(tmp_path / "raft") == ["g000001"]


def test_a_missing_generation_in_the_middle_is_damage(tmp_path: Path, open_raft: Opener) -> None:
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 300, 0, 0))
    append(journal, 1, Extent(1, 400, 0, 0))
    journal.close()
    names = folders(tmp_path / "raft")
    assert len(names) >= 2
    shutil.copytree(tmp_path / "raft" / names[-1], tmp_path / "raft" / "g000009")
    with pytest.raises(DamagedData, match="missing"):
        open_raft()


def test_a_renamed_generation_is_damage(tmp_path: Path, open_raft: Opener) -> None:
    open_raft(create=True).close()
    (tmp_path / "raft" / "g000001").rename(tmp_path / "raft" / "g000002")
    with pytest.raises(DamagedData, match="g000002 is not a READY generation"):
        open_raft()


def test_a_lost_oldest_generation_is_found_at_opening(tmp_path: Path, open_raft: Opener) -> None:
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 500, 0, 0))
    journal.close()
    assert folders(tmp_path / "raft") == ["g000001", "g000002"]
    shutil.rmtree(tmp_path / "raft" / "g000001")
    with pytest.raises(DamagedData, match="entry 1 of partition 0"):
        open_raft()


def test_a_journal_in_use_is_refused(open_raft: Opener, tmp_path: Path) -> None:
    open_raft(create=True)
    with pytest.raises(AlreadyRunning):
        open_journal(tmp_path / "raft")


@pytest.mark.promise("P8")
def test_a_flipped_byte_anywhere_in_a_journal_table_is_found_and_the_table_named(
    tmp_path: Path, open_raft: Opener
) -> None:
    journal = open_raft(create=True, generation_bytes=10 * MB)
    append(journal, 0, Extent(1, 3_000, 0, 0))
    journal.close()
    table = tables(tmp_path / "raft" / "g000001")[1]
    good = table.read_bytes()
    footer = 48  # begins with varints and ends with a magic number; nothing reads its padding
    for offset in range(50, len(good) - footer, len(good) // 15):
        flip_byte(table, offset)
        with pytest.raises(DamagedData, match=table.name):
            open_raft(generation_bytes=10 * MB).read(0, 1, 3_000, 100 * MB)
        table.write_bytes(good)
    assert open_raft(generation_bytes=10 * MB).read(0, 1, 3_000, 100 * MB) == bodies(0, 1, 3_000)


@pytest.mark.promise("P8")
def test_a_flipped_byte_in_the_middle_of_the_journal_log_refuses_to_open_and_is_named(
    tmp_path: Path, open_raft: Opener
) -> None:
    journal = open_raft(create=True, generation_bytes=MB)
    append(journal, 0, Extent(1, 300, 0, 0))
    journal.close()
    log = newest_log(tmp_path / "raft" / "g000001")
    flip_byte(log, log.stat().st_size // 2)
    with pytest.raises(DamagedData) as refused:
        open_raft()
    assert refused.value.path == str(log)


@pytest.mark.promise("P8")
def test_a_synced_tail_that_leveldb_drops_silently_is_found_by_the_mark(
    tmp_path: Path, open_raft: Opener
) -> None:
    journal = open_raft(create=True, generation_bytes=MB)
    mark = DurableMark(tmp_path / "durable.mark", 4, create=True)
    append(journal, 0, Extent(1, 200, 0, 0))
    mark.note({0: (1, 200)})
    mark.close()
    journal.close()
    log = newest_log(tmp_path / "raft" / "g000001")
    cut(log, log.stat().st_size - 20)
    extent = open_raft().load()[0].extent
    assert extent is not None
    assert extent.last == 190
    mark = DurableMark(tmp_path / "durable.mark", 4)
    with pytest.raises(DamagedData, match="partition 0 ends at term 1, index 190"):
        mark.check({0: (1, extent.last)}, {})
    mark.close()


def test_a_gap_between_entries_is_damage(open_raft: Opener) -> None:
    journal = open_raft(create=True)
    journal.write(JournalBatch({0: [b"a", b"b"]}, {0: Extent(1, 2, 0, 0)}))
    journal.write(JournalBatch({0: [b"d"]}, {0: Extent(1, 4, 0, 0)}))
    with pytest.raises(DamagedData, match="lacks entry 3 of partition 0"):
        journal.read(0, 1, 4, MB)


@pytest.mark.parametrize("missing", [3, 4])
def test_entries_that_are_lacking_at_the_end_are_damage(open_raft: Opener, missing: int) -> None:
    journal = open_raft(create=True)
    journal.write(JournalBatch({0: [b"a"] * (missing - 1)}, {0: Extent(1, missing - 1, 0, 0)}))
    forget(journal, 0, Extent(1, 4, 0, 0))
    with pytest.raises(DamagedData, match=f"lacks entry {missing} of partition 0"):
        journal.read(0, 2, 4, MB)
    with pytest.raises(DamagedData, match=f"lacks entry {missing} of partition 0"):
        journal.read(0, missing, missing, MB)


def test_a_run_that_nobody_wrote_is_damage(tmp_path: Path, open_raft: Opener) -> None:
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 5, 0, 0))
    journal.close()
    rows = open_rows(tmp_path / "raft" / "g000001")
    rows.write([(entry_key(0, 1), b"\0\0\0\x09short")])
    rows.close()
    with pytest.raises(DamagedData, match="wrong run of entries"):
        open_raft()


def test_what_a_turn_appends_to_a_log_is_one_row_unless_it_is_long(
    tmp_path: Path, open_raft: Opener
) -> None:
    journal = open_raft(create=True, generation_bytes=MB)
    long = RUN_BYTES_MAX // 2
    entries = {0: [b"short"] * 50, 1: [bytes(long)] * 3}
    journal.write(JournalBatch(entries, {0: Extent(1, 50, 0, 0), 1: Extent(1, 3, 0, 0)}))
    journal.close()
    rows = open_rows(tmp_path / "raft" / "g000001")
    keys = [key for key, _ in rows.scan(entry_key(0, 0), entry_key(2, 0))]
    rows.close()
    assert keys == [entry_key(0, 1), entry_key(1, 1), entry_key(1, 3)]


def test_more_entries_than_the_log_has_are_a_mistake(open_raft: Opener) -> None:
    journal = open_raft(create=True)
    with pytest.raises(AssertionError, match="partition 3: an entry in front of"):
        journal.write(JournalBatch({3: [b"a", b"b", b"c"]}, {3: Extent(5, 6, 9, 77)}))


def test_after_closing_nothing_is_written(open_raft: Opener) -> None:
    journal = open_raft(create=True)
    journal.close()
    with pytest.raises(DiskError, match="closed"):
        journal.write(JournalBatch(hard_states={0: b""}))


def test_what_a_crash_left_of_a_removed_generation_is_removed(
    tmp_path: Path, open_raft: Opener
) -> None:
    open_raft(create=True).close()
    shutil.copytree(tmp_path / "raft" / "g000001", tmp_path / "raft" / "g000000.dead")
    open_raft()
    assert folders(tmp_path / "raft") == ["g000001"]


def test_a_row_of_the_journal_that_nobody_wrote_is_damage(
    tmp_path: Path, open_raft: Opener
) -> None:
    open_raft(create=True).close()
    rows = open_rows(tmp_path / "raft" / "g000001")
    rows.write([(b"E\x00\x01", b"short")])
    rows.close()
    with pytest.raises(DamagedData, match="wrong row"):
        open_raft()
