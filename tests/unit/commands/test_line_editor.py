"""The line editor of `zmqim chat`: keys in, lines and what the terminal is told out."""

from __future__ import annotations

import pytest

from zmqim.commands.line_editor import LineEditor

ERASE = "\r\x1b[J"


class Screen:
    """What was written since it was last looked at."""

    def __init__(self, columns: int = 80) -> None:
        self.written = ""
        self.editor = LineEditor(self.write, lambda: columns)

    def write(self, text: str) -> None:
        self.written += text

    def take(self) -> str:
        written, self.written = self.written, ""
        return written


def test_a_message_stands_above_the_half_typed_line() -> None:
    screen = Screen()
    assert screen.editor.typed(b"hal") == []
    screen.take()
    screen.editor.show("bob: hi")
    assert screen.take() == f"{ERASE}bob: hi\n{ERASE}hal"
    assert screen.editor.typed(b"f\n") == ["half"]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (b"ab\x7fc\n", "ac"),
        (b"\x7f\b\r", ""),
        (b"one two \x17three\n", "one three"),
        (b"gone\x15kept\n", "kept"),
        (b"a\x1b[Ab\x1bOC\x1b[1;5Dc\n", "abc"),
        (b"a\x04\x00b\n", "ab"),
        ("grüß dich 你\x7f好\n".encode(), "grüß dich 好"),
    ],
)
def test_keys_make_the_line(keys: bytes, line: str) -> None:
    assert Screen().editor.typed(keys) == [line]


def test_a_character_may_come_in_pieces() -> None:
    screen = Screen()
    assert screen.editor.typed("ü".encode()[:1]) == []
    assert screen.editor.typed("ü".encode()[1:] + b"\n") == ["ü"]


def test_ctrl_d_ends_on_an_empty_line_only() -> None:
    assert Screen().editor.typed(b"a\x04\n\x04") == ["a", None]


def test_a_line_over_several_rows_is_erased_as_a_whole() -> None:
    screen = Screen(columns=4)
    screen.editor.typed(b"123456789")
    screen.take()
    screen.editor.show("!")
    assert screen.take().startswith(f"\x1b[2A{ERASE}!\n")
    screen.editor.typed(b"\x15")
    screen.editor.typed("你好吗".encode())
    screen.take()
    screen.editor.show("!")
    assert screen.take().startswith(f"\x1b[1A{ERASE}!\n")
