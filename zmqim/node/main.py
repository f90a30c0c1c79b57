"""The entry of every process of a cluster: `python -m zmqim.node.main`, run by the supervisor.

Usage:
  zmqim-process NAME --data=DIR --report-fd=N --supervisor-fd=N [--before-fd=N]

Options:
  --data=DIR         The data folder; the topology is read from its run/topology.toml.
  --report-fd=N      Pipe to the supervisor: readiness and loud log records.
  --supervisor-fd=N  Pipe that ends when the supervisor is gone.
  --before-fd=N      Pipe that ends when all processes that must stop before this one are gone.

It makes a `ProcessContext` and gives it to the shell of the process's role; what the shell raises
becomes a line in the log and an exit code.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType

from docopt import docopt
from structlog.typing import FilteringBoundLogger

from zmqim.bus.effects import Peer
from zmqim.bus.messages import Role
from zmqim.errors import EXIT_OK, ZmqimError
from zmqim.ids import Incarnation, NodeUuid
from zmqim.node.control import ControlServer
from zmqim.node.folders import DataFolder, api_key_path, read_api_key
from zmqim.node.reports import ReportWriter
from zmqim.node.stopping import StopRequest
from zmqim.process import ProcessContext
from zmqim.telemetry.logs import file_logger
from zmqim.telemetry.metrics import Metrics
from zmqim.topology import Process, Topology, load
from zmqim.version import is_compiled

SWITCH_INTERVAL_S = 0.0005
"""Threads of libraries (uvicorn, resolver) get the interpreter soon; our loops are one thread."""
GC_THRESHOLDS = (20_000, 20, 50)
"""Values on the message path form no cycles: look for cycles seldom."""


def main() -> int:
    """Runs one process until it is told to stop; returns its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    arguments = docopt(__doc__ or "")
    data = DataFolder(arguments["--data"])
    name = arguments["NAME"]
    reports = ReportWriter(int(arguments["--report-fd"]))
    logger = file_logger(data.log(name), name, reports.record)
    sys.excepthook = partial(_log_bug, logger)
    try:
        topology = load(data.topology)
        me = topology.process(name)
        before = arguments["--before-fd"]
        stopping = StopRequest(
            me.role, int(arguments["--supervisor-fd"]), int(before) if before else None
        )
        _run(topology, me, data, stopping, reports, logger)
    except ZmqimError as error:
        logger.error(error.what, hint=error.hint, exit_code=error.exit_code)
        return error.exit_code
    logger.info("stopped")
    return EXIT_OK


def _run(
    topology: Topology,
    me: Process,
    data: DataFolder,
    stopping: StopRequest,
    reports: ReportWriter,
    logger: FilteringBoundLogger,
) -> None:
    run = _shell_of(me.role)
    folder = data.path / me.name
    folder.mkdir(mode=0o700, exist_ok=True)
    identity = _identity(topology, me, folder)
    metrics = Metrics()
    facts = {
        "name": me.name,
        "role": me.role.name.lower(),
        "pid": os.getpid(),
        "node_uuid": identity.node_uuid.hex(),
        "incarnation": identity.incarnation,
        "compiled": is_compiled(),
    }
    answers = {"metrics": lambda: {"text": metrics.exposition().decode()}}
    control = ControlServer(data.run, me.name, answers, facts)
    key = read_api_key(api_key_path(topology, data)) if me.role is Role.GATEWAY else ""
    context = ProcessContext(
        topology=topology,
        me=me,
        identity=identity,
        data=data.path,
        folder=folder,
        ready=reports.ready,
        stopping=stopping,
        control=control,
        logger=logger,
        metrics=metrics,
        api_key=key,
    )
    logger.info("starting", incarnation=identity.incarnation, pid=os.getpid())
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        run(context)
    finally:
        control.close()


def _shell_of(role: Role) -> Callable[[ProcessContext], None]:
    """The entry of the role; only its own libraries are imported."""
    match role:
        case Role.GATEWAY:
            from zmqim.gateway.shell import run
        case Role.ROUTER:
            from zmqim.router.shell import run
        case Role.STORAGE:
            from zmqim.storage.shell import run
    return run


def _identity(topology: Topology, me: Process, folder: Path) -> Peer:
    """Who this process is: a storage is who its folder says, the others are new in every life."""
    if me.role is Role.STORAGE:
        from zmqim.store.identity import open_node

        node = open_node(folder, topology.cluster_id, os.urandom)
        return Peer(me.name, me.role, node.node_uuid, node.incarnation)
    return Peer(me.name, me.role, NodeUuid(uuid.uuid4().bytes), Incarnation(1))


def _log_bug(
    logger: FilteringBoundLogger,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    """A fault of ours: into the log with its traceback; the process ends with code 1."""
    logger.error(f"ended by {kind.__name__}: {error}", exc_info=(kind, error, trace))


if __name__ == "__main__":
    sys.exit(main())
