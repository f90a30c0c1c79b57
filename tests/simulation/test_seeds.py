"""The whole cluster in virtual time, again and again, each time with other troubles.

A failure names its seed: ``python -m zmqim.sim --seeds 1 --first SEED`` runs it again.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from chosen import KEPT

from zmqim.sim.run import run

SEEDS = 100
EVERY_TIME = 30
"""Of them in `make test`; the others are in `make test-long`."""


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
@pytest.mark.promise("P4")
@pytest.mark.promise("P5")
@pytest.mark.promise("P6")
@pytest.mark.promise("P7")
@pytest.mark.promise("P8")
@pytest.mark.promise("P9")
@pytest.mark.promise("P11")
@pytest.mark.promise("P12")
@pytest.mark.parametrize(
    "seed",
    [
        *sorted({*range(EVERY_TIME), *KEPT}),
        *(
            pytest.param(seed, marks=pytest.mark.long)
            for seed in range(EVERY_TIME, SEEDS)
            if seed not in KEPT
        ),
    ],
)
def test_the_promises_hold_whatever_the_seed_does(seed: int) -> None:
    report = run(seed)
    again = f"python -m zmqim.sim --seeds 1 --first {seed}"
    assert not report.violations, f"{report}\nagain: {again}"


def test_the_seeds_do_real_work() -> None:
    """A simulation in which nothing happens would keep every promise."""
    reports = [run(seed) for seed in range(8)]
    assert sum(report.acknowledged for report in reports) > 1_000
    assert sum(report.pushed for report in reports) > 1_000
    assert sum(report.looks for report in reports) > 100
    assert len({name for report in reports for name, _ in report.faults}) > 3


def test_the_same_seed_is_the_same_run() -> None:
    for seed in (3, 14):
        assert run(seed) == run(seed)
    assert run(3).fingerprint != run(14).fingerprint


def test_the_hash_seed_of_the_interpreter_does_not_matter() -> None:
    """No order comes from a set or from `hash`: two interpreters, one fingerprint."""
    script = "from zmqim.sim.run import run; print(*(run(seed).fingerprint for seed in (5, 27)))"
    printed = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert len(set(printed[0].split())) == 2
