"""The real stores on a disk that forgets at a power cut what was not synced.

First the disk's own rule, then LevelDB's, which the memory stores follow too, then our stores: cut
at any change of any file, what was acknowledged is there, and a store that does not sync is found.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import plyvel
import pytest
from power_cut import SECTOR_BYTES, PowerCutDisk

from zmqim.errors import DamagedData, ZmqimError
from zmqim.ids import ClusterId
from zmqim.limits import KB, TEST_WRITE_BUFFER_BYTES
from zmqim.store import leveldb
from zmqim.store.identity import open_node
from zmqim.store.interface import End, Extent, Journal, JournalBatch, Rows
from zmqim.store.journal import open_journal
from zmqim.store.mark import DurableMark
from zmqim.store.memory import MemoryJournal, MemoryRowStore
from zmqim.store.quarantine import quarantine
from zmqim.store.rows import open_rows

pytestmark = pytest.mark.needs_fuse

PARTITIONS = 3
CUTS = 25
CLUSTER = ClusterId(b"c" * 16)


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PowerCutDisk]:
    disk = PowerCutDisk(tmp_path_factory.mktemp("disk"))
    yield disk
    disk.close()


@pytest.fixture
def disk(mounted: PowerCutDisk) -> PowerCutDisk:
    """The disk with everything that earlier tests left on it removed, durably."""
    mounted.cut(0)
    for path in sorted(mounted.folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    sync(mounted.folder)
    return mounted


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


# ---- the disk ----------------------------------------------------------------------------------


def test_only_its_own_fsync_makes_content_durable_and_a_prefix_may_survive(
    disk: PowerCutDisk,
) -> None:
    file, other = disk.folder / "file", disk.folder / "other"
    found = set()
    for seed in range(40):
        file.write_bytes(b"synced")
        sync(file)
        with file.open("ab") as appending:
            appending.write(b" not synced")
        other.write_bytes(b"other")
        sync(other)
        disk.cut(seed)
        assert other.read_bytes() == b"other"
        found.add(file.read_bytes())
    assert {b"synced", b"synced not synced"} < found, found
    assert all(b"synced not synced".startswith(content) for content in found)


def test_names_change_in_order_and_become_durable_with_any_fsync(disk: PowerCutDisk) -> None:
    found = set()
    for seed in range(40):
        folder = disk.folder / str(seed)
        folder.mkdir()
        (folder / "synced").write_bytes(b"content")
        sync(folder / "synced")
        (folder / "1").touch()
        (folder / "2").mkdir()
        (folder / "1").rename(folder / "2" / "3")
        (folder / "synced").unlink()
        disk.cut(seed)
        found.add(tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))))
    assert found == {
        ("synced",),
        ("1", "synced"),
        ("1", "2", "synced"),
        ("2", "2/3", "synced"),
        ("2", "2/3"),
    }


def test_a_file_that_is_renamed_without_a_sync_can_be_empty(disk: PowerCutDisk) -> None:
    found = set()
    for seed in range(20):
        (disk.folder / "new").write_bytes(b"new")
        (disk.folder / "new").rename(disk.folder / "file")
        sync(disk.folder)
        disk.cut(seed)
        found.add((disk.folder / "file").read_bytes())
    assert {b"", b"new"} <= found


def test_older_bytes_are_torn_at_sectors_only(disk: PowerCutDisk) -> None:
    file = disk.folder / "file"
    found = set()
    for seed in range(40):
        file.write_bytes(b"a" * 4 * SECTOR_BYTES)
        sync(file)
        with file.open("r+b") as writing:
            writing.write(b"b" * 4 * SECTOR_BYTES)
        disk.cut(seed)
        content = file.read_bytes()
        found.add(content.count(b"b"))
        assert content == content.replace(b"a", b"").ljust(len(content), b"a")
    assert {0, 4 * SECTOR_BYTES} < found
    assert all(count % SECTOR_BYTES == 0 for count in found)


def test_when_the_power_fails_nothing_works_until_the_cut(disk: PowerCutDisk) -> None:
    disk.fail_after(2)
    (disk.folder / "1").touch()
    (disk.folder / "2").touch()
    with pytest.raises(OSError, match="Input/output"):
        (disk.folder / "3").touch()
    with pytest.raises(OSError, match="Input/output"):
        list(disk.folder.iterdir())
    assert disk.is_off
    disk.cut(1)
    (disk.folder / "3").touch()


# ---- LevelDB -----------------------------------------------------------------------------------


def lost_under_later_rows(found: set[int], log_of: list[object], synced: int) -> bool:
    """Check LevelDB's rule: what is lost is a suffix of each of the last two logs, and nothing up
    to the synced row within its own log. True if something before that row is lost all the same.
    """
    logs = list(dict.fromkeys(log_of))
    for log in logs:
        written = [number for number, each in enumerate(log_of) if each == log]
        kept = [number for number in written if number in found]
        assert kept == written[: len(kept)]
        assert log in logs[-2:] or kept == written
    assert synced in found
    return any(number not in found for number in range(synced))


def test_leveldb_loses_a_suffix_of_each_of_its_last_two_logs(disk: PowerCutDisk) -> None:
    losses = 0
    for seed in range(12):
        path = disk.folder / str(seed)
        database = plyvel.DB(
            str(path),
            create_if_missing=True,
            compression=None,
            write_buffer_size=TEST_WRITE_BUFFER_BYTES,
        )
        log_of: list[object] = []
        while len(set(log_of)) < 3:
            database.put(b"%04d" % len(log_of), bytes(1_000))
            log_of.append(max(name for name in os.listdir(path) if name.endswith(".log")))
        # The older log's rows are still on their way into a table when a row behind them is synced.
        database.put(b"%04d" % len(log_of), bytes(1_000), sync=True)
        disk.fail_after(0)
        log_of.append(log_of[-1])
        database.close()
        disk.cut(seed)
        database = plyvel.DB(str(path), create_if_missing=False, paranoid_checks=True)
        found = {int(key) for key, _ in database}
        database.close()
        losses += lost_under_later_rows(found, log_of, len(log_of) - 1)
    assert losses, "a synced row says nothing about rows in an older log"


def test_the_memory_store_loses_as_leveldb_does() -> None:
    losses = 0
    for seed in range(50):
        store = MemoryRowStore(synced=False)
        log_of: list[object] = []
        while len(set(log_of)) < 3:
            store.write([(b"%04d" % len(log_of), bytes(1_000))])
            log_of.append(id(store._current))
        store._synced = True
        store.write([(b"%04d" % len(log_of), bytes(1_000))])
        log_of.append(id(store._current))
        store.crash(Random(seed))
        found = {int(key) for key, _ in store.scan(b"", b"z")}
        losses += lost_under_later_rows(found, log_of, len(log_of) - 1)
    assert losses


# ---- our stores --------------------------------------------------------------------------------


class LostData(AssertionError):
    """Something that was acknowledged is not there."""


@dataclass
class Witnessed:
    """What the stores acknowledged, and what they were writing when the power failed."""

    random: Random
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    journal_then: MemoryJournal = field(default_factory=MemoryJournal)
    rows: MemoryRowStore = field(default_factory=MemoryRowStore)
    rows_then: MemoryRowStore = field(default_factory=MemoryRowStore)
    ends: dict[int, End] = field(default_factory=dict)
    number: int = 0

    def next_batch(self) -> tuple[JournalBatch, dict[int, End]]:
        """Logs that grow, conflict, forget their beginning and are reset by snapshots."""
        batch = JournalBatch(hard_states={self.number % 5: b"%d" % self.number})
        for partition in self.random.sample(range(PARTITIONS), self.random.randint(1, PARTITIONS)):
            loaded = self.journal.load().get(partition)
            old = loaded.extent if loaded and loaded.extent else Extent()
            term = self.ends.get(partition, (1, 0))[0]
            first, last = old.first, old.last
            match self.random.randrange(8):
                case 0:
                    last, term = max(first - 1, last - self.random.randint(1, 20)), term + 1
                case 1:
                    last = max(0, last + self.random.randint(-20, 20))
                    first, term = last + 1, self.random.randint(1, term)
                case 2:
                    first = self.random.randint(first, last + 1)
            top = last + self.random.randint(1, 12)
            body = b"%d " % self.number * 20
            batch.entries[partition] = [body] * (top - last)
            batch.extents[partition] = Extent(first, top, 0, term)
        ends = {p: (extent.base_chain, extent.last) for p, extent in batch.extents.items()}
        batch.lowered = {p: end for p, end in ends.items() if end < self.ends.get(p, (0, 0))}
        return batch, ends

    def next_rows(self) -> Rows:
        keys = [b"%03d" % self.random.randrange(200) for _ in range(5)]
        return [(key, self.random.choice((None, b"%d " % self.number * 300))) for key in keys]


class OpenStores:
    """Journal, mark and rows of one life."""

    def __init__(self, folder: Path, *, create: bool) -> None:
        self.mark = DurableMark(folder / "durable.mark", PARTITIONS, create=create)
        try:
            self.journal = open_journal(
                folder / "raft",
                create=create,
                generation_bytes=16 * KB,
                write_buffer_bytes=TEST_WRITE_BUFFER_BYTES,
            )
        except ZmqimError:
            self.mark.close()
            raise
        try:
            self.rows = open_rows(
                folder / "state", create=create, write_buffer_bytes=TEST_WRITE_BUFFER_BYTES
            )
        except ZmqimError:
            self.mark.close()
            self.journal.close()
            raise

    def close(self) -> None:
        self.mark.close()
        self.journal.close()
        self.rows.close()


def contents(journal: Journal) -> object:
    extents = {p: each.extent for p, each in journal.load().items() if each.extent}
    return journal.load(), [
        journal.read(p, extent.first, extent.last, 2**30) for p, extent in extents.items()
    ]


def write_until_the_power_fails(stores: OpenStores, told: Witnessed) -> None:
    """Turns of a storage; `told` is what the world heard of."""
    while True:
        told.number += 1
        batch, ends = told.next_batch()
        told.journal_then = copy.deepcopy(told.journal)
        told.journal_then.write(batch)
        stores.mark.announce(ends, batch.lowered)
        stores.journal.write(batch)
        told.journal = told.journal_then
        told.ends |= ends
        stores.mark.note(ends)
        if told.number % 7 == 0:
            stores.mark.sync()
        rows = told.next_rows()
        told.rows_then = copy.deepcopy(told.rows)
        told.rows_then.write(rows)
        stores.rows.write(rows)
        told.rows = told.rows_then


def check(stores: OpenStores, told: Witnessed) -> None:
    """All that was acknowledged is there, and besides at most what was being written."""
    found = contents(stores.journal)
    if found not in (contents(told.journal), contents(told.journal_then)):
        raise LostData("the journal is not what was acknowledged")
    if found == contents(told.journal_then):
        told.journal = told.journal_then
    extents = {p: each.extent for p, each in told.journal.load().items() if each.extent}
    told.ends = {p: (extent.base_chain, extent.last) for p, extent in extents.items()}
    stores.mark.check(told.ends, {})
    everything = stores.rows.scan(b"", b"z")
    for rows in (told.rows_then, told.rows):
        if everything == rows.scan(b"", b"z"):
            told.rows = rows
            return
    raise LostData("the rows are not what was acknowledged")


def live_through_cuts(disk: PowerCutDisk, cuts: int, seed: int) -> int:
    """Lives of stores on the disk, each ended by a cut; returns how many batches were written."""
    told = Witnessed(Random(seed))
    born = False
    for life in range(cuts):
        disk.fail_after(told.random.randint(20, 300))
        stores = None
        try:
            stores = OpenStores(disk.folder, create=not born)
            check(stores, told)
            born = True
            write_until_the_power_fails(stores, told)
        except (ZmqimError, OSError):
            if not disk.is_off:
                raise
        finally:
            if stores is not None:
                stores.close()
        disk.cut(seed * 1_000 + life)
    stores = OpenStores(disk.folder, create=not born)
    try:
        check(stores, told)
    finally:
        stores.close()
    return told.number


@pytest.mark.promise("P1")
@pytest.mark.parametrize("seed", [1, 2])
def test_what_the_stores_acknowledged_survives_a_power_cut_at_any_change(
    disk: PowerCutDisk, seed: int
) -> None:
    assert live_through_cuts(disk, CUTS, seed) > CUTS


class UnsyncedDatabase:
    """LevelDB that takes a sync for a wish."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def write_batch(self, sync: bool) -> Any:
        return self._database.write_batch(sync=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


@pytest.mark.plain_source
def test_stores_that_do_not_sync_are_found_by_the_same_check(
    disk: PowerCutDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = leveldb._open
    monkeypatch.setattr(
        leveldb, "_open", lambda *words, **options: UnsyncedDatabase(opened(*words, **options))
    )
    with pytest.raises((LostData, DamagedData)):
        live_through_cuts(disk, CUTS, seed=1)


def test_a_first_start_that_is_cut_anywhere_is_made_again(disk: PowerCutDisk) -> None:
    steps, complete = 0, False
    while not complete:
        steps += 7
        folder = disk.folder / str(steps)
        disk.fail_after(steps)
        try:
            node = open_node(folder, CLUSTER, os.urandom)
            node.lock.release()
            OpenStores(folder, create=True).close()
            complete = not disk.is_off
        except (ZmqimError, OSError):
            assert disk.is_off
        disk.cut(steps)
        open_node(folder, CLUSTER, os.urandom).lock.release()
        OpenStores(folder, create=True).close()
        OpenStores(folder, create=False).close()
    assert steps > 40


def test_an_incarnation_is_never_given_twice_whatever_a_cut_takes(disk: PowerCutDisk) -> None:
    told = 0
    for steps in range(40):
        disk.fail_after(steps % 8)
        try:
            node = open_node(disk.folder / "data", CLUSTER, os.urandom)
            assert node.incarnation > told
            told = node.incarnation
            node.lock.release()
        except (ZmqimError, OSError):
            assert disk.is_off
        disk.cut(steps)
    assert told > 10


@pytest.mark.promise("P8")
def test_a_quarantine_that_is_cut_anywhere_never_leaves_the_old_node(disk: PowerCutDisk) -> None:
    steps, complete = 0, False
    while not complete:
        folder = disk.folder / str(steps)
        old = open_node(folder, CLUSTER, os.urandom)
        old.lock.release()
        OpenStores(folder, create=True).close()
        (folder / "BIRTH").write_text("born")
        sync(folder / "BIRTH")
        disk.fail_after(steps)
        try:
            quarantine(folder, "20261126T120000Z")
            complete = not disk.is_off
        except (ZmqimError, OSError):
            assert disk.is_off
        disk.cut(steps)
        node = open_node(folder, CLUSTER, os.urandom)
        node.lock.release()
        untouched = {"NODE", "BIRTH", "raft", "state", "durable.mark"}
        if node.node_uuid == old.node_uuid:
            assert untouched <= {path.name for path in folder.iterdir()}
        else:
            moved = {path.parent.parent.name for path in folder.glob("quarantine/*/*")}
            assert moved == {"quarantine"}
            assert not untouched - {"NODE"} & {path.name for path in folder.iterdir()}
        steps += 1
    assert steps > 10
