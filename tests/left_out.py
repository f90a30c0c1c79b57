"""What cannot run here is left out, and said: which tests, why, and how to run them.

With ZMQIM_NOTHING_LEFT_OUT=1 (CI) a test that is left out, for whatever reason, fails the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
from power_cut import PowerCutDisk

sys.path.append(str(Path(__file__).parents[1]))
from tools.chaos.cluster import clock_can_be_set

STRICT_VARIABLE = "ZMQIM_NOTHING_LEFT_OUT"
CLIENTS = Path(__file__).parent / "clients"
NODE_HINT = "apt-get install -y nodejs npm && rm -f .venv/.installed && make test"
ROOT_HINT = "sudo make test"
FAKETIME_HINT = "apt-get install -y libfaketime && sudo make test"
FUSE_HINT = "apt-get install -y fuse3 && sudo make test (a container needs /dev/fuse)"


def apply(items: list[pytest.Item]) -> None:
    """Marks what needs Node.js, FUSE, libfaketime or root as skipped where that is missing."""
    for item in items:
        if item.get_closest_marker("needs_root") and not root_is_here():
            item.add_marker(pytest.mark.skip(reason=f"needs root: {ROOT_HINT}"))
        if item.get_closest_marker("needs_fuse") and not fuse_is_here():
            item.add_marker(pytest.mark.skip(reason=f"needs FUSE mounts: {FUSE_HINT}"))
        if item.get_closest_marker("needs_faketime") and not clock_can_be_set():
            item.add_marker(pytest.mark.skip(reason=f"needs libfaketime: {FAKETIME_HINT}"))
        if item.get_closest_marker("needs_node") and not node_is_here():
            item.add_marker(pytest.mark.skip(reason=f"needs Node.js with npm: {NODE_HINT}"))


def summary(terminal: pytest.TerminalReporter) -> None:
    """Says at the end what was left out and how to run it."""
    skipped = terminal.stats.get("skipped", [])
    if not skipped:
        return
    reasons: dict[str, int] = {}
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
        reasons[reason] = reasons.get(reason, 0) + 1
    terminal.section("left out", sep="-")
    for reason, count in sorted(reasons.items()):
        terminal.line(f"{count} × {reason.removeprefix('Skipped: ')}")


def is_strict() -> bool:
    """Whether nothing may be left out."""
    return os.environ.get(STRICT_VARIABLE, "") not in ("", "0")


@cache
def root_is_here() -> bool:
    """Root that may make mounts and network namespaces; in a container it often may not."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    probe = subprocess.run(
        ["unshare", "--mount", "--net", "true"], capture_output=True, check=False
    )
    return probe.returncode == 0


@cache
def fuse_is_here() -> bool:
    """Whether a file system of our own can be mounted: it is tried."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or shutil.which("fusermount3") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            PowerCutDisk(Path(folder)).close()
        except OSError:
            return False
    return True


def node_is_here() -> bool:
    """Node.js, and the modules that `make setup` installs."""
    return shutil.which("node") is not None and (CLIENTS / "node_modules").is_dir()
