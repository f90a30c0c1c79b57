"""Replicas that made something else of their log are found, marked, and given the right rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from storage_trio import NAMES, ONE, THREE, TWO, Trio
from storage_world import GROUP, ROUTER, ack_of, message

from zmqim.bus.replication import DigestReport, DigestWrong
from zmqim.chat.state import ChatState
from zmqim.ids import NodeName
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.storage.pushing import BOOK_MS
from zmqim.storage.sizes import Sizes

EVERY = 8
SIZES = Sizes(rows_wait_ms=0, digest_entries=EVERY)


class Talk:
    """A trio in which messages are sent to one group."""

    def __init__(self, sizes: Sizes = SIZES) -> None:
        self.trio = Trio(sizes=sizes)
        self.trio.add("g", "alice")
        self.number = 0

    def send(self, count: int = EVERY) -> None:
        for _ in range(count):
            self.number += 1
            self.trio.write(message("alice", "g", f"m{self.number}"))

    def spoil(self, *names: NodeName) -> None:
        """Each of these counts the messages of the group another way from now on."""
        for add, name in enumerate(names, 1):
            state = self.trio.group(name).state
            channel = state.heads.find(GROUP, "g")
            state.heads.changed(channel)
            channel.head.last_sequence += add
            state.heads.flush()

    def mismatches(self) -> int:
        return sum(self.trio[name].core.counters["digest_mismatches"] for name in NAMES)

    def status(self, name: NodeName) -> int:
        meta = self.trio[name].journal.load()[0].replica_meta
        assert meta is not None
        return ReplicaMeta.decode(meta).status

    def installs(self, name: NodeName) -> int:
        return self.trio[name].core.counters["snapshots_installed"]

    def settle(self) -> None:
        """Everyone has applied everything, and is alike, up to the applied digest."""
        trio = self.trio
        trio.until(trio.applied_alike)
        assert len({trio.group(name).state.applied.digest for name in NAMES}) == 1
        assert len(trio.digests()) == 1


def role(trio: Trio, name: NodeName) -> str:
    return trio[name].core.statuses(trio.now)[0]["role"]


def test_equal_replicas_never_complain() -> None:
    talk = Talk()
    trio = talk.trio
    talk.send(3 * EVERY)
    trio.run(500)
    trio.crash(TWO)
    talk.send(2 * EVERY)
    trio.boot(TWO)
    trio.until(trio.applied_alike)
    trio.crash(ONE)
    trio.until(lambda: trio.leader() is not None)
    talk.send(2 * EVERY)
    trio.boot(ONE)
    talk.send(2 * EVERY)
    talk.settle()
    assert talk.mismatches() == 0
    assert not any(trio[name].core.digests.problems for name in NAMES)


def test_a_digest_is_the_same_in_the_rows_of_a_snapshot() -> None:
    talk = Talk(Sizes(entries_kept=4, rows_wait_ms=0, digest_entries=EVERY))
    trio = talk.trio
    trio.crash(THREE)
    talk.send(5 * EVERY)
    trio[ONE].core.receive(trio.now, ROUTER, ack_of(0, 0, trio.group(ONE).raft.applied))
    trio.run(BOOK_MS)
    talk.send(1)
    trio.boot(THREE)
    trio.until(lambda: talk.installs(THREE) == 1)
    talk.send(2 * EVERY)
    talk.settle()
    assert talk.mismatches() == 0


def test_a_digest_does_not_depend_on_how_rows_gather() -> None:
    found = set()
    for wait in (0, 50):
        talk = Talk(Sizes(rows_wait_ms=wait, digest_entries=EVERY))
        talk.send(2 * EVERY)
        talk.trio.until(talk.trio.applied_alike)
        notes = [talk.trio.group(name).state.notes.at for name in NAMES]
        assert notes[0] == notes[1] == notes[2]
        found.add(len(notes[0]))
    assert found == {2}


@pytest.mark.promise("P8")
@pytest.mark.parametrize("name", [TWO, THREE])
def test_a_follower_that_made_something_else_is_rebuilt(name: NodeName) -> None:
    talk = Talk()
    trio = talk.trio
    talk.send(4)
    trio.until(trio.applied_alike)
    talk.spoil(name)
    talk.send(1)
    trio.until(trio.applied_alike)
    assert len(trio.digests()) == 2
    talk.send(1)
    trio.until(lambda: talk.status(name) == ReplicaStatus.DAMAGED)
    assert role(trio, name) == "damaged"
    trio.until(lambda: talk.installs(name) == 1)
    assert talk.status(name) == ReplicaStatus.VOTER
    assert trio.leads(ONE)
    talk.send(2 * EVERY)
    talk.settle()
    assert talk.mismatches() == 2  # The leader saw it, and the follower was told.
    assert talk.installs(ONE) + talk.installs(TWO) + talk.installs(THREE) == 1


def test_a_follower_that_is_wrong_stays_damaged_over_a_restart() -> None:
    talk = Talk()
    trio = talk.trio
    talk.spoil(THREE)
    talk.send(EVERY)
    trio.until(lambda: talk.status(THREE) == ReplicaStatus.DAMAGED)
    trio.crash(THREE)
    trio.boot(THREE)
    assert role(trio, THREE) == "damaged"
    trio.until(lambda: talk.installs(THREE) == 1)
    talk.settle()


@pytest.mark.promise("P8")
def test_a_leader_that_made_something_else_leads_no_more_and_is_rebuilt() -> None:
    talk = Talk()
    trio = talk.trio
    talk.send(4)
    trio.until(trio.applied_alike)
    talk.spoil(ONE)
    talk.send(2)
    trio.until(lambda: talk.status(ONE) == ReplicaStatus.DAMAGED)
    assert trio.group(ONE).raft.lead is None
    assert trio.group(ONE).duties is None
    assert role(trio, ONE) == "damaged"
    trio.until(lambda: trio.leader() in (TWO, THREE))
    trio.until(lambda: talk.installs(ONE) == 1)
    assert talk.status(ONE) == ReplicaStatus.VOTER
    talk.send(2 * EVERY)
    talk.settle()
    assert trio.group(TWO).state.heads.find(GROUP, "g").head.last_sequence == talk.number


@pytest.mark.promise("P8")
def test_nothing_is_guessed_where_all_differ() -> None:
    talk = Talk()
    trio = talk.trio
    talk.spoil(TWO, THREE)
    talk.send(2 * EVERY)
    trio.until(lambda: bool(trio[ONE].core.digests.problems))
    assert "no majority does" in trio[ONE].core.digests.problems[0]
    trio.run(2_000)
    assert trio.leads(ONE)
    assert {talk.status(name) for name in NAMES} == {ReplicaStatus.VOTER}
    talk.send(1)


def test_nothing_is_judged_before_a_majority_spoke() -> None:
    talk = Talk()
    trio = talk.trio
    trio.crash(THREE)
    talk.spoil(TWO)
    talk.send(2 * EVERY)
    trio.run(2_000)
    assert talk.status(TWO) == ReplicaStatus.VOTER
    trio.boot(THREE)
    talk.send(2 * EVERY)
    trio.until(lambda: talk.installs(TWO) == 1)
    talk.settle()


def test_a_new_leader_is_told_what_the_one_before_was() -> None:
    talk = Talk()
    trio = talk.trio
    talk.spoil(THREE)
    with _silent(trio, DigestReport):
        talk.send(EVERY)
        trio.until(trio.applied_alike)
        trio.run(500)
    assert talk.mismatches() == 0
    trio.group(ONE).raft.hand_over(trio.now, trio.group(TWO).raft.replica)
    trio[ONE].core.replicas.touched.add(0)
    trio.until(lambda: trio.leads(TWO))
    trio.until(lambda: talk.status(THREE) == ReplicaStatus.DAMAGED)
    trio.until(lambda: talk.installs(THREE) == 1)
    talk.settle()


def test_who_has_other_rows_by_now_ignores_what_was_said_of_the_old() -> None:
    talk = Talk()
    trio = talk.trio
    talk.send(2 * EVERY)
    trio.until(trio.applied_alike)
    raft = trio.group(ONE).raft
    ends = (0, raft.identity.group, raft.replica, trio.group(TWO).raft.replica, raft.term)
    for index, digest in ((EVERY * 100, 1), (EVERY, trio.group(TWO).state.notes.at[EVERY])):
        trio[TWO].core.receive(trio.now, ONE, DigestWrong(*ends, index, digest))
        trio.run(10)
        assert not trio.group(TWO).raft.is_damaged
    trio[TWO].core.receive(trio.now, ONE, DigestWrong(*ends[:4], raft.term - 1, EVERY, 1))
    trio.run(10)
    assert not trio.group(TWO).raft.is_damaged
    trio[TWO].core.receive(trio.now, ONE, DigestWrong(*ends, EVERY, 1))
    trio.until(lambda: talk.installs(TWO) == 1)
    talk.settle()


@contextmanager
def _silent(trio: Trio, kind: type[DigestReport]) -> Iterator[None]:
    """Messages of that kind are lost meanwhile."""
    put = trio._put

    def lossy(name: NodeName, to: NodeName, message: object, effect: object) -> None:
        if not isinstance(message, kind):
            put(name, to, message, effect)  # type: ignore[arg-type]

    trio._put = lossy  # type: ignore[method-assign]
    yield
    trio._put = put  # type: ignore[method-assign]


def test_notes_are_kept_of_the_last_positions_only() -> None:
    talk = Talk()
    talk.send(12 * EVERY)
    state: ChatState = talk.trio.group(ONE).state
    last = state.applied.index // EVERY * EVERY
    assert list(state.notes.at) == [last - EVERY * back for back in range(7, -1, -1)]


@pytest.mark.parametrize("name", [ONE, TWO])
def test_a_replica_of_the_meta_group_is_compared_too(name: NodeName) -> None:
    trio = Trio(sizes=Sizes(rows_wait_ms=0, digest_entries=2))
    group = trio[name].core.registry.group
    assert group is not None
    trio.until(lambda: group.raft.applied > 3 and group.raft.applied == group.raft.last)
    before = group.meta.install
    group.state.applied.digest += 1
    for _ in range(2):
        trio.crash(THREE)
        trio.boot(THREE)
        trio.run(2_000)
    trio.until(lambda: group.meta.install != before)
    assert group.meta.status == ReplicaStatus.VOTER
    assert trio.group(name).meta.status == ReplicaStatus.VOTER
    trio.run(1_000)
    digests = {one.core.registry.group.state.applied.digest for one in trio.members.values()}  # type: ignore[union-attr]
    assert len(digests) == 1
