"""What ZeroMQ does by itself, shown against the real thing: why `zmqim.bus.sockets` is as it is.

The numbers are those of pitfalls in the design's reference. If one of these fails after an upgrade
of pyzmq, the remedy that leans on it must be looked at again.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from random import Random

import pytest
import zmq

from tools.ports import free_port
from zmqim.bus.envelope import Codec
from zmqim.bus.messages import Hello
from zmqim.bus.sockets import (
    Arrival,
    Connected,
    FromAccepted,
    FromDialed,
    FromPublisher,
    Lost,
    LostRoute,
    Sent,
    Sockets,
)
from zmqim.errors import PortInUse, UsageError
from zmqim.ids import ClusterId, Incarnation, NodeName, NodeUuid
from zmqim.limits import (
    BUS_FRAME_BYTES_MAX,
    BUS_SEND_FRAMES_MAX,
    TURN_BYTES_MAX,
    TURN_FRAMES_MAX,
)

DEADLINE_S = 10.0
SERVER = NodeName("server")
ROUTE = b"client:1"


Raw = Callable[[int], "zmq.Socket[bytes]"]


@pytest.fixture
def raw() -> Iterator[Raw]:
    """Makes plain sockets of a kind, with ZeroMQ's defaults."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made: list[zmq.Socket[bytes]] = []

    def make(kind: int) -> zmq.Socket[bytes]:
        made.append(context.socket(kind))
        return made[-1]

    yield make
    for socket in made:
        socket.close(linger=0)
    context.term()


@pytest.fixture
def opened() -> Iterator[list[Sockets]]:
    """Sockets put in here are closed."""
    made: list[Sockets] = []
    yield made
    for sockets in made:
        sockets.close()


class Ports:
    """Addresses that nobody has bound."""

    def __init__(self) -> None:
        first = free_port()
        self.router, self.one, self.other = (f"tcp://127.0.0.1:{first + n}" for n in range(3))


def server(ports: Ports) -> Sockets:
    return Sockets(
        b"server:1", router=ports.router, publisher=ports.one, dialed={}, heard=[],
        random=Random(1),
    )  # fmt: skip


def client(ports: Ports, identity: bytes = b"client:1") -> Sockets:
    return Sockets(
        identity, router=None, publisher=ports.other, dialed={SERVER: ports.router},
        heard=[ports.one], random=Random(2),
    )  # fmt: skip


def arrivals_until(sockets: Sockets, kind: type[Arrival], count: int = 1) -> list[Arrival]:
    """Everything that arrives until `count` of that kind did."""
    found: list[Arrival] = []
    until = time.monotonic() + DEADLINE_S
    while sum(isinstance(one, kind) for one in found) < count:
        assert time.monotonic() < until, f"no {kind.__name__}: {found}"
        sockets.wait(50)
        found += sockets.receive()
    return found


def frames(arrivals: list[Arrival]) -> list[bytes]:
    kinds = (FromDialed, FromAccepted, FromPublisher)
    return [bytes(one.frame) for one in arrivals if isinstance(one, kinds)]


def joined(opened: list[Sockets]) -> tuple[Sockets, Sockets, Ports]:
    """A client that dialled a server, each with a queue for the other."""
    ports = Ports()
    opened += [server(ports), client(ports)]
    accepting, dialling = opened[-2:]
    arrivals_until(dialling, Connected)
    assert dialling.send_dialed(SERVER, b"hello") is Sent.TAKEN
    [first] = [a for a in arrivals_until(accepting, FromAccepted) if isinstance(a, FromAccepted)]
    assert first.route == ROUTE
    return accepting, dialling, ports


# ---- facts of ZeroMQ ---------------------------------------------------------------------------


def test_z1_pub_drops_for_a_slow_subscriber_without_a_word(
    raw: Raw,
) -> None:
    publisher, subscriber = raw(zmq.PUB), raw(zmq.SUB)
    publisher.set(zmq.SNDHWM, 10)
    subscriber.set(zmq.RCVHWM, 10)
    subscriber.subscribe(b"")
    subscriber.connect(f"tcp://127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}")
    until = time.monotonic() + DEADLINE_S
    while not subscriber.poll(10):
        assert time.monotonic() < until
        publisher.send(b"first", zmq.NOBLOCK)
    for _ in range(20_000):
        publisher.send(b"x" * 100, zmq.NOBLOCK)
    heard = 0
    while subscriber.poll(200):
        subscriber.recv()
        heard += 1
    assert heard < 20_000


