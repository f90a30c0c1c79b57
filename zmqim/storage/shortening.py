"""Forgets entries that nobody needs any more, so that the logs of all partitions together keep
JOURNAL_BYTES_MAX at most, and each of them `Sizes.entries_kept` entries or somewhat more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zmqim.limits import FOLLOWED_LOG_BYTES_MAX, JOURNAL_BYTES_MAX
from zmqim.raft.groups import Groups
from zmqim.storage.group import Group
from zmqim.storage.replica import Replica
from zmqim.store.interface import JournalReader


class Shortening:
    """What the logs keep, and what goes."""

    def __init__(
        self,
        groups: Mapping[int, Group],
        replicas: Groups,
        journal: JournalReader,
        entries_kept: int,
    ) -> None:
        self.bytes_kept = 0
        """What the logs of all partitions keep, as far as this life wrote it."""
        self._groups = groups
        self._replicas = replicas
        self._journal = journal
        self._entries_kept = entries_kept

    def shorten(self, held: Iterable[Replica]) -> None:
        """End of the turn of these replicas: what is forgotten is told with the next write."""
        if self.bytes_kept > JOURNAL_BYTES_MAX:
            is_halved = self._halve_a_log(past_followers=False)
            if not is_halved and self.bytes_kept > FOLLOWED_LOG_BYTES_MAX:
                self._halve_a_log(past_followers=True)
        for replica in held:
            if replica.is_log_long(self._entries_kept):
                before = replica.size.bytes_kept
                needed = self._replicas.needed_by_live(replica.partition)
                replica.cut_log(self._journal, needed, self._entries_kept)
                self.bytes_kept += replica.size.bytes_kept - before

    def _halve_a_log(self, *, past_followers: bool) -> bool:
        """Forget the older half of the largest log that can do without it; is there one?"""
        for group in sorted(self._groups.values(), key=lambda group: -group.size.bytes_kept):
            before = group.size.bytes_kept
            if group.halve_log(self._journal, past_followers=past_followers):
                self.bytes_kept += group.size.bytes_kept - before
                return True
        return False
