"""What the listeners do with one client: bytes in, frames or messages out, one session.

A client speaks WKProto, or JSON-RPC where the transport has messages. The transports differ in how
bytes travel, how a connection is closed and how frames are packed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

from zmqim.chat.codes import ChannelType
from zmqim.errors import WireError
from zmqim.gateway.plugin import Connection, GatewayPort
from zmqim.jsonrpc.codec import ServerCodec as JsonCodec
from zmqim.jsonrpc.texts import received
from zmqim.wkproto.codec import ENTROPY_BYTES, ServerCodec
from zmqim.wkproto.packets import FromServer, Recv
from zmqim.wkproto.sealed import SharedRecv

_PERSON: Final = int(ChannelType.PERSON)
CLOSE_GRACE_SECONDS: Final = 3.0
"""How long a client whose connection is closed may still read what was said last."""


class Sharing:
    """What the receivers of one message share, made once a turn for a whole listener.

    The core gives all receivers of a group message the same `Recv` object, all within one turn; a
    `SharedRecv` holds layout and padding for all of them, and in JSON-RPC all read the same text. A
    person's message mostly has one receiver, and goes the plain way.
    """

    __slots__ = ("_shared", "_texts")

    def __init__(self) -> None:
        self._shared: dict[int, SharedRecv] = {}
        self._texts: dict[int, tuple[Recv, bytes]] = {}

    def of(self, packet: Recv) -> SharedRecv:
        """Kept until the loop's next iteration, with its packet: so an id stays unique so long."""
        shared = self._shared.get(id(packet))
        if shared is None:
            if not self._shared:
                asyncio.get_running_loop().call_soon(self._shared.clear)
            shared = self._shared[id(packet)] = SharedRecv(packet)
        return shared

    def text_of(self, packet: Recv) -> bytes:
        """The same in JSON-RPC."""
        shared = self._texts.get(id(packet))
        if shared is None:
            if not self._texts:
                asyncio.get_running_loop().call_soon(self._texts.clear)
            shared = self._texts[id(packet)] = (packet, received(packet))
        return shared[1]


class Client:
    """The session of one connection."""

    __slots__ = ("_port", "_sharing", "session")

    def __init__(self, port: GatewayPort, sharing: Sharing) -> None:
        self._port = port
        self._sharing = sharing
        self.session = 0
        """0: none, or it is over."""

    def open(self, connection: Connection, peer: tuple[object, ...] | None) -> bool:
        """The connection stands; False: the gateway takes no more."""
        address = f"{peer[0]}:{peer[1]}" if peer else ""
        self.session = self._port.open_session(connection, address) or 0
        return bool(self.session)

    def writable(self, on: bool) -> None:
        """The write buffer is above its bound, or has drained."""
        if self.session:
            self._port.writable(self.session, on)

    def leave(self) -> None:
        """The connection is gone."""
        session, self.session = self.session, 0
        if session:
            self._port.close_session(session)

    def frames_of(self, packets: Sequence[FromServer]) -> list[bytes]:
        """One frame or message a packet. A packet that has no form in what the client speaks is
        left out and counted: a newer client can read it."""
        raise AssertionError("each protocol has frames of its own")


class WkprotoClient(Client):
    """A client that speaks WKProto: a stream of bytes, however it is cut."""

    __slots__ = ("_codec",)

    def __init__(self, port: GatewayPort, sharing: Sharing) -> None:
        super().__init__(port, sharing)
        self._codec = ServerCodec(secrets.token_bytes(ENTROPY_BYTES))

    def speaking_json(self) -> JsonClient:
        """The same session for a client that turns out to speak JSON-RPC."""
        client = JsonClient(self._port, self._sharing)
        client.session = self.session
        return client

    def take(self, data: bytes) -> bool:
        """Bytes came; False: they are not WKProto, and the session is over."""
        if self.session:
            try:
                packets = self._codec.feed(data)
            except WireError:
                self._port.count("wire_errors")
                self.leave()
                return False
            if packets:
                self._port.packets(self.session, packets)
        return True

    def frames_of(self, packets: Sequence[FromServer]) -> list[bytes]:
        """One frame a packet."""
        frames = []
        codec = self._codec
        for packet in packets:
            try:
                if type(packet) is Recv and packet.channel_type != _PERSON:
                    frames.append(codec.encode_shared(self._sharing.of(packet)))
                else:
                    frames.append(codec.encode_one(packet))
            except WireError:
                self._port.count("packets_without_form")
        return frames


class JsonClient(Client):
    """A client that speaks JSON-RPC: whole messages, which may come in fragments."""

    __slots__ = ("_codec", "_message")

    def __init__(self, port: GatewayPort, sharing: Sharing) -> None:
        super().__init__(port, sharing)
        self._codec = JsonCodec()
        self._message = bytearray()
        """The fragments of a message so far."""

    def take(self, fragment: bytes, is_last: bool) -> tuple[bytes, bool]:
        """A message or a fragment came: what to answer at once, and whether the connection goes
        on. Otherwise the session is over."""
        if not self.session:
            return b"", True
        if self._message or not is_last:
            self._message += fragment
            if not is_last and len(self._message) <= self._codec.message_bytes_max:
                return b"", True
            fragment = bytes(self._message)
            self._message.clear()
        packet, answer, is_over = self._codec.take(fragment)
        if packet is not None:
            self._port.packets(self.session, (packet,))
        if is_over:
            self._port.count("wire_errors")
            self.leave()
        return answer, not is_over

    def frames_of(self, packets: Sequence[FromServer]) -> list[bytes]:
        """At most one message a packet."""
        messages = []
        codec = self._codec
        for packet in packets:
            try:
                if type(packet) is Recv and packet.channel_type != _PERSON:
                    messages.append(self._sharing.text_of(packet))
                elif message := codec.text_of(packet):
                    messages.append(message)
            except WireError:
                self._port.count("packets_without_form")
        return messages
