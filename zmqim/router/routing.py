"""Which storage gets an item, and who gets the answer.

An item's route key decides its partition. Who leads that partition is told by storages (`Leading`,
`Notices`), and of two the higher term is right. While nobody told, the voters are asked in the
order of the ring: the next one after each NOT_LEADER that names no other. An item goes to exactly
one storage: the gateway alone sends again, and is told when that is worth while, because another
storage leads now (`take_moved`; docs/ARCHITECTURE.md 4).

All items of a turn for one storage travel in one `Propose`, all answers of a turn for one gateway
in one `Answers`. What came in one `Submit` for one storage is never cut in two: a storage that
took the second half of a batch and not the first would change the order of a sender's messages.
Nothing is kept for an item on its way: who asked travels along as `origin`, a small number for one
life of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from msgspec.structs import astuple

from zmqim.bus.batches import in_frames, runs_in_frames
from zmqim.bus.effects import Peer, Send
from zmqim.bus.messages import (
    Answer,
    Answers,
    Item,
    ItemKind,
    Outcome,
    OutcomeCode,
    Propose,
    RoutedItem,
)
from zmqim.ids import NodeName, PartitionId

OWN_ORIGIN: Final = 0
"""The router itself asks, for members."""
PARTITION_CACHE_MAX = 65_536
"""Route keys whose partition is remembered. Full: forgotten at once, computed anew. (Tests set
it, so it is not `Final`.)"""

_NOT_LEADER: Final = int(OutcomeCode.NOT_LEADER)
_fields_of: Final = astuple
"""All fields of a struct by one call, where each by its name would cost compiled code as much."""


class Ring(Protocol):
    """What the router needs of `zmqim.ring`'s document."""

    @property
    def partitions(self) -> int: ...
    def voters_of(self, partition: PartitionId) -> tuple[NodeName, ...]: ...


