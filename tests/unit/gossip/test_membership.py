"""Membership: what one process makes of heartbeats, tables, links and silence."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from zmqim.bus.effects import View
from zmqim.bus.messages import Heartbeat, Load, Member, MemberState, Role, Suspicion
from zmqim.gossip.membership import TRANSITIONS, Evidence, Expected, Membership
from zmqim.ids import NodeName
from zmqim.limits import (
    HEARTBEAT_FRAME_BYTES_MAX,
    HEARTBEAT_MS,
    MEMBERS_MAX,
    PUSH_PULL_MS,
    SEEDS_AGAIN_MS,
    SUSPECT_TO_DOWN_MS,
)

RING = b"ringhash"
ROUTER, STORAGE, GATEWAY = NodeName("router-1"), NodeName("storage-1"), NodeName("gateway-1")


def member(
    name: str = ROUTER,
    role: int = Role.ROUTER,
    uuid: bytes = b"u",
    incarnation: int = 1,
    refute: int = 0,
    state: int = MemberState.ALIVE,
    counter: int = 0,
) -> Member:
    return Member(name, role, "h", uuid * 16, incarnation, refute, state, counter, "a", "p")


def beat(
    counter: int, of: Member | None = None, *, ring: bytes = RING, accused: Member | None = None
) -> Heartbeat:
    of = of or member()
    suspects = (
        [Suspicion(accused.node_uuid, accused.incarnation, accused.refute)] if accused else []
    )
    return Heartbeat(
        of.name, of.role, of.host, of.node_uuid, of.incarnation, of.refute, counter, of.state,
        0, 0, 1, ring, Load(), suspects,
    )  # fmt: skip


ME = member(STORAGE, Role.STORAGE, b"m")


def membership(*expected: Expected) -> Membership:
    return Membership(ME, 1, RING, Random(1), expected)


def hear(target: Membership, start: int, count: int, of: Member | None = None) -> int:
    """`count` regular heartbeats from `start` on; gives the time of the last."""
    now = start
    for number in range(count):
        now = start + number * HEARTBEAT_MS
        target.tick(now, Load(), 0)
        target.heartbeat_heard(now, beat(now, of))
    return now


def state_of(target: Membership, name: str = ROUTER) -> MemberState | None:
    found = [one for one in target.members() if one.name == name]
    return MemberState(found[0].state) if found else None


def pass_time(target: Membership, start: int, duration: int) -> int:
    for now in range(start, start + duration + 1, 50):
        target.tick(now, Load(), 0)
    return start + duration


def test_alone_it_sees_itself() -> None:
    alone = membership()
    assert alone.view() == View((), (), (STORAGE,))
    assert alone.members() == [ME]
    assert alone.problems() == []


def test_a_heartbeat_brings_its_sender_into_the_view() -> None:
    one = membership()
    version = one.version
    hear(one, 1_000, 1)
    assert one.view() == View((), (ROUTER,), (STORAGE,))
    assert one.version == version + 1
    hear(one, 1_250, 10)
    assert one.version == version + 1


def test_silence_makes_suspect_then_down_and_only_down_leaves_the_view() -> None:
    one = membership()
    last = hear(one, 1_000, 20)
    pass_time(one, last, 1_000)
    assert state_of(one) == MemberState.ALIVE
    pass_time(one, last, 1_200)
    assert state_of(one) == MemberState.SUSPECT
    assert one.view() == View((), (ROUTER,), (STORAGE,), suspected=(ROUTER,))
    assert one.problems() == ["router-1 is SUSPECT: not heard for 1 s"]
    pass_time(one, last, 1_200 + SUSPECT_TO_DOWN_MS)
    assert state_of(one) == MemberState.DOWN
    assert one.view() == View((), (), (STORAGE,))


def test_a_lost_link_makes_suspicion_faster() -> None:
    one = membership()
    one.link_up(0, ROUTER)
    last = hear(one, 1_000, 20)
    one.link_down(last, ROUTER)
    pass_time(one, last, 1_300)
    assert state_of(one) == MemberState.DOWN


def test_a_link_that_was_never_up_is_no_evidence() -> None:
    one = membership()
    last = hear(one, 1_000, 20)
    one.link_down(last, ROUTER)
    pass_time(one, last, 1_000)
    assert state_of(one) == MemberState.ALIVE


def test_who_is_slow_himself_waits_longer() -> None:
    one = membership()
    last = hear(one, 1_000, 20)
    for now in range(last, last + 1_200, 50):
        one.tick(now, Load(loop_lag_ms=1_000), 0)
    assert state_of(one) == MemberState.ALIVE
    assert one.health.multiplier > 1


def test_the_suspect_that_beats_again_is_told_refutes_and_is_alive() -> None:
    one = membership()
    last = hear(one, 1_000, 20)
    now = pass_time(one, last, 10_000)
    assert state_of(one) == MemberState.DOWN
    assert one.view().routers == ()
    one.heartbeat_heard(now, beat(now))
    assert state_of(one) == MemberState.DOWN
    assert one.view().routers == (ROUTER,), "we hear it ourselves"
    said = one.tick(now + HEARTBEAT_MS, Load(), 0).publish
    assert said is not None
    assert said.suspects == [Suspicion(b"u" * 16, 1, 0)]
    one.heartbeat_heard(now + HEARTBEAT_MS, beat(now + 1, member(refute=1)))
    assert state_of(one) == MemberState.ALIVE


def test_accused_it_refutes_at_once_and_trusts_itself_less() -> None:
    one = membership()
    one.tick(1_000, Load(), 0)
    one.heartbeat_heard(1_010, beat(1, accused=ME))
    assert one.next_wake() <= 1_010
    said = one.tick(1_010, Load(), 0).publish
    assert said is not None
    assert (said.refute, said.counter) == (1, 2)
    assert one.health.multiplier == 2
    one.heartbeat_heard(1_020, beat(2, accused=ME))
    assert one.tick(1_020, Load(), 0).publish is None, "that claim is already refuted"


def test_a_table_that_calls_me_down_is_refuted() -> None:
    one = membership()
    one.table_received(0, [member(STORAGE, Role.STORAGE, b"m", refute=3, state=MemberState.DOWN)])
    said = one.tick(0, Load(), 0).publish
    assert said is not None
    assert said.refute == 4
    assert one.problems() == []


def test_a_later_life_of_myself_is_a_problem() -> None:
    one = membership()
    one.table_received(0, [member(STORAGE, Role.STORAGE, b"m", incarnation=2)])
    assert one.problems() == [
        "a later life of storage-1 runs: its data folder was copied or restored"
    ]
    other = membership()
    other.heartbeat_heard(0, beat(1, member(STORAGE, Role.STORAGE, b"m", incarnation=2)))
    assert other.problems() == one.problems()


def test_my_own_heartbeat_changes_nothing() -> None:
    one = membership()
    said = one.tick(0, Load(), 0).publish
    assert said is not None
    one.heartbeat_heard(1, said)
    assert one.members()[0].counter == 1
    assert len(one.members()) == 1


def test_hearsay_of_a_death_does_not_take_away_who_is_heard() -> None:
    one = membership()
    last = hear(one, 1_000, 20)
    one.table_received(last, [member(state=MemberState.DOWN, counter=9)])
    assert state_of(one) == MemberState.DOWN
    assert one.view().routers == (ROUTER,)


def test_a_new_life_replaces_the_old_under_its_name() -> None:
    one = membership()
    last = hear(one, 1_000, 20)
    version = one.version
    fresh = member(uuid=b"n")
    one.heartbeat_heard(last + 300, beat(1, fresh))
    assert [one.node_uuid for one in one.members() if one.name == ROUTER] == [b"n" * 16]
    assert one.version == version, "the view names processes, not lives"
    assert one.problems() == []


def test_the_old_life_keeps_no_name_in_the_view_once_the_new_one_leaves() -> None:
    one = membership()
    last = hear(one, 1_000, 20)
    fresh = member(uuid=b"n")
    one.heartbeat_heard(last + 300, beat(1, fresh))
    gone = member(uuid=b"n", state=MemberState.LEFT)
    one.heartbeat_heard(last + 400, beat(2, gone))
    assert one.view().routers == ()


def test_a_replaced_life_is_not_accused_for_its_silence() -> None:
    one = membership()
    last = hear(one, 1_000, 20)
    for now in range(last + 300, last + 300 + 3 * SUSPECT_TO_DOWN_MS, HEARTBEAT_MS):
        one.heartbeat_heard(now, beat(now, member(uuid=b"n")))
        publish = one.tick(now, Load(), 0).publish
        assert publish is None or publish.suspects == []


@pytest.mark.parametrize("state", [MemberState.ALIVE, MemberState.SUSPECT, MemberState.DOWN])
def test_an_earlier_life_that_others_still_spread_is_no_member(state: MemberState) -> None:
    one = membership()
    mine = member(STORAGE, Role.STORAGE, b"x", state=state, counter=900)
    old = member(uuid=b"o", state=state, counter=900)
    fresh = member(uuid=b"n")
    for now in range(1_000, 1_000 + 3 * SUSPECT_TO_DOWN_MS, HEARTBEAT_MS):
        one.heartbeat_heard(now, beat(now, fresh))
        one.table_received(now, [mine, old])
        one.tick(now, Load(), 0)
        assert one.problems() == []
        assert [each.node_uuid for each in one.members()] == [b"n" * 16, ME.node_uuid]


def test_a_restarted_storage_counts_anew() -> None:
    one = membership()
    before = member("storage-2", Role.STORAGE, b"s")
    last = hear(one, 1_000, 5, before)
    after = member("storage-2", Role.STORAGE, b"s", incarnation=2)
    one.heartbeat_heard(last + 10, beat(1, after))
    one.heartbeat_heard(last + 20, beat(last + 99, before))
    found = [each for each in one.members() if each.name == "storage-2"]
    assert [(each.incarnation, each.counter) for each in found] == [(2, 1)]


def test_two_processes_under_one_name_are_reported_for_a_while() -> None:
    one = membership()
    other = member(uuid=b"n")
    one.heartbeat_heard(1_000, beat(1))
    one.heartbeat_heard(1_100, beat(1, other))
    assert one.problems() == []
    one.heartbeat_heard(1_200, beat(2))
    assert "two processes run under the name router-1: stop one of them" in one.problems()
    publish = one.tick(1_250, Load(), 0).publish
    assert publish is not None
    assert publish.suspects == [Suspicion(b"u" * 16, 1, 0)], "it lives, so it may refute"
    hear(one, 1_300, 20, other)
    assert one.problems() == []


def test_somebody_else_under_my_name_is_reported() -> None:
    one = membership()
    impostor = member(STORAGE, Role.STORAGE, b"x")
    one.heartbeat_heard(1_000, beat(1, impostor))
    assert "two processes run under the name storage-1: stop one of them" in one.problems()
    one = membership()
    gone = member(STORAGE, Role.STORAGE, b"x", state=MemberState.LEFT)
    one.heartbeat_heard(1_000, beat(1, gone))
    assert one.problems() == []


def test_old_lives_of_a_name_are_forgotten() -> None:
    one = membership()
    for number in range(20):
        one.heartbeat_heard(number * 300, beat(1, member(uuid=bytes([number]))))
    assert len(one._lives) == 4
    assert state_of(one) == MemberState.ALIVE


def test_who_leaves_is_gone_at_once_and_for_good() -> None:
    one = membership()
    last = hear(one, 1_000, 20)
    one.heartbeat_heard(last + 1, beat(last + 1, member(state=MemberState.LEFT)))
    assert state_of(one) == MemberState.LEFT
    assert one.view().routers == ()
    one.heartbeat_heard(last + 2, beat(last + 2))
    assert state_of(one) == MemberState.LEFT
    assert one.problems() == []


def test_a_goodbye_on_the_link_counts_as_leaving() -> None:
    one = membership()
    last = hear(one, 1_000, 2)
    one.goodbye_heard(last, ROUTER)
    one.goodbye_heard(last, NodeName("nobody"))
    assert state_of(one) == MemberState.LEFT
    one.goodbye_heard(last, ROUTER)
    assert state_of(one) == MemberState.LEFT


def test_leaving_is_said_with_the_last_heartbeat() -> None:
    one = membership()
    said = one.leave(10)
    assert (said.state, said.counter) == (MemberState.LEFT, 1)


def test_another_ring_is_a_problem() -> None:
    one = membership()
    one.heartbeat_heard(1_000, beat(1, ring=b"otherone"))
    assert len(one.problems()) == 1
    assert "their topologies differ" in one.problems()[0]


def test_who_was_never_heard_of_is_missing_and_who_never_beats_is_suspected() -> None:
    one = membership(Expected(ROUTER, Role.ROUTER), Expected(STORAGE, Role.STORAGE))
    assert one.problems() == ["router-1 is missing: never heard of"]
    one.table_received(0, [member()])
    pass_time(one, 0, SUSPECT_TO_DOWN_MS)
    assert state_of(one) == MemberState.ALIVE
    pass_time(one, 0, 2 * SUSPECT_TO_DOWN_MS + 1_500)
    assert state_of(one) == MemberState.DOWN


def test_addresses_come_from_the_topology_until_a_table_tells_them() -> None:
    one = membership(Expected(ROUTER, Role.ROUTER, "h", "tcp://t:1", "tcp://t:2"))
    one.heartbeat_heard(0, beat(1))
    found = next(each for each in one.members() if each.name == ROUTER)
    assert (found.address, found.pub_address) == ("tcp://t:1", "tcp://t:2")
    one.heartbeat_heard(0, beat(2, member(GATEWAY, Role.GATEWAY, b"g")))
    found = next(each for each in one.members() if each.name == GATEWAY)
    assert (found.address, found.pub_address) == ("", "")


def test_tables_go_to_a_new_peer_at_once_and_to_seeds_and_peers_in_turn() -> None:
    one = membership(Expected(ROUTER, Role.ROUTER))
    assert one.tick(0, Load(), 0).push_pull_with is None
    gateway = member(GATEWAY, Role.GATEWAY, b"g")
    one.heartbeat_heard(0, beat(1, gateway))
    for _ in range(2):
        one.link_up(0, GATEWAY)
        one.link_up(0, ROUTER)
    one.link_up(0, NodeName("router-2"))
    one.link_down(0, NodeName("router-2"))
    assert one.tick(1, Load(), 0).push_pull_with == GATEWAY
    assert one.tick(2, Load(), 0).push_pull_with == ROUTER
    assert one.tick(3, Load(), 0).push_pull_with is None
    asked = [one.tick(now, Load(), 0).push_pull_with for now in range(10, 240_000, 50)]
    times = sum(name is not None for name in asked)
    assert abs(times - 240_000 // PUSH_PULL_MS - 240_000 // SEEDS_AGAIN_MS) <= 2
    at_seeds = [one for one in asked if one == ROUTER]
    assert len(at_seeds) >= 240_000 // SEEDS_AGAIN_MS - 1


def test_a_router_outside_the_topology_is_a_seed_too() -> None:
    one = membership()
    one.heartbeat_heard(0, beat(1))
    one.link_up(0, ROUTER)
    one.tick(0, Load(), 0)
    assert one.tick(SEEDS_AGAIN_MS, Load(), 0).push_pull_with == ROUTER


def test_a_heartbeat_of_the_largest_cluster_fits_its_frame() -> None:
    one = membership()
    table = [
        member(f"a-storage-with-a-long-name-{number:04}", Role.STORAGE, bytes([number]), 1 << 40)
        for number in range(MEMBERS_MAX + 3)
    ]
    one.table_received(0, table)
    pass_time(one, 0, 2 * SUSPECT_TO_DOWN_MS)
    said = one.tick(10_000, Load(2**16, 2**32, 2**32, 2**32, 2**32, 2**32, 2**16, 2**16), 2**63)
    assert said.publish is not None
    assert len(said.publish.suspects) == MEMBERS_MAX
    assert len(msgspec.msgpack.encode(said.publish)) < HEARTBEAT_FRAME_BYTES_MAX


@pytest.mark.parametrize("state", list(MemberState))
@pytest.mark.parametrize("evidence", list(Evidence))
def test_evidence_only_ever_leads_onwards(state: MemberState, evidence: Evidence) -> None:
    assert TRANSITIONS.get((state, evidence), state) >= state
