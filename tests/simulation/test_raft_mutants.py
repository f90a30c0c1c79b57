"""Every mutant of the table is found, by the rule that has to find it; and the product by none."""

from __future__ import annotations

import chosen
import pytest
from raft_mutants import MUTANTS, Directed, Explored, Mutant


@pytest.mark.parametrize("mutant", chosen.mutants(MUTANTS))
def test_a_mutant_is_caught_by_the_rule_that_is_there_for_it(mutant: Mutant) -> None:
    caught = mutant.hunt.run()
    if mutant.equivalent:
        assert caught is None, f"{caught} although {mutant.equivalent}"
        return
    assert caught is not None, "it got away"
    assert caught.rule.startswith(mutant.rule), caught


SCHEDULES = sorted(
    {one.hunt.schedule for one in MUTANTS if isinstance(one.hunt, Directed)},
    key=lambda schedule: schedule.__name__,
)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=[one.__name__ for one in SCHEDULES])
def test_the_product_comes_through_the_schedules_of_the_mutants(schedule: object) -> None:
    assert callable(schedule)
    assert schedule() == ""


@pytest.mark.long
def test_the_product_comes_through_the_bounds_of_the_mutants() -> None:
    """Else a mutant would be "caught" by what is wrong anyway."""
    for mutant in MUTANTS:
        hunt = mutant.hunt
        if not isinstance(hunt, Explored) or mutant.name == "config change without own-term commit":
            continue  # That schedule begins with what the product refuses.
        narrow = tuple(one for one in hunt.patches if one.name == "SEND_WINDOW_BYTES_MAX")
        plain = Explored(
            patches=narrow,
            bounds=hunt.bounds,
            shape=hunt.shape,
            schedule=hunt.schedule,
            states=max(1_000, caught.count if (caught := hunt.run()) else 0),
        )
        assert plain.run() is None, mutant.name
