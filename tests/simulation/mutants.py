"""Faults that one wrong line would put into the storage core, and what must catch each of them.

The faults live here, in subclasses; the product has no switch for them. `MUTANTS` is the whole
table: a mutant says where it is hunted, by seeds of the whole simulated cluster (`Seeds`), in drawn
schedules of three storages (`Schedules`) or in one (`Directed`), and which rule has to find it; one
that is found by accident would hide that the rule is blind. Those of the log itself are in
raft_mutants.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from storage_chaos import Chaos
from storage_trio import ONE, THREE, TWO, Trio
from storage_world import (
    GROUP,
    StorageWorld,
    deny,
    key_of,
    message,
    outcomes_in,
    result_of,
    submits_in,
)

from zmqim.bus.effects import Send
from zmqim.bus.messages import ItemKind, NoticeBatches, OutcomeCode, Outcomes, Propose
from zmqim.bus.replication import AppendResults
from zmqim.chat.applied import read_applied
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage
from zmqim.chat.queries import MembersQuery
from zmqim.chat.results import MembersPage, Sent
from zmqim.chat.state import ChatState, Outcome
from zmqim.chat.view import RowView, digest_of
from zmqim.errors import DamagedData, WireError
from zmqim.ids import NodeName
from zmqim.limits import FOLLOWER_APPLY_MS, LEADER_SILENCE_MS
from zmqim.raft.core import RaftCore
from zmqim.raft.entry import Entry
from zmqim.raft.groups import NEVER
from zmqim.sim.nodes import Cores
from zmqim.sim.run import Report, Simulation
from zmqim.sim.world import SECOND
from zmqim.storage.core import StorageCore
from zmqim.storage.effects import Effect, WriteJournal, WriteState
from zmqim.storage.group import Group, Waiting
from zmqim.storage.pushing import BOOK_MS
from zmqim.store.interface import RowReader, Rows, RowStore

TAG = slice(6, 7)
"""Where the tag stands in a row's key, behind partition and install (zmqim/chat/keys.py)."""
MISCOUNTED = 40
"""The entry of which a mutant makes something else."""
ALIKE_US_MAX = 10 * SECOND
"""All replicas have applied everything so soon after the faults end."""


# ---- hunting -------------------------------------------------------------------------------------


class Caught(NamedTuple):
    """What found a mutant, and in which seed or schedule."""

    rule: str
    place: str


class Hunt(Protocol):
    """Where a mutant is looked for."""

    def run(self, rule: str) -> Caught | None:
        """What found it, if it begins with `rule`; None if it got away."""


def _applied_on_disk(group: Group, rows: RowReader) -> int:
    return read_applied(group.state.keys.applied, RowView(rows)).index


class Watched(Simulation):
    """A run that also asks whether the replicas of a partition hold the same rows."""

    def _dump(self) -> None:
        super()._dump()
        if not self._wait(ALIKE_US_MAX, lambda: not self._lagging()):
            self.history.missing.append(f"replicas of {self._lagging()} apply everything")
        for partition in range(self.cluster.ring.partitions):
            digests = {
                storage.name: self._digest(storage.core, storage.disk.rows, partition)
                for storage in self.storages
                if partition in storage.core.groups
            }
            if len(set(digests.values())) > 1:
                self.history.missing.append(f"replicas of {partition} hold the same rows")

    def _lagging(self) -> list[int]:
        """Partitions of which the disks hold different ends."""
        return [
            partition
            for partition in range(self.cluster.ring.partitions)
            if len(
                {
                    (group.raft.last, _applied_on_disk(group, one.disk.rows))
                    for one in self.storages
                    if (group := one.core.groups.get(partition)) is not None
                }
            )
            > 1
        ]

    def _digest(self, core: StorageCore, rows: RowReader, partition: int) -> str:
        prefix = core.groups[partition].state.keys.prefix
        return digest_of(
            (key[len(prefix) :], body) for key, body in rows.scan(prefix, prefix + b"\xff" * 32)
        )