def test_z2_a_plain_router_drops_for_an_unknown_peer_and_a_mandatory_one_says_so(
    raw: Raw,
) -> None:
    plain, mandatory = raw(zmq.ROUTER), raw(zmq.ROUTER)
    mandatory.set(zmq.ROUTER_MANDATORY, 1)
    plain.send_multipart([b"nobody", b"x"], zmq.NOBLOCK)
    with pytest.raises(zmq.ZMQError) as caught:
        mandatory.send_multipart([b"nobody", b"x"], zmq.NOBLOCK)
    assert caught.value.errno == zmq.EHOSTUNREACH


def test_z3_a_plain_router_drops_for_a_full_peer_and_a_mandatory_one_says_so(raw: Raw) -> None:
    taken = {}
    for mandatory in (0, 1):
        router, dealer = raw(zmq.ROUTER), raw(zmq.DEALER)
        router.set(zmq.ROUTER_MANDATORY, mandatory)
        router.set(zmq.SNDHWM, 10)
        dealer.set(zmq.RCVHWM, 10)
        dealer.set(zmq.ROUTING_ID, b"full")
        dealer.connect(f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}")
        dealer.send(b"here I am")
        assert router.recv_multipart() == [b"full", b"here I am"]
        taken[mandatory] = 0
        try:
            for _ in range(20_000):
                router.send_multipart([b"full", bytes(1_000)], zmq.NOBLOCK)
                taken[mandatory] += 1
        except zmq.Again:
            pass
        got = 0
        while dealer.poll(200):
            dealer.recv()
            got += 1
        assert got == taken[mandatory] if mandatory else got < taken[mandatory]
    assert taken[0] == 20_000 > taken[1]


@pytest.mark.parametrize("handover", [0, 1])
def test_z4_only_handover_lets_a_restarted_peer_with_the_same_identity_speak(
    raw: Raw, handover: int
) -> None:
    router = raw(zmq.ROUTER)
    router.set(zmq.ROUTER_HANDOVER, handover)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    for text in (b"first", b"second"):
        peer = raw(zmq.DEALER)
        peer.set(zmq.ROUTING_ID, b"same")
        peer.connect(f"tcp://127.0.0.1:{port}")
        peer.send(text)
        if text == b"first":
            assert router.recv_multipart() == [b"same", text]
    assert bool(router.poll(2_000 if handover else 300)) is bool(handover)


def test_z9_a_connection_is_tried_again_every_100_ms_for_ever_by_default(raw: Raw) -> None:
    assert raw(zmq.DEALER).get(zmq.RECONNECT_IVL) == 100
    assert raw(zmq.DEALER).get(zmq.RECONNECT_IVL_MAX) == 0


def test_z11_a_descriptor_is_not_readable_though_a_message_is_there(raw: Raw) -> None:
    pushing, pulling = raw(zmq.PUSH), raw(zmq.PULL)
    pulling.bind("inproc://edge")
    pushing.connect("inproc://edge")
    pushing.send_multipart([b"1"])
    assert select.select([pulling.fileno()], [], [], DEADLINE_S)[0]
    until = time.monotonic() + DEADLINE_S
    while not pulling.get(zmq.EVENTS) & zmq.POLLIN:
        assert time.monotonic() < until
    assert select.select([pulling.fileno()], [], [], 0)[0] == []
    assert pulling.recv(zmq.NOBLOCK) == b"1"


