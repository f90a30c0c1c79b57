"""How the journal knows how long a log is: from its runs, and from extents that runs do not say."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_opening import Opener, journal_opener

from zmqim.errors import DamagedData, UsageError
from zmqim.limits import MB
from zmqim.store.interface import Extent, JournalBatch
from zmqim.store.journal import LevelJournal
from zmqim.store.keys import entry_key
from zmqim.store.rows import open_rows


@pytest.fixture
def raft(tmp_path: Path) -> Iterator[Path]:
    """The journal's folder, in memory where there is one: nothing here is about syncs."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder) / "raft"


@pytest.fixture
def open_raft(raft: Path) -> Iterator[Opener]:
    """Open the journal, closing it first; the end of the test closes it."""
    with journal_opener(raft, MB) as opener:
        yield opener


def bodies(partition: int, first: int, last: int, life: int = 0) -> list[bytes]:
    return [b"%d %d %d" % (partition, index, life) for index in range(first, last + 1)]


def append(journal: LevelJournal, partition: int, extent: Extent, life: int = 0) -> None:
    """Write the entries after what is alive up to `extent.last`, in batches of ten."""
    loaded = journal.load().get(partition)
    alive = loaded.extent.last if loaded and loaded.extent else extent.first - 1
    while alive < extent.last:
        top = min(alive + 10, extent.last)
        write(journal, partition, extent.up_to(top), top - alive, life)
        alive = top


def write(
    journal: LevelJournal, partition: int, extent: Extent, new: int = 0, life: int = 0
) -> None:
    """Write a batch with that extent, the last `new` entries of which are in it."""
    first = extent.last - new + 1
    entries = {partition: bodies(partition, first, extent.last, life)} if new else {}
    journal.write(JournalBatch(entries, {partition: extent}))


def extents_said(folder: Path) -> dict[int, tuple[int, int]]:
    """First and last in the extent rows of a closed generation."""
    rows = open_rows(folder)
    found = rows.scan(b"E", b"F")
    rows.close()
    return {
        int.from_bytes(key[1:], "big"): (
            int.from_bytes(body[:8], "big"),
            int.from_bytes(body[8:16], "big"),
        )
        for key, body in found
    }


def test_a_batch_in_which_logs_only_grow_says_so_by_its_runs(raft: Path, open_raft: Opener) -> None:
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 50, 0, 0))
    append(journal, 1, Extent(7, 16, 4, 5))
    journal.write(JournalBatch(extents={1: Extent(7, 16, 4, 5)}, hard_states={1: b"vote"}))
    assert journal.load()[0].extent == Extent(1, 50, 0, 0)
    journal.close()
    assert extents_said(raft / "g000001") == {0: (1, 10), 1: (7, 16)}
    journal = open_raft(generation_bytes=1)
    assert journal.load()[0].extent == Extent(1, 50, 0, 0)
    append(journal, 0, Extent(1, 60, 0, 0))
    journal.close()
    assert extents_said(raft / "g000002") == {0: (1, 50), 1: (7, 16)}
    assert open_raft().load()[0].extent == Extent(1, 60, 0, 0)


CHANGES = {
    "a conflict": (Extent(1, 30, 0, 0), 0),
    "a conflict and other entries, fewer": (Extent(1, 25, 0, 0), 5),
    "a conflict and other entries, as many": (Extent(1, 40, 0, 0), 5),
    "a conflict and other entries, more": (Extent(1, 45, 0, 0), 10),
    "all entries gone": (Extent(1, 0, 0, 0), 0),
    "another replica": (Extent(1, 3, 0, 0), 3),
    "another replica with a longer log": (Extent(1, 45, 0, 0), 45),
    "the beginning forgotten": (Extent(15, 40, 0, 0), 0),
    "everything forgotten": (Extent(41, 40, 0, 0), 0),
    "the beginning forgotten while it grows": (Extent(15, 43, 0, 0), 3),
    "another base term": (Extent(1, 40, 8, 0), 0),
    "another base chain while it grows": (Extent(1, 43, 0, 8), 3),
    "a snapshot inside": (Extent(21, 20, 9, 77), 0),
    "a snapshot that keeps what follows": (Extent(21, 40, 9, 77), 0),
    "a snapshot of the last entry": (Extent(41, 40, 9, 77), 0),
    "a snapshot beyond the end": (Extent(501, 500, 9, 77), 0),
    "a snapshot beyond the end, and entries": (Extent(501, 503, 9, 77), 3),
}


