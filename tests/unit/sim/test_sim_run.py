"""What a run holds against the cluster, and what it must not."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from zmqim.sim.faults import Plan, draw
from zmqim.sim.nodes import Cores
from zmqim.sim.run import Simulation
from zmqim.sim.world import SECOND


def plan(*, rivals: bool) -> Plan:
    """Two people, and no trouble."""
    drawn = draw(Random(1))
    return replace(drawn, rivals=rivals, people=2, faults=(), safety_us=SECOND)


class EndsSomebodyLate(Simulation):
    """A client is told to go while the probes are on their way."""

    def _probe(self) -> None:
        self.world.after(1, self._end_one)
        super()._probe()

    def _end_one(self) -> None:
        self.clients[0].is_gone = True


@pytest.mark.parametrize(
    ("rivals", "owed"), [(True, ["u1/phone"]), (False, ["u0/phone", "u1/phone"])]
)
def test_nothing_is_owed_to_whom_a_rival_ended(rivals: bool, owed: list[str]) -> None:
    """Seed 1327: a session that did not read was ended before it got what waited for it."""
    simulation = Simulation(1, Cores(), plan(rivals=rivals))
    simulation._set_up()
    phones = [client for client in simulation.clients if client.name in ("u0/phone", "u1/phone")]
    expected = [(client, b"probe") for client in phones]
    assert simulation._owed(expected) == expected
    for client in phones:
        client.is_gone = True
    assert [client.name for client, _ in simulation._owed(expected)] == owed
    phones[1].pushed.add(b"probe")
    assert [client.name for client, _ in simulation._owed(expected)] == owed[:-1]


@pytest.mark.parametrize(("rivals", "missing"), [(True, ()), (False, ("I-17 u0/phone",))])
def test_whoever_is_told_to_go_without_a_rival_is_missed_to_the_end(
    rivals: bool, missing: tuple[str, ...]
) -> None:
    report = EndsSomebodyLate(1, Cores(), plan(rivals=rivals)).run()
    assert report.violations == tuple(f"{who} is not told to go" for who in missing)
