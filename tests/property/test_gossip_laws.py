"""Laws of gossip: tables merge to the same whatever the order, members come to agree."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zmqim.bus.messages import Heartbeat, Load, Member, MemberState, Role
from zmqim.gossip.membership import Membership
from zmqim.gossip.table import merge
from zmqim.ids import NodeName
from zmqim.limits import SUSPECT_TO_DOWN_MS

CLAIMS = st.builds(
    Member,
    name=st.sampled_from(["a", "b"]),
    role=st.sampled_from([1, 2]),
    host=st.just("h"),
    node_uuid=st.sampled_from([b"1" * 16, b"2" * 16]),
    incarnation=st.integers(0, 2),
    refute=st.integers(0, 2),
    state=st.sampled_from([0, 1, 2, 3]),
    counter=st.integers(0, 2),
    address=st.sampled_from(["", "x"]),
    pub_address=st.just(""),
)
TABLES = st.lists(CLAIMS, max_size=6)


@given(TABLES, TABLES)
def test_merging_is_commutative(one: list[Member], other: list[Member]) -> None:
    assert merge(one, other) == merge(other, one)


@given(TABLES, TABLES, TABLES)
def test_merging_is_associative(a: list[Member], b: list[Member], c: list[Member]) -> None:
    assert merge(merge(a, b).values(), c) == merge(a, merge(b, c).values()) == merge(a, b, c)


@given(TABLES)
def test_merging_is_idempotent(table: list[Member]) -> None:
    merged = merge(table)
    assert merge(merged.values(), table, merged.values()) == merged


@given(TABLES, st.randoms(use_true_random=False))
def test_a_membership_learns_the_same_table_in_any_order(
    table: list[Member], random: Random
) -> None:
    shuffled = list(table)
    random.shuffle(shuffled)
    me = Member("me", Role.ROUTER, "h", b"m" * 16, 1, 0, 0, 0, "", "")
    one, other = (Membership(me, 1, b"r", Random(0)) for _ in range(2))
    one.table_received(0, table)
    for claim in shuffled:
        other.table_received(0, [claim])
    assert one.members() == other.members()
    assert one.view() == other.view()


class Mesh:
    """`count` memberships that hear each other's heartbeats, with loss, jitter and cuts."""

    def __init__(self, count: int, seed: int, loss: float, jitter_ms: int) -> None:
        self.random = Random(seed)
        self.loss, self.jitter_ms = loss, jitter_ms
        self.names = [f"router-{number}" for number in range(count)]
        self.live = set(range(count))
        self.cut: set[tuple[int, int]] = set()
        self.now = 0
        self.flying: list[tuple[int, int, Heartbeat]] = []
        self.all = [
            Membership(
                Member(name, Role.ROUTER, "h", bytes([number]) * 16, 1, 0, 0, 0, "", ""),
                1,
                b"ring",
                Random(number),
            )
            for number, name in enumerate(self.names)
        ]

    def run(self, duration: int) -> None:
        for _ in range(0, duration, 25):
            self.now += 25
            due = [one for one in self.flying if one[0] <= self.now]
            self.flying = [one for one in self.flying if one[0] > self.now]
            for _, target, heartbeat in due:
                if target in self.live:
                    self.all[target].heartbeat_heard(self.now, heartbeat)
            for source in sorted(self.live):
                said = self.all[source].tick(self.now, Load(), 0).publish
                if said is not None:
                    self._publish(source, said)

    def _publish(self, source: int, said: Heartbeat) -> None:
        for target in range(len(self.all)):
            dropped = self.random.random() < self.loss or (source, target) in self.cut
            if target != source and not dropped:
                arrival = self.now + self.random.randrange(1, self.jitter_ms + 2)
                self.flying.append((arrival, target, said))

    def views(self) -> set[tuple[NodeName, ...]]:
        return {self.all[number].view().routers for number in self.live}

    def states(self) -> set[tuple[int, ...]]:
        return {
            tuple(member.state for member in self.all[number].members()) for number in self.live
        }


@pytest.mark.promise("P12")
@settings(max_examples=10, deadline=None)
@given(st.integers(2, 8), st.integers(0, 2**32))
def test_members_come_to_agree_though_a_fifth_of_the_heartbeats_is_lost(
    count: int, seed: int
) -> None:
    mesh = Mesh(count, seed, loss=0.2, jitter_ms=100)
    mesh.run(3_000)
    assert mesh.views() == {tuple(sorted(mesh.names))}


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_jittered_heartbeats_are_never_taken_for_a_death(seed: int) -> None:
    mesh = Mesh(5, seed, loss=0.05, jitter_ms=150)
    mesh.run(1_000)
    for _ in range(30):
        mesh.run(1_000)
        assert mesh.views() == {tuple(sorted(mesh.names))}


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_a_death_is_seen_by_all_within_its_bound(seed: int) -> None:
    mesh = Mesh(5, seed, loss=0.0, jitter_ms=20)
    mesh.run(10_000)
    mesh.live.discard(0)
    mesh.run(1_000)
    assert mesh.views() == {tuple(mesh.names)}, "too early to say"
    mesh.run(500 + SUSPECT_TO_DOWN_MS)
    assert mesh.views() == {tuple(mesh.names[1:])}


@pytest.mark.promise("P12")
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_all_agree_within_three_seconds_after_a_partition_heals(seed: int, size: int) -> None:
    mesh = Mesh(6, seed, loss=0.0, jitter_ms=50)
    mesh.run(5_000)
    side = set(range(size))
    mesh.cut = {(a, b) for a in range(6) for b in range(6) if (a in side) != (b in side)}
    mesh.run(20_000)
    assert len(mesh.views()) == 2
    mesh.cut = set()
    mesh.run(3_000)
    assert mesh.views() == {tuple(sorted(mesh.names))}
    assert mesh.states() == {(MemberState.ALIVE,) * 6}
