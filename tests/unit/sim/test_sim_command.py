"""`python -m zmqim.sim`: which seeds are run, and what is remembered of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from zmqim.sim import __main__ as command
from zmqim.sim.run import Report, run

WORDS = ["--small", "--seeds", "2"]


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


def test_what_is_no_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--seeds", "many"]) == 2
    assert "numbers" in capsys.readouterr().err
