"""Notices and outbox rows of the partitions that this storage leads, on their way to routers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zmqim.bus.batches import notices_of
from zmqim.bus.effects import Send, View
from zmqim.bus.messages import Item, NoticeItem, Notices
from zmqim.chat.encoding import encode
from zmqim.chat.operations import Notified, OutboxDone
from zmqim.ids import NodeName
from zmqim.raft.peers import NEVER
from zmqim.ring.placement import Placement
from zmqim.ring.routers import Servants
from zmqim.storage.effects import Effect
from zmqim.storage.group import Group
from zmqim.storage.items import submits_of
from zmqim.store.interface import JournalReader

BOOK_MS: Final = 1_000
"""How often a partition's log takes down what was acknowledged outside."""
_NO_VIEW: Final = View((), (), ())


class Pushing:
    """Which router serves a partition, and what it is owed."""

    def __init__(self, journal: JournalReader, placement: Placement) -> None:
        self.busy: dict[int, Group] = {}
        """Partitions with something to be sent, repeated or booked."""
        self.look_at = 0
        """When the first of the busy ones is due; in between a turn looks at those it touched."""
        self.linked: set[NodeName] = set()
        """Routers with a link."""
        self._journal = journal
        self._servants = Servants(placement)
        self._seen = _NO_VIEW
        self._routers: dict[int, NodeName | None] = {}
        self._live: list[NodeName] = []

    # ---- routers ---------------------------------------------------------------------------------

    def router_up(self, name: NodeName) -> None:
        """A link to a router stands; its new life knows nothing of what the old one got."""
        self.linked.add(name)
        for group in self.busy.values():
            if group.duties is not None:
                group.duties.notices.again(name)
        self._place()

    def router_down(self, name: NodeName) -> None:
        """The link is gone."""
        self.linked.discard(name)
        self._place()

    def view_changed(self, view: View) -> None:
        """Gossip sees other live processes."""
        self._seen = view
        self._place()

    def router(self, partition: int) -> NodeName | None:
        """Who serves the partition: of the linked routers, one that gossip sees alive."""
        if partition not in self._routers:
            self._routers[partition] = next(iter(self._servants.of(partition, self._live)), None)
        return self._routers[partition]

    def _place(self) -> None:
        seen = [router for router in self._seen.routers if router in self.linked]
        self._live = seen or sorted(self.linked)
        self._routers = {}
        self.look_at = 0

    def acknowledged(self, now: int, group: Group | None, index: int) -> None:
        """A router has taken care of the notices up to `index` of the partition, if it is led."""
        if group is None or group.duties is None:
            return
        group.duties.notices.acknowledge(now, index)
        due = 0 if group.notices_readable else group.book_at
        self.look_at = min(self.look_at, due)

    # ---- the turn --------------------------------------------------------------------------------

    def note(self, group: Group) -> None:
        """Something happened to the partition: it may owe something now."""
        if group.partition not in self.busy and group.busy:
            self.busy[group.partition] = group

    def book(self, now: int, wall_ms: int) -> list[Group]:
        """Log, once in a while, what was acknowledged outside; the partitions that did."""
        booked = []
        for group in self.busy.values():
            raft, duties = group.raft, group.duties
            if now < group.book_at or duties is None or not raft.accepts or not group.unbooked:
                continue
            group.book_at = now + BOOK_MS
            booked.append(group)
            is_news = duties.notices.acknowledged > group.state.applied.notified
            if is_news or duties.stamp_wanted:
                duties.stamp_wanted = False
                raft.propose(encode(Notified(duties.notices.acknowledged)), wall_ms)
            if duties.outbox.delivered > duties.outbox_logged:
                duties.outbox_logged = duties.outbox.delivered
                raft.propose(encode(OutboxDone(duties.outbox_logged)), wall_ms)
        return booked

    def transient(
        self, transient: Mapping[int, list[NoticeItem]], terms: Mapping[int, Group]
    ) -> dict[NodeName, list[Notices]]:
        """Notices of messages that are not logged, by router; without one they are lost."""
        found: dict[NodeName, list[Notices]] = {}
        for partition, items in transient.items():
            router = self.router(partition)
            if router is not None:
                term = terms[partition].raft.term
                found.setdefault(router, []).append(Notices(partition, term, 0, items))
        return found

    def push(
        self,
        now: int,
        groups: Mapping[int, Group],
        batches: dict[NodeName, list[Notices]],
        effects: list[Effect],
        *,
        can_book: bool,
    ) -> None:
        """Notices and outbox rows of `groups` to the routers that serve their partitions, behind
        the `batches` that are on their way there."""
        submits: dict[NodeName, list[Item]] = {}
        idle = []
        for partition, group in groups.items():
            duties = group.duties
            if duties is None:
                if partition in self.busy:
                    idle.append(partition)
                continue
            router = self.router(partition)
            notices = duties.notices
            if router is not None:
                if notices.missing_from is not None:
                    group.read_notices(self._journal)
                if not duties.outbox.idle:
                    submits.setdefault(router, []).extend(duties.outbox.take(now))
            taken = notices.take(now, router, group.raft.term)
            if taken:
                assert router is not None
                batches.setdefault(router, []).extend(taken)
            if group.busy or duties.outbox_asked:
                self.look_at = min(self.look_at, self._due_at(group, router, can_book))
            else:
                idle.append(partition)
        for router, told in batches.items():
            effects += [Send(router, frame) for frame in notices_of(told)]
        for router, owed in submits.items():
            if owed:
                effects += [Send(router, frame) for frame in submits_of(owed)]
        for partition in idle:
            self.busy.pop(partition, None)

    def _due_at(self, group: Group, router: NodeName | None, can_book: bool) -> int:
        """When the partition must be looked at again without being touched."""
        due = NEVER
        duties = group.duties
        assert duties is not None
        if router is not None:
            due = duties.notices.due_at()
            if not duties.outbox.idle:
                due = min(due, duties.outbox.due_at())
        if group.book_at < due and group.unbooked and can_book:
            due = group.book_at
        for _, deadline, _, _ in duties.outbox_asked:
            due = min(due, deadline)
        return due
