"""Look for faults in a topology file, and show what it describes.

Usage:
  zmqim check TOPOLOGY

Options:
  -h --help  Show this.

TOPOLOGY is a path, or the name of a topology that comes with zmqim. Every fault is printed with its
line and key; the exit code is then 2.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from zmqim.commands.tables import print_table
from zmqim.errors import EXIT_OK
from zmqim.ring.guarantee import guarantee, warnings
from zmqim.topology import Gateway, Process, Storage, find, load


def run(arguments: Mapping[str, str]) -> int:
    """Reads the file and prints its processes, its guarantee and what should be known."""
    path = find(arguments["TOPOLOGY"])
    topology = load(path)
    table = Table(box=None, pad_edge=False)
    for heading in ("process", "role", "host", "bus", "more"):
        table.add_column(heading)
    for process in topology.processes():
        table.add_row(
            process.name, process.role.name.lower(), process.host, process.address, _more(process)
        )
    print_table(table)
    print(f"{topology.partitions} partitions; {guarantee(topology)}.")
    for note in (*warnings(topology), *topology.notes()):
        print(f"Note: {note}.")
    print(f"{path}: no faults")
    return EXIT_OK


def _more(process: Process) -> str:
    if isinstance(process, Gateway):
        return " ".join(listener.url for listener in process.listeners)
    if isinstance(process, Storage):
        return f"zone {process.zone}, weight {process.weight}"
    return ""
