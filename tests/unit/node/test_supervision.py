"""The supervisor's decisions without processes: restarts, crash loops, the order of stopping."""

from __future__ import annotations

import signal

import pytest

from zmqim import limits
from zmqim.bus.messages import Role
from zmqim.errors import EXIT_DISK, EXIT_REFUSED
from zmqim.ids import Milliseconds, NodeName
from zmqim.node.supervision import (
    AllGone,
    AllReady,
    Condition,
    GiveUp,
    Kill,
    Refused,
    Spawn,
    StillWaiting,
    Supervision,
    Terminate,
)

G, R, S = NodeName("gateway-1"), NodeName("router-1"), NodeName("storage-1")
G2 = NodeName("gateway-2")
EVERYONE = [(S, Role.STORAGE), (R, Role.ROUTER), (G, Role.GATEWAY), (G2, Role.GATEWAY)]


def at(ms: int) -> Milliseconds:
    return Milliseconds(ms)


def spawned(core: Supervision, ms: int) -> list[NodeName]:
    """What is started when the clock shows `ms`."""
    return [effect.name for effect in core.wake(at(ms)) if isinstance(effect, Spawn)]


def started(processes: list[tuple[NodeName, Role]] | None = None) -> Supervision:
    core = Supervision(processes or EVERYONE)
    core.wake(at(0))
    return core


def serving() -> Supervision:
    core = started()
    for name, _ in EVERYONE:
        core.ready(at(1), name)
    return core


def test_everything_is_started_at_once_in_the_given_order() -> None:
    core = Supervision(EVERYONE)
    assert core.wake(at(0)) == [Spawn(S), Spawn(R), Spawn(G), Spawn(G2)]
    assert core.wake(at(1)) == []


def test_while_something_is_not_ready_it_is_said_now_and_then() -> None:
    core = started()
    core.ready(at(1), R)
    assert core.next_wake() == limits.STILL_WAITING_MS
    assert core.wake(at(limits.STILL_WAITING_MS)) == [StillWaiting((S, G, G2))]
    assert core.next_wake() == 2 * limits.STILL_WAITING_MS
    for name in (S, G, G2):
        core.ready(at(6_000), name)
    assert core.next_wake() is None
    core.ended(at(7_000), G, 1)
    assert core.wake(at(60_000)) == [Spawn(G)]
    assert core.next_wake() is None


def test_the_cluster_serves_when_the_last_process_is_ready_and_says_so_once() -> None:
    core = started()
    assert [core.ready(at(1), name) for name in (G, G2, R)] == [[], [], []]
    assert core.ready(at(2), S) == [AllReady()]
    core.ended(at(3), S, 1)
    core.wake(at(1_000))
    assert core.ready(at(1_001), S) == []


def test_the_pause_before_a_restart_doubles_up_to_five_seconds_and_is_reset_when_ready() -> None:
    core = started([(S, Role.STORAGE)])
    core.ready(at(0), S)
    now = 0
    pauses = []
    for _ in range(limits.CRASH_LOOP_DEATHS):
        assert core.ended(at(now), S, 1) == []
        due = core.next_wake()
        assert due is not None
        pauses.append(due - now)
        assert spawned(core, due - 1) == []
        assert spawned(core, due) == [S]
        now = due
    assert pauses == [200, 400, 800, 1600, 3200]
    core.ready(at(now), S)
    core.ended(at(now), S, 1)
    assert core.next_wake() == now + limits.RESTART_PAUSE_MS_MIN


def test_a_storage_that_others_stand_in_for_leaves_them_the_cores_first() -> None:
    core = Supervision(EVERYONE, is_replicated=True)
    core.wake(at(0))
    for name in (S, R):
        core.ready(at(0), name)
        core.ended(at(0), name, -signal.SIGKILL)
    assert spawned(core, limits.RESTART_PAUSE_MS_MIN) == [R]
    assert spawned(core, limits.RESTART_PAUSE_REPLICATED_MS - 1) == []
    assert spawned(core, limits.RESTART_PAUSE_REPLICATED_MS) == [S]


def test_the_pause_never_exceeds_its_bound() -> None:
    core = started([(S, Role.STORAGE)])
    core.ready(at(0), S)
    now, pauses = 0, []
    for _ in range(5):
        core.ended(at(now), S, 1)
        due = core.next_wake()
        assert due is not None
        pauses.append(due - now)
        core.wake(due)
        now = due
    assert max(pauses) <= limits.RESTART_PAUSE_MS_MAX


