"""One replica of a group: term, vote, role, log, and what is committed (docs/REPLICATION.md).

Pure. It never writes and never sends: `unsaved` says what must be on disk before anything that
reveals it leaves the process, `saved` reports that it is. So a turn goes

    receive … propose … tick → take_early (Appends, before the own write) → unsaved → write
    → saved → take_late (votes, answers, which depend on it) → committed → applied_committed

A leader counts itself only when saved. An entry is committed once a majority of the voters holds it
and it belongs to the leader's own term; entries of earlier terms follow with the first of them. A
leader begins its term with a NO-OP and is not `serving`, accepts no proposal and serves no read,
until that NO-OP is applied: before, it may not know everything that was acknowledged.

Whose votes count is the configuration in the candidate's own log, from the moment it is appended.
A learner is fed and never counts, but votes when asked: it may be a voter since an entry that only
the candidate holds. What a message must fit is checked where it arrives (`zmqim.raft.groups`), and
so is when to stand for election; this module says what follows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from zmqim.bus.replication import (
    Append,
    AppendResult,
    GroupBody,
    GroupMessage,
    SnapshotOffer,
    TimeoutNow,
    VoteRequest,
    VoteResult,
)
from zmqim.errors import WireError
from zmqim.raft.config import GroupConfig, Step, StepRefused
from zmqim.raft.entry import CONFIG, NO_OP, OPERATION, Entry, decode_entry
from zmqim.raft.leader import Lead
from zmqim.raft.log import Log, LogEnd
from zmqim.raft.state import HardState, Identity, Role, Unsaved

_FOLLOWER: Final = Role.FOLLOWER


class RaftCore:
    """The log of one group as one of its replicas holds it."""

    def __init__(
        self,
        identity: Identity,
        hard_state: HardState,
        log: Log,
        config: GroupConfig,
        conf_id: int = 0,
        *,
        is_damaged: bool = False,
    ) -> None:
        """`config` holds at the last applied entry; those behind it are in `log`. A damaged replica
        lost its rows: it neither votes nor stands nor acknowledges, until it gets a snapshot. Its
        log counts as applied meanwhile."""
        self.identity = identity
        self.replica = identity.replica
        self.hard_state = hard_state
        self.log = log
        self.role = Role.FOLLOWER
        self.leader = 0
        """Replica id of the leader of this term; 0: not known."""
        self.lead: Lead | None = None
        """While this replica leads."""
        self.serving = False
        """A leader that applied the NO-OP of its own term."""
        self.is_damaged = is_damaged
        self.has_forgotten = False
        """Its leader counts on entries here that are gone, as of an older copy of the folder."""
        self.commit = log.applied
        self._configs: list[tuple[int, GroupConfig]] = [(conf_id, config)]
        """By rising index: the applied one, and those behind it."""
        self._votes: set[int] = set()
        self._hard_state_unsaved = False
        self._late: list[GroupMessage] = []
        self._note_configs(log.tail)

    # ---- what is known ---------------------------------------------------------------------------

    @property
    def term(self) -> int:
        """The current term."""
        return self.hard_state.term

    @property
    def applied(self) -> int:
        """The last applied entry."""
        return self.log.applied

    @property
    def last(self) -> int:
        """The last entry, saved or not."""
        return self.log.last

    @property
    def conf_id(self) -> int:
        """Index of the entry that brought the configuration in force."""
        return self._configs[-1][0]

    @property
    def config(self) -> GroupConfig:
        """The configuration in force: the last one in the log."""
        return self._configs[-1][1]

    @property
    def applied_config(self) -> tuple[int, GroupConfig]:
        """(index, configuration) as of the last applied entry: what a snapshot carries."""
        return self._configs[0]

    @property
    def is_voter(self) -> bool:
        """Does this replica count?"""
        return self.replica in self._voters

    @property
    def may_stand(self) -> bool:
        """May this replica become leader? A voter may until its removal is committed and applied:
        before, the log that removes it may be one that nobody can be elected without."""
        has_vote = self.is_voter or self._configs[0][1].is_voter(self.replica)
        return has_vote and not self.is_damaged and self.lead is None

    @property
    def accepts(self) -> bool:
        """May something be proposed?"""
        return self.serving and self.lead is not None and not self.lead.handing_to

    @property
    def holds_back(self) -> bool:
        """The only voter leads at once, its term unsaved: its Appends wait for a next turn. Else it
        could lead in that term a second time, after a crash, with other entries."""
        return self.lead is not None and self._hard_state_unsaved

    # ---- proposing -------------------------------------------------------------------------------

    def propose(self, payload: bytes, wall_ms: int) -> int:
        """Append an operation and give its index."""
        assert self.accepts
        return self._append(OPERATION, payload, wall_ms)

    def change(self, step: Step, live: Collection[int], wall_ms: int) -> int:
        """Append the configuration after `step`; its index. Raises `StepRefused` unless an entry of
        the own term is committed, no change is under way, the asker knows the configuration, a
        learner has caught up, and a majority of the new voters lives (docs/REPLICATION.md 7;
        `live`: the replicas heard of lately)."""
        if self.lead is None or not self.accepts:
            raise StepRefused("this replica does not lead, or not yet")
        if self.conf_id > self.commit:
            raise StepRefused(f"the change at {self.conf_id} is not committed yet")
        if step.conf_id != self.conf_id:
            raise StepRefused(f"the configuration is {self.conf_id}, not {step.conf_id}")
        after = self.lead.config_after(step, self.config, live)
        return self._append(CONFIG, after.encode(), wall_ms)

    def hand_over(self, now: int, replica: int) -> bool:
        """Let `replica` lead, once it holds everything; False if that makes no sense now."""
        if self.lead is None or not self.serving or not self.lead.hand_over(now, replica):
            return False
        self._late += self.lead.handing()
        return True

    # ---- elections -------------------------------------------------------------------------------

    def stand(self, wall_ms: int, *, transfer: bool = False) -> None:
        """Ask for pre-votes; or, when the leader hands over, for votes at once."""
        assert self.may_stand
        self.leader = 0
        self._votes = {self.replica}
        if transfer:
            self.role = Role.CANDIDATE
            self._take_term(self.term + 1, self.replica)
            self._ask_for_votes(self.term, pre=False, transfer=True)
        else:
            self.role = Role.PRE_CANDIDATE
            self._ask_for_votes(self.term + 1, pre=True)
        self._count_votes(wall_ms)

    def step_down(self) -> None:
        """Lead, or stand, no more: no majority was heard for too long."""
        self._follow(self.term, 0)

    # ---- messages --------------------------------------------------------------------------------

    def receive(
        self, now: int, wall_ms: int, message: GroupBody, *, leader_alive: bool = False
    ) -> None:
        """A message of another replica of this group; not the rows of a snapshot. `leader_alive`:
        the leader of this term was heard lately, so nobody else gets a vote. Raises `WireError` for
        what no leader sends."""
        if type(message) is Append:
            self._appended(message)
        elif type(message) is AppendResult:
            self._answered(now, message)
        elif isinstance(message, VoteRequest):
            self._asked_for_vote(message, leader_alive)
        elif isinstance(message, VoteResult):
            self._voted(wall_ms, message)
        elif isinstance(message, SnapshotOffer):
            self._offered(message)
        elif isinstance(message, TimeoutNow):
            is_right = message.term == self.term and message.source == self.leader
            if is_right and self.may_stand:
                self.stand(wall_ms, transfer=True)
        else:
            raise WireError(f"{type(message).__name__} is not for the core")

    def pulse(self, source: int, term: int, commit: int) -> bool:
        """`source` says that it leads in `term` and that `commit` is committed and held here; False
        if this replica knows a later term."""
        if term < self.term:
            return False
        self._hear_leader(source, term)
        self.has_forgotten = not self.is_damaged and commit > self.last
        if not (self.is_damaged or self.has_forgotten):
            self._commit_up_to(commit)
        return True

    def term_seen(self, term: int) -> None:
        """Somebody knows a later term than this leader."""
        if term > self.term:
            self._follow(term, 0)

    def lost(self, replica: int) -> None:
        """The connection to a replica broke: what was on its way may be gone."""
        if self.lead is not None and replica in self.lead.progress:
            self.lead.progress[replica].repeat()

    def take_early(self, now: int, linked: Collection[int]) -> list[Append]:
        """Entries for the followers in `linked`: to be sent before the own write."""
        if self.lead is None or self.holds_back:
            return []
        return self.lead.appends(now, self.commit, linked)

    @property
    def is_news(self) -> bool:
        """Is there something to save, to send or to apply?"""
        log, lead = self.log, self.lead
        is_owed = self._late or self._hard_state_unsaved or log.has_unsaved
        return bool(is_owed or self.commit > log.applied or (lead is not None and lead.is_behind))

    def take_late(self) -> list[GroupMessage]:
        """Votes, answers and requests: to be sent once everything is saved."""
        late = self._late
        if late:
            self._late = []
        return late

    # ---- saving, committing, applying ------------------------------------------------------------

    def begin_anew(self) -> None:
        """This replica begins with nothing, whatever an earlier one of the group left on disk."""
        assert not self.log.last
        self._hard_state_unsaved = self.log.is_extent_unsaved = True

    def unsaved(self) -> Unsaved | None:
        """What must be written before anything of it is revealed; None if nothing."""
        log = self.log
        if not (self._hard_state_unsaved or log.has_unsaved):
            return None
        hard_state = self.hard_state if self._hard_state_unsaved else None
        self._hard_state_unsaved = False
        is_truncated = log.is_truncated
        return Unsaved(hard_state, log.take_new(), log.extent, is_truncated)

    def saved(self) -> None:
        """Everything that `unsaved` gave is on disk: a leader counts itself."""
        log = self.log
        assert not log.has_unsaved
        log.saved = log.last
        if self.lead is not None:
            self.commit = self.lead.commit(self.commit)
            self.lead.saved()

    def committed(self) -> list[Entry]:
        """Entries to apply now, in order."""
        log = self.log
        return log.tail[: self.commit - log.applied]

    def applied_committed(self) -> None:
        """All of `committed` is applied."""
        log = self.log
        del log.tail[: self.commit - log.applied]
        log.applied = self.commit
        configs = self._configs
        while len(configs) > 1 and configs[1][0] <= log.applied:
            del configs[0]
        if self.lead is not None:
            self.serving = log.applied >= self.lead.term_first
            if self.serving and not self.is_voter and len(configs) == 1:
                self._follow(self.term, 0)  # Removed, and that is committed.

    def can_install(self, index: int, term: int) -> bool:
        """Would rows as of that entry be of use? They heal a damaged replica only if they end in
        the leader's term: those of before may lack what it acknowledged, and it must not vote."""
        if self.is_damaged:
            return term == self.term and index >= self.log.first - 1
        return self.lead is None and index > self.applied

    def install(self, index: int, end: LogEnd, config: GroupConfig, conf_id: int) -> bool:
        """The rows are now those as of `index`: what `unsaved` gives next makes it so on disk.
        True: the log was of another history, or shorter, and begins anew behind `index`."""
        assert self.can_install(index, end.term)
        if self.is_damaged:
            self.is_damaged = False
            self.log.lose_rows(index)
            self.commit = 0
        is_new = self.log.restart_at(index, end)
        self.commit = max(self.commit, index)
        self._configs = [(conf_id, config)]
        self._note_configs(self.log.tail)
        if self.leader:
            self._late.append(AppendResult(*self._to(self.leader), True, self.commit))
        return is_new

    def lose_rows(self) -> None:
        """The rows are not what the log makes of them: this replica is damaged from now on."""
        self._follow(self.term, self.leader if self.lead is None else 0)
        self.is_damaged, self.has_forgotten = True, False
        self.commit = self.log.forget_tail()
        if self.leader:
            self._late.append(AppendResult(*self._to(self.leader), False, 0, self.last, True))

    # ---- the inside: terms and roles -------------------------------------------------------------

    def _to(self, target: int, term: int | None = None) -> tuple[int, bytes, int, int, int]:
        me = self.identity
        return me.partition, me.group, me.replica, target, self.term if term is None else term

    def _take_term(self, term: int, voted_for: int) -> None:
        """In each term one vote: a term only rises, a vote once given stays."""
        assert term > self.term or (term == self.term and not self.hard_state.voted_for)
        self.hard_state = HardState(term, voted_for)
        self._hard_state_unsaved = True

    def _follow(self, term: int, leader: int) -> None:
        if term > self.term:
            self._take_term(term, 0)
        if self.lead is not None:
            self.lead = None
            self.log.forget_recent()
        self.role = Role.FOLLOWER
        self.leader = leader
        self.serving = False
        self._votes = set()

    def _hear_leader(self, source: int, term: int) -> None:
        if term > self.term or self.leader != source or self.role is not _FOLLOWER:
            assert term > self.term or self.leader in (0, source), "two leaders in one term"
            self._follow(term, source)

    # ---- the inside: votes -----------------------------------------------------------------------

    def _ask_for_votes(self, term: int, *, pre: bool, transfer: bool = False) -> None:
        log = self.log
        self._late += [
            VoteRequest(*self._to(voter, term), log.last, log.last_term, pre, transfer)
            for voter in self._voters
            if voter != self.replica
        ]

    def _asked_for_vote(self, request: VoteRequest, leader_alive: bool) -> None:
        if self.is_damaged:
            return
        log = self.log
        is_loyal = (leader_alive or self.lead is not None) and not request.transfer
        fits = (request.last_term, request.last_index) >= (log.last_term, log.last)
        if request.pre:
            granted = request.term > self.term and fits and not is_loyal
            term = request.term if granted else self.term
            self._late.append(VoteResult(*self._to(request.source, term), True, granted))
            return
        if request.term > self.term:
            if is_loyal:
                return
            self._follow(request.term, 0)
        granted = (
            request.term == self.term and self.hard_state.voted_for in (0, request.source) and fits
        )
        if granted and not self.hard_state.voted_for:
            self._follow(self.term, 0)
            self._take_term(self.term, request.source)
        self._late.append(VoteResult(*self._to(request.source), False, granted))

    def _voted(self, wall_ms: int, result: VoteResult) -> None:
        if not result.granted:
            self.term_seen(result.term)
            return
        is_pre = self.role is Role.PRE_CANDIDATE
        if (
            self.role in (Role.PRE_CANDIDATE, Role.CANDIDATE)
            and result.pre is is_pre
            and result.term == self.term + is_pre
        ):
            self._votes.add(result.source)
            self._count_votes(wall_ms)

    def _count_votes(self, wall_ms: int) -> None:
        if len(self._votes.intersection(self._voters)) < len(self._voters) // 2 + 1:
            return
        if self.role is Role.PRE_CANDIDATE:
            self.role = Role.CANDIDATE
            self._take_term(self.term + 1, self.replica)
            self._votes = {self.replica}
            self._ask_for_votes(self.term, pre=False)
            self._count_votes(wall_ms)
            return
        self.role = Role.LEADER
        self.leader = self.replica
        self.lead = Lead(self.identity, self.term, self.log, self.config)
        self._append(NO_OP, b"", wall_ms)

    # ---- the inside: the log ---------------------------------------------------------------------

    def _append(self, kind: int, payload: bytes, wall_ms: int) -> int:
        index = self.log.append(self.term, kind, payload, wall_ms)
        if kind == CONFIG:
            self._note_configs(self.log.tail[-1:])
        return index

    def _answered(self, now: int, result: AppendResult) -> None:
        term, lead = result.term, self.lead
        if term > self.term:
            self.term_seen(term)
        elif lead is not None and term == self.term and lead.answered(now, result):
            self.commit = lead.commit(self.commit)
            self._late += lead.handing()

    def _appended(self, append: Append) -> None:
        source, prev = append.source, append.prev_index
        if append.term < self.term:
            self._late.append(AppendResult(*self._to(source), False, 0, prev))
            return
        self._hear_leader(source, append.term)
        if self.is_damaged:
            self._late.append(AppendResult(*self._to(source), False, 0, prev, True))
            return
        # What is committed is every leader's; behind it the entry before these must be the same.
        if prev > self.commit and not self.log.holds(prev, (append.prev_term, append.prev_chain)):
            self._late.append(AppendResult(*self._to(source), False, self.commit, prev))
            return
        match = prev
        for body in append.entries:
            entry = decode_entry(body)
            match += 1
            if entry.index != match:
                raise WireError(f"entry {entry.index} in the place of {match}")
            if match > self.commit and not self._hold(entry, body):
                raise WireError(f"entry {match} does not continue the chain")
        match = max(match, self.commit)
        self._commit_up_to(min(append.commit, match))
        self._late.append(AppendResult(*self._to(source), True, match))

    def _offered(self, offer: SnapshotOffer) -> None:
        """Whose rows are committed here needs none; that answer was lost, so it is given again."""
        if offer.term >= self.term:
            self._hear_leader(offer.source, offer.term)
            if not self.is_damaged and self.commit >= offer.index:
                self._late.append(AppendResult(*self._to(offer.source), True, self.commit))

    def _hold(self, entry: Entry, body: bytes) -> bool:
        """Hold the leader's entry at its index; only what it contradicts is gone."""
        log = self.log
        if entry.index <= log.last:
            if log.at(entry.index) == (entry.term, entry.chain):
                return True
            assert entry.index > self.commit, f"{entry.index} is committed and contradicted"
            log.truncate(entry.index)
            self._forget_configs(entry.index)
        if not log.take_over(entry, body):
            return False
        if entry.kind == CONFIG:
            self._note_configs([entry])
        return True

    def _commit_up_to(self, index: int) -> None:
        assert index <= self.log.last, f"{index} is committed, the log ends at {self.log.last}"
        self.commit = max(self.commit, index)

    def _note_configs(self, entries: Collection[Entry]) -> None:
        """Configurations hold from the moment they are appended."""
        for entry in entries:
            if entry.kind == CONFIG:
                self._configs.append((entry.index, GroupConfig.decode(entry.payload)))
        self._configure()

    def _forget_configs(self, index: int) -> None:
        """What was appended from `index` on is gone."""
        while self._configs[-1][0] >= index:
            self._configs.pop()
        self._configure()

    def _configure(self) -> None:
        self.places = self.config.places
        self._voters = tuple(voter.replica for voter in self.config.voters)
        if self.lead is not None:
            self.lead.configure(self.config)
