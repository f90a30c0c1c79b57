"""What is wrong with the replicas of a cluster, in sentences: docs/OPERATING.md says of each what
to do.

*Problems* need an eye; *notes* only say what this host cannot know. Partitions that suffer from
the same thing share a sentence, so that 64 of them do not flood the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from zmqim.node.partitions import META, Partition, Replica, Source

NAMED_MAX = 5
"""Partitions that a sentence names; more are counted."""

Ids = Sequence[int | str]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else status knows: it decides how a sentence explains what it tells."""

    states: Mapping[str, str]
    """Of every process, by name: alive, down, …"""
    storages: AbstractSet[str]
    """All of the topology."""
    here: AbstractSet[str]
    """The storages of this host."""

    @property
    def is_one_host(self) -> bool:
        """Is everybody asked?"""
        return self.here == self.storages

    def absence(self, name: str) -> str:
        """Why a voter does not answer its leader."""
        state = self.states.get(name, "alive")
        if state in ("alive", "suspect"):
            return f"{name} runs but its replica does not answer the leader"
        return f"{name} {'has' if state in ('left', 'failed') else 'is'} {state}"


def problems(partitions: Sequence[Partition], around: Surroundings) -> list[str]:
    """A sentence for everything that keeps a partition from being served or whole."""
    return [
        *_without_leader(partitions, around),
        *_silent_leaders(partitions, around),
        *_not_serving(partitions),
        *_short(partitions, around),
        *_damaged(partitions),
        *_behind(partitions),
        *_joining(partitions),
        *_unsure(partitions),
        *(_unknown(partitions) if around.is_one_host else ()),
    ]


def notes(partitions: Sequence[Partition], around: Surroundings) -> list[str]:
    """What the storages of this host cannot know of the others; nothing with one host."""
    if around.is_one_host:
        return []
    elsewhere = [
        one.id
        for one in partitions
        if one.source is Source.FOLLOWERS and one.leader and one.leader not in around.here
    ]
    found = []
    if elsewhere:
        found.append(
            f"{named(elsewhere)} {_be(elsewhere)} led on other hosts: how far the replicas are is "
            "known there."
        )
    return found + _unknown(partitions)


def _without_leader(partitions: Sequence[Partition], around: Surroundings) -> list[str]:
    alone = [one for one in partitions if one.source is Source.FOLLOWERS and one.leader is None]
    if not alone:
        return []
    ids = [one.id for one in alone]
    has = "has" if len(ids) == 1 else "have"
    limited = "" if around.is_one_host else ", as far as this host knows"
    return [f"{named(ids)} {has} no leader{limited}: nothing can be read or written there."]


def _silent_leaders(partitions: Sequence[Partition], around: Surroundings) -> list[str]:
    by_leader: dict[str, list[int | str]] = {}
    for one in partitions:
        if one.source is Source.FOLLOWERS and one.leader in around.here:
            by_leader.setdefault(str(one.leader), []).append(one.id)
    return [
        f"{leader} leads {named(ids)} but says nothing of {_it(ids)}: how far the replicas are is "
        "not known."
        for leader, ids in sorted(by_leader.items())
    ]


def _not_serving(partitions: Sequence[Partition]) -> list[str]:
    by_leader: dict[str, list[int | str]] = {}
    for one in partitions:
        if one.source is Source.LEADER and not one.serving:
            by_leader.setdefault(str(one.leader), []).append(one.id)
    return [
        f"{leader} leads {named(ids)} but does not serve {_it(ids)} yet."
        for leader, ids in sorted(by_leader.items())
    ]


def _short(partitions: Sequence[Partition], around: Surroundings) -> list[str]:
    """Voters that are away, or were never there."""
    groups: dict[tuple[int, int, bool, tuple[str, ...]], list[int | str]] = {}
    for one in partitions:
        if one.source is not Source.LEADER:
            continue
        reasons = [around.absence(name) for name in _names(one.voters, "down")]
        reasons += _vacancies(one, around)
        if not reasons:
            continue
        hurt = _names(one.voters, "damaged")
        reasons += [f"{name}'s replica is damaged" for name in hurt]
        have = len(one.voters) - len(_names(one.voters, "down")) - len(hurt)
        of = max(len(one.voters), one.wanted or 0)
        has_majority = have > len(one.voters) // 2
        groups.setdefault((have, of, has_majority, tuple(reasons)), []).append(one.id)
    return [
        f"{named(ids)} {'has' if len(ids) == 1 else 'have'} {have} of {of} voters: "
        f"{_listed(reasons)}."
        + ("" if has_majority else " Without a majority nothing is acknowledged there.")
        for (have, of, has_majority, reasons), ids in groups.items()
    ]


