"""Asking partitions: which router gets what, and asking again until there is an answer.

`Routers` knows the live routers and gathers this turn's items for each. `Requests` keeps what
was asked for HTTP, for CONNECT and for pulls: the same bytes are sent again after NOT_LEADER,
UNAVAILABLE or a bounce (pauses from NOT_LEADER_RETRY_MS doubling), after silence
(REQUEST_RETRY_MS), and as soon as a router says that it asks another storage now, until the
deadline. SENDs are kept by `sending`, with the same pauses.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any, Final

from zmqim import limits
from zmqim.bus.batches import runs_in_frames
from zmqim.bus.effects import Send, View
from zmqim.bus.messages import Item, ItemKind, OutcomeCode, Submit
from zmqim.chat.results import UserRow, decode_result
from zmqim.errors import WireError
from zmqim.gateway.wheel import Wheel
from zmqim.ids import NodeName, PartitionId
from zmqim.ring.document import RingDocument
from zmqim.ring.partitions import partition_of
from zmqim.ring.routers import Servants, owner_of

DONE: Final = int(OutcomeCode.DONE)
BUSY: Final = int(OutcomeCode.BUSY)
DISK_FULL: Final = int(OutcomeCode.DISK_FULL)
UNKNOWN: Final = int(OutcomeCode.UNKNOWN)
BAD_REQUEST: Final = int(OutcomeCode.BAD_REQUEST)
UNAVAILABLE: Final = int(OutcomeCode.UNAVAILABLE)

ITEM_OVERHEAD_BYTES: Final = 64
_DEFINITE: Final = (DONE, DISK_FULL, BAD_REQUEST)
_LEADERLESS: Final = (int(OutcomeCode.NOT_LEADER), UNAVAILABLE, UNKNOWN)

OnAnswer = Callable[[int, Any, int, bytes], None]
"""Called once with now, the argument given to `ask`, an `OutcomeCode` and the result."""


def longest_pause(code: int) -> int:
    """How far the pause grows while that is the answer: a new leader is there soon."""
    return limits.LEADER_RETRY_MS_MAX if code in _LEADERLESS else limits.REQUEST_RETRY_MS


class Numbers:
    """Request numbers: unique within this incarnation, over everything that is asked."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0

    def take(self) -> int:
        """The next number."""
        self.last += 1
        return self.last


