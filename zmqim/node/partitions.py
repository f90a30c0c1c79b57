"""The replicated partitions of a cluster, put together from what the storages of this host say.

Each storage tells of the replicas that it holds; only a partition's leader knows the others. Of
several who say that they lead, the one of the highest term does. A partition that is led on
another host is known by its followers here: then its leader and term are known, the state of its
replicas is not, and `fully_replicated` is None. Pure: the sentences about all this are made in
`zmqim.node.partition_words`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from zmqim.limits import CAUGHT_UP_ENTRIES_MAX

META = "meta"
"""The id of the meta group, which is shown like a partition."""
_STORING = ("leader", "replicating")
"""States of a voter that stores what its leader appends."""


class Source(StrEnum):
    """Who of this host told of a partition."""

    LEADER = "leader"
    FOLLOWERS = "followers"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of a partition."""

    name: str
    """The storage that holds it."""
    state: str
    """As its leader sees it; as it says itself where the leader does not tell."""
    match_lag: int | None
    """Entries that it lacks; None: only its leader knows."""

    @property
    def is_behind(self) -> bool:
        """Does it lack so much that it does not count as a whole copy?"""
        is_far = self.match_lag is not None and self.match_lag >= CAUGHT_UP_ENTRIES_MAX
        return self.state == "snapshot" or (is_far and self.state in ("replicating", "probing"))

    def to_json(self) -> dict[str, Any]:
        """As `zmqim status --json` shows it."""
        return {"name": self.name, "match_lag": self.match_lag, "state": self.state}


@dataclass(frozen=True, slots=True)
class Partition:
    """What is known here of one partition, or of the meta group."""

    id: int | str
    source: Source
    leader: str | None
    term: int | None
    voters: tuple[Replica, ...] = ()
    """All of them when the leader tells, else those of this host."""
    learners: tuple[Replica, ...] = ()
    wanted: int | None = None
    """Voters that there should be."""
    serving: bool = False
    damaged: AbstractSet[str] = frozenset()
    """Storages whose replica is damaged."""

    @property
    def fully_replicated(self) -> bool | None:
        """As many voters as wanted, and each stores what is appended. None: not known here."""
        if self.source is not Source.LEADER:
            return None if self.leader or self.source is Source.NOBODY else False
        assert self.wanted is not None, "a leader knows it"
        return len(self.voters) >= self.wanted and all(
            voter.state in _STORING and not voter.is_behind for voter in self.voters
        )

    def to_json(self) -> dict[str, Any]:
        """As `zmqim status --json` shows it."""
        return {
            "id": self.id,
            "leader": self.leader,
            "term": self.term,
            "voters": [replica.to_json() for replica in self.voters],
            "learners": [replica.to_json() for replica in self.learners],
            "replicas_wanted": self.wanted,
            "serving": self.serving,
            "fully_replicated": self.fully_replicated,
            "known_by": str(self.source),
        }


def partitions_of(
    count: int,
    storages: Iterable[str],
    answers: Mapping[str, Mapping[str, Any]],
    ended: AbstractSet[str],
) -> tuple[Partition, ...]:
    """Every partition by rising id, then the meta group if anyone tells of it.

    `ended` are the storages that do not run, as their supervisor knows: what their replicas were a
    moment ago is not believed. Empty when the storages answer but tell nothing of partitions.
    """
    told: dict[int | str, list[_Told]] = {}
    answering = [name for name in storages if name in answers]
    for name in answering:
        for entry in answers[name].get("partitions", ()):
            told.setdefault(entry["id"], []).append((name, entry))
    if answering and not told:
        return ()
    ids: list[int | str] = [*range(count), *([META] if META in told else [])]
    return tuple(_partition(one, told.get(one, []), ended) for one in ids)


_Told = tuple[str, Mapping[str, Any]]
"""A storage, and what it says of its replica."""


def _partition(number: int | str, told: Sequence[_Told], ended: AbstractSet[str]) -> Partition:
    if not told:
        return Partition(number, Source.NOBODY, None, None)
    damaged = frozenset(name for name, entry in told if entry["role"] == "damaged")
    hearing = [entry for _, entry in told if entry["leader"] and entry["role"] != "leader"]
    heard = max(hearing, key=lambda entry: int(entry["term"]), default=None)
    leading = [one for one in told if one[1]["role"] == "leader"]
    if leading:
        name, entry = max(leading, key=lambda one: int(one[1]["term"]))
        if heard is None or entry["term"] >= heard["term"]:
            return _led(number, name, entry, damaged, ended)
    replicas = [
        Replica(name, str(entry["role"]), None)
        for name, entry in sorted(told, key=lambda one: one[0])
    ]
    leader = None if heard is None or heard["leader"] in ended else str(heard["leader"])
    return Partition(
        number,
        Source.FOLLOWERS,
        leader,
        max(int(entry["term"]) for _, entry in told) if heard is None else int(heard["term"]),
        tuple(one for one in replicas if one.state != "learner"),
        tuple(one for one in replicas if one.state == "learner"),
        damaged=damaged,
    )


def _led(
    number: int | str,
    leader: str,
    entry: Mapping[str, Any],
    damaged: AbstractSet[str],
    ended: AbstractSet[str],
) -> Partition:
    """The partition as its leader tells of it."""

    def replicas(key: str) -> tuple[Replica, ...]:
        return tuple(
            Replica(
                one["name"],
                "down" if one["name"] in ended else one["state"],
                int(one["match_lag"]),
            )
            for one in entry[key]
        )

    voters, learners = replicas("voters"), replicas("learners")
    return Partition(
        number,
        Source.LEADER,
        leader,
        int(entry["term"]),
        voters,
        learners,
        wanted=int(entry["replicas_wanted"]),
        serving=bool(entry["serving"]),
        damaged=damaged | {one.name for one in (*voters, *learners) if one.state == "damaged"},
    )


@dataclass(frozen=True, slots=True)
class StorageShare:
    """What one storage does for the partitions; the meta group is not counted."""

    name: str
    leads: int
    leads_away: int
    """Of those it leads: partitions whose leader should be another."""
    follows: int
    learns: int
    lag_max: int | None
    """Entries that the furthest of its replicas lacks; None: no leader here tells."""


def shares_of(
    partitions: Iterable[Partition], storages: Iterable[str], homes: Sequence[str]
) -> tuple[StorageShare, ...]:
    """One line a storage; `homes` names the storage that should lead each partition."""
    numbered = [one for one in partitions if isinstance(one.id, int)]
    found = []
    for name in storages:
        led = [one for one in numbered if one.leader == name]
        votes = [one for one in numbered if name in {voter.name for voter in one.voters}]
        learns = [one for one in numbered if name in {learner.name for learner in one.learners}]
        lags = [
            replica.match_lag
            for one in (*votes, *learns)
            for replica in (*one.voters, *one.learners)
            if replica.name == name and replica.match_lag is not None
        ]
        found.append(
            StorageShare(
                name,
                leads=len(led),
                leads_away=sum(homes[int(one.id)] != name for one in led),
                follows=sum(one.leader != name for one in votes),
                learns=len(learns),
                lag_max=max(lags, default=None),
            )
        )
    return tuple(found)
