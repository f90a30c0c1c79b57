"""Tables for people: as wide as the terminal, or as wide as they need to be in a pipe."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 200


def print_table(table: Table) -> None:
    """Prints a table on stdout."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(highlight=False, width=width).print(table)
