"""Room on the disk: states, the reserve, and what a disk that is really full does to a store."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import plyvel
import pytest

from zmqim.errors import DamagedData, DiskError
from zmqim.limits import KB, MB, TEST_WRITE_BUFFER_BYTES
from zmqim.store.disk import DiskRoom, DiskState, ReserveFile
from zmqim.store.interface import Extent, JournalBatch
from zmqim.store.journal import LevelJournal, open_journal
from zmqim.store.rows import open_rows

DISK_BYTES = 8 * MB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of DISK_BYTES."""
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(mount)], check=True
    )
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill_up(path: Path) -> None:
    """Write a file until the disk is full."""
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4 * KB)):
                pass
        except OSError:
            return


def writes_before(error: type[Exception], write: Callable[[int], None]) -> int:
    """Call `write` with 0, 1, 2 and so on until it raises `error`; how often it returned."""
    count = 0
    while True:
        try:
            write(count)
        except error:
            return count
        count += 1


def write_until_refused(path: Path) -> int:
    """Write synced rows until the disk refuses; how many were acknowledged."""
    rows = open_rows(path, create=True, write_buffer_bytes=TEST_WRITE_BUFFER_BYTES)
    acknowledged = writes_before(
        DiskError, lambda number: rows.write([(b"%08d" % number, b"x" * 500)])
    )
    with pytest.raises(DiskError, match="not used any more"):
        rows.write([(b"again", b"x")])
    with pytest.raises(DiskError, match="not used any more"):
        rows.get(b"%08d" % 0)
    with pytest.raises(DiskError, match="not used any more"):
        rows.scan(b"", b"\xff")
    rows.close()
    return acknowledged


def test_the_state_follows_the_free_bytes(tmp_path: Path) -> None:
    free = DiskRoom(tmp_path, warn_bytes=0, min_bytes=0).free_bytes
    assert free > 0
    half, twice = free // 2, free * 2
    assert DiskRoom(tmp_path, warn_bytes=half, min_bytes=half).state(0) is DiskState.OK
    assert DiskRoom(tmp_path, warn_bytes=twice, min_bytes=half).state(0) is DiskState.WARN
    assert DiskRoom(tmp_path, warn_bytes=twice, min_bytes=twice).state(0) is DiskState.FULL


@pytest.mark.needs_root
def test_the_disk_is_looked_at_once_a_second_and_before_each_megabyte(small_disk: Path) -> None:
    room = DiskRoom(small_disk, warn_bytes=5 * MB, min_bytes=3 * MB)
    assert room.state(10_000) is DiskState.OK
    filler = small_disk / "filler"
    fill_up(filler)
    assert room.state(10_500) is DiskState.OK
    assert room.state(11_000) is DiskState.FULL
    filler.unlink()
    assert room.state(11_500) is DiskState.FULL
    assert room.state(12_000) is DiskState.OK
    fill_up(filler)
    assert room.state(12_001, about_to_write=MB) is DiskState.FULL


