"""docs/COMPATIBILITY.md is right: its tests exist, and its calls are served or are not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_rig import HttpRig

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "COMPATIBILITY.md").read_text()
CALL = re.compile(r"`(GET|POST) (/[^`]*)`")
NAMED = re.compile(r"`([a-z_/]+\.py)`: ([a-z0-9_, ]+)")
UNLISTED = {"/docs", "/docs/openapi.json"}
"""What serves the document is not in it."""
FEATURES = 60


def rows_below(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    part = DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


CALLS = rows_below("HTTP calls")
ROWS = [row[-3:] for row in CALLS + rows_below("Features")]


def named_tests() -> list[tuple[str, str]]:
    return [
        (path, name.strip())
        for _, _, tests in ROWS
        for path, names in NAMED.findall(tests)
        for name in names.split(",")
    ]


def names_in(path: Path) -> set[str]:
    """The tests of a module, also those in classes, without `test_`."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {node.name.removeprefix("test_") for node in functions if node.name[:5] == "test_"}


@pytest.mark.parametrize("path", sorted({path for path, _ in named_tests()}))
def test_every_test_that_is_named_exists(path: str) -> None:
    named = {name for place, name in named_tests() if place == path}
    assert named - names_in(ROOT / "tests" / path) == set()


def test_whatever_is_there_or_refused_names_its_test_and_nothing_else_does() -> None:
    for state, words, tests in ROWS:
        assert state in ("yes", "not yet", "not built", "neither"), words
        is_shown = state in ("yes", "not built")
        assert bool(NAMED.search(tests)) == is_shown, (state, words, tests)


def test_every_feature_has_a_row() -> None:
    assert [row[0] for row in rows_below("Features")] == [str(n) for n in range(1, FEATURES + 1)]


@pytest.fixture(scope="module")
def served() -> Iterator[set[tuple[str, str]]]:
    """The calls in the OpenAPI document."""
    with HttpRig() as rig:
        paths = rig.document["paths"].items()
        yield {(method.upper(), path) for path, methods in paths for method in methods}


def test_the_calls_are_served_that_the_document_says(served: set[tuple[str, str]]) -> None:
    states = {call: row[1] for row in CALLS for call in CALL.findall(row[0])}
    claimed = {call for call, state in states.items() if state == "yes" and call[1] not in UNLISTED}
    assert claimed - served == set()
    assert {call for call in served if states.get(call, "yes") != "yes"} == set()
