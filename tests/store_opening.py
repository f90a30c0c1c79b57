"""Opens a journal again and again, as a test of what comes back needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zmqim.limits import TEST_WRITE_BUFFER_BYTES
from zmqim.store.journal import LevelJournal, open_journal

Opener = Callable[..., LevelJournal]
"""``opener(create=False, generation_bytes=…)``: the journal, of which earlier ones are closed."""


@contextmanager
def journal_opener(raft: Path, generation_bytes: int) -> Iterator[Opener]:
    """Opens the journal in `raft`, closing it first; `generation_bytes` unless it is told others.
    The end closes it."""
    opened: list[LevelJournal] = []
    usual = generation_bytes

    def opener(*, create: bool = False, generation_bytes: int = usual) -> LevelJournal:
        for before in opened:
            before.close()
        opened.append(
            open_journal(
                raft,
                create=create,
                generation_bytes=generation_bytes,
                write_buffer_bytes=TEST_WRITE_BUFFER_BYTES,
            )
        )
        return opened[-1]

    yield opener
    for journal in opened:
        journal.close()
