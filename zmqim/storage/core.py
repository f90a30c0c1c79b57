"""The storage core: messages in, effects out (zmqim.bus.effects). Pure.

A turn takes everything that came since the last one, in this order: Appends to the followers, who
write while we do; one journal write for all partitions; votes and answers to leaders, which that
write made true; applying, with one row write; and then answers to routers, notices, outbox rows.
The shell performs these effects in order and ends the process when a write fails, so the core may
compute the whole turn at once: nothing leaves before the writes that it depends on. Rows are
written now and then: what they are made of is in the journals of a majority.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.messages import (
    Answers,
    Message,
    NoticeAcks,
    OutcomeCode,
    Propose,
    Role,
    RoutedItem,
)
from zmqim.bus.replication import (
    AppendResults,
    Appends,
    BirthOffer,
    BirthStatus,
    DigestReport,
    DigestWrong,
    GroupBody,
    MetaMessage,
    NodeHeartbeat,
    NodeHeartbeatEcho,
    SnapshotChunk,
    SnapshotOffer,
    SnapshotPull,
)
from zmqim.chat.view import RowView
from zmqim.ids import NodeName
from zmqim.limits import FOLLOWER_APPLY_MS
from zmqim.meta.birth import BirthCore
from zmqim.meta.boot import Boot
from zmqim.raft.groups import Groups
from zmqim.raft.peers import NEVER
from zmqim.ring.document import RingDocument, StorageLike
from zmqim.storage.digests import Digests
from zmqim.storage.effects import Effect, WriteJournal, WriteState
from zmqim.storage.garbage import Garbage
from zmqim.storage.gathering import Gathering
from zmqim.storage.group import Group
from zmqim.storage.holdings import Holdings
from zmqim.storage.installing import Installing
from zmqim.storage.items import frames_of
from zmqim.storage.leading import LeadingTold
from zmqim.storage.offering import Offering
from zmqim.storage.outbox import partition_of_request
from zmqim.storage.proposals import Proposals
from zmqim.storage.pushing import Pushing
from zmqim.storage.registry import MetaGroup, Registry, boot_request
from zmqim.storage.replica import Replica
from zmqim.storage.reporting import GroupStatus, status_of
from zmqim.storage.shortening import Shortening
from zmqim.storage.sizes import Sizes
from zmqim.store.interface import JournalReader, LoadedPartition, RowStore

if TYPE_CHECKING:
    from random import Random

BOOT_START_BYTES: Final = 16
_COUNTED: Final = ("journal_entries", "journal_syncs", "strays", "stale_lives", "outbox_refused")
Replicated = Appends | AppendResults | GroupBody | NodeHeartbeat | NodeHeartbeatEcho | MetaMessage
"""What storages say to each other."""


class StorageCore:
    """All partitions of which one storage holds a replica."""

    def __init__(
        self,
        me: Peer,
        ring: RingDocument,
        rows: RowStore,
        journal: JournalReader,
        loaded: Mapping[int, LoadedPartition],
        birth: BirthCore,
        random: Random,
        now: int,
        *,
        storages: Sequence[StorageLike],
        memory: Mapping[bytes, int],
        sizes: Sizes = Sizes(),
    ) -> None:
        """Reads the stores; raises `DamagedData` if they do not fit together.

        It holds what `loaded` has a replica meta for; `birth` is over.
        """
        record = birth.record
        assert record is not None
        self._birth = birth
        self.me = me
        self._ring = ring
        self._view = RowView(rows)
        self.replicas = Groups(me.name, random, now)
        self.replicas.meta_group = record.meta_group
        request = boot_request(me, storages, random.randbytes(BOOT_START_BYTES))
        boot = Boot(request, [NodeName(one.name) for one in storages], now)
        self.registry = Registry(me, record, ring, storages, self.replicas, boot, now)
        self._garbage = Garbage(rows)
        self.holdings = Holdings(
            record,
            ring,
            self._view,
            journal,
            self.replicas,
            self.registry,
            memory,
            self._garbage,
            sizes.digest_entries,
        )
        self.holdings.open_all(now, loaded)
        self.groups = self.holdings.groups
        self.offering = Offering(self.holdings, self.replicas, rows, sizes, now)
        self.installing = Installing(self.holdings, self.replicas, self._garbage)
        self.digests = Digests(self.holdings, self.replicas)
        self.proposals = Proposals(ring.partitions, self.groups, self.replicas, journal)
        self.pushing = Pushing(journal, ring.placement)
        self._inbox: list[tuple[NodeName, Replicated]] = []
        self._incoming: list[tuple[NodeName, list[RoutedItem]]] = []
        self._touched: dict[int, Group] = {}
        self._lagging: dict[int, Group] = {}
        """Followers with something to apply: that can wait a little, for larger writes."""
        self._apply_at = NEVER
        self._gathering = Gathering(self._view, sizes.rows_wait_ms)
        self._shortening = Shortening(self.groups, self.replicas, journal, sizes.entries_kept)
        self._leading = LeadingTold()
        self._counters = dict.fromkeys(_COUNTED, 0)

    # ---- events ----------------------------------------------------------------------------------

    def peer_up(self, now: int, peer: Peer) -> None:
        """A link to `peer` stands."""
        if peer.role == Role.ROUTER:
            self.pushing.router_up(peer.name)
            self._leading.router_up(peer.name)
            self.proposals.repeats.forget(peer.name)
        elif peer.role == Role.STORAGE:
            if not self.holdings.remember(peer.node_uuid, peer.incarnation):
                self._counters["stale_lives"] += 1
                return
            self.replicas.peer_up(now, peer.name, peer.node_uuid)
            self._birth.linked(peer.name, peer.node_uuid)

    def peer_down(self, now: int, name: NodeName) -> None:
        """The link to `name` is gone."""
        if name in self.pushing.linked:
            self._leading.router_down(name)
            self.proposals.repeats.forget(name)
            self.pushing.router_down(name)
        else:
            self.replicas.peer_down(now, name)
            self._birth.unlinked(name)

    def view_changed(self, now: int, view: View) -> None:
        """Gossip sees other live processes."""
        self.pushing.view_changed(view)
        self.replicas.view_changed(set(view.storages).difference(view.suspected))

    def receive(self, now: int, source: NodeName, message: Message) -> None:
        """A message of a linked process."""
        # Most are of these three types; to ask whether one is no instance takes far longer.
        if type(message) is NoticeAcks:
            for ack in message.items:
                self.pushing.acknowledged(now, self.groups.get(ack.partition), ack.index)
            return
        if type(message) is Appends or type(message) is AppendResults:
            self._inbox.append((source, message))
            return
        match message:
            case Propose(items=items):
                self._incoming.append((source, items))
            case BirthStatus() | BirthOffer():
                self._birth.receive(source, message)
            case Answers(items=items):
                for item in items:
                    owner = self.groups.get(partition_of_request(item.request))
                    is_done = item.code == OutcomeCode.DONE
                    if owner is not None and owner.duties is not None and is_done:
                        owner.duties.outbox.acknowledge(item.request)
                    # A fault of ours: it will be refused again, and what comes behind it waits.
                    self._counters["outbox_refused"] += item.code == OutcomeCode.BAD_REQUEST
                self.pushing.look_at = 0
            case _ if isinstance(message, Replicated):
                self._inbox.append((source, message))
            case _:
                self._counters["strays"] += 1

    def undeliverable(self, now: int, to: NodeName, message: Message) -> None:
        """The bus took it not: everything is asked for again, or repeated by time."""
        self._counters["strays"] += 1

    def disk_state(self, now: int, full: bool) -> None:
        """Is there too little room on the disk to take proposals?"""
        self.proposals.is_disk_full = full
        self.installing.is_disk_full = full
        self.pushing.look_at = 0
        if full == self.replicas.has_room:
            self.replicas.room_changed(now, has_room=not full)

    def wake(self, now: int) -> None:
        """Time passed: the next turn does what is due."""

    # ---- what the shell asks ---------------------------------------------------------------------

    @property
    def serving(self) -> bool:
        """Does every partition that is held have a leader, here or elsewhere?"""
        return all(
            group.raft.serving or (group.raft.lead is None and group.raft.leader)
            for group in self.groups.values()
        )

    @property
    def led(self) -> int:
        """How many partitions this storage leads."""
        return sum(group.raft.serving for group in self.groups.values())

    @property
    def queued(self) -> int:
        """Items that wait for the next turn."""
        return sum(len(items) for _, items in self._incoming)

    @property
    def counters(self) -> dict[str, int]:
        """Counts since the start, for metrics."""
        found = {**self._counters, **self.proposals.counters, **self.replicas.counters}
        found |= self.offering.counters | self.installing.counters
        return found | self.digests.counters

    def statuses(self, now: int) -> list[GroupStatus]:
        """Every replica here, for `zmqim status`."""
        meta, wanted_of = self.registry.number, self.registry.wanted_of
        return [
            status_of(self.replicas, now, n, "meta" if n == meta else n, wanted_of(n))
            for n in sorted(self.replicas.cores)
        ]

    def log_ends(self) -> dict[int, tuple[int, int]]:
        """(term, index) of the last entry of each log, as loaded or appended."""
        return self.holdings.log_ends()

    def applied_ends(self) -> dict[int, tuple[int, int]]:
        """(term, index) of the last entry that each group's rows contain."""
        return self.holdings.applied_ends()

    def next_wake(self) -> int | None:
        """When `turn` must be called at the latest; 0: at once."""
        if self._incoming or self._inbox or self._touched or self.replicas.touched:
            return 0
        if self._birth.next_wake() == 0:
            return 0
        wake = min(
            self.registry.next_wake(),
            self.pushing.look_at,
            self.replicas.next_wake(),
            self.offering.next_wake(),
            self.installing.next_wake(),
            self.digests.next_wake(),
            self._garbage.next_wake(),
            self._apply_at,
            self._gathering.write_at,
        )
        return None if wake == NEVER else wake

    # ---- the turn --------------------------------------------------------------------------------

    def turn(self, now: int, wall_ms: int) -> list[Effect]:
        """End of a turn: everything that came, as effects in order."""
        is_stored = self._gathering.begin_turn()
        effects: list[Effect] = [*self.offering.offers(now, is_stored=is_stored)]
        self._take_in(now, wall_ms, effects)
        effects += self.digests.turn()
        self.replicas.tick(now, wall_ms)
        self._admit_all(now, wall_ms)
        pushing, proposals = self.pushing, self.proposals
        looking = now >= pushing.look_at
        if looking and not proposals.is_disk_full:
            for group in pushing.book(now, self.replicas.peers.stamp(wall_ms)):
                self._touched[group.partition] = group
        effects += [effect for effect in self._birth.turn(now) if isinstance(effect, Send)]
        effects += self.registry.turn(now, wall_ms)
        touched, meta = self._take_touched()
        held: dict[int, Replica] = {**touched, **meta}
        effects += [Send(to, appends) for to, appends in self.replicas.early(now, held)]
        effects += [Send(to, beat) for to, beat in self.replicas.rounds(now, wall_ms)]
        self.offering.note(held.values())
        self._append(held, touched, effects)
        effects += [Send(to, message) for to, message in self.replicas.late(held)]
        effects += [Send(to, echo) for to, echo in self.replicas.take_echoes()]
        for replica in meta.values():
            if replica.raft.commit > replica.raft.applied:
                replica.apply()
                self.registry.applied(now, wall_ms)
        self._apply(now, wall_ms, touched)
        held.update(touched)
        self.digests.look(held)
        rows = [*self.installing.take_rows(), *self._garbage.take(now)]
        rows += self._gathering.take(now, held, at_once=self.offering.is_wanted)
        if rows:
            effects.append(WriteState(rows))
        if looking:
            for group in pushing.busy.values():
                proposals.answer_outbox(now, group)
        outcomes, proposals.outcomes = proposals.outcomes, {}
        for source, told in outcomes.items():
            effects.extend(Send(source, frame) for frame in frames_of(told))
        notices = pushing.transient(proposals.transient, self.groups)
        proposals.transient = {}
        if looking:
            pushing.look_at = NEVER
        can_book = not proposals.is_disk_full
        owing = pushing.busy if looking else touched
        pushing.push(now, owing, notices, effects, can_book=can_book)
        effects += self._leading.tell(touched, pushing.linked)
        effects += self.registry.take_sends()
        effects += self.installing.pulls(now)
        effects += self.offering.chunks(now)
        self._shortening.shorten(held.values())
        self._look_for_notices()
        for number in self.holdings.drop_removed(held):
            self._lagging.pop(number, None)
            self.pushing.busy.pop(number, None)
            self._leading.over(number)
        return effects

    def _take_in(self, now: int, wall_ms: int, effects: list[Effect]) -> None:
        """What other storages said."""
        inbox, self._inbox = self._inbox, []
        replicas = self.replicas
        for source, message in inbox:
            match message:
                case Appends() | AppendResults():
                    for item in message.items:
                        self._hear(now, wall_ms, source, item)
                case SnapshotChunk():
                    self.installing.received(now, source, message)
                case SnapshotPull():
                    self.offering.pulled(now, source, message)
                case DigestReport() | DigestWrong():
                    effects += self.digests.received(source, message)
                case SnapshotOffer():
                    self._hear(now, wall_ms, source, message)
                    self.installing.offered(now, source, message)
                case GroupBody():
                    self._hear(now, wall_ms, source, message)
                case NodeHeartbeat():
                    replicas.heartbeat(now, wall_ms, source, message)
                case NodeHeartbeatEcho():
                    replicas.echo(now, wall_ms, source, message)
                case _:
                    self.registry.receive(now, wall_ms, source, message)

    def _hear(self, now: int, wall_ms: int, source: NodeName, message: GroupBody) -> None:
        """A message of a group, of which a replica may begin here with it."""
        core = self.replicas.cores.get(message.partition)
        if core is None or core.replica < message.target:
            self.holdings.make(now, message)
        self.replicas.receive(now, wall_ms, source, message)

    def _admit_all(self, now: int, wall_ms: int) -> None:
        incoming, self._incoming = self._incoming, []
        if not incoming:
            return
        proposals = self.proposals
        proposals.begin_turn()
        stamp = self.replicas.peers.stamp(wall_ms)
        for source, items in incoming:
            for item in items:
                proposals.admit(now, stamp, source, item)
        touched = proposals.take_touched()
        self._touched.update(touched)
        for partition, group in touched.items():
            if group.duties is not None and group.duties.outbox_asked:
                self.pushing.busy[partition] = group
                self.pushing.look_at = 0

    def _take_touched(self) -> tuple[dict[int, Group], dict[int, MetaGroup]]:
        touched, self._touched = self._touched, {}
        meta: dict[int, MetaGroup] = {}
        changed = self.replicas.touched
        for partition in sorted(changed):
            if partition in self.groups:
                touched[partition] = self.groups[partition]
            elif self.registry.group is not None:
                meta[partition] = self.registry.group
        changed.clear()
        for partition, group in touched.items():
            if group.duties is not None and group.raft.lead is None:
                self.proposals.give_up(group)
                self._leading.over(partition)
        return touched, meta

    def _append(
        self, held: dict[int, Replica], touched: dict[int, Group], effects: list[Effect]
    ) -> None:
        """One journal write for everything that was proposed, received, voted or installed."""
        batch = self.holdings.begin_batch()
        for replica in self.installing.switch(batch):
            held[replica.partition] = replica
            if isinstance(replica, Group):
                touched[replica.partition] = replica
        self._shortening.bytes_kept -= self.installing.take_forgotten()
        count = grown = 0
        for partition, group in held.items():
            raft = group.raft
            unsaved = raft.unsaved()
            if unsaved is None:
                continue
            if unsaved.entries:
                batch.entries[partition] = unsaved.entries
                count += len(unsaved.entries)
                grown += group.size.grow(raft.last, unsaved.entries)
            batch.extents[partition] = unsaved.extent
            batch.ends[partition] = (raft.log.last_term, raft.last)
            if unsaved.is_truncated:
                batch.lowered[partition] = batch.ends[partition]
            if unsaved.hard_state is not None:
                batch.hard_states[partition] = unsaved.hard_state.encode()
            raft.saved()
        self._shortening.bytes_kept += grown
        if batch.extents or batch.replica_metas or batch.peers:
            effects.append(WriteJournal(batch))
            self._counters["journal_entries"] += count
            self._counters["journal_syncs"] += 1

    def _apply(self, now: int, wall_ms: int, touched: dict[int, Group]) -> None:
        """Apply what is committed, and answer who waits."""
        lagging = self._lagging
        for partition, group in touched.items():
            raft = group.raft
            if raft.lead is None and raft.commit > raft.applied:
                if partition not in lagging:
                    lagging[partition] = group
                    self._apply_at = min(self._apply_at, now + FOLLOWER_APPLY_MS)
                continue
            self._apply_group(group, wall_ms)
        if lagging and now >= self._apply_at:
            for partition, group in lagging.items():
                self._apply_group(group, wall_ms)
                touched[partition] = group
            lagging.clear()
            self._apply_at = NEVER

    def settle(self) -> None:
        """The process is about to stop: apply and write everything with the next turn."""
        self._apply_at = 0
        self._gathering.settle()

    def _apply_group(self, group: Group, wall_ms: int) -> None:
        is_news = group.raft.commit > group.raft.applied
        if is_news:
            group.apply()
            if group.has_moved:
                self.registry.report_soon()
        if group.waiting:
            self.proposals.answer(group, wall_ms)
        elif not (is_news or group.owes_stamp):
            return
        group.state.heads.trim()
        self.pushing.note(group)

    def _look_for_notices(self) -> None:
        """Notices that are in the log only can be read once their rows are stored."""
        for replica in self._gathering.written():
            chat = self.groups.get(replica.partition)
            if chat is not None and chat.notices_readable:
                self.pushing.look_at = 0
