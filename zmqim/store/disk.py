"""How much room the disk has left, and the reserve that makes opening possible on a full one.

Proposals are refused before the disk is full, because an error of a write ends the process. The
bounds are bytes from the topology, not percent.
"""

from __future__ import annotations

import os
from enum import IntEnum
from pathlib import Path
from typing import Final

from zmqim.limits import (
    DISK_CHECK_MS,
    DISK_FREE_MIN_BYTES,
    DISK_FREE_WARN_BYTES,
    MB,
    RESERVE_FILE_BYTES,
)
from zmqim.store.files import disk_errors, sync_folder

CHECK_BYTES: Final = MB
"""Looked at again before each further so many bytes are written."""


class DiskState(IntEnum):
    """What the room allows."""

    OK = 0
    WARN = 1
    """Still writing; the operator should know."""
    FULL = 2
    """Proposals are refused with reason 15; reads go on; it heals with room."""


class DiskRoom:
    """Watches the file system that holds `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        warn_bytes: int = DISK_FREE_WARN_BYTES,
        min_bytes: int = DISK_FREE_MIN_BYTES,
    ) -> None:
        """Looks at once."""
        assert min_bytes <= warn_bytes
        self._folder = folder
        self._warn_bytes = warn_bytes
        self._min_bytes = min_bytes
        self._next_look = 0
        self._written = 0
        self.free_bytes = 0
        self.look()

    def state(self, now: int, about_to_write: int = 0) -> DiskState:
        """The state at `now` (milliseconds), before writing that many bytes.

        Looks at the disk once in DISK_CHECK_MS and before each further CHECK_BYTES; in between,
        what was announced counts as used.
        """
        self._written += about_to_write
        if now >= self._next_look or self._written >= CHECK_BYTES:
            self.look()
            self._next_look = now + DISK_CHECK_MS
            self._written = about_to_write
        free = self.free_bytes - self._written
        if free < self._min_bytes:
            return DiskState.FULL
        return DiskState.WARN if free < self._warn_bytes else DiskState.OK

    def has_room_for(self, size: int) -> bool:
        """Whether the state would still be OK with `size` bytes less."""
        return self.free_bytes - self._written - size >= self._warn_bytes

    def look(self) -> None:
        """Ask the file system now."""
        with disk_errors(self._folder):
            figures = os.statvfs(self._folder)
        self.free_bytes = figures.f_bavail * figures.f_frsize


class ReserveFile:
    """Room kept aside in ``reserve``, given up before a store is opened on a full disk."""

    def __init__(self, path: Path, size: int = RESERVE_FILE_BYTES) -> None:
        self._path = path
        self._size = size

    def prepare_opening(self, room: DiskRoom) -> None:
        """Give the reserve up if the disk is too full to open a store: opening writes."""
        room.look()
        if room.state(0) is DiskState.FULL and self._path.exists():
            with disk_errors(self._path):
                self._path.unlink()
                sync_folder(self._path.parent)
            room.look()

    def restore(self, room: DiskRoom) -> None:
        """Set it aside again once there is room for it above the warning bound."""
        if not self._size or self._path.exists() or not room.has_room_for(self._size):
            return
        temporary = self._path.with_name(self._path.name + ".tmp")
        with disk_errors(self._path), open(temporary, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, self._size)
            os.fsync(file.fileno())
            temporary.rename(self._path)
            sync_folder(self._path.parent)
        room.look()
