"""A simulated client's connection to a gateway, and how what passes over it is written down.

In order both ways, with a delay, until either end is gone. The history gets what the gateway put on
the connection and what reached it, at those times: so the checks judge the gateway, not the delay.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Protocol

from zmqim.chat.codes import MessageFlag, Reason
from zmqim.chat.operations import decode_send
from zmqim.chat.results import MessagesPage
from zmqim.gateway.plugin import CloseReason
from zmqim.sim.history import (
    ChannelKey,
    Heard,
    History,
    Push,
    Received,
    Seen,
    Session,
    SessionKey,
    channel_key,
)
from zmqim.sim.nodes import GatewayNode
from zmqim.sim.world import MS, World
from zmqim.wkproto.packets import Connack, Event, FromClient, FromServer, Recv, Recvack


class Owner(Protocol):
    """Whose connection it is."""

    uid: str
    history: History

    def take(self, link: Link, packets: Sequence[FromServer]) -> None: ...
    def lost(self, link: Link) -> None: ...


class Link:
    """A client's connection to one gateway: in order both ways, until either end is gone."""

    def __init__(self, world: World, random: Random, gateway: GatewayNode, client: Owner) -> None:
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
            elif isinstance(packet, Event):
                self._note_event(packet)
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

    def _note_event(self, event: Event) -> None:
        said = json.loads(event.data)
        word = said.get("payload", {}).get("delta", "")
        self._client.history.heard.append(
            Heard(
                self._world.now,
                self.key,
                event.event_id,
                said["msg_event_seq"],
                said["event_key"],
                word,
            )
        )

    def _towards_client(self, action: Callable[[], None]) -> None:
        self._in.append(action)
        self._in_busy = max(self._in_busy, self._world.now + self._delay())
        self._world.after(self._in_busy - self._world.now, self._read)

    def _read(self) -> None:
        self._in.popleft()()

    def _delay(self) -> int:
        return self._random.randint(100, 5_000)


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
