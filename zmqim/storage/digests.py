"""Replicas of a group compare what they made of its log; whoever differs from most gives up.

The log of every replica is the same, and the chain in it says so. What was made of it may differ
all the same: by a fault of memory or disk that no checksum saw, or of this program. So a follower
tells its leader the digest (`zmqim.chat.digest`) at each fixed position of the log. What a majority
of the voters has is right: a follower that has something else is told so, marks itself damaged and
gets the leader's rows by snapshot; a leader that has something else leads no more, and does the
same. Where no majority agrees nobody can say who is right: it is shown to the operator, and nothing
is guessed.

A report that is lost is not repeated: a digest that differs once differs at the next position too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from zmqim.bus.effects import Send
from zmqim.bus.replication import DigestReport, DigestWrong
from zmqim.ids import NodeName
from zmqim.limits import DIGEST_NOTES_KEPT
from zmqim.raft.groups import Groups
from zmqim.raft.peers import NEVER
from zmqim.storage.holdings import Holdings
from zmqim.storage.replica import Replica

_State = tuple[int, int, int]
"""(leader, term, newest noted index) of a replica."""


class _Reports:
    """What the followers of one group said in one term."""

    __slots__ = ("accused", "at", "differing", "term")

    def __init__(self, term: int) -> None:
        self.term = term
        self.at: dict[int, dict[int, int]] = {}
        """Digest by replica, by index."""
        self.differing: set[int] = set()
        """The indexes of which it was said that replicas differ."""
        self.accused: set[tuple[int, int]] = set()
        """(index, replica) of who was told that it is wrong."""

    def add(self, index: int, replica: int, digest: int) -> None:
        """A follower's digest; only of the last positions they are kept."""
        self.at.setdefault(index, {})[replica] = digest
        if len(self.at) > DIGEST_NOTES_KEPT:
            oldest = min(self.at)
            del self.at[oldest]
            self.differing.discard(oldest)
            self.accused = {one for one in self.accused if one[0] > oldest}


