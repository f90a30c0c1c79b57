"""Snapshots that this storage receives: the rows of a group from its leader, piece by piece.

The rows are written under a new install number, so they touch nothing that is alive. Once the last
of them is durable a later turn switches: one journal batch names the new install number and the
new extent of the log. So a crash leaves the old state or the new one, and beside it rows of other
install numbers, which are garbage: they are deleted a slice a turn, also after a restart. Within a
life each attempt gets a number of its own, above every one that has rows.

What is offered counts only if it comes from the leader of the replica's own term. A chunk that is
lost is asked for again; one that comes twice, or of another snapshot, does not follow the last key.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from zmqim.bus.effects import Send
from zmqim.bus.replication import SnapshotChunk, SnapshotOffer, SnapshotPull
from zmqim.chat.keys import Keys, install_of
from zmqim.chat.state import ChatState
from zmqim.chat.view import RowView
from zmqim.ids import NodeName
from zmqim.limits import (
    APPEND_RETRY_MS,
    GARBAGE_PAUSE_MS,
    GARBAGE_ROWS_MAX,
    SNAPSHOT_SILENCE_MS,
    SNAPSHOTS_PER_NODE_MAX,
)
from zmqim.meta.record import BirthRecord
from zmqim.raft.config import GroupConfig
from zmqim.raft.core import RaftCore
from zmqim.raft.groups import Groups
from zmqim.raft.log import LogEnd
from zmqim.raft.replica import ReplicaStatus
from zmqim.storage.group import Group
from zmqim.storage.notices import NEVER
from zmqim.store.interface import JournalBatch, RowReader, Rows


class _Attempt:
    """One snapshot on its way here."""

    __slots__ = (
        "after",
        "asked_at",
        "heard_at",
        "is_asking",
        "is_whole",
        "is_written",
        "keys",
        "name",
        "offer",
        "rows",
    )

    def __init__(self, now: int, name: NodeName, offer: SnapshotOffer, keys: Keys) -> None:
        self.name = name
        self.offer = offer
        self.keys = keys
        """Of its own install number."""
        self.after = b""
        """The last key that came."""
        self.rows: Rows = []
        """What came in this turn."""
        self.is_asking = True
        """The next chunk is to be asked for."""
        self.asked_at = now
        self.heard_at = now
        self.is_whole = False
        """Everything came."""
        self.is_written = False
        """Everything is durable once this turn's effects are performed."""


