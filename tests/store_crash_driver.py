"""Crashes a journal at every step that it does with files, and looks at what is left.

Run as a program with an empty folder as argument; prints the number of crashes. Each life is a
forked child (this process itself never opens LevelDB, so forking is sound). An audit hook ends the
child at its n-th call that opens, renames, creates or removes a file of the journal.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from zmqim.store.interface import Extent, JournalBatch
from zmqim.store.journal import LevelJournal, open_journal

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
BATCHES = 45
CRASHED = 9


def body_of(partition: int, index: int) -> bytes:
    return b"%d/%d " % (partition, index) + b"x" * 300


def open_raft(folder: Path) -> LevelJournal:
    return open_journal(
        folder / "raft", create=True, generation_bytes=8 * 1024, write_buffer_bytes=64 * 1024
    )


def last_of(journal: LevelJournal, partition: int) -> int:
    loaded = journal.load().get(partition)
    return loaded.extent.last if loaded and loaded.extent else 0


Log = tuple[Extent, dict[int, bytes]]
"""The extent and the living entries."""


def changing_log(number: int) -> Log:
    """What partition 3 holds after batch `number`: it grows, conflicts, is reset by snapshots."""
    extent, entries = Extent(1, 0, 0, 0), {}
    for step in range(number + 1):
        first, last, base, _ = extent.fields
        if step % 5 == 4:
            last = max(first - 1, last - 3)
        if step % 11 == 10:
            last += 7 if step % 2 else -2
            first, base = last + 1, step
        added = {index: b"%d: " % step + body_of(3, index) for index in (last + 1, last + 2)}
        extent = Extent(first, last + 2, base, base)
        entries = {i: body for i, body in (entries | added).items() if first <= i <= last + 2}
    return extent, entries


def write_all(folder: Path, acknowledged: int) -> None:
    """Append to a busy, an idle and a changing partition; acknowledge each batch on the pipe."""
    journal = open_raft(folder)
    for number in range(BATCHES):
        busy = last_of(journal, 1)
        entries = {1: [body_of(1, index) for index in (busy + 1, busy + 2)]}
        extents = {1: Extent(max(1, busy - 10), busy + 2, 0, 0)}
        if number < 3:
            idle = last_of(journal, 2)
            entries[2] = [body_of(2, idle + 1)]
            extents[2] = Extent(1, idle + 1, 0, 0)
        extents[3], changing = changing_log(number)
        entries[3] = [changing[index] for index in sorted(changing)[-2:]]
        journal.write(JournalBatch(entries, extents, hard_states={5: b"%d" % number}))
        os.write(acknowledged, b"%d %d %d\n" % (extents[1].last, last_of(journal, 2), number))
    journal.close()


def crash_at(step: int, folder: Path) -> None:
    """From now on, end this process at its `step`-th step with a file under `folder`."""
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in STEPS and str(folder) in str(arguments[0]):
            seen += 1
            if seen == step:
                os._exit(CRASHED)

    sys.addaudithook(watch)


def life(step: int, folder: Path) -> tuple[bool, bytes]:
    """One child: whether it crashed, and what it acknowledged."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        crash_at(step, folder)
        write_all(folder, writer)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        acknowledged = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, CRASHED), f"step {step}: exit code {code}"
    return code == CRASHED, acknowledged


def check(folder: Path, acknowledged: bytes) -> None:
    """In a child: all that was acknowledged is there, and the log can be continued."""
    child = os.fork()
    if child == 0:
        journal = open_raft(folder)
        lines = acknowledged.splitlines()
        busy, idle, number = map(int, lines[-1].split()) if lines else (0, 0, 0)
        extent = journal.load()[1].extent if lines else None
        if extent:
            assert busy <= extent.last <= busy + 2
            found = journal.read(1, extent.first, extent.last, 2**30)
            assert found == [body_of(1, i) for i in range(extent.first, extent.last + 1)]
            assert journal.read(2, 1, idle, 2**30) == [body_of(2, i) for i in range(1, idle + 1)]
            changed = journal.load()[3].extent
            assert changed
            entries = journal.read(3, changed.first, changed.last, 2**30)
            assert (changed, entries) in [
                (expected, list(living.values()))
                for expected, living in map(changing_log, (number, number + 1))
            ]
        journal.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"after {acknowledged[-20:]!r}"


def main() -> None:
    """Crash at step 1, 2, 3 and so on, each time on a new folder, until a life ends by itself."""
    step, crashed = 0, True
    while crashed:
        step += 1
        folder = Path(sys.argv[1]) / str(step)
        folder.mkdir()
        crashed, acknowledged = life(step, folder)
        check(folder, acknowledged)
    print(step - 1)


if __name__ == "__main__":
    main()