@pytest.mark.parametrize("rolls", ["never", "before", "between", "always"])
@pytest.mark.parametrize("what", CHANGES)
def test_however_an_extent_changes_it_is_the_same_when_the_journal_is_opened_again(
    open_raft: Opener, what: str, rolls: str
) -> None:
    """The log grows before and after the change; `rolls` says where generations begin."""
    extent, new = CHANGES[what]
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 40, 0, 0))
    append(journal, 1, Extent(1, 5, 0, 0))
    journal = open_raft(generation_bytes=1 if rolls in ("before", "always") else MB)
    write(journal, 0, extent, new, life=1)
    kept = bodies(0, extent.first, extent.last - new)
    kept += bodies(0, extent.last - new + 1, extent.last, life=1)
    for generation_bytes in (1 if rolls in ("between", "always") else MB, MB):
        journal = open_raft(generation_bytes=generation_bytes)
        assert journal.load()[0].extent == extent
        assert journal.read(0, extent.first, extent.last, MB) == kept
        top = extent.last + 3
        kept += bodies(0, extent.last + 1, top, life=2)
        extent = extent.up_to(top)
        append(journal, 0, extent, life=2)
        append(journal, 1, Extent(1, 20, 0, 0))
    journal = open_raft()
    assert journal.load()[0].extent == extent
    assert journal.read(0, extent.first, extent.last, MB) == kept
    assert journal.read(1, 1, 20, MB) == bodies(1, 1, 20)


def test_other_entries_in_several_runs_of_which_one_begins_behind_the_old_end(
    open_raft: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the first run that says whether a log only grew."""
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 40, 0, 0))
    new = bodies(0, 36, 45, life=1)
    monkeypatch.setattr("zmqim.store.keys.RUN_BYTES_MAX", sum(map(len, new[:5])))
    write(journal, 0, Extent(1, 45, 0, 0), 10, life=1)
    assert journal.read(0, 1, 45, MB) == bodies(0, 1, 35) + new
    journal = open_raft()
    assert journal.load()[0].extent == Extent(1, 45, 0, 0)
    assert journal.read(0, 1, 45, MB) == bodies(0, 1, 35) + new


def test_a_conflict_that_is_too_long_to_be_cut_begins_a_generation_that_says_where_it_ends(
    raft: Path, open_raft: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmqim.store.journal.CUT_BYTES_MAX", 100)
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 60, 0, 0))
    write(journal, 0, Extent(1, 20, 0, 0))
    journal.close()
    assert extents_said(raft / "g000002") == {0: (1, 20)}
    journal = open_raft()
    append(journal, 0, Extent(1, 25, 0, 0), life=1)
    assert open_raft().load()[0].extent == Extent(1, 25, 0, 0)


@pytest.mark.parametrize("run", [b"", b"\0\0\0\x02ab\0\0", b"\0\0\0\x02ab\0\0\0\x09short"])
def test_a_last_run_whose_end_cannot_be_told_is_damage(
    raft: Path, open_raft: Opener, run: bytes
) -> None:
    journal = open_raft(create=True)
    append(journal, 0, Extent(1, 15, 0, 0))
    journal.close()
    rows = open_rows(raft / "g000001")
    rows.write([(entry_key(0, 11), run)])
    rows.close()
    with pytest.raises(DamagedData, match=r"wrong run of entries|lacks entry 11 of partition 0"):
        open_raft()


def test_the_journal_of_an_earlier_layout_is_refused_and_stays_as_it_is(
    raft: Path, open_raft: Opener
) -> None:
    append(open_raft(create=True), 0, Extent(1, 20, 0, 0))
    open_raft().close()
    marker = raft / "g000001" / "CLEAN"
    marker.write_bytes(b"leveldb 2\n")
    files = {path.name for path in marker.parent.iterdir()}
    with pytest.raises(UsageError, match="another version of zmqim: it says 'leveldb 2'"):
        open_raft()
    assert {path.name for path in marker.parent.iterdir()} == files
    assert [path.name for path in raft.iterdir() if path.is_dir()] == ["g000001"]
