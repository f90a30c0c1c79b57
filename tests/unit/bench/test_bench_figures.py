"""What the load generator offers and how it adds up: plans, histograms, reports."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqim.bench.histogram import Histogram
from zmqim.bench.plan import Plan, Shape, group_of, members_of, targets_of, uid_of
from zmqim.bench.report import report_of
from zmqim.bench.sampling import Usage
from zmqim.bench.worker import Figures
from zmqim.commands.bench import plan_of
from zmqim.errors import UsageError

ARGUMENTS: dict[str, Any] = {
    "person": False, "group": False, "crowd": False, "idle": False,
    "--connections": "100", "--in-flight": "4", "--payload": "100", "--rate": None,
    "--seconds": "10", "--warmup": "3", "--groups": "1", "--group-size": "100", "--senders": "4",
    "--workers": "1",
}  # fmt: skip


def plan(shape: Shape, connections: int = 10, **more: Any) -> Plan:
    return Plan(shape, connections, 4, 100, 1.0, 0.0, run="r", **more)


def test_persons_write_to_their_partners() -> None:
    targets = targets_of(plan(Shape.PERSON, 4))
    assert targets == {n: (uid_of(plan(Shape.PERSON), n ^ 1), 1) for n in range(4)}


def test_groups_overlap_evenly_and_only_senders_write() -> None:
    groups = plan(Shape.GROUP, 10, groups=5, group_size=4, senders=2)
    assert [members_of(groups, g) for g in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    assert targets_of(groups)[4] == (group_of(groups, 1), 2)
    assert {2, 3}.isdisjoint(targets_of(plan(Shape.GROUP, 10, groups=1, group_size=4, senders=2)))
    assert targets_of(plan(Shape.IDLE)) == {}


@given(st.lists(st.floats(0, 5), min_size=1, max_size=300), st.integers(1, 100))
def test_a_percentile_is_never_below_that_share_of_all(durations: list[float], share: int) -> None:
    histogram = Histogram()
    histogram.add(durations)
    found = histogram.percentile_ms(share) / 1000
    assert sum(duration <= found + 1e-9 for duration in durations) >= len(durations) * share / 100
    assert found <= max(durations) + 2e-5


def test_histograms_of_workers_add_up() -> None:
    one, other = Histogram(), Histogram()
    one.add([0.001, 0.002])
    other.add([0.002])
    one.merge(other)
    assert (one.total, one.counts[200]) == (3, 2)
    assert Histogram().percentile_ms(99) == 0.0


def test_a_report_adds_workers_and_takes_differences() -> None:
    figures = [
        Figures(2.0, 100, 90, {22: 1}, 1, 2, 3, {100: 100}, 110, 101, 95, [], 0.0) for _ in range(2)
    ]
    before, after = {"storage-1": Usage(1.0, 2**20)}, {"storage-1": Usage(2.0, 3 * 2**20)}
    report = report_of(plan(Shape.PERSON), figures, 0.5, before, after, before, (10, 200))
    assert report["acknowledged_per_s"] == 100.0
    assert report["delivered_per_s"] == 90.0
    assert report["refused"] == {"22": 2}
    assert (report["unanswered"], report["lost_connections"], report["corrupt"]) == (2, 4, 6)
    assert report["records_per_sync"] == 20.0
    assert report["processes"]["storage-1"]["cpu"] == 0.5
    assert report["processes"]["storage-1"]["rss_mb"] == 3.0


@pytest.mark.parametrize(
    ("option", "value"),
    [("--connections", "3"), ("--connections", "x"), ("--in-flight", "0"), ("--payload", "-1")],
)
def test_a_plan_that_makes_no_sense_is_refused(option: str, value: str) -> None:
    with pytest.raises(UsageError):
        plan_of({**ARGUMENTS, option: value})


def test_everybody_of_a_crowd_is_a_member_and_one_of_who_is_online_writes() -> None:
    crowd = plan(Shape.CROWD, 3, group_size=7)
    assert members_of(crowd, 0) == list(range(7))
    assert targets_of(crowd) == {0: (group_of(crowd, 0), 2)}


@pytest.mark.parametrize(
    ("option", "value"), [("--group-size", "99"), ("--groups", "2"), ("--workers", "2")]
)
def test_a_crowd_that_makes_no_sense_is_refused(option: str, value: str) -> None:
    with pytest.raises(UsageError):
        plan_of({**ARGUMENTS, "crowd": True, option: value})


def test_a_report_of_a_crowd_says_how_soon_the_last_one_had_a_message() -> None:
    figures = [Figures(2.0, 3, 6, {}, 0, 0, 0, {}, 3, 3, 6, [0.2, 0.1, 0.4], 0.9)]
    report = report_of(plan(Shape.CROWD, 3, group_size=7), figures, 0.5, {}, {}, {}, (0, 0))
    assert (report["messages"], report["group_size"]) == (3, 7)
    assert (report["reached_first_ms"], report["reached_p50_ms"]) == (900.0, 200.0)
    assert report["reached_max_ms"] == 400.0


def test_a_group_larger_than_the_connections_gets_as_many() -> None:
    found = plan_of({**ARGUMENTS, "group": True, "--group-size": "1000"})
    assert (found.shape, found.connections) == (Shape.GROUP, 1000)
