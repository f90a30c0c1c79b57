"""Offer load to a running cluster and print what it did with it.

Usage:
  zmqim bench [person|group|crowd|idle] [options]

Shapes:
  person  Connections in pairs, each writes to its partner (default).
  group   Groups whose members are all online; some of them write.
  crowd   One group of --group-size members, of whom --connections are online. One of them writes;
          each message is timed until the last one online has it, and the next one follows then.
  idle    Connections that only ping: memory and connect time.

Options:
  --connections N   Client connections [default: 100].
  --in-flight N     Unanswered messages per sending connection [default: 4].
  --payload BYTES   Plain payload of a message [default: 100].
  --rate N          Messages offered per second over all; latency then counts from the time a
                    message was due. Without it each answer makes room for the next message.
  --seconds S       Measured time [default: 10].
  --warmup S        Time before it that does not count [default: 3].
  --groups N        Groups of the shape `group` [default: 1].
  --group-size N    Members of each [default: 100].
  --senders N       Members of each that write, in the shape `group` [default: 4].
  --workers N       Processes that make the load [default: 1].
  --data DIR        Data folder of the cluster [default: ./zmqim-data].
  --json            One line of JSON instead of a table.
  -h --help         Show this.

Everything runs on this machine, so the generator takes its share of the cores.
The exit code is 0, or 1 if a message was lost on the way, refused, or damaged.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from zmqim.bench.plan import Plan, Shape
from zmqim.bench.report import show
from zmqim.bench.run import measure
from zmqim.errors import EXIT_FAILED, EXIT_OK, UsageError
from zmqim.node.cluster import Running, running_cluster


def run(arguments: dict[str, Any]) -> int:
    """The command; its exit code."""
    plan = plan_of(arguments)
    workers = _whole(arguments, "--workers", 1, 16)
    cluster = running_cluster(Path(arguments["--data"]))
    console = Console(stderr=True)
    report = asyncio.run(
        measure(
            plan,
            [_host_and_port(gateway["tcp"]) for gateway in cluster.gateways if gateway["tcp"]],
            cluster.gateways[0]["http"],
            cluster.api_key(),
            cluster.data,
            workers,
            lambda: journal_syncs(cluster),
            lambda text: console.print(text, style="dim"),
        )
    )
    report = {"compiled": is_compiled(cluster), **report}
    if arguments["--json"]:
        sys.stdout.write(orjson.dumps(report).decode() + "\n")
    else:
        show(report, Console())
    bad = report["refused"] or report["unanswered"] or report["corrupt"]
    return EXIT_FAILED if bad or report["lost_connections"] else EXIT_OK


def plan_of(arguments: dict[str, Any]) -> Plan:
    """The plan that the command line asks for; UsageError names what is wrong with it."""
    shape = Shape.PERSON
    for candidate in Shape:
        if arguments[candidate.value]:
            shape = candidate
    connections = _whole(arguments, "--connections", 2, 100_000)
    if shape is Shape.PERSON and connections % 2:
        raise UsageError("--connections must be even: the shape `person` works in pairs.")
    group_size = _whole(arguments, "--group-size", 2, 100_000)
    if shape is Shape.GROUP and group_size > connections:
        connections = group_size
    if shape is Shape.CROWD:
        _check_crowd(arguments, connections, group_size)
    return Plan(
        shape,
        connections,
        _whole(arguments, "--in-flight", 1, 10_000),
        _whole(arguments, "--payload", 1, 32_767),
        float(_whole(arguments, "--seconds", 1, 86_400)),
        float(_whole(arguments, "--warmup", 0, 3_600)),
        float(_whole(arguments, "--rate", 1, 10_000_000)) if arguments["--rate"] else 0.0,
        _whole(arguments, "--groups", 1, 100_000),
        group_size,
        _whole(arguments, "--senders", 1, 100_000),
        secrets.token_hex(3),
    )


def _check_crowd(arguments: dict[str, Any], connections: int, group_size: int) -> None:
    if group_size < connections:
        raise UsageError("--group-size must not be below --connections: all of them are members.")
    for option in ("--groups", "--workers"):
        if arguments[option] != "1":
            raise UsageError(f"The shape `crowd` has one group and one worker: no {option}.")


def _whole(arguments: dict[str, Any], option: str, least: int, most: int) -> int:
    text = arguments[option]
    if not text.isdigit() or not least <= int(text) <= most:
        raise UsageError(f"{option} must be a whole number from {least} to {most}, not {text!r}.")
    return int(text)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.rpartition("/")[2].strip("[]"), int(port)


def is_compiled(cluster: Running) -> bool:
    """Do all processes of this host run compiled packages (docs/adr/0008)?"""
    return all(status.get("compiled", False) for status in cluster.statuses())


def journal_syncs(cluster: Running) -> tuple[int, int]:
    """(journal syncs, journal entries) that the storages have made so far."""
    syncs = entries = 0
    for status in cluster.statuses():
        syncs += status.get("journal_syncs", 0)
        entries += status.get("journal_entries", 0)
    return syncs, entries
