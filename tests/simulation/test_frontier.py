"""The stack of states that a search has not looked at."""

from __future__ import annotations

import pickle

from zmqim.sim.frontier import PACKED_STATES, Frontier


def test_states_come_back_newest_first_however_many_there_are() -> None:
    frontier = Frontier()
    states = [(number, -number, number << 40) for number in range(3 * PACKED_STATES + 7)]
    for state in states:
        frontier.append(state)
    frontier = pickle.loads(pickle.dumps(frontier))
    assert len(frontier) == len(states)
    assert [frontier.pop() for _ in states] == states[::-1]
    assert not frontier
