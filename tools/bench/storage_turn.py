"""What a turn of storages that feed each other costs, in microseconds of one core.

Usage:
  storage_turn.py [options]

Options:
  --replicas N    Storages, of which each has all partitions and leads its share [default: 3].
  --per-turn N    Messages that a round takes in, of all storages [default: 64].
  --turns N       Turns of each storage that are measured [default: 1000].
  --partitions N  Partitions of the cluster [default: 32].
  --channels N    Person channels, spread over the partitions [default: 128].
  --folder DIR    Where the stores are made and removed again [default: /dev/shm].
  --profile       Print where the time goes (and distort the figures).
  -h --help       Show this.

In a round everything that was sent arrives, decoded from the frames that the bus would carry, and
each storage takes a turn: so a turn leads, follows, acknowledges and pushes, as under a steady
load. Printed is the time of the main thread for a round, by part, that of LevelDB's own thread, and
the sum for each message and for each partition that a storage had to write to. Two runs with other
numbers of messages a turn tell what a turn costs by itself; instructions are steadier than time
(valgrind --tool=cachegrind --cache-sim=no, the difference between two numbers of turns).
"""

from __future__ import annotations

import cProfile
import pstats
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import process_time, thread_time

from docopt import docopt

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.envelope import Codec
from zmqim.bus.messages import (
    Answer,
    Answers,
    Message,
    NoticeAck,
    NoticeAcks,
    NoticeBatches,
    OutcomeCode,
    Outcomes,
    Propose,
    Role,
    RoutedItem,
    Submit,
)
from zmqim.bus.outbox import Outbox
from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import ChannelType
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage
from zmqim.ids import ClusterId, Incarnation, NodeName, NodeUuid
from zmqim.meta.birth import BirthCore
from zmqim.meta.record import born
from zmqim.ring.document import RingDocument
from zmqim.storage.core import StorageCore
from zmqim.storage.effects import WriteJournal, WriteState
from zmqim.storage.genesis import first_batch
from zmqim.storage.stores import Stores
from zmqim.store.disk import DiskRoom
from zmqim.store.journal import open_journal
from zmqim.store.mark import DurableMark
from zmqim.store.rows import open_rows

ROUTER = NodeName("router-1")
CLUSTER = ClusterId(bytes(16))
WALL_MS = 1_750_000_000_000
TURN_MS = 32
PARTS = ("bus", "core", "journal", "rows")
SETTLING_TURNS = 400
"""Turns in which the storages boot, elect, and give each partition to where it is at home."""


class Place:
    """A storage as the topology names it."""

    def __init__(self, name: NodeName) -> None:
        self.name = name
        self.zone = ""
        self.weight = 1


class Clock:
    """Adds the processor time between `start` and `stop` to a part's sum."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._began = 0.0

    def start(self) -> None:
        self._began = thread_time()

    def stop(self, part: str) -> None:
        self.seconds[part] += thread_time() - self._began


class Storage:
    """A core over real stores, with the queues of its links."""

    def __init__(self, name: NodeName, folder: Path, ring: RingDocument, clock: Clock) -> None:
        self.name = name
        self.me = Peer(name, Role.STORAGE, uuid_of(name), Incarnation(1))
        self._clock = clock
        folder.mkdir()
        self.stores = Stores(
            open_journal(folder / "raft", create=True),
            open_rows(folder / "state", create=True),
            DurableMark(folder / "durable.mark", ring.partitions + 1, create=True),
            DiskRoom(folder),
        )
        names = ring.placement[0]
        places = [Place(one) for one in names]
        uuids: dict[str, bytes] = {one: uuid_of(one) for one in names}
        record = born(CLUSTER, ring, places, uuids).with_complete(True)
        self.stores.journal.write(first_batch(record, self.me.node_uuid))
        self.core = StorageCore(
            self.me,
            ring,
            self.stores.rows,
            self.stores.journal,
            self.stores.journal.load(),
            BirthCore(name, self.me.node_uuid, CLUSTER, ring, places, record),
            Random(name),
            0,
            storages=places,
            memory={},
        )
        header = Codec(CLUSTER, self.me.node_uuid, self.me.incarnation).header()
        self.outboxes = {to: Outbox(header, b"") for to in (*names, ROUTER) if to != name}
        self.written = 0
        """Partitions that were written to, a turn's sum."""

    def turn(self, now: int) -> None:
        """One turn as the shell performs it."""
        core, clock = self.core, self._clock
        clock.start()
        effects = core.turn(now, WALL_MS + now)
        clock.stop("core")
        for effect in effects:
            clock.start()
            match effect:
                case Send(to, message):
                    self.outboxes[to].put(message)
                    clock.stop("bus")
                case WriteJournal(batch):
                    self.stores.write_journal(batch)
                    clock.stop("journal")
                    self.written += len(batch.extents)
                case WriteState(rows):
                    self.stores.write_rows(rows)
                    clock.stop("rows")
        clock.start()
        core.next_wake()
        clock.stop("core")


