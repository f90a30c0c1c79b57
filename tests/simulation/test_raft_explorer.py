"""The log core in every interleaving within bounds: a million states, spread over what can happen.

ZMQIM_EXPLORER_STATES sets how many (1,000,000); ``make soak`` goes on to 10^8 or the end.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zmqim.sim.explorer import LED, Search, explore, main, scheduled
from zmqim.sim.raft_moves import Bounds, Shape
from zmqim.sim.raft_world import World

STATES = int(os.environ.get("ZMQIM_EXPLORER_STATES", "1000000"))

CASES = [
    pytest.param(Bounds(), Shape(), (), 5, id="from birth"),
    pytest.param(Bounds(), Shape(), LED, 5, id="from a leader"),
    pytest.param(Bounds(1, 1, 0, 1, 0), Shape(), LED, 2, id="one crash around an election"),
    pytest.param(Bounds(2, 1, 1, 1, 1), Shape(), LED, 2, id="a voter is removed"),
    pytest.param(Bounds(1, 1, 1, 1, 0), Shape((1, 2), (3,)), LED, 2, id="a learner is promoted"),
    pytest.param(Bounds(1, 2, 2, 1, 1), Shape((1,), (), 4, (2,)), LED, 1, id="one becomes two"),
    pytest.param(Bounds(2, 1, 0, 1, 1, cuts=1), Shape(), LED, 1, id="snapshots"),
    pytest.param(Bounds(1, 1, 0, 1, 0, transfers=1, stepdowns=1), Shape(), LED, 1, id="transfer"),
    pytest.param(Bounds(2, 1, 0, 0, 0, repeats=2), Shape(), LED, 1, id="repeats"),
]


@pytest.mark.promise("P1")
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("bounds", "shape", "schedule", "share"), CASES)
def test_every_rule_holds_in_every_state(
    bounds: Bounds, shape: Shape, schedule: tuple[str, ...], share: int
) -> None:
    report = explore(bounds, shape, states=STATES * share // 20, schedule=schedule)
    print(report)
    assert not report.violation, str(report)


def test_a_small_world_is_seen_whole_and_always_the_same() -> None:
    bounds = Bounds(proposals=1, elections=1, crashes=0, losses=0)
    first, second = explore(bounds), explore(bounds)
    assert first == second
    assert first.is_exhausted
    assert first.states > 1_000
    assert first.depth > 15


def test_replicas_that_only_differ_in_their_number_are_one_state() -> None:
    bounds = Bounds(proposals=0, elections=1, crashes=0, losses=0)
    world = World(bounds, Shape())
    whole = World(bounds, Shape())
    whole._orders = []
    one, all_of_them = Search(world).run(100_000), Search(whole).run(100_000)
    assert one.is_exhausted
    assert all_of_them.is_exhausted
    assert one.depth == all_of_them.depth
    assert 3 * one.states <= all_of_them.states + 2 <= 6 * one.states + 2


def test_a_search_goes_on_from_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "checkpoint")
    words = ["--proposals", "1", "--elections", "1", "--crashes", "0", "--losses", "0"]
    assert main([*words, "--states", "1000", "--checkpoint", file]) == 0
    assert main([*words, "--states", "100000", "--checkpoint", file]) == 0
    in_two_parts = capsys.readouterr().out.splitlines()[-1]
    assert main([*words, "--states", "100000"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == in_two_parts
    assert in_two_parts.startswith("all ")
    assert main(["--states", "1", "--checkpoint", file]) == 2


def test_a_schedule_leads_to_a_state_and_takes_nothing_from_the_budget() -> None:
    world = World(Bounds(), Shape())
    state, error, events = scheduled(world, LED)
    assert error == ""
    assert len(events) == 15
    assert state[3] == world.budget
    assert [world.views[one].applied for one in state[:3]] == [1, 1, 1]
    with pytest.raises(ValueError, match="cannot happen"):
        scheduled(world, ("1: propose",))
