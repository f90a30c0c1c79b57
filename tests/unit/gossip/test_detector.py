"""The failure detector and the clock, by numbers."""

from __future__ import annotations

from math import inf

from zmqim.gossip.detector import Arrivals, LocalHealth, phi_of
from zmqim.limits import HEARTBEAT_MS, LOCAL_HEALTH_MAX, PHI_WINDOW_COUNT


def test_phi_eight_lies_five_point_six_deviations_above_the_mean() -> None:
    assert phi_of(250 + 5.61 * 62.5, 250, 62.5) > 7.98
    assert phi_of(250 + 5.60 * 62.5, 250, 62.5) < 8.0
    assert phi_of(250, 250, 62.5) < 0.31
    assert phi_of(1e9, 250, 62.5) == inf


def test_a_regular_process_is_suspected_after_its_pause_and_not_before() -> None:
    arrivals = Arrivals(0)
    now = 0
    for _ in range(200):
        now += HEARTBEAT_MS
        arrivals.heard(now)
    assert arrivals.phi(now + HEARTBEAT_MS, 0) == 0.0
    assert not arrivals.is_silent(now + 1_099, 2 * HEARTBEAT_MS)
    assert arrivals.is_silent(now + 1_102, 2 * HEARTBEAT_MS)


def test_an_outage_teaches_nothing_about_the_rhythm() -> None:
    arrivals = Arrivals(0)
    arrivals.heard(60_000, regular=False)
    assert arrivals.is_silent(61_200, 2 * HEARTBEAT_MS)


def test_an_irregular_process_is_given_more_time() -> None:
    steady, jittery = Arrivals(0), Arrivals(0)
    now = 0
    for turn in range(PHI_WINDOW_COUNT * 2):
        now += HEARTBEAT_MS
        steady.heard(now)
        jittery.heard(now + (turn % 2) * 200)
    assert steady.is_silent(now + 900, 250)
    assert not jittery.is_silent(now + 1_100, 250)


def test_local_health_stays_within_its_bounds() -> None:
    health = LocalHealth()
    for _ in range(20):
        health.worse()
    assert health.multiplier == LOCAL_HEALTH_MAX
    for _ in range(20):
        health.better()
    assert health.multiplier == 1