def test_five_ends_in_a_row_before_ready_are_a_crash_loop_and_the_others_go_on() -> None:
    core = started()
    now = 0
    for _ in range(limits.CRASH_LOOP_DEATHS - 1):
        assert core.ended(at(now), R, 1) == []
        now += 10_000
        assert spawned(core, now) == [R]
    assert core.ended(at(now), R, 1) == [GiveUp(R)]
    assert core.conditions()[R] is Condition.FAILED
    assert spawned(core, now + 60_000) == []
    assert core.conditions()[G] is Condition.STARTING


def test_a_hundred_kills_after_ready_are_no_crash_loop() -> None:
    core = started()
    now = 0
    for _ in range(100):
        core.ready(at(now), G)
        assert core.ended(at(now), G, 1) == []
        now += limits.RESTART_PAUSE_MS_MIN
        assert spawned(core, now) == [G]


def test_deaths_before_ready_count_from_the_last_time_it_was_ready() -> None:
    core = started()
    now = 0
    for _ in range(3):
        for _ in range(limits.CRASH_LOOP_DEATHS - 1):
            assert core.ended(at(now), R, 1) == []
            now += 10_000
            assert spawned(core, now) == [R]
        core.ready(at(now), R)
        assert core.ended(at(now), R, 1) == []
        now += 10_000
        assert spawned(core, now) == [R]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_hundred_kills_from_outside_before_ready_are_no_crash_loop(number: int) -> None:
    core = started()
    now = 0
    for _ in range(100):
        assert core.ended(at(now), G, -number) == []
        now += limits.RESTART_PAUSE_MS_MAX
        assert spawned(core, now) == [G]


def test_a_full_disk_is_a_crash_before_the_cluster_served_and_waited_out_afterwards() -> None:
    core = serving()
    now = 0
    for _ in range(100):
        assert core.ended(at(now), S, EXIT_DISK) == []
        now += limits.RESTART_PAUSE_MS_MAX
        assert spawned(core, now) == [S]
    core = started()
    for _ in range(limits.CRASH_LOOP_DEATHS - 1):
        core.ended(at(now), S, EXIT_DISK)
        now += limits.RESTART_PAUSE_MS_MAX
        assert spawned(core, now) == [S]
    assert core.ended(at(now), S, EXIT_DISK) == [GiveUp(S)]


def test_a_restart_stops_what_runs_and_starts_what_failed_with_a_clean_record() -> None:
    core = serving()
    assert core.restart(at(0), S) == [Terminate(S)]
    assert core.ended(at(10), S, 0) == []
    assert spawned(core, 10 + limits.RESTART_PAUSE_MS_MIN) == [S]
    assert core.ended(at(1_000), S, EXIT_REFUSED) == [Refused(S, EXIT_REFUSED)]
    assert spawned(core, 100_000) == []
    assert core.restart(at(100_000), S) == []
    assert spawned(core, 100_000) == [S]
    for turn in range(1, limits.CRASH_LOOP_DEATHS):
        now = 100_000 + turn * limits.RESTART_PAUSE_MS_MAX
        assert core.ended(at(now), S, 1) == []
        assert spawned(core, now + limits.RESTART_PAUSE_MS_MAX) == [S]
    assert core.ended(at(200_000), S, 1) == [GiveUp(S)]
    core.stop(at(200_000))
    assert core.restart(at(200_001), S) == []
    assert spawned(core, 300_000) == []


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_signal_that_a_process_raises_itself_is_a_crash(number: int) -> None:
    core = started()
    for turn in range(limits.CRASH_LOOP_DEATHS - 1):
        assert core.ended(at(turn * 10_000), G, -number) == []
        assert spawned(core, turn * 10_000 + 9_000) == [G]
    assert core.ended(at(100_000), G, -number) == [GiveUp(G)]


@pytest.mark.parametrize("code", [2, 6, 8])
def test_a_process_that_refuses_to_run_is_not_tried_again_and_the_rest_serves(code: int) -> None:
    core = started()
    assert core.ended(at(1), G, code) == [Refused(G, code)]
    assert core.conditions()[G] is Condition.FAILED
    assert [core.ready(at(2), name) for name in (S, R)] == [[], []]
    assert core.ready(at(3), G2) == [AllReady((G,))]
    assert core.wake(at(60_000)) == []
    assert core.exit_code == 0


def test_a_refusal_of_the_last_that_is_waited_for_lets_the_rest_serve() -> None:
    core = started()
    for name in (S, R, G2):
        core.ready(at(1), name)
    assert core.ended(at(2), G, 6) == [Refused(G, 6), AllReady((G,))]


