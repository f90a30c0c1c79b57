"""Dead letters: what an application would not take, on the disk of the gateway that tried.

    <data>/<gateway>/dead-letters/<webhook>/<milliseconds>-<number>.json

One file a letter, written whole and synced before the webhook goes on, so a letter that is told of
exists. Names sort by age. The gateway only adds letters; `zmqim webhooks` shows, replays and drops
them, also while the gateway runs. A letter holds messages: its folder is for its owner alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec

from zmqim.errors import DamagedData, DiskError, UsageError
from zmqim.limits import DEAD_LETTERS_BYTES_MAX, DEAD_LETTERS_MAX
from zmqim.store.files import create_folder, disk_errors, sync_folder, write_file

FOLDER = "dead-letters"
_SUFFIX = ".json"


class Letter(msgspec.Struct, frozen=True):
    """One POST that came to nothing. `at` is in milliseconds since 1970; `body` base64."""

    webhook: str
    event: str
    why: str
    at: int
    body: str

    @property
    def content(self) -> bytes:
        """The JSON that was posted."""
        return base64.b64decode(self.body)


def letter_of(webhook: str, event: str, why: str, at: int, content: bytes) -> Letter:
    """A letter with that content."""
    return Letter(webhook, event, why, at, base64.b64encode(content).decode())


class DeadLetters:
    """The letters of one webhook of one gateway."""

    def __init__(
        self,
        folder: Path,
        count_max: int = DEAD_LETTERS_MAX,
        bytes_max: int = DEAD_LETTERS_BYTES_MAX,
    ) -> None:
        """`folder` need not exist before the first letter."""
        self.folder = folder
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._count = 0
        self._bytes = 0
        self._number = 0
        self._recount()

    def keep(self, letter: Letter) -> bool:
        """Write a letter, durably; False: there is no room. Raises `DiskError`."""
        content = msgspec.json.encode(letter)
        if not self._has_room(len(content)):
            self._recount()  # Somebody may have dropped some.
            if not self._has_room(len(content)):
                return False
        if not self.folder.is_dir():
            create_folder(self.folder)
            with disk_errors(self.folder):
                self.folder.chmod(0o700)
        path = self._free_path(letter.at)
        write_file(path, content)
        self._count += 1
        self._bytes += len(content)
        return True

    def names(self) -> list[str]:
        """Of all letters, oldest first."""
        return [path.name.removesuffix(_SUFFIX) for path in self._paths()]

    def read(self, name: str) -> Letter:
        """The letter of that name; UsageError without one, `DamagedData` if it cannot be read."""
        path = self.folder / f"{name}{_SUFFIX}"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Letter)
        except FileNotFoundError:
            raise UsageError(
                f"There is no dead letter {name!r}.", hint="`zmqim webhooks list` shows them."
            ) from None
        except OSError as error:
            raise DiskError(f"{path}: {error.strerror}") from error
        except msgspec.DecodeError:
            raise DamagedData(
                f"{path} is no dead letter.", path=str(path), hint="Look at it, or delete it."
            ) from None

    def drop(self, name: str) -> None:
        """Delete a letter, durably; one that is gone already is no fault."""
        with disk_errors(self.folder):
            (self.folder / f"{name}{_SUFFIX}").unlink(missing_ok=True)
            sync_folder(self.folder)

    def _free_path(self, at: int) -> Path:
        while True:
            self._number += 1
            path = self.folder / f"{at:013d}-{self._number:06d}{_SUFFIX}"
            if not path.exists():
                return path

    def _has_room(self, size: int) -> bool:
        return self._count < self._count_max and self._bytes + size <= self._bytes_max

    def _recount(self) -> None:
        sizes = []
        with disk_errors(self.folder):
            for path in self._paths():
                try:
                    sizes.append(path.stat().st_size)
                except FileNotFoundError:
                    continue
        self._count, self._bytes = len(sizes), sum(sizes)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{_SUFFIX}"))


def all_letters(data: Path) -> Iterator[tuple[str, DeadLetters]]:
    """(gateway, its letters) for each webhook of each gateway of a data folder."""
    for folder in sorted(data.glob(f"*/{FOLDER}/*")):
        if folder.is_dir():
            yield folder.parents[1].name, DeadLetters(folder)


def letters_of(folder: Path, webhook: str) -> DeadLetters:
    """Of one webhook of the gateway whose folder that is."""
    return DeadLetters(folder / FOLDER / webhook)
