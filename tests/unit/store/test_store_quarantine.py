"""A storage that lost its journal sets its data aside and is a new node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from store_damage import in_another_process

from zmqim.errors import UsageError
from zmqim.ids import ClusterId
from zmqim.store.files import FileLock
from zmqim.store.identity import open_node
from zmqim.store.names import BIRTH_NAME, NODE_NAME
from zmqim.store.quarantine import finish_quarantine, quarantine

CLUSTER = ClusterId(b"c" * 16)
MOVED = {"NODE", "BIRTH", "raft", "state", "state.lock", "durable.mark"}
CRASHES = """
import os, sys
from pathlib import Path
from zmqim.store.quarantine import quarantine

left = int(sys.argv[2])

def watch(event, arguments):
    global left
    if event in ("os.mkdir", "os.rename"):
        left -= 1
        if left < 0:
            print("crashed", flush=True)
            os._exit(0)

sys.addaudithook(watch)
quarantine(Path(sys.argv[1]), "20261126T120000Z")
print("done")
"""


def old_node(folder: Path) -> bytes:
    """A folder as a storage leaves it; returns its node uuid."""
    node = open_node(folder, CLUSTER, os.urandom)
    node.lock.release()
    for name in ("raft/g000001", "state"):
        (folder / name).mkdir(parents=True)
        (folder / name / "CURRENT").write_text("data")
    for name in ("BIRTH", "durable.mark", "state.lock", "reserve"):
        (folder / name).write_text(name)
    return node.node_uuid


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_all_that_makes_the_old_node_moves_and_lock_and_reserve_stay(tmp_path: Path) -> None:
    old_node(tmp_path)
    place = quarantine(tmp_path, "20261126T120000Z")
    assert place == tmp_path / "quarantine" / "20261126T120000Z"
    assert names(place) == MOVED
    assert (place / "raft" / "g000001" / "CURRENT").read_text() == "data"
    assert names(tmp_path) == {"quarantine", "node.lock", "reserve"}


def test_afterwards_the_folder_is_empty_and_gets_another_uuid(tmp_path: Path) -> None:
    uuid = old_node(tmp_path)
    quarantine(tmp_path, "20261126T120000Z")
    for incarnation in (1, 2):
        node = open_node(tmp_path, CLUSTER, os.urandom)
        assert (node.incarnation, node.is_new) == (incarnation, incarnation == 1)
        assert node.node_uuid != uuid
        node.lock.release()


def test_two_quarantines_of_one_moment_lie_beside_each_other(tmp_path: Path) -> None:
    places = []
    for _ in range(3):
        old_node(tmp_path)
        places.append(quarantine(tmp_path, "20261126T120000Z").name)
    assert places == ["20261126T120000Z", "20261126T120000Z-2", "20261126T120000Z-3"]
    assert finish_quarantine(tmp_path) is None


@pytest.mark.promise("P8")
@pytest.mark.parametrize("finisher", ["second call", "next start"])
def test_a_crash_at_any_step_is_finished_and_the_old_node_never_starts_again(
    tmp_path: Path, finisher: str
) -> None:
    for step in range(30):
        folder = tmp_path / str(step)
        uuid = old_node(folder)
        crashed = in_another_process(CRASHES, folder, step) == "crashed"
        begun = (folder / "quarantine").exists() and names(folder / "quarantine")
        # Whoever still has NODE has BIRTH as well, so that a missing store is damage.
        assert NODE_NAME not in names(folder) or BIRTH_NAME in names(folder)
        if crashed and (finisher == "second call" or not begun):
            quarantine(folder, "20261126T130000Z")
        node = open_node(folder, CLUSTER, os.urandom)
        assert node.is_new
        assert node.node_uuid != uuid
        [place] = (folder / "quarantine").iterdir()
        assert names(place) == MOVED
        assert not place.name.endswith(".moving")
        node.lock.release()
        if not crashed:
            break
    assert step == len(MOVED) + 3  # two folders are made, and the last rename says that it is over


def test_without_its_marker_a_half_moved_folder_is_refused(tmp_path: Path) -> None:
    old_node(tmp_path)
    (tmp_path / NODE_NAME).unlink()
    with pytest.raises(UsageError, match="no NODE file"):
        open_node(tmp_path, CLUSTER, os.urandom)
    FileLock(tmp_path / "node.lock", tmp_path).release()
