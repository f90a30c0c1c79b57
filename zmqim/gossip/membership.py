"""The cluster as one process sees it: who is alive, who is suspected, who has gone.

Every process publishes a heartbeat each HEARTBEAT_MS and hears everyone else's. From their
regularity `detector` says who has fallen silent; `table` says which of two claims about a process
holds. Two things are kept apart:

* the *table* is gossip: the highest claim about each life, also the claims of others. Whoever is
  accused wrongly finds himself among the `suspects` of a heartbeat (or in a table) and refutes.
* the *view* is what cores route by: ALIVE and SUSPECT members of the table, and those held for
  DOWN whom we hear ourselves (only somebody else's link to them is cut).

Pure: `now` is the caller's monotonic clock in milliseconds, randomness is passed in. Everything
here may be lost, repeated or late; push-pull with a random peer repairs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from zmqim.bus.effects import View
from zmqim.bus.messages import Heartbeat, Load, Member, MemberState, Role, Suspicion
from zmqim.gossip.detector import Arrivals, LocalHealth
from zmqim.gossip.table import precedence
from zmqim.ids import NodeName, NodeUuid
from zmqim.limits import (
    HEARTBEAT_MS,
    MEMBERS_MAX,
    PHI_PAUSE_HEARTBEATS,
    PUSH_PULL_MS,
    SEEDS_AGAIN_MS,
    SUSPECT_TO_DOWN_MS,
)

if TYPE_CHECKING:
    from random import Random

CHECK_MS: Final = HEARTBEAT_MS // 4
"""How often silence is judged."""
LIVES_PER_NAME_MAX: Final = 4
"""Lives of one name that the table remembers; beyond, the one heard of longest ago is forgotten."""
DOUBLE_MS: Final = 8 * HEARTBEAT_MS
"""How long two lives under one name are reported after they were heard in turns."""
LINK_LOST_DOWN_DIVISOR: Final = 4
"""A lost link is evidence of its own: such a suspect becomes DOWN this many times sooner."""


class Evidence(Enum):
    """What can happen to a member in our eyes, besides a higher claim about it."""

    SILENCE = auto()
    LASTING_SILENCE = auto()
    REPLACED = auto()
    """Another life was heard under its name."""
    FAREWELL = auto()


TRANSITIONS: Final[dict[tuple[MemberState, Evidence], MemberState]] = {
    (MemberState.ALIVE, Evidence.SILENCE): MemberState.SUSPECT,
    (MemberState.SUSPECT, Evidence.LASTING_SILENCE): MemberState.DOWN,
    (MemberState.ALIVE, Evidence.REPLACED): MemberState.DOWN,
    (MemberState.SUSPECT, Evidence.REPLACED): MemberState.DOWN,
    (MemberState.ALIVE, Evidence.FAREWELL): MemberState.LEFT,
    (MemberState.SUSPECT, Evidence.FAREWELL): MemberState.LEFT,
    (MemberState.DOWN, Evidence.FAREWELL): MemberState.LEFT,
}
"""Anything else changes nothing. Back to ALIVE leads only a higher refute or incarnation."""


class Expected(NamedTuple):
    """A process that the topology names."""

    name: NodeName
    role: int
    host: str = ""
    address: str = ""
    pub_address: str = ""


class Tick(NamedTuple):
    """What a tick asks of the shell: publish this, send our table to that linked process."""

    publish: Heartbeat | None
    push_pull_with: NodeName | None


class _Life:
    """One life of a process: the highest claim about it, and what we hear of it ourselves."""

    __slots__ = ("arrivals", "heard_counter", "member", "replaced", "ring_hash", "since")

    def __init__(self, now: int, member: Member) -> None:
        self.member = member
        self.since = now
        """When it came into its present state, in our eyes."""
        self.arrivals = Arrivals(now)
        self.heard_counter = -1
        """Of its last heartbeat that reached us; -1: none did."""
        self.replaced = False
        """Another life was heard under its name, and it was not heard since."""
        self.ring_hash = b""

    @property
    def was_heard_last(self) -> bool:
        """It was heard, and no other life under its name since."""
        return self.heard_counter >= 0 and not self.replaced

    @property
    def rank(self) -> tuple[bool, int, int, int, bytes]:
        """Orders the lives of a name: the present one was heard last, or else is the liveliest."""
        member = self.member
        heard = self.heard_counter >= 0
        return (
            heard,
            self.arrivals.last if heard else 0,
            -member.state,
            member.incarnation,
            member.node_uuid,
        )


class Membership:
    """Feeds on heartbeats, tables and links; `view()` and `members()` are what it knows."""

    def __init__(
        self,
        me: Member,
        ring_version: int,
        ring_hash: bytes,
        random: Random,
        expected: Iterable[Expected] = (),
    ) -> None:
        self.version = 0
        """Grows whenever `view()` changes."""
        self.health = LocalHealth()
        self._me = me
        self._ring_version = ring_version
        self._ring_hash = ring_hash
        self._random = random
        self._expected = {one.name: one for one in expected if one.name != me.name}
        self._lives: dict[NodeUuid, _Life] = {}
        """Those of others: whatever lived under our own name before, it is replaced by us."""
        self._linked: dict[NodeName, bool] = {}
        """Peers that had a link in our time; False while it is lost."""
        self._ask: list[NodeName] = []
        """Linked peers that get our table at the next ticks."""
        self._doubles: dict[NodeName, int] = {}
        """Names under which two lives beat, until when that is reported."""
        self._later_life = False
        self._load = Load()
        self._hlc = 0
        self._lag_ms = 0
        self._accused = False
        self._now = 0
        self._beat_due = 0
        self._check_due = 0
        self._push_pull_due = -1
        self._seeds_due = -1
        self._view_is_stale = False
        """Whether somebody came, went or changed since the view was computed."""
        self._view_needs_time = False
        """Whether somebody is DOWN whom we may hear: that depends on the time, too."""
        self._view = self._compute_view()

    # ---- what happens ------------------------------------------------------------------------

    def heartbeat_heard(self, now: int, heartbeat: Heartbeat) -> None:
        """A heartbeat came in, perhaps late or twice."""
        self._now = max(self._now, now)
        for accused in heartbeat.suspects:
            if accused.node_uuid == self._me.node_uuid:
                self._refute(accused.incarnation, accused.refute)
        if heartbeat.node_uuid == self._me.node_uuid:
            self._later_life |= heartbeat.incarnation > self._me.incarnation
            return
        name = NodeName(heartbeat.name)
        if name == self._me.name:
            if heartbeat.state != MemberState.LEFT:
                self._doubles[name] = now + DOUBLE_MS
            return
        before = self._present_life(name)
        claim = self._claim_of(heartbeat)
        life = self._learn(now, claim)
        if claim.incarnation < life.member.incarnation or claim.counter <= life.heard_counter:
            return
        life.ring_hash = heartbeat.ring_hash
        first = life.heard_counter < 0
        life.arrivals.heard(now, regular=not first and not self._is_silent(now, life))
        life.heard_counter = claim.counter
        life.replaced = False
        self._view_is_stale |= life.member.state == MemberState.DOWN
        if first:
            self._replace_older_lives(now, life)
        elif before is not life and before is not None and before.heard_counter >= 0:
            self._doubles[name] = now + DOUBLE_MS
        self._refresh_view()

    def table_received(self, now: int, members: Sequence[Member]) -> None:
        """Somebody's member table, from a push-pull, a Hello or a Welcome."""
        self._now = max(self._now, now)
        for member in members[: MEMBERS_MAX * LIVES_PER_NAME_MAX]:
            if member.node_uuid == self._me.node_uuid:
                self._later_life |= member.incarnation > self._me.incarnation
                if member.state != MemberState.ALIVE:
                    self._refute(member.incarnation, member.refute)
            elif member.name != self._me.name:
                self._learn(now, member)
        self._refresh_view()

    def link_up(self, now: int, name: NodeName) -> None:
        """A link to that process stands: tables are exchanged over it at once."""
        self._linked[name] = True
        if name not in self._ask:
            self._ask.append(name)

    def link_down(self, now: int, name: NodeName) -> None:
        """A link broke: that strengthens the suspicion if the process is silent as well."""
        if name in self._linked:
            self._linked[name] = False
        if name in self._ask:
            self._ask.remove(name)
        self._check_due = now

    def goodbye_heard(self, now: int, name: NodeName) -> None:
        """The process said on its link that it leaves."""
        life = self._present_life(name)
        if life is not None:
            self._change(now, life, Evidence.FAREWELL)
            self._refresh_view()

    def tick(self, now: int, load: Load, hlc: int) -> Tick:
        """Time passed: judge silence, and say what to publish and whom to send the table."""
        self._now = now
        self._load, self._hlc, self._lag_ms = load, hlc, load.loop_lag_ms
        if now >= self._check_due:
            self._check_due = now + CHECK_MS
            for life in self._lives.values():
                self._judge(now, life)
            self._refresh_view()
        publish = None
        if now >= self._beat_due:
            late = now - self._beat_due > HEARTBEAT_MS
            self._beat_due = now + HEARTBEAT_MS if late else self._beat_due + HEARTBEAT_MS
            publish = self._heartbeat(MemberState.ALIVE)
            if load.loop_lag_ms > HEARTBEAT_MS // 2:
                self.health.worse()
            elif not self._accused:
                self.health.better()
            self._accused = False
        return Tick(publish, self._next_push_pull(now))

    def next_wake(self) -> int:
        """When `tick` must be called at the latest."""
        return min(self._beat_due, self._check_due)

    def leave(self, now: int) -> Heartbeat:
        """We leave: the last heartbeat."""
        self._now = now
        self._view_is_stale = True
        return self._heartbeat(MemberState.LEFT)

    # ---- what is known -----------------------------------------------------------------------

    def view(self) -> View:
        """Names of the processes to count on, ourselves included."""
        return self._view

    def members(self) -> list[Member]:
        """The present life of every name ever heard of, ourselves included, sorted by name."""
        present = [life.member for life in self._present_lives()]
        return sorted([*present, self._me], key=lambda member: (member.name, member.node_uuid))

    def problems(self) -> list[str]:
        """Everything about the members that an operator should know, as sentences."""
        found: list[str] = []
        present = self._present_lives()
        for life in present:
            member = life.member
            if member.state in (MemberState.SUSPECT, MemberState.DOWN):
                silence = (self._now - life.arrivals.last) / 1000
                state = MemberState(member.state).name
                found.append(f"{member.name} is {state}: not heard for {silence:.0f} s")
            if life.ring_hash and life.ring_hash != self._ring_hash:
                found.append(
                    f"{member.name} has ring {life.ring_hash.hex()}, "
                    f"{self._me.name} has {self._ring_hash.hex()}: their topologies differ"
                )
        found += [
            f"two processes run under the name {name}: stop one of them"
            for name, until in sorted(self._doubles.items())
            if until > self._now
        ]
        if self._later_life:
            found.append(
                f"a later life of {self._me.name} runs: its data folder was copied or restored"
            )
        known = {life.member.name for life in present}
        found += [
            f"{name} is missing: never heard of"
            for name in sorted(self._expected)
            if name not in known
        ]
        return found

    # ---- claims ------------------------------------------------------------------------------

    def _claim_of(self, heartbeat: Heartbeat) -> Member:
        """What a heartbeat says of its sender; addresses are as known, or as the topology says."""
        name = NodeName(heartbeat.name)
        life = self._lives.get(NodeUuid(heartbeat.node_uuid))
        expected = self._expected.get(name)
        where = life.member if life is not None else expected
        return Member(
            name=heartbeat.name,
            role=heartbeat.role,
            host=heartbeat.host,
            node_uuid=heartbeat.node_uuid,
            incarnation=heartbeat.incarnation,
            refute=heartbeat.refute,
            state=heartbeat.state,
            counter=heartbeat.counter,
            address=where.address if where is not None else "",
            pub_address=where.pub_address if where is not None else "",
        )

    def _learn(self, now: int, claim: Member) -> _Life:
        """Take a claim over if it is higher than what is known."""
        uuid = NodeUuid(claim.node_uuid)
        life = self._lives.get(uuid)
        if life is None:
            life = self._lives[uuid] = _Life(now, claim)
            self._view_is_stale = True
            self._forget_oldest(life)
        elif claim.incarnation > life.member.incarnation:
            life = self._lives[uuid] = _Life(now, claim)
            self._view_is_stale = True
        elif precedence(claim) > precedence(life.member):
            known = life.member
            if claim.state != known.state:
                life.since = now
            if (claim.state, claim.role, claim.name) != (known.state, known.role, known.name):
                self._view_is_stale = True
            life.member = claim
        return life

    def _forget_oldest(self, newcomer: _Life) -> None:
        name = newcomer.member.name
        lives = [life for life in self._lives.values() if life.member.name == name]
        if len(lives) > LIVES_PER_NAME_MAX:
            lives.remove(newcomer)
            oldest = min(lives, key=lambda life: life.rank)
            del self._lives[NodeUuid(oldest.member.node_uuid)]

    def _refute(self, incarnation: int, refute: int) -> None:
        """Somebody holds us for suspect or worse: outdo the claim and say so at once."""
        if incarnation == self._me.incarnation and refute >= self._me.refute:
            self._me = replace(self._me, refute=refute + 1)
            self.health.worse()
            self._accused = True
            self._beat_due = min(self._beat_due, self._now)

    def _replace_older_lives(self, now: int, life: _Life) -> None:
        for other in self._lives.values():
            if other is not life and other.member.name == life.member.name:
                other.replaced = True
                self._change(now, other, Evidence.REPLACED)

    def _change(self, now: int, life: _Life, evidence: Evidence) -> None:
        state = TRANSITIONS.get((MemberState(life.member.state), evidence))
        if state is not None:
            life.member = replace(life.member, state=state)
            life.since = now
            self._view_is_stale = True

    # ---- silence -----------------------------------------------------------------------------

    def _is_silent(self, now: int, life: _Life) -> bool:
        """A lost link takes away the acceptable pause; never heard means more patience."""
        if life.heard_counter < 0:
            pause = SUSPECT_TO_DOWN_MS
        elif self._linked.get(NodeName(life.member.name), True):
            pause = PHI_PAUSE_HEARTBEATS * HEARTBEAT_MS
        else:
            pause = 0
        return life.arrivals.is_silent(now, pause + self._lag_ms)

    def _judge(self, now: int, life: _Life) -> None:
        if life.member.state > MemberState.SUSPECT or not self._is_silent(now, life):
            return
        if life.member.state == MemberState.ALIVE:
            self._change(now, life, Evidence.SILENCE)
            return
        patience = SUSPECT_TO_DOWN_MS * self.health.multiplier
        if not self._linked.get(NodeName(life.member.name), True):
            patience //= LINK_LOST_DOWN_DIVISOR
        if now - life.since >= patience:
            self._change(now, life, Evidence.LASTING_SILENCE)

    def _is_heard(self, life: _Life) -> bool:
        return life.was_heard_last and not self._is_silent(self._now, life)

    # ---- what is said ------------------------------------------------------------------------

    def _heartbeat(self, state: MemberState) -> Heartbeat:
        self._me = replace(self._me, counter=self._me.counter + 1, state=state)
        me = self._me
        return Heartbeat(
            name=me.name,
            role=me.role,
            host=me.host,
            node_uuid=me.node_uuid,
            incarnation=me.incarnation,
            refute=me.refute,
            counter=me.counter,
            state=state,
            flags=0,
            hlc=self._hlc,
            ring_version=self._ring_version,
            ring_hash=self._ring_hash,
            load=self._load,
            suspects=self._suspicions(),
        )

    def _suspicions(self) -> list[Suspicion]:
        """Who should refute: suspects, and those that were DOWN and are heard again."""
        return [
            Suspicion(member.node_uuid, member.incarnation, member.refute)
            for life in self._lives.values()
            for member in (life.member,)
            if member.state == MemberState.SUSPECT
            or (member.state == MemberState.DOWN and self._is_heard(life))
        ][:MEMBERS_MAX]

    def _next_push_pull(self, now: int) -> NodeName | None:
        if self._push_pull_due < 0:
            self._push_pull_due = now + self._random.randrange(PUSH_PULL_MS)
            self._seeds_due = now + SEEDS_AGAIN_MS
        if self._ask:
            return self._ask.pop(0)
        if now >= self._seeds_due:
            self._seeds_due = now + SEEDS_AGAIN_MS
            return self._one_of(self._is_seed)
        if now >= self._push_pull_due:
            self._push_pull_due = now + PUSH_PULL_MS
            return self._one_of(lambda name: True)
        return None

    def _one_of(self, fits: Callable[[NodeName], bool]) -> NodeName | None:
        names = sorted(name for name, up in self._linked.items() if up and fits(name))
        return self._random.choice(names) if names else None

    def _is_seed(self, name: NodeName) -> bool:
        if name in self._expected:
            return self._expected[name].role == Role.ROUTER
        life = self._present_life(name)
        return life is not None and life.member.role == Role.ROUTER

    # ---- the view ----------------------------------------------------------------------------

    def _present_life(self, name: NodeName) -> _Life | None:
        lives = (life for life in self._lives.values() if life.member.name == name)
        return max(lives, key=lambda life: life.rank, default=None)

    def _present_lives(self) -> list[_Life]:
        present: dict[str, _Life] = {}
        for life in self._lives.values():
            known = present.get(life.member.name)
            if known is None or life.rank > known.rank:
                present[life.member.name] = life
        return list(present.values())

    def _compute_view(self) -> View:
        names: dict[int, set[NodeName]] = {role: set() for role in Role}
        if self._me.state != MemberState.LEFT:
            names[self._me.role].add(NodeName(self._me.name))
        self._view_needs_time = False
        suspected = []
        for life in self._lives.values():
            member = life.member
            if member.state == MemberState.SUSPECT:
                suspected.append(NodeName(member.name))
            is_down = member.state == MemberState.DOWN
            self._view_needs_time |= is_down and life.was_heard_last
            if member.state <= MemberState.SUSPECT or (is_down and self._is_heard(life)):
                names.setdefault(member.role, set()).add(NodeName(member.name))
        gateways, routers, storages = (tuple(sorted(names[role])) for role in sorted(Role))
        return View(gateways, routers, storages, tuple(sorted(suspected)))

    def _refresh_view(self) -> None:
        """Compute the view anew if it may have changed: most heartbeats change nothing."""
        if not (self._view_is_stale or self._view_needs_time):
            return
        self._view_is_stale = False
        view = self._compute_view()
        if view != self._view:
            self._view = view
            self.version += 1
