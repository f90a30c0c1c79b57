"""Restart one process of the cluster that runs on a data folder, also one that was given up.

Usage:
  zmqim restart NAME [--data DIR] [--wait SECONDS]

Options:
  --data DIR      The data folder of the cluster [default: zmqim-data].
  --wait SECONDS  Wait so long until it serves again [default: 60].
  -h --help       Show this.

NAME is that of the topology, as `zmqim status` shows it. A process that runs is asked to stop, as
by `zmqim down`, and started again; with replicas, one storage at a time can be restarted so while
clients go on. Exit code 1 when it fails again, 7 when it does not serve in time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from zmqim.errors import EXIT_OK, DeadlinePassed, UsageError, ZmqimError
from zmqim.node.cluster import running_cluster
from zmqim.node.control import ask
from zmqim.node.supervision import Condition
from zmqim.node.supervisor import SUPERVISOR, restart_question
from zmqim.toml_tables import did_you_mean

LOOK_SECONDS = 0.05


def run(arguments: Mapping[str, str]) -> int:
    """Asks the supervisor and waits until the process has a new life that serves."""
    name = arguments["NAME"]
    try:
        seconds = float(arguments["--wait"])
    except ValueError:
        raise UsageError(f"--wait {arguments['--wait']!r} is no number of seconds.") from None
    folder = running_cluster(arguments["--data"]).folder

    def processes() -> dict[str, Any]:
        found = ask(folder.run, SUPERVISOR, "status")["processes"]
        assert isinstance(found, dict)
        return found

    before = processes()
    if name not in before:
        raise UsageError(
            f"No process {name!r} runs on this host{did_you_mean(name, before)}.",
            hint=f"There are {', '.join(sorted(before))}.",
        )
    answer = ask(folder.run, SUPERVISOR, restart_question(name))
    if "error" in answer:
        raise ZmqimError(str(answer["error"]))
    deadline = time.monotonic() + seconds
    while True:
        now = processes()[name]
        if now["condition"] == Condition.READY and now["pid"] != before[name]["pid"]:
            print(f"{name} serves again.")
            return EXIT_OK
        if now["condition"] == Condition.FAILED:
            raise ZmqimError(f"{name} has failed again. {now['error']}".strip())
        if time.monotonic() > deadline:
            raise DeadlinePassed(
                f"{name} does not serve after {seconds:g} s. {now['error']}".strip(),
                hint="`zmqim status` says what it waits for.",
            )
        time.sleep(LOOK_SECONDS)
