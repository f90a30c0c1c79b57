"""docs/PROTOCOL.md lists every message, operation, query, result and code as the sources have it.

``python tests/unit/bus/test_bus_protocol_document.py`` prints the tables anew.
"""

from __future__ import annotations

import types
import typing
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zmqim.bus import messages, replication
from zmqim.bus.codes import MESSAGE_CODES
from zmqim.bus.messages import Body, OutcomeCode
from zmqim.bus.replication import BootCode, ChangeCode
from zmqim.chat import notices, operations, queries, results
from zmqim.meta import operations as meta
from zmqim.meta.operations import FoundingNode, MetaReason
from zmqim.meta.record import BirthRecord, Genesis
from zmqim.raft.config import GroupConfig, Place

DOCUMENT = Path(__file__).parents[3] / "docs" / "PROTOCOL.md"
WORDS = {int: "int", str: "str", bytes: "bin", bool: "bool", type(None): "nil"}


def word_of(kind: Any) -> str:
    """A type as the document writes it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return f"[{word_of(arguments[0])}]"
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"[{word_of(arguments[0])}]"
    if origin is tuple:
        return "(" + ", ".join(map(word_of, arguments)) + ")"
    if origin is dict:
        return "{" + " → ".join(map(word_of, arguments)) + "}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(word_of, arguments))
    return WORDS.get(kind) or str(kind.__name__)


def fields_of(kind: type[msgspec.Struct]) -> str:
    """Fields in order; those with a default may be left out at the end."""
    words = []
    hints = typing.get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        word = f"{field.name}: {word_of(hints[field.name])}"
        if field.default is not msgspec.NODEFAULT:
            word += f" = {_literal(field.default)}"
        elif field.default_factory is not msgspec.NODEFAULT:
            word += " = []"
        words.append(word)
    return ", ".join(words) or "—"


def _literal(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    if value == ():
        return "[]"
    return '""' if value in (b"", "") else str(value)


def message_rows() -> list[str]:
    return [f"| {code} | {kind.__name__} | {fields_of(kind)} |"
            for kind, code in MESSAGE_CODES.items()]  # fmt: skip


def part_rows() -> list[str]:
    parts = [
        one
        for one in {**vars(messages), **vars(replication)}.values()
        if isinstance(one, type) and issubclass(one, Body)
        if one not in (Body, replication.GroupBody)
    ]
    return [f"| {one.__name__} | {fields_of(one)} |" for one in parts if one not in MESSAGE_CODES]


def tagged_rows(union: Any) -> list[str]:
    return [
        f"| {kind.__struct_config__.tag} | {kind.__name__} | {fields_of(kind)} |"
        for kind in typing.get_args(union)
    ]


def code_rows(codes: type[IntEnum]) -> list[str]:
    return [f"| {one.value} | {one.name} |" for one in codes]


def meta_part_rows() -> list[str]:
    parts = (BirthRecord, Genesis, GroupConfig, Place, FoundingNode)
    return [f"| {one.__name__} | {fields_of(one)} |" for one in parts]


TABLES = {
    "messages": message_rows,
    "parts": part_rows,
    "operations": lambda: tagged_rows(operations.Operation),
    "queries": lambda: tagged_rows(queries.Query),
    "results": lambda: tagged_rows(results.Result),
    "notices": lambda: tagged_rows(notices.Notice),
    "outcomes": lambda: code_rows(OutcomeCode),
    "meta operations": lambda: tagged_rows(meta.MetaOperation),
    "meta results": lambda: tagged_rows(meta.MetaResult),
    "meta parts": meta_part_rows,
    "meta reasons": lambda: code_rows(MetaReason),
    "boot codes": lambda: code_rows(BootCode),
    "change codes": lambda: code_rows(ChangeCode),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_protocol_document_says_what_the_source_says(name: str) -> None:
    text = DOCUMENT.read_text()
    assert [row for row in TABLES[name]() if row.removesuffix(" |") not in text] == []


if __name__ == "__main__":
    for table, rows in TABLES.items():
        print(f"\n{table}\n", *rows(), sep="\n")
