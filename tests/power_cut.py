"""A disk that forgets at a power cut what was not synced: a FUSE file system in memory.

kill -9 leaves the page cache as it is, so it never tests a sync. This does, for the real LevelDB
and for whole clusters. The rule is ext4's: the content of a file is durable only with its own
fsync; creating, renaming and removing keep their order and become durable with the next fsync of
any file or folder. What was not synced may survive a cut all the same, as a prefix: of the changes
of names, and of the writes to each file, the last of them torn (at a sector's boundary where it
lies over older bytes). A seed says how much.

The file system is a process of its own (`python power_cut.py FOLDER`, unmounted when its stdin
ends), served by one thread: what it does is a function of the operations that arrive, and its
orders arrive as one of them, written to the attribute ``user.power`` of the root.

    disk = PowerCutDisk(folder)      mounts it there, empty
    disk.fail_after(30)              30 changes from now the power fails: EIO for everything
    disk.cut(seed)                   forgets, and is usable again; without a seed, all it may forget
    disk.lie()                       from now until the cut, syncs do nothing
    disk.close()
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

SECTOR_BYTES = 512
ORDERS = "user.power"
FORGET_ALL = -1
BLOCK_BYTES = 4096
FREE_BLOCKS = 4 * 2**30 // BLOCK_BYTES
MOUNT_OPTIONS = {
    "foreground": True,
    "nothreads": True,
    "fsname": "power-cut",
    # An open file that is removed is removed, not renamed.
    "hard_remove": True,
    # NODE holds its own inode number.
    "use_ino": True,
    # The kernel asks every time: a cut changes everything behind its back.
    "attr_timeout": 0,
    "entry_timeout": 0,
    "negative_timeout": 0,
}


class File:
    """Content as processes see it, as it is synced, and the writes in between."""

    def __init__(self, inode: int, mode: int) -> None:
        self.inode = inode
        self.mode = mode
        self.content = bytearray()
        self._synced = bytearray()
        self._pending: list[tuple[int, bytes | None]] = []
        """(offset, data), or (size, None) of a truncation."""

    def write(self, offset: int, data: bytes) -> None:
        _write(self.content, offset, data)
        self._pending.append((offset, data))

    def truncate(self, size: int) -> None:
        _truncate(self.content, size)
        self._pending.append((size, None))

    def sync(self) -> None:
        self._keep(len(self._pending))

    def cut(self, random: Random | None) -> None:
        """Keep a prefix of what is pending, or nothing of it."""
        if random is not None:
            self._keep_some(random)
        self._pending.clear()
        self.content = bytearray(self._synced)

    def _keep_some(self, random: Random) -> None:
        count = random.choice((0, random.randint(0, len(self._pending)), len(self._pending)))
        torn = self._pending[count] if count < len(self._pending) else (0, None)
        self._keep(count)
        offset, data = torn
        if data:
            end = offset + random.choice((0, random.randint(0, len(data))))
            if end < len(self._synced):
                end = max(offset, end // SECTOR_BYTES * SECTOR_BYTES)
            _write(self._synced, offset, data[: end - offset])

    def _keep(self, count: int) -> None:
        for offset, data in self._pending[:count]:
            if data is None:
                _truncate(self._synced, offset)
            else:
                _write(self._synced, offset, data)
        del self._pending[:count]


class Folder:
    """Names as processes see them, and as they are durable."""

    mode = stat.S_IFDIR | 0o755

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.names: dict[str, File | Folder] = {}
        self.kept: dict[str, File | Folder] = {}


Change = list[tuple[Folder, str, File | Folder | None]]
"""Names that change together."""


class Tree:
    """All files of the disk, and the power."""

    def __init__(self) -> None:
        self._inodes = 1
        self._root = Folder(1)
        self._changes: list[Change] = []
        self._left: int | None = None
        """Changes until the power fails."""
        self.steps = 0
        """Changes since the last cut."""
        self.is_lying = False

    @property
    def is_off(self) -> bool:
        return self._left == 0

    def find(self, path: str) -> File | Folder:
        """What is there now. Raises OSError."""
        node: File | Folder = self._root
        for name in _parts(path):
            if not isinstance(node, Folder):
                raise OSError(errno.ENOTDIR, path)
            if name not in node.names:
                raise OSError(errno.ENOENT, path)
            node = node.names[name]
        return node

    def step(self) -> None:
        """Before each change: does the power last?"""
        if self._left is not None:
            self._left = max(0, self._left - 1)
        self.check()
        self.steps += 1

    def check(self) -> None:
        """Before each operation: EIO once the power failed."""
        if self.is_off:
            raise OSError(errno.EIO, "the power failed")

    def add(self, path: str, mode: int | None) -> File | Folder:
        """A new file or, without a mode, folder."""
        self._inodes += 1
        node = Folder(self._inodes) if mode is None else File(self._inodes, mode)
        folder, name = self._place(path)
        if name in folder.names:
            raise OSError(errno.EEXIST, path)
        self._change([(folder, name, node)])
        return node

    def remove(self, path: str) -> None:
        folder, name = self._place(path)
        node = self.find(path)
        if isinstance(node, Folder) and node.names:
            raise OSError(errno.ENOTEMPTY, path)
        self._change([(folder, name, None)])

    def rename(self, old: str, new: str) -> None:
        node, (source, name) = self.find(old), self._place(old)
        target, new_name = self._place(new)
        there = target.names.get(new_name)
        if isinstance(there, Folder) and there.names:
            raise OSError(errno.ENOTEMPTY, new)
        self._change([(source, name, None), (target, new_name, node)])

    def sync(self, file: File | None) -> None:
        """The content of the file, if it is one, and all names."""
        if self.is_lying:
            return
        if file is not None:
            file.sync()
        self._keep(len(self._changes))

    def fail_after(self, steps: int) -> None:
        self._left = steps + 1 if steps else 0

    def lie(self, _: int) -> None:
        self.is_lying = True

    def cut(self, seed: int) -> None:
        """Forget what was not synced, all of it or what the seed says; the power is back."""
        random = None if seed == FORGET_ALL else Random(seed)
        if random is not None:
            self._keep(random.randint(0, len(self._changes)))
        self._changes.clear()
        self._settle(self._root, random)
        self._left = None
        self.is_lying = False
        self.steps = 0

    def _settle(self, folder: Folder, random: Random | None) -> None:
        folder.names = dict(folder.kept)
        for _, node in sorted(folder.names.items()):
            if isinstance(node, Folder):
                self._settle(node, random)
            else:
                node.cut(random)

    def _place(self, path: str) -> tuple[Folder, str]:
        *above, name = _parts(path)
        folder = self.find("/".join(above))
        if not isinstance(folder, Folder):
            raise OSError(errno.ENOTDIR, path)
        return folder, name

    def _change(self, change: Change) -> None:
        _apply(change, kept=False)
        self._changes.append(change)

    def _keep(self, count: int) -> None:
        for change in self._changes[:count]:
            _apply(change, kept=True)
        del self._changes[:count]


class PowerCutFiles:
    """What FUSE calls, over a `Tree`. Names and arguments are those of `mfusepy.Operations`."""

    use_ns = True

    def __init__(self, mounted: threading.Event) -> None:
        self._tree = Tree()
        self._handles: dict[int, File | Folder] = {}
        self._last_handle = 0
        self._mounted = mounted

    def init_with_config(self, connection: Any, config: Any) -> None:
        config.nullpath_ok = 1  # a removed file is still read, without a path
        self._mounted.set()

    def getattr(self, path: str | None, handle: int | None = None) -> dict[str, int]:
        self._tree.check()
        node = self._node(path, handle)
        size = len(node.content) if isinstance(node, File) else 0
        return {
            "st_mode": node.mode,
            "st_ino": node.inode,
            "st_nlink": 1 if isinstance(node, File) else 2,
            "st_size": size,
            "st_blocks": (size + SECTOR_BYTES - 1) // SECTOR_BYTES,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
        }

    def opendir(self, path: str) -> int:
        self._tree.check()
        return self._handle(self._tree.find(path))

    def readdir(self, path: str | None, handle: int) -> Iterator[tuple[str, dict[str, int], int]]:
        self._tree.check()
        folder = self._handles[handle]
        assert isinstance(folder, Folder)
        for name, node in {".": folder, "..": folder, **folder.names}.items():
            yield name, {"st_mode": node.mode, "st_ino": node.inode}, 0

    def statfs(self, path: str) -> dict[str, int]:
        self._tree.check()
        free = dict.fromkeys(("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree"), FREE_BLOCKS)
        return {"f_bsize": BLOCK_BYTES, "f_frsize": BLOCK_BYTES, "f_namemax": 255, **free}

    def open(self, path: str, flags: int) -> int:
        self._tree.check()
        handle = self._handle(self._tree.find(path))
        if flags & os.O_TRUNC:
            self.truncate(path, 0)
        return handle

    def create(self, path: str, mode: int) -> int:
        self._tree.step()
        return self._handle(self._tree.add(path, mode))

    def mknod(self, path: str, mode: int, device: int) -> None:
        self._tree.step()
        self._tree.add(path, mode)

    def mkdir(self, path: str, mode: int) -> None:
        self._tree.step()
        self._tree.add(path, None)

    def unlink(self, path: str) -> None:
        self._tree.step()
        self._tree.remove(path)

    rmdir = unlink

    def rename(self, old: str, new: str) -> None:
        self._tree.step()
        self._tree.rename(old, new)

    def read(self, path: str | None, size: int, offset: int, handle: int) -> bytes:
        self._tree.check()
        return bytes(self._file(path, handle).content[offset : offset + size])

    def write(self, path: str | None, data: bytes, offset: int, handle: int) -> int:
        self._tree.step()
        self._file(path, handle).write(offset, data)
        return len(data)

    def truncate(self, path: str | None, size: int, handle: int | None = None) -> None:
        self._tree.step()
        self._file(path, handle).truncate(size)

    def fallocate(self, path: str | None, mode: int, offset: int, size: int, handle: int) -> None:
        self._tree.step()
        file = self._file(path, handle)
        file.truncate(max(len(file.content), offset + size))

    def fsync(self, path: str | None, datasync: int, handle: int) -> None:
        self._tree.step()
        self._tree.sync(self._file(path, handle))

    def fsyncdir(self, path: str | None, datasync: int, handle: int) -> None:
        self._tree.step()
        self._tree.sync(None)

    def release(self, path: str | None, handle: int) -> None:
        self._handles.pop(handle, None)

    releasedir = release

    def chmod(self, path: str | None, mode: int) -> None:
        self._tree.check()
        node = self._node(path, None)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)

    def chown(self, path: str | None, user: int, group: int) -> None:
        self._tree.check()

    def utimens(self, path: str | None, times: object = None) -> None:
        self._tree.check()

    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> None:
        """An order."""
        if (path, name) != ("/", ORDERS):
            raise OSError(errno.EOPNOTSUPP, name)
        order, number = value.split()
        tree = self._tree
        {b"cut": tree.cut, b"fail": tree.fail_after, b"lie": tree.lie}[order](int(number))

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """How things are."""
        if (path, name) != ("/", ORDERS):
            raise OSError(errno.ENODATA, name)
        tree = self._tree
        return json.dumps({"off": tree.is_off, "steps": tree.steps}).encode()

    def _handle(self, node: File | Folder) -> int:
        self._last_handle += 1
        self._handles[self._last_handle] = node
        return self._last_handle

    def _node(self, path: str | None, handle: int | None) -> File | Folder:
        if handle is not None and handle in self._handles:
            return self._handles[handle]
        if path is None:
            raise OSError(errno.ENOENT, "removed")
        return self._tree.find(path)

    def _file(self, path: str | None, handle: int | None) -> File:
        node = self._node(path, handle)
        assert isinstance(node, File)
        return node


class PowerCutDisk:
    """A mounted disk as the tests use it. Close it after every process that works on it."""

    def __init__(self, folder: Path) -> None:
        """Mount it; OSError where that is not possible."""
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"mounted\n":
            self.close()
            raise OSError(f"{folder}: a FUSE file system cannot be mounted here")

    def fail_after(self, steps: int) -> None:
        """The power fails before the change that follows `steps` more."""
        os.setxattr(self.folder, ORDERS, b"fail %d" % steps)

    def cut(self, seed: int | None = None) -> None:
        """Forget what was not synced and go on; a seed lets some of it survive."""
        os.setxattr(self.folder, ORDERS, b"cut %d" % (FORGET_ALL if seed is None else seed))

    def lie(self) -> None:
        """Syncs do nothing until the next cut."""
        os.setxattr(self.folder, ORDERS, b"lie 1")

    @property
    def is_off(self) -> bool:
        """Did the power fail?"""
        return bool(self._state()["off"])

    @property
    def steps(self) -> int:
        """Changes since the last cut."""
        return int(self._state()["steps"])

    def close(self) -> None:
        """Unmount it; everything on it is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(os.getxattr(self.folder, ORDERS))
        return found


def _parts(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


def _apply(change: Change, *, kept: bool) -> None:
    for folder, name, node in change:
        names = folder.kept if kept else folder.names
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _truncate(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _unmount_at_the_end(folder: str, mounted: threading.Event) -> None:
    """Whoever started this process said that it is over, or died."""
    if mounted.wait(10):
        print("mounted", flush=True)
        sys.stdin.read()
        if os.geteuid() == 0:
            command = ["umount", "-l", folder]
        else:
            command = [shutil.which("fusermount3") or "fusermount", "-u", "-z", folder]
        subprocess.run(command, check=False)
    os._exit(0)


def main() -> None:
    """Serve a disk at the folder that the command line names."""
    try:
        import mfusepy
    except (ImportError, OSError) as error:
        sys.exit(f"no FUSE library: {error}")
    folder = sys.argv[1]
    mounted = threading.Event()
    threading.Thread(target=_unmount_at_the_end, args=(folder, mounted), daemon=True).start()
    try:
        mfusepy.FUSE(PowerCutFiles(mounted), folder, **MOUNT_OPTIONS)
    except RuntimeError as error:
        sys.exit(f"{folder} was a FUSE file system no longer, or never: {error}")


if __name__ == "__main__":
    main()
