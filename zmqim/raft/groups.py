"""All groups of one storage: who leads whom, who is silent, and when to stand for election.

Cores know nothing of processes. Here replica ids become names, messages are fenced (group, replica
ids, node uuid), and one NodeHeartbeat a pair of processes speaks for all groups that the one leads
and the other follows (docs/REPLICATION.md 4, 5). Silence of a process, or its lost connection,
makes the followers of its groups stand, by rank and a little chance; a leader that hears no
majority steps down. Gossip only slows this: while it hears the process, we wait twice as long.

A read is confirmed by a round of heartbeats that began after the read came: whoever echoed it knew
no later leader by then. Old echoes in a buffer confirm nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from zmqim.bus.batches import appends_of, results_of
from zmqim.bus.replication import (
    Append,
    AppendResult,
    AppendResults,
    Appends,
    GroupBody,
    GroupMessage,
    GroupPulse,
    NodeHeartbeat,
    NodeHeartbeatEcho,
    TimeoutNow,
    VoteRequest,
    VoteResult,
)
from zmqim.errors import WireError
from zmqim.ids import NodeName, NodeUuid
from zmqim.limits import (
    ELECTION_FALLBACK_MS,
    ELECTION_RETRY_MS,
    ELECTION_STAGGER_MS,
    HAND_AWAY_MS,
    HAND_HOME_MS,
    LEADER_LOST_MS,
    NODE_HEARTBEAT_MS,
    QUORUM_SILENCE_MS,
)
from zmqim.raft import homing
from zmqim.raft.core import RaftCore
from zmqim.raft.peers import NEVER, Peer, Peers
from zmqim.raft.pulses import ToldPulses
from zmqim.raft.state import Role

if TYPE_CHECKING:
    from random import Random


class Groups:
    """The cores of one process, and what lies between them and the other processes."""

    def __init__(self, me: NodeName, random: Random, now: int) -> None:
        self.me = me
        self.cores: dict[int, RaftCore] = {}
        self.preference: dict[int, tuple[NodeName, ...]] = {}
        """Who should lead each group, in order."""
        self.touched: set[int] = set()
        """Groups in which something happened since the owner of this set last emptied it."""
        self.may_vote = True
        """Whether this life may vote and stand; replicas of the meta group always may."""
        self.has_room = True
        """Is there room on this disk for proposals? Else others should lead."""
        self.meta_group = -1
        """The number of the meta group."""
        self.counters = dict.fromkeys(("fenced", "elections", "step_downs", "clock_jumps"), 0)
        self._random = random
        self.peers = Peers(me)
        self._stand_at: dict[int, int] = {}
        self._lead_since: dict[int, int] = {}
        self._round = 0
        self._is_round_wanted = False
        self._reading: set[int] = set()
        """Groups with reads that wait for echoes: touched when the next one comes."""
        self._next_round = now
        self._next_home = now + HAND_HOME_MS
        self._last_tick = now
        self._echoes: list[tuple[NodeName, NodeHeartbeatEcho]] = []

    def add(self, now: int, core: RaftCore, preference: Iterable[NodeName]) -> None:
        """One more group; it stands soon unless a leader is heard."""
        partition = core.identity.partition
        self.cores[partition] = core
        self.preference[partition] = tuple(preference)
        alone = [place.replica for place in core.config.voters] == [core.replica]
        self._stand_at[partition] = now if alone else now + self._stagger(partition)
        self.touched.add(partition)

    def remove(self, partition: int) -> None:
        """The replica is held no more."""
        del self.cores[partition]
        self._stand_at.pop(partition, None)
        if self._lead_since.pop(partition, None) is not None:
            self._lead_ended(self._last_tick, partition)
        for peer in self.peers.by_name.values():
            if partition not in peer.told.groups:
                peer.told.dirty.discard(partition)
        self.peers.forget_reached()
        self._reading.discard(partition)
        self.touched.discard(partition)

    # ---- processes -------------------------------------------------------------------------------

    def peer_up(self, now: int, name: NodeName, node_uuid: NodeUuid) -> None:
        """A link to another storage stands."""
        peer = self.peers.make(now, name)
        if peer.node_uuid != node_uuid:
            # Another process: it knows nothing of what its name was told.
            peer.told = ToldPulses()
        # Perhaps another life, which leads nothing. If it still leads, it says so at once.
        self._stand_for(now, peer)
        peer.node_uuid = node_uuid
        peer.is_linked = True
        peer.changed_at = now
        peer.told.forget()
        self._next_round = now
        self.peers.forget_reached()
        self._lost(name)
        for partition, when in self._stand_at.items():
            self._stand_at[partition] = min(when, now + self._stagger(partition))

    def peer_down(self, now: int, name: NodeName) -> None:
        """The link to another storage is gone: nobody waits long for what it led."""
        peer = self.peers.make(now, name)
        peer.is_linked = False
        peer.changed_at = now
        self._next_round = min(self._next_round, now + LEADER_LOST_MS)
        self.peers.forget_reached()
        self._lost(name)

    def view_changed(self, seen: Collection[NodeName]) -> None:
        """Gossip hears these storages, and suspects them of nothing."""
        for name, peer in self.peers.by_name.items():
            peer.is_seen = name in seen

    def room_changed(self, now: int, *, has_room: bool) -> None:
        """The disk here is nearly full, or so no more."""
        self.has_room = has_room
        self._next_home = now if not has_room else now + HAND_HOME_MS

    def leader_of(self, partition: int) -> str:
        """The name of the storage that leads, as far as it is known here; else empty."""
        core = self.cores.get(partition)
        if core is None or not core.leader:
            return ""
        return self.me if core.lead is not None else self.peers.name_of(core, core.leader) or ""

    def needed_by_live(self, partition: int) -> int:
        """A leader keeps what its slowest linked follower lacks: entries up to here may go."""
        core = self.cores[partition]
        if core.lead is None:
            return core.applied
        matches = [
            progress.match
            for replica, progress in core.lead.progress.items()
            if self.peers.name_of(core, replica) is not None
        ]
        return min(matches, default=core.applied)

    def led(self) -> list[RaftCore]:
        """The groups that are led here."""
        return [core for p in self._lead_since if (core := self.cores[p]).lead is not None]

    # ---- messages --------------------------------------------------------------------------------

    def receive(self, now: int, wall_ms: int, source: NodeName, message: GroupBody) -> None:
        """A message of a group; what does not fit its group is dropped and counted."""
        core, kind = self.fenced(source, message), type(message)
        if core is None:
            return
        is_append = kind is Append
        is_answer = not is_append and kind is AppendResult
        is_alive, stamp = False, 0
        if not (is_append or is_answer):
            is_call = kind is TimeoutNow
            if (is_call or kind is VoteRequest) and not self._votes(message.partition):
                return
            is_alive = kind is VoteRequest and self._leader_alive(now, core)
            # Only a vote or a hand-over may begin a term, whose NO-OP is stamped.
            stamp = self.peers.stamp(wall_ms) if is_call or kind is VoteResult else 0
        before = (core.leader, core.hard_state.term, core.role)
        peer = self.peers.make(now, source)
        try:
            core.receive(now, stamp, message, leader_alive=is_alive)
        except WireError:
            self.counters["fenced"] += 1
        if is_append and message.source == core.leader:
            peer.pulse_at = now
        if is_answer and not core.is_news and core.role is before[2]:
            # What the last follower holds is committed without it: only its pulse is to say so.
            peer.told.dirty.add(message.partition)
        else:
            self._follow_up(now, core, before)

    def fenced(self, source: NodeName, message: GroupBody) -> RaftCore | None:
        """The core that a message is for; None if it is for another life, history or replica."""
        core = self.cores.get(message.partition)
        if core is not None and message.group == core.identity.group:
            place = core.places.get(message.source)
            peer = self.peers.by_name.get(source)
            if place is None:
                fits = not isinstance(message, VoteRequest)
                self.peers.speaks(message.partition, message.source, source)
            else:
                fits = peer is not None and place.node_uuid == peer.node_uuid
            if fits and message.target == core.replica:
                return core
        self.counters["fenced"] += 1
        return None

    def heartbeat(self, now: int, wall_ms: int, source: NodeName, heartbeat: NodeHeartbeat) -> None:
        """Another storage speaks for all groups that it leads."""
        peer = self.peers.make(now, source)
        peer.pulse_at = now
        peer.clock_ahead_ms = heartbeat.wall_ms - wall_ms
        held = peer.held
        for pulse in held.take(heartbeat):
            self._take_pulse(now, source, pulse)
        refused = []
        for partition, pulse in held.groups.items():
            core = self.cores.get(partition)
            if core is not None and (core.term > pulse.term or core.is_damaged):
                # A damaged replica may have forgotten a later term: it confirms nobody.
                refused.append((partition, core.term if core.term > pulse.term else 0))
        echo = held.echo(heartbeat, wall_ms, refused, has_room=self.has_room)
        self._echoes.append((source, echo))

    def _take_pulse(self, now: int, source: NodeName, pulse: GroupPulse) -> None:
        core = self.cores.get(pulse.partition)
        if core is None or pulse.group != core.identity.group:
            return
        if not pulse.term:
            if core.leader == pulse.source:
                self._stand_in(now, pulse.partition, self._stagger(pulse.partition))
            return
        if pulse.target != core.replica:
            return
        before = (core.leader, core.term, core.role)
        if core.pulse(pulse.source, pulse.term, pulse.commit):
            self.peers.speaks(pulse.partition, pulse.source, source)
            self._follow_up(now, core, before)
            self._stand_at.pop(pulse.partition, None)
        self.touched.add(pulse.partition)

    def echo(self, now: int, wall_ms: int, source: NodeName, echo: NodeHeartbeatEcho) -> None:
        """Another storage took in a round of ours."""
        peer = self.peers.make(now, source)
        peer.echo_at = now
        peer.has_room = echo.has_room
        peer.clock_ahead_ms = echo.wall_ms - wall_ms
        for partition, term in echo.refused:
            core = self.cores.get(partition)
            if core is not None and partition in peer.told.groups and term > core.term:
                before = (core.leader, core.term, core.role)
                core.term_seen(term)
                self._follow_up(now, core, before)
        peer.told.echo(echo)
        self.touched |= self._reading
        self._reading.clear()

    # ---- reads -----------------------------------------------------------------------------------

    def ask_round(self, partition: int) -> int:
        """A round that begins after now; it is sent with the next turn."""
        self._is_round_wanted = True
        self._reading.add(partition)
        return self._round + 1

    def confirmed(self, partition: int) -> int:
        """The newest round at which a majority knew of no later leader of the group."""
        core = self.cores[partition]
        rounds = sorted(
            (self.peers.echoed(core, place.replica) for place in core.config.voters),
            reverse=True,
        )
        return rounds[len(rounds) // 2]

    def await_echo(self, partition: int) -> None:
        """A read of the group is not confirmed yet: touch it when the next echo comes."""
        self._reading.add(partition)

    # ---- time ------------------------------------------------------------------------------------

    def tick(self, now: int, wall_ms: int) -> None:
        """Do what is due: elections, silence, lost Appends, leaders that go home."""
        gap = now - self._last_tick
        self._last_tick = now
        if gap > 2 * NODE_HEARTBEAT_MS:
            # We were stopped or starved: silence of the others until now says nothing.
            for peer in self.peers.by_name.values():
                peer.excuse(now)
        for partition in [p for p, when in self._stand_at.items() if when <= now]:
            self._stand(now, wall_ms, partition)
        if self.peers.by_name and now >= self._next_round:
            self._watch_leaders(now)
            self._watch_quorums(now)
            for partition in list(self._lead_since):
                core = self.cores[partition]
                if core.lead is None:
                    self._note_lead(now, core)  # It was removed, and that is applied.
                elif core.lead.tick(now):
                    self.touched.add(partition)
        if now >= self._next_home:
            self._next_home = now + (HAND_HOME_MS if self.has_room else HAND_AWAY_MS)
            self._hand_home(now)

    def next_wake(self) -> int:
        """When `tick` and a turn are needed at the latest."""
        wake = min(self._next_round, self._next_home) if self.peers.by_name else NEVER
        if self._is_round_wanted or self.touched:
            return 0
        return min(wake, *self._stand_at.values()) if self._stand_at else wake

    # ---- sending ---------------------------------------------------------------------------------

    def early(self, now: int, touched: Iterable[int]) -> list[tuple[NodeName, Appends]]:
        """Appends of the groups that were touched: to be sent before the own write."""
        found: dict[NodeName, list[Append]] = {}
        for partition in touched:
            core = self.cores[partition]
            if core.lead is None:
                continue
            if core.holds_back:
                self.touched.add(partition)
            names = self.peers.reached(core)
            for append in core.take_early(now, names):
                found.setdefault(names[append.target], []).append(append)
            for name in names.values():
                self.peers.by_name[name].told.dirty.add(partition)
        return [(name, part) for name, appends in found.items() for part in appends_of(appends)]

    def rounds(self, now: int, wall_ms: int) -> list[tuple[NodeName, NodeHeartbeat]]:
        """A heartbeat for everyone who follows us, if it is time or a read waits for one."""
        if not (self._is_round_wanted or now >= self._next_round):
            return []
        self._is_round_wanted = False
        self._next_round = now + NODE_HEARTBEAT_MS
        self._round += 1
        found = []
        for name, peer in self.peers.by_name.items():
            told = peer.told
            if peer.is_linked and (told.groups or told.dirty):
                dirty = sorted(told.dirty)
                pulses = [self.peers.pulse(name, one, self.cores.get(one)) for one in dirty]
                found.append((name, told.heartbeat(self._round, wall_ms, pulses)))
        return found

    def late(self, touched: Iterable[int]) -> list[tuple[NodeName, AppendResults | GroupMessage]]:
        """Answers of the groups that were touched, then votes and hand-overs: once everything is
        saved. (Who stands after it answered its leader says it in this order.)"""
        results: dict[NodeName, list[AppendResult]] = {}
        others: list[tuple[NodeName, GroupMessage]] = []
        for partition in touched:
            core = self.cores[partition]
            for message in core.take_late():
                name = self.peers.name_of(core, message.target)
                if name is None:
                    continue
                if type(message) is AppendResult:
                    results.setdefault(name, []).append(message)
                else:
                    others.append((name, message))
        found: list[tuple[NodeName, AppendResults | GroupMessage]] = []
        for name, answers in results.items():
            found += [(name, part) for part in results_of(answers)]
        return found + others

    def take_echoes(self) -> list[tuple[NodeName, NodeHeartbeatEcho]]:
        """Answers to heartbeats: once everything is saved."""
        echoes, self._echoes = self._echoes, []
        return echoes

    # ---- the inside ------------------------------------------------------------------------------

    def _lost(self, name: NodeName) -> None:
        for core in self.led():
            for place in core.places.values():
                if place.name == name:
                    core.lost(place.replica)
                    self.touched.add(core.identity.partition)

    def _leader_alive(self, now: int, core: RaftCore) -> bool:
        if core.lead is not None:
            return True
        name = self.peers.name_of(core, core.leader) if core.leader else None
        if name is None:
            return False
        peer = self.peers.by_name[name]
        return peer.leads(now) and core.identity.partition in peer.held.groups

    def _follow_up(self, now: int, core: RaftCore, before: tuple[int, int, Role]) -> None:
        partition = core.identity.partition
        self.touched.add(partition)
        if (core.leader, core.hard_state.term, core.role) == before:
            return
        self._note_lead(now, core)
        if core.lead is not None:
            self._stand_at.pop(partition, None)
        elif core.leader:
            self._stand_in(now, partition, ELECTION_FALLBACK_MS)
        else:
            self._stand_in(now, partition, self._retry())

    def _note_lead(self, now: int, core: RaftCore) -> None:
        partition = core.identity.partition
        if core.lead is not None:
            self._lead_since.setdefault(partition, now)
            self._next_round = now
        elif self._lead_since.pop(partition, None) is not None:
            self._lead_ended(now, partition)

    def _lead_ended(self, now: int, partition: int) -> None:
        self.counters["step_downs"] += 1
        self._next_round = now
        for peer in self.peers.by_name.values():
            if partition in peer.told.groups:
                peer.told.dirty.add(partition)

    def _votes(self, partition: int) -> bool:
        return self.may_vote or partition == self.meta_group

    def _stand_in(self, now: int, partition: int, delay: int) -> None:
        self._stand_at[partition] = now + delay

    def _retry(self) -> int:
        return ELECTION_RETRY_MS + self._random.randrange(ELECTION_RETRY_MS)

    def _stagger(self, partition: int) -> int:
        """Candidates stand one after the other: those in front of us that live go first."""
        rank = 0
        for name in self.preference[partition]:
            if name == self.me and self.has_room:
                break
            peer = self.peers.by_name.get(name)
            rank += peer is None or peer.is_linked
        return rank * ELECTION_STAGGER_MS + self._random.randrange(ELECTION_STAGGER_MS)

    def _stand(self, now: int, wall_ms: int, partition: int) -> None:
        core = self.cores[partition]
        del self._stand_at[partition]
        if core.lead is not None or self._leader_alive(now, core):
            return
        if not self._votes(partition):
            self._stand_in(now, partition, ELECTION_STAGGER_MS + self._stagger(partition))
            return
        self._stand_in(now, partition, self._retry())
        if core.may_stand:
            self.counters["elections"] += 1
            core.stand(self.peers.stamp(wall_ms))
            self.touched.add(partition)
            self._note_lead(now, core)
            if core.role is Role.LEADER:
                del self._stand_at[partition]

    def _watch_leaders(self, now: int) -> None:
        """The groups of a silent process stand, one after the other."""
        for peer in self.peers.by_name.values():
            if peer.held.groups and peer.is_silent(now):
                self._stand_for(now, peer)

    def _stand_for(self, now: int, peer: Peer) -> None:
        for partition, pulse in peer.held.groups.items():
            core = self.cores.get(partition)
            if core is not None and core.leader == pulse.source:
                self._stand_in(now, partition, self._stagger(partition))
        peer.held.forget()

    def _watch_quorums(self, now: int) -> None:
        """Who hears no majority leads no more."""
        echoing = {
            name
            for name, peer in self.peers.by_name.items()
            if now - peer.echo_at <= QUORUM_SILENCE_MS
        }
        if len(echoing) == len(self.peers.by_name):
            return
        for core in self.led():
            partition = core.identity.partition
            if now - self._lead_since[partition] <= QUORUM_SILENCE_MS:
                continue
            voters = core.config.voters
            heard = sum(
                place.replica == core.replica or self.peers.name_of(core, place.replica) in echoing
                for place in voters
            )
            if heard < len(voters) // 2 + 1:
                before = (core.leader, core.term, core.role)
                core.step_down()
                self._follow_up(now, core, before)

    def _hand_home(self, now: int) -> None:
        handed = homing.homeward if self.has_room else homing.away
        for core, replica in handed(now, self.led(), self.preference, self.peers):
            core.hand_over(now, replica)
            self.touched.add(core.identity.partition)
