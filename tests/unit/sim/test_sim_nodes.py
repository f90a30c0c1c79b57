"""Simulated processes live, stop, die and live again as real ones do."""

from __future__ import annotations

from zmqim.bus.messages import Role
from zmqim.ids import NodeName
from zmqim.sim.network import Network, Weather
from zmqim.sim.nodes import Cores, RouterNode, cluster_of
from zmqim.sim.world import SECOND, World
from zmqim.topology import parse

TOPOLOGY = """
cluster = "simulation"
[[storage]]
name = "storage-1"
[[router]]
name = "router-1"
[[gateway]]
name = "gateway-1"
listeners = ["wkproto://127.0.0.1:5101"]
"""


def router() -> RouterNode:
    world = World(1)
    topology = parse(TOPOLOGY, "simulation.toml")
    cluster = cluster_of(world, Network(world, Weather()), topology, Cores())
    node = RouterNode(cluster, NodeName("router-1"), Role.ROUTER)
    node.start()
    return node


def pass_time(node: RouterNode, duration: int) -> int:
    """How many turns the node had in that time."""
    before = node.turns
    node.world.run_until(node.world.now + duration)
    return node.turns - before


def test_a_paused_process_does_nothing_and_goes_on_afterwards() -> None:
    node = router()
    assert pass_time(node, SECOND) > 0
    node.pause(SECOND)
    assert node.sockets.is_stopped
    assert pass_time(node, SECOND - 1) == 0
    assert pass_time(node, SECOND) > 0
    assert not node.sockets.is_stopped


def test_of_two_pauses_the_later_end_counts() -> None:
    node = router()
    node.pause(2 * SECOND)
    node.pause(SECOND)
    assert pass_time(node, 2 * SECOND - 1) == 0
    assert pass_time(node, SECOND) > 0


def test_a_pause_ends_with_the_life_that_it_stopped() -> None:
    """Seed 1250: the next life was paused as well, and waited for the end of the old pause."""
    node = router()
    node.pause(5 * SECOND)
    node.kill()
    node.start()
    assert pass_time(node, SECOND) > 0
    node.pause(SECOND)
    assert pass_time(node, SECOND - 1) == 0
    assert pass_time(node, SECOND) > 0
    assert not node.sockets.is_stopped
