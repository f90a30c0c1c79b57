"""A storage core over the memory stores, with effects performed as the shell performs them.

Here it is alone: every partition has one voter. tests/storage_trio.py joins three of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import NamedTuple

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.messages import (
    Answer,
    Answers,
    Item,
    ItemKind,
    Message,
    NoticeAck,
    NoticeAcks,
    NoticeBatches,
    NoticeItem,
    Notices,
    Outcome,
    OutcomeCode,
    Outcomes,
    Propose,
    Role,
    RoutedItem,
    Submit,
)
from zmqim.chat.channels import person_channel_id, route_key_of_channel, route_key_of_user
from zmqim.chat.codes import ChannelType, ListAction, ListName
from zmqim.chat.encoding import encode
from zmqim.chat.operations import AddMembers, ChangeList, Operation, SendMessage
from zmqim.chat.queries import Query
from zmqim.chat.results import Result, decode_result
from zmqim.chat.view import digest_of
from zmqim.ids import ClusterId, Incarnation, NodeName, NodeUuid
from zmqim.meta.birth import BirthCore
from zmqim.meta.record import BirthRecord, born
from zmqim.ring.document import RingDocument
from zmqim.ring.partitions import partition_of
from zmqim.storage.core import StorageCore
from zmqim.storage.effects import Effect, WriteJournal, WriteState
from zmqim.storage.genesis import first_batch
from zmqim.storage.sizes import Sizes
from zmqim.store.interface import Journal, RowStore
from zmqim.store.memory import END_OF_KEYS, MemoryJournal, MemoryRowStore

STORAGE = NodeName("storage-1")
OTHER = NodeName("storage-2")
ROUTER = NodeName("router-1")
CLUSTER = ClusterId(bytes(range(16)))
WALL_MS = 1_750_000_000_000
TURNS_MAX = 10_000
GROUP = ChannelType.GROUP
PERSON = ChannelType.PERSON


def ring(partitions: int = 4, *, foreign: tuple[int, ...] = ()) -> RingDocument:
    """All partitions are held by `STORAGE` but the `foreign` ones."""
    placement = tuple((OTHER if p in foreign else STORAGE,) for p in range(partitions))
    return RingDocument(1, partitions, 1, 1, placement)


class Steady(Random):
    """No chance where a core draws a pause: candidates stand by their rank alone."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return 0


def uuid_of(name: NodeName) -> NodeUuid:
    return NodeUuid(blake2b(name.encode(), digest_size=16).digest())


def router_peer(name: NodeName = ROUTER, incarnation: int = 1) -> Peer:
    return Peer(name, Role.ROUTER, uuid_of(name), Incarnation(incarnation))


def storage_peer(name: NodeName, incarnation: int = 1) -> Peer:
    return Peer(name, Role.STORAGE, uuid_of(name), Incarnation(incarnation))


class Place(NamedTuple):
    """A storage as the topology names it."""

    name: NodeName
    zone: str = "zone"
    weight: int = 1


def places_of(document: RingDocument) -> tuple[Place, ...]:
    names = {name for owners in document.placement for name in owners}
    return tuple(Place(name) for name in sorted({*names, STORAGE}))


def record_of(document: RingDocument) -> BirthRecord:
    """Everyone was born at once."""
    places = places_of(document)
    uuids: dict[str, bytes] = {place.name: uuid_of(place.name) for place in places}
    return born(CLUSTER, document, places, uuids).with_complete(True)


def be_born(journal: Journal, name: NodeName, document: RingDocument) -> None:
    """A journal without anything gets the replicas that `name` holds from the beginning."""
    if not journal.load():
        journal.write(first_batch(record_of(document), uuid_of(name)))


def message(
    sender: str,
    channel: str,
    number: str,
    payload: bytes = b"hello",
    channel_type: int = GROUP,
    flags: int = 0,
    privileged: bool = False,
) -> SendMessage:
    return SendMessage(
        channel_type, channel, sender, number, payload, flags=flags, privileged=privileged
    )


def opened_core(
    me: Peer,
    document: RingDocument,
    rows: RowStore,
    journal: Journal,
    now: int,
    core: type[StorageCore] = StorageCore,
    sizes: Sizes = Sizes(rows_wait_ms=0),
    random: Random | None = None,
) -> StorageCore:
    """A life of a storage begins on these stores."""
    places, record = places_of(document), record_of(document)
    return core(
        me,
        document,
        rows,
        journal,
        journal.load(),
        BirthCore(me.name, me.node_uuid, CLUSTER, document, places, record),
        random or Steady(f"{me.name} {me.incarnation}"),
        now,
        storages=places,
        memory=journal.peers(),
        sizes=sizes,
    )


