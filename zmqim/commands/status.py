"""Show which processes of a cluster run, and what is wrong.

Usage:
  zmqim status [--data DIR] [--json]

Options:
  --data DIR  The data folder of the cluster [default: zmqim-data].
  --json      For machines: {"processes": [{"name", "role", "pid", "state", "host"}],
              "problems": ["…"], "details": {process: what it says of itself}}.
  -h --help   Show this.

States: starting, alive, suspect, down, left, failed. A process of this host is what its supervisor
knows of it, and once it is ready what the other processes see of it by gossip; a process of another
host is what is seen of it here. Exit code 3 when nothing runs there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import orjson
from rich.table import Table

from zmqim.commands.tables import print_table
from zmqim.errors import EXIT_OK
from zmqim.node.cluster import merged, running_cluster

_COLOURS = {"alive": "green", "starting": "yellow", "suspect": "yellow"}
_ONLY_FOR_MACHINES = ("name", "role", "pid", "node_uuid", "incarnation", "members", "problems")


def run(arguments: Mapping[str, Any]) -> int:
    """Asks everybody on this host and prints what they say together."""
    cluster = running_cluster(arguments["--data"])
    supervisor = cluster.supervisor()
    answers, silent = cluster.answers(supervisor)
    found = merged(cluster.topology(), cluster.host, supervisor, answers, silent)
    if arguments["--json"]:
        found["details"] = answers
        sys.stdout.write(orjson.dumps(found).decode() + "\n")
        return EXIT_OK
    table = Table(box=None, pad_edge=False)
    for heading in ("process", "role", "pid", "state", "host", "more"):
        table.add_column(heading)
    for row in found["processes"]:
        colour = _COLOURS.get(row["state"], "red")
        table.add_row(
            row["name"],
            row["role"],
            str(row["pid"] or "-"),
            f"[{colour}]{row['state']}[/{colour}]",
            row["host"],
            _more(answers.get(row["name"], {})),
        )
    print_table(table)
    for problem in found["problems"]:
        print(f"Problem: {problem}")
    return EXIT_OK


def _more(answer: Mapping[str, Any]) -> str:
    """The plain facts of a process's answer."""
    facts = {name: value for name, value in answer.items() if name not in _ONLY_FOR_MACHINES}
    return "  ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in facts.items()
        if isinstance(value, int | float | str)
    )
