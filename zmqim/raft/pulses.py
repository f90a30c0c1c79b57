"""The delta-coded list of groups in the NodeHeartbeats between two storages, both ends of it.

A leader tells a process once which of the groups that it leads have a replica there, and after that
only what changed; a digest of the whole list goes along. The echo carries the digest of what the
other end holds: if it is another one, a heartbeat was lost and the next one is full. So a group in
which nothing happens costs nothing, and one frame confirms the leader of all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from struct import Struct
from typing import Final

from xxhash import xxh3_64_intdigest

from zmqim.bus.replication import GroupPulse, NodeHeartbeat, NodeHeartbeatEcho
from zmqim.limits import ROUNDS_OPEN_MAX

_PULSE: Final = Struct(">H8sQQQQ")


class ToldPulses:
    """What one peer was told of the groups that we lead."""

    def __init__(self) -> None:
        self.groups: dict[int, GroupPulse] = {}
        """As of the last heartbeat."""
        self.dirty: set[int] = set()
        """Groups that may have changed since."""
        self.echoed = 0
        """The newest round that the peer echoed while it held exactly our list."""
        self._since: dict[int, int] = {}
        """The round in which each of `groups` was first told."""
        self._abstains: frozenset[int] = frozenset()
        """Groups whose replica there is damaged: it may have forgotten a later term."""
        self._digest = 0
        self._is_full_due = True
        self._rounds: deque[tuple[int, int]] = deque(maxlen=ROUNDS_OPEN_MAX)
        """(round, digest) of the last heartbeats."""

    def heartbeat(
        self, round_number: int, wall_ms: int, pulses: Iterable[GroupPulse]
    ) -> NodeHeartbeat:
        """The next heartbeat; `pulses` are those of the dirty groups (`term` 0: not led now)."""
        changed = []
        for pulse in pulses:
            before = self.groups.get(pulse.partition)
            if pulse == before or (before is None and not pulse.term):
                continue
            if before is not None:
                self._digest ^= digest_of(before)
            if pulse.term:
                self.groups[pulse.partition] = pulse
                self._since.setdefault(pulse.partition, round_number)
                self._digest ^= digest_of(pulse)
            else:
                del self.groups[pulse.partition]
                del self._since[pulse.partition]
            changed.append(pulse)
        self.dirty.clear()
        is_full, self._is_full_due = self._is_full_due, False
        if is_full:
            changed = list(self.groups.values())
        self._rounds.append((round_number, self._digest))
        return NodeHeartbeat(round_number, is_full, self._digest, wall_ms, changed)

    def echo(self, echo: NodeHeartbeatEcho) -> None:
        """The peer took in that round; what it holds is ours, or the next heartbeat is full."""
        rounds = self._rounds
        while rounds and rounds[0][0] < echo.round:
            rounds.popleft()
        if not rounds or rounds[0][0] != echo.round:
            return
        if rounds[0][1] == echo.digest:
            self.echoed = max(self.echoed, echo.round)
            self._abstains = frozenset(partition for partition, term in echo.refused if not term)
        else:
            self._is_full_due = True

    def confirmed(self, partition: int) -> int:
        """The newest round in which the peer knew of no later leader of that group; 0: none.

        Only a peer that was told of the group by then can say so.
        """
        since = self._since.get(partition, 0)
        if not since or self.echoed < since or partition in self._abstains:
            return 0
        return self.echoed

    def forget(self) -> None:
        """A new link: the peer may hold nothing of it, and no old round counts."""
        self._is_full_due = True
        self._rounds.clear()


class HeldPulses:
    """What one peer told us of the groups that it leads."""

    def __init__(self) -> None:
        self.groups: dict[int, GroupPulse] = {}
        self._digest = 0

    def take(self, heartbeat: NodeHeartbeat) -> list[GroupPulse]:
        """The pulses that are new; with `term` 0 those of groups that the peer leads no more."""
        news = heartbeat.groups
        if heartbeat.full:
            still = {pulse.partition for pulse in news}
            news = news + [
                GroupPulse(one.partition, one.group, one.source, one.target, 0, 0)
                for one in self.groups.values()
                if one.partition not in still
            ]
        for pulse in news:
            before = self.groups.pop(pulse.partition, None)
            if before is not None:
                self._digest ^= digest_of(before)
            if pulse.term:
                self.groups[pulse.partition] = pulse
                self._digest ^= digest_of(pulse)
        return news

    def echo(
        self,
        heartbeat: NodeHeartbeat,
        wall_ms: int,
        refused: list[tuple[int, int]],
        *,
        has_room: bool = True,
    ) -> NodeHeartbeatEcho:
        """The answer to that heartbeat."""
        return NodeHeartbeatEcho(heartbeat.round, self._digest, wall_ms, refused, has_room)

    def forget(self) -> None:
        """The peer is gone, or lives anew."""
        self.groups = {}
        self._digest = 0


def digest_of(pulse: GroupPulse) -> int:
    """What one group adds to the digest of a list, by exclusive or."""
    packed = _PULSE.pack(
        pulse.partition, pulse.group, pulse.source, pulse.target, pulse.term, pulse.commit
    )
    return xxh3_64_intdigest(packed)
