"""The line that a person is typing, kept apart from what arrives meanwhile.

The terminal of `zmqim chat` is in cbreak mode: it hands over each key and draws nothing itself. The
text is drawn here, erased when a message arrives, and drawn again below it. Keys: Backspace,
Ctrl-W (word), Ctrl-U (line), Enter, Ctrl-D on an empty line; what else is not text is passed over.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from rich.cells import cell_len

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)
"""A key that is more than a character: an arrow, for one."""
_LAST_WORD = re.compile(r"\S*\s*$")
CHARACTERS_MAX = 8_192
"""Of one line. Above: keys are passed over, as a terminal does with lines of 4,096 bytes."""


class LineEditor:
    """One line under the hands of a person; `write` puts text on a terminal of `columns()`."""

    def __init__(self, write: Callable[[str], object], columns: Callable[[], int]) -> None:
        self._write = write
        self._columns = columns
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._drawn = ""

    def typed(self, keys: bytes) -> list[str | None]:
        """The lines that these keys finish; None: the person wants to end."""
        lines: list[str | None] = []
        for character in _SEQUENCE.sub("", self._decoder.decode(keys)):
            match character:
                case "\r" | "\n":
                    self._draw("\n")
                    lines.append(self._text)
                    self._text = self._drawn = ""
                case "\x7f" | "\b":
                    self._text = self._text[:-1]
                case "\x15":
                    self._text = ""
                case "\x17":
                    self._text = _LAST_WORD.sub("", self._text, count=1)
                case "\x04" if not self._text:
                    lines.append(None)
                case _ if character.isprintable() and len(self._text) < CHARACTERS_MAX:
                    self._text += character
        self._draw()
        return lines

    def show(self, line: str) -> None:
        """A line above the one that is typed."""
        self._write(f"{self._erasing()}{line}\n")
        self._drawn = ""
        self._draw()

    def _draw(self, after: str = "") -> None:
        self._write(f"{self._erasing()}{self._text}{after}")
        self._drawn = self._text

    def _erasing(self) -> str:
        """To the first row of what was drawn, and nothing left below."""
        rows_above = max(0, cell_len(self._drawn) - 1) // max(1, self._columns())
        return (f"\x1b[{rows_above}A" if rows_above else "") + "\r\x1b[J"
