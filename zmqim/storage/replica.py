"""What is the same for every group that a storage holds: its log, and how far it may be cut.

A partition of chat (`zmqim.storage.group`) and the meta group (`zmqim.storage.registry`) are
replicas that apply entries to different states.
"""

from __future__ import annotations

from typing import Protocol

from zmqim.chat.applied import Applied
from zmqim.chat.digest import DigestNotes
from zmqim.raft.core import RaftCore
from zmqim.raft.entry import decode_entry
from zmqim.raft.replica import ReplicaMeta
from zmqim.storage.log_size import LogSize
from zmqim.store.interface import JournalReader


class Machine(Protocol):
    """What the log is applied to, as far as opening and snapshots need it."""

    applied: Applied
    notes: DigestNotes
    """The digest at fixed positions of the log."""

    def config(self) -> tuple[int, bytes] | None:
        """(index, encoded configuration) as of the last applied entry; None: that of birth."""
        ...


class Replica:
    """A group as this storage holds it."""

    __slots__ = (
        "_was_member",
        "conf_id",
        "durable",
        "has_moved",
        "is_removed",
        "meta",
        "partition",
        "raft",
        "size",
    )

    def __init__(self, partition: int, raft: RaftCore, meta: ReplicaMeta) -> None:
        self.partition = partition
        self.raft = raft
        self.meta = meta
        self.size = LogSize()
        self.durable = raft.applied
        """Everything up to here is in the journal and in the rows for good."""
        self.is_removed = False
        """A configuration without this replica was applied: it is no longer held."""
        self.conf_id, _ = raft.applied_config
        """Of the configuration as of the last applied entry."""
        self.has_moved = False
        """Another configuration was applied with the last entries."""
        self._was_member: bool | None = None
        """As of the last configuration that was noted; None: of none yet."""

    @property
    def machine(self) -> Machine:
        """The state."""
        raise NotImplementedError

    def apply(self) -> None:
        """Apply what is committed."""
        raise NotImplementedError

    def restart(self, machine: Machine, meta: ReplicaMeta, *, is_new: bool) -> None:
        """The rows are now those of a snapshot; `is_new`: nothing of the log was kept."""
        self.meta = meta
        self.durable = machine.applied.index
        if is_new:
            self.size = LogSize()
        else:
            self.size.cut(self.durable)
        self.note_config()

    def note_config(self) -> None:
        """Entries were applied: is this replica still in the configuration? A new one may apply
        much before it comes to the entry that brought it in."""
        conf_id, config = self.raft.applied_config
        self.has_moved = conf_id != self.conf_id
        if not self.has_moved and self._was_member is not None:
            self.is_removed = False
            return
        self.conf_id = conf_id
        is_member = self.raft.replica in config.places
        self.is_removed = bool(self._was_member) and not is_member
        self._was_member = is_member

    def is_log_long(self, kept: int) -> bool:
        """Are there twice as many old entries as are `kept`?"""
        log = self.raft.log
        return log.applied - log.first >= 2 * kept

    def cut_log(self, journal: JournalReader, needed: int, kept: int) -> None:
        """Forget the old entries of a long log, up to `needed`, but for those that are `kept`."""
        self._cut(journal, min(self.raft.applied - kept, needed), kept // 2)

    def halve_log(self, journal: JournalReader, *, past_followers: bool = False) -> bool:
        """Forget the older half of the bytes, if nothing here needs them; did it?"""
        return self._cut(journal, self.size.older_half(), 0, past_followers)

    def needed_here(self, *, past_followers: bool = False) -> int:
        """Entries up to this index are not needed on this storage any more; `past_followers`: by
        nobody but those who follow the log from outside."""
        return self.raft.applied

    def _cut(
        self,
        journal: JournalReader,
        base: int,
        count_min: int,
        past_followers: bool = False,
    ) -> bool:
        """Forget the entries up to `base`, as far as they are durable and not needed."""
        raft = self.raft
        if raft.is_damaged:
            return False
        base = min(base, self.durable, self.needed_here(past_followers=past_followers))
        first = raft.log.extent.first
        if base - first < count_min or base < first:
            return False
        raft.log.cut_before(decode_entry(journal.read(self.partition, base, base, 1)[0]))
        self.size.cut(base)
        return True
