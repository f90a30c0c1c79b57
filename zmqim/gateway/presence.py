"""This gateway's sessions as routers know them: announced, withdrawn, and repaired by digests.

The gateway is the truth. The shard's owner learns of a session by `Login`, every other router by
`Announce`; nobody acknowledges an announcement, so every PRESENCE_DIGEST_MS each router gets the
count and hash of every shard, and asks for the shards that it holds differently.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from zmqim import limits
from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    Announce,
    PresenceDigest,
    PresenceEntry,
    PresenceShard,
    ShardDigest,
    Withdraw,
)
from zmqim.bus.presence import entry_hash
from zmqim.gateway.requests import Routers
from zmqim.gateway.wheel import Wheel
from zmqim.ids import NodeName

_T = TypeVar("_T")


class _Shard:
    """Entries of one partition and the XOR of their hashes."""

    __slots__ = ("digest", "entries")

    def __init__(self) -> None:
        self.entries: dict[int, PresenceEntry] = {}
        self.digest = 0


class Presence:
    """What this gateway tells routers of its sessions."""

    def __init__(self, routers: Routers, wheel: Wheel) -> None:
        self._routers = routers
        self._wheel = wheel
        self._shards: dict[int, _Shard] = {}
        self._partitions: dict[int, int] = {}
        self._announces: dict[NodeName, list[PresenceEntry]] = {}
        self._withdrawn: list[int] = []
        self._sends: list[Send] = []

    def start(self, now: int) -> None:
        """Send digests from now on."""
        self._wheel.add(now + limits.PRESENCE_DIGEST_MS, self._digest_due, None)

    def admitted(self, entry: PresenceEntry, partition: int, by: NodeName) -> None:
        """`by` has numbered the login: the others are told."""
        shard = self._shards.get(partition)
        if shard is None:
            shard = self._shards[partition] = _Shard()
        shard.entries[entry.session] = entry
        shard.digest ^= entry_hash(entry)
        self._partitions[entry.session] = partition
        for name in self._routers.live:
            if name != by:
                self._announces.setdefault(name, []).append(entry)

    def withdraw(self, session: int) -> None:
        """A session ended for which a `Login` was sent, whether or not it was admitted."""
        self._withdrawn.append(session)
        partition = self._partitions.pop(session, None)
        if partition is None:
            return
        shard = self._shards[partition]
        shard.digest ^= entry_hash(shard.entries.pop(session))
        if not shard.entries:
            del self._shards[partition]

    def router_up(self, name: NodeName) -> None:
        """Tell a router that comes up everything, and let it find what it holds too much."""
        entries = [entry for shard in self._shards.values() for entry in shard.entries.values()]
        self._announces[name] = entries
        self._sends.append(Send(name, self._digest()))

    def router_down(self, name: NodeName) -> None:
        """What it has not been told it will be told when it comes back."""
        self._announces.pop(name, None)

    def differs(self, source: NodeName, partitions: list[int]) -> None:
        """A router holds these shards differently: send them whole."""
        for partition in partitions:
            shard = self._shards.get(partition)
            entries = list(shard.entries.values()) if shard is not None else []
            self._sends.append(Send(source, PresenceShard(partition, entries)))

    def _digest(self) -> PresenceDigest:
        return PresenceDigest(
            [
                ShardDigest(partition, len(shard.entries), shard.digest)
                for partition, shard in self._shards.items()
            ]
        )

    def _digest_due(self, now: int, _: None) -> None:
        digest = self._digest()
        self._sends += [Send(name, digest) for name in self._routers.live]
        self._wheel.add(now + limits.PRESENCE_DIGEST_MS, self._digest_due, None)

    def flush(self) -> list[Send]:
        """Announcements first: a session that came and went within the turn is gone."""
        sends: list[Send] = []
        if self._announces:
            announces, self._announces = self._announces, {}
            for name, entries in announces.items():
                sends += [Send(name, Announce(cut)) for cut in _cut(entries)]
        if self._withdrawn:
            withdrawn, self._withdrawn = self._withdrawn, []
            for name in self._routers.live:
                sends += [Send(name, Withdraw(cut)) for cut in _cut(withdrawn)]
        if self._sends:
            sends += self._sends
            self._sends = []
        return sends


def _cut(items: list[_T]) -> Iterable[list[_T]]:
    size = limits.PRESENCE_BATCH_MAX
    return (items[start : start + size] for start in range(0, len(items), size))
