"""What must be true after every event of the explorer: I-14 of the test plan, seen from above.

`History` is what an observer remembers: which entries were committed, by leaders of which terms,
and who led in each term. Everything is said about `View`s, the parts of a frozen replica that the
rules need; so each rule is computed once for each combination of views and then looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from zmqim.bus.replication import AppendResult, VoteRequest, VoteResult
from zmqim.raft.state import HardState

if TYPE_CHECKING:
    from zmqim.sim.raft_replica import Replica


class View(NamedTuple):
    """A replica as the rules see it."""

    replica: int
    leads: int
    """The term in which it leads; 0: it does not."""
    term_on_disk: int
    voters: tuple[int, ...]
    commit: int
    applied: int
    base: int
    """Index of the entry before the log."""
    entries: tuple[tuple[int, int], ...]
    """(term, chain) of the base and of all entries behind it."""
    disk_base: int
    disk_chains: tuple[int, ...]
    is_damaged: bool
    serves: bool
    """It accepts proposals and answers reads."""
    applied_config: tuple[int, tuple[int, ...]]
    """(index, voters) as of the last applied entry."""

    def chain(self, index: int) -> int | None:
        """The chain at `index`; None where this log does not reach."""
        offset = index - self.base
        return self.entries[offset][1] if 0 <= offset < len(self.entries) else None

    def holds(self, index: int, chain: int) -> bool:
        """Is that entry on disk, or in the rows that stand for it?"""
        offset = index - self.disk_base
        if offset < 0 or self.is_damaged:
            return True  # A damaged one held it: that it is gone is the fault, not the rule.
        return offset < len(self.disk_chains) and self.disk_chains[offset] == chain


class History(NamedTuple):
    """What was ever committed, and who ever led."""

    committed: tuple[tuple[int, int], ...] = ()
    """(chain, term of the leader that committed it) of entry 1 and those behind it."""
    leaders: tuple[tuple[int, int], ...] = ()
    """(term, replica), by term."""


def view_of(replica: Replica) -> View:
    """What the rules see of `replica`."""
    core, disk = replica.core, replica.disk
    base = core.log.first - 1
    first = disk.extent.first
    return View(
        replica.replica,
        0 if core.lead is None else core.lead.term,
        disk.hard_state.term,
        core._voters,
        core.commit,
        core.applied,
        base,
        tuple(core.log.at(index) for index in range(base, core.last + 1)),
        first - 1,
        tuple(disk.held(index) or 0 for index in range(first - 1, disk.extent.last + 1)),
        core.is_damaged,
        core.serving,
        (core.applied_config[0], tuple(one.replica for one in core.applied_config[1].voters)),
    )


# ---- rules for one replica -----------------------------------------------------------------------


def secret_in(replica: Replica, message: Any) -> str:
    """What `message` reveals although it is not on disk, or what its sender must not say."""
    disk, core = replica.disk, replica.core
    is_pre = isinstance(message, VoteRequest | VoteResult) and message.pre
    if message.term > disk.hard_state.term and not is_pre:
        return f"{type(message).__name__} of term {message.term} before the term is saved"
    if isinstance(message, VoteResult) and message.granted:
        if core.is_damaged:
            return "a damaged replica votes"
        if not is_pre and disk.hard_state < HardState(message.term, message.target):
            return "a vote is told before it is saved"
    if isinstance(message, VoteRequest) and core.is_damaged:
        return "a damaged replica stands"
    if isinstance(message, AppendResult) and message.accepted:
        if core.is_damaged:
            return "a damaged replica acknowledges"
        if disk.held(message.match) is None:
            return "an Append is acknowledged before it is saved"
    return ""


def step_back(before: HardState, after: HardState) -> str:
    """Terms rise, and a vote stays for its term."""
    if after.term < before.term:
        return f"the term went back from {before.term} to {after.term}"
    if after.term == before.term and before.voted_for not in (0, after.voted_for):
        return f"the vote of term {after.term} was forgotten or changed"
    return ""


# ---- rules for a replica and the history ---------------------------------------------------------


def remembered(history: History, view: View) -> tuple[History, str]:
    """The history with what `view` adds to it, and what `view` contradicts."""
    if not view.applied <= view.commit < view.base + len(view.entries):
        return history, f"applied {view.applied}, commit {view.commit}: behind the log's end"
    committed, leaders = history
    if view.leads:
        known = dict(leaders)
        leader = known.setdefault(view.leads, view.replica)
        if leader != view.replica:
            return history, f"term {view.leads} has two leaders: {leader} and {view.replica}"
        leaders = tuple(sorted(known.items()))
        for index, (chain, term) in enumerate(committed, 1):
            if term < view.leads and index >= view.base and view.chain(index) != chain:
                return history, f"the leader of term {view.leads} lacks committed entry {index}"
            if term < view.leads and view.serves and view.applied < index:
                return history, f"the leader serves without committed entry {index}"
    for index in range(view.base, view.commit + 1):
        if not index:
            continue
        chain = view.entries[index - view.base][1]
        if index <= len(committed):
            if committed[index - 1][0] != chain:
                return history, f"committed entry {index} is another one at {view.replica}"
        elif not view.leads:
            return history, f"{view.replica} commits entry {index}, which no leader committed"
        elif index == len(committed) + 1:
            committed = (*committed, (chain, view.leads))
        else:
            return history, f"entry {index} is committed, {index - 1} never was"
    return History(committed, leaders), ""


# ---- rules for all replicas ----------------------------------------------------------------------


def logs_differ(one: View, other: View) -> str:
    """Two logs that agree at an index in the term agree up to there."""
    first = max(one.base, other.base)
    stop = min(one.base + len(one.entries), other.base + len(other.entries))
    for index in range(first, stop):
        term, chain = one.entries[index - one.base]
        if other.entries[index - other.base] != (term, chain) and (
            other.entries[index - other.base][0] == term
        ):
            return f"{one.replica} and {other.replica} differ at {index} in the same term {term}"
    if one.applied == other.applied and one.applied_config != other.applied_config:
        return f"{one.replica} and {other.replica} applied the same, and their voters differ"
    return ""


def not_durable(index: int, chain: int, voters: Sequence[int], views: Sequence[View]) -> str:
    """Is the entry at `index` on the disks of a majority of the voters?"""
    held = sum(view.replica in voters and view.holds(index, chain) for view in views)
    if held >= len(voters) // 2 + 1:
        return ""
    return f"entry {index} is on {held} disks of the voters {voters}"


def two_able(views: Sequence[View]) -> str:
    """At most one leader has a majority that would accept what it appends."""
    able = []
    for leader in views:
        if leader.leads:
            voters = [
                view
                for view in views
                if view.replica in leader.voters
                and view.term_on_disk <= leader.leads
                and not view.is_damaged
            ]
            if len(voters) >= len(leader.voters) // 2 + 1:
                able.append(leader.replica)
    return "" if len(able) < 2 else f"{able} can both commit"
