"""What one message costs in a router's bus and core, in microseconds of one core.

    .venv/bin/python tools/bench/router_turn.py [messages-a-turn turns]

A real `Endpoint` and a real `RouterCore` route what a gateway asks, hand out what storages answer
and fan out what they tell; gateway, storages and ZeroMQ's sockets are played here, outside the
clock. A turn gets the Submit of its messages, the Outcomes and NoticeBatches of those before and
the DeliverAck of those before these, as under a steady load. Three parts are timed: *take* (frames
to messages), *core* (messages to effects), *send* (effects to frames). Defaults: 32 messages a
turn, 300 turns, payload 100 bytes; all sessions are at one gateway.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from random import Random
from time import perf_counter
from typing import Any

from zmqim.bus import messages as bus
from zmqim.bus.admission import routing_id
from zmqim.bus.effects import Peer
from zmqim.bus.endpoint import Endpoint, feed, perform_send
from zmqim.bus.envelope import Codec
from zmqim.bus.outbox import Outbox
from zmqim.bus.sockets import Arrival, Buffer, Connected, FromAccepted, FromDialed, Sent
from zmqim.chat.channels import person_channel_id, route_key_of_channel
from zmqim.chat.encoding import encode
from zmqim.chat.notices import MessageNotice
from zmqim.chat.operations import SendMessage, decode_send
from zmqim.chat.results import Sent as Stored
from zmqim.ids import Incarnation, Milliseconds, NodeName, NodeUuid, WallMilliseconds
from zmqim.limits import PRESENCE_SETTLE_MS_MIN
from zmqim.ring.document import ring_of
from zmqim.router.core import RouterCore
from zmqim.topology import find, load

GATEWAY = NodeName("gateway-1")
SESSIONS = 100
HLC = 1_700_000_000_000 << 16
PARTS = ("take", "core", "send")


class PlayedWires:
    """In the place of ZeroMQ: what arrives next, and what was sent to whom."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.arrivals: list[Arrival] = []
        self.sent: list[tuple[NodeName, bytes]] = []

    def send_dialed(self, name: NodeName, frame: Buffer) -> Sent:
        self.sent.append((name, bytes(frame)))
        return Sent.TAKEN

    def send_accepted(self, route: bytes, frame: Buffer) -> Sent:
        return self.send_dialed(GATEWAY, frame)

    def receive(self) -> list[Arrival]:
        arrivals, self.arrivals = self.arrivals, []
        return arrivals

    def publish(self, topic: bytes, frame: Buffer) -> None: ...
    def hear_only(self, addresses: Iterable[str]) -> None: ...


