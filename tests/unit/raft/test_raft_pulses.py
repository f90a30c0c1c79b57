"""The list of groups in heartbeats: what changed, a digest of all, and full ones after a loss."""

from __future__ import annotations

from zmqim.bus.replication import GroupPulse, NodeHeartbeat, NodeHeartbeatEcho
from zmqim.limits import ROUNDS_OPEN_MAX
from zmqim.raft.pulses import HeldPulses, ToldPulses, digest_of

GROUP = b"12345678"


def pulse(partition: int, term: int = 1, commit: int = 0) -> GroupPulse:
    return GroupPulse(partition, GROUP, 1, 2, term, commit)


def gone(partition: int) -> GroupPulse:
    return GroupPulse(partition, GROUP, 1, 2, 0, 0)


def echoed(held: HeldPulses, heartbeat: NodeHeartbeat) -> NodeHeartbeatEcho:
    held.take(heartbeat)
    return held.echo(heartbeat, 0, [])


def test_the_first_heartbeat_is_full_and_the_next_tells_what_changed() -> None:
    told = ToldPulses()
    both = digest_of(pulse(1)) ^ digest_of(pulse(2))
    assert told.heartbeat(1, 9, [pulse(1), pulse(2)]) == NodeHeartbeat(
        1, True, both, 9, [pulse(1), pulse(2)]
    )
    assert told.heartbeat(2, 9, [pulse(1)]) == NodeHeartbeat(2, False, both, 9, [])
    changed = digest_of(pulse(1)) ^ digest_of(pulse(2, commit=5))
    assert told.heartbeat(3, 9, [pulse(2, commit=5)]) == NodeHeartbeat(
        3, False, changed, 9, [pulse(2, commit=5)]
    )
    assert told.heartbeat(4, 9, [gone(1), gone(7)]) == NodeHeartbeat(
        4, False, digest_of(pulse(2, commit=5)), 9, [gone(1)]
    )
    assert told.groups == {2: pulse(2, commit=5)}


def test_what_one_end_tells_the_other_holds() -> None:
    told, held = ToldPulses(), HeldPulses()
    for number, pulses in enumerate(
        ([pulse(1), pulse(2)], [pulse(1, term=3)], [gone(2)], [], [pulse(2, 5, 6)]), 1
    ):
        told.echo(echoed(held, told.heartbeat(number, 0, pulses)))
        assert (held.groups, told.echoed) == (told.groups, number)
    assert held.groups == {1: pulse(1, 3), 2: pulse(2, 5, 6)}


def test_after_a_lost_heartbeat_the_next_is_full() -> None:
    told, held = ToldPulses(), HeldPulses()
    told.echo(echoed(held, told.heartbeat(1, 0, [pulse(1), pulse(3)])))
    told.heartbeat(2, 0, [pulse(2), gone(3)])
    third = told.heartbeat(3, 0, [])
    assert not third.full
    told.echo(echoed(held, third))
    assert told.echoed == 1
    fourth = told.heartbeat(4, 0, [])
    assert (fourth.full, fourth.groups) == (True, [pulse(1), pulse(2)])
    assert held.take(fourth) == [pulse(1), pulse(2), gone(3)]
    told.echo(held.echo(fourth, 0, []))
    assert (told.echoed, held.groups) == (4, told.groups)


def test_an_echo_of_an_unknown_or_forgotten_round_says_nothing() -> None:
    told, held = ToldPulses(), HeldPulses()
    first = told.heartbeat(1, 0, [pulse(1)])
    answer = echoed(held, first)
    told.echo(NodeHeartbeatEcho(9, first.digest, 0, []))
    assert told.echoed == 0
    told.heartbeat(2, 0, [])
    told.forget()
    told.echo(answer)
    assert told.echoed == 0
    assert told.heartbeat(3, 0, []).full


def test_only_so_many_rounds_wait_for_their_echo() -> None:
    told, held = ToldPulses(), HeldPulses()
    answers = [
        echoed(held, told.heartbeat(number, 0, [pulse(1)]))
        for number in range(1, ROUNDS_OPEN_MAX + 3)
    ]
    told.echo(answers[1])
    assert told.echoed == 0
    told.echo(answers[2])
    assert told.echoed == 3
    told.echo(answers[0])
    assert told.echoed == 3


def test_a_peer_confirms_only_groups_that_it_was_told_of_by_then() -> None:
    told, held = ToldPulses(), HeldPulses()
    told.echo(echoed(held, told.heartbeat(1, 0, [pulse(1)])))
    second = told.heartbeat(2, 0, [pulse(2)])
    assert [told.confirmed(one) for one in (1, 2, 3)] == [1, 0, 0]
    told.echo(echoed(held, second))
    assert [told.confirmed(one) for one in (1, 2, 3)] == [2, 2, 0]
    told.heartbeat(3, 0, [gone(1)])
    assert [told.confirmed(one) for one in (1, 2)] == [0, 2]
    told.heartbeat(4, 0, [pulse(1)])
    assert told.confirmed(1) == 0


def test_a_damaged_replica_confirms_nobody() -> None:
    told, held = ToldPulses(), HeldPulses()
    first = told.heartbeat(1, 0, [pulse(1), pulse(2)])
    held.take(first)
    told.echo(held.echo(first, 0, [(1, 0)]))
    assert [told.confirmed(one) for one in (1, 2)] == [0, 1]


def test_another_life_holds_nothing() -> None:
    held = HeldPulses()
    first = ToldPulses().heartbeat(1, 0, [pulse(1)])
    held.take(first)
    held.forget()
    assert (held.groups, held.echo(first, 7, [])) == ({}, NodeHeartbeatEcho(1, 0, 7, []))
