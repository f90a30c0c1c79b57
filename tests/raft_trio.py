"""Replicas of one group that a test moves by hand: each with its disk, turn by turn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zmqim.bus.replication import Append, AppendResult, TimeoutNow, VoteRequest, VoteResult
from zmqim.raft.config import GroupConfig
from zmqim.raft.entry import Entry, EntryKind, decode_entry
from zmqim.raft.state import HardState
from zmqim.sim.raft_replica import GROUP, PARTITION, Replica, birth_of, places

WALL_MS = 1_000


def replica(
    number: int = 1,
    voters: Iterable[int] = (1, 2, 3),
    learners: Iterable[int] = (),
    term: int = 0,
) -> Replica:
    """A new one, in some term."""
    config = GroupConfig(places(*voters), places(*learners))
    return Replica(number, birth_of(config)._replace(hard_state=HardState(term)))


def turn(one: Replica) -> list[Any]:
    """A whole turn; what it sent."""
    one.out = []
    one.turn(len(one.phases))
    return one.out


def hears(one: Replica, *messages: Any) -> list[Any]:
    """Messages arrive, then it has its turn; what it sent."""
    for message in messages:
        one.receive(message)
    return turn(one)


def to(source: int, target: int, term: int) -> tuple[int, bytes, int, int, int]:
    """What every message begins with."""
    return PARTITION, GROUP, source, target, term


def asks(
    source: int,
    target: int,
    term: int,
    *,
    last: tuple[int, int] = (0, 0),
    pre: bool = False,
    transfer: bool = False,
) -> VoteRequest:
    """A request for a vote; `last` is (index, term)."""
    return VoteRequest(*to(source, target, term), *last, pre, transfer)


def votes(
    source: int, target: int, term: int, *, pre: bool = False, no: bool = False
) -> VoteResult:
    """The answer."""
    return VoteResult(*to(source, target, term), pre, not no)


def holds(source: int, target: int, term: int, match: int) -> AppendResult:
    """An Append was accepted."""
    return AppendResult(*to(source, target, term), True, match)


def lacks(source: int, target: int, term: int, at: int, agreed: int = 0) -> AppendResult:
    """An Append was refused."""
    return AppendResult(*to(source, target, term), False, agreed, at)


def append(leader: Replica, target: int, first: int, last: int, commit: int = 0) -> Append:
    """Entries of a leader's log, as it would send them."""
    log = leader.core.log
    prev = first - 1
    entries = leader.read(first, last, 1 << 30) if last >= first else []
    term = leader.core.term
    return Append(*to(leader.replica, target, term), prev, *log.at(prev), commit, entries)


def timeout_now(source: int, target: int, term: int) -> TimeoutNow:
    """A leader hands over."""
    return TimeoutNow(*to(source, target, term))


def elected(one: Replica) -> list[Any]:
    """It stands and gets every vote; what it sends first as leader."""
    core = one.core
    core.stand(WALL_MS)
    turn(one)
    others = [voter for voter in core._voters if voter != one.replica]
    wanted = len(core._voters) // 2
    hears(one, *(votes(v, one.replica, core.term + 1, pre=True) for v in others[:wanted]))
    return hears(one, *(votes(v, one.replica, core.term) for v in others[:wanted]))


def serving(number: int = 1, voters: Iterable[int] = (1, 2, 3), **more: Any) -> Replica:
    """A leader whose NO-OP everyone holds and which serves; its heartbeats are told."""
    one = replica(number, voters, **more)
    elected(one)
    turn(one)
    assert one.core.lead is not None
    others = list(one.core.lead.progress)
    hears(one, *(holds(v, number, one.core.term, one.core.last) for v in others))
    assert one.core.serving
    return one


def proposed(one: Replica, *payloads: bytes) -> list[Any]:
    """It proposes and has its turn."""
    for payload in payloads:
        one.core.propose(payload, WALL_MS)
    return turn(one)


def logged(one: Replica) -> list[tuple[int, int, bytes]]:
    """(index, term, payload) of the log on disk."""
    entries = map(decode_entry, one.disk.bodies)
    return [(entry.index, entry.term, entry.payload) for entry in entries]


def carried(message: Append) -> list[tuple[int, int, EntryKind]]:
    """(index, term, kind) of the entries in an Append."""
    entries: list[Entry] = [decode_entry(body) for body in message.entries]
    return [(entry.index, entry.term, EntryKind(entry.kind)) for entry in entries]