@dataclass
class StorageWorld:
    """One storage process: its disk survives `restart`."""

    document: RingDocument = field(default_factory=ring)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    rows: MemoryRowStore = field(default_factory=MemoryRowStore)
    now: int = 0
    wall_ms: int = WALL_MS
    request: int = 0
    incarnation: int = 0
    sizes: Sizes = field(default_factory=lambda: Sizes(rows_wait_ms=0))
    core_class: type[StorageCore] = StorageCore

    def __post_init__(self) -> None:
        self.open()
        self.start()

    def open(self) -> None:
        be_born(self.journal, STORAGE, self.document)
        self.incarnation += 1
        me = storage_peer(STORAGE, self.incarnation)
        self.core = opened_core(
            me, self.document, self.rows, self.journal, self.now, self.core_class, self.sizes
        )
        self.effects: list[Effect] = []
        self.sent: list[Send] = []

    def start(self) -> None:
        """Lead every partition, and the meta group, with one router linked."""
        for _ in range(TURNS_MAX):
            if self.core.serving:
                break
            self.turn()
        assert self.core.serving
        self.core.peer_up(self.now, router_peer())
        self.core.view_changed(self.now, View((), (ROUTER,), (STORAGE,)))
        self.turn(0)

    def restart(self) -> None:
        """The process dies between two turns and comes back."""
        self.open()
        self.start()

    def perform(self, effects: list[Effect]) -> list[Send]:
        sent = []
        for effect in effects:
            match effect:
                case WriteJournal(batch):
                    self.journal.write(batch)
                case WriteState(rows):
                    self.rows.write(rows)
                case Send():
                    sent.append(effect)
        return sent

    def turn(self, ms: int = 1) -> list[Send]:
        self.now += ms
        self.wall_ms += ms
        self.effects = self.core.turn(self.now, self.wall_ms)
        sent = self.perform(self.effects)
        self.sent += sent
        return sent

    def partition(self, key: bytes) -> int:
        return partition_of(key, self.document.partitions)

    def item(self, key: bytes, kind: int, body: bytes) -> RoutedItem:
        self.request += 1
        return RoutedItem(7, self.request, self.partition(key), kind, body)

    def receive(self, message: Message, source: NodeName = ROUTER) -> None:
        self.core.receive(self.now, source, message)

    def outcomes(self, *items: RoutedItem) -> list[Outcome]:
        """Propose the items in one frame and give what came back, in the order of the items."""
        self.receive(Propose(list(items)))
        found = {outcome.request: outcome for outcome in outcomes_in(self.turn())}
        return [found[item.request] for item in items]

    def write(self, key: bytes, operation: Operation) -> Result:
        return result_of(self.outcomes(self.item(key, ItemKind.WRITE, encode(operation)))[0])

    def send(self, *messages: SendMessage) -> list[Result]:
        items = [self.item(key_of(one), ItemKind.WRITE, encode(one)) for one in messages]
        return [result_of(outcome) for outcome in self.outcomes(*items)]

    def query(self, key: bytes, query: Query) -> Result:
        return result_of(self.outcomes(self.item(key, ItemKind.READ, encode(query)))[0])

    def add(self, channel: str, *uids: str) -> Result:
        return self.write(
            route_key_of_channel(GROUP, channel), AddMembers(GROUP, channel, list(uids))
        )

    def digest(self) -> str:
        return digest_of(self.rows.scan(b"", END_OF_KEYS))

    def deliver_submits(self) -> int:
        """Answer every Submit of the last turn as a router and the partitions would."""
        count = 0
        sent, self.sent = self.sent, []
        for send in sent:
            if isinstance(send.message, Submit):
                items = send.message.items
                routed = [
                    RoutedItem(0, one.request, self.partition(one.key), one.kind, one.body)
                    for one in items
                ]
                outcomes = self.outcomes(*routed)
                count += len(outcomes)
                self.receive(Answers([Answer(o.request, o.code, o.result) for o in outcomes]))
        return count


def key_of(send: SendMessage) -> bytes:
    return route_key_of_channel(send.channel_type, send.channel_id)


def user_key(uid: str) -> bytes:
    return route_key_of_user(uid)


def outcomes_in(sent: list[Send]) -> list[Outcome]:
    return [
        outcome
        for send in sent
        if isinstance(send.message, Outcomes)
        for outcome in send.message.items
    ]


def batches_in(sent: list[Send]) -> list[Notices]:
    return [
        batch
        for send in sent
        if isinstance(send.message, NoticeBatches)
        for batch in send.message.items
    ]


def notices_in(sent: list[Send]) -> list[NoticeItem]:
    return [item for batch in batches_in(sent) for item in batch.items]


def ack_of(partition: int, term: int, index: int) -> NoticeAcks:
    """A router took over what that partition told up to `index`."""
    return NoticeAcks([NoticeAck(partition, term, index)])


def submits_in(sent: list[Send]) -> list[Item]:
    return [
        item for send in sent if isinstance(send.message, Submit) for item in send.message.items
    ]


def result_of(outcome: Outcome) -> Result:
    assert outcome.code == OutcomeCode.DONE, outcome
    return decode_result(outcome.result)


def deny(owner: str, *uids: str) -> ChangeList:
    """What puts one row for each of `uids` into the outbox of the owner's partition."""
    return ChangeList(PERSON, owner, ListName.DENY, ListAction.ADD, list(uids))


def private(sender: str, receiver: str, number: str) -> SendMessage:
    return message(sender, person_channel_id(sender, receiver), number, channel_type=PERSON)
