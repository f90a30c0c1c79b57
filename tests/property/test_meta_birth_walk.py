"""However a birth is disturbed there is one, and nothing runs before everyone has the record."""

from __future__ import annotations

from random import Random

import pytest
from birth_world import BirthWorld

from zmqim.meta.birth import Phase


@pytest.mark.parametrize("seed", range(150))
def test_a_birth_among_losses_repeats_and_crashes_is_one_and_ends(seed: int) -> None:
    random = Random(seed)
    world = BirthWorld(random, count=random.choice((1, 2, 3, 5)), replicas=random.choice((1, 3)))
    for _ in range(random.randrange(300)):
        world.random_move(disks=0)
    world.settle()
    assert set(world.phases) == {Phase.READY}
    assert len(world.complete) == 1
    assert all(
        host.disk.record == world.hosts["storage-1"].disk.record for host in world.hosts.values()
    )


@pytest.mark.parametrize("seed", range(400))
def test_disks_lost_in_the_middle_never_make_two_births(seed: int) -> None:
    random = Random(1_000 + seed)
    world = BirthWorld(random, count=random.choice((2, 3, 3, 5)))
    disks = random.randrange(1, 4)
    for _ in range(random.randrange(400)):
        disks = world.random_move(disks)
    world.settle()
    assert len(world.complete) <= 1
    waiting = [phase is Phase.WAITING for phase in world.phases]
    assert [bool(sentence) for sentence in world.sentences] == waiting
    if any(waiting):
        assert not any(disk.record and disk.record.complete for disk in world.disks)
        assert any("Nothing was ever stored" in sentence for sentence in world.sentences)


@pytest.mark.parametrize("seed", range(100))
def test_one_disk_lost_of_three_joins_and_needs_no_hand(seed: int) -> None:
    random = Random(2_000 + seed)
    world = BirthWorld(random)
    disks = 1
    for _ in range(random.randrange(400)):
        disks = world.random_move(disks)
    world.settle()
    assert set(world.phases) <= {Phase.READY, Phase.JOINING}
    assert world.phases.count(Phase.READY) >= 2
