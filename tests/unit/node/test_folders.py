"""The data folder: who may take it, and where the key of the HTTP API comes from."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zmqim.errors import AlreadyRunning, NotRunning, UsageError
from zmqim.node.folders import DataFolder, new_api_key, read_api_key


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return folder


@pytest.fixture
def held(data: DataFolder) -> Iterator[int]:
    """The lock in other hands."""
    fd = os.open(data.run / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield fd
    os.close(fd)


def test_a_living_supervisor_is_named(data: DataFolder, held: int) -> None:
    data.pid("supervisor").write_text(f"{os.getpid()}\n")
    with pytest.raises(AlreadyRunning, match=rf"already runs .*pid {os.getpid()}"):
        data.lock()


def test_a_dead_supervisor_whose_parent_sleeps_is_dead_and_its_orphans_are_waited_for(
    data: DataFolder, held: int
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        data.pid("supervisor").write_text(f"{zombie.pid}\n")
        orphans = threading.Timer(0.3, fcntl.flock, (held, fcntl.LOCK_UN))
        orphans.start()
        os.close(data.lock())
        orphans.join()


def test_a_key_is_only_made_where_a_cluster_keeps_its_data(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="not the data folder"):
        new_api_key(DataFolder(tmp_path / "typo"))
    assert not (tmp_path / "typo").exists()


def test_a_key_is_found_and_else_there_is_a_sentence(
    data: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZMQIM_API_KEY", raising=False)
    with pytest.raises(UsageError, match="There is no API key in"):
        read_api_key(data.api_key)
    made = new_api_key(data)
    assert read_api_key(data.api_key) == made
    with pytest.raises(UsageError, match="ZMQIM_API_KEY, which is not set here"):
        read_api_key(None)
    data.api_key.write_text("short\n")
    with pytest.raises(UsageError, match="has 5 characters"):
        read_api_key(data.api_key)
