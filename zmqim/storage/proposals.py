"""What routers ask of the partitions: judged, proposed, and answered once it is known.

A write is answered when its entry is applied, a read when everything before it is applied and a
round of heartbeats confirmed that nobody else leads. Whoever asks a replica that does not lead
hears who does. When a lead is lost, open writes are UNKNOWN: they may be committed by the next
leader, so nobody may take them for refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zmqim.bus.messages import ItemKind, NoticeItem, Outcome, OutcomeCode, RoutedItem
from zmqim.chat.encoding import encode
from zmqim.chat.messages import TransientIds
from zmqim.chat.notices import MessageNotice
from zmqim.chat.operations import SendMessage, decode_operation, decode_send
from zmqim.chat.queries import (
    ConversationsQuery,
    FollowQuery,
    HeadsQuery,
    OutboxQuery,
    Query,
    Together,
    decode_query,
)
from zmqim.chat.reading import answer
from zmqim.chat.results import Done, Sent
from zmqim.errors import WireError
from zmqim.ids import HLC_COUNTER_BITS, NodeName
from zmqim.limits import (
    READ_DEADLINE_MS,
    UNCOMMITTED_BYTES_MAX,
    UNCOMMITTED_PARTITION_BYTES_MAX,
)
from zmqim.raft.groups import Groups
from zmqim.storage.bundles import Bundle, Part
from zmqim.storage.group import Group
from zmqim.storage.items import check_change, check_query
from zmqim.storage.repeats import Repeats
from zmqim.store.interface import JournalReader

_WRITE: Final = int(ItemKind.WRITE)
_TRANSIENT: Final = int(ItemKind.TRANSIENT)
_DONE: Final = OutcomeCode.DONE


class Proposals:
    """Items on their way through the partitions of one storage."""

    def __init__(
        self,
        partitions: int,
        groups: Mapping[int, Group],
        replicas: Groups,
        journal: JournalReader,
    ) -> None:
        self.outcomes: dict[NodeName, list[Outcome]] = {}
        """Answers of this turn, by who asked."""
        self.transient: dict[int, list[NoticeItem]] = {}
        """Notices of messages that are not logged, by partition."""
        self.touched: dict[int, Group] = {}
        """Partitions to which something happened that the turn must look at."""
        self.is_disk_full = False
        self.repeats = Repeats()
        self.counters = {"refused": 0, "reads": 0, "repeats": 0}
        self._partitions = partitions
        self._groups = groups
        self._replicas = replicas
        self._journal = journal
        self._transient_ids = TransientIds()
        self._uncommitted = 0
        self._busy: set[int] = set()
        """Partitions that refused a write in this turn: what comes behind it is refused too."""

    def begin_turn(self) -> None:
        """What was full may have room again."""
        self._busy.clear()
        self._uncommitted = sum([g.uncommitted for g in self._groups.values() if g.uncommitted])

    def take_touched(self) -> dict[int, Group]:
        """The partitions to which something happened since it was last asked."""
        touched, self.touched = self.touched, {}
        return touched

    def admit(self, now: int, wall_ms: int, source: NodeName, item: RoutedItem) -> None:
        """Propose a write, or put a read behind what is proposed; refuse what cannot be."""
        group = self._groups.get(item.partition)
        if group is None or not group.raft.accepts:
            self._refuse_unled(source, item, group)
            return
        try:
            if item.kind == _WRITE:
                self._propose(group, wall_ms, source, item)
            elif item.kind == _TRANSIENT:
                self._wait(group, source, item, decode_send(item.body))
            else:
                self._ask(group, now, wall_ms, source, item)
        except WireError as error:
            self.refuse(source, item, OutcomeCode.BAD_REQUEST, str(error))

    def _ask(
        self, group: Group, now: int, wall_ms: int, source: NodeName, item: RoutedItem
    ) -> None:
        query = decode_query(item.body)
        check_query(query)
        if isinstance(query, FollowQuery):
            page = encode(group.read_followed(self._journal, query))
            self.put(source, item, _DONE, page)
        elif isinstance(query, OutboxQuery):
            assert group.duties is not None
            self._replicas.ask_round(item.partition)
            deadline = now + READ_DEADLINE_MS
            group.duties.outbox_asked.append((query.upto, deadline, source, item))
            self.touched[item.partition] = group
        elif isinstance(query, Together):
            self._ask_each(wall_ms, source, item, query)
        elif self._is_current(group):
            self.put(source, item, _DONE, self._read_at_once(group, wall_ms, query))
        else:
            self._wait(group, source, item, query)

    def _ask_each(self, wall_ms: int, source: NodeName, item: RoutedItem, query: Together) -> None:
        bundle = Bundle(source, item, len(query.parts))
        for number, part in enumerate(query.parts):
            group = self._groups.get(part.partition)
            if group is None or not group.raft.accepts:
                bundle.put(number, b"")
            elif self._is_current(group):
                bundle.put(number, self._read_at_once(group, wall_ms, part.query))
            else:
                self._wait(group, source, item, Part(bundle, number, part.query))
        self._put_bundle(bundle)

    def _put_bundle(self, bundle: Bundle) -> None:
        if bundle.is_over:
            self.put(bundle.source, bundle.item, _DONE, bundle.result())

    def _wait(
        self, group: Group, source: NodeName, item: RoutedItem, asked: SendMessage | Query | Part
    ) -> None:
        """Put a read behind what is proposed, and ask who leads."""
        round_number = self._replicas.ask_round(group.partition)
        group.waiting.append((group.raft.last, round_number, source, item, asked))
        self.touched[group.partition] = group

    def _is_current(self, group: Group) -> bool:
        """Can a read be answered at once? Nothing is under way, and there is no other voter."""
        raft = group.raft
        if raft.applied < raft.last or group.waiting:
            return False
        return len(raft.config.voters) == 1 and raft.config.voters[0].replica == raft.replica

    def _read(self, group: Group, wall_ms: int, query: Query) -> bytes:
        self.counters["reads"] += 1
        result = encode(answer(group.state, query))
        if isinstance(query, ConversationsQuery | HeadsQuery):
            group.promised(wall_ms)
        return result

    def _read_at_once(self, group: Group, wall_ms: int, query: Query) -> bytes:
        result = self._read(group, wall_ms, query)
        group.state.heads.trim()
        if group.owes_stamp:
            self.touched[group.partition] = group
        return result

    def _propose(self, group: Group, wall_ms: int, source: NodeName, item: RoutedItem) -> None:
        body = item.body
        size = len(body)
        if self._is_repeat(group, source, item):
            return
        if self.is_disk_full:
            self._refuse_write(group, source, item, OutcomeCode.DISK_FULL)
            return
        if (
            item.partition in self._busy
            or group.uncommitted + size > UNCOMMITTED_PARTITION_BYTES_MAX
            or self._uncommitted + size > UNCOMMITTED_BYTES_MAX
        ):
            self._busy.add(item.partition)
            self._refuse_write(group, source, item, OutcomeCode.BUSY)
            return
        operation = decode_operation(body)
        if type(operation) is not SendMessage:
            check_change(operation)
        index = group.raft.propose(body, wall_ms)
        group.operations[index] = operation
        group.uncommitted += size
        self._uncommitted += size
        group.waiting.append((index, 0, source, item, None))
        self.repeats.note(source, item, (group.raft.term, index))
        self.touched[item.partition] = group

    def _is_repeat(self, group: Group, source: NodeName, item: RoutedItem) -> bool:
        """Was this write proposed before, and needs the log no more? One that is under way will be
        answered; one that was stored gets its first result."""
        before = self.repeats.find(source, item)
        if before is None:
            return False
        term, index = before
        if term == group.raft.term and index in group.operations:
            self.counters["repeats"] += 1
            return True
        result = group.state.result_before(decode_operation(item.body))
        group.state.heads.trim()
        if result is None:
            return False
        self.counters["repeats"] += 1
        self.put(source, item, _DONE, result)
        return True

    # ---- answering -------------------------------------------------------------------------------

    def answer(self, group: Group, wall_ms: int) -> None:
        """Answer what is applied and confirmed, in the order asked."""
        waiting = group.waiting
        applied = group.raft.applied
        confirmed = -1
        results = group.results
        while waiting and waiting[0][0] <= applied:
            index, round_number, source, item, asked = waiting[0]
            if round_number:
                if confirmed < 0:
                    confirmed = self._replicas.confirmed(group.partition)
                if confirmed < round_number:
                    self._replicas.await_echo(group.partition)
                    return
            waiting.popleft()
            if asked is None:
                result = results.pop(index)
            elif isinstance(asked, SendMessage):
                result = self._judge_transient(group, wall_ms, asked, item.body)
            elif isinstance(asked, Part):
                asked.bundle.put(asked.number, self._read(group, wall_ms, asked.query))
                self._put_bundle(asked.bundle)
                continue
            else:
                result = self._read(group, wall_ms, asked)
            self.put(source, item, _DONE, result)

    def answer_outbox(self, now: int, group: Group) -> None:
        """Answer who waited for derived rows to arrive elsewhere."""
        duties = group.duties
        if duties is None or not duties.outbox_asked:
            return
        still = []
        for asked in duties.outbox_asked:
            upto, deadline, source, item = asked
            if upto <= duties.outbox.delivered:
                self.put(source, item, OutcomeCode.DONE, encode(Done(group.raft.applied)))
            elif now >= deadline:
                self.put(source, item, OutcomeCode.UNAVAILABLE, b"")
            else:
                still.append(asked)
        duties.outbox_asked = still

    def give_up(self, group: Group) -> None:
        """The lead of the partition is lost: whoever waits asks again, with the same bytes."""
        asked_outbox = [] if group.duties is None else group.duties.outbox_asked
        for _, _, source, item in asked_outbox:
            self._refuse_unled(source, item, group)
        for _, _, source, item, asked in group.give_up():
            if asked is None:
                self.put(source, item, OutcomeCode.UNKNOWN, b"")
            elif isinstance(asked, Part):
                asked.bundle.put(asked.number, b"")
                self._put_bundle(asked.bundle)
            else:
                self._refuse_unled(source, item, group)

    def _judge_transient(self, group: Group, wall_ms: int, send: SendMessage, body: bytes) -> bytes:
        """A NO_PERSIST message: judged and pushed, never logged."""
        refusal = group.state.refusal(send)
        if refusal is not None:
            return refusal
        hlc = max(group.raft.log.hlc, wall_ms << HLC_COUNTER_BITS)
        message_id = self._transient_ids.next(hlc, group.partition)
        version = group.state.member_version(send)
        notice = MessageNotice(
            send.channel_type, send.channel_id, 0, message_id, hlc, version, body
        )
        self.transient.setdefault(group.partition, []).append(NoticeItem(0, encode(notice)))
        return encode(Sent(0, message_id, hlc))

    # ---- refusing --------------------------------------------------------------------------------

    def put(self, source: NodeName, item: RoutedItem, code: OutcomeCode, result: bytes) -> None:
        """One answer of this turn."""
        outcome = Outcome(item.origin, item.request, item.partition, code, result)
        if source in self.outcomes:
            self.outcomes[source].append(outcome)
        else:
            self.outcomes[source] = [outcome]

    def refuse(self, source: NodeName, item: RoutedItem, code: OutcomeCode, why: str = "") -> None:
        """An item of which nothing was proposed."""
        self.counters["refused"] += 1
        self.put(source, item, code, why.encode())

    def _refuse_write(
        self, group: Group, source: NodeName, item: RoutedItem, code: OutcomeCode
    ) -> None:
        """Refuse what finds no room; a repeated write that was stored gets its first result."""
        result = group.state.result_before(decode_operation(item.body))
        group.state.heads.trim()
        if result is None:
            self.refuse(source, item, code)
        else:
            self.put(source, item, OutcomeCode.DONE, result)

    def _refuse_unled(self, source: NodeName, item: RoutedItem, group: Group | None) -> None:
        """This storage does not lead the partition, or not yet."""
        if not 0 <= item.partition < self._partitions:
            self.refuse(source, item, OutcomeCode.BAD_REQUEST, f"no partition {item.partition}")
        elif group is not None and group.raft.lead is not None:
            self.refuse(source, item, OutcomeCode.UNAVAILABLE)
        else:
            leader = self._replicas.leader_of(item.partition)
            self.refuse(source, item, OutcomeCode.NOT_LEADER, leader)
