"""What a replica is while it leads: its view of the others, and what it sends them.

It is made with the term and dropped with it. It counts what a majority of the voters holds, feeds
each follower from where it is, and hands over when it is told to.
"""

from __future__ import annotations

from collections.abc import Collection

from zmqim.bus.replication import Append, AppendResult, TimeoutNow
from zmqim.limits import LEARNER_LAG_ENTRIES_MAX, QUORUM_SILENCE_MS
from zmqim.raft.config import GroupConfig, Step, StepKind, StepRefused, stepped
from zmqim.raft.log import Log
from zmqim.raft.progress import PROBING, SNAPSHOT, STREAMING, Progress
from zmqim.raft.state import Identity


class Lead:
    """The leader's side of one term."""

    __slots__ = (
        "_identity",
        "_log",
        "_voters",
        "handing_to",
        "handing_until",
        "progress",
        "quorum",
        "term",
        "term_first",
        "wants_snapshot",
    )

    def __init__(self, identity: Identity, term: int, log: Log, config: GroupConfig) -> None:
        """Begins in front of the term's first entry."""
        self._identity = identity
        self._log = log
        self.term = term
        self.term_first = log.last + 1
        """Index of the NO-OP: whatever is committed from there on is of the own term."""
        self.progress: dict[int, Progress] = {}
        """Everyone else in the configuration, by replica id."""
        self.wants_snapshot: set[int] = set()
        """Followers that need entries which the log does not hold any more."""
        self.handing_to = 0
        """The replica that is to lead next: nothing is proposed meanwhile."""
        self.handing_until = 0
        self.configure(config)

    def configure(self, config: GroupConfig) -> None:
        """Another configuration holds from here on."""
        self._voters = tuple(voter.replica for voter in config.voters)
        self.quorum = len(self._voters) // 2 + 1
        others = config.places.keys() - {self._identity.replica}
        for replica in sorted(others - self.progress.keys()):
            self.progress[replica] = Progress(self._log.last + 1)
        for replica in self.progress.keys() - others:
            del self.progress[replica]
            self.wants_snapshot.discard(replica)

    # ---- committing ------------------------------------------------------------------------------

    def held(self) -> int:
        """The highest index that a majority of the voters holds on disk."""
        me = self._identity.replica
        matches: list[int] = []
        for voter in self._voters:
            matches.append(self._log.saved if voter == me else self.progress[voter].match)
        matches.sort()
        return matches[-self.quorum]

    def commit(self, before: int) -> int:
        """What is committed now: entries are counted only from the own term on (Raft 5.4.2)."""
        held = self.held()
        return held if held > before and held >= self.term_first else before

    def answered(self, now: int, result: AppendResult) -> bool:
        """An answer of this term; is more held than before?"""
        progress = self.progress.get(result.source)
        if progress is None:
            return False
        match = result.match
        progress.is_damaged = result.damaged
        if progress.is_damaged:
            progress.match = 0  # It may have lost what it had acknowledged.
            if progress.sending is not SNAPSHOT:
                progress.probe(progress.match + 1)
            return False
        if not result.accepted:
            progress.refused(result.refused, match)
            return False
        assert match <= self._log.last, "a follower holds more than its leader"
        return progress.accepted(now, match)

    # ---- feeding ---------------------------------------------------------------------------------

    def appends(self, now: int, commit: int, linked: Collection[int]) -> list[Append]:
        """Entries for the followers in `linked`, as far as their windows allow."""
        found = []
        log = self._log
        for replica, progress in self.progress.items():
            if replica not in linked:
                continue
            while (progress.next <= log.last or progress.sending is PROBING) and (
                room := progress.room
            ):
                if progress.is_damaged or progress.next < log.first:
                    self.wants_snapshot.add(replica)
                    break
                found.append(self._append_for(now, commit, replica, room))
        return found

    @property
    def is_behind(self) -> bool:
        """Is there a follower that was not sent everything?"""
        last = self._log.last
        for progress in self.progress.values():
            if progress.next <= last or progress.sending is not STREAMING:
                return True
        return False

    def needs_snapshot(self, replica: int) -> bool:
        """Can only a snapshot help it, and is none on its way?"""
        progress = self.progress.get(replica)
        return (
            progress is not None
            and progress.sending is PROBING
            and (progress.is_damaged or progress.next < self._log.first)
        )

    def feed_snapshot(self, now: int, replica: int, index: int) -> bool:
        """It is being sent the rows as of `index`, for a while; False if it needs them no more."""
        progress = self.progress.get(replica)
        if progress is None or progress.sending is STREAMING:
            return False
        self.wants_snapshot.discard(replica)
        progress.snapshot(now, index)
        return True

    def _append_for(self, now: int, commit: int, replica: int, room: int) -> Append:
        log, progress = self._log, self.progress[replica]
        me = self._identity
        prev = progress.next - 1
        prev_term, prev_chain = log.at(prev)
        entries = log.bodies(progress.next, room) if progress.next <= log.last else []
        progress.sent(now, len(entries), sum(map(len, entries)))
        return Append(
            me.partition,
            me.group,
            me.replica,
            replica,
            self.term,
            prev,
            prev_term,
            prev_chain,
            commit,
            entries,
        )

    def saved(self) -> None:
        """Everything is on disk: what the followers have as well is not kept in memory."""
        needed = self._log.last
        for progress in self.progress.values():
            needed = min(needed, progress.match)
        self._log.trim_recent(needed)

    def tick(self, now: int) -> bool:
        """Take what was sent long ago without an answer for lost; give up a hand-over.

        True: something is to be sent again.
        """
        if self.handing_to and now >= self.handing_until:
            self.handing_to = 0
        is_due = False
        for progress in self.progress.values():
            if progress.retry_at and now >= progress.retry_at:
                progress.repeat()
                is_due = True
        return is_due

    # ---- changing and handing over ---------------------------------------------------------------

    def config_after(self, step: Step, config: GroupConfig, live: Collection[int]) -> GroupConfig:
        """`config` after `step`, if learners have caught up and a majority lives; `StepRefused`."""
        after = stepped(config, step)
        if step.kind == StepKind.PROMOTE:
            progress = self.progress[step.place.replica]
            lag = self._log.last - progress.match
            if progress.sending is not STREAMING or lag > LEARNER_LAG_ENTRIES_MAX:
                raise StepRefused(f"replica {step.place.replica} is {lag} entries behind")
        living = [
            voter
            for voter in after.voters
            if voter.replica in live or voter.replica == self._identity.replica
        ]
        if len(living) < len(after.voters) // 2 + 1:
            raise StepRefused("no majority of the new voters lives")
        return after

    def may_inherit(self, replica: int) -> bool:
        """Is it a voter that follows closely, and is nobody else to lead next?"""
        progress = self.progress.get(replica)
        if self.handing_to or replica not in self._voters or progress is None:
            return False
        return progress.sending is STREAMING

    def hand_over(self, now: int, replica: int) -> bool:
        """Let a voter lead once it holds everything; False if that makes no sense now."""
        if not self.may_inherit(replica):
            return False
        self.handing_to = replica
        self.handing_until = now + QUORUM_SILENCE_MS
        return True

    def handing(self) -> list[TimeoutNow]:
        """The word to the next leader, if it holds everything."""
        progress = self.progress.get(self.handing_to)
        if progress is None or progress.match < self._log.last:
            return []
        me = self._identity
        return [TimeoutNow(me.partition, me.group, me.replica, self.handing_to, self.term)]
