"""The small world, again and again: three storages, two partitions, where replication itself is in
trouble all the time.

A failure names its seed: ``python -m zmqim.sim --small --seeds 1 --first SEED`` runs it again.
"""

from __future__ import annotations

import pytest
from chosen import KEPT_SMALL

from zmqim.sim.run import run

SMALL_SEEDS = 200


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
@pytest.mark.promise("P7")
@pytest.mark.promise("P8")
@pytest.mark.promise("P12")
@pytest.mark.parametrize("seed", sorted({*range(SMALL_SEEDS), *KEPT_SMALL}))
def test_the_promises_hold_in_the_small_world(seed: int) -> None:
    report = run(seed, small=True)
    again = f"python -m zmqim.sim --small --seeds 1 --first {seed}"
    assert not report.violations, f"{report}\nagain: {again}"