class Seeds(NamedTuple):
    """In the simulated cluster, from one seed on."""

    cores: Cores
    first: int = 0
    count: int = 10

    def run(self, rule: str) -> Caught | None:
        """The first seed in which that rule is broken."""
        for seed in range(self.first, self.first + self.count):
            for violation in broken(seed, self.cores):
                if violation.startswith(rule):
                    return Caught(violation, f"seed {seed}")
        return None


def broken(seed: int, cores: Cores) -> list[str]:
    """The rules that a seed breaks; a core that dies of it is one."""
    try:
        report: Report = Watched(seed, cores).run()
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        return [f"{type(error).__name__}: {error}"]
    return list(report.violations)


class Schedules(NamedTuple):
    """In the schedules of three storages (storage_chaos.py), from one seed on."""

    core: type[StorageCore]
    first: int = 0
    count: int = 10

    def run(self, rule: str) -> Caught | None:
        """The first schedule in which that rule is broken."""
        for seed in range(self.first, self.first + self.count):
            try:
                complaints = Chaos(seed, self.core).run()
            except (AssertionError, DamagedData, WireError) as error:
                complaints = [f"{type(error).__name__}: {error}"]
            for complaint in complaints:
                if complaint.startswith(rule):
                    return Caught(complaint, f"schedule {seed}")
        return None


class Directed(NamedTuple):
    """In one schedule, which gives the text of what went wrong."""

    schedule: Callable[[type[StorageCore]], str]
    core: type[StorageCore]

    def run(self, rule: str) -> Caught | None:
        """What the schedule says, or the storage that refuses to open what it wrote."""
        try:
            wrong = self.schedule(self.core)
        except DamagedData as error:
            wrong = f"DamagedData: {error}"
        return Caught(wrong, self.schedule.__name__) if wrong.startswith(rule) and wrong else None


class Mutant(NamedTuple):
    """A fault. `rule` is how the text of the rule begins that has to find it.

    One that is no fault, since something else prevents what it allows, says so in `equivalent`;
    then the hunt has to find nothing. `is_slow`: hunted for seconds, so only in `make test-long`.
    """

    name: str
    rule: str
    hunt: Hunt
    equivalent: str = ""
    is_slow: bool = False


# ---- what leaves before which write --------------------------------------------------------------


def _moved(effects: list[Effect], early: Callable[[Effect], bool]) -> list[Effect]:
    """Those effects in front of all others."""
    first = [effect for effect in effects if early(effect)]
    return first + [effect for effect in effects if not early(effect)]


def _is_message(effect: Effect, *kinds: Any) -> bool:
    return isinstance(effect, Send) and isinstance(effect.message, kinds)


class AcknowledgesBeforeSync(StorageCore):
    """Routers hear what was done before it is durable."""

    def turn(self, now: int, wall_ms: int) -> list[Effect]:
        kinds = (Outcomes, NoticeBatches)
        return _moved(super().turn(now, wall_ms), lambda one: _is_message(one, *kinds))


class AnswersLeadersBeforeSync(StorageCore):
    """A follower says that it holds entries before it does."""

    def turn(self, now: int, wall_ms: int) -> list[Effect]:
        return _moved(super().turn(now, wall_ms), lambda one: _is_message(one, AppendResults))


class CountsItselfBeforeSync(StorageCore):
    """The leader applies and answers as if its own write were there already."""

    def turn(self, now: int, wall_ms: int) -> list[Effect]:
        effects = super().turn(now, wall_ms)
        journal = [one for one in effects if isinstance(one, WriteJournal)]
        others = [one for one in effects if not isinstance(one, WriteJournal)]
        return others + journal


class SyncsNoRows(StorageCore):
    """The row write returns before it is durable."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        arguments[2]._synced = False
        super().__init__(*arguments, **more)


class SyncsNoJournal(StorageCore):
    """The journal write returns before it is durable."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        arguments[3]._store._synced = False
        super().__init__(*arguments, **more)


