"""The timer wheel: late by a tick at most, never early, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zmqim.gateway.wheel import TICK_MS, Wheel


@given(dues=st.lists(st.integers(0, 5_000)), steps=st.lists(st.integers(1, 700), min_size=1))
def test_everything_is_called_once_within_a_tick_and_never_early(
    dues: list[int], steps: list[int]
) -> None:
    wheel = Wheel()
    called: list[tuple[int, int]] = []
    for due in dues:
        wheel.add(due, lambda now, due: called.append((now, due)), due)
    now = 0
    for step in [*steps, 6_000]:
        now += step
        wheel.run(now)
        assert all(at >= due for at, due in called)
        waiting = sorted(dues)
        for _, due in called:
            waiting.remove(due)
        assert all(due > now - TICK_MS for due in waiting)
    assert sorted(due for _, due in called) == sorted(dues)
    assert wheel.next_due() is None


def test_what_a_call_adds_for_now_waits_for_the_next_run() -> None:
    wheel = Wheel()
    calls: list[int] = []

    def again(now: int, _: None) -> None:
        calls.append(now)
        wheel.add(now, again, None)

    wheel.add(0, again, None)
    wheel.run(0)
    assert calls == [0]
    assert wheel.next_due() == 0
    wheel.run(40)
    assert calls == [0, 40]