class Digests:
    """The comparison, for all groups of one storage."""

    def __init__(self, holdings: Holdings, replicas: Groups) -> None:
        self.counters = {"digest_mismatches": 0}
        self.last_words = ""
        """About the last one of those."""
        self._holdings = holdings
        self._replicas = replicas
        self._seen: dict[int, _State] = {}
        self._told: dict[int, _State] = {}
        """Up to where a follower told whom."""
        self._news: set[int] = set()
        """Groups that came to a fixed position, or have another leader."""
        self._reports: dict[int, _Reports] = {}
        """Of the groups that are led here."""
        self._undecided: dict[int, str] = {}

    @property
    def problems(self) -> list[str]:
        """Of the groups that are led here: where nobody can say who is right."""
        return [self._undecided[number] for number in sorted(self._undecided)]

    def next_wake(self) -> int:
        """When a turn is needed at the latest; 0: at once."""
        return 0 if self._news else NEVER

    # ---- the turn --------------------------------------------------------------------------------

    def look(self, held: Mapping[int, Replica]) -> None:
        """At the end of a turn that did something with these replicas."""
        seen = self._seen
        for number, replica in held.items():
            at = replica.machine.notes.at
            raft = replica.raft
            if raft.has_forgotten:
                self._give_up(replica, "has lost entries that it had acknowledged")
            if at and seen.get(number) != (state := (raft.leader, raft.term, next(reversed(at)))):
                seen[number] = state
                self._news.add(number)

    def turn(self) -> list[Send]:
        """At the beginning of a turn, after the messages: tell the leaders, judge what is led."""
        if not self._news:
            return []
        news, self._news = sorted(self._news), set()
        sends: list[Send] = []
        for number in news:
            replica = self._holdings.replica(number)
            if replica is None or replica.raft.lead is None:
                self._reports.pop(number, None)
                self._undecided.pop(number, None)
            if replica is None:
                self._seen.pop(number, None)
                self._told.pop(number, None)
            elif replica.raft.lead is None:
                self._report(replica, sends)
            elif (reports := self._reports.get(number)) is not None:
                for index in sorted(reports.at):
                    self._judge(replica, reports, index, sends)
        return sends

    def _report(self, replica: Replica, sends: list[Send]) -> None:
        """Tell the leader every note that it does not know."""
        raft, notes = replica.raft, replica.machine.notes.at
        name = self._replicas.peers.name_of(raft, raft.leader) if raft.leader else None
        if name is None or raft.is_damaged or not notes:
            return
        leader, term, upto = self._told.get(replica.partition, (0, 0, 0))
        if (leader, term) != (raft.leader, raft.term):
            upto = 0
        identity = raft.identity
        number, group, me = identity.partition, identity.group, identity.replica
        for index, digest in notes.items():
            if index > upto:
                ends = (number, group, me, raft.leader, raft.term)
                sends.append(Send(name, DigestReport(*ends, index, digest)))
        self._told[replica.partition] = (raft.leader, raft.term, max(notes))

    # ---- messages --------------------------------------------------------------------------------

    def received(self, source: NodeName, message: DigestReport | DigestWrong) -> list[Send]:
        """Another replica of a group that is held here says what it has."""
        raft = self._replicas.fenced(source, message)
        replica = self._holdings.replica(message.partition)
        if raft is None or replica is None or message.term != raft.term:
            return []
        sends: list[Send] = []
        if isinstance(message, DigestReport):
            if raft.lead is not None:
                reports = self._reports.get(message.partition)
                if reports is None or reports.term != raft.term:
                    reports = self._reports[message.partition] = _Reports(raft.term)
                reports.add(message.index, message.source, message.digest)
                self._judge(replica, reports, message.index, sends)
        elif raft.leader == message.source:
            # It may have got other rows since it told what was wrong.
            mine = replica.machine.notes.at.get(message.index, message.digest)
            if mine != message.digest and not raft.is_damaged:
                self._give_up(replica, f"has wrong rows at entry {message.index}")
        return sends

    # ---- judging ---------------------------------------------------------------------------------

    def _judge(self, replica: Replica, reports: _Reports, index: int, sends: list[Send]) -> None:
        """Compare what is known of one position."""
        raft, number = replica.raft, replica.partition
        mine = replica.machine.notes.at.get(index)
        told = reports.at.get(index)
        if mine is None or told is None:
            return
        digests = {**told, raft.replica: mine}
        voters = [place.replica for place in raft.config.voters]
        known = [digests[voter] for voter in voters if voter in digests]
        if all(digest == mine for digest in digests.values()):
            if len(known) == len(voters):
                self._undecided.pop(number, None)
            return
        if index not in reports.differing:
            reports.differing.add(index)
            self._count(f"partition {number}: its replicas do not agree at entry {index}")
        quorum = len(voters) // 2 + 1
        right, count = Counter(known).most_common(1)[0] if known else (mine, 0)
        if count < quorum:
            if count + len(voters) - len(known) < quorum:
                self._undecided[number] = (
                    f"partition {number}: its replicas do not agree and no majority does; keep"
                    " copies of all their folders"
                )
            return
        self._undecided.pop(number, None)
        if mine != right:
            self._give_up(replica, f"has wrong rows at entry {index}")
            return
        for other, digest in told.items():
            name = self._replicas.peers.name_of(raft, other)
            if digest != right and (index, other) not in reports.accused and name is not None:
                reports.accused.add((index, other))
                ends = (number, raft.identity.group, raft.replica, other, raft.term)
                sends.append(Send(name, DigestWrong(*ends, index, right)))

    def _give_up(self, replica: Replica, why: str) -> None:
        """This replica is wrong: it abstains until it has its leader's rows."""
        number = replica.partition
        self._count(f"partition {number}: the replica here {why}, and is rebuilt")
        self._reports.pop(number, None)
        self._undecided.pop(number, None)
        self._holdings.lose_rows(replica)

    def _count(self, words: str) -> None:
        self.counters["digest_mismatches"] += 1
        self.last_words = words
