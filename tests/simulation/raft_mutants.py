"""Faults that one wrong line would put into the replicated log, and what must catch each of them.

`MUTANTS` is the whole table. A mutant says where it is hunted: in the explorer (`Explored`: every
interleaving within bounds, from a schedule on) or in one schedule of a test (`Directed`). Which
rule has to find it is part of the table: a mutant that is found by accident would hide that the
rule is blind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from raft_rig import Rig, name_of

from zmqim.bus.replication import Append, AppendResult, GroupBody, VoteRequest, VoteResult
from zmqim.raft import progress
from zmqim.raft.core import RaftCore
from zmqim.raft.entry import Entry, decode_entry
from zmqim.raft.groups import Groups
from zmqim.raft.leader import Lead
from zmqim.raft.log import Log, LogEnd
from zmqim.raft.peers import NEVER, Peers
from zmqim.raft.state import HardState, Unsaved
from zmqim.sim.explorer import LED, explore
from zmqim.sim.raft_moves import Bounds, Shape
from zmqim.sim.raft_replica import PARTITION, Disk, Replica, Snapshot, birth_of


class Caught(NamedTuple):
    """What found a mutant, after how many states or steps."""

    rule: str
    count: int
    unit: str


class Hunt(Protocol):
    """Where a mutant is looked for."""

    def run(self) -> Caught | None:
        """Who found it; None if it got away."""


class Patch(NamedTuple):
    """Another attribute for a while."""

    owner: Any
    name: str
    value: Any


class Explored(NamedTuple):
    """In every interleaving within bounds, beginning behind a schedule."""

    replica_class: type[Replica] = Replica
    patches: tuple[Patch, ...] = ()
    bounds: Bounds = Bounds(1, 1, 0, 0, 0)
    shape: Shape = Shape()
    schedule: tuple[str, ...] = LED
    states: int = 60_000

    def run(self) -> Caught | None:
        """The first rule that is broken."""
        with patched(self.patches):
            report = explore(
                self.bounds,
                self.shape,
                self.replica_class,
                states=self.states,
                schedule=self.schedule,
            )
        return Caught(report.violation, report.states, "states") if report.violation else None


class Directed(NamedTuple):
    """In one schedule; it gives the text of what went wrong."""

    schedule: Callable[[], str]
    patches: tuple[Patch, ...] = ()

    def run(self) -> Caught | None:
        """What the schedule says."""
        with patched(self.patches):
            wrong = self.schedule()
        return Caught(wrong, 1, "schedule") if wrong else None


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


@contextmanager
def patched(patches: tuple[Patch, ...]) -> Iterator[None]:
    """Put other attributes in, and take them out again."""
    before = [Patch(one.owner, one.name, one.owner.__dict__[one.name]) for one in patches]
    try:
        for one in patches:
            setattr(one.owner, one.name, one.value)
        yield
    finally:
        for one in before:
            setattr(one.owner, one.name, one.value)


# ---- saving --------------------------------------------------------------------------------------


class AcknowledgesEarly(Replica):
    """A follower's answer leaves before its write."""

    said: type = AppendResult

    def early(self) -> None:
        for message in self.core._late:
            if isinstance(message, self.said):
                self.send(message)
        self.core._late = [one for one in self.core._late if not isinstance(one, self.said)]
        super().early()


class VotesEarly(AcknowledgesEarly):
    """A vote leaves before it is written."""

    said = VoteResult


class CountsItselfEarly(Replica):
    """The leader counts itself, and answers, before its own write."""

    phases = ("early", "collect", "saved", "apply", "acknowledge", "flush", "late")

    def saved(self) -> None:
        if self._pending is not None:
            self.core.saved()

    def late(self) -> None:
        self._pending = self._installed = None
        super().late()


class ForgetsVotes(Replica):
    """Only the term is written."""

    def written(self, unsaved: Unsaved) -> Disk:
        if unsaved.hard_state is not None:
            unsaved.hard_state = HardState(unsaved.hard_state.term)
        return super().written(unsaved)


class ReadsBehindTheEnd(Replica):
    """What is on disk behind the end of the log is taken for a part of it."""

    left: tuple[bytes, ...] = ()

    def written(self, unsaved: Unsaved) -> Disk:
        before, after = self.disk, super().written(unsaved)
        gone = after.extent.last + 1 - before.extent.first
        left = before.bodies[gone:] if gone > 0 else ()
        type(self).left = left or type(self).left
        return after

    def restart(self) -> None:
        if self.replica == 1 and self.left:
            last = decode_entry(self.left[-1]).index
            self.disk = self.disk._replace(
                extent=self.disk.extent.up_to(last), bodies=self.disk.bodies + self.left
            )
        super().restart()


