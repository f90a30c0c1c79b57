"""What LevelDB and plyvel really do, measured against the installed library.

Each test states a fact that a rule of zmqim/store rests on. If one fails after an upgrade, the
library changed and the rule may be reconsidered; none of it is a fault of ours.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plyvel
import pytest
from store_damage import cut, flip_byte, in_another_process, newest_log, tables

SMALL_BUFFER = 64 * 1024
TRY_TO_OPEN = """
import plyvel, sys
try:
    plyvel.DB(sys.argv[1])
    print("opened")
except plyvel.Error:
    print("refused")
"""


WRITE_BEYOND_AN_ERROR = """
import os, plyvel, resource, signal, sys
from pathlib import Path

path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
database = plyvel.DB(str(path), create_if_missing=True, compression=None)

def put(number):
    database.put(b"%04d" % number, b"v" * 100, sync=True)

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

for number in range(100):
    put(number)
[log] = path.glob("*.log")
limit(log.stat().st_size + 50)
try:
    put(100)
except plyvel.IOError:
    limit(resource.RLIM_INFINITY)
    for number in range(101, 301):
        put(number)
    print("acknowledged")
os._exit(0)
"""


def key_of(number: int) -> bytes:
    return b"key-%08d" % number


def value_of(number: int) -> bytes:
    return b"value-%08d-" % number + b"v" * 88


def fill(path: Path, count: int, write_buffer: int = SMALL_BUFFER) -> None:
    """Write rows in synced batches of ten."""
    database = plyvel.DB(
        str(path), create_if_missing=True, compression=None, write_buffer_size=write_buffer
    )
    for start in range(0, count, 10):
        with database.write_batch(sync=True) as batch:
            for number in range(start, start + 10):
                batch.put(key_of(number), value_of(number))
    database.close()


@pytest.fixture
def opened() -> Iterator[Any]:
    """Open databases that the end of the test closes."""
    databases: list[Any] = []

    def open_database(path: Path, **options: Any) -> Any:
        databases.append(plyvel.DB(str(path), **options))
        return databases[-1]

    yield open_database
    for database in databases:
        database.close()


def count_by_iterator(database: Any) -> int:
    return sum(1 for _ in database.iterator(verify_checksums=True))


def count_by_raw_iterator(database: Any) -> int:
    iterator = database.raw_iterator(verify_checksums=True)
    try:
        count = 0
        iterator.seek_to_first()
        while iterator.valid():
            count += 1
            iterator.next()
        return count
    finally:
        iterator.close()


def test_a_second_process_cannot_open_what_one_has_open(tmp_path: Path, opened: Any) -> None:
    fill(tmp_path / "db", 10)
    opened(tmp_path / "db")
    assert in_another_process(TRY_TO_OPEN, tmp_path / "db") == "refused"


def test_closing_any_handle_on_the_lock_file_loses_the_lock_without_notice(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 10)
    opened(tmp_path / "db")
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    assert in_another_process(TRY_TO_OPEN, tmp_path / "db") == "opened"


def test_a_second_opening_that_fails_loses_the_lock_of_the_first(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 10)
    opened(tmp_path / "db")
    with pytest.raises(plyvel.IOError):
        plyvel.DB(str(tmp_path / "db"))
    assert in_another_process(TRY_TO_OPEN, tmp_path / "db") == "opened"


def test_create_if_missing_over_a_folder_without_current_deletes_the_tables(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 5_000)
    (tmp_path / "db" / "CURRENT").unlink()
    database = opened(tmp_path / "db", create_if_missing=True, paranoid_checks=True)
    assert count_by_raw_iterator(database) < 5_000


def test_a_default_read_gives_back_a_flipped_byte_as_if_it_were_written(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 5_000)
    table = tables(tmp_path / "db")[0]
    offset = table.read_bytes().index(b"value-00000100-")
    flip_byte(table, offset + 20)
    database = opened(tmp_path / "db")
    assert database.get(key_of(100)) != value_of(100)
    with pytest.raises(plyvel.CorruptionError):
        database.get(key_of(100), verify_checksums=True)


def test_without_paranoid_checks_a_damaged_log_opens_and_synced_rows_are_gone(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 1_000, write_buffer=1024 * 1024)
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    for name in ("db", "copy"):
        log = newest_log(tmp_path / name)
        flip_byte(log, log.stat().st_size // 2)
    assert count_by_raw_iterator(opened(tmp_path / "db", paranoid_checks=False)) < 1_000
    with pytest.raises(plyvel.CorruptionError):
        plyvel.DB(str(tmp_path / "copy"), paranoid_checks=True)


def test_without_paranoid_checks_a_damaged_index_hides_rows_and_with_them_it_is_an_error(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 5_000)
    table = tables(tmp_path / "db")[0]
    # The last keys of a table stand in its index: one of them becomes smaller than it was.
    flip_byte(table, table.read_bytes().rindex(b"key-"))
    shutil.copytree(tmp_path / "db", tmp_path / "copy")

    def found(name: str, paranoid: bool) -> int:
        database = opened(tmp_path / name, paranoid_checks=paranoid)
        return sum(database.get(key_of(number)) is not None for number in range(5_000))

    assert found("db", paranoid=False) < 5_000
    with pytest.raises(plyvel.CorruptionError):
        found("copy", paranoid=True)


def test_after_an_error_it_goes_on_acknowledging_what_the_next_opening_loses(
    tmp_path: Path, opened: Any
) -> None:
    assert in_another_process(WRITE_BEYOND_AN_ERROR, tmp_path / "db") == "acknowledged"
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    assert count_by_raw_iterator(opened(tmp_path / "db", paranoid_checks=False)) == 100
    with pytest.raises(plyvel.CorruptionError):
        plyvel.DB(str(tmp_path / "copy"), paranoid_checks=True)


def test_a_torn_tail_is_dropped_without_an_error_even_with_paranoid_checks(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 1_000, write_buffer=1024 * 1024)
    log = newest_log(tmp_path / "db")
    cut(log, log.stat().st_size - 50)
    assert count_by_raw_iterator(opened(tmp_path / "db", paranoid_checks=True)) == 990


def test_a_bit_in_a_length_field_of_the_last_block_drops_synced_rows_without_an_error(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 100, write_buffer=1024 * 1024)
    log = newest_log(tmp_path / "db")
    content = log.read_bytes()
    assert len(content) < 32 * 1024
    header_bytes, length = 7, int.from_bytes(content[4:6], "little")
    flip_byte(log, header_bytes + length + 5, mask=0x40)
    assert count_by_raw_iterator(opened(tmp_path / "db", paranoid_checks=True)) == 10


def test_iterator_ends_early_on_damage_and_only_raw_iterator_says_so(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 5_000)
    plyvel.DB(str(tmp_path / "db"), compression=None).close()  # moves the log into a table
    last = tables(tmp_path / "db")[-1]
    flip_byte(last, last.read_bytes().index(b"value-00004999-") + 20)
    database = opened(tmp_path / "db", paranoid_checks=True)
    assert count_by_iterator(database) < 5_000
    with pytest.raises(plyvel.CorruptionError):
        count_by_raw_iterator(database)


def test_repair_gives_back_rows_whose_log_record_is_damaged(tmp_path: Path, opened: Any) -> None:
    fill(tmp_path / "db", 1_000, write_buffer=1024 * 1024)
    log = newest_log(tmp_path / "db")
    flip_byte(log, log.read_bytes().index(b"value-00000100-") + 20)
    plyvel.repair_db(str(tmp_path / "db"), paranoid_checks=False)
    database = opened(tmp_path / "db", paranoid_checks=True)
    assert database.get(key_of(100), verify_checksums=True) not in (None, value_of(100))


def test_repair_forgets_the_rows_of_a_missing_table_without_a_word(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 5_000)
    tables(tmp_path / "db")[0].unlink()
    plyvel.repair_db(str(tmp_path / "db"), paranoid_checks=True)
    database = opened(tmp_path / "db", paranoid_checks=True)
    assert count_by_raw_iterator(database) < 5_000


def test_opening_changes_the_folder(tmp_path: Path) -> None:
    fill(tmp_path / "db", 10)
    before = {path.name for path in (tmp_path / "db").iterdir()}
    plyvel.DB(str(tmp_path / "db")).close()
    assert {path.name for path in (tmp_path / "db").iterdir()} != before


def test_deleting_every_row_frees_nothing(tmp_path: Path, opened: Any) -> None:
    fill(tmp_path / "db", 5_000)
    size = sum(path.stat().st_size for path in tables(tmp_path / "db"))
    database = opened(tmp_path / "db", compression=None, write_buffer_size=1024 * 1024)
    with database.write_batch(sync=True) as batch:
        for number in range(5_000):
            batch.delete(key_of(number))
    assert count_by_raw_iterator(database) == 0
    assert sum(path.stat().st_size for path in tables(tmp_path / "db")) >= size


def test_a_snapshot_shows_its_moment_and_keeps_it_on_the_disk(tmp_path: Path, opened: Any) -> None:
    fill(tmp_path / "db", 5_000)
    database = opened(tmp_path / "db", compression=None, write_buffer_size=SMALL_BUFFER)
    snapshot = database.snapshot()
    with database.write_batch(sync=True) as batch:
        for number in range(5_000):
            batch.delete(key_of(number))

    def size_when_compacted() -> int:
        for number in (0, 4_999):
            database.delete(key_of(number))
        database.compact_range(start=key_of(0), stop=key_of(9_999))
        return sum(path.stat().st_size for path in tables(tmp_path / "db"))

    kept = size_when_compacted()
    assert kept > 5_000 * len(value_of(0))
    assert (count_by_raw_iterator(database), count_by_raw_iterator(snapshot)) == (0, 5_000)
    snapshot.close()
    assert size_when_compacted() < kept / 10


def test_a_snapshot_verifies_nothing_by_default_either(tmp_path: Path, opened: Any) -> None:
    fill(tmp_path / "db", 5_000)
    table = tables(tmp_path / "db")[0]
    flip_byte(table, table.read_bytes().index(b"value-00000100-") + 20)
    snapshot = opened(tmp_path / "db", paranoid_checks=True).snapshot()
    iterator = snapshot.raw_iterator()
    iterator.seek(key_of(100))
    assert iterator.value() != value_of(100)
    iterator.close()
    with pytest.raises(plyvel.CorruptionError):
        count_by_raw_iterator(snapshot)
    snapshot.close()


def test_an_open_database_holds_few_descriptors_whatever_it_holds(
    tmp_path: Path, opened: Any
) -> None:
    fill(tmp_path / "db", 5_000)
    database = opened(tmp_path / "db", max_open_files=100)
    assert count_by_raw_iterator(database) == 5_000
    targets = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.exists()]
    assert len([path for path in targets if path.startswith(str(tmp_path / "db"))]) <= 4


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_hangs_at_the_next_memtable(tmp_path: Path, opened: Any) -> None:
    opened(tmp_path / "parent", create_if_missing=True, write_buffer_size=SMALL_BUFFER)
    parent = plyvel.DB(
        str(tmp_path / "warm"), create_if_missing=True, write_buffer_size=SMALL_BUFFER
    )
    for number in range(2_000):
        parent.put(key_of(number), value_of(number))
    parent.close()
    child = os.fork()
    if child == 0:
        database = plyvel.DB(
            str(tmp_path / "child"), create_if_missing=True, write_buffer_size=SMALL_BUFFER
        )
        for number in range(20_000):
            database.put(key_of(number), value_of(number))
        os._exit(0)
    deadline = time.monotonic() + 3
    ended = 0
    while not ended and time.monotonic() < deadline:
        ended, _ = os.waitpid(child, os.WNOHANG)
        time.sleep(0.02)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert not ended, "the forked child got through: forking might be allowed"
