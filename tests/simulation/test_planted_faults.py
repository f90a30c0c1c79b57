"""Faults that a reviewer could overlook are put into the cores: seeds must find each.

The faults live here, in subclasses; the product has no switch for them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from msgspec.structs import replace

from zmqim.bus.effects import Send
from zmqim.bus.messages import Message, NoticeItem, Notices, PresenceDigest
from zmqim.chat.operations import MembersNotice, MessageNotice, Notice, encode
from zmqim.gateway.core import GatewayCore
from zmqim.gateway.effects import Effect as GatewayEffect
from zmqim.ids import Milliseconds, NodeName
from zmqim.ring.document import RingDocument
from zmqim.router.core import RouterCore
from zmqim.sim.nodes import Cores
from zmqim.sim.run import run
from zmqim.storage.core import StorageCore
from zmqim.storage.effects import Effect as StorageEffect
from zmqim.storage.effects import WriteState
from zmqim.store.interface import JournalReader, LoadedPartition, RowReader, Rows

SEEDS = 100
TAG = slice(6, 7)
"""Where the tag stands in a row's key, behind partition and install (zmqim/chat/keys.py)."""


class AcknowledgesBeforeSync(StorageCore):
    """Says what it did before it is durable."""

    def turn(self, now: int, wall_ms: int) -> list[StorageEffect]:
        effects = super().turn(now, wall_ms)
        said = [effect for effect in effects if isinstance(effect, Send)]
        return said + [effect for effect in effects if not isinstance(effect, Send)]


class _Remembered:
    """Rows, with duplicate checks that only this process knows."""

    def __init__(self, rows: RowReader) -> None:
        self._rows = rows
        self.duplicates: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.duplicates[key] if key in self.duplicates else self._rows.get(key)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        return self._rows.scan(start, stop, reverse=reverse, limit=limit)


class RemembersDuplicatesInMemory(StorageCore):
    """Finds a message that comes again only as long as it lives."""

    def __init__(
        self,
        name: NodeName,
        ring: RingDocument,
        rows: RowReader,
        journal: JournalReader,
        loaded: Mapping[int, LoadedPartition],
    ) -> None:
        self._remembered = _Remembered(rows)
        super().__init__(name, ring, self._remembered, journal, loaded)

    def turn(self, now: int, wall_ms: int) -> list[StorageEffect]:
        return [self._without_duplicates(effect) for effect in super().turn(now, wall_ms)]

    def _without_duplicates(self, effect: StorageEffect) -> StorageEffect:
        if not isinstance(effect, WriteState):
            return effect
        kept: Rows = []
        for key, body in effect.rows:
            if key[TAG] == b"D":
                self._remembered.duplicates[key] = body
            else:
                kept.append((key, body))
        return WriteState(kept)


class TellsNoDigests(GatewayCore):
    """Trusts that every announcement of a session arrives."""

    def turn(self, now: Milliseconds) -> list[GatewayEffect]:
        return [
            effect
            for effect in super().turn(now)
            if not (isinstance(effect, Send) and isinstance(effect.message, PresenceDigest))
        ]


class NeverHearsOfRemovals(RouterCore):
    """Reads the members of a channel once and believes them for ever."""

    def receive(self, now: Milliseconds, source: NodeName, message: Message) -> None:
        if isinstance(message, Notices):
            items = [kept for item in message.items if (kept := _forgetting(item)) is not None]
            message = Notices(message.partition, message.term, message.previous, items)
        super().receive(now, source, message)


def _forgetting(item: NoticeItem) -> NoticeItem | None:
    notice: Notice = msgspec.msgpack.decode(item.body, type=Notice)
    if isinstance(notice, MembersNotice):
        return None
    if isinstance(notice, MessageNotice):
        notice = replace(notice, member_version=0)
    return NoticeItem(item.index, encode(notice))


@pytest.mark.parametrize(
    ("cores", "numbers"),
    [
        pytest.param(Cores(storage=AcknowledgesBeforeSync), {"I-1"}, id="ack before sync"),
        pytest.param(
            Cores(storage=RemembersDuplicatesInMemory), {"I-3"}, id="duplicates in memory only"
        ),
        pytest.param(Cores(gateway=TellsNoDigests), {"I-17"}, id="presence without digest"),
        pytest.param(Cores(router=NeverHearsOfRemovals), {"I-11"}, id="removals not heard"),
    ],
)
def test_a_planted_fault_is_found(cores: Cores, numbers: set[str]) -> None:
    for seed in range(SEEDS):
        found = {violation.split()[0] for violation in run(seed, cores).violations}
        if numbers <= found:
            return
    pytest.fail(f"no seed of {SEEDS} found it")