def test_z12_what_a_forked_child_sends_is_accepted_and_never_arrives() -> None:
    script = (
        "import os, sys, zmq\n"
        "context = zmq.Context()\n"
        "pulling, pushing = context.socket(zmq.PULL), context.socket(zmq.PUSH)\n"
        "port = pulling.bind_to_random_port('tcp://127.0.0.1')\n"
        "pushing.connect(f'tcp://127.0.0.1:{port}')\n"
        "pushing.send(b'parent')\n"
        "assert pulling.recv() == b'parent'\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    pushing.send(b'child', zmq.NOBLOCK)\n"
        "    os._exit(7)\n"
        "code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "print(code, pulling.poll(300), flush=True)\n"
        "os._exit(0)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, timeout=30, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["7", "0"]


def test_z14_only_immediate_refuses_for_an_address_where_nobody_is(
    raw: Raw,
) -> None:
    address = Ports().router
    eager, immediate = raw(zmq.DEALER), raw(zmq.DEALER)
    immediate.set(zmq.IMMEDIATE, 1)
    for socket in (eager, immediate):
        socket.connect(address)
    eager.send(b"accepted for nobody", zmq.NOBLOCK)
    with pytest.raises(zmq.Again):
        immediate.send(b"x", zmq.NOBLOCK)


def test_z16_subscriptions_beyond_the_high_water_mark_vanish_so_we_have_one(
    raw: Raw,
) -> None:
    publisher, subscriber = raw(zmq.XPUB), raw(zmq.SUB)
    publisher.set(zmq.XPUB_VERBOSE, 1)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    for number in range(5_000):
        subscriber.subscribe(b"%d." % number)
    subscriber.connect(f"tcp://127.0.0.1:{port}")
    count = 0
    while publisher.poll(500):
        publisher.recv()
        count += 1
    assert count < 5_000


def test_z18_frames_have_no_bound_by_default(raw: Raw) -> None:
    assert raw(zmq.DEALER).get(zmq.MAXMSGSIZE) == -1
    assert raw(zmq.DEALER).get(zmq.HEARTBEAT_IVL) == 0
    assert raw(zmq.DEALER).get(zmq.LINGER) == -1


# ---- what our sockets make of it ---------------------------------------------------------------


def test_frames_go_both_ways_in_order(opened: list[Sockets]) -> None:
    accepting, dialling, _ = joined(opened)
    sent = [b"%d" % number for number in range(100)]
    for frame in sent:
        assert accepting.send_accepted(ROUTE, frame) is Sent.TAKEN
        assert dialling.send_dialed(SERVER, frame) is Sent.TAKEN
    assert frames(arrivals_until(accepting, FromAccepted, 100)) == sent
    assert frames(arrivals_until(dialling, FromDialed, 100)) == sent
    assert accepting.counters["frames_received"] == 101
    assert accepting.counters["bytes_received"] == len(b"hello") + sum(map(len, sent))


def test_z2_an_unknown_route_is_unreachable_and_counted(opened: list[Sockets]) -> None:
    accepting, _, _ = joined(opened)
    assert accepting.send_accepted(b"somebody else", b"x") is Sent.UNREACHABLE
    assert accepting.counters["sends_unreachable"] == 1


def test_z3_a_peer_that_does_not_read_takes_no_more_and_loses_nothing_that_was_taken(
    opened: list[Sockets],
) -> None:
    accepting, dialling, _ = joined(opened)
    taken = fill(accepting)
    assert accepting.counters["sends_again"] == 1
    got: list[bytes] = []
    until = time.monotonic() + DEADLINE_S
    while len(got) < taken:
        assert time.monotonic() < until
        dialling.wait(20)
        got += frames(dialling.receive())
    assert got == [b"%010000d" % number for number in range(taken)]


def fill(accepting: Sockets) -> int:
    """Send to the client until it takes no more; how many frames it took."""
    taken = 0
    while accepting.send_accepted(ROUTE, b"%010000d" % taken) is Sent.TAKEN:
        taken += 1
        assert taken < 100 * BUS_SEND_FRAMES_MAX
    return taken


def test_a_turn_reads_so_many_frames_and_so_many_bytes_and_no_more(opened: list[Sockets]) -> None:
    accepting, dialling, _ = joined(opened)
    for size, most in ((1, TURN_FRAMES_MAX), (1 << 20, TURN_BYTES_MAX >> 20)):
        until = time.monotonic() + DEADLINE_S
        for _ in range(most + 10):
            while dialling.send_dialed(SERVER, bytes(size)) is not Sent.TAKEN:
                assert time.monotonic() < until
                time.sleep(0.001)
        got: list[int] = []
        until = time.monotonic() + DEADLINE_S
        while sum(got) < most + 10:
            assert time.monotonic() < until
            accepting.wait(20)
            got.append(len(frames(accepting.receive())))
        assert max(got) <= most


def test_one_full_peer_does_not_hold_up_another(opened: list[Sockets]) -> None:
    accepting, _, ports = joined(opened)
    other_ports = Ports()
    other_ports.router, other_ports.one = ports.router, ports.one
    opened.append(client(other_ports, b"other:1"))
    other = opened[-1]
    arrivals_until(other, Connected)
    assert other.send_dialed(SERVER, b"hello") is Sent.TAKEN
    arrivals_until(accepting, FromAccepted)
    fill(accepting)
    assert accepting.send_accepted(b"other:1", b"through") is Sent.TAKEN
    assert frames(arrivals_until(other, FromDialed)) == [b"through"]


def test_z4_a_second_life_has_another_identity_and_is_heard(opened: list[Sockets]) -> None:
    accepting, dialling, ports = joined(opened)
    dialling.close()
    opened.append(client(ports, b"client:2"))
    arrivals_until(opened[-1], Connected)
    assert opened[-1].send_dialed(SERVER, b"again") is Sent.TAKEN
    arrivals = arrivals_until(accepting, FromAccepted)
    assert [a.route for a in arrivals if isinstance(a, FromAccepted)] == [b"client:2"]


def test_z5_every_socket_has_heartbeats_keepalive_and_bounds(opened: list[Sockets]) -> None:
    accepting, dialling, _ = joined(opened)
    for sockets in (accepting, dialling):
        for socket in (*sockets._names, sockets._publisher, sockets._subscriber):

            def number(option: int, socket: zmq.Socket[bytes] = socket) -> int:
                return int(socket.get(option))

            assert number(zmq.HEARTBEAT_IVL) == 1_000
            assert number(zmq.HEARTBEAT_TIMEOUT) == 3_000
            assert number(zmq.TCP_KEEPALIVE) == 1
            assert number(zmq.LINGER) == 0
            assert 0 < number(zmq.SNDHWM) <= BUS_SEND_FRAMES_MAX
            assert 0 < number(zmq.MAXMSGSIZE) <= BUS_FRAME_BYTES_MAX
            assert 50 <= number(zmq.RECONNECT_IVL) <= 100
            assert number(zmq.RECONNECT_IVL_MAX) == 500


def test_z11_one_descriptor_edge_is_enough_when_drained_and_looked_at_after_sends(
    opened: list[Sockets],
) -> None:
    accepting, dialling, _ = joined(opened)
    assert len(accepting.fds()) == 1
    accepting.receive()
    for number in range(100):
        assert dialling.send_dialed(SERVER, b"%d" % number) is Sent.TAKEN
    got = 0
    until = time.monotonic() + DEADLINE_S
    while got < 100:
        assert time.monotonic() < until
        if accepting.may_be_readable():
            got += len(frames(accepting.receive()))
        else:
            accepting.send_accepted(ROUTE, b"a send may eat the edge")


def test_z12_a_forked_child_must_not_use_its_parents_sockets(opened: list[Sockets]) -> None:
    script = (
        "import os, sys\n"
        "from random import Random\n"
        "from zmqim.bus.sockets import Sockets\n"
        "s = Sockets(b'x', router=None, publisher='tcp://127.0.0.1:*', dialed={}, heard=[],"
        " random=Random(1))\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    refused = 0\n"
        "    uses = s.receive, lambda: s.publish(b'', b''), lambda: s.send_dialed('x', b'')\n"
        "    for use in uses:\n"
        "        try: use()\n"
        "        except AssertionError: refused += 1\n"
        "    s.close()\n"
        "    os._exit(refused)\n"
        "code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "s.close()\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=30, check=False)
    assert done.returncode == 3


def test_z13_what_zeromq_took_is_lost_with_the_receiver_and_nobody_is_told(
    opened: list[Sockets],
) -> None:
    ports = Ports()
    opened.append(client(ports))
    dialling = opened[-1]
    script = (
        "import sys, time\n"
        "from random import Random\n"
        "from zmqim.bus.sockets import Sockets\n"
        "s = Sockets(b'server', router=sys.argv[1], publisher=sys.argv[2], dialed={}, heard=[],"
        " random=Random(1))\n"
        "print('bound', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, ports.router, ports.one]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == b"bound\n"
        arrivals_until(dialling, Connected)
        for _ in range(100):
            assert dialling.send_dialed(SERVER, b"accepted") is Sent.TAKEN
        os.kill(receiver.pid, signal.SIGKILL)
    assert Lost(SERVER) in arrivals_until(dialling, Lost)
    opened.append(server(ports))
    found = arrivals_until(dialling, Connected)
    assert dialling.send_dialed(SERVER, b"after") is Sent.TAKEN
    assert b"accepted" not in frames(arrivals_until(opened[-1], FromAccepted))
    assert Connected(SERVER) in found


def test_z14_a_process_that_is_not_there_takes_nothing(opened: list[Sockets]) -> None:
    opened.append(client(Ports()))
    dialling = opened[-1]
    assert dialling.send_dialed(SERVER, b"hello") is Sent.AGAIN
    assert dialling.counters["sends_again"] == 1


def test_z15_closing_with_full_queues_takes_no_time(opened: list[Sockets]) -> None:
    accepting, _, _ = joined(opened)
    fill(accepting)
    before = time.monotonic()
    accepting.close()
    assert time.monotonic() - before < 1.0


def test_z18_a_frame_above_the_bound_drops_the_connection_not_the_process(
    opened: list[Sockets],
) -> None:
    accepting, dialling, _ = joined(opened)
    assert dialling.send_dialed(SERVER, bytes(BUS_FRAME_BYTES_MAX + 1)) is Sent.TAKEN
    assert Lost(SERVER) in arrivals_until(dialling, Lost)
    arrivals_until(dialling, Connected)
    assert dialling.send_dialed(SERVER, b"small") is Sent.TAKEN
    assert frames(arrivals_until(accepting, FromAccepted))[-1] == b"small"


def test_messages_of_several_parts_are_dropped_and_counted(opened: list[Sockets]) -> None:
    accepting, dialling, _ = joined(opened)
    [socket] = dialling._names
    socket.send_multipart([b"one", b"two", b"three"])
    assert dialling.send_dialed(SERVER, b"one part") is Sent.TAKEN
    assert frames(arrivals_until(accepting, FromAccepted)) == [b"one part"]
    assert accepting.counters["bad_parts"] == 1


def test_the_end_of_a_connection_is_told_with_the_route_of_its_hello(
    opened: list[Sockets],
) -> None:
    accepting, dialling, _ = joined(opened)
    codec = Codec(ClusterId(bytes(16)), NodeUuid(bytes(16)), Incarnation(1))
    hello = codec.encode(Hello("client", 1, "", bytes(16), 1, "", b"", {}))
    assert dialling.send_dialed(SERVER, hello) is Sent.TAKEN
    arrivals_until(accepting, FromAccepted)
    dialling.close()
    assert LostRoute(b"client:1") in arrivals_until(accepting, LostRoute)


def test_a_life_that_dials_again_is_not_lost_with_its_past_connection(
    opened: list[Sockets], raw: Raw
) -> None:
    ports = Ports()
    opened.append(server(ports))
    accepting = opened[-1]
    codec = Codec(ClusterId(bytes(16)), NodeUuid(bytes(16)), Incarnation(1))
    hello = codec.encode(Hello("client", 1, "", bytes(16), 1, "", b"", {}))
    connections: list[zmq.Socket[bytes]] = []
    found: list[Arrival] = []
    for _ in range(2):
        connections.append(raw(zmq.DEALER))
        connections[-1].set(zmq.ROUTING_ID, b"client:1")
        connections[-1].set(zmq.RECONNECT_IVL, -1)
        connections[-1].connect(ports.router)
        connections[-1].send(hello)
        found += arrivals_until(accepting, FromAccepted)
    connections[0].close(linger=0)
    until = time.monotonic() + DEADLINE_S
    while not accepting.counters["disconnects"]:
        assert time.monotonic() < until
        accepting.wait(20)
        found += accepting.receive()
    assert LostRoute(b"client:1") not in found
    connections[1].close(linger=0)
    arrivals_until(accepting, LostRoute)


def test_publishers_are_heard_by_everyone_who_subscribed(opened: list[Sockets]) -> None:
    accepting, dialling, _ = joined(opened)
    until = time.monotonic() + DEADLINE_S
    while not frames(dialling.receive()):
        assert time.monotonic() < until
        accepting.publish(b"hb.r", b"beat")
        dialling.wait(20)
    dialling.hear_only(["not an address"])
    assert dialling.counters["bad_publisher_addresses"] == 1


def test_an_address_in_use_is_said_with_what_to_do(opened: list[Sockets]) -> None:
    ports = Ports()
    opened.append(server(ports))
    with pytest.raises(PortInUse, match=ports.router):
        server(ports)
    ports.router = "tcp://nowhere.invalid:1"
    with pytest.raises(UsageError, match=r"nowhere\.invalid"):
        server(ports)
    ports.router = "no address"
    with pytest.raises(UsageError, match="no address"):
        client(ports)


def test_waiting_ends_when_another_descriptor_is_readable(opened: list[Sockets]) -> None:
    accepting, _, _ = joined(opened)
    reader, writer = os.pipe()
    try:
        assert accepting.wait(0, [reader]) == []
        os.write(writer, b"x")
        assert accepting.wait(5_000, [reader]) == [reader]
        assert accepting.wait(0, []) == []
    finally:
        os.close(reader)
        os.close(writer)
