"""Control sockets: a question and an answer, whoever asks and however they break off."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_cluster import wait_for

from zmqim import limits
from zmqim.errors import DeadlinePassed, NotRunning
from zmqim.node.control import ControlServer, ask


class Serving:
    """A control server in a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control = ControlServer(
            folder, "router-1", {"big": lambda: {"text": "x" * 3_000_000}}, {"name": "router-1"}
        )
        self._going = True
        self._thread = threading.Thread(target=self._loop)
        self._thread.start()

    def _loop(self) -> None:
        while self._going:
            self.control.serve(lambda: {"sessions": 3})

    def close(self) -> None:
        self._going = False
        self._thread.join()
        self.control.close()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    folder = tmp_path / ("deep-" * 30)
    folder.mkdir()
    made = Serving(folder)
    yield made
    made.close()


def connected(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    monkeypatch.chdir(serving.folder)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("router-1.sock")
    return connection


def test_status_is_answered_with_the_facts_in_front(serving: Serving) -> None:
    assert ask(serving.folder, "router-1", "status") == {"name": "router-1", "sessions": 3}


def test_an_answer_larger_than_the_sockets_buffers_arrives_whole(serving: Serving) -> None:
    assert ask(serving.folder, "router-1", "big") == {"text": "x" * 3_000_000}


def test_an_unknown_question_is_answered_so(serving: Serving) -> None:
    assert "nobody answers" in str(ask(serving.folder, "router-1", "dance")["error"])


def test_whoever_asks_nothing_asks_too_much_or_leaves_disturbs_nobody(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(serving, monkeypatch).close()
    with connected(serving, monkeypatch) as babbler:
        babbler.sendall(b"x" * 5_000)
        wait_for(lambda: _is_closed(babbler), 5, "the babbler is closed")
    with contextlib.ExitStack() as open_ones:
        idle = [
            open_ones.enter_context(connected(serving, monkeypatch))
            for _ in range(limits.CONTROL_CLIENTS_MAX + 3)
        ]
        assert ask(serving.folder, "router-1", "status")["sessions"] == 3
        wait_for(lambda: _is_closed(idle[0]), 5, "the oldest is closed")


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_where_nobody_listens_nobody_runs(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="router-1 does not run"):
        ask(tmp_path, "router-1", "status")
    with pytest.raises(NotRunning):
        ask(tmp_path / "nowhere", "router-1", "status")


def test_a_process_that_does_not_answer_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONTROL_ANSWER_MS", 100)
    control = ControlServer(tmp_path, "router-1", {}, {})
    with pytest.raises(DeadlinePassed, match="did not answer"):
        ask(tmp_path, "router-1", "status")
    control.close()
    assert not (tmp_path / "router-1.sock").exists()
