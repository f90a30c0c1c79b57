"""Shared by all tests; modules beside it (`store_damage`) can be imported from every folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dealing
import left_out
import pytest
from hypothesis import HealthCheck, settings
from running_cluster import RunningCluster

from zmqim.version import is_compiled

ClusterMaker = Callable[..., RunningCluster]


def pytest_configure() -> None:
    # How long an example takes says how busy the machine is. A failure is to be seen again.
    settings.register_profile(
        "zmqim", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
    )
    settings.load_profile("zmqim")
    if os.environ.get("ZMQIM_COMPILED") == "1":  # make test-compiled
        assert is_compiled(), "the tests found the plain source instead of .compiled"
    # A shell that starts the tests in the background makes them, and all their children, deaf to
    # Ctrl-C; the tests of Ctrl-C need it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_compiled():
        apart = [item for item in items if item.get_closest_marker("plain_source")]
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in apart]
    left_out.apply(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> dealing.ByFile:
    return dealing.ByFile(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out.summary(terminalreporter)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if left_out.is_strict() and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """A running cluster with one process of each kind, shared by the tests of a module."""
    running = RunningCluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield running.up()
    finally:
        running.close()


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[ClusterMaker]:
    """Makes clusters, not yet started, for one test: `new_cluster(text=None, host="")`."""
    made: list[RunningCluster] = []

    def make(text: str | None = None, host: str = "") -> RunningCluster:
        folder = tmp_path / f"cluster-{len(made)}"
        folder.mkdir()
        made.append(RunningCluster(folder, text, host))
        return made[-1]

    yield make
    for running in made:
        running.close()
