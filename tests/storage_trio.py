"""Three storages that hold every partition, joined by wires that tests cut, hold and listen to.

Time is the trio's: `run` lets it pass, one millisecond a step, with a jump where nothing is due.
In a step everything on the wires arrives, and then each storage takes a turn that has something to
do; its effects are performed in order, as the shell does. Disks survive `crash`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import combinations
from random import Random

from storage_world import (
    ROUTER,
    WALL_MS,
    be_born,
    notices_in,
    opened_core,
    outcomes_in,
    result_of,
    router_peer,
    storage_peer,
)

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.messages import ItemKind, Message, Outcome, Propose, RoutedItem
from zmqim.bus.replication import Leading
from zmqim.chat.codes import ChannelType
from zmqim.chat.encoding import encode
from zmqim.chat.keys import PREFIX_BYTES
from zmqim.chat.operations import AddMembers, Operation
from zmqim.chat.queries import Query
from zmqim.chat.results import Result
from zmqim.chat.view import digest_of
from zmqim.ids import NodeName, NodeUuid
from zmqim.ring.document import RingDocument
from zmqim.storage.core import StorageCore
from zmqim.storage.effects import Effect, WriteJournal, WriteState
from zmqim.storage.group import Group
from zmqim.storage.sizes import Sizes
from zmqim.store.memory import MemoryJournal, MemoryMark, MemoryRowStore

ONE, TWO, THREE = NAMES = (
    NodeName("storage-1"),
    NodeName("storage-2"),
    NodeName("storage-3"),
)
Wire = tuple[NodeName, NodeName]
RUN_MS_MAX = 20_000
"""Nothing that a test waits for takes longer."""


def ring_of_three(partitions: int = 1) -> RingDocument:
    """Every partition has three voters; `ONE` should lead them all."""
    return RingDocument(1, partitions, 3, 3, (NAMES,) * partitions)


@dataclass
class Member:
    """One storage: its disk, and what this life of it did."""

    name: NodeName
    core: StorageCore
    journal: MemoryJournal
    rows: MemoryRowStore
    mark: MemoryMark = field(default_factory=MemoryMark)
    is_alive: bool = True
    is_stopped: bool = False
    """Takes no turn, as under SIGSTOP; its wires go on."""
    incarnation: int = 1
    node_uuid: NodeUuid | None = None
    """Of its disk; None: that of the birth."""
    effects: list[Effect] = field(default_factory=list)
    """Of the last turn."""
    turns: list[list[Effect]] = field(default_factory=list)
    """All of this life."""
    sent: list[Send] = field(default_factory=list)
    """To routers, in all lives."""

    @property
    def peer(self) -> Peer:
        """This life, as the others are told of it."""
        peer = storage_peer(self.name, self.incarnation)
        return peer if self.node_uuid is None else peer._replace(node_uuid=self.node_uuid)

    def digest(self) -> str:
        """Of the rows of all partitions: equal where the same was applied, whoever gave it."""
        return digest_of(
            (number.to_bytes(2, "big") + key[PREFIX_BYTES:], body)
            for number, group in sorted(self.core.groups.items())
            for key, body in self.rows.scan(group.state.keys.prefix, group.state.keys.stop)
        )

    def last(self, partition: int = 0) -> int:
        """The last entry that is on disk."""
        extent = self.journal.load()[partition].extent
        return 0 if extent is None else extent.last


class Trio:
    """The three, as of a moment when `ONE` leads every partition."""

    def __init__(
        self,
        partitions: int = 1,
        *,
        is_led: bool = True,
        core: type[StorageCore] = StorageCore,
        sizes: Sizes = Sizes(rows_wait_ms=0),
    ) -> None:
        self.document = ring_of_three(partitions)
        self.now = 0
        self.wall_ms = WALL_MS
        self.random = Random(1)
        self.request = 0
        self.wires: dict[Wire, deque[Message]] = {
            (one, other): deque() for one in NAMES for other in NAMES if one != other
        }
        self.cut_wires: set[Wire] = set()
        """What is sent over these is lost, and nobody is told."""
        self.held_wires: set[Wire] = set()
        """What is sent over these waits."""
        self.members: dict[NodeName, Member] = {}
        self._core = core
        self._sizes = sizes
        for name in NAMES:
            journal, rows = MemoryJournal(), MemoryRowStore()
            be_born(journal, name, self.document)
            opened = self._opened(storage_peer(name), rows, journal)
            self.members[name] = Member(name, opened, journal, rows)
        for one, other in combinations(NAMES, 2):
            self._join(one, other)
        for name in NAMES:
            self._see(name)
        if is_led:
            self.until(lambda: self.leads(ONE))

    def _opened(self, me: Peer, rows: MemoryRowStore, journal: MemoryJournal) -> StorageCore:
        random = Random(f"{me.name} {me.incarnation}")
        return opened_core(
            me, self.document, rows, journal, self.now, self._core, self._sizes, random
        )

    def _join(self, one: NodeName, other: NodeName) -> None:
        """A connection between these two stands."""
        for name, peer in ((one, other), (other, one)):
            self.members[name].core.peer_up(self.now, self.members[peer].peer)

    def _see(self, name: NodeName) -> None:
        """A router is linked, and gossip sees everybody."""
        core = self.members[name].core
        core.peer_up(self.now, router_peer())
        core.view_changed(self.now, View((), (ROUTER,), NAMES))

    # ---- looking ---------------------------------------------------------------------------------

    def __getitem__(self, name: NodeName) -> Member:
        return self.members[name]

    def group(self, name: NodeName, partition: int = 0) -> Group:
        return self.members[name].core.groups[partition]

    def leads(self, name: NodeName) -> bool:
        """Does it lead, and serve, every partition?"""
        groups = self.members[name].core.groups.values()
        return self.members[name].is_alive and all(group.raft.serving for group in groups)

    def leader(self, partition: int = 0) -> NodeName | None:
        """Who serves in the latest term, of those who live."""
        serving = [
            (self.group(name, partition).raft.term, name)
            for name, member in self.members.items()
            if member.is_alive and self.group(name, partition).raft.serving
        ]
        return max(serving)[1] if serving else None

    def digests(self) -> set[str]:
        return {member.digest() for member in self.members.values()}

    def applied_alike(self) -> bool:
        """Has everyone applied everything of every partition?"""
        ends = {
            (partition, end)
            for member in self.members.values()
            for told in (member.core.applied_ends(), member.core.log_ends())
            for partition, end in told.items()
            if partition in member.core.groups
        }
        return len(ends) == self.document.partitions

    # ---- time ------------------------------------------------------------------------------------

    def step(self) -> None:
        """Everything on the wires arrives; who has something to do takes a turn."""
        arriving = [(wire, message) for wire in self.wires for message in self._take(wire)]
        for (source, target), message in arriving:
            if self.members[target].is_alive:
                self.members[target].core.receive(self.now, source, message)
        for name, member in self.members.items():
            if member.is_alive and not member.is_stopped:
                due = member.core.next_wake()
                if due is not None and due <= self.now:
                    self.turn(name)

    def _take(self, wire: Wire) -> list[Message]:
        if wire in self.held_wires or self.members[wire[1]].is_stopped:
            return []
        taken = list(self.wires[wire])
        self.wires[wire].clear()
        return taken

    def run(self, ms: int) -> None:
        """Let time pass."""
        end = self.now + ms
        self.step()
        while self.now < end:
            self._pass(end)
            self.step()

    def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until the condition holds; it must within RUN_MS_MAX."""
        end = self.now + RUN_MS_MAX
        while not condition():
            assert self.now < end, "it never came about"
            self.step()
            if not condition():
                self._pass(end)

    def _pass(self, end: int) -> None:
        wakes = [
            member.core.next_wake()
            for member in self.members.values()
            if member.is_alive and not member.is_stopped
        ]
        moving = any(
            messages and wire not in self.held_wires and not self.members[wire[1]].is_stopped
            for wire, messages in self.wires.items()
        )
        soon = min([wake for wake in wakes if wake is not None], default=end)
        passed = 1 if moving else max(1, min(soon, end) - self.now)
        self.now += passed
        self.wall_ms += passed

    def turn(self, name: NodeName, effects_max: int | None = None) -> list[Effect]:
        """One turn of one storage; with `effects_max` it dies in the middle of it."""
        member = self.members[name]
        effects = member.core.turn(self.now, self.wall_ms)
        member.effects = effects
        member.turns.append(effects)
        for effect in effects[:effects_max]:
            match effect:
                case WriteJournal(batch):
                    member.journal.write(batch)
                    member.mark.write(batch)
                case WriteState(rows):
                    member.rows.write(rows)
                case Send(to, message):
                    self._put(name, to, message, effect)
        if effects_max is not None:
            self.crash(name)
        return effects

    def die_writing(self, name: NodeName) -> None:
        """A turn up to its journal write, during which it dies; what it said before arrives."""
        effects = self.members[name].core.turn(self.now, self.wall_ms)
        for effect in effects[: places(effects, WriteJournal)[0]]:
            assert isinstance(effect, Send)
            self._put(name, effect.to, effect.message, effect)
        for (source, target), messages in self.wires.items():
            if source == name and self.members[target].is_alive:
                for message in messages:
                    self.members[target].core.receive(self.now, name, message)
        self.crash(name)

    def _put(self, name: NodeName, to: NodeName, message: Message, effect: Send) -> None:
        if to not in self.members:
            self.members[name].sent.append(effect)
        elif self.members[to].is_alive and (name, to) not in self.cut_wires:
            self.wires[name, to].append(message)

    # ---- harm ------------------------------------------------------------------------------------

    def cut(self, one: NodeName, others: Collection[NodeName] = NAMES) -> None:
        """Nothing passes between `one` and `others` any more, and nobody is told."""
        for other in others:
            if other != one:
                self.cut_wires |= {(one, other), (other, one)}
                self.wires[one, other].clear()
                self.wires[other, one].clear()

    def heal(self) -> None:
        """Everything passes again. Connections that were cut are made anew."""
        cut = {tuple(sorted(wire)) for wire in self.cut_wires}
        self.cut_wires.clear()
        self.held_wires.clear()
        for one, other in sorted(cut):
            if self.members[one].is_alive and self.members[other].is_alive:
                self.members[one].core.peer_down(self.now, other)
                self.members[other].core.peer_down(self.now, one)
                self._join(one, other)

    def part(self, one: NodeName, other: NodeName) -> None:
        """The connection breaks, and both are told."""
        self.cut(one, (other,))
        self.members[one].core.peer_down(self.now, other)
        self.members[other].core.peer_down(self.now, one)

    def hold(self, source: NodeName, target: NodeName) -> None:
        """What is sent from now on waits for `release`."""
        self.held_wires.add((source, target))

    def release(self, source: NodeName, target: NodeName) -> None:
        """What waited arrives with the next step."""
        self.held_wires.discard((source, target))

    def crash(self, name: NodeName) -> None:
        """It dies as by a power cut: only what was synced is certain."""
        member = self.members[name]
        member.is_alive = False
        member.journal.crash(self.random)
        member.rows.crash(self.random)
        for wire in self.wires:
            if name in wire:
                self.wires[wire].clear()
        for other in self.members.values():
            if other.is_alive:
                other.core.peer_down(self.now, name)

    def lose_disk(self, name: NodeName) -> None:
        """It dies, and its folder is empty: what comes back under the name is another disk."""
        if self.members[name].is_alive:
            self.crash(name)
        member = self.members[name]
        member.journal, member.rows, member.mark = MemoryJournal(), MemoryRowStore(), MemoryMark()
        member.node_uuid = NodeUuid(self.random.randbytes(16))
        member.incarnation = 0

    def boot(self, name: NodeName) -> None:
        """Its next life begins."""
        member = self.members[name]
        member.is_alive = True
        member.incarnation += 1
        member.core = self._opened(member.peer, member.rows, member.journal)
        member.turns = []
        for other in self.members.values():
            if other is not member and other.is_alive:
                self._join(name, other.name)
        self._see(name)

    # ---- asking ----------------------------------------------------------------------------------

    def item(self, kind: int, body: bytes, partition: int = 0) -> RoutedItem:
        self.request += 1
        return RoutedItem(7, self.request, partition, kind, body)

    def propose(self, name: NodeName, *items: RoutedItem) -> None:
        """A router asks `name`; the next turn takes it in."""
        self.members[name].core.receive(self.now, ROUTER, Propose(list(items)))

    def put(self, name: NodeName, operation: Operation, partition: int = 0) -> RoutedItem:
        """Propose a write and give its item."""
        item = self.item(ItemKind.WRITE, encode(operation), partition)
        self.propose(name, item)
        return item

    def ask(self, name: NodeName, query: Query, partition: int = 0) -> RoutedItem:
        """Propose a read and give its item."""
        item = self.item(ItemKind.READ, encode(query), partition)
        self.propose(name, item)
        return item

    def outcome(self, item: RoutedItem) -> Outcome | None:
        """What anyone answered; None if nobody did yet."""
        found = [
            outcome
            for member in self.members.values()
            for outcome in outcomes_in(member.sent)
            if outcome.request == item.request
        ]
        assert len(found) <= 1, found
        return found[0] if found else None

    def answered(self, item: RoutedItem) -> Outcome:
        """What comes back, as soon as it does."""
        self.until(lambda: self.outcome(item) is not None)
        outcome = self.outcome(item)
        assert outcome is not None
        return outcome

    def write(self, operation: Operation, partition: int = 0) -> Result:
        """A write through whoever leads."""
        leader = self.leader(partition)
        assert leader is not None
        return result_of(self.answered(self.put(leader, operation, partition)))

    def add(self, channel: str, *uids: str) -> Result:
        return self.write(AddMembers(ChannelType.GROUP, channel, list(uids)))

    def notices(self, name: NodeName) -> list[int]:
        """The indexes of the notices that it sent, each time that it did."""
        return [item.index for item in notices_in(self.members[name].sent)]

    def leading(self, name: NodeName) -> list[Leading]:
        """What it told routers of its leads."""
        sent = self.members[name].sent
        return [send.message for send in sent if isinstance(send.message, Leading)]


def places(effects: list[Effect], kind: type[Message] | type[Effect]) -> list[int]:
    """Where in a turn the effects of that kind stand; a message's kind means its Send."""
    return [
        place
        for place, effect in enumerate(effects)
        if isinstance(effect.message if isinstance(effect, Send) else effect, kind)
    ]