class WritesAppliedFirst(StorageCore):
    """How far the rows are is written before they are."""

    def turn(self, now: int, wall_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        for effect in super().turn(now, wall_ms):
            if isinstance(effect, WriteState):
                applied = [row for row in effect.rows if row[0][TAG] == b"A"]
                others = [row for row in effect.rows if row[0][TAG] != b"A"]
                effects += [WriteState(applied), WriteState(others)]
            else:
                effects.append(effect)
        return effects


# ---- what is kept in memory only -----------------------------------------------------------------


class _Remembered:
    """Rows, with duplicate checks that only this process knows."""

    def __init__(self, rows: RowStore) -> None:
        self._rows = rows
        self.snapshot = rows.snapshot
        self.duplicates: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.duplicates[key] if key in self.duplicates else self._rows.get(key)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        return self._rows.scan(start, stop, reverse=reverse, limit=limit)


class RemembersDuplicatesInMemory(StorageCore):
    """Finds a message that comes again only as long as it lives."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        me, ring, rows, *others = arguments
        self._remembered = _Remembered(rows)
        super().__init__(me, ring, self._remembered, *others, **more)

    def turn(self, now: int, wall_ms: int) -> list[Effect]:
        return [self._without_duplicates(effect) for effect in super().turn(now, wall_ms)]

    def _without_duplicates(self, effect: Effect) -> Effect:
        if not isinstance(effect, WriteState):
            return effect
        kept: Rows = []
        for key, body in effect.rows:
            if key[TAG] == b"D":
                self._remembered.duplicates[key] = body
            else:
                kept.append((key, body))
        return WriteState(kept)


class _CountingState(ChatState):
    """Sequences come from a counter of this life, which begins with what the rows say at birth."""

    def _send(self, hlc: int, send: SendMessage, payload: bytes, quiet: bool) -> Outcome:
        counts = self.__dict__.setdefault("counts", {})
        key = (send.channel_type, send.channel_id, send.flags & 2)
        log = self.heads.find(send.channel_type, send.channel_id, bool(send.flags & 2))
        log.head.last_sequence = counts.get(key, 0)
        outcome = super()._send(hlc, send, payload, quiet)
        counts[key] = log.head.last_sequence
        return outcome


class _Changed(StorageCore):
    """Its groups, states and logs are of other classes."""

    group_class: type[Group] = Group
    state_class: type[ChatState] = ChatState
    raft_class: type[RaftCore] = RaftCore

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        for group in self.groups.values():
            group.__class__ = self.group_class
            group.state.__class__ = self.state_class
            group.raft.__class__ = self.raft_class


class CountsInMemory(_Changed):
    """The next sequence of a channel is known to this life only."""

    state_class = _CountingState


class _MiscountingState(ChatState):
    def _send(self, hlc: int, send: SendMessage, payload: bytes, quiet: bool) -> Outcome:
        if self.applied.index == MISCOUNTED:
            channel = self.heads.find(send.channel_type, send.channel_id)
            channel.head.last_sequence += 1
        return super()._send(hlc, send, payload, quiet)


class AppliesAMessageOtherwise(_Changed):
    """One storage leaves a sequence out that the others give, once in each partition."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        if arguments[0].name == "storage-1":
            self.state_class = _MiscountingState
        super().__init__(*arguments, **more)


# ---- what routers are told -----------------------------------------------------------------------


class RefusesWhatIsUnknown(StorageCore):
    """An open write of a lost lead is told to be refused."""

    def turn(self, now: int, wall_ms: int) -> list[Effect]:
        effects = super().turn(now, wall_ms)
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Outcomes):
                items = effect.message.items
                for place, outcome in enumerate(items):
                    if outcome.code == OutcomeCode.UNKNOWN:
                        items[place] = type(outcome)(
                            outcome.origin,
                            outcome.request,
                            outcome.partition,
                            OutcomeCode.BUSY,
                            b"",
                        )
        return effects


