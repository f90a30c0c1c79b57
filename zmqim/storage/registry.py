"""What a storage has to do with the meta group: its own start, its replica, and the driver.

Every storage asks for its life to be granted, reports the groups that it leads, and takes the
steps that the driver asks of them. Where the meta group is led, requests and reports are proposed
to it and the driver looks once in a while what is missing. The data path needs none of this: while
the meta group is away, nothing is replaced, and everything else goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

from zmqim.bus.effects import Peer, Send
from zmqim.bus.replication import (
    BootCode,
    BootRequest,
    BootResult,
    ChangeCode,
    ChangeGroup,
    ChangeResult,
    GroupReport,
    GroupReports,
    MemberReport,
    MetaMessage,
)
from zmqim.errors import NotAdmitted
from zmqim.ids import NodeName
from zmqim.limits import BOOT_REQUESTS_MAX, DRIVER_LOOK_MS, LOOK_SOON_MS, REPORT_MS, SETTLED_MS
from zmqim.meta.boot import Boot, answered, founding, requested
from zmqim.meta.driver import PlacementDriver, step_of
from zmqim.meta.operations import MetaOperation, MetaResult, decode_result, encode
from zmqim.meta.record import BirthRecord
from zmqim.meta.state import MetaState
from zmqim.raft.config import StepRefused
from zmqim.raft.core import RaftCore
from zmqim.raft.entry import CONFIG, OPERATION
from zmqim.raft.groups import Groups
from zmqim.raft.replica import ReplicaMeta
from zmqim.ring.document import RingDocument, StorageLike
from zmqim.storage.replica import Machine, Replica


class MetaGroup(Replica):
    """The replica of the meta group on this storage."""

    __slots__ = ("results", "state")

    def __init__(self, partition: int, raft: RaftCore, state: MetaState, meta: ReplicaMeta) -> None:
        super().__init__(partition, raft, meta)
        self.state = state
        self.results: dict[int, MetaResult] = {}
        """Of what was proposed here, by index, until it is taken."""

    @property
    def machine(self) -> Machine:
        """The state."""
        return self.state

    def restart(self, machine: Machine, meta: ReplicaMeta, *, is_new: bool) -> None:
        """The rows are now those of a snapshot."""
        assert isinstance(machine, MetaState)
        self.state = machine
        super().restart(machine, meta, is_new=is_new)

    def apply(self) -> None:
        """Apply what is committed."""
        raft, state = self.raft, self.state
        for entry in raft.committed():
            if entry.kind == OPERATION:
                result, _ = state.apply(entry.index, entry.term, entry.hlc, entry.payload, None)
                if raft.lead is not None:
                    self.results[entry.index] = decode_result(result)
                continue
            state.skip(entry.index, entry.term, entry.hlc)
            if entry.kind == CONFIG:
                state.put_config(entry.index, entry.payload)
        raft.applied_committed()
        self.note_config()
        state.flush()


def boot_request(me: Peer, storages: Sequence[StorageLike], start: bytes) -> BootRequest:
    """The question of this life; `start` is drawn for it."""
    mine = next(one for one in storages if one.name == me.name)
    return BootRequest(me.name, me.node_uuid, me.incarnation, start, mine.zone, mine.weight)


class _Lead:
    """What only the leader of the meta group keeps, for one term of it."""

    def __init__(self, now: int) -> None:
        self.since = now
        self.driver = PlacementDriver()
        self.look_at = now
        self.is_founding = False
        self.booting: dict[bytes, tuple[NodeName, BootRequest, tuple[int, ...]]] = {}
        """Requests whose operations are in the log, by `start`."""


class Registry:
    """The meta group from the side of one storage."""

    def __init__(
        self,
        me: Peer,
        record: BirthRecord,
        ring: RingDocument,
        storages: Sequence[StorageLike],
        replicas: Groups,
        boot: Boot,
        now: int,
    ) -> None:
        self.group: MetaGroup | None = None
        """The replica here, if there is one."""
        self._me = me.name
        self._disk = me.node_uuid
        self._record = record
        self._ring = ring
        self._storages = storages
        self._replicas = replicas
        self._boot = boot
        replicas.may_vote = boot.partitions_vote(now)
        self._lead: _Lead | None = None
        self._leader: NodeName | None = None
        """Who spoke as the leader of the meta group last."""
        self._report_at = now
        self._sends: list[Send] = []

    @property
    def number(self) -> int:
        """The group number of the meta group."""
        return self._record.meta_group

    def wanted_of(self, number: int) -> int:
        """How many voters a group should have: as many as at birth."""
        return len(self._record.genesis[number].config.voters)

    @property
    def sentence(self) -> str:
        """What the start of this storage waits for; empty if for nothing."""
        return self._boot.sentence

    # ---- events ----------------------------------------------------------------------------------

    def receive(self, now: int, wall_ms: int, source: NodeName, message: MetaMessage) -> None:
        """What concerns the meta group. Raises `NotAdmitted` when this life is refused for good."""
        match message:
            case BootRequest():
                self._asked(now, wall_ms, source, message)
            case BootResult():
                self._boot.receive(now, source, message)
                if message.code == BootCode.GRANTED:
                    self._leader = source
                if self._boot.refusal:
                    raise NotAdmitted(
                        f"{self._me} must not run: {self._boot.refusal}.",
                        hint="Look for the folder that belongs here; a copy is never started. To"
                        " begin anew under this name, give it an empty folder.",
                    )
            case GroupReports(groups=groups):
                if self._lead is not None:
                    self._lead.look_at = min(self._lead.look_at, now + LOOK_SOON_MS)
                    for report in groups:
                        self._lead.driver.report(now, source, report)
            case ChangeGroup():
                self._leader = source
                self._change(now, wall_ms, source, message)
            case ChangeResult():
                if self._lead is not None:
                    self._lead.driver.answer(now, message)
            case _:
                raise AssertionError(f"{type(message).__name__} is not for the registry")

    # ---- the turn --------------------------------------------------------------------------------

    def turn(self, now: int, wall_ms: int) -> list[Send]:
        """What is due; proposals go into the meta group's log."""
        self._follow_lead(now)
        self._replicas.may_vote = self._boot.partitions_vote(now)
        for ask in self._boot.turn(now):
            self._send(now, wall_ms, ask)
        if now >= self._report_at:
            self._report_at = now + REPORT_MS
            self._report(now, wall_ms)
        if self._lead is not None:
            self._look(now, wall_ms, self._lead)
        return self.take_sends()

    def applied(self, now: int, wall_ms: int) -> None:
        """The meta group applied entries: answer whose operations are among them."""
        group, lead = self.group, self._lead
        if group is None:
            return
        if lead is not None:
            for start, (source, request, indices) in list(lead.booting.items()):
                results = [group.results[index] for index in indices if index in group.results]
                if len(results) == len(indices):
                    del lead.booting[start]
                    self._send(now, wall_ms, Send(source, answered(request, results)))
        group.results.clear()

    def report_soon(self) -> None:
        """A configuration was committed: the driver goes on when it hears of it."""
        self._report_at = 0

    def take_sends(self) -> list[Send]:
        """What is to be sent since the last call, such as what `applied` answered."""
        sends, self._sends = self._sends, []
        return sends

    def next_wake(self) -> int:
        """When `turn` is needed at the latest."""
        wake = min(self._report_at, self._boot.next_wake() or self._report_at)
        return wake if self._lead is None else min(wake, self._lead.look_at)

    # ---- the leader of the meta group ------------------------------------------------------------

    def _follow_lead(self, now: int) -> None:
        group = self.group
        is_leading = group is not None and group.raft.accepts
        if is_leading and self._lead is None:
            self._lead = _Lead(now)
        elif not is_leading:
            self._lead = None

    def _asked(self, now: int, wall_ms: int, source: NodeName, request: BootRequest) -> None:
        self._follow_lead(now)
        group, lead = self.group, self._lead
        if group is None or lead is None:
            leader = self._replicas.leader_of(self.number)
            result = BootResult(request.start, BootCode.NOT_LEADER, leader)
            self._send(now, wall_ms, Send(source, result))
            return
        if request.start in lead.booting or len(lead.booting) >= BOOT_REQUESTS_MAX:
            return
        down = self._down(now, group.state, lead)
        todo = requested(group.state, request, down)
        if isinstance(todo, BootResult):
            self._send(now, wall_ms, Send(source, todo))
            return
        indices = tuple([self._propose(wall_ms, group, operation) for operation in todo])
        lead.booting[request.start] = (source, request, indices)

    def _down(self, now: int, state: MetaState, lead: _Lead) -> set[bytes]:
        """The disks that do not speak: we lead for long enough to have heard everyone."""
        if now - lead.since < SETTLED_MS:
            return set()
        return set(state.nodes) - set(self._speaking().values())

    def _speaking(self) -> dict[str, bytes]:
        """Who speaks under each name now."""
        return {**self._replicas.peers.disks(), self._me: self._disk}

    def _propose(self, wall_ms: int, group: MetaGroup, operation: MetaOperation) -> int:
        index = group.raft.propose(encode(operation), self._replicas.peers.stamp(wall_ms))
        self._replicas.touched.add(self.number)
        return index

    def _look(self, now: int, wall_ms: int, lead: _Lead) -> None:
        group = self.group
        assert group is not None
        if now < lead.look_at:
            return
        lead.look_at = now + DRIVER_LOOK_MS
        if group.state.cluster is None:
            if not lead.is_founding:
                lead.is_founding = True
                found = founding(self._record, self._ring, self._storages)
                self._propose(wall_ms, group, found)
            return
        plan = lead.driver.plan(now, group.state, self._speaking())
        for operation in plan.operations:
            self._propose(wall_ms, group, operation)
        for ask in plan.asks:
            self._send(now, wall_ms, ask)

    # ---- the leader of a group -------------------------------------------------------------------

    def _report(self, now: int, wall_ms: int) -> None:
        reports = [
            report
            for core in self._replicas.led()
            if core.serving and (report := self._report_of(now, core)) is not None
        ]
        if not reports:
            return
        leader = self._replicas.leader_of(self.number)
        voters = [place.name for place in self._record.genesis[self.number].config.voters]
        for name in [leader] if leader else voters:
            self._send(now, wall_ms, Send(NodeName(name), GroupReports(reports)))

    def _report_of(self, now: int, core: RaftCore) -> GroupReport:
        conf_id, config = core.applied_config
        assert core.lead is not None
        members = []
        for replica in config.places:
            if replica == core.replica:
                members.append(MemberReport(replica, 0, True))
                continue
            progress = core.lead.progress.get(replica)
            lag = core.last if progress is None else core.last - progress.match
            # Who lost its rows gets them again, as the same replica; it is no help until then.
            is_whole = progress is not None and not progress.is_damaged
            live = is_whole and self._replicas.peers.is_at(now, core, replica)
            members.append(MemberReport(replica, lag, live))
        return GroupReport(
            core.identity.partition,
            core.identity.group,
            core.replica,
            core.term,
            conf_id,
            config.encode(),
            core.conf_id != conf_id,
            members,
        )

    def _change(self, now: int, wall_ms: int, source: NodeName, change: ChangeGroup) -> None:
        core = self._replicas.cores.get(change.partition)
        code, text = ChangeCode.APPENDED, ""
        if core is None or core.identity.group != change.group:
            code, text = ChangeCode.REFUSED, "no replica of that group is here"
        else:
            live = {r for r in core.places if self._replicas.peers.is_at(now, core, r)}
            try:
                core.change(step_of(change), live, self._replicas.peers.stamp(wall_ms))
                self._replicas.touched.add(change.partition)
                self._report_at = now
            except StepRefused as refusal:
                code, text = ChangeCode.REFUSED, str(refusal)
        result = ChangeResult(change.partition, change.conf_id, code, text)
        self._send(now, wall_ms, Send(source, result))

    def _send(self, now: int, wall_ms: int, send: Send) -> None:
        """To another storage, or at once to ourselves."""
        if send.to == self._me:
            message = send.message
            assert isinstance(message, MetaMessage)
            self.receive(now, wall_ms, self._me, message)
        else:
            self._sends.append(send)
