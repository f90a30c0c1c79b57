"""The storage core: proposals in, effects out (zmqim.bus.effects). Pure.

A turn takes everything that came since the last one, appends all writes of all partitions to one
journal write, commits and applies them, puts the rows into one state write, and then answers. The
shell performs these effects in order and ends the process when a write fails, so the core may
compute the whole turn at once: nothing that it answers leaves before the writes are durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.messages import (
    Answers,
    Item,
    ItemKind,
    Message,
    NoticeAck,
    NoticeItem,
    Notices,
    Outcome,
    OutcomeCode,
    Propose,
    Role,
    RoutedItem,
    Submit,
)
from zmqim.chat.messages import TransientIds
from zmqim.chat.operations import (
    Done,
    MessageNotice,
    Notified,
    OutboxDone,
    OutboxQuery,
    Reason,
    Rejected,
    SendMessage,
    Sent,
    decode_operation,
    decode_query,
    decode_send,
    encode,
)
from zmqim.chat.queries import answer
from zmqim.chat.view import RowView
from zmqim.errors import WireError
from zmqim.ids import HLC_COUNTER_BITS, NodeName, PartitionId
from zmqim.limits import (
    BATCH_ITEMS_MAX,
    HEADS_CACHED_MAX,
    JOURNAL_BYTES_MAX,
    READ_DEADLINE_MS,
    UNCOMMITTED_BYTES_MAX,
    UNCOMMITTED_PARTITION_BYTES_MAX,
)
from zmqim.ring.document import RingDocument
from zmqim.ring.routers import router_of
from zmqim.storage.effects import Effect, WriteJournal, WriteState
from zmqim.storage.group import Group, open_group
from zmqim.storage.items import check_change, frames_of
from zmqim.storage.notices import NEVER
from zmqim.storage.outbox import partition_of_request
from zmqim.store.interface import JournalBatch, JournalReader, LoadedPartition, RowReader

BOOK_MS = 1_000
"""How often a partition's log takes down what was acknowledged outside."""
_NO_VIEW = View((), (), ())
_WRITE, _TRANSIENT = int(ItemKind.WRITE), int(ItemKind.TRANSIENT)