def test_gateways_that_wait_for_a_failed_storage_serve_in_part() -> None:
    other = NodeName("storage-2")
    core = started([(S, Role.STORAGE), (other, Role.STORAGE), (R, Role.ROUTER), (G, Role.GATEWAY)])
    core.ended(at(1), other, 6)
    core.ready(at(1), S)
    assert core.wake(at(limits.STILL_WAITING_MS)) == [StillWaiting((R, G))]
    core.ready(at(limits.STILL_WAITING_MS), R)
    assert core.wake(at(2 * limits.STILL_WAITING_MS)) == [AllReady((other,))]
    assert core.wake(at(60_000)) == []


def test_a_refusal_of_the_only_one_of_its_kind_stops_all_in_order_with_its_code() -> None:
    core = started()
    core.ready(at(1), G)
    assert core.ended(at(2), S, 6) == [Refused(S, 6), Terminate(G), Terminate(G2)]
    assert core.ended(at(3), G, 0) == []
    assert core.ended(at(4), G2, 0) == [Terminate(R)]
    assert core.ended(at(5), R, 0) == [AllGone()]
    assert core.exit_code == 6


def test_once_it_served_a_refusal_stops_nothing_else() -> None:
    core = serving()
    assert core.ended(at(2), S, 6) == [Refused(S, 6)]
    assert spawned(core, 60_000) == []
    assert not core.stopping


def test_a_kind_that_other_hosts_run_is_not_missed_here() -> None:
    core = Supervision(EVERYONE, {Role.STORAGE})
    core.wake(at(0))
    assert core.ended(at(2), S, 6) == [Refused(S, 6)]
    assert not core.stopping


def test_when_all_refuse_the_exit_code_is_that_of_the_first() -> None:
    core = started([(S, Role.STORAGE)])
    assert core.ended(at(1), S, 8) == [Refused(S, 8), AllGone()]
    assert core.exit_code == 8


def test_when_every_process_failed_the_supervisor_ends() -> None:
    core = started([(S, Role.STORAGE)])
    now = 0
    for _ in range(limits.CRASH_LOOP_DEATHS - 1):
        core.ended(at(now), S, 1)
        now += 10_000
        core.wake(at(now))
    assert core.ended(at(now), S, 1) == [GiveUp(S), AllGone()]
    assert core.exit_code == 1


def test_stopping_goes_gateways_routers_storages_each_when_the_kind_before_is_gone() -> None:
    core = serving()
    assert core.stop(at(10)) == [Terminate(G), Terminate(G2)]
    assert core.ended(at(11), G, 1) == []
    assert core.ended(at(12), G2, 1) == [Terminate(R)]
    assert core.ended(at(13), R, 1) == [Terminate(S)]
    assert core.ended(at(14), S, 1) == [AllGone()]
    assert set(core.conditions().values()) == {Condition.GONE}


def test_what_does_not_stop_in_time_is_killed_and_the_next_kind_gets_its_own_time() -> None:
    core = serving()
    core.stop(at(0))
    core.ended(at(5), G, 1)
    assert core.next_wake() == limits.DRAIN_MS_MAX
    assert core.wake(at(limits.DRAIN_MS_MAX - 1)) == []
    assert core.wake(at(limits.DRAIN_MS_MAX)) == [Kill(G2)]
    assert core.wake(at(limits.DRAIN_MS_MAX + 1)) == []
    assert core.ended(at(limits.DRAIN_MS_MAX + 2), G2, 1) == [Terminate(R)]
    assert core.next_wake() == 2 * limits.DRAIN_MS_MAX + 2


def test_a_second_request_to_stop_kills_what_is_left() -> None:
    core = serving()
    core.stop(at(0))
    core.ended(at(1), G, 1)
    assert core.stop(at(2)) == [Kill(S), Kill(R), Kill(G2)]


def test_a_process_that_ends_while_everything_stops_is_not_started_again() -> None:
    core = serving()
    core.stop(at(0))
    assert core.ended(at(1), S, 1) == []
    assert core.ended(at(2), G, 1) == []
    assert core.ended(at(3), G2, 1) == [Terminate(R)]
    assert core.ended(at(4), R, 1) == [AllGone()]
    assert core.wake(at(60_000)) == []


def test_a_process_that_waits_for_its_restart_is_not_waited_for_when_stopping() -> None:
    core = serving()
    core.ended(at(1), G, 1)
    core.ended(at(1), G2, 1)
    assert core.stop(at(2)) == [Terminate(R)]


def test_stopping_when_nothing_runs_ends_at_once() -> None:
    core = Supervision(EVERYONE)
    assert core.stop(at(0)) == [AllGone()]


def test_ready_from_a_process_that_is_being_stopped_changes_nothing_of_the_order() -> None:
    core = started()
    core.stop(at(0))
    assert core.ready(at(1), S) == []
    assert core.ended(at(2), G, 1) == []
    assert core.ended(at(2), G2, 1) == [Terminate(R)]
