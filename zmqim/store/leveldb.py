"""One LevelDB folder, opened so that it cannot lie: the only module that imports plyvel.

What LevelDB and plyvel do by default loses data without a word (docs/STORAGE.md lists what was
measured). So every value carries a frame with its own checksum over key and body, every read
verifies LevelDB's checksums too, ranges are read with `raw_iterator` because `iterator` ends early
on damage without an error, folders are created only by `create_level_folder` and never by opening,
and the folder is guarded by our own lock. After an error of a write the handle is poisoned:
LevelDB would append behind the torn record and go on acknowledging.

A value is framed as ``version u8 | flags u8 | body | crc32 u32 little-endian``.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import plyvel
from zlib_ng.zlib_ng import crc32

from zmqim.errors import AlreadyRunning, DamagedData, DiskError, UsageError, ZmqimError
from zmqim.store.damage import damaged, file_in, file_of_failed_opening, files_around
from zmqim.store.files import (
    FileLock,
    create_folder,
    disk_errors,
    sync_file,
    sync_folder,
    write_file,
)
from zmqim.store.interface import Rows
from zmqim.store.tables import damaged_table

CLEAN_NAME: Final = "CLEAN"
"""Written into a folder once everything that creating made is durable."""
CLEAN_CONTENT: Final = b"leveldb 3\n"
"""Engine and layout version."""
_LAYOUT: Final = re.compile(rb"leveldb \d+\n")
FRAME_HEADER: Final = b"\x01\x00"
"""Version 1, no flags."""
FRAME_BYTES: Final = 6
CRC_RESIDUE: Final = 0x2144DF1C
"""crc32 of any bytes followed by their own crc32 in little-endian order."""
BLOCK_BYTES: Final = 4096
TABLE_BYTES: Final = 8 * 1024 * 1024
_ABOVE_KEYS: Final = b"\xff" * 16
REMOVED_BYTES = TABLE_BYTES
"""Removed from a dead folder in one step: some 3 ms of a journalling file system. (Tests set it, so
it is not `Final`: compiled code would not see that.)"""


@dataclass(frozen=True, slots=True)
class LevelOptions:
    """What differs between the stores; everything else is the same for all."""

    write_buffer_bytes: int
    bloom_bits: int
    cache_bytes: int
    open_files_max: int


def is_created(path: Path) -> bool:
    """Whether `create_level_folder` once finished for the folder."""
    return (path / CLEAN_NAME).exists()


def create_level_folder(path: Path, options: LevelOptions) -> None:
    """Create an empty database, durably; the CLEAN marker is the last step.

    Leftovers of a creation that did not reach the marker are removed. A finished folder is never
    touched: to ask for it is a mistake of the caller.
    """
    assert not is_created(path), f"{path} was created before"
    create_folder(path.parent)
    lock = _lock(path)
    try:
        with disk_errors(path):
            if path.exists():
                shutil.rmtree(path)
        _open(path, options, create=True).close()
        with disk_errors(path):
            for file in sorted(path.iterdir()):
                if file.name != "LOCK":
                    sync_file(file)
        write_file(path / CLEAN_NAME, CLEAN_CONTENT)
        with disk_errors(path):
            sync_folder(path.parent)
    finally:
        lock.release()


def set_dead(path: Path) -> Path:
    """Give a closed database up for good: durably another name, ``.dead``, that is never opened."""
    dead = path.with_name(path.name + ".dead")
    with disk_errors(path):
        os.rename(path, dead)
        sync_folder(path.parent)
        _lock_path(path).unlink(missing_ok=True)
    return dead


def remove_some(dead: Path) -> bool:
    """Remove REMOVED_BYTES of a dead folder at most, as that takes its time; is it gone now?"""
    with disk_errors(dead):
        file = next(dead.iterdir(), None)
        if file is None:
            dead.rmdir()
            return True
        size = file.stat().st_size
        if size > REMOVED_BYTES:
            os.truncate(file, size - REMOVED_BYTES)
        else:
            file.unlink()
        return False


class LevelFolder:
    """An open LevelDB folder: rows read, scanned and written in synced batches.

    It serves one process and one thread. A forked child must not write: LevelDB has no background
    thread there and hangs for ever at the next memtable.
    """

    def __init__(self, path: Path, options: LevelOptions) -> None:
        """Open what `create_level_folder` made.

        Raises `DamagedData`, `AlreadyRunning`, or `UsageError` if another version made it.
        """
        if not is_created(path):
            raise damaged(path, f"is blank or half made: it has no {CLEAN_NAME} marker")
        _check_layout(path)
        if not (path / "CURRENT").exists():
            raise damaged(path / "CURRENT", "is missing")
        self.path = path
        self._broken: str | None = None
        self._pid = os.getpid()
        self._lock = _lock(path)
        try:
            self._database = _open(path, options, create=False)
        except ZmqimError:
            self._lock.release()
            raise
        self._get = self._database.get
        self._snapshots: list[LevelSnapshot] = []

    def get(self, key: bytes) -> bytes | None:
        """Body of the row, or None if there is none."""
        if self._broken is not None:
            raise self._given_up()
        try:
            framed: bytes | None = self._get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise self._unreadable(error, key, key, reverse=False) from error
        if framed is None:
            return None
        if crc32(framed, crc32(key)) != CRC_RESIDUE or framed[:2] != FRAME_HEADER:
            raise self._bad_row(key)
        return framed[2:-4]

    def scan(
        self,
        start: bytes,
        stop: bytes,
        *,
        reverse: bool = False,
        limit: int | None = None,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows with `start` <= key < `stop`: at most `limit`, or until `bytes_max` is reached."""
        return self.scan_in(self._database, start, stop, reverse, limit, bytes_max)

    def snapshot(self) -> LevelSnapshot:
        """A view of the rows of now. It keeps old rows on the disk until it is closed."""
        if self._broken is not None:
            raise self._given_up()
        self._snapshots.append(LevelSnapshot(self, self._database.snapshot()))
        return self._snapshots[-1]

    def forget(self, snapshot: LevelSnapshot) -> None:
        """Called by the snapshot that was closed."""
        self._snapshots.remove(snapshot)

    def scan_in(
        self,
        view: Any,
        start: bytes,
        stop: bytes,
        reverse: bool,
        limit: int | None,
        bytes_max: int | None,
    ) -> list[tuple[bytes, bytes]]:
        """`scan` in plyvel's database or in one of its snapshots."""
        if self._broken is not None:
            raise self._given_up()
        left = -1 if limit is None else limit
        room = -1 if bytes_max is None else bytes_max
        found: list[tuple[bytes, bytes]] = []
        if start >= stop or left == 0:
            return found
        iterator = view.raw_iterator(verify_checksums=True)
        step = iterator.prev if reverse else iterator.next
        try:
            _position(iterator, start, stop, reverse)
            while iterator.valid():
                key = iterator.key()
                if key < start or key >= stop:
                    break
                framed = iterator.value()
                if crc32(framed, crc32(key)) != CRC_RESIDUE or framed[:2] != FRAME_HEADER:
                    raise self._bad_row(key)
                found.append((key, framed[2:-4]))
                left -= 1
                if room >= 0:
                    room = max(0, room - len(framed) + 6)
                if left == 0 or room == 0:
                    break
                step()
        except plyvel.Error as error:
            last = found[-1][0] if found else None
            low, high = (start, last or stop) if reverse else (last or start, stop)
            raise self._unreadable(error, low, high, reverse=reverse) from error
        finally:
            iterator.close()
        return found

    def write(self, rows: Rows) -> None:
        """Write all rows or none; durable when it returns. An error poisons the handle."""
        if self._broken is not None:
            raise self._given_up()
        assert os.getpid() == self._pid, "a forked process must not write to LevelDB"
        try:
            batch = self._database.write_batch(sync=True)
            put, checksum = batch.put, crc32
            for key, body in rows:
                if body is None:
                    batch.delete(key)
                else:
                    framed = FRAME_HEADER + body
                    put(key, framed + checksum(key + framed).to_bytes(4, "little"))
            batch.write()
        except plyvel.Error as error:
            self._broken = _words(error)
            raise self._given_up() from error

    def bytes_used(self) -> int:
        """Size of the files on disk. A compaction may remove one while they are counted."""
        size = 0
        with disk_errors(self.path), os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    size += entry.stat().st_size
        return size

    def close(self) -> None:
        """Close the database and give back the lock; a second call does nothing."""
        for snapshot in list(self._snapshots):
            snapshot.close()
        self._broken = self._broken or "it was closed"
        self._database.close()
        self._lock.release()

    def _given_up(self) -> DiskError:
        return DiskError(
            f"{self.path} is not used any more: {self._broken}",
            hint="The process ends. Look at the disk (room, the kernel's log), then start again.",
        )

    def _bad_row(self, key: bytes) -> DamagedData:
        what = f"holds a row whose checksum is wrong: key {key.hex()}"
        tables = self._tables(key, key)
        if len(tables) == 1:
            return damaged(tables[0], what)
        return damaged(self.path, what + _one_of(tables))

    def _unreadable(
        self, error: plyvel.Error, low: bytes, high: bytes, *, reverse: bool
    ) -> ZmqimError:
        words = _words(error)
        if isinstance(error, plyvel.IOError) and "No such file" not in words:
            return DiskError(
                f"{self.path} cannot be read: {words}",
                hint="Look at the disk and the kernel's log, then start again.",
            )
        what = f"cannot be read at {_keys_in_words(low, high)}: {words}"
        tables = self._tables(low, high)
        file = file_in(words) or damaged_table(tables, low, high, down=reverse)
        if file is None:
            file = damaged_table(self._tables(b"", _ABOVE_KEYS), low, high, down=reverse)
        if file is not None:
            return damaged(file, what)
        return damaged(self.path, what + _one_of(tables))

    def _tables(self, low: bytes, high: bytes) -> list[Path]:
        tables = self._database.get_property(b"leveldb.sstables") or b""
        return files_around(self.path, tables.decode("latin-1"), low, high)


