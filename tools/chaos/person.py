"""One user of the load: an outbox that keeps its client_msg_nos, and connections that come and go.

As the SDKs do, a user reconnects for ever, to the next gateway each time, sends what is unanswered
again in its order, and gives a connection up when an answer is overdue. Unlike them it writes down
every attempt, answer, push and acknowledgement, with the time at which the client saw it.

What the client cannot know is left open: an attempt without an answer has none. A RECVACK counts as
received by the gateway once a PONG came to a PING that was sent behind it, because a connection
keeps its order; so no push that crossed it is called one too many.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, deque
from functools import partial
from random import Random
from typing import cast

from tools.chaos.plan import PERSON, ChannelPlan, GatewayAddress
from zmqim.chat.channels import peer_of
from zmqim.chat.codes import MessageFlag, Reason
from zmqim.errors import WireError
from zmqim.limits import CLIENT_CONNACK_MS_MAX, CLIENT_OPEN_MS_MAX, CLIENT_SENDACK_MS_MAX
from zmqim.sim.connections import seen_of
from zmqim.sim.history import (
    Acknowledged,
    Attempt,
    ChannelKey,
    History,
    Push,
    Received,
    Refused,
    Sending,
    Session,
    SessionKey,
    channel_key,
)
from zmqim.wkproto.codec import LATEST_VERSION, ClientCodec
from zmqim.wkproto.crypto import KEY_BYTES
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
)

OUTBOX_MAX = 500
"""Unanswered messages of a user; above, what becomes due is not offered."""
IN_FLIGHT_MAX = 100
"""Of these on the connection; the rest waits for an answer."""
PING_SECONDS = 1.0
PONG_SLOW_SECONDS = 0.5
"""A gateway that takes longer cannot keep its times either: it was starved, or stopped."""
PONG_SECONDS_MAX = 10.0
PAUSE_SECONDS = (0.1, 0.6)
"""Before a user connects again."""
NEVER_ACKNOWLEDGED = 0.002
"""Of the pushes: for these the gateway must come again."""


def now_us() -> int:
    """CLOCK_MONOTONIC: one for all processes of the machine."""
    return time.monotonic_ns() // 1_000


class Book:
    """What all users of the process write into."""

    def __init__(self, seed: int, payload: int) -> None:
        self.history = History()
        self.random = Random(seed)
        self.payload = payload
        self.counts: Counter[str] = Counter()
        """not_offered, reconnects, kicked, gave_up, and `refused N` by reason."""
        self.acknowledged = 0
        self.newest: dict[ChannelKey, int] = {}
        """Highest sequence acknowledged in each channel."""
        self.online = 0
        self.sessions = 0
        self.is_over = False


class Person:
    """A user on one device."""

    def __init__(
        self, book: Book, number: int, uid: str, token: str, gateways: tuple[GatewayAddress, ...]
    ) -> None:
        self.book = book
        self.uid = uid
        self.token = token
        self.device = secrets.token_hex(8)
        self.outbox: dict[str, tuple[Sending, str]] = {}
        """client_msg_no → (message, the channel as this user calls it)."""
        self.connection: Connection | None = None
        self._gateways = gateways
        self._turn = number
        self._last_number = 0

    @property
    def is_online(self) -> bool:
        """Logged in."""
        return self.connection is not None and self.connection.opened > 0

    async def live(self) -> None:
        """Connect, and come back, until the run is over."""
        loop = asyncio.get_running_loop()
        while not self.book.is_over:
            gateway = self._gateways[self._turn % len(self._gateways)]
            self._turn += 1
            connection = Connection(self, gateway)
            address = gateway.host, gateway.port
            try:
                async with asyncio.timeout(CLIENT_OPEN_MS_MAX / 1_000):
                    await loop.create_connection(partial(_same, connection), *address)
            except (OSError, TimeoutError):
                self.book.counts["could_not_connect"] += 1
            else:
                self.connection = connection
                await connection.until_closed()
                self.connection = None
                self.book.counts["reconnects"] += 1
            await asyncio.sleep(self.book.random.uniform(*PAUSE_SECONDS))

    def speak(self, channel: ChannelPlan) -> None:
        """Want a message sent to that channel."""
        book = self.book
        if len(self.outbox) >= OUTBOX_MAX:
            book.counts["not_offered"] += 1
            return
        self._last_number += 1
        number = f"{self.device}-{self._last_number}"
        wire_id = channel.channel_id
        key = channel_key(channel.channel_type, wire_id, self.uid)
        payload = f"{number}:{book.random.getrandbits(32):08x}".encode().ljust(book.payload, b".")
        sending = Sending(self.uid, key, number, payload)
        book.history.sendings.append(sending)
        if channel.channel_type == PERSON:
            wire_id = peer_of(wire_id, self.uid)
        self.outbox[number] = sending, wire_id
        if self.connection is not None:
            self.connection.want(sending, wire_id)

    def answered(self, sending: Sending, attempt: Attempt, ack: Sendack) -> None:
        """The server's word on an attempt. A refused message is not tried again."""
        book = self.book
        if ack.reason == Reason.SUCCESS:
            attempt.answer = Acknowledged(now_us(), ack.message_seq, ack.message_id)
            book.acknowledged += 1
            newest = book.newest.get(sending.channel, 0)
            book.newest[sending.channel] = max(newest, ack.message_seq)
        else:
            attempt.answer = Refused(now_us(), ack.reason)
            book.counts[f"refused {ack.reason}"] += 1
        self.outbox.pop(sending.client_msg_no, None)


