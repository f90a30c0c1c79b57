"""`zmqim chat` on a real terminal: what arrives does not mix with what is typed."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest
from running_cluster import RunningCluster, zmqim

SECONDS = 30.0


class Terminal:
    """A command on a pseudo terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "zmqim.cli", *words],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            env={**os.environ, "TERM": "xterm"},
        )

    def until(self, text: str) -> None:
        """Reads on until `text` was shown."""
        deadline = time.monotonic() + SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown!r}"
            if select.select([self.ours], [], [], 0.1)[0]:
                self.shown += os.read(self.ours, 4_096).decode()

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal(cluster: RunningCluster) -> Iterator[Terminal]:
    words = ("chat", "--as", "alice", "--with", "bob", "--data", str(cluster.data))
    made = Terminal(*words)
    yield made
    made.close()


def test_a_half_typed_line_is_drawn_again_below_what_arrives(
    cluster: RunningCluster, terminal: Terminal
) -> None:
    data = ("--data", str(cluster.data))
    terminal.until("Ctrl-D ends")
    terminal.press("hal")
    terminal.until("hal")
    assert zmqim("send", "--as", "bob", "--to", "alice", "hi", *data).returncode == 0
    terminal.until("\r\x1b[Jbob: hi\r\n\r\x1b[Jhal")
    terminal.press("f done\n")
    terminal.until("half done\r\n")
    terminal.press("\x04")
    assert terminal.process.wait(SECONDS) == 0
    assert termios.tcgetattr(terminal.theirs) == terminal.before
    again = zmqim("chat", "--as", "bob", "--with", "alice", *data)
    assert again.stdout.splitlines()[-2:] == ["bob: hi", "alice: half done"]


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    terminal.until("Ctrl-D ends")
    terminal.press("half")
    terminal.until("half")
    terminal.process.send_signal(2)
    assert terminal.process.wait(SECONDS) == 0
    assert termios.tcgetattr(terminal.theirs) == terminal.before
