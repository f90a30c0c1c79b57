"""Our LevelDB folder refuses what LevelDB lets pass; see test_store_leveldb_facts for the facts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack
from zlib import crc32

import plyvel
import pytest
from store_damage import cut, flip_byte, in_another_process, newest_log, tables

import zmqim
from zmqim.errors import AlreadyRunning, DamagedData, DiskError, UsageError
from zmqim.limits import KB, MB, TEST_WRITE_BUFFER_BYTES
from zmqim.store.leveldb import (
    LevelFolder,
    LevelOptions,
    create_level_folder,
    is_created,
    remove_some,
    set_dead,
)

OPTIONS = LevelOptions(
    write_buffer_bytes=TEST_WRITE_BUFFER_BYTES, bloom_bits=10, cache_bytes=MB, open_files_max=100
)
WIDE = LevelOptions(write_buffer_bytes=4 * MB, bloom_bits=10, cache_bytes=MB, open_files_max=100)
OPEN_ROWS = """
import sys
from pathlib import Path
from zmqim.errors import AlreadyRunning
from zmqim.store.rows import open_rows
try:
    open_rows(Path(sys.argv[1]))
    print("opened")
except AlreadyRunning as error:
    print(error.what)
"""

Opener = Callable[..., LevelFolder]


def key_of(number: int) -> bytes:
    return b"key-%08d" % number


def value_of(number: int) -> bytes:
    return b"value-%08d-" % number + b"v" * 88


def fill(folder: LevelFolder, count: int) -> None:
    """Write rows in batches of ten."""
    for start in range(0, count, 10):
        folder.write([(key_of(number), value_of(number)) for number in range(start, start + 10)])


@pytest.fixture
def open_folder() -> Iterator[Opener]:
    """Open folders that the end of the test closes."""
    folders: list[LevelFolder] = []

    def opener(path: Path, options: LevelOptions = OPTIONS) -> LevelFolder:
        if not path.exists():
            create_level_folder(path, options)
        folders.append(LevelFolder(path, options))
        return folders[-1]

    yield opener
    for folder in folders:
        folder.close()


def scan_all(folder: LevelFolder) -> list[tuple[bytes, bytes]]:
    return folder.scan(b"", b"\xff")


def test_rows_come_back_after_closing_and_opening(tmp_path: Path, open_folder: Opener) -> None:
    folder = open_folder(tmp_path / "db")
    fill(folder, 3_000)
    folder.write([(key_of(7), None), (key_of(8), b"")])
    folder.close()
    again = open_folder(tmp_path / "db")
    expected = [(key_of(n), value_of(n)) for n in range(3_000) if n not in (7, 8)]
    expected.insert(7, (key_of(8), b""))
    assert scan_all(again) == expected
    assert again.get(key_of(7)) is None
    assert again.get(key_of(8)) == b""


def test_ranges_have_an_inclusive_start_and_an_exclusive_stop_both_ways(
    tmp_path: Path, open_folder: Opener
) -> None:
    folder = open_folder(tmp_path / "db")
    folder.write([(bytes([letter]), b"v") for letter in b"abcdef"])

    def keys(start: bytes, stop: bytes, **options: object) -> bytes:
        return b"".join(key for key, _ in folder.scan(start, stop, **options))  # type: ignore[arg-type]

    assert keys(b"b", b"e") == b"bcd"
    assert keys(b"b", b"e", reverse=True) == b"dcb"
    assert keys(b"b", b"z", reverse=True, limit=2) == b"fe"
    assert keys(b"", b"z", limit=1) == b"a"
    assert keys(b"", b"z", limit=0) == b""
    assert keys(b"x", b"z") == keys(b"x", b"z", reverse=True, limit=3)[:0] == b""
    assert keys(b"e", b"b") == b""
    assert keys(b"", b"a", reverse=True) == b""
    assert keys(b"", b"z", bytes_max=2) == b"ab"


def test_a_second_opening_in_the_same_process_is_refused_and_loses_no_lock(
    tmp_path: Path, open_folder: Opener
) -> None:
    open_folder(tmp_path / "db")
    with pytest.raises(AlreadyRunning, match="in use"):
        LevelFolder(tmp_path / "db", OPTIONS)
    assert "in use" in in_another_process(OPEN_ROWS, tmp_path / "db")


def test_a_copy_made_in_the_same_process_opens_the_folder_to_nobody(
    tmp_path: Path, open_folder: Opener
) -> None:
    open_folder(tmp_path / "db")
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    assert "in use" in in_another_process(OPEN_ROWS, tmp_path / "db")


def test_a_folder_that_another_program_holds_is_refused(tmp_path: Path) -> None:
    create_level_folder(tmp_path / "db", OPTIONS)
    hold = "import plyvel,sys; db = plyvel.DB(sys.argv[1]); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match="another program"):
            LevelFolder(tmp_path / "db", OPTIONS)
        holder.communicate(b"\n")
    LevelFolder(tmp_path / "db", OPTIONS).close()


def test_a_folder_without_current_is_refused_and_its_rows_stay(
    tmp_path: Path, open_folder: Opener
) -> None:
    folder = open_folder(tmp_path / "db")
    fill(folder, 3_000)
    folder.close()
    (tmp_path / "db" / "CURRENT").rename(tmp_path / "CURRENT")
    with pytest.raises(DamagedData, match="CURRENT is missing"):
        LevelFolder(tmp_path / "db", OPTIONS)
    (tmp_path / "CURRENT").rename(tmp_path / "db" / "CURRENT")
    assert len(scan_all(open_folder(tmp_path / "db"))) == 3_000


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a database without the marker"])
def test_a_blank_or_half_made_folder_is_refused(tmp_path: Path, left: str) -> None:
    path = tmp_path / "db"
    if left == "an empty folder":
        path.mkdir()
    elif left == "a database without the marker":
        create_level_folder(path, OPTIONS)
        (path / "CLEAN").unlink()
    with pytest.raises(DamagedData, match="blank or half made"):
        LevelFolder(path, OPTIONS)


def test_creating_again_after_a_crash_before_the_marker_begins_anew(
    tmp_path: Path, open_folder: Opener
) -> None:
    create_level_folder(tmp_path / "db", OPTIONS)
    (tmp_path / "db" / "CLEAN").unlink()
    create_level_folder(tmp_path / "db", OPTIONS)
    assert is_created(tmp_path / "db")
    assert scan_all(open_folder(tmp_path / "db")) == []


def test_a_folder_that_exists_is_never_created_over(tmp_path: Path) -> None:
    create_level_folder(tmp_path / "db", OPTIONS)
    with pytest.raises(AssertionError, match="created before"):
        create_level_folder(tmp_path / "db", OPTIONS)


def test_a_folder_of_another_engine_or_version_is_refused(tmp_path: Path) -> None:
    create_level_folder(tmp_path / "db", OPTIONS)
    (tmp_path / "db" / "CLEAN").write_bytes(b"rocksdb 7\n")
    with pytest.raises(DamagedData, match="leveldb 3"):
        LevelFolder(tmp_path / "db", OPTIONS)


def test_a_folder_of_another_version_is_refused_but_not_called_damaged(tmp_path: Path) -> None:
    create_level_folder(tmp_path / "db", OPTIONS)
    (tmp_path / "db" / "CLEAN").write_bytes(b"leveldb 1\n")
    with pytest.raises(UsageError, match="another version of zmqim"):
        LevelFolder(tmp_path / "db", OPTIONS)


@pytest.mark.promise("P8")
def test_a_flipped_byte_in_a_table_is_never_given_back_and_the_table_is_named(
    tmp_path: Path, open_folder: Opener
) -> None:
    folder = open_folder(tmp_path / "db")
    fill(folder, 5_000)
    folder.close()
    table = tables(tmp_path / "db")[0]
    flip_byte(table, table.read_bytes().index(b"value-00000100-") + 20)
    folder = open_folder(tmp_path / "db")
    with pytest.raises(DamagedData, match=table.name):
        folder.get(key_of(100))
    with pytest.raises(DamagedData, match=table.name):
        scan_all(folder)
    with pytest.raises(DamagedData, match=table.name):
        folder.scan(key_of(90), key_of(110), reverse=True)
    assert folder.get(key_of(4_000)) == value_of(4_000)


@pytest.mark.promise("P8")
def test_damage_at_the_very_end_of_a_range_does_not_shorten_it_silently(
    tmp_path: Path, open_folder: Opener
) -> None:
    folder = open_folder(tmp_path / "db")
    fill(folder, 5_000)
    folder.close()
    LevelFolder(tmp_path / "db", OPTIONS).close()
    last = tables(tmp_path / "db")[-1]
    flip_byte(last, last.read_bytes().index(b"value-00004999-") + 20)
    with pytest.raises(DamagedData, match=last.name):
        scan_all(open_folder(tmp_path / "db"))


@pytest.mark.promise("P8")
def test_a_table_whose_footer_is_damaged_or_that_is_missing_is_named(
    tmp_path: Path, open_folder: Opener
) -> None:
    folder = open_folder(tmp_path / "db")
    fill(folder, 5_000)
    folder.close()
    table = tables(tmp_path / "db")[0]
    flip_byte(table, -3)
    damaged = open_folder(tmp_path / "db")
    with pytest.raises(DamagedData, match=table.name):
        damaged.get(key_of(0))
    damaged.close()
    table.unlink()
    with pytest.raises(DamagedData, match=table.name):
        LevelFolder(tmp_path / "db", OPTIONS)


@pytest.mark.promise("P8")
def test_a_damaged_middle_of_the_log_refuses_to_open_and_the_log_is_named(
    tmp_path: Path, open_folder: Opener
) -> None:
    folder = open_folder(tmp_path / "db", WIDE)
    fill(folder, 2_000)
    folder.close()
    log = newest_log(tmp_path / "db")
    flip_byte(log, log.stat().st_size // 2)
    with pytest.raises(DamagedData, match=log.name) as refused:
        LevelFolder(tmp_path / "db", WIDE)
    assert refused.value.path == str(log)


def test_a_damaged_manifest_or_current_refuses_to_open_and_is_named(
    tmp_path: Path, open_folder: Opener
) -> None:
    folder = open_folder(tmp_path / "db")
    fill(folder, 2_000)
    folder.close()
    (manifest,) = (tmp_path / "db").glob("MANIFEST-*")
    good = manifest.read_bytes()
    flip_byte(manifest, len(good) // 2)
    with pytest.raises(DamagedData, match=manifest.name):
        LevelFolder(tmp_path / "db", OPTIONS)
    manifest.write_bytes(good)
    cut(tmp_path / "db" / "CURRENT", 3)
    with pytest.raises(DamagedData, match="CURRENT"):
        LevelFolder(tmp_path / "db", OPTIONS)


@pytest.mark.promise("P8")
def test_our_own_checksum_finds_a_value_that_leveldb_believes(
    tmp_path: Path, open_folder: Opener
) -> None:
    create_level_folder(tmp_path / "db", OPTIONS)
    raw = plyvel.DB(str(tmp_path / "db"), compression=None)
    for number, framed in enumerate([b"", b"\x01\x00", b"\x01\x00body\x00\x00\x00\x00", b"x" * 20]):
        raw.put(key_of(number), framed)
    raw.close()
    folder = open_folder(tmp_path / "db")
    for number in range(4):
        with pytest.raises(DamagedData, match=f"wrong: key {key_of(number).hex()}"):
            folder.get(key_of(number))
        with pytest.raises(DamagedData, match="checksum is wrong"):
            folder.scan(key_of(number), b"\xff")


@pytest.mark.promise("P8")
def test_a_value_stored_under_another_key_is_refused(tmp_path: Path, open_folder: Opener) -> None:
    folder = open_folder(tmp_path / "db")
    folder.write([(b"one", b"body")])
    folder.close()
    raw = plyvel.DB(str(tmp_path / "db"), compression=None)
    raw.put(b"two", raw.get(b"one"))
    raw.close()
    folder = open_folder(tmp_path / "db")
    assert folder.get(b"one") == b"body"
    with pytest.raises(DamagedData, match=b"two".hex()):
        folder.get(b"two")


def test_a_frame_of_another_version_is_refused(tmp_path: Path, open_folder: Opener) -> None:
    create_level_folder(tmp_path / "db", OPTIONS)
    raw = plyvel.DB(str(tmp_path / "db"), compression=None)
    raw.put(b"key", b"\x02\x00body" + pack("<I", crc32(b"key\x02\x00body")))
    raw.close()
    with pytest.raises(DamagedData):
        open_folder(tmp_path / "db").get(b"key")


def test_a_closed_folder_refuses_every_use_and_closes_twice(tmp_path: Path) -> None:
    create_level_folder(tmp_path / "db", OPTIONS)
    folder = LevelFolder(tmp_path / "db", OPTIONS)
    folder.close()
    folder.close()
    for use in (
        lambda: folder.get(b"k"),
        lambda: folder.scan(b"", b"z"),
        lambda: folder.write([(b"k", b"v")]),
    ):
        with pytest.raises(DiskError, match="closed"):
            use()


def test_a_snapshot_shows_the_rows_of_its_moment_while_writes_and_compactions_go_on(
    tmp_path: Path, open_folder: Opener
) -> None:
    folder = open_folder(tmp_path / "rows")
    fill(folder, 3_000)
    snapshot = folder.snapshot()
    rows = folder.scan(b"", b"z")
    for start in range(0, 3_000, 100):
        folder.write([(key_of(number), None) for number in range(start, start + 100)])
    fill(folder, 1_000)
    found: list[tuple[bytes, bytes]] = []
    while page := snapshot.scan(found[-1][0] + b"\0" if found else b"", b"z", bytes_max=50 * KB):
        assert sum(len(body) for _, body in page) < 51 * KB
        found += page
    assert found == rows
    assert snapshot.scan(key_of(5), key_of(9), limit=2) == rows[5:7]
    snapshot.close()
    snapshot.close()
    with pytest.raises(AssertionError, match="closed"):
        snapshot.scan(b"", b"z")
    assert folder.scan(b"", b"z") == rows[:1_000]


def test_closing_a_folder_closes_its_snapshots(tmp_path: Path, open_folder: Opener) -> None:
    folder = open_folder(tmp_path / "rows")
    fill(folder, 10)
    snapshot = folder.snapshot()
    folder.close()
    with pytest.raises(AssertionError, match="closed"):
        snapshot.scan(b"", b"z")
    snapshot.close()
    with pytest.raises(DiskError, match="closed"):
        folder.snapshot()


@pytest.mark.promise("P8")
def test_damage_is_found_by_a_snapshot_as_well(tmp_path: Path, open_folder: Opener) -> None:
    folder = open_folder(tmp_path / "rows")
    fill(folder, 3_000)
    folder.close()
    table = tables(folder.path)[0]
    flip_byte(table, table.read_bytes().index(b"value-00000100-") + 20)
    snapshot = open_folder(tmp_path / "rows").snapshot()
    with pytest.raises(DamagedData, match=table.name):
        snapshot.scan(b"", b"z")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_must_not_write(tmp_path: Path, open_folder: Opener) -> None:
    folder = open_folder(tmp_path / "db")
    child = os.fork()
    if child == 0:
        try:
            folder.write([(b"k", b"v")])
        except AssertionError:
            os._exit(42)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42


def test_removing_a_folder_step_by_step_leaves_nothing(
    tmp_path: Path, open_folder: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmqim.store.leveldb.REMOVED_BYTES", 30 * KB)
    folder = open_folder(tmp_path / "db")
    fill(folder, 1_000)
    size = folder.bytes_used()
    assert size > 100 * KB
    folder.close()
    dead = set_dead(tmp_path / "db")
    assert list(tmp_path.iterdir()) == [dead]
    while not remove_some(dead):
        left = sum(file.stat().st_size for file in dead.iterdir())
        assert size - left <= 30 * KB
        size = left
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_scan_pins_nothing_so_that_closing_after_damage_works(
    tmp_path: Path, open_folder: Opener
) -> None:
    folder = open_folder(tmp_path / "db")
    fill(folder, 5_000)
    folder.close()
    flip_byte(tables(tmp_path / "db")[0], 1_000)
    folder = open_folder(tmp_path / "db")
    for _ in range(3):
        with pytest.raises(DamagedData):
            scan_all(folder)
    folder.close()
    LevelFolder(tmp_path / "db", OPTIONS).close()


def test_no_module_but_one_names_plyvel_and_none_uses_repair_or_the_plain_iterator() -> None:
    root = Path(zmqim.__file__).parent
    sources = {path.relative_to(root): path.read_text() for path in root.rglob("*.py")}
    importers = {str(path) for path, text in sources.items() if re.search(r"import plyvel", text)}
    assert importers == {"store/leveldb.py"}
    engine = sources[Path("store/leveldb.py")]
    assert "repair_db" not in engine
    assert ".iterator(" not in engine
    assert engine.count("raw_iterator(verify_checksums=True)") == engine.count("raw_iterator(")