class WakesUpEmpty(Replica):
    """The folder was wiped, and the replica goes on under its number."""

    def restart(self) -> None:
        self.disk = birth_of(self.disk.rows.config)
        super().restart()


# ---- votes ---------------------------------------------------------------------------------------


def asked_though_damaged(core: RaftCore, request: VoteRequest, leader_alive: bool) -> None:
    """Votes although it is damaged."""
    damaged, core.is_damaged = core.is_damaged, False
    _asked(core, request, leader_alive)
    core.is_damaged = damaged


_asked = RaftCore._asked_for_vote


def forgets_its_vote(core: RaftCore, request: VoteRequest, leader_alive: bool) -> None:
    """Votes for everyone who asks in a term."""
    if request.term == core.term:
        core.hard_state = HardState(core.term)
    _asked(core, request, leader_alive)


def grants_short_logs(core: RaftCore, request: VoteRequest, leader_alive: bool) -> None:
    """Votes for logs that lack what its own has."""
    longer = request.__class__(
        request.partition,
        request.group,
        request.source,
        request.target,
        request.term,
        1 << 40,
        1 << 40,
        request.pre,
        request.transfer,
    )
    _asked(core, longer, leader_alive)


# ---- appending -----------------------------------------------------------------------------------


def cuts_to_commit(core: RaftCore, append: Append) -> None:
    """Whatever is not known to be committed is dropped whenever a leader speaks."""
    log = core.log
    if append.term >= core.term and log.last > core.commit:
        log.truncate(core.commit + 1)
        core._forget_configs(core.commit + 1)
    _appended(core, append)


def cuts_to_what_came(core: RaftCore, append: Append) -> None:
    """The log ends where the Append ends."""
    _appended(core, append)
    last = append.prev_index + len(append.entries)
    log = core.log
    if append.term >= core.term and core.commit <= last < log.last:
        log.truncate(last + 1)
        core._forget_configs(last + 1)


def answers_with_its_last(core: RaftCore, append: Append) -> None:
    """Tells how long its log is, whatever is in it."""
    _appended(core, append)
    core._late = [
        AppendResult(*core._to(one.target), True, core.log.last)
        if isinstance(one, AppendResult) and one.accepted
        else one
        for one in core._late
    ]


_appended = RaftCore._appended


def holds_anything(log: Log, index: int, entry: tuple[int, int]) -> bool:
    return index <= log.last


def takes_any_chain(log: Log, entry: Entry, body: bytes) -> bool:
    """Does not look whether an entry continues the chain."""
    log._put(entry, body)
    return True


def counts_old_terms(lead: Lead, before: int) -> int:
    """What a majority holds is committed, whoever proposed it."""
    return max(before, lead.held())


class TellsItsCommit(Replica):
    """A heartbeat tells the leader's commit as it is."""

    def told_commit(self, progress: progress.Progress) -> int:
        return self.core.commit


def serves_at_once(core: RaftCore) -> None:
    """A leader serves as soon as anything is applied."""
    _applied_committed(core)
    if core.lead is not None:
        core.serving = True


_applied_committed = RaftCore.applied_committed


# ---- configurations and snapshots ----------------------------------------------------------------


@property  # type: ignore[misc]
def accepts_at_once(core: RaftCore) -> bool:
    """Changes before anything of the own term is committed."""
    return core.lead is not None


def changes_again(core: RaftCore, step: Any, live: Any, wall_ms: int) -> int:
    """Changes while a change is under way."""
    commit = core.commit
    core.commit = core.last
    try:
        return _change(core, step, live, wall_ms)
    finally:
        core.commit = commit


_change = RaftCore.change


class SendsNoConfig(Replica):
    """A snapshot comes with the voters of birth."""

    def snapshot_for(self, target: int) -> Snapshot:
        rows = self.disk.rows
        self.disk = self.disk._replace(rows=rows._replace(conf_id=0, config=self.born))
        snapshot = super().snapshot_for(target)
        self.disk = self.disk._replace(rows=rows)
        return snapshot

    @property
    def born(self) -> Any:
        from zmqim.raft.config import GroupConfig
        from zmqim.sim.raft_replica import places

        return GroupConfig(places(1, 2), places(3))


def restarts_empty(log: Log, index: int, end: LogEnd) -> bool:
    """A snapshot replaces the whole log."""
    log.chain = 0
    log.tail = [Entry(0, one.index, 0, 0, b"", 0) for one in log.tail]
    return _restart_at(log, index, end)


