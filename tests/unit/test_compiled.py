"""Which modules may be compiled, and which are (setup.py, docs/adr/0008)."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import zmqim
from zmqim.version import is_compiled

ROOT = Path(__file__).parents[2]
PACKAGE = Path(zmqim.__file__).parent
HOT = (
    "bus/endpoint.py",
    "bus/sockets.py",
    "chat/messages.py",
    "chat/state.py",
    "gateway/pushing.py",
    "gateway/sending.py",
    "jsonrpc/codec.py",
    "raft/core.py",
    "raft/entry.py",
    "raft/groups.py",
    "raft/log.py",
    "router/fanout.py",
    "router/routing.py",
    "storage/core.py",
    "store/journal.py",
    "wkproto/codec.py",
)
"""What runs for each message: a class with keywords in one of these would leave it interpreted."""
KEPT = (
    "bus/messages.py",
    "bus/replication.py",
    "chat/encoding.py",
    "chat/notices.py",
    "chat/operations.py",
    "chat/queries.py",
    "chat/results.py",
    "chat/rows.py",
    "jsonrpc/shapes.py",
)
"""Their classes lose their tags, and so their encoding, when mypyc translates them; those of the
last one could not even be made."""


@pytest.fixture
def compilable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.chdir(ROOT)
    names = runpy.run_path("setup.py", run_name="setup")
    groups = names["GROUPS"].values()
    found = [names["modules_of"](package) for packages in groups for package in packages]
    return {str(path.relative_to("zmqim")) for paths in found for path in paths}


def test_what_runs_for_each_message_can_be_compiled(compilable: set[str]) -> None:
    assert set(HOT) <= compilable


def test_what_mypyc_would_translate_wrongly_is_left_as_it_is(compilable: set[str]) -> None:
    assert not compilable.intersection(KEPT)


def test_exceptions_say_what_belongs_to_their_class(compilable: set[str]) -> None:
    """Else mypyc drops it in silence."""
    seen = 0
    for name in sorted(compilable):
        module = import_module(f"zmqim.{name[:-3].replace('/', '.')}")
        for node in ast.parse((ROOT / "zmqim" / name).read_text()).body:
            if isinstance(node, ast.ClassDef) and _is_exception(module, node.name):
                assert not list(_plain_attributes(node)), f"{name}: {node.name}"
                seen += 1
    assert seen > 5


def test_exactly_what_can_be_compiled_is(compilable: set[str]) -> None:
    """Of the plain source nothing; of the compiled one (`make test-compiled`) everything."""
    extensions = {
        str(path.relative_to(PACKAGE)).partition(".")[0] + ".py" for path in PACKAGE.rglob("*.so")
    }
    assert extensions == (compilable if is_compiled() else set())


def _is_exception(module: ModuleType, name: str) -> bool:
    return issubclass(getattr(module, name), BaseException)


def _plain_attributes(node: ast.ClassDef) -> Iterator[ast.stmt]:
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            yield statement
        is_given = isinstance(statement, ast.AnnAssign) and statement.value is not None
        if is_given and "ClassVar" not in ast.unparse(statement.annotation):
            yield statement
