"""The one damaged table is named, among many that hold the same range of keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from store_damage import flip_byte, tables

from zmqim.errors import DamagedData
from zmqim.limits import KB, MB
from zmqim.store.leveldb import LevelFolder, LevelOptions, create_level_folder
from zmqim.store.tables import crc32c, damaged_table

OPTIONS = LevelOptions(
    write_buffer_bytes=64 * KB, bloom_bits=10, cache_bytes=MB, open_files_max=100
)
LAST = b"\xff"
KEYS = 400


def key_of(number: int) -> bytes:
    return b"%05d" % number


def value_of(number: int) -> bytes:
    return b"value-%05d-" % number * 20


@contextmanager
def opened(path: Path) -> Iterator[LevelFolder]:
    folder = LevelFolder(path, OPTIONS)
    try:
        yield folder
    finally:
        folder.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Each opening makes a table, and each of these holds keys from the whole range."""
    path = tmp_path / "db"
    create_level_folder(path, OPTIONS)
    for start in range(3):
        with opened(path) as folder:
            folder.write([(key_of(n), value_of(n)) for n in range(start, KEYS, 3)])
    with opened(path):
        assert len(tables(path)) == 3
    return path


def test_the_checksum_is_the_one_of_the_rfc() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.promise("P8")
@pytest.mark.parametrize("reverse", [False, True])
def test_wherever_a_table_is_damaged_it_alone_is_named(database: Path, reverse: bool) -> None:
    with opened(database) as folder:
        good = folder.scan(b"", LAST, reverse=reverse)
    random = Random(7)
    copy = database.with_name("copy")
    refused: list[tuple[Path, DamagedData]] = []
    for table in tables(database) * 8:
        shutil.copytree(database, copy)
        damaged = copy / table.name
        flip_byte(damaged, random.randrange(damaged.stat().st_size), 1 << random.randrange(8))
        with opened(copy) as folder:
            try:
                found = folder.scan(b"", LAST, reverse=reverse)
            except DamagedData as error:
                refused.append((damaged, error))
            else:
                assert found == good, "only what is not read, such as the filter, may be damaged"
        shutil.rmtree(copy)
    assert len(refused) > 12
    for damaged, error in refused:
        assert error.path == str(damaged)
        assert str(error).count(".ldb") == 1, error
        assert "keys  " not in str(error)


@pytest.mark.promise("P8")
def test_a_single_read_and_a_short_range_name_the_table_too(database: Path) -> None:
    table = tables(database)[1]
    flip_byte(table, table.read_bytes().index(b"value-00202"))
    with opened(database) as folder:
        for read in (
            lambda: folder.get(key_of(202)),
            lambda: folder.scan(key_of(200), key_of(210)),
            lambda: folder.scan(key_of(200), key_of(210), reverse=True),
        ):
            with pytest.raises(DamagedData, match="cannot be read at key") as refused:
                read()
            assert refused.value.path == str(table)


def test_sound_tables_are_not_named_and_missing_ones_are_passed_over(database: Path) -> None:
    found = [*tables(database), database / "999999.ldb"]
    assert damaged_table(found, b"", LAST, down=False) is None
    assert damaged_table(found, key_of(7), key_of(7), down=True) is None


@pytest.mark.promise("P8")
def test_a_table_cut_short_is_named(database: Path) -> None:
    table = tables(database)[2]
    table.write_bytes(table.read_bytes()[:20])
    assert damaged_table(tables(database), b"", LAST, down=False) == table


@pytest.mark.promise("P8")
@pytest.mark.parametrize("reverse", [False, True])
def test_a_table_beside_the_range_that_a_read_stumbles_over_is_named(
    tmp_path: Path, reverse: bool
) -> None:
    path = tmp_path / "db"
    create_level_folder(path, OPTIONS)
    for start in (0, KEYS, 2 * KEYS):
        with opened(path) as folder:
            folder.write([(key_of(n), value_of(n)) for n in range(start, start + KEYS)])
    with opened(path):
        lower, _, upper = tables(path)
    table, edge = (lower, KEYS - 1) if reverse else (upper, 2 * KEYS)
    flip_byte(table, table.read_bytes().index(value_of(edge)[:12]))
    with opened(path) as folder, pytest.raises(DamagedData) as refused:
        folder.scan(key_of(KEYS), key_of(2 * KEYS), reverse=reverse)
    assert refused.value.path == str(table)
    assert str(refused.value).count(".ldb") == 1
