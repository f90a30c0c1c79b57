"""How a message is shown to people."""

from __future__ import annotations

from zmqim.client import Message
from zmqim.commands.tail import line_of


def message(text: str, channel_type: int = 1) -> Message:
    return Message(7, 3, "bob", "team", channel_type, text.encode(), 9, "m1", 0)


def test_a_person_and_a_group_are_told_apart() -> None:
    assert line_of(message("hello")) == "bob: hello"
    assert line_of(message("hello", 2)) == "[team] bob: hello"


def test_nobody_steers_the_terminal_of_another() -> None:
    shown = line_of(message("\x1b[2Jgone\r\nmallory: hi\x9b1m\u202e"))
    assert shown == "bob: \ufffd[2Jgone\ufffd\ufffdmallory: hi\ufffd1m\ufffd"