_restart_at = Log.restart_at

# ---- between processes ---------------------------------------------------------------------------


def confirms_at_once(groups: Groups, partition: int) -> int:
    """A leader believes that it leads."""
    return NEVER


def counts_every_echo(peers: Peers, core: RaftCore, replica: int) -> int:
    """Whoever echoes confirms the leaders of all groups."""
    if replica == core.replica:
        return NEVER
    peer = peers.by_name.get(name_of(replica))
    return 0 if peer is None else peer.told.echoed


def keeps_what_the_name_was_told(groups: Groups, now: int, name: Any, uuid: Any) -> None:
    """Another process with that name is taken to know what the one before it was told."""
    told = groups.peers.make(now, name).told
    _peer_up(groups, now, name, uuid)
    groups.peers.make(now, name).told = told
    told.forget()


_peer_up = Groups.peer_up


def asks_no_uuid(groups: Groups, source: Any, message: GroupBody) -> RaftCore | None:
    """Takes every process of a name for the same one."""
    core = groups.cores.get(message.partition)
    return core if core is not None and core.replica == message.target else None


def sends_to_any_uuid(peers: Peers, core: RaftCore, replica: int) -> Any:
    """Sends to whoever bears the name."""
    return name_of(replica) if peers.make(0, name_of(replica)).is_linked else None


def read_at_a_lost_leader() -> str:
    """Replica 1 is alone, the others go on; somebody reads at 1."""
    rig = Rig()
    rig.lead(1)
    rig.part(1)
    _others_go_on(rig)
    return _read_at_1(rig)


def read_confirmed_by_another_life() -> str:
    """The same, and a process that knows nothing comes to bear the name of replica 3."""
    rig = Rig()
    rig.lead(1)
    rig.part(1)
    _others_go_on(rig)
    new = rig.restart(3, disk=birth_of(rig[1].core.config), uuid=b"another")
    new.groups.cores.clear()
    new.groups._stand_at.clear()
    new.groups.touched.clear()
    rig.cut.discard(frozenset((name_of(1), name_of(3))))
    rig.join(new)
    rig.part(2)
    return _read_at_1(rig)


def _others_go_on(rig: Rig) -> None:
    rig.until(lambda: rig[2].core.serving or rig[3].core.serving)
    leader = rig.leader
    assert leader is not None
    index = rig.propose(leader.number)
    rig.until(lambda: leader.core.applied >= index)


def _read_at_1(rig: Rig) -> str:
    groups, core = rig[1].groups, rig[1].core
    if not core.serving:
        return ""
    asked = groups.ask_round(PARTITION)
    applied = max(one.core.applied for one in rig.storages.values())
    for _ in range(20):
        rig.step()
        if core.serving and groups.confirmed(PARTITION) >= asked and core.applied < applied:
            return "a read misses what was acknowledged before it"
    return ""


def wiped_disk_that_votes() -> str:
    """Entry 2 is on 1 and 3; 3 comes back wiped, as a new process with its old name; 1 is gone."""
    rig = Rig()
    rig.lead(1)
    rig.part(2)
    index = rig.propose(1)
    rig.until(lambda: rig[1].core.applied == index)
    rig.restart(3, disk=birth_of(rig[1].core.config), uuid=b"another")
    rig.heal()
    rig.part(1)
    rig.run(5_000)
    leader = rig.leader
    if leader is not None and leader.number != 1:
        return "a leader lacks what was acknowledged"
    return ""


NARROW = Patch(progress, "SEND_WINDOW_BYTES_MAX", 4)
"""One entry an Append: what the window's bound does with large entries."""


def _core(name: str, value: Any) -> tuple[Patch, ...]:
    return (Patch(RaftCore, name, value),)


_TWO_LOGS = (
    *("1: stand", "2: arrives: VoteRequest", "1: arrives: VoteResult"),
    *("2: arrives: VoteRequest", "1: arrives: VoteResult", "lost", "lost", "lost", "lost"),
)
"""Replica 1 leads term 1 and nobody else has its first entry."""
_THREE_AHEAD = (*LED, "1: propose", "lost", "lost", "1: propose", "lost", "lost")
"""Everyone has entry 1, only the leader 2 and 3."""
_OTHER_LEADER = (
    *("2: stand", "lost: VoteRequest", "3: arrives: VoteRequest", "2: arrives: VoteResult"),
    *("lost: VoteRequest", "3: arrives: VoteRequest", "2: arrives: VoteResult"),
)
"""Then 2 leads, elected by 3, and its first Append to each is on its way."""

