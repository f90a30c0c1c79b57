"""Stop the cluster that runs on a data folder: gateways first, then routers, then storages.

Usage:
  zmqim down [--data DIR]

Options:
  --data DIR  The data folder of the cluster [default: zmqim-data].
  -h --help   Show this.

Waits until everything has ended. Exit code 3 when nothing runs there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from zmqim import limits
from zmqim.errors import EXIT_OK, DeadlinePassed
from zmqim.node.cluster import running_cluster
from zmqim.node.control import ask
from zmqim.node.supervision import STOP_ORDER
from zmqim.node.supervisor import SUPERVISOR

GRACE_S = 5.0


def run(arguments: Mapping[str, str]) -> int:
    """Asks the supervisor to stop and waits for the lock to be free."""
    data = running_cluster(arguments["--data"]).folder
    ask(data.run, SUPERVISOR, "stop")
    deadline = time.monotonic() + len(STOP_ORDER) * limits.DRAIN_MS_MAX / 1000 + GRACE_S
    while data.locked():
        if time.monotonic() > deadline:
            raise DeadlinePassed(
                f"The cluster on {str(data.path)!r} has not ended yet.",
                hint=f"The pids of its processes are in {data.run}/*.pid.",
            )
        time.sleep(0.02)
    print(f"Stopped the cluster on {data.path}.")
    return EXIT_OK
