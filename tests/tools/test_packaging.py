"""What `pip install .` puts into an environment is whole: `zmqim up` finds its topologies."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from zmqim.topology import shipped, shipped_names

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a clean copy: what lies in the working folder must not matter."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    files = [name for name in listed.decode().split("\0") if name and (ROOT / name).exists()]
    for name in files:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to((ROOT / name).readlink())
        else:
            target.write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", str(source), "--no-deps",
            "--no-build-isolation", "--quiet", "--wheel-dir", str(out),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_holds_every_topology_and_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"zmqim/topologies/{name}" for name in shipped_names()} <= names
    assert {"zmqim/py.typed", "zmqim/cli.py", "zmqim/node/main.py"} <= names
    assert not [name for name in names if name.startswith(("tests/", "topology/"))]


def test_an_installed_zmqim_finds_quickstart(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = "import zmqim.topology as t; print(t.load(t.shipped('quickstart.toml')).cluster)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "quickstart\n", done.stderr


def test_a_checkout_uses_the_one_copy_in_the_folder_topology() -> None:
    for name in shipped_names():
        assert shipped(name).resolve() == ROOT / "topology" / name
