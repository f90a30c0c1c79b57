"""The error tree of the operator's and the world's faults; a bug of ours is an `AssertionError`.

Each error says what is affected and what to do, and carries the exit code of the command that
ends with it. The exit codes are documented in docs/OPERATING.md and in ``zmqim --help``.
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_ALREADY_RUNNING = 4
EXIT_PORT_IN_USE = 5
EXIT_DATA_DAMAGED = 6
EXIT_TIMEOUT = 7
EXIT_REFUSED = 8
EXIT_DISK = 9


class ZmqimError(Exception):
    """A fault that the operator can do something about.

    `what` is one sentence naming the thing affected; `hint` says what to do next.
    """

    exit_code = EXIT_FAILED

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  {self.hint}" if self.hint else self.what


class UsageError(ZmqimError):
    """The command line, a path or an address given by a person is wrong."""

    exit_code = EXIT_USAGE


class TopologyError(ZmqimError):
    """A topology file has faults; `faults` holds every one of them as ``(line, key, sentence)``."""

    exit_code = EXIT_USAGE

    def __init__(self, path: str, faults: Sequence[tuple[int, str, str]]) -> None:
        lines = [f"  line {line}: {key}: {text}" for line, key, text in faults]
        noun = "fault" if len(faults) == 1 else "faults"
        super().__init__("\n".join([f"{path}: {len(faults)} {noun}", *lines]))
        self.path = path
        self.faults = tuple(faults)


class NotRunning(ZmqimError):
    """No cluster runs on the data folder that was named."""

    exit_code = EXIT_NOT_RUNNING


class AlreadyRunning(ZmqimError):
    """Another process owns the data folder."""

    exit_code = EXIT_ALREADY_RUNNING


class PortInUse(ZmqimError):
    """An address of the topology cannot be bound."""

    exit_code = EXIT_PORT_IN_USE


class DamagedData(ZmqimError):
    """Stored bytes are not what was written. `path` names the file or folder."""

    exit_code = EXIT_DATA_DAMAGED

    def __init__(self, what: str, *, path: str, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.path = path


class SetAside(ZmqimError):
    """Damaged data was moved to quarantine: the next start joins the cluster as a new disk."""

    exit_code = EXIT_FAILED


class DiskError(ZmqimError):
    """A write or sync failed, or the disk is too full to open a store."""

    exit_code = EXIT_DISK


class DeadlinePassed(ZmqimError):
    """What was waited for did not happen in time."""

    exit_code = EXIT_TIMEOUT


class RefusedByServer(ZmqimError):
    """The server answered with a refusal; `reason` is its WKProto reason code."""

    exit_code = EXIT_REFUSED

    def __init__(self, what: str, *, reason: int, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.reason = reason


class NotAdmitted(ZmqimError):
    """The other processes of the cluster run another topology or another version."""

    exit_code = EXIT_REFUSED


class WireError(ValueError):
    """Bytes from a peer that are not what the protocol says: counted, dropped or answered.

    Never raised inside a core: it ends at the door where bytes become values.
    """
