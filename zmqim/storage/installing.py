"""Snapshots that this storage receives: the rows of a group from its leader, piece by piece.

The rows are written under a new install number, so they touch nothing that is alive. Once the last
of them is durable a later turn switches: one journal batch names the new install number and the
new extent of the log. So a crash leaves the old state or the new one, and beside it rows of other
install numbers, which are garbage (`zmqim.storage.garbage`).

What is offered counts only if it comes from the leader of the replica's own term. A chunk that is
lost is asked for again; one that comes twice, or of another snapshot, does not follow the last key.
"""

from __future__ import annotations

import msgspec

from zmqim.bus.effects import Send
from zmqim.bus.replication import SnapshotChunk, SnapshotOffer, SnapshotPull
from zmqim.chat.keys import Keys, install_of
from zmqim.errors import WireError
from zmqim.ids import NodeName
from zmqim.limits import (
    APPEND_RETRY_MS,
    SNAPSHOT_SILENCE_MS,
    SNAPSHOTS_PER_NODE_MAX,
)
from zmqim.raft.config import GroupConfig
from zmqim.raft.core import RaftCore
from zmqim.raft.groups import Groups
from zmqim.raft.log import LogEnd
from zmqim.raft.peers import NEVER
from zmqim.raft.replica import ReplicaStatus
from zmqim.storage.garbage import Garbage
from zmqim.storage.holdings import Holdings
from zmqim.storage.replica import Replica
from zmqim.store.interface import JournalBatch, Rows


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
    """All snapshots that this storage receives."""

    def __init__(self, holdings: Holdings, replicas: Groups, garbage: Garbage) -> None:
        self.counters = dict.fromkeys(("snapshots_installed", "snapshots_abandoned"), 0)
        self.is_disk_full = False
        """Is there no room for more rows?"""
        self._holdings = holdings
        self._replicas = replicas
        self._garbage = garbage
        self._attempts: dict[int, _Attempt] = {}
        """By partition."""
        self._forgotten = 0

    @property
    def open(self) -> int:
        """How many snapshots are on their way here."""
        return len(self._attempts)

    def next_wake(self) -> int:
        """When a turn is needed at the latest; 0: at once."""
        wake = NEVER
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
        if raft is None or not raft.can_install(offer.index, offer.index_term):
            return
        attempt = self._attempts.get(partition)
        if attempt is not None and attempt.offer == offer:
            attempt.is_asking = not attempt.is_whole
            return
        if attempt is not None:
            self._abandon(partition)
        if len(self._attempts) >= SNAPSHOTS_PER_NODE_MAX:
            return
        keys = Keys(partition, self._garbage.fresh(partition))
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

    # ---- the turn --------------------------------------------------------------------------------

    def switch(self, batch: JournalBatch) -> list[Replica]:
        """What earlier turns wrote whole becomes the state, with this turn's journal write."""
        installed: list[Replica] = []
        for partition, attempt in list(self._attempts.items()):
            if not attempt.is_written:
                continue
            replica = self._holdings.replica(partition)
            before = 0 if replica is None else replica.size.bytes_kept
            if replica is None or not self._install(replica, attempt, batch):
                self._abandon(partition)
                continue
            self._forgotten += before - replica.size.bytes_kept
            del self._attempts[partition]
            self.counters["snapshots_installed"] += 1
            installed.append(replica)
        return installed

    def take_forgotten(self) -> int:
        """Bytes of log that `switch` made dead."""
        forgotten, self._forgotten = self._forgotten, 0
        return forgotten

    def _install(self, replica: Replica, attempt: _Attempt, batch: JournalBatch) -> bool:
        """Switch to the attempt's rows; False if they are not what was offered, or of no use."""
        raft, offer, number = replica.raft, attempt.offer, replica.partition
        if raft.replica != offer.target or not raft.can_install(offer.index, offer.index_term):
            return False
        install = install_of(attempt.keys.prefix)
        machine = self._holdings.machine(number, install)
        applied = machine.applied
        if (applied.index, applied.term, applied.hlc) != (
            offer.index,
            offer.index_term,
            offer.hlc,
        ):
            return False
        stored = machine.config()
        try:
            conf_id, config = (
                (0, self._holdings.genesis(number))
                if stored is None
                else (stored[0], GroupConfig.decode(stored[1]))
            )
        except WireError:
            return False
        end = LogEnd(offer.index_term, offer.chain, offer.hlc)
        is_new = raft.install(offer.index, end, config, conf_id)
        if is_new:
            batch.lowered[number] = (end.term, offer.index)
        status = ReplicaStatus.VOTER if raft.is_voter else ReplicaStatus.LEARNER
        self._garbage.add(number, replica.meta.install)
        meta = msgspec.structs.replace(replica.meta, install=install, status=status)
        batch.replica_metas[number] = meta.encode()
        replica.restart(machine, meta, is_new=is_new)
        return True

    def take_rows(self) -> Rows:
        """The rows of this turn's chunks."""
        rows: Rows = []
        for attempt in self._attempts.values():
            rows += attempt.rows
            attempt.rows = []
            attempt.is_written = attempt.is_whole
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
            if now - attempt.heard_at >= SNAPSHOT_SILENCE_MS or self._is_stale(attempt.offer):
                self._abandon(partition)
                continue
            if attempt.is_asking or now - attempt.asked_at >= APPEND_RETRY_MS:
                attempt.is_asking = False
                attempt.asked_at = now
                found.append(Send(attempt.name, _pull(attempt)))
        return found

    def _is_stale(self, offer: SnapshotOffer) -> bool:
        """Does nobody answer for it any more, or is it of no use?"""
        replica = self._holdings.replica(offer.partition)
        return (
            replica is None
            or (replica.raft.replica, replica.raft.term) != (offer.target, offer.term)
            or not replica.raft.can_install(offer.index, offer.index_term)
        )

    def _abandon(self, partition: int) -> None:
        attempt = self._attempts.pop(partition)
        self._garbage.add(partition, install_of(attempt.keys.prefix))
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
