"""What a client does, without a socket or a clock: its states, its outbox, its acknowledgements.

The shell (`zmqim.client.client`) tells the core what happened (`opened`, `received`, `lost`,
`send`, `take`, `wake`) and performs the effects that `turn` returns. The rules:

* A message is in the outbox from `send` until the server's answer to it, or until it is withdrawn.
  It keeps its client_msg_no and its place, and goes out again on every new connection, in order:
  the server knows a repeat by its client_msg_no.
* A message is acknowledged (RECVACK) when the application takes it. So a slow application is seen
  by the server, which stops pushing at its own bound. Repeats are acknowledged and not shown.
* A refused CONNECT and a DISCONNECT stop the client for good: to come back would be refused again,
  or two logins would kick each other for ever. Anything else is answered by a new connection.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import NamedTuple

from zmqim.chat.codes import Reason
from zmqim.client.messages import Message, Sent
from zmqim.errors import RefusedByServer, UsageError, ZmqimError
from zmqim.limits import (
    CLIENT_CONNACK_MS_MAX,
    CLIENT_PING_MS,
    CLIENT_PONG_MS_MAX,
    CLIENT_RECENT_MAX,
    CLIENT_RETRY_MS_MAX,
    CLIENT_RETRY_MS_MIN,
    CLIENT_SENDACK_MS_MAX,
    CLIENT_WAITING_MAX,
    PAYLOAD_BYTES_MAX,
)
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    FromServer,
    Packet,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
)

NAME_BYTES_MAX = 1_024
"""Of a channel id, a client_msg_no, a topic: far more than anyone has, far less than a frame."""


class State(Enum):
    """Where the client stands with its server."""

    OFFLINE = auto()
    """No connection; one is or will be tried."""
    CONNECTING = auto()
    """CONNECT is sent."""
    ONLINE = auto()
    STOPPED = auto()
    """For good."""


class ClientClosed(ZmqimError):
    """The application closed the client; what it still had to send is not known to be stored."""


class Transmit(NamedTuple):
    """Effect: write these packets."""

    packets: list[Packet]


class Resolve(NamedTuple):
    """Effect: the `send` with this number has its answer."""

    client_seq: int
    answer: Sent | RefusedByServer


class Deliver(NamedTuple):
    """Effect: queue this message for the application."""

    message: Message


class Online(NamedTuple):
    """Effect: the server accepted the CONNECT."""


class HangUp(NamedTuple):
    """Effect: drop the connection, then report `lost`."""

    why: str


class Stop(NamedTuple):
    """Effect: drop the connection and end; every open `send` and iterator gets `error`."""

    error: ZmqimError


Effect = Transmit | Resolve | Deliver | Online | HangUp | Stop


@dataclass(slots=True)
class _Outgoing:
    packet: Send
    sent_at: int
    """Milliseconds; of no meaning while offline."""


def refusal(what: str, reason: int) -> RefusedByServer:
    """The error for a refusal with a WKProto reason code."""
    known = {int(member): member.name.lower().replace("_", " ") for member in Reason}
    text = known.get(reason, "unknown")
    return RefusedByServer(f"{what}: {text} (reason {reason})", reason=reason)


class ClientCore:
    """One client. `now` is milliseconds on a clock that never goes back."""

    def __init__(
        self, uid: str, token: str, device_flag: int, device_id: str, random: Random
    ) -> None:
        self.state = State.OFFLINE
        self.retry_at = 0
        """When the next connection is due, while OFFLINE."""
        self._uid = uid
        self._token = token
        self._device_flag = device_flag
        self._device_id = device_id
        self._random = random
        self._failures = 0
        self._connack_due = 0
        self._ping_at = 0
        self._pong_due = 0
        self._client_seq = 0
        self._outbox: dict[int, _Outgoing] = {}
        self._recent: OrderedDict[int, bool] = OrderedDict()
        """Message id → whether the application took it, the oldest first."""
        self._waiting = 0
        self._packets: list[Packet] = []
        self._effects: list[Effect] = []

    @property
    def unanswered(self) -> int:
        """Messages in the outbox."""
        return len(self._outbox)

    def turn(self) -> list[Effect]:
        """What is to be done, in order."""
        effects, self._effects = self._effects, []
        if self._packets:
            effects.insert(0, Transmit(self._packets))
            self._packets = []
        return effects

    # ---- the connection --------------------------------------------------------------------------

    def opened(self, now: int, wall_ms: int, client_key: str, version: int) -> None:
        """A connection stands: say who we are."""
        self.state = State.CONNECTING
        self._connack_due = now + CLIENT_CONNACK_MS_MAX
        connect = Connect(
            version,
            self._device_flag,
            self._device_id,
            self._uid,
            self._token,
            wall_ms,
            client_key,
        )
        self._packets.append(connect)

    def lost(self, now: int) -> None:
        """The connection ended, or could not be made: when to try again."""
        if self.state is State.STOPPED:
            return
        self.state = State.OFFLINE
        self._packets.clear()
        pause = min(CLIENT_RETRY_MS_MIN << min(self._failures, 10), CLIENT_RETRY_MS_MAX)
        self._failures += 1
        self.retry_at = now + pause - int(self._random.random() * pause / 2)

    def received(self, now: int, packet: FromServer) -> None:
        """A packet arrived."""
        match packet:
            case Recv():
                self._message(packet)
            case Sendack():
                self._answer(packet)
            case Connack():
                self._connack(now, packet)
            case Pong():
                self._pong_due = 0
            case Disconnect():
                text = f"the server ended the session of {self._uid} ({packet.text})"
                self.stop(refusal(text, packet.reason))
            case _:
                pass

    def wake(self, now: int) -> None:
        """Time passed: do what is due."""
        if self.state is State.CONNECTING and now >= self._connack_due:
            self._hang_up("no CONNACK in time")
        elif self.state is State.ONLINE:
            if self._pong_due and now >= self._pong_due:
                self._hang_up("no PONG in time")
            elif self._sendack_due() <= now:
                self._hang_up("no SENDACK in time")
            elif now >= self._ping_at:
                self._packets.append(Ping())
                self._pong_due = now + CLIENT_PONG_MS_MAX
                self._ping_at = now + CLIENT_PING_MS

    def next_wake(self) -> int | None:
        """When `wake` must be called at the latest."""
        if self.state is State.CONNECTING:
            return self._connack_due
        if self.state is State.ONLINE:
            return min(self._ping_at, self._pong_due or self._ping_at, self._sendack_due())
        return None

    def stop(self, error: ZmqimError) -> None:
        """End for good."""
        if self.state is not State.STOPPED:
            self.state = State.STOPPED
            self._outbox.clear()
            self._effects.append(Stop(error))

    def _connack(self, now: int, packet: Connack) -> None:
        if packet.reason != Reason.SUCCESS:
            self.stop(refusal(f"the server refused the login of {self._uid}", packet.reason))
            return
        if self.state is not State.CONNECTING:
            self._hang_up("a CONNACK that nobody waits for")
            return
        self.state = State.ONLINE
        self._failures = 0
        self._pong_due = 0
        self._ping_at = now + CLIENT_PING_MS
        for outgoing in self._outbox.values():
            outgoing.sent_at = now
            self._packets.append(outgoing.packet)
        self._effects.append(Online())

    def _hang_up(self, why: str) -> None:
        self.state = State.OFFLINE
        self._packets.clear()
        self._effects.append(HangUp(why))

    # ---- sending ---------------------------------------------------------------------------------

    def send(
        self,
        now: int,
        channel_id: str,
        channel_type: int,
        payload: bytes,
        client_msg_no: str,
        *,
        flags: int = 0,
        setting: int = 0,
        expire: int = 0,
        topic: str = "",
    ) -> int:
        """Put a message into the outbox; the number that its `Resolve` will carry.

        `UsageError` for what no server would take.
        """
        assert self.state is not State.STOPPED, "send on a stopped client"
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise UsageError(f"a payload of {len(payload)} bytes, allowed are {PAYLOAD_BYTES_MAX}")
        if max(len(text.encode()) for text in (channel_id, client_msg_no, topic)) > NAME_BYTES_MAX:
            raise UsageError(f"a name of more than {NAME_BYTES_MAX} bytes")
        if not 0 <= channel_type <= 0xFF or not 0 <= expire <= 0xFFFF_FFFF:
            raise UsageError("the channel type has 8 bits, expire has 32")
        self._client_seq = self._client_seq % 0xFFFF_FFFF + 1
        packet = Send(
            self._client_seq,
            client_msg_no,
            channel_id,
            channel_type,
            payload,
            setting,
            flags,
            expire,
            topic,
        )
        self._outbox[self._client_seq] = _Outgoing(packet, now)
        if self.state is State.ONLINE:
            self._packets.append(packet)
        return self._client_seq

    def withdraw(self, client_seq: int) -> None:
        """Nobody waits for this message any more: it is not sent again. It may have been stored."""
        self._outbox.pop(client_seq, None)

    def _answer(self, packet: Sendack) -> None:
        outgoing = self._outbox.pop(packet.client_seq, None)
        if outgoing is None:
            return
        answer: Sent | RefusedByServer
        if packet.reason == Reason.SUCCESS:
            answer = Sent(packet.message_id, packet.message_seq)
        else:
            what = f"the server refused a message to {outgoing.packet.channel_id}"
            answer = refusal(what, packet.reason)
        self._effects.append(Resolve(packet.client_seq, answer))

    def _sendack_due(self) -> int:
        """When the oldest message in the outbox has waited too long; far away if there is none."""
        for outgoing in self._outbox.values():
            return outgoing.sent_at + CLIENT_SENDACK_MS_MAX
        return self._ping_at + CLIENT_PING_MS

    # ---- receiving -------------------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """The application has this message: acknowledge it."""
        self._waiting -= 1
        if message.message_id in self._recent:
            self._recent[message.message_id] = True
        if self.state is State.ONLINE:
            self._acknowledge(message.message_id, message.message_seq, message.flags)

    def _message(self, packet: Recv) -> None:
        taken = self._recent.get(packet.message_id)
        if taken:
            self._acknowledge(packet.message_id, packet.message_seq, packet.flags)
        if taken is not None or self._waiting >= CLIENT_WAITING_MAX:
            return
        self._waiting += 1
        self._recent[packet.message_id] = False
        if len(self._recent) > CLIENT_RECENT_MAX:
            self._recent.popitem(last=False)
        message = Message(
            packet.message_id,
            packet.message_seq,
            packet.from_uid,
            packet.channel_id,
            packet.channel_type,
            packet.payload,
            packet.timestamp,
            packet.client_msg_no,
            packet.flags,
            packet.setting,
            packet.topic,
            packet.expire,
        )
        self._effects.append(Deliver(message))

    def _acknowledge(self, message_id: int, message_seq: int, flags: int) -> None:
        self._packets.append(Recvack(message_id, message_seq, flags))
