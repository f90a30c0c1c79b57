"""What a process of the cluster is given when it starts: all that a role's shell needs to run.

`zmqim.node.main` builds one `ProcessContext` and calls `run(context)` of zmqim/gateway/shell.py,
zmqim/router/shell.py or zmqim/storage/shell.py. The shell runs until `context.stopping` says so:

    poll (its own sockets, context.stopping.fileno(), context.control.fileno())
    when control's fd is readable:  context.control.serve(status)
    every turn:                     if context.stopping.requested: drain and return
    once it serves:                 context.ready()

`run` returns when everything is drained and closed. A fault of the operator or of the world leaves
it as a `ZmqimError`; its exit code becomes the code of the process. Nothing here uses threads: all
of it is called from the shell's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from zmqim.bus.effects import Peer
from zmqim.telemetry.metrics import Metrics
from zmqim.topology_values import Process, Topology

StatusReader = Callable[[], Mapping[str, object]]
"""What a process tells `zmqim status`. Keys that it looks at:

`members`: a list of ``{"name", "role", "state", "host", "incarnation"}`` as gossip here sees them
(role and state as lower-case words: ``"storage"``, ``"alive"``); `problems`: a list of sentences.
Anything else that JSON can hold may be added, e.g. counts of sessions or partitions.
"""


class Stopping(Protocol):
    """Whether the process has been asked to stop: by SIGTERM, or because its supervisor is gone."""

    @property
    def requested(self) -> bool:
        """True from the request on; cheap enough for every turn."""
        ...

    def fileno(self) -> int:
        """Readable when `requested` has something to look at; poll it, never read from it."""
        ...


class Control(Protocol):
    """The unix socket on which a process answers `zmqim status`."""

    def fileno(self) -> int:
        """Readable when somebody asks or may be answered; poll it, never read from it."""
        ...

    def serve(self, status: StatusReader) -> None:
        """Answers whoever has asked; never blocks. `status` is called once per question."""
        ...


@dataclass(frozen=True, slots=True)
class ProcessContext:
    """Everything given to one process."""

    topology: Topology
    me: Process
    """This process in the topology (a `Gateway` or `Storage` where there is more to say)."""
    identity: Peer
    """This life: name, role, node uuid, incarnation."""
    data: Path
    """The data folder that all processes of this host share."""
    folder: Path
    """This process's own folder, ``<data>/<name>``. It exists."""
    ready: Callable[[], None]
    """Tells the supervisor that this process serves; more than once does no harm."""
    stopping: Stopping
    control: Control
    logger: structlog.typing.FilteringBoundLogger
    """Writes JSON lines to ``<data>/logs/<name>.log``. Never give it a token, key or payload."""
    metrics: Metrics
    api_key: str = field(default="", repr=False)
    """Key of the HTTP API; empty in routers and storages."""
