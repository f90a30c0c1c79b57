"""The simulated clients: they behave as the SDKs do, only worse (clients.md).

A client connects, gives up, comes back, syncs its channels, sends with an outbox that keeps its
client_msg_nos, acknowledges pushes late or never, cuts its connection and stops reading. What it
does and sees goes into the history. `Backend` is the HTTP API's user: tokens, groups, messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.channels import route_key_of_channel, route_key_of_user
from zmqim.chat.operations import (
    AddMembers,
    ChannelType,
    MessageFlag,
    MessagesPage,
    MessagesQuery,
    Operation,
    Reason,
    Rejected,
    SendMessage,
    Sent,
    SetToken,
    decode_result,
    decode_send,
    encode,
)
from zmqim.gateway.plugin import CloseReason
from zmqim.gateway.tokens import token_hash
from zmqim.sim.history import (
    Acknowledged,
    Attempt,
    ChannelKey,
    History,
    Pull,
    Push,
    Received,
    Refused,
    Seen,
    Sending,
    Session,
    SessionKey,
    channel_key,
)
from zmqim.sim.nodes import GatewayNode
from zmqim.sim.world import MS, SECOND, World
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    FromClient,
    FromServer,
    Recv,
    Recvack,
    Send,
    Sendack,
)

VERSION = 4
PAGE = 100
CONNECT_PATIENCE = 10 * SECOND
ASK_DEADLINE_MS = 5_000


@dataclass(frozen=True)
class Manners:
    """How clients behave."""

    think_ms: tuple[int, int] = (50, 600)
    never_ack: float = 0.03
    late_ack: float = 0.07
    cut: float = 0.0
    """Of the actions, how many cut the connection."""
    stop_reading: float = 0.0
    pause_ms: tuple[int, int] = (100, 2_000)
    """Before a client connects again."""


class Link:
    """A client's connection to one gateway: in order both ways, until either end is gone."""

    def __init__(self, world: World, random: Random, gateway: GatewayNode, client: Client) -> None:
        self.gateway = gateway
        self.is_open = False
        self.opened = 0
        self._life = gateway.life
        self._world = world
        self._random = random
        self._client = client
        self._out: deque[FromClient] = deque()
        self._in: deque[Callable[[], None]] = deque()
        self._out_busy = 0
        self._in_busy = 0
        session = gateway.accept(self)
        self.number = 0 if session is None else session
        self.is_open = session is not None

    @property
    def key(self) -> SessionKey:
        """The session's name in the history."""
        return self.gateway.name, self._life, self.number

    def send(self, packet: FromClient) -> None:
        """Towards the gateway."""
        self._out.append(packet)
        self._out_busy = max(self._out_busy, self._world.now + self._delay())
        self._world.after(self._out_busy - self._world.now, self._arrive)

    def _arrive(self) -> None:
        if not self._at_gateway():
            return
        if self.gateway.sockets.is_stopped:
            self._world.after(10 * MS, self._arrive)
            return
        packet = self._out.popleft()
        if isinstance(packet, Recvack):
            received = Received(self._world.now, self.key, packet.message_id)
            self._client.history.received.append(received)
        self.gateway.packets(self.number, [packet])

    def _at_gateway(self) -> bool:
        return self.is_open and self.gateway.is_alive and self.gateway.life == self._life

    def writable(self, on: bool) -> None:
        """Whether the client reads."""
        if self._at_gateway():
            self.stopped()
            self.gateway.writable(self.number, on)

    def cut(self) -> None:
        """The client goes without a word."""
        if self.is_open:
            self._end()
            self._world.after(self._delay(), self._drop)

    def _drop(self) -> None:
        if self.gateway.is_alive and self.gateway.life == self._life:
            self.gateway.drop(self.number)

    # The gateway's side of the contract (`zmqim.sim.nodes.ClientEnd`).

    def received(self, packets: Sequence[FromServer]) -> None:
        """The gateway wrote packets."""
        if not self.is_open:
            return
        for packet in packets:
            if isinstance(packet, Connack) and packet.reason == Reason.SUCCESS:
                self.opened = self._world.now
            elif isinstance(packet, Recv):
                self._note_push(packet)
        self._towards_client(partial(self._client.take, self, packets))

    def closed(self, reason: CloseReason | None) -> None:
        """The gateway closed the connection, or died."""
        if self.is_open:
            self._end()
            self._towards_client(partial(self._client.lost, self))

    def stopped(self) -> None:
        """The gateway's process was stopped for a while."""
        self._client.history.deaf.add(self.key)

    def _end(self) -> None:
        self.is_open = False
        if self.opened:
            session = Session(self.key, self._client.uid, self.opened, self._world.now)
            self._client.history.sessions.append(session)

    def _note_push(self, recv: Recv) -> None:
        uid = self._client.uid
        push = Push(
            self._world.now, self.key, uid, seen_of(recv, uid), bool(recv.flags & MessageFlag.DUP)
        )
        self._client.history.pushes.append(push)

    def _towards_client(self, action: Callable[[], None]) -> None:
        self._in.append(action)
        self._in_busy = max(self._in_busy, self._world.now + self._delay())
        self._world.after(self._in_busy - self._world.now, self._read)

    def _read(self) -> None:
        self._in.popleft()()

    def _delay(self) -> int:
        return self._random.randint(100, 5_000)