def _vacancies(one: Partition, around: Surroundings) -> list[str]:
    """Why a partition has fewer voters than it should; empty when it has enough."""
    if len(one.voters) >= (one.wanted or 0):
        return []
    if one.learners:
        return [f"{learner.name} is being added" for learner in one.learners]
    if len(around.storages) < (one.wanted or 0):
        number = len(around.storages)
        return [f"there {'is' if number == 1 else 'are'} only {_count(number, 'storage')}"]
    return ["no storage has been given the missing replica yet"]


def _damaged(partitions: Sequence[Partition]) -> list[str]:
    found: dict[tuple[str, bool], list[int | str]] = {}
    for one in partitions:
        for name in one.damaged:
            found.setdefault((name, one.leader is not None), []).append(one.id)
    sentences = []
    for (name, is_led), ids in sorted(found.items()):
        replica, be = ("replica", "is") if len(ids) == 1 else ("replicas", "are")
        what = "and being rebuilt" if is_led else "and will be rebuilt once there is a leader"
        sentences.append(f"{name}'s {replica} of {named(ids)} {be} damaged {what}.")
    return sentences


def _behind(partitions: Sequence[Partition]) -> list[str]:
    found: dict[str, list[Replica]] = {}
    for one in partitions:
        for voter in one.voters:
            if voter.is_behind:
                found.setdefault(voter.name, []).append(voter)
    return [f"{name} is catching up: {_way(late)}." for name, late in sorted(found.items())]


def _joining(partitions: Sequence[Partition]) -> list[str]:
    found: dict[str, list[Replica]] = {}
    for one in partitions:
        if one.source is Source.LEADER:
            for learner in one.learners:
                if learner.state != "damaged":
                    found.setdefault(learner.name, []).append(learner)
    return [f"{name} is being added: {_way(late)}." for name, late in sorted(found.items())]


def _way(replicas: Sequence[Replica]) -> str:
    """``5 partitions, 120,000 entries behind (2 by snapshot)``."""
    lag = sum(replica.match_lag or 0 for replica in replicas)
    snapshots = sum(replica.state == "snapshot" for replica in replicas)
    by_snapshot = f" ({snapshots:,} by snapshot)" if snapshots else ""
    entries = "1 entry" if lag == 1 else f"{lag:,} entries"
    return f"{_count(len(replicas), 'partition')}, {entries} behind{by_snapshot}"


def _unsure(partitions: Sequence[Partition]) -> list[str]:
    """Voters of whom the leader does not know yet what they hold."""
    found: dict[str, list[int | str]] = {}
    for one in partitions:
        for voter in one.voters:
            if one.source is Source.LEADER and voter.state == "probing" and not voter.is_behind:
                found.setdefault(voter.name, []).append(one.id)
    return [
        f"{name} has not said yet what it holds of {named(ids)}."
        for name, ids in sorted(found.items())
    ]


def _unknown(partitions: Sequence[Partition]) -> list[str]:
    ids = [one.id for one in partitions if one.source is Source.NOBODY]
    if not ids:
        return []
    return [f"nothing is known here of {named(ids)}: no storage that answers holds a replica."]


def _names(voters: Iterable[Replica], state: str) -> list[str]:
    return sorted(voter.name for voter in voters if voter.state == state)


def named(ids: Ids) -> str:
    """``partition 3``, ``partitions 3, 9 and 14``, ``42 partitions``; META is spelled out."""
    numbers = [one for one in ids if one != META]
    words = []
    if len(numbers) == 1:
        words.append(f"partition {numbers[0]}")
    elif len(numbers) > NAMED_MAX:
        words.append(f"{len(numbers):,} partitions")
    elif numbers:
        words.append(f"partitions {_listed([str(one) for one in numbers])}")
    if META in ids:
        words.append("the meta group")
    return " and ".join(words)


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _be(ids: Ids) -> str:
    return "is" if len(ids) == 1 else "are"


def _it(ids: Ids) -> str:
    return "it" if len(ids) == 1 else "them"
