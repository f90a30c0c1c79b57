"""Whatever dies in the middle of a replacement, it ends, once, and breaks nothing on the way."""

from __future__ import annotations

from random import Random

import pytest
from placement_world import PlacementWorld


@pytest.mark.parametrize("seed", range(100))
def test_groups_end_with_exactly_the_wanted_voters_whatever_happens_on_the_way(seed: int) -> None:
    random = Random(seed)
    count, replicas = random.choice(((3, 3), (3, 3), (5, 3), (5, 5)))
    world = PlacementWorld(random, count, replicas)
    for _ in range(random.randrange(2_000)):
        world.random_move()
    world.settle()


@pytest.mark.parametrize("seed", range(30))
def test_one_lost_disk_takes_three_steps_a_group_however_often_the_driver_dies(seed: int) -> None:
    random = Random(seed)
    world = PlacementWorld(random)
    world.lose(random.choice(list(world.nodes.values())))
    for node in world.nodes.values():
        world.register(node)
    for _ in range(random.randrange(600)):
        world.random_move_of_drivers()
    world.settle()
    assert world.steps == 3 * len(world.groups)
    assert world.meta.state.cluster is not None
    given = world.meta.state.cluster.replica_last
    assert given == 15 + len(world.groups), "a replica id for each new replica, none doubled"