class Client:
    """One device of one person."""

    def __init__(
        self,
        world: World,
        history: History,
        gateways: Sequence[GatewayNode],
        uid: str,
        device: tuple[int, str],
        token: str,
        channels: Sequence[tuple[int, str]],
        manners: Manners,
    ) -> None:
        """`device` is (flag, id), `channels` are (type, id as this user calls them)."""
        self.world = world
        self.history = history
        self.uid = uid
        self.channels = list(channels)
        self.manners = manners
        self.random = world.fork()
        self.is_quiet = False
        """Nothing new is sent any more; what is open is finished."""
        self.is_open = False
        self.is_gone = False
        """It was told to go (DISCONNECT), and does not come back."""
        self.has: dict[ChannelKey, dict[int, Seen]] = {}
        self.pushed: set[bytes] = set()
        """Payloads that came as pushes."""
        self._gateways = gateways
        self._device = device
        self._token = token
        self._link: Link | None = None
        self._outbox: dict[str, Sending] = {}
        self._done: list[Sending] = []
        self._by_seq: dict[int, tuple[Sending, Attempt]] = {}
        self._last_seq = 0
        self._last_number = 0
        self._syncing: set[ChannelKey] = set()

    @property
    def name(self) -> str:
        """For sentences."""
        return f"{self.uid}/{self._device[1]}"

    @property
    def waiting(self) -> list[Sending]:
        """Messages without an answer."""
        return list(self._outbox.values())

    @property
    def is_synced(self) -> bool:
        """No history is being read."""
        return self.is_open and not self._syncing

    # ---- connecting --------------------------------------------------------------------------

    def connect(self) -> None:
        """Try a gateway."""
        if self._link is not None or self.is_gone:
            return
        link = Link(self.world, self.random, self.random.choice(self._gateways), self)
        if not link.is_open:
            self._again()
            return
        self._link = link
        flag, device = self._device
        link.send(Connect(VERSION, flag, device, self.uid, self._token, 0, ""))
        self.world.after(CONNECT_PATIENCE, partial(self._give_up, link))

    def _give_up(self, link: Link) -> None:
        if self._link is link and not self.is_open:
            link.cut()
            self.lost(link)

    def _again(self, pause_ms: int = 0) -> None:
        pause = max(pause_ms, self.random.randint(*self.manners.pause_ms))
        self.world.after(pause * MS, self.connect)

    def lost(self, link: Link, pause_ms: int = 0) -> None:
        """The connection is gone."""
        if self._link is link:
            self._link, self.is_open = None, False
            self._by_seq = {}
            self._syncing.clear()
            self._again(pause_ms)

    def take(self, link: Link, packets: Sequence[FromServer]) -> None:
        """What the gateway wrote has arrived."""
        if self._link is not link:
            return
        for packet in packets:
            match packet:
                case Connack(reason=reason):
                    assert reason == Reason.SUCCESS, f"{self.name} was refused with {reason}"
                    self._opened(link)
                case Sendack():
                    self._answered(packet)
                case Recv():
                    self._push(link, packet)
                case Disconnect():
                    self.is_gone = True
                    self.world.note("kicked", self.name)
                case _:
                    pass

    def _opened(self, link: Link) -> None:
        self.is_open = True
        self.world.note("open", self.name, link.key)
        self.sync()
        for sending in list(self._outbox.values()):
            self._put(link, sending)

    def cut(self) -> None:
        """Go, and come back later."""
        link = self._link
        if link is not None:
            link.cut()
            self.lost(link)

    # ---- what it does ------------------------------------------------------------------------

    def live(self) -> None:
        """Do something now and then."""
        self.world.after(self.random.randint(*self.manners.think_ms) * MS, self._act)

    def _act(self) -> None:
        if self.is_quiet:
            return
        self.live()
        link = self._link
        if link is None or not self.is_open:
            return
        dice = self.random.random()
        manners = self.manners
        if dice < manners.cut:
            self.cut()
        elif dice < manners.cut + manners.stop_reading:
            link.writable(False)
            pause = self.random.randint(100, 8_000) * MS
            self.world.after(pause, partial(link.writable, True))
        else:
            self._speak(link)

    def _speak(self, link: Link) -> None:
        dice = self.random.random()
        if dice < 0.06 and self._done:
            old = self.random.choice(self._done)
            if dice < 0.02:
                old = self._new(old.channel, old.client_msg_no)
            self._put(link, old)
            return
        channel_type, wire_id = self.random.choice(self.channels)
        for _ in range(self.random.randint(2, 8) if dice > 0.9 else 1):
            transient = self.random.random() < 0.03
            command = not transient and self.random.random() < 0.03
            channel = channel_key(channel_type, wire_id, self.uid, command)
            self._last_number += 1
            sending = self._new(channel, f"{self.name}-{self._last_number}", transient)
            if not transient:
                self._outbox[sending.client_msg_no] = sending
            self._put(link, sending)

    def _new(self, channel: ChannelKey, number: str, transient: bool = False) -> Sending:
        payload = f"{number}:{self.random.getrandbits(32):08x}".encode()
        sending = Sending(self.uid, channel, number, payload, transient)
        self.history.sendings.append(sending)
        return sending

    def _put(self, link: Link, sending: Sending) -> None:
        channel_type, canonical, command = sending.channel
        attempt = Attempt(link.key, self.world.now)
        sending.attempts.append(attempt)
        self._last_seq += 1
        self._by_seq[self._last_seq] = (sending, attempt)
        flags = MessageFlag.SYNC_ONCE if command else MessageFlag(0)
        if sending.transient:
            flags |= MessageFlag.NO_PERSIST
        packet = Send(
            self._last_seq,
            sending.client_msg_no,
            canonical,
            channel_type,
            sending.payload,
            flags=int(flags),
        )
        link.send(packet)

    def _answered(self, ack: Sendack) -> None:
        found = self._by_seq.pop(ack.client_seq, None)
        if found is None:
            return
        sending, attempt = found
        now = self.world.now
        if ack.reason == Reason.SUCCESS:
            attempt.answer = Acknowledged(now, ack.message_seq, ack.message_id)
            if not sending.transient:
                self._done.append(sending)
        else:
            attempt.answer = Refused(now, ack.reason)
        if self._outbox.get(sending.client_msg_no) is sending:
            del self._outbox[sending.client_msg_no]

    # ---- what it gets ------------------------------------------------------------------------

    def _push(self, link: Link, recv: Recv) -> None:
        seen = seen_of(recv, self.uid)
        self.pushed.add(seen.payload)
        if seen.sequence:
            self.has.setdefault(seen.channel, {})[seen.sequence] = seen
        dice = self.random.random()
        if recv.flags & MessageFlag.NO_PERSIST or dice < self.manners.never_ack:
            return
        late = dice < self.manners.never_ack + self.manners.late_ack
        delay = self.random.randint(1, 9_000 if late else 50) * MS
        self.world.after(delay, partial(self._acknowledge, link, recv))

    def _acknowledge(self, link: Link, recv: Recv) -> None:
        if link.is_open:
            link.send(Recvack(recv.message_id, recv.message_seq, recv.flags))

    def sync(self) -> None:
        """Read what is new in every channel, as an SDK does after it connected."""
        for channel_type, wire_id in self.channels:
            for command in (False, True):
                key = channel_key(channel_type, wire_id, self.uid, command)
                self._syncing.add(key)
                self._pull(self._link, key)

    def _pull(self, link: Link | None, channel: ChannelKey) -> None:
        if link is None or self._link is not link or not link.is_open:
            return
        channel_type, channel_id, command = channel
        start = 1
        held = self.has.get(channel, {})
        while start in held:
            start += 1
        query = MessagesQuery(channel_type, channel_id, self.uid, start, 0, PAGE, 1, command)
        link.gateway.ask(
            ItemKind.READ,
            route_key_of_channel(channel_type, channel_id),
            encode(query),
            ASK_DEADLINE_MS,
            partial(self._page, link, channel, start, self.world.now),
        )

    def _page(
        self, link: Link, channel: ChannelKey, start: int, began: int, code: int, result: bytes
    ) -> None:
        if self._link is not link:
            return
        page = decode_result(result) if code == OutcomeCode.DONE else None
        if isinstance(page, Rejected):
            self._syncing.discard(channel)
        if not isinstance(page, MessagesPage):
            if channel in self._syncing:
                self.world.after(SECOND, partial(self._pull, link, channel))
            return
        rows = seen_in(channel, page)
        self.history.pulls.append(
            Pull(
                began,
                self.world.now,
                link.key,
                channel,
                start,
                rows,
                page.more,
                page.last_sequence,
            )
        )
        held = self.has.setdefault(channel, {})
        held.update((seen.sequence, seen) for seen in rows)
        if page.more and rows:
            self._pull(link, channel)
        else:
            self._syncing.discard(channel)