class _ForgetfulGroup(Group):
    __slots__ = ()

    def apply(self) -> None:
        before = self.duties
        super().apply()
        if before is None and self.duties is not None:
            self.duties.notices.missing_from = None
            self.duties.notices.acknowledged = self.state.applied.index


class OwesNoOldNotices(_Changed):
    """A new leader takes what the one before it was to push for pushed."""

    group_class = _ForgetfulGroup


class _ForgetfulOutboxGroup(Group):
    __slots__ = ()

    def apply(self) -> None:
        before = self.duties
        super().apply()
        if before is None and self.duties is not None:
            outbox = self.duties.outbox
            outbox._open.clear()
            outbox._taken = outbox.delivered = outbox._last


class OwesNoOldOutboxRows(_Changed):
    """A new leader takes what the one before it was to deliver for delivered."""

    group_class = _ForgetfulOutboxGroup


# ---- who leads -----------------------------------------------------------------------------------


class BelievesThatItLeads(StorageCore):
    """Answers reads without asking anybody."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.replicas.confirmed = lambda partition: NEVER  # type: ignore[method-assign]


class ReadsAtOnceAmongOthers(StorageCore):
    """What a lone voter may do, answer a read without asking who leads, is done by any leader."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.proposals._is_current = (  # type: ignore[method-assign]
            lambda group: group.raft.applied >= group.raft.last and not group.waiting
        )


