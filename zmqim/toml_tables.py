"""TOML tables that know the line of every key and gather faults instead of stopping at the first.

`tomllib` gives values without lines, so a small scan of the text finds them: strings and comments
are blanked, then every line that starts outside of brackets is a table header, a key or nothing.
Who reads a table (zmqim/topology.py) asks for each key with its type and range; what is wrong is
written to the common list of faults and a usable default is returned, so that one pass finds
everything.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from typing import Any

Path = tuple[str | int, ...]
"""Where a value stands: ``("gateway", 0, "listeners")``."""
Fault = tuple[int, str, str]
"""(line, dotted key, sentence)."""

_STRING_OR_COMMENT = re.compile(
    r'"""(?:\\.|.)*?"""|' r"'''.*?'''|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'|#[^\n]*",
    re.DOTALL,
)
_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\- ]+?)\s*\]")
_KEY = re.compile(r"\s*([\w.-]+)\s*=")
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class Document:
    """A parsed TOML text, the lines of its keys and the faults found so far."""

    def __init__(self, text: str) -> None:
        self.faults: list[Fault] = []
        self._text_lines = text.split("\n")
        self._lines: dict[Path, int] = {}
        values: dict[str, Any] = {}
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = _AT_LINE.search(str(error))
            line = int(found.group(1)) if found and found.group(1) else len(self._text_lines)
            sentence = _AT_LINE.sub("", str(error)).lower()
            self.faults.append((line, "TOML", sentence))
        else:
            self._lines = _lines_of_keys(text)
        self.root = Table(self, (), values)

    def line_of(self, path: Path) -> int:
        """Line of a key, or of the nearest thing around it that has one."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 1

    def line_of_text(self, path: Path, text: str) -> int:
        """Line on which `text` stands at or after the key `path`: an item of a long array."""
        start = self.line_of(path)
        for number, line in enumerate(self._text_lines[start - 1 :], start):
            if text in line:
                return number
        return start

    def fault(self, path: Path, sentence: str, *, line: int = 0) -> None:
        """Note that the value at `path` is wrong."""
        self.faults.append((line or self.line_of(path), dotted(path), sentence))


class Table:
    """One table: typed reads of its keys; a wrong value is a fault and reads as its default."""

    def __init__(self, document: Document, path: Path, values: dict[str, Any]) -> None:
        self.document = document
        self.path = path
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def fault(self, key: str, sentence: str) -> None:
        """Note that the value of `key` (or the whole table, when empty) is wrong."""
        self.document.fault((*self.path, key) if key else self.path, sentence)

    def only(self, known: Iterable[str]) -> None:
        """Every key that is not `known` is a fault, with the nearest known one."""
        names = tuple(known)
        for key in self._values:
            if key not in names:
                self.fault(key, f"unknown key{did_you_mean(key, names)}")

    def text(self, key: str, default: str | None) -> str:
        """A string that is not empty; `default` None means that it must be given."""
        return str(self._typed(key, str, "a string", default, ""))

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        return bool(self._typed(key, bool, "true or false", default, default))

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number from `least` to `most`."""
        value = int(self._typed(key, int, "a whole number", default, default))
        if not least <= value <= most:
            self.fault(key, f"{value} is not between {least} and {most}")
            return default
        return value

    def table(self, key: str) -> Table:
        """The table `key`; an empty one when it is not there."""
        values = self._typed(key, dict, f"a table: [{key}]", {}, {})
        return Table(self.document, (*self.path, key), values)

    def tables(self, key: str) -> list[Table]:
        """The array of tables `key`: every ``[[key]]``."""
        tables = []
        for index, values in enumerate(self.array(key)):
            path = (*self.path, key, index)
            if isinstance(values, dict):
                tables.append(Table(self.document, path, values))
            else:
                self.document.fault(path, f"must be a table: [[{key}]]")
        return tables

    def array(self, key: str) -> list[Any]:
        """An array of anything; empty when it is not there."""
        values = self._typed(key, list, "an array", [], [])
        assert isinstance(values, list)
        return values

    def _typed(self, key: str, kind: type, noun: str, default: Any, instead: Any) -> Any:
        if key not in self._values:
            if default is None:
                self.fault("", f"{key} is missing")
                return instead
            return default
        value = self._values[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fault(key, f"must be {noun}, not {_shown(value)}")
            return default if default is not None else instead
        if value == "":
            self.fault(key, "must not be empty")
        return value


def dotted(path: Path) -> str:
    """``("gateway", 0, "name")`` as people read it: ``gateway[0].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "file"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean …?)`` when a known word is near, else nothing."""
    near = difflib.get_close_matches(word, tuple(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    return repr(value)


def _lines_of_keys(text: str) -> dict[Path, int]:
    """Line of each table header and key outside of inline tables and arrays."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    depth = 0
    for number, line in enumerate(_STRING_OR_COMMENT.sub(_blank, text).split("\n"), 1):
        if depth == 0 and (header := _HEADER.match(line)):
            parts = tuple(part.strip() for part in header.group(2).split("."))
            table = _resolved(parts, counts, is_array=header.group(1) == "[[")
            lines[table] = number
            continue
        if depth == 0 and (key := _KEY.match(line)):
            path = table
            for part in key.group(1).split("."):
                path = (*path, part)
                lines.setdefault(path, number)
        depth += line.count("[") + line.count("{") - line.count("]") - line.count("}")
    return lines


def _resolved(parts: tuple[str, ...], counts: dict[Path, int], *, is_array: bool) -> Path:
    """Path of a header: every array of tables on the way means its last item."""
    path: Path = ()
    for part in parts[:-1]:
        path = (*path, part)
        if path in counts:
            path = (*path, counts[path] - 1)
    path = (*path, parts[-1])
    if is_array:
        counts[path] = counts.get(path, 0) + 1
        path = (*path, counts[path] - 1)
    return path


def _blank(found: re.Match[str]) -> str:
    return "".join(character if character == "\n" else " " for character in found.group())