class Connection(asyncio.Protocol):
    """One connection of a user, from opening to its end."""

    def __init__(self, person: Person, gateway: GatewayAddress) -> None:
        book = person.book
        book.sessions += 1
        self.key: SessionKey = (gateway.name, 0, book.sessions)
        self.opened = 0
        self._book = book
        self._history = book.history
        self._person = person
        self._codec = ClientCodec(secrets.token_bytes(KEY_BYTES), LATEST_VERSION)
        self._closed = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._last_seq = 0
        self._in_flight: dict[int, tuple[Sending, Attempt]] = {}
        self._held: deque[tuple[Sending, str]] = deque()
        """Not on this connection yet, in the order of the outbox."""
        self._acknowledged: list[int] = []
        self._confirming: list[int] = []
        self._pinged = 0
        """When the PING went out that is not answered yet; 0: none."""
        self._began = now_us()

    async def until_closed(self) -> None:
        """Watch over answers and pings until the connection has ended."""
        while not self._closed.done():
            await asyncio.wait([self._closed], timeout=PING_SECONDS)
            self._watch()

    def want(self, sending: Sending, wire_id: str) -> None:
        """Send a message when it is its turn; before the login it waits in the outbox."""
        if self.opened:
            self._held.append((sending, wire_id))
            self._send_held()

    def close(self) -> None:
        """End it without a word."""
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        # uvloop's transports have the methods of asyncio.Transport without being subclasses.
        self._transport = cast(asyncio.Transport, transport)
        person, stamp = self._person, int(time.time() * 1_000)
        key = self._codec.client_key
        self._write(
            [Connect(LATEST_VERSION, 0, person.device, person.uid, person.token, stamp, key)]
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever is unanswered stays unknown."""
        self._transport = None
        if self.opened:
            self._book.online -= 1
            self._judge_pace(now_us())
            session = Session(self.key, self._person.uid, self.opened, now_us())
            self._history.sessions.append(session)
        if not self._closed.done():
            self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        acks: list[Packet] = []
        try:
            packets = self._codec.feed(data)
        except WireError as error:
            self._history.missing.append(f"{self.key} got bytes that are no protocol: {error}")
            self.close()
            return
        for packet in packets:
            match packet:
                case Recv():
                    self._pushed(packet, acks)
                case Sendack():
                    found = self._in_flight.pop(packet.client_seq, None)
                    if found is not None:
                        self._person.answered(*found, packet)
                case Pong():
                    self._confirm()
                case Connack(reason=reason):
                    self._logged_in(reason)
                case Disconnect(reason=reason):
                    self._book.counts[f"disconnected {reason}"] += 1
                    self.close()
                case _:
                    pass
        if acks:
            self._write(acks)
        self._send_held()

    # ---- own -------------------------------------------------------------------------------------

    def _write(self, packets: list[Packet]) -> None:
        if self._transport is not None and packets:
            self._transport.write(self._codec.encode(packets))

    def _logged_in(self, reason: int) -> None:
        if reason != Reason.SUCCESS:
            who = self._person.uid
            self._history.missing.append(f"the login of {who} was refused with {reason}")
            self.close()
            return
        self.opened = now_us()
        self._book.online += 1
        self._held.extend(self._person.outbox.values())

    def _send_held(self) -> None:
        """Put messages on the connection as far as there is room, each as a new attempt."""
        packets: list[Packet] = []
        now = now_us()
        while self._held and len(self._in_flight) < IN_FLIGHT_MAX:
            sending, wire_id = self._held.popleft()
            attempt = Attempt(self.key, now)
            sending.attempts.append(attempt)
            self._last_seq += 1
            self._in_flight[self._last_seq] = sending, attempt
            packets.append(
                Send(
                    self._last_seq,
                    sending.client_msg_no,
                    wire_id,
                    sending.channel[0],
                    sending.payload,
                    flags=int(MessageFlag.RED_DOT),
                )
            )
        self._write(packets)

    def _pushed(self, packet: Recv, acks: list[Packet]) -> None:
        person = self._person
        seen = seen_of(packet, person.uid)
        repeated = bool(packet.flags & MessageFlag.DUP)
        self._history.pushes.append(Push(now_us(), self.key, person.uid, seen, repeated))
        if self._book.random.random() >= NEVER_ACKNOWLEDGED:
            acks.append(Recvack(packet.message_id, packet.message_seq, packet.flags & 7))
            self._acknowledged.append(packet.message_id)

    def _confirm(self) -> None:
        """Everything that was written before the PING has reached the gateway."""
        now, key = now_us(), self.key
        self._judge_pace(now)
        self._history.received.extend(Received(now, key, each) for each in self._confirming)
        self._confirming = []
        self._pinged = 0

    def _judge_pace(self, now: int) -> None:
        if self._pinged and now - self._pinged > PONG_SLOW_SECONDS * 1_000_000:
            self._history.deaf.add(self.key)

    def _watch(self) -> None:
        """Give the connection up when something is overdue; else ask whether it lives."""
        now = now_us()
        oldest = next(iter(self._in_flight.values()), None)
        overdue = (
            (not self.opened and now - self._began > CLIENT_CONNACK_MS_MAX * 1_000)
            or (self._pinged and now - self._pinged > PONG_SECONDS_MAX * 1_000_000)
            or (oldest and now - oldest[1].began > CLIENT_SENDACK_MS_MAX * 1_000)
        )
        if overdue:
            self._book.counts["gave_up"] += 1
            self.close()
        elif self.opened and not self._pinged:
            self._pinged = now
            self._confirming, self._acknowledged = self._acknowledged, []
            self._write([Ping()])


def _same(connection: Connection) -> Connection:
    return connection