class LevelSnapshot:
    """A `RowSnapshot` of a folder. The folder closes those that nobody closed."""

    def __init__(self, folder: LevelFolder, snapshot: Any) -> None:
        """Called by `LevelFolder.snapshot`."""
        self._folder = folder
        self._snapshot = snapshot
        self._is_open = True

    def scan(
        self,
        start: bytes,
        stop: bytes,
        *,
        limit: int | None = None,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows of then with `start` <= key < `stop`, verified as in `LevelFolder.scan`."""
        assert self._is_open, "the snapshot was closed"
        return self._folder.scan_in(self._snapshot, start, stop, False, limit, bytes_max)

    def close(self) -> None:
        """Give it back; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._snapshot.close()
            self._folder.forget(self)


def _check_layout(path: Path) -> None:
    """Another layout is no damage: nothing may be set aside for it."""
    content = (path / CLEAN_NAME).read_bytes()
    if content == CLEAN_CONTENT:
        return
    wanted = CLEAN_CONTENT.decode().strip()
    if not _LAYOUT.fullmatch(content):
        raise damaged(path / CLEAN_NAME, f"does not say {wanted!r}")
    raise UsageError(
        f"{path} was made by another version of zmqim: it says {content.decode().strip()!r}, this"
        f" version reads {wanted!r}.",
        hint="Start the version that made it. Nothing was changed.",
    )


def _keys_in_words(low: bytes, high: bytes) -> str:
    if low == high:
        return f"key {low.hex()}"
    return f"keys from {low.hex()} to {high.hex()}" if low else f"keys up to {high.hex()}"


def _one_of(tables: list[Path]) -> str:
    """Where nothing says which: LevelDB finds its own checksums right."""
    return f"; in {' or '.join(map(str, tables[:4]))}" if tables else ""


def _position(iterator: Any, start: bytes, stop: bytes, reverse: bool) -> None:
    """Put the iterator (plyvel ships no types) on the first row of the range."""
    if not reverse:
        iterator.seek(start)
        return
    iterator.seek(stop)
    if iterator.valid():
        iterator.prev()
    else:
        iterator.seek_to_last()


def _open(path: Path, options: LevelOptions, *, create: bool) -> Any:
    """The plyvel database, every option explicit."""
    try:
        return plyvel.DB(
            str(path),
            create_if_missing=create,
            error_if_exists=create,
            paranoid_checks=True,
            write_buffer_size=options.write_buffer_bytes,
            max_open_files=options.open_files_max,
            lru_cache_size=options.cache_bytes,
            block_size=BLOCK_BYTES,
            block_restart_interval=16,
            max_file_size=TABLE_BYTES,
            compression=None,
            bloom_filter_bits=options.bloom_bits,
        )
    except plyvel.Error as error:
        words = _words(error)
        if "lock " in words or "already held" in words:
            raise AlreadyRunning(f"{path} is in use by another program: {words}") from error
        if isinstance(error, plyvel.IOError) and "No such file" not in words:
            raise DiskError(
                f"{path} cannot be opened: {words}",
                hint="Look at the disk (room, permissions, the kernel's log), then start again.",
            ) from error
        file = file_of_failed_opening(path, words)
        raise damaged(file, f"is damaged, so {path} does not open: {words}") from error


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path) -> FileLock:
    return FileLock(_lock_path(path), path)


def _words(error: plyvel.Error) -> str:
    """plyvel passes on LevelDB's message as bytes."""
    words = error.args[0] if error.args else b""
    return words.decode(errors="replace") if isinstance(words, bytes) else str(words)
