"""`python -m zmqim.sim`: which seeds are run, and what is remembered of them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from running_cluster import wait_for

from zmqim.sim import __main__ as command
from zmqim.sim.run import Report, run

WORDS = ["--small", "--seeds", "2"]
DEADLINE_S = 60.0


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.split(", ")[1] for line in capsys.readouterr().out.splitlines()]


def test_many_at_once_say_what_one_after_the_other_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(WORDS) == 0
    one_by_one = _lines(capsys)
    assert len(set(one_by_one)) == 2
    assert command.main([*WORDS, "--jobs", "2"]) == 0
    assert _lines(capsys) == one_by_one


def test_what_held_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "held"
    words = ["--small", "--held", str(file), "--seeds"]
    assert command.main([*words, "1"]) == 0
    assert len(_lines(capsys)) == 1
    assert file.read_text() == "small 0\n"
    assert command.main([*words, "2"]) == 0
    assert len(_lines(capsys)) == 1
    assert file.read_text() == "small 0\nsmall 1\n"


def test_what_failed_is_named_and_not_remembered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(seed: int, small: bool) -> Report:
        report = run(seed, small=small)
        return report if seed else replace(report, violations=("I-1: lost",))

    monkeypatch.setattr(command, "run", fails)
    file = tmp_path / "held"
    assert command.main([*WORDS, "--held", str(file)]) == 1
    assert file.read_text() == "small 1\n"
    assert "again: python -m zmqim.sim --small --seeds 1 --first 0" in capsys.readouterr().out


def test_who_is_told_to_stop_leaves_no_process_behind() -> None:
    words = [sys.executable, "-m", "zmqim.sim", "--small", "--jobs", "2"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline()  # so both are at work
        started.terminate()
        assert started.wait(DEADLINE_S) == 130
    wait_for(lambda: _is_gone(started.pid), DEADLINE_S, "its processes ended too")


def _is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_is_no_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--seeds", "many"]) == 2
    assert "numbers" in capsys.readouterr().err