class Routing:
    """Items to storages and outcomes back. `partition_of` hashes a route key."""

    def __init__(self, ring: Ring, partition_of: Callable[[bytes], PartitionId]) -> None:
        self._partition_of = partition_of
        self._partitions: dict[bytes, PartitionId] = {}
        self._voters = [ring.voters_of(PartitionId(one)) for one in range(ring.partitions)]
        self._asked: list[NodeName | None] = [None] * ring.partitions
        """Whom each partition's items go to, always linked; None: no voter is linked."""
        self._told = [False] * ring.partitions
        """Whether that one is held for the leader; else it is only the next to be asked."""
        self._terms = [0] * ring.partitions
        """The highest term in which somebody said that it leads."""
        self._moved: dict[PartitionId, None] = {}
        self._linked: set[NodeName] = set()
        self._proposals: dict[NodeName, list[list[RoutedItem]]] = {}
        """The parts of this turn's Submits for each storage; no part is ever cut."""
        self._answers: dict[NodeName, list[Answer]] = {}
        self._own_outcomes: list[Outcome] = []
        self._origins: dict[NodeName, tuple[Peer, int]] = {}
        self._names: dict[int, NodeName] = {}
        self._last_origin = OWN_ORIGIN
        self.items_routed = 0
        self.items_in_flight = 0
        self.items_refused = 0
        self.leader_moves = 0

    # Peers ---------------------------------------------------------------------------------------

    def peer_up(self, peer: Peer) -> None:
        """A process may ask and be asked; a new life gets a new origin number."""
        name = peer.name
        self._linked.add(name)
        known = self._origins.get(name)
        if known is None or known[0] != peer:
            if known is not None:
                del self._names[known[1]]
            self._last_origin += 1
            self._origins[name] = (peer, self._last_origin)
            self._names[self._last_origin] = name
        for partition, voters in enumerate(self._voters):
            if name in voters and not self._told[partition]:
                self._asked[partition] = self._linked_after(partition, -1)

    def peer_down(self, name: NodeName) -> None:
        """No link: whatever was sent there may be lost, and the next voter is asked."""
        self._linked.discard(name)
        for partition, asked in enumerate(self._asked):
            if asked == name:
                self._ask_next(partition, name)
                self._moved[PartitionId(partition)] = None

    # Who leads -----------------------------------------------------------------------------------

    def learn_leader(self, partition: int, leader: NodeName, term: int) -> None:
        """A storage says that it leads and serves `partition` in `term`.

        It knows better than the ring who the voters are, so it need not be one of the ring's.
        """
        if not 0 <= partition < len(self._voters) or leader not in self._linked:
            return
        known = self._terms[partition]
        if term < known:
            return
        if term > known or self._asked[partition] != leader:
            self._moved[PartitionId(partition)] = None
            self.leader_moves += 1
        self._terms[partition] = term
        self._asked[partition] = leader
        self._told[partition] = True

    def _not_leader(self, source: NodeName, partition: int, result: bytes) -> None:
        """The storage that is asked does not lead: ask whom it names, or the next voter.

        Only the first of a batch's answers moves on; what others say is of the past.
        """
        if not 0 <= partition < len(self._voters) or self._asked[partition] != source:
            return
        hint = NodeName(result.decode("utf-8", "replace"))
        if hint != source and hint in self._linked and hint in self._voters[partition]:
            self._asked[partition] = hint
            self._told[partition] = True
        else:
            self._ask_next(partition, source)

    def _ask_next(self, partition: int, after: NodeName) -> None:
        voters = self._voters[partition]
        place = voters.index(after) if after in voters else -1
        self._told[partition] = False
        self._asked[partition] = self._linked_after(partition, place)

    def _linked_after(self, partition: int, place: int) -> NodeName | None:
        """The first linked voter behind that place of the ring's order, all the way round."""
        voters = self._voters[partition]
        order = voters[place + 1 :] + voters[: place + 1]
        return next((name for name in order if name in self._linked), None)

    def take_moved(self) -> list[PartitionId]:
        """Partitions of which another storage is asked now, or one that serves only now."""
        moved = sorted(self._moved)
        self._moved.clear()
        return moved

    # Asking --------------------------------------------------------------------------------------

    def submit(self, source: NodeName, items: Sequence[Item]) -> None:
        """Route a batch; what has no link is answered UNAVAILABLE at once."""
        origin = self._origins[source][1]
        partitions = self._partitions
        asked = self._asked
        parts: dict[NodeName, list[RoutedItem]] = {}
        self.items_in_flight += len(items)
        for item in items:
            request, key, kind, body = _fields_of(item)
            partition = partitions.get(key)
            if partition is None:
                partition = self._remember(key)
            storage = asked[partition]
            routed = RoutedItem(origin, request, partition, kind, body)
            if storage is None:
                self._refuse(routed, OutcomeCode.UNAVAILABLE)
                continue
            part = parts.get(storage)
            if part is None:
                parts[storage] = [routed]
            else:
                part.append(routed)
        for storage, part in parts.items():
            self._propose(storage, part)
        self.items_routed += len(items)

    def ask(self, partition: PartitionId, request: int, query: bytes) -> None:
        """A question of the router itself; the outcome comes from `take_own_outcomes`."""
        storage = self._asked[partition]
        self.items_in_flight += 1
        item = RoutedItem(OWN_ORIGIN, request, partition, ItemKind.READ, query)
        if storage is None:
            self._refuse(item, OutcomeCode.UNAVAILABLE)
        else:
            self._propose(storage, [item])

    def _propose(self, storage: NodeName, part: list[RoutedItem]) -> None:
        self._proposals.setdefault(storage, []).append(part)

    def _remember(self, key: bytes) -> PartitionId:
        if len(self._partitions) >= PARTITION_CACHE_MAX:
            self._partitions.clear()
        partition = self._partitions[key] = self._partition_of(key)
        return partition

    # Answering -----------------------------------------------------------------------------------

    def outcomes(self, source: NodeName, items: Sequence[Outcome]) -> None:
        """Hand a storage's outcomes to whoever asked. NOT_LEADER corrects who is asked."""
        self.items_in_flight = max(0, self.items_in_flight - len(items))
        for item in items:
            origin, request, partition, code, result = _fields_of(item)
            if code == _NOT_LEADER:
                self._not_leader(source, partition, result)
            if origin == OWN_ORIGIN:
                self._own_outcomes.append(item)
            else:
                self._answer(origin, request, code, result)

    def _answer(self, origin: int, request: int, code: int, result: bytes) -> None:
        name = self._names.get(origin)
        if name is None:
            return
        answer = Answer(request, code, result)
        answers = self._answers.get(name)
        if answers is None:
            self._answers[name] = [answer]
        else:
            answers.append(answer)

    def undelivered(self, to: NodeName, proposal: Propose) -> None:
        """The bus refused a `Propose`: nothing of it was proposed."""
        code = OutcomeCode.BUSY if to in self._linked else OutcomeCode.UNAVAILABLE
        for item in proposal.items:
            self._refuse(item, code)

    def _refuse(self, item: RoutedItem, code: OutcomeCode) -> None:
        self.items_refused += 1
        self.items_in_flight = max(0, self.items_in_flight - 1)
        if item.origin == OWN_ORIGIN:
            outcome = Outcome(OWN_ORIGIN, item.request, item.partition, code, b"")
            self._own_outcomes.append(outcome)
        else:
            self._answer(item.origin, item.request, code, b"")

    # End of the turn -----------------------------------------------------------------------------

    def take_own_outcomes(self) -> list[Outcome]:
        """Answers to the router's own questions."""
        outcomes = self._own_outcomes
        if outcomes:
            self._own_outcomes = []
        return outcomes

    def take_sends(self) -> Iterator[Send]:
        """What gathered: answers first, then proposals."""
        answers, self._answers = self._answers, {}
        for name, items in answers.items():
            if name in self._linked:
                for batch in in_frames(items, [len(item.result) for item in items]):
                    yield Send(name, Answers(batch))
        proposals, self._proposals = self._proposals, {}
        for name, parts in proposals.items():
            # A part comes from one Submit and stays whole.
            sizes = [sum([len(item.body) for item in part]) for part in parts]
            for proposed in runs_in_frames(parts, sizes):
                yield Send(name, Propose(proposed))