class StorageCore:
    """All partitions that one storage leads."""

    def __init__(
        self,
        name: NodeName,
        ring: RingDocument,
        rows: RowReader,
        journal: JournalReader,
        loaded: Mapping[int, LoadedPartition],
    ) -> None:
        """Reads the stores; raises `DamagedData` if they do not fit together."""
        self._ring = ring
        self._journal = journal
        self._view = RowView(rows)
        led = ring.led_by(name)
        heads_max = HEADS_CACHED_MAX // max(len(led), 1)
        self.groups: dict[int, Group] = {
            partition: open_group(partition, self._view, journal, loaded.get(partition), heads_max)
            for partition in led
        }
        self._busy: dict[int, Group] = {
            partition: group for partition, group in self.groups.items() if group.busy
        }
        """Partitions with something to be sent, repeated or booked."""
        self._look_at = 0
        """When the first of the busy ones is due; in between a turn looks at those it touched."""
        self._linked: set[NodeName] = set()
        self._seen = _NO_VIEW
        self._routers: dict[int, NodeName | None] = {}
        self._live: list[NodeName] = []
        self._incoming: list[tuple[NodeName, list[RoutedItem]]] = []
        self._outcomes: dict[NodeName, list[Outcome]] = {}
        self._transient: dict[int, list[NoticeItem]] = {}
        self._transient_ids = TransientIds()
        self._touched: dict[int, Group] = {}
        self._log_bytes = 0
        """What the logs of all partitions keep, as far as this life wrote it."""
        self._uncommitted = 0
        self._busy_writes: set[int] = set()
        """Partitions that refused a write in this turn: what comes behind it is refused too."""
        self._disk_full = False
        self._wall_ms = 0
        self.counters = dict.fromkeys(("journal_entries", "journal_syncs", "refused", "reads"), 0)

    # ---- events ----------------------------------------------------------------------------------

    def start(self, wall_ms: int) -> None:
        """Stand for leader of every partition; called once, before the first turn."""
        for partition, group in self.groups.items():
            group.raft.campaign(wall_ms)
            self._touched[partition] = group

    def peer_up(self, now: int, peer: Peer) -> None:
        """A link to `peer` stands; a router's new life knows nothing of what the old one got."""
        if peer.role == Role.ROUTER:
            self._linked.add(peer.name)
            for group in self._busy.values():
                group.notices.again(peer.name)
            self._place()

    def peer_down(self, now: int, name: NodeName) -> None:
        """The link to `name` is gone."""
        self._linked.discard(name)
        self._place()

    def view_changed(self, now: int, view: View) -> None:
        """Gossip sees other live processes."""
        self._seen = view
        self._place()

    def receive(self, now: int, source: NodeName, message: Message) -> None:
        """A message of a linked process."""
        match message:
            case Propose(items=items):
                self._incoming.append((source, items))
            case NoticeAck(partition=partition, index=index) if partition in self.groups:
                group = self.groups[partition]
                group.notices.acknowledge(now, index)
                self._look_at = min(self._look_at, 0 if group.notices_readable else group.book_at)
            case Answers(items=items):
                for item in items:
                    owner = self.groups.get(partition_of_request(item.request))
                    if owner is not None and item.code == OutcomeCode.DONE:
                        owner.outbox.acknowledge(item.request)
                self._look_at = 0
            case _:
                self.counters["refused"] += 1

    def undeliverable(self, now: int, to: NodeName, message: Message) -> None:
        """The bus took it not: gateways ask again, notices and outbox are repeated by time."""
        self.counters["refused"] += 1

    def disk_state(self, now: int, full: bool) -> None:
        """Is there too little room on the disk to take proposals?"""
        self._disk_full = full
        self._look_at = 0

    def wake(self, now: int) -> None:
        """Time passed: the next turn does what is due."""

    # ---- what the shell asks ---------------------------------------------------------------------

    @property
    def serving(self) -> bool:
        """Do all led partitions serve?"""
        return all(group.raft.serving for group in self.groups.values())

    @property
    def queued(self) -> int:
        """Items that wait for the next turn."""
        return sum(len(items) for _, items in self._incoming)

    def log_ends(self) -> dict[int, tuple[int, int]]:
        """(term, index) of the last entry of each log, as loaded or appended."""
        return {p: (group.raft.last_term, group.raft.last) for p, group in self.groups.items()}

    def applied_ends(self) -> dict[int, tuple[int, int]]:
        """(term, index) of the last entry that each partition's rows contain."""
        return {
            p: (group.state.applied.term, group.state.applied.index)
            for p, group in self.groups.items()
        }

    def terms(self, partitions: Iterable[int]) -> dict[int, int]:
        """The term of the last entry of each of these logs."""
        return {partition: self.groups[partition].raft.last_term for partition in partitions}

    def next_wake(self) -> int | None:
        """When `turn` must be called at the latest; 0: at once."""
        if self._incoming or self._touched:
            return 0
        return None if self._look_at == NEVER else self._look_at

    # ---- the turn --------------------------------------------------------------------------------

    def turn(self, now: int, wall_ms: int) -> list[Effect]:
        """End of a turn: everything that came, as effects in order."""
        self._view.forget()
        self._wall_ms = wall_ms
        effects: list[Effect] = []
        incoming, self._incoming = self._incoming, []
        for source, items in incoming:
            for item in items:
                self._admit(now, wall_ms, source, item)
        looking = now >= self._look_at
        if looking and not self._disk_full:
            self._book(now, wall_ms)
        touched, self._touched = self._touched, {}
        self._append(touched, effects)
        self._apply(touched, effects)
        if looking:
            self._answer_outbox(now)
        for source, outcomes in self._outcomes.items():
            effects.extend(Send(source, frame) for frame in frames_of(outcomes))
        self._outcomes = {}
        self._push_transient(effects)
        if looking:
            self._look_at = NEVER
        self._push(now, self._busy if looking else touched, effects)
        if self._log_bytes > JOURNAL_BYTES_MAX:
            self._shorten_longest()
        for group in touched.values():
            before = group.size.bytes_kept
            group.cut_log(self._journal)
            self._log_bytes += group.size.bytes_kept - before
            group.durable = group.raft.applied
            if group.notices_readable and self._router(group.partition) is not None:
                self._look_at = 0
        return effects

    def _shorten_longest(self) -> None:
        """Halve the longest log that may be cut; it is told with that partition's next write."""
        by_size = sorted(self.groups.values(), key=lambda group: -group.size.bytes_kept)
        for group in by_size:
            before = group.size.bytes_kept
            if group.halve_log(self._journal):
                self._log_bytes += group.size.bytes_kept - before
                return

    def _admit(self, now: int, wall_ms: int, source: NodeName, item: RoutedItem) -> None:
        """Propose a write, or put a read behind what is proposed; refuse what cannot be."""
        partition = item.partition
        group = self.groups.get(partition)
        if group is None:
            self._refuse_partition(source, item)
            return
        raft = group.raft
        if not raft.serving:
            self._refuse(source, item, OutcomeCode.UNAVAILABLE)
            return
        body = item.body
        try:
            if item.kind == _WRITE:
                size = len(body)
                if self._disk_full:
                    self._refuse_write(group, source, item, OutcomeCode.DISK_FULL)
                elif (
                    partition in self._busy_writes
                    or group.uncommitted + size > UNCOMMITTED_PARTITION_BYTES_MAX
                    or self._uncommitted + size > UNCOMMITTED_BYTES_MAX
                ):
                    self._busy_writes.add(partition)
                    self._refuse_write(group, source, item, OutcomeCode.BUSY)
                else:
                    operation = decode_operation(body)
                    if type(operation) is not SendMessage:
                        check_change(operation)
                    index = raft.propose(body, wall_ms)
                    group.operations[index] = operation
                    group.uncommitted += size
                    self._uncommitted += size
                    group.waiting.append((index, source, item, None))
                    self._touched[partition] = group
                return
            if item.kind == _TRANSIENT:
                send = decode_send(body)
                group.waiting.append((raft.last, source, item, send))
            else:
                query = decode_query(body)
                if isinstance(query, OutboxQuery):
                    deadline = now + READ_DEADLINE_MS
                    group.outbox_asked.append((query.upto, deadline, source, item))
                    self._busy[partition] = group
                    self._look_at = 0
                    return
                group.waiting.append((raft.last, source, item, query))
            self._touched[partition] = group
        except WireError as error:
            self._refuse(source, item, OutcomeCode.BAD_REQUEST, str(error))

    def _book(self, now: int, wall_ms: int) -> None:
        """Log, once in a while, what was acknowledged outside."""
        for partition, group in self._busy.items():
            raft = group.raft
            if now < group.book_at or not raft.serving or not group.unbooked:
                continue
            group.book_at = now + BOOK_MS
            self._touched[partition] = group
            if group.notices.acknowledged > group.state.applied.notified:
                raft.propose(encode(Notified(group.notices.acknowledged)), wall_ms)
            if group.outbox.delivered > group.outbox_logged:
                group.outbox_logged = group.outbox.delivered
                raft.propose(encode(OutboxDone(group.outbox_logged)), wall_ms)

    def _append(self, touched: dict[int, Group], effects: list[Effect]) -> None:
        """One journal write for everything that was proposed."""
        batch = JournalBatch()
        entries = batch.entries
        for partition, group in touched.items():
            unsaved = group.raft.unsaved()
            if unsaved is None:
                continue
            entries.extend([(partition, index, body) for index, body in unsaved.entries])
            size = sum([len(body) for _, body in unsaved.entries])
            group.size.grow(group.raft.last, size)
            self._log_bytes += size
            batch.extents[partition] = unsaved.extent
            if unsaved.hard_state is not None:
                batch.hard_states[partition] = unsaved.hard_state.encode()
            group.raft.saved()
        if batch.extents:
            effects.append(WriteJournal(batch))
            self.counters["journal_entries"] += len(entries)
            self.counters["journal_syncs"] += 1

    def _apply(self, touched: dict[int, Group], effects: list[Effect]) -> None:
        """Apply what is committed, one row write for all of it, and answer who waits."""
        for partition, group in touched.items():
            results: dict[int, bytes] = {}
            if group.raft.commit > group.raft.applied:
                results = group.apply()
            self._answer(partition, group, results)
            group.state.heads.trim()
            if partition not in self._busy and group.busy:
                self._busy[partition] = group
        self._uncommitted = 0
        self._busy_writes.clear()
        changes = self._view.changes
        if changes:
            effects.append(WriteState(list(changes.items())))

    def _answer(self, partition: int, group: Group, results: dict[int, bytes]) -> None:
        waiting = group.waiting
        applied = group.raft.applied
        done = OutcomeCode.DONE
        state = group.state
        sources = self._outcomes
        while waiting and waiting[0][0] <= applied:
            index, source, item, asked = waiting.popleft()
            if asked is None:
                result = results[index]
            elif isinstance(asked, SendMessage):
                result = self._judge_transient(partition, group, asked, item.body)
            else:
                self.counters["reads"] += 1
                result = encode(answer(state, asked))
            outcome = Outcome(item.origin, item.request, partition, done, result)
            if source in sources:
                sources[source].append(outcome)
            else:
                sources[source] = [outcome]

    def _judge_transient(
        self, partition: int, group: Group, send: SendMessage, body: bytes
    ) -> bytes:
        """A NO_PERSIST message: judged and pushed, never logged."""
        reason = group.state.judge_transient(send)
        if reason is not Reason.SUCCESS:
            return encode(Rejected(reason))
        hlc = max(group.raft.hlc, self._wall_ms << HLC_COUNTER_BITS)
        message_id = self._transient_ids.next(hlc, partition)
        version = group.state.heads.find(send.channel_type, send.channel_id).head.member_version
        notice = MessageNotice(
            send.channel_type, send.channel_id, 0, message_id, hlc, version, body
        )
        self._transient.setdefault(partition, []).append(NoticeItem(0, encode(notice)))
        return encode(Sent(0, message_id, hlc))

    def _answer_outbox(self, now: int) -> None:
        for group in self._busy.values():
            still = []
            for asked in group.outbox_asked:
                upto, deadline, source, item = asked
                if upto <= group.outbox.delivered:
                    result = encode(Done(group.raft.applied))
                    self._put(source, item, OutcomeCode.DONE, result)
                elif now >= deadline:
                    self._put(source, item, OutcomeCode.UNAVAILABLE, b"")
                else:
                    still.append(asked)
            group.outbox_asked = still

    def _push_transient(self, effects: list[Effect]) -> None:
        """Notices of messages that are not logged; without a router they are lost."""
        for partition, items in self._transient.items():
            router = self._router(partition)
            if router is not None:
                term = self.groups[partition].raft.term
                effects.append(Send(router, Notices(partition, term, 0, items)))
        self._transient = {}

    def _push(self, now: int, groups: Mapping[int, Group], effects: list[Effect]) -> None:
        """Notices and outbox rows of `groups` to the routers that serve their partitions."""
        submits: dict[NodeName, list[Item]] = {}
        idle = []
        for partition, group in groups.items():
            router = self._router(partition)
            notices = group.notices
            if router is not None:
                if notices.missing_from is not None:
                    group.read_notices(self._journal)
                if not group.outbox.idle:
                    submits.setdefault(router, []).extend(group.outbox.take(now))
            for frame in notices.take(now, router, group.raft.term):
                assert router is not None
                effects.append(Send(router, frame))
            if group.busy or group.outbox_asked:
                due = self._due_at(group, router)
                if due < self._look_at:
                    self._look_at = due
            else:
                idle.append(partition)
        for router, owed in submits.items():
            for first in range(0, len(owed), BATCH_ITEMS_MAX):
                effects.append(Send(router, Submit(owed[first : first + BATCH_ITEMS_MAX])))
        for partition in idle:
            self._busy.pop(partition, None)

    def _due_at(self, group: Group, router: NodeName | None) -> int:
        """When the partition must be looked at again without being touched."""
        due = NEVER
        if router is not None:
            due = group.notices.due_at()
            if not group.outbox.idle:
                due = min(due, group.outbox.due_at())
        if group.book_at < due and group.unbooked and not self._disk_full:
            due = group.book_at
        for _, deadline, _, _ in group.outbox_asked:
            due = min(due, deadline)
        return due

    # ---- who and why -----------------------------------------------------------------------------

    def _place(self) -> None:
        """Partitions go to the routers that are linked, of those that gossip sees alive."""
        seen = [router for router in self._seen.routers if router in self._linked]
        self._live = seen or sorted(self._linked)
        self._routers = {}
        self._look_at = 0

    def _router(self, partition: int) -> NodeName | None:
        if partition not in self._routers:
            self._routers[partition] = router_of(PartitionId(partition), self._live)
        return self._routers[partition]

    def _put(self, source: NodeName, item: RoutedItem, code: OutcomeCode, result: bytes) -> None:
        outcome = Outcome(item.origin, item.request, item.partition, code, result)
        self._outcomes.setdefault(source, []).append(outcome)

    def _refuse(self, source: NodeName, item: RoutedItem, code: OutcomeCode, why: str = "") -> None:
        self.counters["refused"] += 1
        self._put(source, item, code, why.encode())

    def _refuse_write(
        self, group: Group, source: NodeName, item: RoutedItem, code: OutcomeCode
    ) -> None:
        """Refuse what finds no room; a repeated write that was stored gets its first result."""
        result = group.state.result_before(decode_operation(item.body))
        group.state.heads.trim()
        if result is None:
            self._refuse(source, item, code)
        else:
            self._put(source, item, OutcomeCode.DONE, result)

    def _refuse_partition(self, source: NodeName, item: RoutedItem) -> None:
        partition = item.partition
        if 0 <= partition < self._ring.partitions:
            leader = self._ring.leader_of(PartitionId(partition))
            self._refuse(source, item, OutcomeCode.NOT_LEADER, leader)
        else:
            self._refuse(source, item, OutcomeCode.BAD_REQUEST, f"no partition {partition}")
