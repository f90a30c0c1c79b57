"""Who a storage is: lives, locks, copies and foreign folders."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from store_damage import cut, flip_byte, in_another_process

from zmqim.errors import AlreadyRunning, DamagedData, UsageError
from zmqim.ids import ClusterId
from zmqim.meta.record import BirthRecord, Genesis
from zmqim.raft.config import GroupConfig, Place
from zmqim.store.identity import complete_birth, open_node, read_birth, write_birth

CLUSTER = ClusterId(b"c" * 16)
OPEN = """
import os, sys
from pathlib import Path
from zlib import crc32
from zmqim.errors import ZmqimError
from zmqim.store.identity import open_node
try:
    print(open_node(Path(sys.argv[1]), b"c" * 16, os.urandom).incarnation)
except ZmqimError as error:
    print(error.what)
"""
BIRTH = BirthRecord(
    cluster_id=CLUSTER,
    node_uuids={"storage-1": b"n" * 16},
    ring_version=1,
    ring_hash=b"h" * 32,
    partitions=1,
    genesis=(
        Genesis(b"g" * 16, GroupConfig((Place(1, "storage-1", b"n" * 16),))),
        Genesis(b"k" * 16, GroupConfig((Place(2, "storage-1", b"n" * 16),))),
    ),
)


def test_an_empty_folder_gets_a_uuid_and_each_start_the_next_incarnation(tmp_path: Path) -> None:
    folder = tmp_path / "storage-1"
    first = open_node(folder, CLUSTER, os.urandom)
    assert (first.incarnation, first.is_new, len(first.node_uuid)) == (1, True, 16)
    first.lock.release()
    for incarnation in (2, 3):
        again = open_node(folder, CLUSTER, os.urandom)
        assert (again.node_uuid, again.incarnation, again.is_new) == (
            first.node_uuid,
            incarnation,
            False,
        )
        again.lock.release()


def test_the_incarnation_is_on_disk_before_it_is_used(tmp_path: Path) -> None:
    assert [in_another_process(OPEN, tmp_path) for _ in range(3)] == ["1", "2", "3"]


def test_a_folder_in_use_is_refused_to_this_and_to_other_processes(tmp_path: Path) -> None:
    node = open_node(tmp_path, CLUSTER, os.urandom)
    with pytest.raises(AlreadyRunning, match="in use"):
        open_node(tmp_path, CLUSTER, os.urandom)
    assert "in use" in in_another_process(OPEN, tmp_path)
    node.lock.release()
    assert in_another_process(OPEN, tmp_path) == "2"


def test_the_folder_of_another_cluster_is_refused(tmp_path: Path) -> None:
    open_node(tmp_path, ClusterId(b"d" * 16), os.urandom).lock.release()
    with pytest.raises(UsageError, match="another cluster"):
        open_node(tmp_path, CLUSTER, os.urandom)
    open_node(tmp_path, ClusterId(b"d" * 16), os.urandom).lock.release()


def test_a_copied_folder_is_refused_and_the_moved_original_is_not(tmp_path: Path) -> None:
    open_node(tmp_path / "a", CLUSTER, os.urandom).lock.release()
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    with pytest.raises(UsageError, match="is a copy"):
        open_node(tmp_path / "copy", CLUSTER, os.urandom)
    (tmp_path / "a").rename(tmp_path / "b")
    node = open_node(tmp_path / "b", CLUSTER, os.urandom)
    assert node.incarnation == 2
    node.lock.release()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_node_file_is_refused_and_left_as_it_is(tmp_path: Path, damage: str) -> None:
    open_node(tmp_path, CLUSTER, os.urandom).lock.release()
    path = tmp_path / "NODE"
    if damage == "flip":
        flip_byte(path, 40)
    else:
        cut(path, 0 if damage == "empty" else path.stat().st_size - 4)
    content = path.read_bytes()
    with pytest.raises(DamagedData, match="NODE"):
        open_node(tmp_path, CLUSTER, os.urandom)
    assert path.read_bytes() == content


def test_a_folder_with_data_but_without_node_is_refused(tmp_path: Path) -> None:
    open_node(tmp_path, CLUSTER, os.urandom).lock.release()
    (tmp_path / "raft").mkdir()
    (tmp_path / "NODE").unlink()
    with pytest.raises(UsageError, match="raft"):
        open_node(tmp_path, CLUSTER, os.urandom)
    assert not (tmp_path / "NODE").exists()


def test_a_first_start_cut_short_before_the_rename_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "node.lock").touch()
    (tmp_path / "NODE.tmp").write_bytes(b"half")
    node = open_node(tmp_path, CLUSTER, os.urandom)
    assert node.is_new
    node.lock.release()


def test_the_birth_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read_birth(tmp_path) is None
    write_birth(tmp_path, BIRTH)
    assert read_birth(tmp_path) == BIRTH


def test_the_birth_record_is_written_once(tmp_path: Path) -> None:
    write_birth(tmp_path, BIRTH)
    with pytest.raises(AssertionError, match="written once"):
        write_birth(tmp_path, BIRTH)


def test_a_birth_becomes_complete_and_says_nothing_else_anew(tmp_path: Path) -> None:
    write_birth(tmp_path, BIRTH)
    complete_birth(tmp_path, BIRTH)
    assert read_birth(tmp_path) == BIRTH.with_complete(True)
    complete_birth(tmp_path, BIRTH)
    other = msgspec.structs.replace(BIRTH, ring_version=2)
    with pytest.raises(AssertionError, match="never changed"):
        complete_birth(tmp_path, other)


def test_a_damaged_birth_record_is_refused_and_not_taken_for_a_first_start(tmp_path: Path) -> None:
    write_birth(tmp_path, BIRTH)
    flip_byte(tmp_path / "BIRTH", 30)
    with pytest.raises(DamagedData, match="BIRTH"):
        read_birth(tmp_path)
    cut(tmp_path / "BIRTH", 0)
    with pytest.raises(DamagedData, match="BIRTH"):
        read_birth(tmp_path)


@pytest.mark.parametrize("fields", [{}, {"format": 2}, {"format": 1, "node_uuid": "no hex"}, []])
def test_a_node_file_with_a_right_checksum_but_strange_content_is_refused(
    tmp_path: Path, fields: object
) -> None:
    line = json.dumps(fields).encode()
    for name in ("NODE", "BIRTH"):
        (tmp_path / name).write_bytes(b"%s\n%08x\n" % (line, crc32(line)))
    with pytest.raises(DamagedData, match="NODE"):
        open_node(tmp_path, CLUSTER, os.urandom)
    with pytest.raises(DamagedData, match="BIRTH"):
        read_birth(tmp_path)
