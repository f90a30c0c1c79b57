"""What the tests of the simulation choose: seeds that once failed, and which mutants may wait."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import pytest

LINES = (Path(__file__).parent / "seeds.txt").read_text().splitlines()
KEPT = {int(line.split()[0]) for line in LINES if line[0].isdigit()}
KEPT_SMALL = {int(line.split()[1]) for line in LINES if line.startswith("small ")}
"""Of the big world, and of the small one."""


class Row(Protocol):
    """A row of a table of mutants."""

    @property
    def name(self) -> str: ...
    @property
    def is_slow(self) -> bool: ...


def mutants(table: Iterable[Row]) -> list[Any]:
    """The rows as parameters of a test; `make test` leaves the slow ones to `make test-long`."""
    return [pytest.param(one, id=one.name, marks=[pytest.mark.long] * one.is_slow) for one in table]
