"""The process of the clients, started where they live, told, listened to."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from tools.chaos.cluster import NotInTime
from tools.chaos.plan import Plan
from zmqim.sim.history import History

READY_SECONDS_MAX = 120.0
DONE_SECONDS_MAX = 900.0
ROOT = Path(__file__).parents[2]


class Clients:
    """A context manager around the process."""

    def __init__(self, plan: Plan, inside: list[str]) -> None:
        """`inside` is put before the command: where the clients live."""
        self._plan = plan
        self._lines: dict[str, Any] = {}
        # The tools lie beside the package: what is compiled stands before both.
        paths = filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)])
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-P", "-m", "tools.chaos.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self._tell(msgspec.json.encode(plan).decode())

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._listening.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def begin(self) -> None:
        """Wait until everybody is online, then let them write."""
        self._heard("ready", READY_SECONDS_MAX)
        self._tell("go")

    @property
    def counted(self) -> dict[str, Any]:
        """What they counted a moment ago."""
        found: dict[str, Any] = self._lines.get("counted") or {"sent": 0, "acknowledged": 0}
        return found

    def end(self) -> tuple[History, dict[str, Any]]:
        """Let them finish and read everything; their history, and what they counted at last."""
        self._tell("quiet")
        done: dict[str, Any] = self._heard("done", DONE_SECONDS_MAX)
        with Path(self._plan.history).open("rb") as file:
            history = pickle.load(file)
        assert isinstance(history, History)
        return history, done

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.update(msgspec.json.decode(line))

    def _heard(self, name: str, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while name not in self._lines:
            if "failed" in self._lines:
                raise NotInTime(f"the clients failed: {self._lines['failed']}")
            if self._process.poll() is not None:
                raise NotInTime(f"the clients ended with exit code {self._process.returncode}")
            if time.monotonic() > deadline:
                raise NotInTime(f"the clients did not say {name!r} within {seconds:g} s")
            time.sleep(0.05)
        return self._lines[name]
