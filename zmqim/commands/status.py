"""Show which processes of a cluster run, how its partitions are replicated, and what is wrong.

Usage:
  zmqim status [--data DIR] [--partitions] [--json | --watch]

Options:
  --data DIR    The data folder of the cluster [default: zmqim-data].
  --partitions  Show every partition: leader, term, and how far each replica is.
  --watch       Show it again every second until Ctrl-C.
  --json        For machines: {"processes": [{"name", "role", "pid", "state", "host"}],
                "partitions": [{"id", "leader", "term", "voters": [{"name", "match_lag", "state"}],
                "learners", "replicas_wanted", "serving", "fully_replicated", "known_by"}],
                "storages": [{"name", "leads", "leads_away", "follows", "learns", "lag_max"}],
                "problems": ["…"], "notes": ["…"], "details": {process: what it says of itself}}.
  -h --help     Show this.

States: starting, alive, suspect, down, left, failed. A process of this host is what its supervisor
knows of it, and once it is ready what the other processes see of it by gossip; a process of another
host is what is seen of it here.

A partition is fully replicated when it has as many voters as the topology wants, and each of them
lacks less than 1,000 entries. How far replicas are is known where the partition's leader runs.

docs/OPERATING.md says what the problems mean and what to do. Exit code 3 when nothing runs there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from zmqim.commands.tables import print_table
from zmqim.errors import EXIT_OK, UsageError
from zmqim.node.cluster import Running, merged, running_cluster
from zmqim.node.partitions import META
from zmqim.ring.partitions import ranges

WATCH_PAUSE_S = 1.0
_COLOURS = {
    "alive": "green",
    "leader": "green",
    "replicating": "green",
    "starting": "yellow",
    "suspect": "yellow",
    "probing": "yellow",
    "snapshot": "yellow",
    "down": "red",
    "left": "red",
    "failed": "red",
    "damaged": "red",
}
_ONLY_FOR_MACHINES = (
    "name",
    "role",
    "pid",
    "node_uuid",
    "incarnation",
    "compiled",
    "members",
    "problems",
)


def run(arguments: Mapping[str, Any]) -> int:
    """Asks everybody on this host and prints what they say together."""
    cluster = running_cluster(arguments["--data"])
    every_partition = bool(arguments["--partitions"])
    if arguments["--watch"]:
        return _watch(cluster, every_partition)
    found = _asked(cluster)
    if arguments["--json"]:
        sys.stdout.write(orjson.dumps(found).decode() + "\n")
        return EXIT_OK
    for part in shown(found, every_partition):
        if isinstance(part, Table):
            print_table(part)
        else:
            print(part)
    return EXIT_OK


def _asked(cluster: Running) -> dict[str, Any]:
    """What `--json` prints."""
    supervisor = cluster.supervisor()
    answers, silent = cluster.answers(supervisor)
    found = merged(cluster.topology(), cluster.host, supervisor, answers, silent)
    return {**found, "details": answers}


def _watch(cluster: Running, every_partition: bool) -> int:
    """Draws again and again; ends by Ctrl-C, or with code 3 when the cluster stops."""
    if not sys.stdout.isatty():
        raise UsageError("--watch needs a terminal.", hint="Without it, --json is for programs.")
    with Live(console=Console(highlight=False), auto_refresh=False, screen=True) as live:
        while True:
            parts = shown(_asked(cluster), every_partition)
            rows = [Text(part) if isinstance(part, str) else part for part in parts]
            live.update(Group(*rows), refresh=True)
            time.sleep(WATCH_PAUSE_S)


def shown(found: Mapping[str, Any], every_partition: bool) -> list[Table | str]:
    """Tables and lines for people, of what `--json` prints."""
    parts: list[Table | str] = [_processes(found)]
    if found["partitions"]:
        parts += ["", _storages(found["storages"])]
        if every_partition:
            parts += ["", _partitions(found["partitions"])]
        parts += ["", *summary(found)]
    parts += [f"Problem: {problem}" for problem in found["problems"]]
    parts += [f"Note: {note}" for note in found["notes"]]
    return parts


def _processes(found: Mapping[str, Any]) -> Table:
    table = _table("process", "role", "pid", "state", "host", "more")
    for row in found["processes"]:
        table.add_row(
            row["name"],
            row["role"],
            str(row["pid"] or "-"),
            _coloured(row["state"]),
            row["host"],
            _more(found["details"].get(row["name"], {})),
        )
    return table


def _storages(shares: Iterable[Mapping[str, Any]]) -> Table:
    """A line a storage, however many partitions there are."""
    table = _table("storage", "leads", "of these away from home", "follows", "learns", "lag max")
    for share in shares:
        table.add_row(
            share["name"],
            str(share["leads"]),
            str(share["leads_away"] or "-"),
            str(share["follows"]),
            str(share["learns"] or "-"),
            "?" if share["lag_max"] is None else f"{share['lag_max']:,}",
        )
    return table


def _partitions(partitions: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("partition", "leader", "term", "whole", "replicas")
    for one in partitions:
        replicas = [_replica(replica) for replica in one["voters"]]
        replicas += [f"{_replica(replica)} (learner)" for replica in one["learners"]]
        table.add_row(
            str(one["id"]),
            one["leader"] or "[red]none[/red]" if one["known_by"] != "nobody" else "?",
            "?" if one["term"] is None else str(one["term"]),
            {True: "yes", False: "[red]no[/red]", None: "?"}[one["fully_replicated"]],
            "  ".join(replicas),
        )
    return table


def _replica(replica: Mapping[str, Any]) -> str:
    lag = replica["match_lag"]
    behind = f" -{lag:,}" if lag else ""
    return f"{replica['name']} {_coloured(replica['state'])}{behind}"


def summary(found: Mapping[str, Any]) -> list[str]:
    """One or two lines on all partitions, and one on the meta group."""
    partitions = [one for one in found["partitions"] if one["id"] != META]
    short = [one["id"] for one in partitions if one["fully_replicated"] is False]
    unknown = [one["id"] for one in partitions if one["fully_replicated"] is None]
    whole = len(partitions) - len(short) - len(unknown)
    words = "all fully replicated" if whole == len(partitions) else f"{whole:,} fully replicated"
    away = sum(share["leads_away"] for share in found["storages"])
    if away:
        words += f", {away:,} {'leader' if away == 1 else 'leaders'} away from home"
    total = "1 partition" if len(partitions) == 1 else f"{len(partitions):,} partitions"
    lines = [f"{total}: {words}."]
    if short:
        lines.append(f"Not fully replicated: {ranges(short)}.")
    if unknown:
        lines.append(f"Not known here: {ranges(unknown)}.")
    lines += [_meta(one) for one in found["partitions"] if one["id"] == META]
    return lines


def _meta(group: Mapping[str, Any]) -> str:
    if group["leader"] is None:
        return "The meta group has no leader."
    state = {
        True: "fully replicated",
        False: "not fully replicated",
        None: "its replicas are not known here",
    }
    words = state[group["fully_replicated"]]
    return f"The meta group: {group['leader']} leads in term {group['term']}, {words}."


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


def _coloured(state: str) -> str:
    colour = _COLOURS.get(state)
    return f"[{colour}]{state}[/{colour}]" if colour else state


def _more(answer: Mapping[str, Any]) -> str:
    """The plain facts of a process's answer."""
    facts: Sequence[tuple[str, Any]] = [
        (name, value) for name, value in answer.items() if name not in _ONLY_FOR_MACHINES
    ]
    return "  ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in facts
        if isinstance(value, int | float | str)
    )
