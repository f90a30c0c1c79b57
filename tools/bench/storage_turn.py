"""What one message costs a storage, in microseconds of one core, without the bus.

Usage:
  storage_turn.py [options]

Options:
  --per-turn N   Messages that a turn takes in [default: 40].
  --messages N   Messages in all [default: 60000].
  --channels N   Person channels, each in a partition of its own [default: 50].
  --folder DIR   Where the stores are made and removed again [default: /dev/shm].
  --profile      Print where the core's and the stores' time goes (and distort the figures).
  -h --help      Show this.

A turn's messages come in pairs from connections by chance, as a gateway hands them on; the router
acknowledges the notices of a turn in the next one. Printed is the processor time of the main
thread per message, for the core (a turn from `Propose` to effects) and for the writes of journal
and rows, and that of LevelDB's own thread for compaction.
"""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter, process_time, thread_time
from typing import NamedTuple

from docopt import docopt

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.messages import ItemKind, Message, NoticeAck, Notices, Propose, Role, RoutedItem
from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import ChannelType
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage
from zmqim.ids import ClusterId, Incarnation, NodeName, NodeUuid
from zmqim.limits import PARTITIONS_DEFAULT
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

STORAGE, ROUTER = NodeName("storage-1"), NodeName("router-1")
UUID, CLUSTER = NodeUuid(bytes(16)), ClusterId(bytes(16))
WALL_MS = 1_750_000_000_000
PAYLOAD = bytes(100)
TURNS_MADE = 200
"""Frames that are made at a time, so that their garbage is not the core's."""


class Place(NamedTuple):
    """The storage as the topology names it."""

    name: NodeName
    zone: str = ""
    weight: int = 1


class Load:
    """Frames of messages by chance, the same in every run."""

    def __init__(self, channels: int) -> None:
        self._random = Random(1)
        self._channels = [
            (f"user-{2 * n:05}", f"user-{2 * n + 1:05}", n % PARTITIONS_DEFAULT)
            for n in range(channels)
        ]
        self._request = 0

    def frame(self, size: int) -> Propose:
        """One turn's messages."""
        items: list[RoutedItem] = []
        while len(items) < size:
            one, other, partition = self._random.choice(self._channels)
            if self._random.random() < 0.5:
                one, other = other, one
            channel = person_channel_id(one, other)
            for _ in range(min(2, size - len(items))):
                self._request += 1
                number = f"{self._request:032x}3"
                send = SendMessage(ChannelType.PERSON, channel, one, number, PAYLOAD, flags=2)
                body = encode(send)
                items.append(RoutedItem(7, self._request, partition, ItemKind.WRITE, body))
        return Propose(items)


class Storage:
    """A core over real stores, and the time that its parts took."""

    def __init__(self, folder: Path, channels: int) -> None:
        partitions = PARTITIONS_DEFAULT
        while partitions < channels:
            partitions *= 2
        ring = RingDocument(1, partitions, 1, 1, ((STORAGE,),) * partitions)
        self.stores = Stores(
            open_journal(folder / "raft", create=True),
            open_rows(folder / "state", create=True),
            DurableMark(folder / "durable.mark", partitions + 1, create=True),
            DiskRoom(folder),
        )
        self.seconds = {"core": 0.0, "journal": 0.0, "rows": 0.0}
        self.worst_ms = 0.0
        self._now = 0
        journal = self.stores.journal
        places = (Place(STORAGE),)
        record = born(CLUSTER, ring, places, {STORAGE: UUID}).with_complete(True)
        journal.write(first_batch(record, UUID))
        self.core = StorageCore(
            Peer(STORAGE, Role.STORAGE, UUID, Incarnation(1)),
            ring,
            self.stores.rows,
            journal,
            journal.load(),
            BirthCore(STORAGE, UUID, CLUSTER, ring, places, record),
            Random(1),
            0,
            storages=places,
            memory={},
        )
        while not self.core.serving:
            self.turn([])
        self.core.peer_up(0, Peer(ROUTER, Role.ROUTER, UUID, Incarnation(1)))
        self.core.view_changed(0, View((), (ROUTER,), (STORAGE,)))

    def turn(self, messages: list[Message]) -> list[Message]:
        """One turn as the shell performs it; what the router is sent."""
        began = perf_counter()
        self._now += 1
        core, stores = self.core, self.stores
        with _Clock(self.seconds, "core"):
            for message in messages:
                core.receive(self._now, ROUTER, message)
            effects = core.turn(self._now, WALL_MS + self._now)
        sent = []
        for effect in effects:
            match effect:
                case WriteJournal(batch):
                    with _Clock(self.seconds, "journal"):
                        stores.write_journal(batch, core.terms(batch.extents))
                case WriteState(rows):
                    with _Clock(self.seconds, "rows"):
                        stores.write_rows(rows)
                case Send():
                    sent.append(effect.message)
        self.worst_ms = max(self.worst_ms, (perf_counter() - began) * 1000)
        return sent


class _Clock:
    """Adds the processor time of a block to its sum."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds = seconds
        self._name = name

    def __enter__(self) -> None:
        self._began = thread_time()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] += thread_time() - self._began


def acks_of(sent: list[Message]) -> list[Message]:
    """What a router answers that delivered every notice."""
    return [
        NoticeAck(message.partition, message.term, message.items[-1].index)
        for message in sent
        if isinstance(message, Notices)
    ]


def frames(load: Load, messages: int, per_turn: int) -> Iterator[list[Propose]]:
    """All frames, some at a time."""
    turns = max(messages // per_turn, 1)
    for first in range(0, turns, TURNS_MADE):
        yield [load.frame(per_turn) for _ in range(min(TURNS_MADE, turns - first))]


def offer(storage: Storage, load: Load, messages: int, per_turn: int) -> float:
    """Run it all; the processor seconds of LevelDB's thread."""
    acks: list[Message] = []
    background = 0.0
    for made in frames(load, messages, per_turn):
        others = process_time() - thread_time()
        for frame in made:
            acks = acks_of(storage.turn([*acks, frame]))
        background += process_time() - thread_time() - others
    return background


def profiled(call: Callable[[], float]) -> float:
    """Call, and print where the time went."""
    profile = cProfile.Profile()
    result = profile.runcall(call)
    pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    return result


def main() -> None:
    arguments = docopt(__doc__ or "")
    per_turn, messages = int(arguments["--per-turn"]), int(arguments["--messages"])
    channels = int(arguments["--channels"])
    with TemporaryDirectory(prefix="storage_turn", dir=arguments["--folder"]) as folder:
        load, storage = Load(channels), Storage(Path(folder), channels)

        def run() -> float:
            return offer(storage, load, messages, per_turn)

        background = profiled(run) if arguments["--profile"] else run()
        storage.stores.close()
    parts = {name: seconds / messages * 1e6 for name, seconds in storage.seconds.items()}
    figures = "  ".join(f"{name} {figure:5.2f}" for name, figure in parts.items())
    print(
        f"{figures}  sum {sum(parts.values()):5.2f}  compaction {background / messages * 1e6:5.2f}"
        f" µs per message; longest turn {storage.worst_ms:.1f} ms"
    )


if __name__ == "__main__":
    main()
