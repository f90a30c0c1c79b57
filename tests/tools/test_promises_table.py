"""tools/promises.py finds marks wherever they stand, and what is missing is a fault."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("promises", ROOT / "tools" / "promises.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TESTS = """
import pytest
@pytest.mark.promise("P1")
@pytest.mark.promise("P2", "P3")
def test_one(): ...
@pytest.mark.promise("P4")
class TestAll:
    def test_two(self): ...
def test_none(): ...
TestModel = pytest.mark.promise("P5")(Machine.TestCase)
"""


def test_marks_are_found_on_functions_classes_and_machines(
    tool: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(TESTS)
    (tmp_path / "tests" / "test_y.py").write_text(
        'pytestmark = [pytest.mark.promise("P1")]\nasync def test_three(): ...\n'
    )
    assert tool.tests_by_promise(tmp_path) == {
        "P1": ["tests/test_x.py::test_one", "tests/test_y.py::test_three"],
        "P2": ["tests/test_x.py::test_one"],
        "P3": ["tests/test_x.py::test_one"],
        "P4": ["tests/test_x.py::test_two"],
        "P5": ["tests/test_x.py::TestModel"],
    }


def test_a_promise_of_this_version_without_a_test_is_a_fault(tool: ModuleType) -> None:
    promises = {"P1": ("kept", "0.1"), "P2": ("partly", "0.1 in part"), "P7": ("later", "next")}
    assert tool.faults_of(promises, {"P1": ["a::b"]}) == [
        "P2 is made since 0.1 in part, but no test is marked with it: partly"
    ]
    newer = {"P7": ("kept", "0.2")}
    assert tool.faults_of(newer, {}) == [
        "P7 is made since 0.2, but no test is marked with it: kept"
    ]
    assert "no promise" in tool.faults_of(promises, {"P1": ["a"], "P2": ["b"], "P9": ["c"]})[0]


def test_the_promises_of_the_architecture_are_read(tool: ModuleType) -> None:
    promises = tool.promises_of((ROOT / "docs" / "ARCHITECTURE.md").read_text())
    assert {"P1", "P2", "P6", "P12"} <= set(promises)
    assert promises["P2"][1] == "0.1"


def test_only_the_text_between_the_marks_is_replaced(tool: ModuleType) -> None:
    page = f"before\n{tool.BEGIN}\nold\n{tool.END}\nafter\n"
    once = tool.with_table(page, "new")
    assert once == f"before\n{tool.BEGIN}\nnew\n{tool.END}\nafter\n"
    assert tool.with_table(once, "new") == once