class Cluster:
    """The storages, and a router that takes everything over at once."""

    def __init__(self, folder: Path, replicas: int, count: int, channels: int) -> None:
        names = tuple(NodeName(f"storage-{number}") for number in range(1, replicas + 1))
        turned = [names[first:] + names[:first] for first in range(replicas)]
        placement = tuple(turned[number % replicas] for number in range(count))
        self._ring = ring = RingDocument(1, count, replicas, replicas, placement)
        self.clock = Clock()
        self.storages = {name: Storage(name, folder / name, ring, self.clock) for name in names}
        self._codec = Codec(CLUSTER, uuid_of(ROUTER), Incarnation(1))
        self._router = {name: Outbox(self._codec.header(), b"") for name in names}
        self._now = 0
        self._random = Random(1)
        self._request = 0
        self.answered = 0
        self._channels = [
            (f"user-{2 * n:05}", f"user-{2 * n + 1:05}", n % count) for n in range(channels)
        ]
        for storage in self.storages.values():
            for other in self.storages.values():
                if other is not storage:
                    storage.core.peer_up(0, other.me)
            storage.core.peer_up(0, Peer(ROUTER, Role.ROUTER, uuid_of(ROUTER), Incarnation(1)))
            storage.core.view_changed(0, View((), (ROUTER,), names))
        for _ in range(SETTLING_TURNS):
            self.round(0)
        led = [storage.core.led for storage in self.storages.values()]
        assert max(led) - min(led) <= 1, f"the partitions are led {led}"

    def propose(self, messages: int) -> None:
        """The router's frames with that many messages by chance, the same in every run."""
        items: dict[NodeName, list[RoutedItem]] = {}
        for _ in range(messages):
            one, other, partition = self._random.choice(self._channels)
            if self._random.random() < 0.5:
                one, other = other, one
            self._request += 1
            number = f"{self._request:032x}3"
            channel = person_channel_id(one, other)
            send = SendMessage(ChannelType.PERSON, channel, one, number, bytes(100), flags=2)
            item = RoutedItem(7, self._request, partition, 0, encode(send))
            items.setdefault(self._ring.placement[partition][0], []).append(item)
        for name, asked in items.items():
            self._router[name].put(Propose(asked))

    def round(self, messages: int) -> None:
        """Everything arrives, and each storage takes a turn."""
        self._now += TURN_MS
        clock = self.clock
        self.propose(messages)
        clock.start()
        arrived: list[tuple[NodeName, NodeName, Message]] = []
        for source, outboxes in [
            (ROUTER, self._router),
            *((name, storage.outboxes) for name, storage in self.storages.items()),
        ]:
            for to, outbox in outboxes.items():
                while outbox.messages:
                    _, found = self._codec.decode(outbox.next_frame())
                    arrived += [(source, to, message) for message in found]
                    outbox.taken()
        clock.stop("bus")
        clock.start()
        for source, to, message in arrived:
            if to != ROUTER:
                self.storages[to].core.receive(self._now, source, message)
        clock.stop("core")
        for source, to, message in arrived:
            if to == ROUTER:
                self._take(source, message)
        for storage in self.storages.values():
            storage.turn(self._now)

    def _take(self, source: NodeName, message: Message) -> None:
        match message:
            case NoticeBatches(items=batches):
                acks = [NoticeAck(one.partition, one.term, one.items[-1].index) for one in batches]
                self._router[source].put(NoticeAcks(acks))
            case Submit(items=items):
                done = [Answer(item.request, OutcomeCode.DONE, b"") for item in items]
                self._router[source].put(Answers(done))
            case Outcomes(items=items):
                assert all(not item.code for item in items)
                self.answered += len(items)


def uuid_of(name: NodeName) -> NodeUuid:
    """A uuid made of the name."""
    return NodeUuid(name.encode().ljust(16, b"-"))


def measured(cluster: Cluster, turns: int, per_turn: int) -> None:
    """Run it, and print the figures."""
    cluster.clock.seconds = dict.fromkeys(PARTS, 0.0)
    for storage in cluster.storages.values():
        storage.written = 0
    began = process_time() - thread_time()
    for _ in range(turns):
        cluster.round(per_turn)
    compaction = (process_time() - thread_time() - began) / turns * 1e6
    parts = {part: second / turns * 1e6 for part, second in cluster.clock.seconds.items()}
    total = sum(parts.values())
    written = sum(storage.written for storage in cluster.storages.values()) / turns
    figures = "  ".join(f"{part} {figure:.0f}" for part, figure in parts.items())
    print(
        f"{figures}  sum {total:.0f}, compaction {compaction:.0f} µs a round;"
        f" {total / max(per_turn, 1) / len(cluster.storages):.1f} µs per message and replica;"
        f" {total / max(written, 1):.1f} µs for each of {written:.1f} partitions"
        f" written to ({cluster.answered} answered)"
    )


def profiled(call: Callable[[], None]) -> None:
    """Call, and print where the time went."""
    profile = cProfile.Profile()
    profile.runcall(call)
    pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(70)


def main() -> None:
    arguments = docopt(__doc__ or "")
    per_turn, turns = int(arguments["--per-turn"]), int(arguments["--turns"])
    replicas = int(arguments["--replicas"])
    with TemporaryDirectory(prefix="storage_turn", dir=arguments["--folder"]) as folder:
        count, channels = int(arguments["--partitions"]), int(arguments["--channels"])
        cluster = Cluster(Path(folder), replicas, count, channels)

        def run() -> None:
            measured(cluster, turns, per_turn)

        if arguments["--profile"]:
            profiled(run)
        else:
            run()
        for storage in cluster.storages.values():
            storage.stores.close()


if __name__ == "__main__":
    main()
