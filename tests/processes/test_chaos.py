"""A minute of chaos on real processes: three hosts in network namespaces, clients that write all
the time, every kind of kill, pause and cut in turn; then every promise is checked (tools/chaos)."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))
from tools.chaos.cluster import clock_can_be_set
from tools.chaos.run import Options, Outcome, run
from tools.chaos.verdict import judge
from zmqim.limits import PARTITIONS_DEFAULT
from zmqim.sim.history import ChannelKey, History, Seen

CLOCK = ("clock-jump",) if clock_can_be_set() else ()
NEMESES = (
    "kill", "kill-leader", "kill-role", "kill-all", "pause", "pause-leader", "cut-one-way",
    "cut-both-ways", "cut-isolate-leader", "cut-halves", "cut-bridge", "cut-flapping",
    "second-start", *CLOCK,
)  # fmt: skip
SEED = 20
RUN_SECONDS_MAX = 240

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(RUN_SECONDS_MAX + 120)]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """One run with each nemesis once, in the order that the seed draws."""
    options = Options(
        seed=SEED,
        seconds=RUN_SECONDS_MAX,
        rate=60.0,
        nemeses=NEMESES,
        netns=True,
        longest=2.5,
        calm=1.0,
        each=True,
        count=len(NEMESES),
    )
    return run(options, print)


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
@pytest.mark.promise("P7")
def test_whatever_is_killed_paused_or_cut_off_nothing_is_lost_doubled_or_out_of_order(
    outcome: Outcome,
) -> None:
    report = outcome.report
    assert not outcome.verdict.counts, report["sentences"]
    assert set(report["nemeses"]) == set(NEMESES)
    assert report["sent"] > 0
    assert report["acknowledged"] == report["sent"]


@pytest.mark.needs_faketime
def test_the_clock_of_a_host_jumped_meanwhile(outcome: Outcome) -> None:
    assert outcome.report["nemeses"]["clock-jump"] == 1


def test_every_replica_was_read_and_none_differs(outcome: Outcome) -> None:
    groups = {replica.partition for replica in outcome.replicas}
    meta_group = PARTITIONS_DEFAULT
    assert groups == {*range(PARTITIONS_DEFAULT), meta_group}
    stored = {seen for rows in outcome.history.stored.values() for seen in rows}
    held = {
        seen for replica in outcome.replicas for rows in replica.messages.values() for seen in rows
    }
    assert held == stored


def copy_of(history: History) -> History:
    """Faster by far than `copy.deepcopy`."""
    found: History = pickle.loads(pickle.dumps(history))
    return found


def longest(history: History) -> tuple[ChannelKey, list[Seen]]:
    return max(history.stored.items(), key=lambda item: len(item[1]))


def lose_one(history: History) -> None:
    del longest(history)[1][1]


def double_one(history: History) -> None:
    rows = longest(history)[1]
    rows.append(rows[0]._replace(sequence=len(rows) + 1))


def change_one(history: History) -> None:
    rows = longest(history)[1]
    rows[0] = rows[0]._replace(payload=b"something else")


def put_one_before_what_was_acknowledged_earlier(history: History) -> None:
    rows = longest(history)[1]
    first, last = rows[0], rows[-1]
    rows[0] = last._replace(sequence=first.sequence)
    rows[-1] = first._replace(sequence=last.sequence)


@pytest.mark.parametrize(
    ("plant", "checks"),
    [
        (lose_one, {"I-1", "I-4"}),
        (double_one, {"I-3"}),
        (change_one, {"I-1", "I-2", "I-5"}),
        (put_one_before_what_was_acknowledged_earlier, {"I-1", "I-5"}),
    ],
)
def test_a_violation_planted_in_the_recorded_history_is_found(
    outcome: Outcome, plant: Callable[[History], None], checks: set[str]
) -> None:
    history = copy_of(outcome.history)
    plant(history)
    assert checks <= judge(history, [], []).counts.keys()


def test_a_replica_that_lacks_or_changes_a_row_is_found(outcome: Outcome) -> None:
    whole = max(outcome.replicas, key=lambda one: one.rows)
    other = replace(whole, storage="another", digest="0", messages={}, log={})
    assert judge(copy_of(outcome.history), [whole, other], []).counts == {"I-13": 1}
    channel, rows = max(whole.messages.items(), key=lambda item: len(item[1]))
    short = replace(whole, messages={channel: rows[:-1]})
    assert "I-7" in judge(copy_of(outcome.history), [short], []).counts
