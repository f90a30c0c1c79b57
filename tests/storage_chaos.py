"""Three storages in any trouble, and what must hold when it is over.

Each seed draws a schedule of crashes (also in the middle of a turn), cuts, delays, stops, full
disks and hand-overs, with writes and reads in between at whoever is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import msgspec
from storage_trio import NAMES, Trio
from storage_world import GROUP, ROUTER, ack_of, message, notices_in, result_of

from zmqim.bus.messages import OutcomeCode, RoutedItem
from zmqim.chat.notices import MessageNotice, Notice
from zmqim.chat.operations import decode_send
from zmqim.chat.queries import MessagesQuery
from zmqim.chat.results import MessagesPage, Sent
from zmqim.ids import NodeName
from zmqim.storage.core import StorageCore

STEPS = 150
OPEN = (OutcomeCode.DONE, OutcomeCode.UNKNOWN)
"""Whoever hears one of these must take the message for stored, or perhaps stored."""
READS_MAX = 100
PATIENCE_MS = 20
EVERYTHING = MessagesQuery(GROUP, "g", "", 1, 0, 10_000, 1, False)


@dataclass
class Chaos:
    """A schedule, and what was asked in it."""

    seed: int
    core: type[StorageCore] = StorageCore
    sent: dict[str, RoutedItem] = field(default_factory=dict)
    reads: list[tuple[RoutedItem, set[str]]] = field(default_factory=list)
    """Each with the numbers of the messages that were acknowledged when it was asked."""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.trio = Trio(core=self.core)
        self.trio.add("g", "alice")

    def run(self) -> list[str]:
        """What is broken at the end."""
        for _ in range(STEPS):
            self.step()
        self.end()
        return list(self.complaints())

    def acknowledged(self) -> dict[str, Sent]:
        found = {}
        for number, item in self.sent.items():
            outcome = self.trio.outcome(item)
            if outcome is not None and outcome.code == OutcomeCode.DONE:
                result = result_of(outcome)
                assert isinstance(result, Sent)
                found[number] = result
        return found

    def step(self) -> None:
        trio, random = self.trio, self.random
        name = random.choice(NAMES)
        other = random.choice([one for one in NAMES if one != name])
        member = trio[name]
        living = [one for one in NAMES if trio[one].is_alive]
        what = random.randrange(20)
        if what < 7:
            self.ask(name)
        elif what < 12:
            trio.run(random.choice((0, 1, 2, 5, 20, 60, 300)))
        elif what == 12 and len(living) > 1 and member.is_alive:
            trio.crash(name)
        elif what == 13 and len(living) > 1 and member.is_alive:
            trio.turn(name, random.randrange(8))
        elif what == 14:
            trio.cut(name, random.choice((NAMES, (other,))))
        elif what == 15:
            trio.hold(name, other)
        elif what == 16:
            member.is_stopped = random.random() < 0.5
            member.core.disk_state(trio.now, random.random() < 0.2)
        else:
            trio.heal()
            member.is_stopped = False
            self.boot()
            leader = trio.leader()
            if leader is not None and other != leader and random.random() < 0.3:
                trio.group(leader).raft.hand_over(trio.now, trio.group(other).raft.replica)
            trio.run(random.choice((1, 200, 1_000, 3_000)))

    def ask(self, name: NodeName) -> None:
        trio, random = self.trio, self.random
        if random.random() < 0.7:
            name = trio.leader() or name
        if not trio[name].is_alive:
            return
        for _ in range(random.randint(1, 4)):
            number = str(len(self.sent))
            self.sent[number] = trio.put(name, message("alice", "g", number))
        if random.random() < 0.5:
            self.reads.append((trio.ask(name, EVERYTHING), set(self.acknowledged())))
        notices = trio.notices(name)
        if notices and random.random() < 0.3:
            acknowledged = ack_of(0, trio.group(name).raft.term, random.choice(notices))
            trio[name].core.receive(trio.now, ROUTER, acknowledged)

    def boot(self) -> None:
        for name in NAMES:
            if not self.trio[name].is_alive:
                self.trio.boot(name)

    def end(self) -> None:
        """Everything is put right."""
        trio = self.trio
        for name in NAMES:
            trio[name].is_stopped = False
        self.boot()
        trio.heal()
        for name in NAMES:
            trio[name].core.disk_state(trio.now, False)
        trio.until(lambda: trio.leader() is not None)
        trio.run(500)
        trio.until(trio.applied_alike)

    def final(self) -> MessagesPage:
        """What is stored; asked again while a lead goes home."""
        for _ in range(READS_MAX):
            self.trio.until(lambda: self.trio.leader() is not None)
            read = self.trio.ask(self.trio.leader() or NAMES[0], EVERYTHING)
            self.trio.answered(read)
            page = read_page(self, read)
            if page is not None:
                return page
            self.trio.run(PATIENCE_MS)  # a refusal comes at once: virtual time has to pass
        raise AssertionError("the last read was always refused")

    def complaints(self) -> Iterator[str]:
        """Each begins with the name of a law."""
        if len(self.trio.digests()) > 1:
            yield "rows differ"
        stored = numbers_in(self.final())
        sequences = sorted(sequence for sequence, _ in stored.values())
        if sequences != list(range(1, len(stored) + 1)):
            yield f"sequences have gaps: {sequences}"
        for number, sent in self.acknowledged().items():
            if stored.get(number) != (sent.sequence, sent.message_id):
                yield f"acknowledged and lost: {number} as {sent}, not {stored.get(number)}"
        for number, item in self.sent.items():
            outcome = self.trio.outcome(item)
            if outcome is not None and outcome.code not in OPEN and number in stored:
                yield f"refused and stored: {number} with {outcome.code}"
        for read, before in self.reads:
            page = read_page(self, read)
            if page is not None and not before <= numbers_in(page).keys():
                yield f"a read misses {before - numbers_in(page).keys()}"
        if self.pushed() != set(sequences):
            yield f"not pushed: {set(sequences) - self.pushed()}"

    def pushed(self) -> set[int]:
        """The sequences that routers were told."""
        return {
            notice.sequence
            for name in NAMES
            for item in notices_in(self.trio[name].sent)
            if isinstance(notice := msgspec.msgpack.decode(item.body, type=Notice), MessageNotice)
        }


def numbers_in(page: MessagesPage) -> dict[str, tuple[int, int]]:
    """(sequence, message id) by client_msg_no."""
    found = {}
    for row in page.messages:
        number = decode_send(row.operation).client_msg_no
        assert number not in found
        found[number] = (row.sequence, row.message_id)
    return found


def read_page(chaos: Chaos, item: RoutedItem) -> MessagesPage | None:
    outcome = chaos.trio.outcome(item)
    if outcome is None or outcome.code != OutcomeCode.DONE:
        return None
    page = result_of(outcome)
    assert isinstance(page, MessagesPage)
    return page
