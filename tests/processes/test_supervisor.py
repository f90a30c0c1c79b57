"""The supervisor over real processes that do nothing: signals, pipes, locks and restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import plain_up
import pytest
from running_cluster import wait_for

from zmqim import limits
from zmqim.errors import AlreadyRunning
from zmqim.node.control import ask
from zmqim.node.folders import DataFolder

EVERYONE = ("gateway-1", "gateway-2", "router-1", "storage-1")


class Plain:
    """One supervisor with its data folder."""

    def __init__(self, path: Path) -> None:
        self.data = DataFolder(path)
        self.data.path.mkdir(parents=True)
        self.process: subprocess.Popen[bytes] | None = None

    def up(self, serving: bool = True) -> Plain:
        with (self.data.path / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, plain_up.__file__, str(self.data.path)],
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        if serving:
            wait_for(lambda: "serving" in self.output(), 20, "serving")
        return self

    def output(self) -> str:
        return (self.data.path / "out").read_text()

    def order(self) -> list[str]:
        path = self.data.path / "order"
        return path.read_text().split() if path.exists() else []

    def mode(self, name: str, mode: str) -> None:
        (self.data.path / f"{name}.mode").write_text(mode)

    def pid(self, name: str) -> int:
        try:
            return int(self.data.pid(name).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def status(self) -> dict[str, str]:
        found = ask(self.data.run, "supervisor", "status")["processes"]
        assert isinstance(found, dict)
        return {name: child["condition"] for name, child in found.items()}

    def end(self, number: int, seconds: float = 20) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for name in EVERYONE:
            if (pid := self.pid(name)) and _is_plain(pid):
                os.kill(pid, signal.SIGKILL)


def _is_plain(pid: int) -> bool:
    try:
        return b"plain_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Plain]:
    """The folder's path is longer than a unix socket's may be."""
    made = Plain(tmp_path / ("a-long-name-" * 10))
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_gateways_then_routers_then_storages(plain: Plain, number: int) -> None:
    assert plain.up().end(number) == 0
    assert sorted(plain.order()[:2]) == ["gateway-1", "gateway-2"]
    assert plain.order()[2:] == ["router-1", "storage-1"]
    assert not list(plain.data.run.glob("*.pid"))
    assert not list(plain.data.run.glob("*.sock"))
    assert not plain.data.locked()


def test_a_question_on_the_control_socket_stops_it_too(plain: Plain) -> None:
    plain.up()
    assert ask(plain.data.run, "supervisor", "stop") == {"stopping": True}
    assert plain.process is not None
    assert plain.process.wait(20) == 0
    assert plain.order()[2:] == ["router-1", "storage-1"]


def test_when_the_supervisor_is_killed_its_children_end_in_the_same_order(plain: Plain) -> None:
    plain.up().end(signal.SIGKILL)
    wait_for(lambda: len(plain.order()) == 4, 10, "everybody ends")
    assert sorted(plain.order()[:2]) == ["gateway-1", "gateway-2"]
    assert plain.order()[2:] == ["router-1", "storage-1"]


def test_a_deaf_gateway_does_not_hold_orphaned_routers_and_storages_for_ever(plain: Plain) -> None:
    plain.mode("gateway-2", "deaf")
    plain.up().end(signal.SIGKILL)
    began = time.monotonic()
    wait_for(lambda: "storage-1" in plain.order(), 10, "the storage ends")
    waited_ms = (time.monotonic() - began) * 1000
    assert plain.order() == ["gateway-1", "router-1", "storage-1"]
    assert limits.ORPHAN_ROUTER_MS_MAX * 0.9 < waited_ms < limits.ORPHAN_STORAGE_MS_MAX + 2_000


def test_orphans_hold_the_lock_and_a_new_supervisor_waits_for_them(plain: Plain) -> None:
    plain.up().end(signal.SIGKILL)
    assert plain.data.locked()
    (plain.data.path / "out").unlink()
    plain.up()
    assert sorted(plain.order()) == sorted(EVERYONE)


def test_a_second_supervisor_on_the_same_data_is_refused(plain: Plain) -> None:
    plain.up()
    with pytest.raises(AlreadyRunning, match="already runs on") as refused:
        plain.data.lock()
    assert str(plain.pid("supervisor")) in str(refused.value)


def test_a_killed_child_is_started_again_under_a_new_pid(plain: Plain) -> None:
    plain.up()
    for name in EVERYONE:
        old = plain.pid(name)
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: plain.pid(name) not in (0, old), 10, f"{name} is started again")  # noqa: B023
    wait_for(lambda: set(plain.status().values()) == {"ready"}, 10, "all ready")
    assert "was ended by SIGKILL; it is started again" in plain.output()


def test_a_crash_loop_is_shown_and_the_others_go_on(plain: Plain) -> None:
    plain.mode("router-1", "broken")
    plain.up(serving=False)
    wait_for(lambda: _failed(plain), 30, "the router is given up")
    assert plain.status() == {
        "gateway-1": "ready",
        "gateway-2": "ready",
        "router-1": "failed",
        "storage-1": "ready",
    }
    shown = plain.output()
    assert "router-1 ended 5 times before it was ready" in shown
    assert "cannot start  reason=it is broken" in shown
    assert "a last word on stderr" in shown
    assert plain.end(signal.SIGTERM) == 0


def test_one_process_is_restarted_alone_whether_it_runs_or_has_failed(plain: Plain) -> None:
    plain.mode("router-1", "broken")
    plain.up(serving=False)
    wait_for(lambda: _failed(plain), 30, "the router is given up")
    others = {name: plain.pid(name) for name in EVERYONE if name != "router-1"}
    plain.mode("router-1", "")
    assert ask(plain.data.run, "supervisor", "restart router-1") == {"restarting": "router-1"}
    wait_for(lambda: plain.status()["router-1"] == "ready", 10, "the router is ready")
    old = plain.pid("router-1")
    ask(plain.data.run, "supervisor", "restart router-1")
    wait_for(lambda: plain.pid("router-1") not in (0, old), 10, "it has a new life")
    wait_for(lambda: plain.status()["router-1"] == "ready", 10, "the router is ready again")
    assert {name: plain.pid(name) for name in others} == others
    assert "error" in ask(plain.data.run, "supervisor", "restart router-9")


def _failed(plain: Plain) -> bool:
    return "given up" in plain.output()


def test_a_second_ctrl_c_kills_what_does_not_stop(plain: Plain) -> None:
    plain.mode("router-1", "deaf")
    plain.up()
    assert plain.process is not None
    plain.process.send_signal(signal.SIGINT)
    wait_for(lambda: "gateway-2" in plain.order(), 10, "gateways end")
    assert plain.end(signal.SIGINT) == 0
    assert "Killing what is left" in plain.output()
    assert "router-1 was ended by SIGKILL" in plain.output()