class CountsOldEchoes(StorageCore):
    """A read is confirmed by the round before it."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        confirmed = self.replicas.confirmed
        self.replicas.confirmed = (  # type: ignore[method-assign]
            lambda partition: confirmed(partition) + 1
        )


class _EagerRaft(RaftCore):
    @property
    def accepts(self) -> bool:
        return self.lead is not None and not self.lead.handing_to


class ServesBeforeItsNoOp(_Changed):
    """Takes items as soon as it is elected, and reads what it has applied until then."""

    raft_class = _EagerRaft

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        admit = self.proposals.admit

        def eager(now: int, wall_ms: int, source: Any, item: Any) -> None:
            admit(now, wall_ms, source, item)
            group = self.proposals.touched.get(item.partition)
            if group is not None and item.kind == ItemKind.READ and group.waiting:
                group.waiting[-1] = (group.raft.applied, *group.waiting[-1][1:])

        self.proposals.admit = eager  # type: ignore[method-assign]


class _StubbornGroup(Group):
    __slots__ = ()

    def give_up(self) -> deque[Waiting]:
        self.duties = None
        return deque()


class KeepsWaitingForALostLead(_Changed):
    """What was proposed in a lost lead is taken for proposed in the next."""

    group_class = _StubbornGroup


class _EarlyRaft(RaftCore):
    def committed(self) -> list[Entry]:
        if self.lead is not None:
            self.commit = max(self.commit, self.log.saved)
        return super().committed()


class AppliesWhatOnlyItHolds(_Changed):
    """A leader applies and acknowledges when its own disk holds an entry."""

    raft_class = _EarlyRaft

    def _apply_group(self, group: Group, wall_ms: int) -> None:
        raft = group.raft
        if raft.lead is not None:
            raft.commit = max(raft.commit, raft.log.saved)
        super()._apply_group(group, wall_ms)


# ---- schedules -----------------------------------------------------------------------------------


def only_voter_dies_writing(core: type[StorageCore]) -> str:
    """The only voter dies in the journal write of a turn."""
    world = StorageWorld(core_class=core)
    world.add("g", "alice")
    one = message("alice", "g", "1")
    world.receive(Propose([world.item(key_of(one), ItemKind.WRITE, encode(one))]))
    effects = world.core.turn(world.now, world.wall_ms)
    first = next(n for n, effect in enumerate(effects) if isinstance(effect, WriteJournal))
    told = outcomes_in(world.perform(effects[:first]))
    world.restart()
    (again,) = world.send(one)
    assert isinstance(again, Sent)
    return "acknowledged and lost" if told and not again.duplicate else ""


def follower_dies_writing(core: type[StorageCore]) -> str:
    """One follower is cut off, the other dies in its journal write; then the leader dies."""
    trio = Trio(core=core)
    trio.add("g", "alice")
    trio.cut(THREE)
    one = message("alice", "g", "1")
    item = trio.put(ONE, one)
    trio.turn(ONE)
    for append in trio._take((ONE, TWO)):
        trio[TWO].core.receive(trio.now, ONE, append)
    trio.die_writing(TWO)
    trio.run(1)
    told = trio.outcome(item)
    trio.crash(ONE)
    trio.heal()
    trio.run(LEADER_SILENCE_MS)
    trio.boot(TWO)
    trio.until(lambda: trio.leader() is not None)
    again = trio.write(one)
    assert isinstance(again, Sent)
    return "acknowledged and lost" if told is not None and not again.duplicate else ""


def leader_is_alone(core: type[StorageCore]) -> str:
    """A leader is cut off with a message that nobody else got."""
    return _cut_off(core, arrives=False)


def leader_is_alone_behind_its_append(core: type[StorageCore]) -> str:
    """A leader is cut off with a message that the others got."""
    return _cut_off(core, arrives=True)


def _cut_off(core: type[StorageCore], *, arrives: bool) -> str:
    trio = Trio(core=core)
    trio.add("g", "alice")
    one = message("alice", "g", "1")
    item = trio.put(ONE, one)
    if arrives:
        trio.turn(ONE)
        for name in (TWO, THREE):
            for append in trio._take((ONE, name)):
                trio[name].core.receive(trio.now, ONE, append)
    trio.cut(ONE)
    told = trio.answered(item)
    trio.until(lambda: trio.leader() not in (None, ONE))
    again = trio.write(one)
    was_stored = isinstance(again, Sent) and again.duplicate
    if told.code == OutcomeCode.DONE and not was_stored:
        return "acknowledged and lost"
    is_refused = told.code not in (OutcomeCode.DONE, OutcomeCode.UNKNOWN)
    return "refused and stored" if is_refused and was_stored else ""


def reads_at_a_leader_that_was_left(core: type[StorageCore]) -> str:
    """The others lose the connection to their leader, elect another, and it does not notice."""
    trio = Trio(core=core)
    trio.add("g", "alice")
    trio.cut(ONE)
    for name in (TWO, THREE):
        trio[name].core.peer_down(trio.now, ONE)
    trio.until(lambda: trio.leads(TWO))
    trio.add("g", "bob")
    return _read_members(trio, ONE)


def reads_at_a_leader_that_slept(core: type[StorageCore]) -> str:
    """A leader sleeps while the others elect another; it wakes alone, with a read to answer."""
    trio = Trio(core=core)
    trio.add("g", "alice")
    trio[ONE].is_stopped = True
    trio.until(lambda: trio.leads(TWO))
    trio.add("g", "bob")
    trio.cut(ONE)
    trio[ONE].is_stopped = False
    return _read_members(trio, ONE)


def reads_at_a_leader_that_applied_nothing(core: type[StorageCore]) -> str:
    """Of three, one lags; the next leader has what was acknowledged, but has not applied it."""
    trio = Trio(core=core)
    trio.add("g", "alice")
    trio.run(2 * FOLLOWER_APPLY_MS)
    trio.hold(ONE, THREE)
    trio.add("g", "bob")
    trio.release(ONE, THREE)
    trio.crash(ONE)
    trio.until(lambda: trio.group(TWO).raft.lead is not None)
    return _read_members(trio, TWO)


def pushes_of_the_leader_before(core: type[StorageCore]) -> str:
    """A leader dies between acknowledging a message and pushing it."""
    trio = Trio(core=core)
    trio.add("g", "alice")
    sent = trio.write(message("alice", "g", "1"))
    trio.write(deny("bob", "alice"))
    trio.until(trio.applied_alike)
    trio.crash(ONE)
    trio.until(lambda: trio.leads(TWO))
    trio.run(2 * BOOK_MS)
    assert isinstance(sent, Sent)
    if not trio.notices(TWO):
        return "not pushed"
    return "" if submits_in(trio[TWO].sent) else "not delivered"


def _read_members(trio: Trio, name: NodeName) -> str:
    read = trio.ask(name, MembersQuery(GROUP, "g"))
    outcome = trio.answered(read)
    if outcome.code != OutcomeCode.DONE:
        return ""
    page = result_of(outcome)
    assert isinstance(page, MembersPage)
    return "" if "bob" in page.uids else "a read misses what was acknowledged"


DAMAGED = "DamagedData: partition"
"""A storage refuses to open what it wrote."""


def _seeds(core: type[StorageCore], first: int, count: int = 10) -> Seeds:
    return Seeds(Cores(storage=core), first, count)


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "ack before fsync",
        "acknowledged and lost",
        Directed(only_voter_dies_writing, AcknowledgesBeforeSync),
    ),
    Mutant(
        "a leader is answered before fsync",
        "acknowledged and lost",
        Directed(follower_dies_writing, AnswersLeadersBeforeSync),
    ),
    Mutant(
        "count self before own sync",
        DAMAGED,
        Directed(only_voter_dies_writing, CountsItselfBeforeSync),
    ),
    Mutant("journal unsynced", DAMAGED, _seeds(SyncsNoJournal, 3)),
    Mutant("state batch unsynced", "I-1 ", _seeds(SyncsNoRows, 6), is_slow=True),
    Mutant("Applied written before its rows", "I-1 ", _seeds(WritesAppliedFirst, 42), is_slow=True),
    Mutant(
        "a message applied otherwise",
        "I-13 storage-",
        _seeds(AppliesAMessageOtherwise, 2),
        is_slow=True,
    ),
    Mutant(
        "dedup kept in memory only", "I-3 ", _seeds(RemembersDuplicatesInMemory, 3), is_slow=True
    ),
    Mutant("sequence from a counter in memory", "I-1 ", _seeds(CountsInMemory, 3)),
    Mutant(
        "applied on one disk only",
        "acknowledged and lost",
        Directed(leader_is_alone, AppliesWhatOnlyItHolds),
    ),
    Mutant(
        "UNKNOWN told as a refusal",
        "refused and stored",
        Directed(leader_is_alone_behind_its_append, RefusesWhatIsUnknown),
    ),
    Mutant(
        "lost notices not sent again by a new leader",
        "not pushed",
        Directed(pushes_of_the_leader_before, OwesNoOldNotices),
    ),
    Mutant(
        "outbox rows not delivered by a new leader",
        "not delivered",
        Directed(pushes_of_the_leader_before, OwesNoOldOutboxRows),
    ),
    Mutant(
        "stale leader answers reads",
        "a read misses",
        Directed(reads_at_a_leader_that_was_left, BelievesThatItLeads),
    ),
    Mutant(
        "a read among several voters is answered at once",
        "a read misses",
        Directed(reads_at_a_leader_that_was_left, ReadsAtOnceAmongOthers),
    ),
    Mutant(
        "a read is confirmed by the round before it",
        "a read misses",
        Directed(reads_at_a_leader_that_slept, CountsOldEchoes),
    ),
    Mutant(
        "waiting kept over a lost lead",
        "WireError: not a result",
        Schedules(KeepsWaitingForALostLead, 4, 1),
    ),
    Mutant(
        "serve before NO-OP applied",
        "a read misses",
        Directed(reads_at_a_leader_that_applied_nothing, ServesBeforeItsNoOp),
    ),
)