class Bench:
    """A router with its peers; `spent` holds seconds by part."""

    def __init__(self) -> None:
        topology = load(find("three-storages"), key_needed=False)
        ring = ring_of(topology)
        self.now = Milliseconds(10_000)
        self.wires: Any = PlayedWires()
        self.me = peer(NodeName("router-1"), bus.Role.ROUTER)
        self.endpoint = Endpoint(
            self.me, topology, ring, Random(1), self.now, lambda *_, **__: self.wires
        )
        self.core = RouterCore(self.me.name, ring, Random(1))
        self.spent = dict.fromkeys(PARTS, 0.0)
        self.answered = self.delivered = self._request = 0
        self._cluster = topology.cluster_id
        self._indexes: dict[int, int] = {}
        self._outboxes: dict[NodeName, Outbox] = {}
        uids = [f"user-{one}" for one in range(SESSIONS)]
        pairs = [(uid, uids[one ^ 1]) for one, uid in enumerate(uids)]
        self._channels = [(person_channel_id(*pair), pair[0]) for pair in pairs]
        hello = bus.Hello(GATEWAY, bus.Role.GATEWAY, "", LIFE.node_uuid, 1, "", ring.hash, {})
        self.wires.arrivals = [
            *(Connected(NodeName(storage.name)) for storage in topology.storages),
            FromAccepted(ROUTE, self._codec(LIFE).encode(hello, link=1)),
        ]
        for _ in range(4):
            self.turn()
        entries = [bus.PresenceEntry(one, uid, 0, 0, "", 1) for one, uid in enumerate(uids)]
        self._say(GATEWAY, bus.PresenceDigest([]), bus.Announce(entries))
        self.now = Milliseconds(self.now + PRESENCE_SETTLE_MS_MIN)
        self.turn()

    def _codec(self, one: Peer) -> Codec:
        return Codec(self._cluster, one.node_uuid, one.incarnation)

    def _say(self, source: NodeName, *messages: bus.Message) -> None:
        """One frame of `source` for the router's next turn."""
        outbox = self._outboxes[source]
        for message in messages:
            outbox.put(message)
        frame = outbox.next_frame()
        outbox.taken()
        dialed = source != GATEWAY
        self.wires.arrivals.append(
            FromDialed(source, frame) if dialed else FromAccepted(ROUTE, frame)
        )

    def turn(self) -> None:
        """The router's turn as its shell performs it, then what the others say to it."""
        endpoint, core, now = self.endpoint, self.core, self.now
        began = perf_counter()
        events = endpoint.turn(now, WallMilliseconds(now))
        taken = perf_counter()
        feed(core, now, events)
        effects = core.turn(now)
        decided = perf_counter()
        for effect in effects:
            assert perform_send(endpoint, core, now, effect)
        endpoint.flush(now)
        self.spent["take"] += taken - began
        self.spent["core"] += decided - taken
        self.spent["send"] += perf_counter() - decided
        sent, self.wires.sent = self.wires.sent, []
        for name, frame in sent:
            self._play(name, frame)

    def ask(self, messages: int) -> None:
        """The gateway's Submit for the next turn."""
        items = []
        for _ in range(messages):
            self._request += 1
            channel, uid = self._channels[self._request % SESSIONS]
            send = SendMessage(1, channel, uid, f"{self._request:032x}3", bytes(100), flags=2)
            items.append(bus.Item(self._request, route_key_of_channel(1, channel), 0, encode(send)))
        self._say(GATEWAY, bus.Submit(items))

    def _play(self, name: NodeName, frame: bytes) -> None:
        """What that peer says to a frame of the router."""
        role = bus.Role.GATEWAY if name == GATEWAY else bus.Role.STORAGE
        one = peer(name, role)
        header, messages = self._codec(one).decode(frame)
        for message in messages:
            match message:
                case bus.Hello() | bus.Welcome():
                    back = self._codec(one).header(self.me.node_uuid, Incarnation(1), header.link)
                    self._outboxes[name] = Outbox(back, b"")
                    if role is bus.Role.STORAGE:
                        self._say(name, bus.Welcome(name, role, one.node_uuid, 1, b"", b""))
                case bus.Propose():
                    self._say(name, *self._stored(message))
                case bus.Answers(items):
                    self.answered += len(items)
                case bus.Deliver(number, deliveries):
                    self.delivered += len(deliveries)
                    self._say(name, bus.DeliverAck(number))

    def _stored(self, proposed: bus.Propose) -> tuple[bus.Outcomes, bus.NoticeBatches]:
        outcomes = []
        told: dict[int, list[bus.NoticeItem]] = {}
        before = dict(self._indexes)
        for item in proposed.items:
            partition = item.partition
            index = self._indexes[partition] = self._indexes.get(partition, 0) + 1
            sent = encode(Stored(index, item.request << 20, HLC))
            outcomes.append(bus.Outcome(item.origin, item.request, partition, 0, sent))
            channel = decode_send(item.body).channel_id
            notice = MessageNotice(1, channel, index, item.request << 20, HLC, 0, item.body)
            told.setdefault(partition, []).append(bus.NoticeItem(index, encode(notice)))
        batches = [bus.Notices(one, 1, before.get(one, 0), items) for one, items in told.items()]
        return bus.Outcomes(outcomes), bus.NoticeBatches(batches)


def peer(name: NodeName, role: bus.Role) -> Peer:
    """The first life of a process."""
    return Peer(name, role, NodeUuid(name.encode().ljust(16, b"-")), Incarnation(1))


LIFE = peer(GATEWAY, bus.Role.GATEWAY)
ROUTE = routing_id(LIFE.name, LIFE.node_uuid, LIFE.incarnation)


def main() -> None:
    """Print the least of five runs by part."""
    per_turn, turns = map(int, (sys.argv[1:] or ("32", "300")))
    bench = Bench()
    best = dict.fromkeys(PARTS, float("inf"))
    for _ in range(5):
        bench.spent = dict.fromkeys(PARTS, 0.0)
        for _ in range(turns):
            bench.ask(per_turn)
            bench.turn()
        for part in PARTS:
            best[part] = min(best[part], bench.spent[part] / (turns * per_turn))
    for _ in range(3):
        bench.turn()
    assert bench.answered == bench.delivered == 5 * turns * per_turn
    for part, seconds in [*best.items(), ("all", sum(best.values()))]:
        print(f"{part:8} {seconds * 1e6:6.2f} µs")


if __name__ == "__main__":
    main()
