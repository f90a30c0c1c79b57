"""What one message costs in a gateway's codec and core, in microseconds of one core.

    .venv/bin/python tools/bench/gateway_turn.py [connections in-flight rounds]

Pairs of clients write to each other through a real `GatewayCore` and real codecs; clients, router
and partitions are played here, outside the clock. Three parts are timed: *decode* (bytes of SEND
and RECVACK to packets), *core* (packets, answers and pushes to effects), *encode* (effects to
bytes). What the loop, the sockets and the bus cost comes on top. Defaults: 100 connections with
4 messages each in flight, payload 100 bytes, encryption on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from os import urandom
from random import Random
from time import perf_counter

from zmqim.bus.effects import Peer
from zmqim.bus.effects import Send as ToBus
from zmqim.bus.messages import (
    Answer,
    Answers,
    Deliver,
    Delivery,
    Item,
    ItemKind,
    Login,
    LoginAck,
    OutcomeCode,
    Role,
    Submit,
)
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage, decode_operation
from zmqim.chat.results import Done, Sent, UserRow
from zmqim.gateway.core import GatewayCore
from zmqim.gateway.effects import Effect, ToClient
from zmqim.gateway.tokens import token_hash
from zmqim.ids import Incarnation, Milliseconds, NodeName, NodeUuid
from zmqim.ring.document import RingDocument
from zmqim.topology_values import Limits
from zmqim.wkproto.codec import ENTROPY_BYTES, ClientCodec, ServerCodec
from zmqim.wkproto.crypto import KEY_BYTES
from zmqim.wkproto.packets import Connect, FromClient, FromServer, Recv, Recvack, Send

VERSION = 5
PAYLOAD = bytes(100)
ROUTER = NodeName("router-1")
HLC = 1_700_000_000_000 << 16
SALT = bytes(16)
RING = RingDocument(1, 64, 1, 1, ((NodeName("storage-1"),),) * 64)
PARTS = ("decode", "core", "encode")


class Bench:
    """A core with its clients; `spent` holds seconds by part."""

    def __init__(self, connections: int) -> None:
        self.now = Milliseconds(1_000)
        self.core = GatewayCore(
            NodeName("gateway-1"), NodeUuid(bytes(16)), RING,
            Limits(sends_per_second=10**9, send_burst=10**9), Random(1), self.now,
        )  # fmt: skip
        self.servers: dict[int, ServerCodec] = {}
        self.clients: dict[int, ClientCodec] = {}
        self.spent = dict.fromkeys(PARTS, 0.0)
        self.sequences: dict[str, int] = {}
        self.sessions: dict[str, int] = {}
        self.frame = 0
        self.core.peer_up(self.now, Peer(ROUTER, Role.ROUTER, NodeUuid(bytes(16)), Incarnation(1)))
        for number in range(1, connections + 1):
            self._connect(number)

    def _connect(self, number: int) -> None:
        server, client = (
            ServerCodec(urandom(ENTROPY_BYTES)),
            ClientCodec(urandom(KEY_BYTES), VERSION),
        )
        self.servers[number], self.clients[number] = server, client
        uid = f"bench-12345678-{number}"
        self.sessions[uid] = number
        self.core.session_opened(self.now, number, "127.0.0.1:1")
        connect = Connect(VERSION, 0, "device", uid, "secret", 0, client.client_key)
        self.core.packets(self.now, number, server.feed(client.encode_one(connect)))
        row = encode(UserRow(uid, True, salt=SALT, token_hash=token_hash(SALT, "secret")))
        for _ in range(4):
            for effect in self.core.turn(self.now):
                self._play_login(effect, row)

    def _play_login(self, effect: Effect, row: bytes) -> None:
        match effect:
            case ToBus(_, Submit(items)):
                answers = [Answer(item.request, OutcomeCode.DONE, row) for item in items]
                self.core.receive(self.now, ROUTER, Answers(answers))
            case ToBus(_, Login(request, _)):
                self.core.receive(self.now, ROUTER, LoginAck(request, 1))
            case ToClient(session, packets):
                self.clients[session].feed(self.servers[session].encode(packets))

    # ---- a round: what clients sent; what became of it ----------------------------------------

    def round(self, in_flight: int, seq: int) -> None:
        """Every client sends, is answered, gets its partner's messages and acknowledges them."""
        self.now = Milliseconds(self.now + 20)
        effects = self._arrive(
            {number: self._sends(number, in_flight, seq) for number in self.clients}
        )
        items = [
            item
            for effect in effects
            if isinstance(effect, ToBus) and isinstance(effect.message, Submit)
            for item in effect.message.items
        ]
        answers, deliver = self._play_partitions(items)
        started = perf_counter()
        self.core.receive(self.now, ROUTER, answers)
        self.core.receive(self.now, ROUTER, deliver)
        effects = self.core.turn(self.now)
        self.spent["core"] += perf_counter() - started
        self._arrive(self._written(effects))

    def _sends(self, number: int, in_flight: int, seq: int) -> bytes:
        to = f"bench-12345678-{(number - 1 ^ 1) + 1}"
        return self.clients[number].encode(
            [
                Send(seq + n, f"12345678-{number}-{seq + n}", to, 1, PAYLOAD)
                for n in range(in_flight)
            ]
        )

    def _arrive(self, data: dict[int, bytes]) -> list[Effect]:
        """Bytes of clients, and the end of the turn."""
        began = perf_counter()
        packets: list[tuple[int, list[FromClient]]] = [
            (number, self.servers[number].feed(octets)) for number, octets in data.items()
        ]
        decoded = perf_counter()
        for number, each in packets:
            self.core.packets(self.now, number, each)
        self.core.wake(self.now)
        effects = self.core.turn(self.now)
        self.spent["decode"] += decoded - began
        self.spent["core"] += perf_counter() - decoded
        return effects

    def _play_partitions(self, items: list[Item]) -> tuple[Answers, Deliver]:
        answers, pushes = [], []
        for item in items:
            if item.kind == ItemKind.READ:
                answers.append(Answer(item.request, OutcomeCode.DONE, encode(Done())))
                continue
            message = decode_operation(item.body)
            assert isinstance(message, SendMessage)
            channel = message.channel_id
            sequence = self.sequences[channel] = self.sequences.get(channel, 0) + 1
            message_id = item.request << 20
            sent = encode(Sent(sequence, message_id, HLC))
            answers.append(Answer(item.request, OutcomeCode.DONE, sent))
            both = [self.sessions[uid] for uid in channel.split("@")]
            pushes.append(Delivery(1, channel, sequence, message_id, HLC, item.body, both))
        self.frame += 1
        return Answers(answers), Deliver(self.frame, pushes)

    def _written(self, effects: list[Effect]) -> dict[int, bytes]:
        """The RECVACKs for what the effects write."""
        said = [(one.session, one.packets) for one in effects if isinstance(one, ToClient)]
        began = perf_counter()
        for session, packets in said:
            self.servers[session].encode(packets)
        self.spent["encode"] += perf_counter() - began
        return {session: self._acknowledgements(session, packets) for session, packets in said}

    def _acknowledgements(self, session: int, packets: Sequence[FromServer]) -> bytes:
        return self.clients[session].encode(
            [Recvack(one.message_id, one.message_seq) for one in packets if isinstance(one, Recv)]
        )


def main() -> None:
    """Print the least of five runs by part."""
    connections, in_flight, rounds = map(int, (sys.argv[1:] or ("100", "4", "25")))
    bench = Bench(connections)
    seq, best = 1, dict.fromkeys(PARTS, float("inf"))
    for _ in range(5):
        bench.spent = dict.fromkeys(PARTS, 0.0)
        for _ in range(rounds):
            bench.round(in_flight, seq)
            seq += in_flight
        for part in PARTS:
            best[part] = min(best[part], bench.spent[part] / (rounds * connections * in_flight))
    assert bench.core.counters.pushes_acknowledged == (seq - 1) * connections
    for part in PARTS:
        print(f"{part:8} {best[part] * 1e6:6.2f} µs")
    print(f"{'all':8} {sum(best.values()) * 1e6:6.2f} µs")


if __name__ == "__main__":
    main()
