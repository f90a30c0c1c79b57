"""A command line that cannot be ends with a sentence and the usage."""

from __future__ import annotations

import pytest

from zmqim.cli import main
from zmqim.errors import EXIT_USAGE


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["send", "--as", "ada", "hello"], "Something is missing"),
        (["send", "--as", "ada", "--to", "bob", "hello", "you"], "does not belong there"),
        (["send", "--loud"], "does not belong there"),
        (["send", "--data"], "--data requires argument."),
    ],
)
def test_what_is_wrong_with_a_command_line_is_said_in_words(
    capsys: pytest.CaptureFixture[str], words: list[str], fault: str
) -> None:
    assert main(words) == EXIT_USAGE
    said = capsys.readouterr().err
    assert fault in said
    assert "zmqim send --as UID (--to UID | --group ID) [options] TEXT" in said
    assert "Argument(" not in said
    assert "Option(" not in said
