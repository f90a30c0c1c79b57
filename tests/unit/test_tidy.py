"""The source keeps to the sizes and habits of docs/STYLE.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import zmqim

PACKAGE = Path(zmqim.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
LEFTOVERS = re.compile(r"\b(FIXME|TODO|XXX|HACK)\b")
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]


@pytest.fixture(params=MODULES, ids=NAMES)
def module(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_a_module_is_one_idea_and_opens_with_why_it_exists(module: Path) -> None:
    text = module.read_text()
    assert text.count("\n") <= MODULE_LINES_MAX
    assert ast.get_docstring(ast.parse(text)), "no docstring"


def test_a_function_fits_on_a_screen(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


def test_public_classes_and_functions_say_what_they_give(module: Path) -> None:
    for node in ast.parse(module.read_text()).body:
        is_public = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if is_public and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_nothing_is_left_over(module: Path) -> None:
    assert not LEFTOVERS.search(module.read_text())


def test_no_error_is_swallowed_whole(module: Path) -> None:
    """No bare `except`, and none for Exception or BaseException that does not raise again."""
    for node in ast.walk(ast.parse(module.read_text())):
        if not isinstance(node, ast.ExceptHandler):
            continue
        assert node.type is not None, f"line {node.lineno}: bare except"
        names = {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}
        if names & {"Exception", "BaseException"}:
            raises = any(isinstance(one, ast.Raise) for one in ast.walk(node))
            assert raises, f"line {node.lineno}: except {names}"


def test_every_bound_is_used_somewhere() -> None:
    tree = ast.parse((PACKAGE / "limits.py").read_text())
    bounds = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    used = {
        word
        for path in MODULES
        if path.name != "limits.py"
        for word in re.findall(r"[A-Z][A-Z0-9_]+", path.read_text())
    }
    assert bounds - used == set()


def test_pytest_finds_every_test_file_under_a_name_of_its_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py") if _is_ours(path)]
    assert sorted(names) == sorted(set(names))


def _is_ours(path: Path) -> bool:
    return "node_modules" not in path.parts
