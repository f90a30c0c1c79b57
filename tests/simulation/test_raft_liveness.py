"""Three storages with `Groups` through cuts, silence, restarts, changes; then it must come right.

After healing the group serves within seconds, all replicas are equal, and nothing that was
acknowledged is lost.
"""

from __future__ import annotations

from random import Random

import pytest
from raft_rig import WALL_MS, Rig, name_of

from zmqim.limits import HAND_HOME_MS
from zmqim.raft.config import GroupConfig, Place, Step, StepKind, StepRefused
from zmqim.raft.entry import decode_entry
from zmqim.sim.raft_replica import PARTITION, places

SEEDS = 60
TROUBLE_MS = 8_000
HEALED_MS = 12_000


def trouble(rig: Rig, chance: Random, acknowledged: dict[int, int]) -> None:
    """Some time with one more trouble."""
    one, other = chance.sample(sorted(range(1, len(rig.storages) + 1)), 2)
    match chance.randrange(8):
        case 0:
            rig.part(one)
        case 1:
            rig.part(one, other)
        case 2:
            rig.silent.add(frozenset((name_of(one), name_of(other))))
        case 3:
            rig.restart(one)
        case 4:
            losses = Random(chance.random())
            rig.drop = lambda source, target, what: losses.random() < 0.2
        case 5:
            rig.drop = lambda source, target, what: False
            rig.heal()
        case 6:
            rig.now += chance.choice((500, 1_200, 5_000))
        case 7:
            change(rig, chance)
    for _ in range(chance.randrange(1, 60)):
        for storage in rig.storages.values():
            if storage.core.accepts and chance.random() < 0.3:
                rig.propose(storage.number)
        leads = {name: one.core.lead is not None for name, one in rig.storages.items()}
        rig.step()
        for name, storage in rig.storages.items():
            if leads[name] and storage.core.serving:
                acknowledged[storage.core.applied] = storage.replica.disk.rows.end.chain


def change(rig: Rig, chance: Random) -> None:
    """One step of the configuration, if somebody leads."""
    leader = rig.leader
    if leader is None:
        return
    core = leader.core
    kind = chance.choice(list(StepKind))
    number = chance.randrange(1, 4)
    place = Place(number, name_of(number), b"uuid-%d" % number)
    if kind is StepKind.REMOVE and len(core.config.voters) < 3:
        return
    if kind is StepKind.ADD_LEARNER:
        return  # A replica's number is never given again.
    try:
        core.change(Step(int(kind), core.conf_id, place), {1, 2, 3}, WALL_MS)
    except StepRefused:
        return
    leader.groups.touched.add(PARTITION)


@pytest.mark.promise("P1")
@pytest.mark.promise("P6")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happened_the_group_serves_again_and_nothing_is_lost(seed: int) -> None:
    chance = Random(seed)
    config = GroupConfig(places(1, 2), places(3)) if seed % 3 == 0 else GroupConfig(places(1, 2, 3))
    rig = Rig(3, config)
    acknowledged: dict[int, int] = {}
    while rig.now < TROUBLE_MS:
        trouble(rig, chance, acknowledged)
    rig.drop = lambda source, target, what: False
    rig.heal()
    rig.until(lambda: rig.leader is not None and rig.leader.core.serving, HEALED_MS)
    rig.run(2 * HAND_HOME_MS)
    rig.until(lambda: rig.leader is not None and rig.leader.core.accepts, HEALED_MS)
    leader = rig.leader
    assert leader is not None
    index = rig.propose(leader.number)
    members = leader.core.places
    rig.until(lambda: all(rig[one].core.applied >= index for one in members), HEALED_MS)
    assert rig.leader is leader
    bodies = [decode_entry(body) for body in leader.replica.disk.bodies]
    chains = {entry.index: entry.chain for entry in bodies}
    assert {index: chains.get(index) for index in acknowledged if index} == {
        index: chain for index, chain in acknowledged.items() if index
    }
