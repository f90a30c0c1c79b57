"""The meta group at work in three storages: lives are granted, lost disks are replaced.

An empty disk under an old name begins with nothing. It is registered, every group removes the dead
replica and gets a new one under a fresh id, the meta group among them, and then the cluster is as
whole as before, whoever dies in the middle.
"""

from __future__ import annotations

import pytest
from storage_trio import NAMES, ONE, THREE, TWO, Trio
from storage_world import message

from zmqim.bus.effects import Send
from zmqim.bus.replication import (
    VoteRequest,
    VoteResult,
)
from zmqim.errors import NotAdmitted
from zmqim.ids import NodeName
from zmqim.limits import (
    VOTE_WITHOUT_GRANT_MS,
)
from zmqim.meta.rows import NodeState
from zmqim.meta.state import MetaState

META = 2
"""The meta group of a cluster of two partitions."""
GROUPS = (0, 1, META)


@pytest.fixture
def trio() -> Trio:
    """Two partitions with something in them."""
    trio = Trio(2)
    trio.until(lambda: not waits(trio))
    trio.add("g", "alice")
    trio.write(message("alice", "g", "1"))
    return trio


def waits(trio: Trio) -> list[str]:
    """What the lives still wait for."""
    return [m.core.registry.sentence for m in trio.members.values() if m.core.registry.sentence]


def meta_leader(trio: Trio) -> NodeName | None:
    """Who leads the meta group, of those who live."""
    for name in NAMES:
        if trio[name].is_alive:
            group = trio[name].core.registry.group
            if group is not None and group.raft.serving:
                return name
    return None


def state_of(trio: Trio, name: NodeName) -> MetaState:
    """The meta state as that storage applied it."""
    group = trio[name].core.registry.group
    assert group is not None
    return group.state


def is_whole(trio: Trio) -> bool:
    """Does every group have three voters on the disks of now, nobody waiting or behind?"""
    disks = {name: trio[name].peer.node_uuid for name in NAMES}
    for number in GROUPS:
        ends = set()
        for name in NAMES:
            core = trio[name].core.replicas.cores.get(number)
            if core is None or core.config.learners:
                return False
            if {p.name: p.node_uuid for p in core.config.voters} != disks:
                return False
            ends.add((core.last, core.commit, core.applied))
        if len(ends) != 1:
            return False
    leader = meta_leader(trio)
    if leader is None or waits(trio):
        return False
    state = state_of(trio, leader)
    return not state.replacing and not trio[leader].core.registry.waits


def replace(trio: Trio, name: NodeName) -> None:
    """The disk of that name is lost and an empty one comes under it."""
    trio.lose_disk(name)
    trio.run(1_000)
    trio.boot(name)


# ---- lives ---------------------------------------------------------------------------------------


def test_every_life_is_granted_and_stands_in_the_meta_group(trio: Trio) -> None:
    for life in (1, 2):
        trio.until(lambda: not waits(trio))
        leader = meta_leader(trio)
        assert leader is not None
        nodes = {node.name: node for node in state_of(trio, leader).nodes.values()}
        assert {name: node.incarnation for name, node in nodes.items()} == {
            ONE: 1,
            TWO: 1,
            THREE: life,
        }
        assert {node.state for node in nodes.values()} == {NodeState.MEMBER}
        if life == 1:
            trio.crash(THREE)
            trio.boot(THREE)


@pytest.mark.promise("P1")
def test_a_life_without_a_grant_neither_votes_nor_stands_in_any_partition() -> None:
    trio = Trio(2)
    trio.crash(ONE)
    trio.crash(TWO)
    trio.crash(THREE)
    trio.boot(TWO)
    trio.boot(THREE)
    trio.cut(TWO)
    trio.run(VOTE_WITHOUT_GRANT_MS - 1)
    votes = [
        effect.message
        for name in (TWO, THREE)
        for effects in trio[name].turns
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, VoteRequest | VoteResult)
    ]
    assert votes
    assert {vote.partition for vote in votes} == {META}
    assert {trio.group(name).raft.term for name in (TWO, THREE)} == {1}


@pytest.mark.promise("P1")
def test_a_copy_of_a_folder_is_refused_and_its_process_ends(trio: Trio) -> None:
    trio.crash(THREE)
    trio.boot(THREE)
    trio.until(lambda: not waits(trio))
    trio.crash(THREE)
    trio[THREE].incarnation -= 2
    trio.boot(THREE)
    with pytest.raises(NotAdmitted, match="was granted before"):
        trio.run(VOTE_WITHOUT_GRANT_MS - 1)
    assert all(not core.may_stand or core.lead is None for core in _cores(trio, THREE))


def _cores(trio: Trio, name: NodeName) -> list[object]:
    return list(trio[name].core.replicas.cores.values())
