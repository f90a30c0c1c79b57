"""Which modules may be compiled (setup.py, docs/adr/0008)."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOT = (
    "bus/endpoint.py",
    "bus/sockets.py",
    "chat/messages.py",
    "chat/state.py",
    "gateway/pushing.py",
    "gateway/sending.py",
    "raft/core.py",
    "raft/groups.py",
    "raft/log.py",
    "router/fanout.py",
    "router/routing.py",
    "storage/core.py",
    "store/journal.py",
    "wkproto/codec.py",
)
"""What runs for each message: a class with keywords in one of these would leave it interpreted."""
KEPT = ("bus/messages.py", "bus/replication.py", "chat/operations.py", "chat/rows.py")
"""Their classes lose their tags, and so their encoding, when mypyc translates them."""


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.chdir(ROOT)
    names = runpy.run_path("setup.py", run_name="setup")
    groups = names["GROUPS"].values()
    found = [names["modules_of"](package) for packages in groups for package in packages]
    return {str(path.relative_to("zmqim")) for paths in found for path in paths}


def test_what_runs_for_each_message_can_be_compiled(compiled: set[str]) -> None:
    assert set(HOT) <= compiled


def test_what_mypyc_would_translate_wrongly_is_left_as_it_is(compiled: set[str]) -> None:
    assert not compiled.intersection(KEPT)
    assert not [name for name in compiled if "/http/" in name]
