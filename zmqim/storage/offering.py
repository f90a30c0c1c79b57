"""Snapshots that this storage sends to followers of the groups that it leads.

A follower whose next entry the log does not hold any more, or that lost its rows, gets the rows
themselves. A snapshot is opened at the beginning of a turn: everything that earlier turns applied
is stored then and nothing else is, so its rows are exactly those as of `Applied`. The follower
pulls it chunk by chunk; one chunk a turn and a token bucket leave room for everybody else.

An offer may be lost and is repeated; it always names the same snapshot while that one is of use,
so that a follower goes on where it was. It is closed when the follower has caught up or is silent,
and when the lead is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from zmqim.bus.effects import Send
from zmqim.bus.replication import SnapshotChunk, SnapshotOffer, SnapshotPull
from zmqim.chat.keys import PREFIX_BYTES, Keys
from zmqim.ids import NodeName
from zmqim.limits import (
    SNAPSHOT_AGE_MS_MAX,
    SNAPSHOT_BYTES_PER_SECOND,
    SNAPSHOT_SILENCE_MS,
    SNAPSHOTS_PER_NODE_MAX,
)
from zmqim.raft.groups import Groups
from zmqim.raft.peers import NEVER
from zmqim.raft.progress import Sending
from zmqim.storage.holdings import Holdings
from zmqim.storage.replica import Replica
from zmqim.storage.sizes import Sizes
from zmqim.store.interface import RowSnapshot, RowStore

if TYPE_CHECKING:
    from zmqim.raft.leader import Lead


class _Feed:
    """One snapshot on its way to one replica."""

    __slots__ = ("keys", "name", "offer", "opened_at", "pulled_at", "rows", "wanted")

    def __init__(
        self, now: int, name: NodeName, offer: SnapshotOffer, rows: RowSnapshot, keys: Keys
    ) -> None:
        self.name = name
        self.offer = offer
        self.rows = rows
        self.keys = keys
        """Of the install number that the snapshot shows."""
        self.opened_at = now
        self.pulled_at = now
        self.wanted: bytes | None = None
        """The pull that is not answered yet."""


class Offering:
    """All snapshots that this storage sends."""

    def __init__(
        self, holdings: Holdings, replicas: Groups, rows: RowStore, sizes: Sizes, now: int
    ) -> None:
        self.counters = dict.fromkeys(("snapshots_opened", "snapshot_bytes_sent"), 0)
        self._holdings = holdings
        self._replicas = replicas
        self._rows = rows
        self._sizes = sizes
        self._feeds: dict[tuple[int, int], _Feed] = {}
        """By partition and replica, the next to be served first."""
        self._wanting: set[int] = set()
        """Partitions with followers that wait for an offer."""
        self._is_news = False
        self._last = 0
        self._tokens = SNAPSHOT_BYTES_PER_SECOND // 8
        self._filled_at = now

    @property
    def open(self) -> int:
        """How many snapshots are open."""
        return len(self._feeds)

    def next_wake(self) -> int:
        """When a turn is needed at the latest; 0: at once."""
        if self._is_news:
            return 0
        if all(feed.wanted is None for feed in self._feeds.values()):
            return NEVER
        missing = 1 - self._tokens
        return 0 if missing <= 0 else self._filled_at + _ms_for(missing)

    # ---- offering --------------------------------------------------------------------------------

    def note(self, touched: Iterable[Replica]) -> None:
        """Something happened to these groups: their followers may need a snapshot."""
        for group in touched:
            lead = group.raft.lead
            if lead is not None and lead.wants_snapshot:
                self._wanting.add(group.partition)
                self._is_news = True

    @property
    def is_wanted(self) -> bool:
        """Does somebody wait for a snapshot, so that everything applied should be stored?"""
        return self._is_news

    def offers(self, now: int, *, is_stored: bool) -> list[Send]:
        """Called when a turn begins: open what is wanted, offer it, if what is applied is stored
        and nothing else is (`is_stored`)."""
        for key, feed in list(self._feeds.items()):
            if self._is_over(now, key, feed):
                self._close(key)
        if not is_stored:
            return []
        self._is_news = False
        found: list[Send] = []
        for partition in sorted(self._wanting):
            group = self._holdings.replica(partition)
            lead = None if group is None else group.raft.lead
            if group is None or lead is None:
                self._wanting.discard(partition)
                continue
            for replica in sorted(lead.wants_snapshot):
                self._offer(now, group, lead, replica, found)
            if not lead.wants_snapshot:
                self._wanting.discard(partition)
        return found

    def _offer(self, now: int, group: Replica, lead: Lead, replica: int, found: list[Send]) -> None:
        name = self._replicas.peers.name_of(group.raft, replica)
        if name is None or not lead.needs_snapshot(replica):
            lead.wants_snapshot.discard(replica)
            return
        if lead.progress[replica].is_damaged and not group.raft.serving:
            return  # Only rows of this term heal it. Others may be needed to begin the term.
        key = (group.partition, replica)
        feed = self._feeds.get(key)
        if feed is not None and feed.offer.index + 1 < group.raft.log.first:
            self._close(key)
            feed = None
        if feed is None:
            fed = sum(feed.name == name for feed in self._feeds.values())
            if fed >= SNAPSHOTS_PER_NODE_MAX:
                return
            feed = self._feeds[key] = self._opened(now, name, group, replica)
        lead.feed_snapshot(now, replica, feed.offer.index)
        found.append(Send(name, feed.offer))

    def _opened(self, now: int, name: NodeName, group: Replica, replica: int) -> _Feed:
        raft, applied = group.raft, group.machine.applied
        assert raft.applied == applied.index
        term, chain = raft.log.at(applied.index)
        assert term == applied.term
        self._last += 1
        self.counters["snapshots_opened"] += 1
        identity = raft.identity
        partition, history, me = identity.partition, identity.group, identity.replica
        offer = SnapshotOffer(
            partition,
            history,
            me,
            replica,
            raft.term,
            self._last,
            applied.index,
            term,
            chain,
            applied.hlc,
        )
        keys = Keys(partition, group.meta.install)
        return _Feed(now, name, offer, self._rows.snapshot(), keys)

    def _is_over(self, now: int, key: tuple[int, int], feed: _Feed) -> bool:
        partition, replica = key
        group = self._holdings.replica(partition)
        if group is None or group.raft.lead is None or group.raft.term != feed.offer.term:
            return True
        progress = group.raft.lead.progress.get(replica)
        return (
            progress is None
            or progress.sending is Sending.STREAMING
            or now - feed.pulled_at >= SNAPSHOT_SILENCE_MS
            or now - feed.opened_at >= SNAPSHOT_AGE_MS_MAX
        )

    def _close(self, key: tuple[int, int]) -> None:
        self._feeds.pop(key).rows.close()

    # ---- feeding ---------------------------------------------------------------------------------

    def pulled(self, now: int, source: NodeName, pull: SnapshotPull) -> None:
        """A follower asks for the rows behind a key."""
        core = self._replicas.fenced(source, pull)
        feed = self._feeds.get((pull.partition, pull.source))
        if core is None or core.lead is None or feed is None:
            return
        if (pull.term, pull.snapshot) != (feed.offer.term, feed.offer.snapshot):
            return
        if core.term == pull.term and core.lead.feed_snapshot(now, pull.source, feed.offer.index):
            feed.wanted = pull.after
            feed.pulled_at = now

    def chunks(self, now: int) -> list[Send]:
        """At most one chunk: the rest of the turn's time is everybody else's."""
        asked = [key for key, feed in self._feeds.items() if feed.wanted is not None]
        elapsed, self._filled_at = now - self._filled_at, now
        filled = self._tokens + elapsed * SNAPSHOT_BYTES_PER_SECOND // 1_000
        self._tokens = min(filled, SNAPSHOT_BYTES_PER_SECOND // 8)
        for key in asked:
            group = self._holdings.replica(key[0])
            lead = None if group is None else group.raft.lead
            feed = self._feeds[key]
            if lead is None or not lead.feed_snapshot(now, key[1], feed.offer.index):
                feed.wanted = None
        for key in asked if self._tokens > 0 else []:
            feed = self._feeds[key]
            if feed.wanted is not None:
                # Behind the others now, so that all go on alike.
                self._feeds[key] = self._feeds.pop(key)
                return [Send(feed.name, self._chunk(feed, feed.wanted))]
        return []

    def _chunk(self, feed: _Feed, after: bytes) -> SnapshotChunk:
        feed.wanted = None
        sizes, keys, offer = self._sizes, feed.keys, feed.offer
        start = keys.prefix + after + b"\0" if after else keys.prefix
        found = feed.rows.scan(
            start, keys.stop, limit=sizes.chunk_rows, bytes_max=sizes.chunk_bytes
        )
        size = sum([len(body) for _, body in found])
        rows = [(key[PREFIX_BYTES:], body) for key, body in found]
        self._tokens -= size + sum([len(key) for key, _ in rows])
        self.counters["snapshot_bytes_sent"] += size
        return SnapshotChunk(
            offer.partition,
            offer.group,
            offer.source,
            offer.target,
            offer.term,
            offer.snapshot,
            after,
            rows,
            len(rows) < sizes.chunk_rows and size < sizes.chunk_bytes,
        )


def _ms_for(size: int) -> int:
    """How long the bucket takes to be filled with so much."""
    return -(-size * 1_000 // SNAPSHOT_BYTES_PER_SECOND)