class Routers:
    """The routers that can be asked now, and what this turn has for each of them."""

    def __init__(self, ring: RingDocument) -> None:
        self.live: tuple[NodeName, ...] = ()
        """Linked and alive as gossip sees it, sorted; linked ones alone while gossip sees none."""
        self._preferred: tuple[NodeName, ...] = ()
        """Those of them that are not suspected; all where everyone is."""
        self._suspected: tuple[NodeName, ...] = ()
        self._partitions = ring.partitions
        self._servants = Servants(ring.placement)
        self._linked: dict[NodeName, None] = {}
        self._seen: tuple[NodeName, ...] = ()
        self._by_partition: dict[int, tuple[NodeName, ...]] = {}
        self._submits: dict[NodeName, tuple[list[Sequence[Item]], list[int]]] = {}

    def partition_of(self, key: bytes) -> PartitionId:
        """The partition of a route key."""
        return partition_of(key, self._partitions)

    def up(self, name: NodeName) -> None:
        """A link to the router stands."""
        self._linked[name] = None
        self._changed()

    def down(self, name: NodeName) -> None:
        """The link is gone."""
        self._linked.pop(name, None)
        self._submits.pop(name, None)
        self._changed()

    def view_changed(self, view: View) -> list[NodeName]:
        """Gossip sees other live routers. Gives those that are asked no more: what they have goes
        to another one."""
        before = self._preferred
        self._seen, self._suspected = view.routers, view.suspected
        self._changed()
        return [name for name in before if name not in self._preferred]

    def _changed(self) -> None:
        both = tuple(name for name in self._seen if name in self._linked)
        self.live = both or tuple(sorted(self._linked))
        trusted = tuple(name for name in self.live if name not in self._suspected)
        self._preferred = trusted or self.live
        self._by_partition = {}

    def owner_of(self, partition: int) -> NodeName | None:
        """The router that rendezvous names for the partition among the live ones, None without any:
        logins have one owner, who stays it while it is only suspected."""
        return owner_of(PartitionId(partition), self.live)

    def router_for(self, partition: int, tries: int) -> NodeName | None:
        """Whom to ask about the partition, None without any: every router routes everything, so a
        suspected one is passed over.

        After each ROUTER_TRIES that came to nothing it is the next one.
        """
        routers = self._by_partition.get(partition)
        if routers is None:
            routers = self._servants.of(partition, self._preferred)
            self._by_partition[partition] = routers
        return routers[tries // limits.ROUTER_TRIES % len(routers)] if routers else None

    def submit(self, router: NodeName, items: Sequence[Item], size: int) -> None:
        """Put items, in order, into the turn's `Submit` for that router: all into the same one.

        So a leader that changes takes all of them or none. They keep to a frame's bounds; `size` is
        what they take of one, about.
        """
        waiting = self._submits.get(router)
        if waiting is None:
            waiting = self._submits[router] = ([], [])
        parts, sizes = waiting
        parts.append(items)
        sizes.append(size)

    def flush(self) -> list[Send]:
        """One `Submit` a router, more only where a frame's bounds are reached."""
        if not self._submits:
            return []
        submits, self._submits = self._submits, {}
        return [
            Send(name, Submit(items))
            for name, (parts, sizes) in submits.items()
            for items in runs_in_frames(parts, sizes)
        ]


class Asked:
    """One question that waits for its answer."""

    __slots__ = (
        "answer",
        "argument",
        "deadline",
        "item",
        "partition",
        "patience",
        "patient",
        "pause",
        "proposed",
        "retry_at",
        "router",
        "tries",
    )

    def __init__(
        self, item: Item, partition: int, deadline: int, answer: OnAnswer, argument: object
    ) -> None:
        self.item = item
        self.partition = partition
        self.deadline = deadline
        self.answer = answer
        self.argument = argument
        self.patient = False
        self.pause = limits.NOT_LEADER_RETRY_MS
        self.patience = limits.REQUEST_RETRY_MS
        self.retry_at = 0
        self.router: NodeName | None = None
        self.tries = 0
        self.proposed = False
        """Whether a leader may have taken it: then nobody knows the outcome at the deadline."""


class Requests:
    """Everything asked that is not a SEND."""

    def __init__(self, routers: Routers, wheel: Wheel, numbers: Numbers) -> None:
        self._routers = routers
        self._wheel = wheel
        self._numbers = numbers
        self._asked: dict[int, Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def ask(
        self,
        now: int,
        kind: int,
        key: bytes,
        body: bytes,
        deadline_ms: int,
        answer: OnAnswer,
        argument: object,
        patient: bool = False,
    ) -> None:
        """Ask the partition of `key`; `answer` is called exactly once, within `deadline_ms`.

        `patient`: BUSY is asked again like NOT_LEADER, for reads that nobody is told about.
        """
        if len(self._asked) >= limits.GATEWAY_REQUESTS_MAX:
            answer(now, argument, BUSY, b"")
            return
        item = Item(self._numbers.take(), key, kind, body)
        partition = self._routers.partition_of(key)
        asked = Asked(item, partition, now + deadline_ms, answer, argument)
        asked.patient = patient
        self._asked[item.request] = asked
        self._launch(now, asked)

    def _launch(self, now: int, asked: Asked, router: NodeName | None = None) -> None:
        router = router or self._routers.router_for(asked.partition, asked.tries)
        asked.router = router
        if router is None:
            self._again(now, asked, limits.LEADER_RETRY_MS_MAX)
            return
        size = len(asked.item.body) + ITEM_OVERHEAD_BYTES
        self._routers.submit(router, (asked.item,), size)
        asked.retry_at = now + asked.patience
        self._wheel.add(min(asked.retry_at, asked.deadline), self._due, asked)

    def _again(self, now: int, asked: Asked, longest: int) -> None:
        asked.router = None
        asked.tries += 1
        pause = min(asked.pause, longest)
        asked.pause = 2 * pause
        asked.retry_at = now + pause
        self._wheel.add(min(asked.retry_at, asked.deadline), self._due, asked)

    def _due(self, now: int, asked: Asked) -> None:
        if asked.item.request not in self._asked:
            return
        if asked.router is not None and now >= asked.retry_at:
            asked.proposed = True
            asked.tries += 1
            asked.patience = min(2 * asked.patience, limits.REQUEST_RETRY_MS_MAX)
        if now >= asked.deadline:
            if asked.router is not None:
                asked.proposed = True
            maybe = asked.proposed and asked.item.kind != ItemKind.READ
            self._finish(now, asked, UNKNOWN if maybe else UNAVAILABLE, b"")
        elif now >= asked.retry_at:
            self._launch(now, asked)

    def _finish(self, now: int, asked: Asked, code: int, result: bytes) -> None:
        del self._asked[asked.item.request]
        asked.answer(now, asked.argument, code, result)

    def answered(self, now: int, request: int, code: int, result: bytes) -> bool:
        """An answer came; False: it is for nobody here."""
        asked = self._asked.get(request)
        if asked is None:
            return False
        if self._is_definite(asked, code):
            self._finish(now, asked, code, result)
        elif asked.router is not None:
            asked.proposed = asked.proposed or code == UNKNOWN
            self._again(now, asked, longest_pause(code))
        return True

    def _is_definite(self, asked: Asked, code: int) -> bool:
        """Whether nothing else can become of it. A refusal says nothing of earlier attempts."""
        if code in (BUSY, DISK_FULL) and asked.proposed and asked.item.kind != ItemKind.READ:
            return False
        return code in _DEFINITE or (code == BUSY and not asked.patient)

    def bounced(self, now: int, request: int) -> bool:
        """The bus did not take the item; False: it is for nobody here."""
        asked = self._asked.get(request)
        if asked is None:
            return False
        self._again(now, asked, limits.REQUEST_RETRY_MS)
        return True

    def router_down(self, now: int, name: NodeName) -> None:
        """What that router had may be lost: ask another one soon."""
        for asked in list(self._asked.values()):
            if asked.router == name:
                asked.proposed = True
                self._again(now, asked, limits.LEADER_RETRY_MS_MAX)

    def leader_moved(self, now: int, name: NodeName, partitions: Container[int]) -> None:
        """That router asks another storage for these partitions now: what it has, and what waits
        out a pause, goes to it again."""
        for asked in [one for one in self._asked.values() if one.partition in partitions]:
            if asked.router in (None, name):
                asked.proposed = asked.proposed or asked.router is not None
                self._launch(now, asked, name)


def user_row(result: bytes) -> UserRow | None:
    """The answer to a `UserQuery`; None if it cannot be read."""
    try:
        row = decode_result(result)
    except WireError:
        return None
    return row if isinstance(row, UserRow) else None
