"""The simulated network behaves as TCP and ZeroMQ do, where it is not told to be worse."""

from __future__ import annotations

from random import Random

from zmqim.bus.sockets import Connected, FromAccepted, FromDialed, FromPublisher, Lost, LostRoute
from zmqim.ids import NodeName
from zmqim.sim.network import Network, SimulatedSockets, Weather
from zmqim.sim.world import MS, SECOND, World

GATEWAY, ROUTER = NodeName("gateway-1"), NodeName("router-1")


class Pair:
    """A gateway that dials a router, and what each has read."""

    def __init__(self, weather: Weather | None = None, seed: int = 1) -> None:
        self.world = World(seed)
        self.network = Network(self.world, weather or Weather())
        self.router = self.open(ROUTER, "router", {})
        self.gateway = self.open(GATEWAY, None, {ROUTER: "router"})
        self.run(SECOND)

    def open(
        self, name: NodeName, router: str | None, dialed: dict[NodeName, str]
    ) -> SimulatedSockets:
        return self.network.opener(name, lambda: None)(
            name.encode(),
            router=router,
            publisher=f"pub-{name}",
            dialed=dialed,
            heard=["pub-router-1", "pub-gateway-1"],
            random=Random(0),
        )

    def run(self, duration: int) -> None:
        self.world.run_until(self.world.now + duration)


def frame(number: int) -> bytes:
    """Long enough to have a type, which is none of a Hello."""
    return b"\xff" * 80 + bytes([number])


def numbers(sockets: SimulatedSockets) -> list[int]:
    return [
        bytes(arrival.frame)[-1]
        for arrival in sockets.receive()
        if isinstance(arrival, FromAccepted | FromDialed | FromPublisher)
    ]


def test_frames_arrive_in_order_both_ways() -> None:
    pair = Pair()
    assert pair.gateway.receive() == [Connected(ROUTER)]
    for number in range(20):
        pair.gateway.send_dialed(ROUTER, frame(number))
        pair.router.send_accepted(GATEWAY.encode(), frame(100 + number))
    pair.run(SECOND)
    assert numbers(pair.router) == list(range(20))
    assert numbers(pair.gateway) == list(range(100, 120))


def test_a_short_cut_delays_and_a_long_one_breaks() -> None:
    pair = Pair(Weather(stale=0.0))
    pair.gateway.receive()
    pair.network.cut(GATEWAY, ROUTER)
    pair.gateway.send_dialed(ROUTER, frame(1))
    pair.run(2 * SECOND)
    assert pair.router.receive() == []
    pair.network.heal(GATEWAY, ROUTER)
    pair.run(10 * MS)
    assert numbers(pair.router) == [1]
    pair.network.cut(GATEWAY, ROUTER)
    pair.gateway.send_dialed(ROUTER, frame(2))
    pair.run(4 * SECOND)
    assert pair.gateway.receive() == [Lost(ROUTER)]
    assert pair.router.receive() == [LostRoute(GATEWAY.encode())]
    pair.network.heal_all()
    pair.run(2 * SECOND)
    assert pair.gateway.receive() == [Connected(ROUTER)]
    assert pair.router.receive() == [], "what was on its way is lost without a word"


def test_what_a_dialer_had_on_its_way_may_come_over_the_next_connection() -> None:
    pair = Pair(Weather(stale=1.0))
    pair.network.cut(GATEWAY, ROUTER)
    pair.gateway.send_dialed(ROUTER, frame(7))
    pair.run(4 * SECOND)
    pair.router.receive()
    pair.network.heal_all()
    pair.run(2 * SECOND)
    assert numbers(pair.router) == [7]


def test_what_was_on_its_way_to_a_killed_process_is_gone() -> None:
    pair = Pair(Weather(stale=0.0))
    pair.gateway.receive()
    pair.gateway.send_dialed(ROUTER, frame(1))
    pair.router.close()
    pair.run(SECOND)
    assert pair.gateway.receive() == [Lost(ROUTER)]
    router = pair.open(ROUTER, "router", {})
    pair.run(2 * SECOND)
    assert router.receive() == []
    assert pair.gateway.receive() == [Connected(ROUTER)]


def test_a_new_subscriber_misses_what_is_published_at_once() -> None:
    pair = Pair()
    pair.router.publish(b"hb.r", frame(1))
    pair.run(SECOND)
    assert numbers(pair.gateway) == []
    pair.router.publish(b"hb.r", frame(2))
    pair.run(SECOND)
    assert numbers(pair.gateway) == [2]


def test_bad_weather_drops_repeats_and_reorders() -> None:
    pair = Pair()
    pair.network.weather = Weather(drop=0.1, duplicate=0.1, reorder=0.3)
    pair.gateway.receive()
    for number in range(200):
        pair.gateway.send_dialed(ROUTER, frame(number))
    pair.run(SECOND)
    got = numbers(pair.router)
    assert len(set(got)) < 200, "none was dropped"
    assert len(got) > len(set(got)), "none came twice"
    assert got != sorted(got), "none overtook another"