class Backend:
    """Somebody who holds the API key: sets tokens, makes groups, sends messages over HTTP."""

    def __init__(
        self, world: World, history: History, gateways: Sequence[GatewayNode], manners: Manners
    ) -> None:
        self.world = world
        self.history = history
        self.random = world.fork()
        self.is_quiet = False
        self.posts: list[tuple[str, ChannelKey]] = []
        """Who writes where, for `live`."""
        self._gateways = gateways
        self._manners = manners
        self._open: dict[int, str] = {}
        self._last = 0

    @property
    def waiting(self) -> list[str]:
        """Calls without a definite answer."""
        return list(self._open.values())

    def set_token(self, uid: str, flag: int, token: str) -> None:
        """As `/user/token`."""
        salt = self.random.randbytes(16)
        operation = SetToken(uid, flag, 1, salt, token_hash(salt, token), self._request_id())
        self._change(route_key_of_user(uid), operation)

    def add_members(self, channel_id: str, uids: Sequence[str]) -> None:
        """As `/channel/subscriber_add` of a group."""
        operation = AddMembers(ChannelType.GROUP, channel_id, list(uids), False, self._request_id())
        self._change(route_key_of_channel(ChannelType.GROUP, channel_id), operation)

    def _request_id(self) -> bytes:
        return self.random.randbytes(16)

    def _change(self, key: bytes, operation: Operation) -> None:
        self._last += 1
        self._open[self._last] = type(operation).__name__
        self._ask(self._last, key, encode(operation), None)

    def post(self, uid: str, channel: ChannelKey, text: str) -> Sending:
        """As `/message/send`, with the same client_msg_no until there is a definite answer."""
        self._last += 1
        number = f"http-{self._last}"
        sending = Sending(uid, channel, number, f"{number}:{text}".encode())
        self.history.sendings.append(sending)
        self._open[self._last] = f"post {number} to {channel}"
        channel_type, channel_id, command = channel
        flags = int(MessageFlag.SYNC_ONCE) if command else 0
        operation = SendMessage(channel_type, channel_id, uid, number, sending.payload, flags=flags)
        key = route_key_of_channel(channel_type, channel_id)
        self._ask(self._last, key, encode(operation), sending)
        return sending

    def live(self) -> None:
        """Post something now and then."""
        if not self.is_quiet:
            uid, channel = self.random.choice(self.posts)
            self.post(uid, channel, f"{self.random.getrandbits(32):08x}")
            pause = self.random.randint(*self._manners.think_ms) * MS
            self.world.after(pause, self.live)

    def _ask(self, call: int, key: bytes, body: bytes, sending: Sending | None) -> None:
        if call not in self._open:
            return
        gateway = self.random.choice(self._gateways)
        again = partial(self._ask, call, key, body, sending)
        if not gateway.is_alive or gateway.sockets.is_stopped:
            self.world.after(500 * MS, again)
            return
        attempt = Attempt(("http", call, 0), self.world.now)
        if sending is not None:
            sending.attempts.append(attempt)
        is_answered = False

        def answer(code: int, result: bytes) -> None:
            nonlocal is_answered
            is_answered = True
            if code == OutcomeCode.DONE:
                self._open.pop(call, None)
                if sending is not None:
                    self._posted(attempt, result)
                return
            if code in (OutcomeCode.BUSY, OutcomeCode.DISK_FULL):
                attempt.answer = Refused(self.world.now, Reason.SYSTEM_ERROR)
            self.world.after(300 * MS, again)

        gateway.ask(ItemKind.WRITE, key, body, ASK_DEADLINE_MS, answer)
        self.world.after(2 * ASK_DEADLINE_MS * MS, lambda: None if is_answered else again())

    def _posted(self, attempt: Attempt, result: bytes) -> None:
        done = decode_result(result)
        if isinstance(done, Sent):
            attempt.answer = Acknowledged(self.world.now, done.sequence, done.message_id)
        elif isinstance(done, Rejected):
            attempt.answer = Refused(self.world.now, done.reason)


def seen_of(recv: Recv, uid: str) -> Seen:
    """A push as an observation."""
    command = bool(recv.flags & MessageFlag.SYNC_ONCE)
    key = channel_key(recv.channel_type, recv.channel_id, uid, command)
    return Seen(
        key, recv.message_seq, recv.message_id, recv.from_uid, recv.client_msg_no, recv.payload
    )


def seen_in(channel: ChannelKey, page: MessagesPage) -> tuple[Seen, ...]:
    """A page of history as observations."""
    return tuple(
        Seen(
            channel,
            row.sequence,
            row.message_id,
            operation.from_uid,
            operation.client_msg_no,
            operation.payload,
        )
        for row in page.messages
        for operation in (decode_send(row.operation),)
    )