@pytest.mark.needs_root
def test_what_is_announced_counts_as_used_between_two_looks(small_disk: Path) -> None:
    room = DiskRoom(
        small_disk, warn_bytes=DISK_BYTES * 2, min_bytes=room_left(small_disk) - MB // 2
    )
    assert room.state(0) is DiskState.WARN
    assert room.state(1, about_to_write=MB // 2) is DiskState.WARN
    assert room.state(2, about_to_write=1) is DiskState.FULL


def room_left(folder: Path) -> int:
    return DiskRoom(folder, warn_bytes=0, min_bytes=0).free_bytes


@pytest.mark.needs_root
def test_the_reserve_is_given_up_to_open_on_a_full_disk_and_set_aside_again_later(
    small_disk: Path,
) -> None:
    room = DiskRoom(small_disk, warn_bytes=2 * MB, min_bytes=MB)
    reserve = ReserveFile(small_disk / "reserve", 3 * MB)
    reserve.restore(room)
    assert (small_disk / "reserve").stat().st_blocks * 512 >= 3 * MB
    reserve.prepare_opening(room)
    assert (small_disk / "reserve").exists()
    fill_up(small_disk / "filler")
    reserve.prepare_opening(room)
    assert not (small_disk / "reserve").exists()
    open_rows(small_disk / "state", create=True).close()
    reserve.restore(room)
    assert not (small_disk / "reserve").exists()
    (small_disk / "filler").unlink()
    room.look()
    reserve.restore(room)
    assert (small_disk / "reserve").exists()


@pytest.mark.needs_root
@pytest.mark.promise("P1")
def test_a_full_disk_ends_with_an_error_and_every_acknowledged_row_is_there_after_room_returned(
    small_disk: Path,
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(3 * MB))
    acknowledged = write_until_refused(small_disk / "state")
    assert acknowledged > 1_000
    filler.unlink()
    rows = open_rows(small_disk / "state", write_buffer_bytes=TEST_WRITE_BUFFER_BYTES)
    found = [key for key, _ in rows.scan(b"", b"\xff")]
    assert found[:acknowledged] == [b"%08d" % number for number in range(acknowledged)]
    assert len(found) <= acknowledged + 1
    rows.write([(b"more", b"x")])
    rows.close()


@pytest.mark.needs_root
def test_opening_on_a_disk_without_any_room_is_an_error_of_the_disk_and_not_damage(
    small_disk: Path,
) -> None:
    rows = open_rows(small_disk / "state", create=True)
    rows.write([(b"key", b"x" * 10_000)])
    rows.close()
    fill_up(small_disk / "filler")
    with pytest.raises(DiskError):
        open_rows(small_disk / "state")
    (small_disk / "filler").unlink()
    rows = open_rows(small_disk / "state")
    assert rows.get(b"key") == b"x" * 10_000
    rows.close()


@pytest.mark.needs_root
@pytest.mark.promise("P1")
def test_a_journal_that_cannot_roll_for_lack_of_room_loses_nothing_acknowledged(
    small_disk: Path,
) -> None:
    def open_raft(*, create: bool = False) -> LevelJournal:
        return open_journal(
            small_disk / "raft",
            create=create,
            generation_bytes=200 * KB,
            write_buffer_bytes=TEST_WRITE_BUFFER_BYTES,
        )

    journal = open_raft(create=True)
    (small_disk / "filler").write_bytes(bytes(6 * MB))

    def append(last: int) -> None:
        journal.write(JournalBatch({0: [b"x" * 1_000]}, {0: Extent(1, last + 1, 0, 0)}))

    last = writes_before(DiskError, append)
    journal.close()
    (small_disk / "filler").unlink()
    journal = open_raft()
    extent = journal.load()[0].extent
    assert extent is not None
    assert last <= extent.last <= last + 1
    assert len(journal.read(0, 1, extent.last, DISK_BYTES)) == extent.last
    journal.close()


@pytest.mark.needs_root
def test_leveldb_itself_acknowledges_again_after_a_torn_record_and_loses_it(
    small_disk: Path,
) -> None:
    path = str(small_disk / "raw")
    database = plyvel.DB(path, create_if_missing=True, paranoid_checks=True)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(7 * MB))
    writes_before(plyvel.Error, lambda n: database.put(b"%08d" % n, b"x" * 9_000, sync=True))
    filler.unlink()
    for number in range(200):
        database.put(b"later-%08d" % number, b"x", sync=True)
    database.close()
    try:
        database = plyvel.DB(path, paranoid_checks=True)
    except plyvel.CorruptionError:
        return
    iterator = database.raw_iterator(verify_checksums=True)
    iterator.seek(b"later")
    survived = 0
    while iterator.valid():
        survived += 1
        iterator.next()
    iterator.close()
    database.close()
    assert survived < 200


def test_a_missing_state_folder_is_damage_unless_it_is_to_be_created(tmp_path: Path) -> None:
    with pytest.raises(DamagedData, match="state"):
        open_rows(tmp_path / "state")
    open_rows(tmp_path / "state", create=True).close()
    open_rows(tmp_path / "state").close()
