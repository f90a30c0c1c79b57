"""Writes the table promise → tests into docs/TESTING.md, from the marks in the tests.

Usage:
  promises.py [--check]

A test that shows a promise of docs/ARCHITECTURE.md section 1 carries `@pytest.mark.promise("P2")`.
With --check nothing is written: fails when the table is stale, when a mark names an unknown
promise, or when a promise that is made since a version (0.1, 0.2) has no test.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN = "<!-- made by tools/promises.py: begin -->"
END = "<!-- made by tools/promises.py: end -->"
_PROMISE = re.compile(r"^\| (P\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def main() -> int:
    promises = promises_of((ROOT / "docs/ARCHITECTURE.md").read_text())
    tests = tests_by_promise(ROOT)
    page = ROOT / "docs/TESTING.md"
    old = page.read_text()
    new = with_table(old, table(promises, tests))
    faults = faults_of(promises, tests)
    if "--check" not in sys.argv[1:]:
        page.write_text(new)
    elif new != old:
        faults.append("docs/TESTING.md is stale: run tools/promises.py")
    for fault in faults:
        print(f"promises: {fault}", file=sys.stderr)
    return 1 if faults else 0


def promises_of(text: str) -> dict[str, tuple[str, str]]:
    """Number → (sentence, since) from the table of the architecture."""
    return {number: (sentence, since) for number, sentence, since in _PROMISE.findall(text)}


def tests_by_promise(root: Path) -> dict[str, list[str]]:
    """Number → ``file::test`` of every test that is marked with it."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        if "node_modules" in path.parts:
            continue
        tree = ast.parse(path.read_text(), str(path))
        everywhere = _module_marks(tree)
        for name, decorators in _tests(tree):
            marks = everywhere | {mark for node in decorators for mark in _marks(node)}
            for number in sorted(marks):
                found.setdefault(number, []).append(f"{path.relative_to(root)}::{name}")
    return found


def faults_of(promises: dict[str, tuple[str, str]], tests: dict[str, list[str]]) -> list[str]:
    """What `make check` must not let pass."""
    faults = [
        f"{number} is made since {since}, but no test is marked with it: {sentence}"
        for number, (sentence, since) in promises.items()
        if since[:1].isdigit() and number not in tests
    ]
    for number in tests:
        if number not in promises:
            faults.append(f"{tests[number][0]} is marked with {number}, which is no promise")
    return faults


def table(promises: dict[str, tuple[str, str]], tests: dict[str, list[str]]) -> str:
    """The table as Markdown: one row a promise, its tests grouped by file."""
    lines = ["| # | promise | since | shown by |", "|---|---|---|---|"]
    for number, (sentence, since) in promises.items():
        by_file: dict[str, list[str]] = {}
        for test in tests.get(number, []):
            file, _, name = test.partition("::")
            by_file.setdefault(file, []).append(name)
        shown = "<br>".join(
            f"`{file}`: {', '.join(name.removeprefix('test_') for name in names)}"
            for file, names in by_file.items()
        )
        lines.append(f"| {number} | {sentence} | {since} | {shown or '–'} |")
    return "\n".join(lines)


def with_table(page: str, rows: str) -> str:
    """The page with the text between the two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{rows}\n{END}{after}"


def _tests(tree: ast.Module) -> list[tuple[str, list[ast.expr]]]:
    """Every test function with its own and its class's decorators."""
    found: list[tuple[str, list[ast.expr]]] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            own = list(node.decorator_list)
            members = [child for child in node.body if isinstance(child, _FUNCTIONS)]
            found += [(child.name, own + child.decorator_list) for child in members]
            if any(isinstance(base, ast.Attribute | ast.Name) for base in node.bases):
                found.append((node.name, own))
        elif isinstance(node, _FUNCTIONS):
            found.append((node.name, list(node.decorator_list)))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id  # TestX = pytest.mark.promise("P1")(Machine.TestCase)
            if name.startswith("Test"):
                found.append((name, [node.value]))
    return [(name, marks) for name, marks in found if name.lower().startswith("test")]


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _module_marks(tree: ast.Module) -> set[str]:
    """Numbers in `pytestmark = …` of a module."""
    marks: set[str] = set()
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        if any(isinstance(one, ast.Name) and one.id == "pytestmark" for one in node.targets):
            marks |= set(_marks(node.value))
    return marks


def _marks(node: ast.AST) -> list[str]:
    """Arguments of every `pytest.mark.promise(…)` in an expression."""
    return [
        str(argument.value)
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "promise"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    ]


if __name__ == "__main__":
    sys.exit(main())
