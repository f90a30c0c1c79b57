"""Log entries and their bytes (docs/REPLICATION.md 3).

An entry's bytes are ``chain | term | index | hlc | kind | payload``. The chain is a digest of the
whole log up to the entry: xxh3_64 over the chain before it and its own bytes behind the chain. So
two logs that hold the same chain at an index are the same log, and an entry that was exchanged,
reordered or rewritten is seen when it is read back. Damage of single bytes is found earlier, by
the checksum of the frame that carries the entry: the store's on disk, the bus's on the wire.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from xxhash import xxh3_64_intdigest

from zmqim.errors import WireError

CHAIN: Final = struct.Struct(">Q")
ENTRY: Final = struct.Struct(">QQQQB")
"""All but the payload."""
_KINDS_MAX: Final = 2


class EntryKind(IntEnum):
    """What the payload of an entry is."""

    NO_OP = 0
    """Empty: the first entry of a leader's term."""
    OPERATION = 1
    """An encoded operation of the state machine."""
    CONFIG = 2
    """An encoded `raft.config.GroupConfig`: who holds the group from here on."""


NO_OP: Final = int(EntryKind.NO_OP)
OPERATION: Final = int(EntryKind.OPERATION)
CONFIG: Final = int(EntryKind.CONFIG)
"""Plain numbers: an enumeration's member costs a look-up for each entry."""


class Entry:
    """One entry of a partition's log. Never changed."""

    __slots__ = ("chain", "hlc", "index", "kind", "payload", "term")

    def __init__(
        self, term: int, index: int, hlc: int, kind: int, payload: bytes, chain: int
    ) -> None:
        self.term = term
        self.index = index
        self.hlc = hlc
        self.kind = kind
        self.payload = payload
        self.chain = chain

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and encode_entry(self) == encode_entry(other)

    def __hash__(self) -> int:
        return hash((self.chain, self.index))


def chain_of(previous: int, content: bytes) -> int:
    """The chain of an entry whose bytes behind the chain are `content`."""
    return xxh3_64_intdigest(previous.to_bytes(8, "big") + content)


def encode_entry(entry: Entry) -> bytes:
    """The bytes of `entry`, as the journal stores them."""
    return ENTRY.pack(entry.chain, entry.term, entry.index, entry.hlc, entry.kind) + entry.payload


def decode_entry(body: bytes) -> Entry:
    """The entry in `body`; `WireError` if it is none."""
    try:
        chain, term, index, hlc, kind = ENTRY.unpack_from(body)
    except struct.error:
        raise WireError(f"not a log entry: {len(body)} bytes") from None
    if kind > _KINDS_MAX:
        raise WireError(f"log entry {index} has the unknown kind {kind}")
    return Entry(term, index, hlc, kind, body[ENTRY.size :], chain)


def follows(body: bytes, previous_chain: int) -> bool:
    """Does the encoded entry continue the log that ends with `previous_chain`?"""
    (chain,) = CHAIN.unpack_from(body)
    return bool(chain == chain_of(previous_chain, body[CHAIN.size :]))
