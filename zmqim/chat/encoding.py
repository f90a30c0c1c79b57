"""The encoding that operations, queries, results and notices share: a msgpack array
`[tag, field, …]` in the order written there.

It is a wire format, and for operations, results and notices a disk format too: fields are only ever
added at the end, tags are never reused (docs/PROTOCOL.md, docs/STORAGE.md).
"""

from __future__ import annotations

from typing import Final

import msgspec


class Value(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Common shape: an immutable msgpack array with an integer tag."""


encode: Final = msgspec.msgpack.Encoder().encode
