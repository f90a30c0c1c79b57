"""Endpoints over real sockets: they find, admit, lose and find each other again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import bus_world
import pytest
import zmq
from bus_world import BusWorld, now_ms, topology_text

from tools.ports import free_port
from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.endpoint import Endpoint, ViewChanged, feed, perform_send
from zmqim.bus.envelope import HEADER, PREFIX, Codec, append, seal
from zmqim.bus.link_events import PeerDown, PeerUp, Received
from zmqim.bus.messages import (
    DeliverAck,
    Goodbye,
    Hello,
    Load,
    Message,
    Propose,
    Role,
    RoutedItem,
    Welcome,
)
from zmqim.bus.sockets import FromDialed, Sent
from zmqim.errors import EXIT_REFUSED, NotAdmitted, PortInUse
from zmqim.ids import ClusterId, Incarnation, Milliseconds, NodeName, NodeUuid, WallMilliseconds
from zmqim.limits import LINK_SILENCE_MS_MAX, PEER_QUEUE_MESSAGES_MAX
from zmqim.topology import parse

EVERYONE = ("storage-1", "router-1", "gateway-1")


@pytest.fixture
def world() -> Iterator[BusWorld]:
    world = BusWorld()
    yield world
    world.close()


def started(world: BusWorld, text: str, *names: str) -> None:
    """Start these processes, or everyone, and turn until all links stand."""
    for name in names or EVERYONE:
        world.start(name, text)
    routers = {name for name in world.endpoints if name.startswith("router")}
    world.until(
        lambda: all(
            world.peers(name) == (set(world.endpoints) if name in routers else routers) - {name}
            for name in world.endpoints
        )
    )


def test_a_cluster_finds_itself_and_carries_messages(world: BusWorld) -> None:
    started(world, topology_text(free_port(), routers=2), *EVERYONE, "router-2")
    gateway, storage = NodeName("gateway-1"), NodeName("storage-1")
    whole = View((gateway,), (NodeName("router-1"), NodeName("router-2")), (storage,))
    world.until(lambda: all(one.view() == whole for one in world.endpoints.values()))
    assert world.peers("gateway-1") == {"router-1", "router-2"}
    assert world.peers("router-1") == {"gateway-1", "router-2", "storage-1"}
    assert world.peers("storage-1") == {"router-1", "router-2"}
    for source, to in (("gateway-1", "router-1"), ("router-1", "storage-1"),
                       ("storage-1", "router-2"), ("router-2", "router-1")):  # fmt: skip
        for number in range(100):
            assert world.send(source, to, DeliverAck(number))
        world.until(lambda to=to: len(world.received(to)) == 100)  # type: ignore[misc]
        assert world.received(to) == [DeliverAck(number) for number in range(100)]
        world.events[to].clear()
    assert not world.send("gateway-1", "storage-1", DeliverAck(1))
    assert world.endpoints["gateway-1"].counters()["sends_without_link"] == 1
    assert [problem for one in world.endpoints.values() for problem in one.problems()] == []


def test_members_and_load_are_known_everywhere(world: BusWorld) -> None:
    started(world, topology_text(free_port()))
    world.endpoints["gateway-1"].set_load(Load(sessions=7))
    world.until(lambda: len(world.endpoints["storage-1"].members()) == 3)
    found = {member.name: member.role for member in world.endpoints["storage-1"].members()}
    assert found == {"gateway-1": 1, "router-1": 2, "storage-1": 3}


def test_goodbye_takes_a_process_out_of_routing_at_once(world: BusWorld) -> None:
    started(world, topology_text(free_port()))
    world.until(lambda: world.endpoints["router-1"].view().gateways)
    world.endpoints["gateway-1"].leave(now_ms())
    world.close("gateway-1")
    took = world.until(lambda: world.peers("router-1") == {"storage-1"})
    world.until(lambda: not world.endpoints["router-1"].view().gateways)
    assert took < 1.0


class Killed:
    """`tests/bus_world.py` as a process of its own."""

    def __init__(self, path: Path, name: str) -> None:
        command = [sys.executable, bus_world.__file__, str(path), name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"bound\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.promise("P6")
@pytest.mark.parametrize(("victim", "witness"), [("gateway-1", "router-1"),
                                                 ("router-1", "gateway-1")])  # fmt: skip
def test_a_killed_process_is_missed_at_once_and_its_next_life_is_linked_within_seconds(
    world: BusWorld, tmp_path: Path, victim: str, witness: str
) -> None:
    text = topology_text(free_port())
    path = tmp_path / "topology.toml"
    path.write_text(text)
    world.start(witness, text)
    child = Killed(path, victim)
    try:
        for round_no in range(3):
            took = world.until(lambda: victim in world.peers(witness))
            assert round_no == 0 or took < LINK_SILENCE_MS_MAX / 1000 + 0.5
            assert world.send(witness, victim, DeliverAck(round_no))
            world.until(lambda n=round_no: DeliverAck(n) in world.received(witness))  # type: ignore[misc]
            child.kill()
            assert world.until(lambda: victim not in world.peers(witness)) < 1.0
            assert not world.send(witness, victim, DeliverAck(0))
            child = Killed(path, victim)
    finally:
        child.kill()
    ups = [e.peer for e in world.events[witness] if isinstance(e, PeerUp)]
    assert len({peer.node_uuid for peer in ups}) == len(ups)


def test_commands_for_a_past_life_are_dropped_after_the_reconnect(world: BusWorld) -> None:
    started(world, topology_text(free_port()), "router-1", "gateway-1")
    router, gateway = world.endpoints["router-1"], world.endpoints["gateway-1"]
    life = router._me
    stale = gateway._codec.encode(
        DeliverAck(1), life.node_uuid, Incarnation(life.incarnation + 1), 1
    )
    past = gateway._codec.encode(DeliverAck(2), life.node_uuid, life.incarnation, 0)
    for frame in (stale, past):
        assert gateway._sockets.send_dialed(NodeName("router-1"), frame) is Sent.TAKEN
    world.send("gateway-1", "router-1", DeliverAck(3))
    world.until(lambda: world.received("router-1"))
    assert world.received("router-1") == [DeliverAck(3)]
    assert router.counters()["stale_frame"] == 2


def refused(world: BusWorld, endpoint: Endpoint) -> NotAdmitted:
    """Turn everybody until that endpoint says it must stop."""
    until = time.monotonic() + bus_world.DEADLINE_S
    while time.monotonic() < until:
        world.turn()
        try:
            endpoint.turn(now_ms(), WallMilliseconds(0))
        except NotAdmitted as error:
            return error
        time.sleep(0.001)
    raise AssertionError(world.describe())


def test_a_process_with_another_topology_stops_and_says_which_keys_differ(
    world: BusWorld,
) -> None:
    port = free_port()
    started(world, topology_text(port), "storage-1", "router-1")
    other = topology_text(port, more="partitions = 128")
    newcomer = bus_world.endpoint_of("gateway-1", parse(other, "other.toml"))
    try:
        error = refused(world, newcomer)
    finally:
        newcomer.close()
    assert error.exit_code == EXIT_REFUSED
    assert "the topology of gateway-1 differs from that of router-1 in partitions" in str(error)
    assert world.peers("router-1") == {"storage-1"}
    assert any("in partitions" in problem for problem in world.endpoints["router-1"].problems())


def test_a_process_of_another_cluster_is_refused(world: BusWorld) -> None:
    port = free_port()
    started(world, topology_text(port), "storage-1", "router-1")
    other = topology_text(port, cluster="somebody-else")
    newcomer = bus_world.endpoint_of("gateway-1", parse(other, "other.toml"))
    try:
        error = refused(world, newcomer)
    finally:
        newcomer.close()
    assert "router-1 belongs to another cluster" in str(error)
    router = world.endpoints["router-1"]
    assert router.counters()["bad_cluster"] > 0
    assert "a process of another cluster sends frames to router-1" in router.problems()


class RawDealer:
    """Sends any bytes to a router, as a process that is not ours might."""

    def __init__(self, address: str, identity: bytes) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.set(zmq.ROUTING_ID, identity)
        self.socket.connect(address)

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def stranger(world: BusWorld) -> Iterator[RawDealer]:
    text = topology_text(free_port())
    started(world, text)
    dealer = RawDealer(parse(text, "t").process("router-1").address, b"stranger")
    yield dealer
    dealer.close()


def test_hostile_frames_are_counted_and_disturb_nobody(
    world: BusWorld, stranger: RawDealer
) -> None:
    router = world.endpoints["router-1"]
    cluster = router._codec._cluster
    head = HEADER.pack(b"zmqi", 2, cluster, b"x" * 16, 1, bytes(16), 0, 0) + b"\x05\0\0\0\x02"
    sound = Codec(ClusterId(cluster), NodeUuid(b"x" * 16), Incarnation(1))
    hello = Hello("gateway-1", 1, "", b"x" * 16, 1, "", b"", {})
    for frame in (
        b"",
        b"GET / HTTP/1.1\r\n\r\n" * 10,
        head + b"\x91\xc3" + crc32(head + b"\x91\xc3").to_bytes(4, "big"),
        sound.encode(DeliverAck(1))[:-1] + b"!",
        sound.encode(hello),
        sound.encode(DeliverAck(1)),
    ):
        stranger.socket.send(frame)
    wanted = {"bad_length", "bad_magic", "bad_version", "bad_checksum", "bad_hello"}
    world.until(lambda: wanted <= router.counters().keys())
    world.until(lambda: stranger.socket.poll(0))
    assert world.received("router-1") == []
    assert world.peers("router-1") == {"gateway-1", "storage-1"}
    assert any("another protocol version" in problem for problem in router.problems())


def test_a_follower_whose_name_no_topology_knows_is_a_gateway_for_everyone(
    world: BusWorld, stranger: RawDealer
) -> None:
    storage = world.endpoints["storage-1"]
    cluster = parse(topology_text(1), "t").cluster_id
    uuid = NodeUuid(b"follower.uuid...")
    address = next(m.address for m in storage.members() if m.name == "router-1")
    dealer = RawDealer(address, b"node-1:" + uuid[:4].hex().encode() + b":1")
    try:
        codec = Codec(cluster, uuid, Incarnation(1))
        dealer.socket.send(codec.encode(Hello("node-1", 1, "h", uuid, 1, "", b"", {}), link=1))
        world.until(lambda: "node-1" in world.peers("router-1"))
        world.until(lambda: "node-1" in world.endpoints["router-1"].view().gateways)
        welcome = next(codec.decode(dealer.socket.recv())[1])
        assert b"placement" in getattr(welcome, "ring_document", b"")
    finally:
        dealer.close()


def test_a_message_too_large_for_the_bus_is_refused_and_counted(world: BusWorld) -> None:
    started(world, topology_text(free_port()))
    item = RoutedItem(1, 1, 1, 0, bytes(17 << 20))
    assert not world.send("router-1", "storage-1", Propose([item]))
    assert world.endpoints["router-1"].counters()["sends_too_large"] == 1


def test_what_a_turn_says_to_a_peer_is_one_frame(world: BusWorld) -> None:
    started(world, topology_text(free_port()))
    router, name = world.endpoints["router-1"], NodeName("storage-1")
    world.until(lambda: len(router.members()) == 3)
    world.turn()
    before = router.counters()["frames_sent"]
    said = [DeliverAck(number) for number in range(20)]
    for message in said:
        assert router.send(now_ms(), name, message)
    assert router.counters()["frames_sent"] == before
    router.flush(now_ms())
    assert router.counters()["frames_sent"] == before + 1
    world.until(lambda: len(world.received("storage-1")) == 20)
    assert world.received("storage-1") == said


def test_a_bad_message_takes_the_rest_of_its_frame_with_it_and_not_the_link(
    world: BusWorld,
) -> None:
    started(world, topology_text(free_port()), "router-1", "gateway-1")
    router, gateway = world.endpoints["router-1"], world.endpoints["gateway-1"]
    life = router._me
    frame = bytearray(gateway._codec.header(life.node_uuid, life.incarnation, 1))
    append(frame, DeliverAck(1))
    frame += PREFIX.pack(99, 1) + b"\x90"
    append(frame, DeliverAck(2))
    seal(frame)
    assert gateway._sockets.send_dialed(NodeName("router-1"), frame) is Sent.TAKEN
    assert world.send("gateway-1", "router-1", DeliverAck(3))
    world.until(lambda: DeliverAck(3) in world.received("router-1"))
    assert world.received("router-1") == [DeliverAck(1), DeliverAck(3)]
    assert router.counters()["bad_type"] == 1
    assert world.peers("router-1") == {"gateway-1"}


def test_a_peer_that_does_not_read_fills_its_queue_and_gets_all_that_was_accepted(
    world: BusWorld,
) -> None:
    started(world, topology_text(free_port()))
    router, name = world.endpoints["router-1"], NodeName("storage-1")
    now, accepted, body = now_ms(), 0, bytes(10_000)
    while router.send(now, name, Propose([RoutedItem(1, accepted, 1, 0, body)])):
        accepted += 1
        router.flush(now)
        assert accepted < 10 * PEER_QUEUE_MESSAGES_MAX
    assert router._outboxes[name].messages == PEER_QUEUE_MESSAGES_MAX
    assert router.counters()["sends_queue_full"] == 1
    world.until(lambda: len(world.received("storage-1")) == accepted)
    found = [one for one in world.received("storage-1") if isinstance(one, Propose)]
    assert [one.items[0].request for one in found] == list(range(accepted))


def test_what_waits_for_a_lost_link_is_dropped_and_counted(world: BusWorld) -> None:
    started(world, topology_text(free_port()), "router-1", "gateway-1")
    router, name = world.endpoints["router-1"], NodeName("gateway-1")
    for number in range(3):
        assert router.send(now_ms(), name, DeliverAck(number))
    router._links.disconnected(now_ms(), name)
    world.turn()
    assert PeerDown(name) in world.events["router-1"]
    assert router.counters()["messages_dropped_with_link"] == 3
    assert not router.send(now_ms(), name, DeliverAck(3))
    world.until(lambda: "gateway-1" in world.peers("router-1"))
    assert world.received("gateway-1") == []


def test_a_peer_that_comes_up_and_leaves_in_one_frame_was_there(world: BusWorld) -> None:
    gateway = world.start("gateway-1", topology_text(free_port()))
    life, name, uuid = gateway._me, NodeName("router-1"), NodeUuid(b"r" * 16)
    router = Codec(ClusterId(gateway._codec._cluster), uuid, Incarnation(1))
    frame = bytearray(router.header(life.node_uuid, life.incarnation, 1))
    append(frame, Welcome(name, Role.ROUTER, uuid, 1, b"", b"{}"))
    append(frame, DeliverAck(1))
    append(frame, Goodbye())
    seal(frame)
    gateway._take(now_ms(), FromDialed(name, frame))
    world.turn()
    told = [one for one in world.events["gateway-1"] if not isinstance(one, ViewChanged)]
    peer = Peer(name, Role.ROUTER, uuid, Incarnation(1))
    assert told == [PeerUp(peer), Received(name, DeliverAck(1)), PeerDown(name)]
    assert not gateway.send(now_ms(), name, DeliverAck(2))


def test_two_processes_with_one_address_are_told_apart_by_the_port(world: BusWorld) -> None:
    text = topology_text(free_port())
    world.start("router-1", text)
    with pytest.raises(PortInUse):
        bus_world.endpoint_of("router-1", parse(text, "t"))


def test_sleeping_ends_with_a_message_and_with_what_waits(world: BusWorld) -> None:
    started(world, topology_text(free_port()))
    storage = world.endpoints["storage-1"]
    world.turn()
    assert world.send("router-1", "storage-1", DeliverAck(1))
    begin = time.monotonic()
    while not world.received("storage-1"):
        storage.wait(max(0, storage.next_wake(now_ms()) - now_ms()))
        world.events["storage-1"] += storage.turn(now_ms(), WallMilliseconds(0))
        assert time.monotonic() - begin < bus_world.DEADLINE_S
    assert storage.fds() == storage.fds()


class Recorder:
    """A core that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def peer_up(self, now: Milliseconds, peer: object) -> None:
        self.calls.append(("peer_up", peer))

    def peer_down(self, now: Milliseconds, name: NodeName) -> None:
        self.calls.append(("peer_down", name))

    def view_changed(self, now: Milliseconds, view: View) -> None:
        self.calls.append(("view_changed", view))

    def receive(self, now: Milliseconds, source: NodeName, message: Message) -> None:
        self.calls.append(("receive", (source, message)))

    def undeliverable(self, now: Milliseconds, to: NodeName, message: Message) -> None:
        self.calls.append(("undeliverable", (to, message)))


def test_events_reach_the_core_and_refused_sends_come_back_to_it(world: BusWorld) -> None:
    started(world, topology_text(free_port()))
    core, now, name = Recorder(), now_ms(), NodeName("storage-1")
    message, view = DeliverAck(1), View((), (), ())
    peer = next(e.peer for e in world.events["router-1"] if isinstance(e, PeerUp))
    feed(core, now, [PeerUp(peer), Received(name, message), ViewChanged(view), PeerDown(name)])
    assert perform_send(world.endpoints["router-1"], core, now, Send(name, message))
    nobody = Send(NodeName("nobody"), message)
    assert not perform_send(world.endpoints["router-1"], core, now, nobody)
    assert core.calls == [
        ("peer_up", peer),
        ("receive", (name, message)),
        ("view_changed", view),
        ("peer_down", name),
        ("undeliverable", ("nobody", message)),
    ]
