"""Small files that must not be lost or half written, and the lock that keeps others away.

A file is replaced by writing a neighbour, syncing it, renaming it and syncing the folder, so a
crash at any moment leaves the old content or the new. Every error of the disk becomes `DiskError`:
the process ends rather than go on with a file of which it does not know what is stored.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zmqim.errors import AlreadyRunning, DiskError
from zmqim.store.names import TEMPORARY_SUFFIX


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` inside the block into a `DiskError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{path}: {error.strerror or error}",
            hint="Look at the disk (room, permissions, the kernel's log), then start again.",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the entries of `folder` durable: files created, renamed and removed in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of the file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_folder(folder: Path) -> None:
    """Make `folder` and its parents, durably."""
    with disk_errors(folder):
        missing = [folder, *folder.parents]
        for path in reversed([path for path in missing if not path.exists()]):
            path.mkdir(exist_ok=True)
            sync_folder(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Create or replace the file, durably."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with disk_errors(path), open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        os.rename(temporary, path)
        sync_folder(path.parent)


class FileLock:
    """An flock on a file of our own, held until `release` or the end of the process.

    It belongs to this one opening of the file: a second lock is refused in the same process as in
    any other, and closing other descriptors of the file does not drop it. LevelDB's own lock does
    neither, so no database is opened without one of these.
    """

    def __init__(self, path: Path, owned: Path) -> None:
        """Lock `path`; `owned` is what the operator is told is in use. Raises `AlreadyRunning`."""
        with disk_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise AlreadyRunning(
                f"{owned} is in use by another process.",
                hint="Stop that process first; two processes never share a data folder.",
            ) from None

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
