"""Which storage gets an item, and who gets the answer.

An item's route key decides its partition, the ring (corrected by what storages said) the leader.
All items of a turn for one storage travel in one `Propose`, all answers of a turn for one gateway
in one `Answers`. Nothing is kept for an item on its way: who asked travels along as `origin`, a
small number for one life of one process. The gateway alone sends again (docs/ARCHITECTURE.md 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

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
from zmqim.limits import BATCH_BYTES_MAX, BATCH_ITEMS_MAX

OWN_ORIGIN = 0
"""The router itself asks, for members."""
PARTITION_CACHE_MAX = 65_536
"""Route keys whose partition is remembered. Full: forgotten at once, computed anew."""

_Sized = TypeVar("_Sized", RoutedItem, Answer)


class Ring(Protocol):
    """What the router needs of `zmqim.ring`'s document."""

    @property
    def partitions(self) -> int: ...
    def leader_of(self, partition: PartitionId) -> NodeName: ...


class Routing:
    """Items to storages and outcomes back. `partition_of` hashes a route key."""

    def __init__(self, ring: Ring, partition_of: Callable[[bytes], PartitionId]) -> None:
        self._ring = ring
        self._partition_of = partition_of
        self._partitions: dict[bytes, PartitionId] = {}
        self._leaders = [ring.leader_of(PartitionId(one)) for one in range(ring.partitions)]
        self._linked: set[NodeName] = set()
        self._proposals: dict[NodeName, list[RoutedItem]] = {}
        self._answers: dict[NodeName, list[Answer]] = {}
        self._own_outcomes: list[Outcome] = []
        self._origins: dict[NodeName, tuple[Peer, int]] = {}
        self._names: dict[int, NodeName] = {}
        self._last_origin = OWN_ORIGIN
        self.items_routed = 0
        self.items_in_flight = 0
        self.items_refused = 0

    # Peers ---------------------------------------------------------------------------------------

    def peer_up(self, peer: Peer) -> None:
        """A process may ask and be asked; a new life gets a new origin number."""
        self._linked.add(peer.name)
        known = self._origins.get(peer.name)
        if known is None or known[0] != peer:
            if known is not None:
                del self._names[known[1]]
            self._last_origin += 1
            self._origins[peer.name] = (peer, self._last_origin)
            self._names[self._last_origin] = peer.name

    def peer_down(self, name: NodeName) -> None:
        """No link: what it leads goes to whom the ring says, once that has changed."""
        self._linked.discard(name)
        for partition, leader in enumerate(self._leaders):
            if leader == name:
                self._leaders[partition] = self._ring.leader_of(PartitionId(partition))

    def learn_leader(self, partition: PartitionId, leader: NodeName) -> None:
        """A storage leads that partition: it said so, or the one that was asked did."""
        if leader in self._linked:
            self._leaders[partition] = leader

    # Asking --------------------------------------------------------------------------------------

    def submit(self, source: NodeName, items: Sequence[Item]) -> None:
        """Route a batch; what has no link is answered UNAVAILABLE at once."""
        origin = self._origins[source][1]
        partitions = self._partitions
        leaders = self._leaders
        linked = self._linked
        proposals = self._proposals
        self.items_in_flight += len(items)
        for item in items:
            partition = partitions.get(item.key)
            if partition is None:
                partition = self._remember(item.key)
            leader = leaders[partition]
            routed = RoutedItem(origin, item.request, partition, item.kind, item.body)
            if leader in proposals:
                proposals[leader].append(routed)
            elif leader in linked:
                proposals[leader] = [routed]
            else:
                self._refuse(routed, OutcomeCode.UNAVAILABLE)
        self.items_routed += len(items)

    def ask(self, partition: PartitionId, request: int, query: bytes) -> None:
        """A question of the router itself; the outcome comes from `take_own_outcomes`."""
        leader = self._leaders[partition]
        self.items_in_flight += 1
        item = RoutedItem(OWN_ORIGIN, request, partition, ItemKind.READ, query)
        if leader in self._linked:
            self._proposals.setdefault(leader, []).append(item)
        else:
            self._refuse(item, OutcomeCode.UNAVAILABLE)

    def _remember(self, key: bytes) -> PartitionId:
        if len(self._partitions) >= PARTITION_CACHE_MAX:
            self._partitions.clear()
        partition = self._partitions[key] = self._partition_of(key)
        return partition

    # Answering -----------------------------------------------------------------------------------

    def outcomes(self, items: Sequence[Outcome]) -> None:
        """Hand outcomes to whoever asked. NOT_LEADER corrects who leads."""
        names = self._names
        answers = self._answers
        self.items_in_flight = max(0, self.items_in_flight - len(items))
        for item in items:
            code = item.code
            if code == OutcomeCode.NOT_LEADER:
                self._correct(PartitionId(item.partition), item.result)
            name = names.get(item.origin)
            if name is None:
                if item.origin == OWN_ORIGIN:
                    self._own_outcomes.append(item)
                continue
            answer = Answer(item.request, code, item.result)
            if name in answers:
                answers[name].append(answer)
            else:
                answers[name] = [answer]

    def undelivered(self, to: NodeName, proposal: Propose) -> None:
        """The bus refused a `Propose`: nothing of it was proposed."""
        code = OutcomeCode.BUSY if to in self._linked else OutcomeCode.UNAVAILABLE
        for item in proposal.items:
            self._refuse(item, code)

    def _refuse(self, item: RoutedItem, code: OutcomeCode) -> None:
        self.items_refused += 1
        self.outcomes([Outcome(item.origin, item.request, item.partition, code, b"")])

    def _correct(self, partition: PartitionId, result: bytes) -> None:
        if not 0 <= partition < len(self._leaders):
            return
        hinted = NodeName(result.decode("utf-8", "replace"))
        self._leaders[partition] = (
            hinted if hinted in self._linked else self._ring.leader_of(partition)
        )

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
                for batch in _batches(items, [len(one.result) for one in items]):
                    yield Send(name, Answers(batch))
        proposals, self._proposals = self._proposals, {}
        for name, proposed in proposals.items():
            for part in _batches(proposed, [len(one.body) for one in proposed]):
                yield Send(name, Propose(part))


def _batches(items: list[_Sized], sizes: list[int]) -> list[list[_Sized]]:
    """`items` cut so that each part keeps to BATCH_ITEMS_MAX and BATCH_BYTES_MAX."""
    if len(items) <= BATCH_ITEMS_MAX and sum(sizes) <= BATCH_BYTES_MAX:
        return [items]
    batch: list[_Sized] = []
    batches = [batch]
    bytes_left = BATCH_BYTES_MAX
    for item, size in zip(items, sizes, strict=True):
        bytes_left -= size
        if batch and (bytes_left < 0 or len(batch) >= BATCH_ITEMS_MAX):
            batch = []
            batches.append(batch)
            bytes_left = BATCH_BYTES_MAX - size
        batch.append(item)
    return batches