_LONG_AND_BEHIND = (
    *(*LED, "1: propose", "2: arrives: Append", "3: arrives: Append", "lost", "lost"),
    *(3 * ("1: propose",)),
    *_OTHER_LEADER,
    *("3: arrives: Append", "lost: Append", "lost: AppendResult"),
    *("2: step down", "3: stand"),
    *("lost: VoteRequest", "2: arrives: VoteRequest", "3: arrives: VoteResult"),
    *("lost: VoteRequest", "2: arrives: VoteRequest", "3: arrives: VoteResult"),
)
"""Everyone has entry 2, and 1 does not know that it is committed and has three more. 3 leads behind
an entry that 1 lacks: so it goes back to what 1 knows to be committed, below what both have."""

MUTANTS: tuple[Mutant, ...] = (
    Mutant("ack before fsync", "an Append is acknowledged before", Explored(AcknowledgesEarly)),
    Mutant(
        "count self before own fsync",
        "committed: entry 1 is on 0 disks",
        Explored(
            CountsItselfEarly,
            bounds=Bounds(1, 1, crashes=1, losses=0),
            shape=Shape((1,)),
            schedule=(),
        ),
    ),
    Mutant("vote not persisted", "a vote is told before", Explored(ForgetsVotes, schedule=())),
    Mutant(
        "vote persisted after reply",
        "VoteResult of term 1 before",
        Explored(VotesEarly, schedule=()),
    ),
    Mutant(
        "two votes a term",
        "the vote of term",
        Explored(
            patches=_core("_asked_for_vote", forgets_its_vote),
            bounds=Bounds(0, 2, 0, 0, 0),
            schedule=(),
        ),
    ),
    Mutant(
        "vote for a short log",
        "the leader of term 2 lacks committed entry",
        Explored(patches=_core("_asked_for_vote", grants_short_logs)),
    ),
    Mutant(
        "commit counts old-term entries",
        "the leader of term 4 lacks committed entry 1",
        Explored(
            patches=(Patch(Lead, "commit", counts_old_terms), NARROW),
            bounds=Bounds(0, 2, 0, 0, 0),
            schedule=(
                *_TWO_LOGS,
                *("1: step down", *_OTHER_LEADER, "lost", "lost", "2: step down"),
                *("1: stand", "lost: VoteRequest", "3: arrives: VoteRequest"),
                *("1: arrives: VoteResult", "1: stand", "lost: VoteRequest"),
                *("3: arrives: VoteRequest", "1: arrives: VoteResult", "lost: VoteRequest"),
                *("3: arrives: VoteRequest", "1: arrives: VoteResult"),
            ),
        ),
        is_slow=True,
    ),
    Mutant(
        "truncate to commit instead of conflict point",
        "committed: entry 2 is on 1 disks",
        Explored(patches=_core("_appended", cuts_to_commit), bounds=Bounds(2, 1, 0, 0, 0)),
    ),
    Mutant(
        "short Append truncates longer log",
        "committed: entry 3 is on 1 disks",
        Explored(
            patches=_core("_appended", cuts_to_what_came),
            bounds=Bounds(2, 1, crashes=0, losses=0, repeats=1),
        ),
    ),
    Mutant(
        "no prev_term and no chain check",
        "committed entry 2 is another one",
        Explored(
            patches=(
                Patch(Log, "holds", holds_anything),
                Patch(Log, "take_over", takes_any_chain),
            ),
            schedule=(*_THREE_AHEAD, *_OTHER_LEADER),
        ),
        is_slow=True,
    ),
    Mutant(
        "serve before NO-OP applied",
        "the leader serves without",
        Explored(patches=_core("applied_committed", serves_at_once)),
    ),
    Mutant(
        "config change without own-term commit",
        "the leader of term 3 lacks committed entry",
        Explored(
            patches=_core("accepts", accepts_at_once),
            bounds=Bounds(0, 1, 1, 0, 0),
            shape=Shape((1, 2, 3, 4), messages=6),
            schedule=(
                *("1: stand", "2: arrives: VoteRequest", "3: arrives: VoteRequest"),
                *("1: arrives: VoteResult", "1: arrives: VoteResult", "lost: VoteRequest"),
                *("2: arrives: VoteRequest", "3: arrives: VoteRequest"),
                *("1: arrives: VoteResult", "1: arrives: VoteResult", "lost", "lost", "lost"),
                "lost",
                *("1: change REMOVE 2", "1: step down", "2: stand", "lost: VoteRequest"),
                *("3: arrives: VoteRequest", "4: arrives: VoteRequest"),
                *("2: arrives: VoteResult", "2: arrives: VoteResult", "lost: VoteRequest"),
                *("3: arrives: VoteRequest", "4: arrives: VoteRequest"),
                *("2: arrives: VoteResult", "2: arrives: VoteResult"),
                *(
                    "lost: Append",
                    "lost: Append(partition=7, group=b'explored', source=2, target=4",
                ),
                *("2: change REMOVE 1", "3: arrives: Append", "2: arrives: AppendResult"),
                *("3: arrives: Append", "2: arrives: AppendResult", "1: stand"),
                *("4: arrives: VoteRequest", "1: arrives: VoteResult"),
            ),
        ),
    ),
    Mutant(
        "two config changes in flight",
        "the leader of term 2 lacks committed entry",
        Explored(
            patches=_core("change", changes_again),
            bounds=Bounds(0, 1, 2, 0, 0),
            shape=Shape(messages=6),
        ),
    ),
    Mutant(
        "damaged replica votes",
        "a damaged replica votes",
        Explored(
            patches=_core("_asked_for_vote", asked_though_damaged),
            bounds=Bounds(1, 1, 0, 0, 0, damages=1),
        ),
    ),
    Mutant(
        "snapshot without config",
        "3 and 1 applied the same, and their voters differ",
        Explored(
            SendsNoConfig,
            bounds=Bounds(0, 0, 1, 0, 1, cuts=1),
            shape=Shape((1, 2), (3,)),
        ),
    ),
    Mutant(
        "snapshot install drops a matching suffix",
        "committed: entry 3 is on 1 disks",
        Explored(
            patches=(Patch(Log, "restart_at", restarts_empty),),
            bounds=Bounds(0, 0, 0, 0, 0, cuts=1),
            schedule=(
                *LED,
                *("1: propose", "2: arrives: Append", "lost: AppendResult"),
                *("1: propose", "2: arrives: Append"),
            ),
        ),
    ),
    Mutant(
        "E suffix marker omitted",
        "AssertionError: the log on disk is broken at",
        Explored(
            ReadsBehindTheEnd,
            bounds=Bounds(0, 0, 0, 1, 0),
            schedule=(*_THREE_AHEAD, *_OTHER_LEADER),
        ),
    ),
    Mutant(
        "heartbeat carries raw commit",
        "AssertionError: 2 is committed, the log ends at 1",
        Explored(TellsItsCommit),
    ),
    Mutant(
        "match_index = own last index",
        "AssertionError: a follower holds more than its leader",
        Explored(
            patches=(*_core("_appended", answers_with_its_last), NARROW),
            bounds=Bounds(0, 0, 0, 0, 0),
            schedule=_LONG_AND_BEHIND,
        ),
    ),
    Mutant(
        "replica_id reused after wipe",
        "the term went back",
        Explored(WakesUpEmpty, bounds=Bounds(0, 1, 0, 1, 0)),
    ),
    Mutant(
        "Appends of an unsaved term",
        "Append of term 1 before the term is saved",
        Explored(
            patches=_core("holds_back", property(lambda core: False)),
            shape=Shape((1,), (2,)),
            schedule=(),
        ),
    ),
    Mutant(
        "no prev_term check",
        "WireError: entry 3 does not continue the chain",
        Explored(
            patches=(Patch(Log, "holds", holds_anything),),
            schedule=(*_THREE_AHEAD, *_OTHER_LEADER),
        ),
        is_slow=True,
    ),
    Mutant(
        "no chain check of entries",
        "",
        Explored(
            patches=(Patch(Log, "take_over", takes_any_chain),),
            schedule=(*_THREE_AHEAD, *_OTHER_LEADER),
            states=20_000,
        ),
        equivalent="the entry before them was compared with its chain, and a leader's log is whole;"
        " the check is for what no leader sends",
        is_slow=True,
    ),
    Mutant(
        "stale leader answers reads",
        "a read misses",
        Directed(read_at_a_lost_leader, (Patch(Groups, "confirmed", confirms_at_once),)),
    ),
    Mutant(
        "a process that was told nothing confirms reads",
        "a read misses",
        Directed(
            read_confirmed_by_another_life,
            (
                Patch(Peers, "echoed", counts_every_echo),
                Patch(Groups, "peer_up", keeps_what_the_name_was_told),
            ),
        ),
    ),
    Mutant(
        "node uuid not checked",
        "a leader lacks what was acknowledged",
        Directed(
            wiped_disk_that_votes,
            (
                Patch(Groups, "fenced", asks_no_uuid),
                Patch(Peers, "name_of", sends_to_any_uuid),
            ),
        ),
    ),
)
