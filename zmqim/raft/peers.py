"""The other storages as replication sees them: which disk speaks, when it was heard, what it holds.

Replica ids become names here. A name stands for a replica only while the disk that speaks under it
is the one of the configuration: an emptied folder under an old name is nobody's replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zmqim.bus.replication import GroupPulse
from zmqim.ids import NodeName, NodeUuid
from zmqim.limits import (
    CLOCK_JUMP_MS,
    LEADER_LOST_MS,
    LEADER_SILENCE_MS,
    QUORUM_SILENCE_MS,
    UNKNOWN_REPLICAS_MAX,
)
from zmqim.raft.config import Place
from zmqim.raft.core import RaftCore
from zmqim.raft.pulses import HeldPulses, ToldPulses
from zmqim.raft.state import GROUP_BYTES

NEVER: Final = 1 << 63
"""Later than any time, and any round."""


class Peer:
    """Another storage, as far as replication sees it."""

    def __init__(self, now: int) -> None:
        self.node_uuid: NodeUuid | None = None
        self.is_linked = False
        self.is_seen = True
        """Does gossip hear it?"""
        self.has_room = True
        """Has its disk room for proposals?"""
        self.changed_at = now
        """When the link last came up or broke."""
        self.pulse_at = now
        """When its last heartbeat, or anything else of a leader, came."""
        self.echo_at = now
        """When it last echoed one of ours."""
        self.clock_ahead_ms = 0
        self.told = ToldPulses()
        self.held = HeldPulses()

    def leads(self, now: int) -> bool:
        """Was it heard lately, in what it leads?"""
        return self.is_linked and now - self.pulse_at < LEADER_SILENCE_MS

    def is_silent(self, now: int) -> bool:
        """Is it time to elect somebody in its place?"""
        if not self.is_linked:
            return now - self.changed_at >= LEADER_LOST_MS
        patience = LEADER_SILENCE_MS * (2 if self.is_seen else 1)
        return now - self.pulse_at >= patience

    def excuse(self, now: int) -> None:
        """We were not there to hear it: it is waited for half as long again."""
        self.pulse_at = max(self.pulse_at, now - LEADER_SILENCE_MS // 2)
        self.echo_at = max(self.echo_at, now - QUORUM_SILENCE_MS // 2)


class Peers:
    """All of them, by name."""

    def __init__(self, me: NodeName) -> None:
        self.me = me
        self.by_name: dict[NodeName, Peer] = {}
        self.spoke: dict[tuple[int, int], NodeName] = {}
        """Where a replica (partition, replica id) that no configuration here knows spoke from, the
        one that spoke last at the end."""
        self._reached: dict[int, tuple[Mapping[int, Place], Mapping[int, NodeName]]] = {}
        """What `reached` found, and in which configuration."""

    def make(self, now: int, name: NodeName) -> Peer:
        """The one of that name; a new one was heard just now."""
        peer = self.by_name.get(name)
        if peer is None:
            peer = self.by_name[name] = Peer(now)
        return peer

    def speaks(self, partition: int, replica: int, name: NodeName) -> None:
        """A replica that no configuration here need know speaks from there."""
        self.spoke.pop((partition, replica), None)
        self.spoke[partition, replica] = name
        if len(self.spoke) > UNKNOWN_REPLICAS_MAX:
            del self.spoke[next(iter(self.spoke))]

    def name_of(self, core: RaftCore, replica: int) -> NodeName | None:
        """Where to send; None without a link to that life of the node."""
        place = core.places.get(replica)
        if place is None:
            name = self.spoke.get((core.identity.partition, replica))
            peer = self.by_name.get(name) if name is not None else None
            return name if peer is not None and peer.is_linked else None
        peer = self.by_name.get(NodeName(place.name))
        if peer is None or not peer.is_linked or peer.node_uuid != place.node_uuid:
            return None
        return NodeName(place.name)

    def reached(self, core: RaftCore) -> Mapping[int, NodeName]:
        """`name_of` all other replicas of a group that is led here, by replica id."""
        partition = core.identity.partition
        known = self._reached.get(partition)
        if known is not None and known[0] is core.places:
            return known[1]
        others = core.places.keys() - {core.replica}
        names = {one: name for one in sorted(others) if (name := self.name_of(core, one))}
        self._reached[partition] = core.places, names
        return names

    def forget_reached(self) -> None:
        """A link came or went, or a group is held no more."""
        self._reached.clear()

    def pulse(self, name: NodeName, partition: int, core: RaftCore | None) -> GroupPulse:
        """What `name` is to be told of a group; None: the replica here is held no more."""
        if core is None:
            before = self.by_name[name].told.groups.get(partition)
            if before is None:
                return GroupPulse(partition, bytes(GROUP_BYTES), 0, 0, 0, 0)
            return GroupPulse(partition, before.group, before.source, 0, 0, 0)
        replica, term, commit = 0, 0, 0
        if core.lead is not None:
            for other, at in self.reached(core).items():
                if at == name:
                    replica, term = other, core.term
                    # A heartbeat has no prev check: only what this follower is known to hold.
                    commit = min(core.commit, core.lead.progress[other].match)
        return GroupPulse(partition, core.identity.group, core.replica, replica, term, commit)

    def echoed(self, core: RaftCore, replica: int) -> int:
        """The newest round in which a voter knew of no later leader."""
        if replica == core.replica:
            return NEVER
        name = self.name_of(core, replica)
        if name is None:
            return 0
        told = self.by_name[name].told
        pulse = told.groups.get(core.identity.partition)
        if pulse is None or (pulse.target, pulse.term) != (replica, core.term):
            return 0
        return told.confirmed(core.identity.partition)

    def is_live(self, now: int, name: NodeName) -> bool:
        """Was that process heard lately?"""
        if name == self.me:
            return True
        peer = self.by_name.get(name)
        return (
            peer is not None
            and peer.is_linked
            and now - max(peer.pulse_at, peer.echo_at) < QUORUM_SILENCE_MS
        )

    def is_at(self, now: int, core: RaftCore, replica: int) -> bool:
        """Is that replica's own process there, and heard lately?"""
        name = self.name_of(core, replica)
        return name is not None and self.is_live(now, name)

    def disks(self) -> dict[str, bytes]:
        """The disk that speaks under each other name now."""
        return {
            name: peer.node_uuid
            for name, peer in self.by_name.items()
            if peer.is_linked and peer.node_uuid is not None
        }

    def stamp(self, wall_ms: int) -> int:
        """The wall clock for the entries of a leader; 0 (they follow the entry before) if ours is
        far from the median of what the others say."""
        clocks = sorted([0, *(p.clock_ahead_ms for p in self.by_name.values() if p.is_linked)])
        return 0 if abs(clocks[len(clocks) // 2]) > CLOCK_JUMP_MS else wall_ms
