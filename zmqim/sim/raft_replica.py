"""One replica for the explorer: a real `RaftCore`, its disk, and the turn that a storage gives it.

The turn is cut into phases, so that a crash can fall between any two of them. A replica can be
frozen into a tuple and made again from it: that is how the explorer goes back to a state, and how
it knows that it has seen one. What a faulty product would do is a subclass or another `phases`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import astuple, replace

from zmqim.bus.replication import AppendResult, GroupBody, GroupPulse
from zmqim.raft.config import GroupConfig, Place, Step
from zmqim.raft.core import RaftCore
from zmqim.raft.entry import Entry, decode_entry, follows
from zmqim.raft.leader import Lead
from zmqim.raft.log import Log, LogEnd, LogExtent
from zmqim.raft.progress import Progress, Sending
from zmqim.raft.state import HardState, Identity, Unsaved
from zmqim.sim.raft_checks import secret_in

WALL_MS = 1_000
PARTITION = 7
GROUP = b"explored"

Frozen = tuple[Any, ...]


class Snapshot(GroupBody, frozen=True):
    """A whole snapshot in one message; in the product it is pulled in pieces."""

    index: int
    index_term: int
    chain: int
    hlc: int
    conf_id: int
    config: GroupConfig


class Rows(NamedTuple):
    """The state that was made of the log up to the entry `at`; they stand for those entries."""

    at: int
    end: LogEnd
    conf_id: int
    config: GroupConfig


class Disk(NamedTuple):
    """What survives a crash."""

    hard_state: HardState
    extent: LogExtent
    bodies: tuple[bytes, ...]
    """From `extent.first` on."""
    rows: Rows
    is_damaged: bool = False

    def held(self, index: int) -> int | None:
        """The chain at `index`; 0 if that is cut away behind the rows; None if it is not here."""
        first = self.extent.first
        if index == first - 1:
            return self.extent.base_chain
        if index < first:
            return 0
        if index > self.extent.last:
            return None
        return decode_entry(self.bodies[index - first]).chain


def birth_of(config: GroupConfig) -> Disk:
    """The disk of a replica that was just made."""
    return Disk(HardState(), LogExtent(), (), Rows(0, LogEnd(), 0, config))


def places(*replicas: int) -> tuple[Place, ...]:
    """Replica 1 lives on s1, and so on."""
    return tuple(Place(one, f"s{one}", b"uuid-%d" % one) for one in replicas)


class Replica:
    """The core, its disk, and what it has sent in this turn."""

    core_class: type[RaftCore] = RaftCore
    phases: tuple[str, ...] = (
        "early",
        "collect",
        "flush",
        "saved",
        "late",
        "apply",
        "acknowledge",
    )

    def __init__(self, replica: int, disk: Disk) -> None:
        self.replica = replica
        self.disk = disk
        self.told: dict[int, int] = {}
        """The commit that each follower was told in a heartbeat of this lead."""
        self.out: list[GroupBody | GroupPulse] = []
        self.acknowledged: tuple[int, int] | None = None
        """(index, chain) of the last entry whose proposer was answered in this turn."""
        self.error = ""
        """A rule that this replica alone broke in this turn."""
        self._leads = False
        self._pending: Unsaved | None = None
        self._installed: Rows | None = None
        self._applied_before = disk.rows.at
        self.core = self.opened()

    # ---- starting --------------------------------------------------------------------------------

    def opened(self) -> RaftCore:
        """The core as it is made of the disk."""
        disk = self.disk
        rows = disk.rows
        entries = [decode_entry(body) for body in disk.bodies]
        chain = disk.extent.base_chain
        for entry, body in zip(entries, disk.bodies, strict=True):
            assert follows(body, chain), f"the log on disk is broken at {entry.index}"
            chain = entry.chain
        end = rows.end
        if entries and entries[-1].index > rows.at:
            end = LogEnd(entries[-1].term, entries[-1].chain, entries[-1].hlc)
        unapplied = [entry for entry in entries if entry.index > rows.at]
        log = Log(disk.extent, end, rows.at, unapplied, self.read)
        return self.core_class(
            Identity(PARTITION, GROUP, self.replica),
            disk.hard_state,
            log,
            rows.config,
            rows.conf_id,
            is_damaged=disk.is_damaged,
        )

    def restart(self) -> None:
        """What was not saved is lost."""
        self.told = {}
        self._pending = self._installed = None
        self.core = self.opened()

    def read(self, first: int, last: int, bytes_max: int) -> list[bytes]:
        """Bodies from the journal, as the log asks for them."""
        base = self.disk.extent.first
        assert base <= first <= last <= self.disk.extent.last, "read behind what is on disk"
        found: list[bytes] = []
        for body in self.disk.bodies[first - base : last - base + 1]:
            bytes_max -= len(body)
            if bytes_max < 0 and found:
                break
            found.append(body)
        return found

    # ---- what happens to it ----------------------------------------------------------------------

    def receive(self, message: GroupBody | GroupPulse) -> None:
        """A message arrives."""
        core = self.core
        if isinstance(message, GroupPulse):
            core.pulse(message.source, message.term, message.commit)
            fault = f"{message.commit} is committed, the log ends at {core.last}"
            assert not core.has_forgotten, fault  # No disk of this world forgets unseen.
        elif isinstance(message, Snapshot):
            self.receive_snapshot(message)
        else:
            core.receive(0, WALL_MS, message)

    def receive_snapshot(self, message: Snapshot) -> None:
        """The rows of a leader."""
        core = self.core
        if not core.pulse(message.source, message.term, 0):
            return
        if core.can_install(message.index, message.index_term):
            end = LogEnd(message.index_term, message.chain, message.hlc)
            self._installed = Rows(message.index, end, message.conf_id, message.config)
            core.install(message.index, end, message.config, message.conf_id)
        elif not core.is_damaged:
            me = (PARTITION, GROUP, self.replica, message.source, core.term)
            self.out.append(AppendResult(*me, True, core.commit))

    def change(self, step: Step) -> None:
        """Ask for one step of the configuration; everyone lives."""
        self.core.change(step, set(self.core.places), WALL_MS)

    def cut(self) -> bool:
        """Forget the log behind the last applied entry; False if nothing is to be cut."""
        core = self.core
        if core.log.first > core.applied:
            return False
        core.log.cut_before(decode_entry(self.read(core.applied, core.applied, 1)[0]))
        return True

    def damage(self) -> bool:
        """The disk lost its last entry that was not applied; False if there is none."""
        disk = self.disk
        if disk.is_damaged or disk.extent.last <= disk.rows.at:
            return False
        extent = disk.extent.up_to(disk.extent.last - 1)
        self.disk = disk._replace(extent=extent, bodies=disk.bodies[:-1], is_damaged=True)
        self.restart()
        return True

    # ---- the phases of a turn --------------------------------------------------------------------

    def turn(self, count: int) -> None:
        """The first `count` phases."""
        self._applied_before = self.core.applied
        for phase in self.phases[:count]:
            getattr(self, phase)()

    def early(self) -> None:
        """Appends leave before the own write; and snapshots, if somebody needs one."""
        core = self.core
        if core.lead is None:
            self.told = {}
            return
        for append in core.take_early(0, core.lead.progress):
            self.send(append)
        for target in sorted(core.lead.wants_snapshot):
            core.lead.wants_snapshot.discard(target)
            core.lead.progress[target].snapshot(0, self.disk.rows.at)
            self.send(self.snapshot_for(target))

    def snapshot_for(self, target: int) -> Snapshot:
        """The rows as they are."""
        rows = self.disk.rows
        term = self.core.term
        me = (PARTITION, GROUP, self.replica, target, term)
        return Snapshot(*me, rows.at, *rows.end, rows.conf_id, rows.config)

    def collect(self) -> None:
        """Take what is to be written."""
        self._pending = self.core.unsaved()

    def flush(self) -> None:
        """Write it, in one synced batch."""
        if self._pending is not None:
            self.disk = self.written(self._pending)

    def written(self, unsaved: Unsaved) -> Disk:
        """The disk after one batch."""
        disk = self.disk
        if self._installed is not None:
            disk = disk._replace(rows=self._installed, is_damaged=self.core.is_damaged)
        bodies = dict(enumerate(disk.bodies, disk.extent.first))
        first, last = unsaved.extent.first, unsaved.extent.last
        bodies.update(enumerate(unsaved.entries, last + 1 - len(unsaved.entries)))
        return disk._replace(
            hard_state=unsaved.hard_state or disk.hard_state,
            extent=unsaved.extent,
            bodies=tuple(bodies[index] for index in range(first, last + 1)),
        )

    def saved(self) -> None:
        """Report that it is written."""
        if self._pending is not None:
            self.core.saved()
        self._pending = self._installed = None

    def late(self) -> None:
        """Votes and answers leave; and what the heartbeats tell."""
        core = self.core
        for message in core.take_late():
            self.send(message)
        if core.lead is None:
            self.told = {}
            return
        for target, progress in core.lead.progress.items():
            commit = self.told_commit(progress)
            if commit > self.told.get(target, 0):
                self.told[target] = commit
                me = (PARTITION, GROUP, self.replica, target, core.term)
                self.send(GroupPulse(*me, commit))

    def told_commit(self, progress: Progress) -> int:
        """A heartbeat has no check of the entry before: only what that follower holds."""
        return min(self.core.commit, progress.match)

    def apply(self) -> None:
        """Make the rows of what is committed, in one synced batch."""
        core = self.core
        entries = core.committed()
        leads = core.lead is not None
        core.applied_committed()
        if entries:
            last: Entry = entries[-1]
            end = LogEnd(last.term, last.chain, last.hlc)
            self.disk = self.disk._replace(rows=Rows(last.index, end, *core.applied_config))
        self._leads = leads

    def acknowledge(self) -> None:
        """Answer who proposed what is applied now."""
        if self._leads and self.core.applied > self._applied_before:
            self.acknowledged = (self.core.applied, self.disk.rows.end.chain)

    def send(self, message: GroupBody | GroupPulse) -> None:
        """A message leaves; whatever it says must be on disk."""
        self.error = self.error or secret_in(self, message)
        self.out.append(message)


# ---- frozen --------------------------------------------------------------------------------------


def hashable(message: object) -> Frozen:
    """The class and the fields of a message."""
    fields = astuple(message)  # type: ignore[arg-type]
    return (type(message), tuple(tuple(f) if type(f) is list else f for f in fields))


def freeze(replica: Replica) -> Frozen:
    """All that a replica is between two turns."""
    core = replica.core
    log = core.log
    assert not core._late
    assert not core._hard_state_unsaved
    assert not log.has_unsaved
    lead = None if core.lead is None else _freeze_lead(core.lead)
    return (
        replica.replica,
        replica.disk,
        (core.hard_state, core.role, core.leader, core.serving, core.is_damaged, core.commit),
        tuple(core._configs),
        tuple(sorted(core._votes)),
        (*log.extent.fields, log.last_term, log.chain, log.hlc, log.applied, log.saved),
        tuple(log.tail),
        tuple(log._recent),
        lead,
        tuple(sorted(replica.told.items())),
    )


def _freeze_lead(lead: Lead) -> Frozen:
    return (
        lead.term,
        lead.term_first,
        tuple(
            (
                one,
                p.match,
                p.next,
                p.sending,
                p.is_damaged,
                p.retry_at,
                tuple(p._sent),
                p._sent_bytes,
            )
            for one, p in sorted(lead.progress.items())
        ),
        tuple(sorted(lead.wants_snapshot)),
        lead.handing_to,
        lead.handing_until,
    )


def thaw(replica_class: type[Replica], frozen: Frozen) -> Replica:
    """The replica that was frozen."""
    number, disk, state, configs, votes, log_state, tail, recent, lead, told = frozen
    replica = replica_class.__new__(replica_class)
    replica.replica, replica.disk, replica.told = number, disk, dict(told)
    replica.out, replica.acknowledged, replica.error, replica._leads = [], None, "", False
    replica._pending = replica._installed = None
    log = Log.__new__(Log)
    log.first, log.last, log._base_term, log._base_chain = log_state[:4]
    log.last_term, log.chain, log.hlc, log.applied, log.saved = log_state[4:]
    log.tail, log._new = list(tail), []
    log.is_extent_unsaved = log.is_truncated = False
    log._recent, log._recent_bytes, log._read = deque(recent), sum(map(len, recent)), replica.read
    core = replica.core_class.__new__(replica.core_class)
    core.identity, core.replica, core.log = Identity(PARTITION, GROUP, number), number, log
    core.hard_state, core.role, core.leader, core.serving, core.is_damaged, core.commit = state
    core._configs, core._votes = list(configs), set(votes)
    core._hard_state_unsaved, core._late, core.lead = False, [], None
    core.has_forgotten = False
    core._configure()
    if lead is not None:
        core.lead = _thaw_lead(core, lead)
    replica.core = core
    return replica


def _thaw_lead(core: RaftCore, frozen: Frozen) -> Lead:
    lead = Lead.__new__(Lead)
    lead._identity, lead._log = core.identity, core.log
    lead.term, lead.term_first, progress, wants, lead.handing_to, lead.handing_until = frozen
    lead.wants_snapshot = set(wants)
    lead.progress = {}
    for replica, *fields in progress:
        one = lead.progress[replica] = Progress.__new__(Progress)
        one.match, one.next, one.sending, one.is_damaged, one.retry_at, sent, size = fields
        one._sent_bytes = size
        one._sent = deque(sent)
    lead.configure(core.config)
    return lead


# ---- relabelled ----------------------------------------------------------------------------------

Relabel = Callable[[int], int]


def relabelled(frozen: Frozen, to: Relabel) -> Frozen:
    """The same replica if all had other numbers; only while the configuration is that of birth."""
    number, disk, state, configs, votes, log_state, tail, recent, lead, told = frozen
    hard_state, role, leader, serving, is_damaged, commit = state
    if lead is not None:
        progress = tuple(sorted((to(one), *rest) for one, *rest in lead[2]))
        lead = (*lead[:2], progress, tuple(sorted(map(to, lead[3]))), to(lead[4]), lead[5])
    return (
        to(number),
        disk._replace(hard_state=_relabelled_vote(disk.hard_state, to)),
        (_relabelled_vote(hard_state, to), role, to(leader), serving, is_damaged, commit),
        configs,
        tuple(sorted(map(to, votes))),
        log_state,
        tail,
        recent,
        lead,
        tuple(sorted((to(one), told_commit) for one, told_commit in told)),
    )


def _relabelled_vote(hard_state: HardState, to: Relabel) -> HardState:
    return HardState(hard_state.term, to(hard_state.voted_for))


def relabelled_message(message: Any, to: Relabel) -> Any:
    """The same message between replicas with other numbers."""
    return replace(message, source=to(message.source), target=to(message.target))


def is_feeding(progress: Progress) -> bool:
    """Is something on its way, or is the follower to be given rows?"""
    return bool(progress.retry_at) or progress.sending is Sending.SNAPSHOT
