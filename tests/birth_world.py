"""Storages that are born over a network that loses, repeats and reorders, and that crash anywhere.

What a link carried before either end began it anew is dropped, as the bus does; everything else may
happen. After every move the world checks that there is one birth, and that nothing runs before
every disk of that birth has the record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from zmqim.bus.effects import Send
from zmqim.bus.messages import Message
from zmqim.ids import ClusterId, NodeName, NodeUuid
from zmqim.limits import BIRTH_REPEAT_MS
from zmqim.meta.birth import BirthCore, CompleteBirth, Phase, WriteBirth
from zmqim.meta.record import BirthRecord
from zmqim.ring.document import RingDocument
from zmqim.ring.placement import Share, placed

CLUSTER = ClusterId(b"c" * 16)
PARTITIONS = 4


def shares_of(count: int) -> list[Share]:
    return [Share(NodeName(f"storage-{n}"), f"zone-{n}", 1) for n in range(1, count + 1)]


def ring_for(count: int, replicas: int = 3) -> RingDocument:
    placement = placed(PARTITIONS, replicas, shares_of(count))
    wide = len(placement[0])
    return RingDocument(1, PARTITIONS, wide, wide, placement)


@dataclass
class Disk:
    uuid: NodeUuid
    record: BirthRecord | None = None


@dataclass
class Host:
    name: NodeName
    disk: Disk
    core: BirthCore | None = None
    peers: dict[NodeName, int] = field(default_factory=dict)
    """Linked storages, with the number of the link."""


class InFlight(NamedTuple):
    link: int
    source: NodeName
    target: NodeName
    message: Message


class BirthWorld:
    """`count` storages with empty folders."""

    def __init__(self, random: Random, count: int = 3, replicas: int = 3) -> None:
        self.random = random
        self.now = 0
        self.count = count
        self.ring = ring_for(count, replicas)
        self.hosts = {
            share.name: Host(share.name, Disk(self.fresh_uuid())) for share in shares_of(count)
        }
        self.flying: list[InFlight] = []
        self.links = 0
        self.complete: set[bytes] = set()

    def fresh_uuid(self) -> NodeUuid:
        return NodeUuid(self.random.randbytes(16))

    # ---- what may happen -------------------------------------------------------------------------

    def start(self, host: Host) -> None:
        assert host.core is None
        host.core = BirthCore(
            host.name, host.disk.uuid, CLUSTER, self.ring, shares_of(self.count), host.disk.record
        )
        self.turn(host)

    def crash(self, host: Host) -> None:
        """The process dies; the others learn of it soon, or when it comes back."""
        host.core = None
        for name in list(host.peers):
            peer = self.hosts[name]
            if self.random.random() < 0.5:
                self.unlink(host, peer)
        host.peers.clear()

    def lose_disk(self, host: Host) -> None:
        self.crash(host)
        host.disk = Disk(self.fresh_uuid())

    def link(self, one: Host, other: Host) -> None:
        """A new link between both; what the old one carries is dropped."""
        assert one.core is not None
        assert other.core is not None
        self.links += 1
        for host, peer in ((one, other), (other, one)):
            host.peers[peer.name] = self.links
        one.core.linked(other.name, other.disk.uuid)
        other.core.linked(one.name, one.disk.uuid)

    def unlink(self, one: Host, other: Host) -> None:
        for host, peer in ((one, other), (other, one)):
            host.peers.pop(peer.name, None)
            if host.core is not None:
                host.core.unlinked(peer.name)

    def deliver(self, flying: InFlight) -> None:
        host = self.hosts[flying.target]
        if host.core is not None and host.peers.get(flying.source) == flying.link:
            host.core.receive(flying.source, flying.message)

    def turn(self, host: Host, performed: int | None = None) -> None:
        """One turn; with `performed`, the process dies after so many of its effects."""
        assert host.core is not None
        effects = host.core.turn(self.now)
        for effect in effects[:performed]:
            match effect:
                case Send(to=to, message=message):
                    if to in host.peers:
                        self.flying.append(InFlight(host.peers[to], host.name, to, message))
                case WriteBirth(record=record):
                    assert host.disk.record is None, "a birth record is written once"
                    host.disk.record = record
                case CompleteBirth(record=record):
                    assert host.disk.record is not None
                    assert host.disk.record.digest == record.digest
                    host.disk.record = record
                    self.check_majorities(record)
            self.check(host)
        if performed is not None and performed < len(effects):
            self.crash(host)
        elif host.core is not None:
            assert host.core.record == host.disk.record

    # ---- what must hold --------------------------------------------------------------------------

    def check(self, host: Host) -> None:
        record = host.disk.record
        if record is None or not record.complete:
            return
        self.complete.add(record.digest)
        assert len(self.complete) == 1, "two births"
        for other in self.hosts.values():
            if record.names(other.name, other.disk.uuid):
                held = other.disk.record
                assert held is not None, f"{other.name} has no record and its group runs"
                assert held.digest == record.digest

    def check_majorities(self, record: BirthRecord) -> None:
        """A group that may begin has a majority of its disks; later ones may be lost."""
        if record.digest in self.complete:
            return
        for genesis in record.genesis:
            voters = genesis.config.voters
            there = [
                one for one in voters if self.hosts[NodeName(one.name)].disk.uuid == one.node_uuid
            ]
            assert 2 * len(there) > len(voters), "complete, and a group has lost its majority"

    # ---- a walk ----------------------------------------------------------------------------------

    def random_move(self, disks: int) -> int:
        """Something happens; gives how many disks may still be lost."""
        random = self.random
        host = random.choice(list(self.hosts.values()))
        move = random.random()
        if host.core is None:
            if move < 0.5:
                self.start(host)
            elif move < 0.6 and disks:
                self.lose_disk(host)
                return disks - 1
        elif move < 0.03:
            self.crash(host)
        elif move < 0.1:
            self.turn(host, random.randrange(4))
        elif move < 0.3:
            up = [one for one in self.hosts.values() if one.core and one is not host]
            if up:
                self.link(host, random.choice(up))
        elif move < 0.33 and host.peers:
            self.unlink(host, self.hosts[random.choice(list(host.peers))])
        elif move < 0.5:
            self.turn(host)
        elif self.flying:
            position = random.randrange(len(self.flying))
            flying = self.flying[position]
            if random.random() < 0.7:
                del self.flying[position]
            if random.random() < 0.9:
                self.deliver(flying)
        self.now += random.randrange(BIRTH_REPEAT_MS // 2)
        return disks

    def settle(self) -> None:
        """No more faults: everyone runs, is linked and hears everything."""
        self.flying.clear()
        for host in self.hosts.values():
            if host.core is None:
                self.start(host)
        everyone = list(self.hosts.values())
        for position, host in enumerate(everyone):
            for other in everyone[:position]:
                self.link(host, other)
        for _ in range(12):
            self.now += BIRTH_REPEAT_MS
            for host in everyone:
                self.turn(host)
            flying, self.flying = self.flying, []
            for one in flying:
                self.deliver(one)

    @property
    def phases(self) -> list[Phase]:
        return [host.core.phase for host in self.hosts.values() if host.core]

    @property
    def disks(self) -> list[Disk]:
        return [host.disk for host in self.hosts.values()]

    @property
    def sentences(self) -> list[str]:
        return [host.core.sentence for host in self.hosts.values() if host.core]
