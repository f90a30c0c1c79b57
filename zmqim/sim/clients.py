"""The simulated clients: they behave as the SDKs do, only worse.

A client connects, gives up, comes back, syncs its channels, sends with an outbox that keeps its
client_msg_nos, acknowledges pushes late or never, cuts its connection and stops reading. What it
does and sees goes into the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.channels import route_key_of_channel
from zmqim.chat.codes import MessageFlag, Reason
from zmqim.chat.encoding import encode
from zmqim.chat.queries import MessagesQuery
from zmqim.chat.results import MessagesPage, Rejected, decode_result
from zmqim.sim.connections import Link, seen_in, seen_of
from zmqim.sim.history import (
    Acknowledged,
    Attempt,
    ChannelKey,
    History,
    Pull,
    Refused,
    Seen,
    Sending,
    channel_key,
)
from zmqim.sim.nodes import GatewayNode
from zmqim.sim.world import MS, SECOND, World
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    FromServer,
    Recv,
    Recvack,
    Send,
    Sendack,
)

VERSION = 5
"""The first that takes EVENT."""
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

    def _again(self) -> None:
        self.world.after(self.random.randint(*self.manners.pause_ms) * MS, self.connect)

    def lost(self, link: Link) -> None:
        """The connection is gone."""
        if self._link is link:
            self._link, self.is_open = None, False
            self._by_seq = {}
            self._syncing.clear()
            self._again()

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
