"""How a presence entry counts in a shard's digest: gateways and routers must agree on it.

A digest is the number of entries and the XOR of their hashes, so an entry that comes or goes
changes it without a look at the others (docs/adr/0001).
"""

from __future__ import annotations

from typing import Final

import msgspec
import xxhash

from zmqim.bus.messages import PresenceEntry

_encode: Final = msgspec.msgpack.Encoder().encode


def entry_hash(entry: PresenceEntry) -> int:
    """64 bits of xxh3 over the entry's bus encoding."""
    return xxhash.xxh3_64_intdigest(_encode(entry))