class Installing:
    """All snapshots that this storage receives, and the garbage that they leave."""

    def __init__(
        self,
        groups: Mapping[int, Group],
        replicas: Groups,
        rows: RowReader,
        view: RowView,
        record: BirthRecord,
        heads_max: int,
    ) -> None:
        """Looks which install numbers have rows; `record` has the first configurations."""
        self.counters = dict.fromkeys(("snapshots_installed", "snapshots_abandoned"), 0)
        self.is_disk_full = False
        """Is there no room for more rows?"""
        self._groups = groups
        self._replicas = replicas
        self._stored = rows
        self._view = view
        self._record = record
        self._heads_max = heads_max
        self._attempts: dict[int, _Attempt] = {}
        self._garbage: deque[Keys] = deque()
        self._sweep_at = 0
        self._highest: dict[int, int] = {}
        """The highest install number that was ever used, by partition."""
        for partition, group in groups.items():
            numbers = _installs(rows, partition)
            alive = group.meta.install
            self._garbage += [Keys(partition, number) for number in numbers if number != alive]
            self._highest[partition] = max([alive, *numbers])

    @property
    def open(self) -> int:
        """How many snapshots are on their way here."""
        return len(self._attempts)

    def next_wake(self) -> int:
        """When a turn is needed at the latest; 0: at once."""
        wake = self._sweep_at if self._garbage else NEVER
        for attempt in self._attempts.values():
            if attempt.is_whole or (attempt.is_asking and not self.is_disk_full):
                return 0
            wake = min(wake, attempt.asked_at + APPEND_RETRY_MS)
        return wake

    # ---- what the leader says --------------------------------------------------------------------

    def offered(self, now: int, source: NodeName, offer: SnapshotOffer) -> None:
        """The leader has a snapshot for us; one that it offers again goes on where it was."""
        raft = self._led_by(source, offer)
        partition = offer.partition
        if raft is None or partition not in self._groups or not raft.can_install(offer.index):
            return
        attempt = self._attempts.get(partition)
        if attempt is not None and attempt.offer == offer:
            attempt.is_asking = not attempt.is_whole
            return
        if attempt is not None:
            self._abandon(partition)
        if len(self._attempts) >= SNAPSHOTS_PER_NODE_MAX:
            return
        alive = self._groups[partition].meta.install
        self._highest[partition] = max(self._highest.get(partition, 0), alive) + 1
        keys = Keys(partition, self._highest[partition])
        self._attempts[partition] = _Attempt(now, source, offer, keys)

    def received(self, now: int, source: NodeName, chunk: SnapshotChunk) -> None:
        """Rows of the snapshot; only those that follow what is here are taken."""
        attempt = self._attempts.get(chunk.partition)
        if self._led_by(source, chunk) is None or attempt is None:
            return
        offer = attempt.offer
        if (chunk.source, chunk.term, chunk.snapshot) != (
            offer.source,
            offer.term,
            offer.snapshot,
        ):
            return
        if attempt.is_whole or chunk.after != attempt.after:
            return
        last = attempt.after
        for key, _ in chunk.rows:
            if key <= last:
                self._abandon(chunk.partition)
                return
            last = key
        prefix = attempt.keys.prefix
        attempt.rows += [(prefix + key, body) for key, body in chunk.rows]
        attempt.after = last
        attempt.heard_at = now
        attempt.is_whole = chunk.done
        attempt.is_asking = not chunk.done

    def _led_by(self, source: NodeName, message: SnapshotOffer | SnapshotChunk) -> RaftCore | None:
        """The core that a message of the leader of its term is for."""
        core = self._replicas.fenced(source, message)
        if core is None or (core.leader, core.term) != (message.source, message.term):
            return None
        return core

    def forget(self, partition: int) -> None:
        """The replica is held no more: its rows, and what was on its way, are garbage."""
        if partition in self._attempts:
            self._abandon(partition)
        for number in _installs(self._stored, partition):
            self._garbage.append(Keys(partition, number))

    # ---- the turn --------------------------------------------------------------------------------

    def switch(self, batch: JournalBatch, touched: dict[int, Group]) -> int:
        """What earlier turns wrote whole becomes the state, with this turn's journal write.

        Gives the bytes of log that are forgotten.
        """
        forgotten = 0
        for partition, attempt in list(self._attempts.items()):
            if not attempt.is_written:
                continue
            group = self._groups[partition]
            before = group.size.bytes_kept
            if self._install(group, attempt, batch):
                forgotten += before - group.size.bytes_kept
                del self._attempts[partition]
                self.counters["snapshots_installed"] += 1
                touched[partition] = group
            else:
                self._abandon(partition)
        return forgotten

    def _install(self, group: Group, attempt: _Attempt, batch: JournalBatch) -> bool:
        """Switch to the attempt's rows; False if they are not what was offered, or of no use."""
        raft, offer = group.raft, attempt.offer
        install = install_of(attempt.keys.prefix)
        if not raft.can_install(offer.index):
            return False
        state = ChatState(group.partition, install, self._view, self._heads_max)
        applied = state.applied
        if (applied.index, applied.term, applied.hlc) != (
            offer.index,
            offer.index_term,
            offer.hlc,
        ):
            return False
        stored = state.config()
        conf_id, config = (
            (0, self._record.genesis[group.partition].config)
            if stored is None
            else (stored[0], GroupConfig.decode(stored[1]))
        )
        end = LogEnd(offer.index_term, offer.chain, offer.hlc)
        is_new = raft.install(offer.index, end, config, conf_id)
        is_voter = raft.config.is_voter(raft.replica)
        status = ReplicaStatus.VOTER if is_voter else ReplicaStatus.LEARNER
        meta = msgspec.structs.replace(group.meta, install=install, status=status)
        batch.replica_metas[group.partition] = meta.encode()
        if is_new:
            batch.lowered[group.partition] = (raft.log.last_term, raft.log.last)
        self._garbage.append(Keys(group.partition, group.meta.install))
        group.restart(state, meta, is_new=is_new)
        return True

    def take_rows(self, now: int) -> Rows:
        """Rows of this turn's chunks, and deletions of a slice of the garbage."""
        rows: Rows = []
        for attempt in self._attempts.values():
            rows += attempt.rows
            attempt.rows = []
            attempt.is_written = attempt.is_whole
        if self._garbage and now >= self._sweep_at:
            self._sweep_at = now + GARBAGE_PAUSE_MS
            dead = self._garbage[0]
            found = self._stored.scan(dead.prefix, dead.stop, limit=GARBAGE_ROWS_MAX)
            rows += [(key, None) for key, _ in found]
            if len(found) < GARBAGE_ROWS_MAX:
                self._garbage.popleft()
        return rows

    def pulls(self, now: int) -> list[Send]:
        """Ask for what is missing, also again; forget the attempts whose leader is silent."""
        found: list[Send] = []
        for partition, attempt in list(self._attempts.items()):
            if attempt.is_whole:
                continue
            if self.is_disk_full:
                attempt.heard_at = now
                continue
            raft = self._groups[partition].raft
            is_silent = now - attempt.heard_at >= SNAPSHOT_SILENCE_MS
            is_stale = raft.term != attempt.offer.term or not raft.can_install(attempt.offer.index)
            if is_silent or is_stale:
                self._abandon(partition)
                continue
            if attempt.is_asking or now - attempt.asked_at >= APPEND_RETRY_MS:
                attempt.is_asking = False
                attempt.asked_at = now
                found.append(Send(attempt.name, _pull(attempt)))
        return found

    def _abandon(self, partition: int) -> None:
        attempt = self._attempts.pop(partition)
        self._garbage.append(attempt.keys)
        self.counters["snapshots_abandoned"] += 1


def _pull(attempt: _Attempt) -> SnapshotPull:
    offer = attempt.offer
    return SnapshotPull(
        offer.partition,
        offer.group,
        offer.target,
        offer.source,
        offer.term,
        offer.snapshot,
        attempt.after,
    )


def _installs(rows: RowReader, partition: int) -> list[int]:
    """The install numbers under which the partition has rows: one look each, and one more."""
    found: list[int] = []
    stop = Keys(partition + 1, 0).prefix
    start = Keys(partition, 0).prefix
    while one := rows.scan(start, stop, limit=1):
        found.append(install_of(one[0][0]))
        start = Keys(partition, found[-1]).stop
    return found
