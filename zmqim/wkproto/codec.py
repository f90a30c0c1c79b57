"""Packets ↔ bytes for one connection, in protocol versions 1 to 6 (WuKongIM v2.2).

`ServerCodec` and `ClientCodec` are the two ends: `feed` takes whatever bytes arrived and returns
the packets that they complete, `encode` and `encode_one` give the bytes of packets. They do no
input or output, and know no sessions, channels or permissions. A `WireError` of `feed` means that
the peer does not speak the protocol: close the connection. One of `encode` means that the packet
has no form in the version spoken, or is too large for any.

What varies with the version:

    1, 2   no `expire`               2–4   `stream_no` in a SEND with Setting.STREAM
    3, 4   `expire`                  4–6   CONNACK ends with the node id and begins with the
    5      no stream fields                server's version
    6      message_seq has 8 bytes, SENDACK ends with the client_msg_no

Bytes behind a body's last field are ignored: that is how later versions add fields.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from msgspec.structs import replace

from zmqim.errors import WireError
from zmqim.limits import CONNECT_FRAME_BYTES_MAX, FRAME_BYTES_MAX
from zmqim.wkproto import bodies
from zmqim.wkproto.crypto import (
    KEY_BYTES,
    SALT_BYTES,
    KeyPair,
    SessionCipher,
    UnusableKey,
    salt_from,
)
from zmqim.wkproto.framing import FrameReader
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    Event,
    FromClient,
    FromServer,
    Packet,
    PacketType,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
    Sub,
    Suback,
)
from zmqim.wkproto.sealed import SharedRecv, frame_of_recv, frame_of_send, read_recv, read_send

LATEST_VERSION: Final = 6
ENTROPY_BYTES: Final = KEY_BYTES + SALT_BYTES
"""Random bytes that a `ServerCodec` is made from."""
_SUCCESS: Final = 1
_CONNECT: Final = int(PacketType.CONNECT)
_SEND: Final = int(PacketType.SEND)
_RECVACK: Final = int(PacketType.RECVACK)
_CONNACK: Final = int(PacketType.CONNACK)
_RECV: Final = int(PacketType.RECV)
"""Plain numbers: an enumeration's member costs a look-up for each frame."""

_Framer = Callable[[Any, int], bytes]
_Packet = TypeVar("_Packet", FromClient, FromServer)

_PLAIN_FROM_CLIENT: Final[dict[int, Callable[[int, bytes, int], FromClient]]] = {
    PacketType.RECVACK: bodies.read_recvack,
    PacketType.PING: bodies.read_ping,
    PacketType.DISCONNECT: bodies.read_disconnect,
    PacketType.SUB: bodies.read_sub,
}
_PLAIN_FROM_SERVER: Final[dict[int, Callable[[int, bytes, int], FromServer]]] = {
    PacketType.SENDACK: bodies.read_sendack,
    PacketType.PONG: bodies.read_pong,
    PacketType.DISCONNECT: bodies.read_disconnect,
    PacketType.SUBACK: bodies.read_suback,
    PacketType.EVENT: bodies.read_event,
}
_TYPES_FROM_CLIENT: Final = frozenset((PacketType.CONNECT, PacketType.SEND, *_PLAIN_FROM_CLIENT))
_TYPES_FROM_SERVER: Final = frozenset((PacketType.CONNACK, PacketType.RECV, *_PLAIN_FROM_SERVER))
_PLAIN_FRAMES: Final[dict[type[Packet], _Framer]] = {
    Connect: bodies.frame_of_connect,
    Connack: bodies.frame_of_connack,
    Sendack: bodies.frame_of_sendack,
    Recvack: bodies.frame_of_recvack,
    Ping: bodies.frame_of_ping,
    Pong: bodies.frame_of_pong,
    Disconnect: bodies.frame_of_disconnect,
    Sub: bodies.frame_of_sub,
    Suback: bodies.frame_of_suback,
    Event: bodies.frame_of_event,
}


def negotiated(version: int) -> int:
    """The version spoken with a client that asks for `version`."""
    return version if 1 <= version <= LATEST_VERSION else LATEST_VERSION


class _Codec(ABC, Generic[_Packet]):
    """What both ends share: the stream of frames, the version, the cipher once there is one."""

    __slots__ = ("_cipher", "_frames", "version")

    def __init__(self, frames: FrameReader) -> None:
        self.version = 0
        """The version spoken; 0 before it is known."""
        self._frames = frames
        self._cipher: SessionCipher | None = None

    @property
    def pending_bytes(self) -> int:
        """Bytes kept of a frame that is not complete yet."""
        return self._frames.pending_bytes

    def feed(self, data: bytes) -> list[_Packet]:
        """The packets that `data` completes. After a `WireError` the connection is of no use."""
        try:
            return [
                self._read(first >> 4, first & 15, body) for first, body in self._frames.cut(data)
            ]
        except (struct.error, IndexError):
            raise WireError("a frame ends before its last field") from None
        except UnicodeDecodeError:
            raise WireError("a string is not UTF-8") from None

    def encode(self, packets: Iterable[Packet]) -> bytes:
        """The frames of `packets`, joined: for a byte stream."""
        return b"".join([self.encode_one(packet) for packet in packets])

    @abstractmethod
    def encode_one(self, packet: Packet) -> bytes:
        """One frame: for transports that carry each frame in a message of its own."""

    @abstractmethod
    def _read(self, packet_type: int, flags: int, body: bytes) -> _Packet:
        """The packet in one frame's body."""


class ServerCodec(_Codec[FromClient]):
    """The server's end. `entropy` is `ENTROPY_BYTES` random bytes, for this connection alone."""

    __slots__ = ("_answer", "_entropy")

    def __init__(self, entropy: bytes) -> None:
        super().__init__(FrameReader(_TYPES_FROM_CLIENT, CONNECT_FRAME_BYTES_MAX))
        self._entropy = entropy
        self._answer = ("", "")

    def encode_one(self, packet: Packet) -> bytes:
        """One frame. A `Connack` of success gets the keys, and every one its server version."""
        if type(packet) is Recv:
            assert self._cipher is not None, "a RECV before the CONNECT"
            return frame_of_recv(packet, self.version, self._cipher)
        if type(packet) is Sendack:
            return bodies.frame_of_sendack(packet, self.version)
        if type(packet) is Connack:
            return self._frame_of_connack(packet)
        return _PLAIN_FRAMES[type(packet)](packet, self.version)

    def encode_shared(self, shared: SharedRecv) -> bytes:
        """The frame of a message that goes to other sessions too."""
        assert self._cipher is not None, "a RECV before the CONNECT"
        return shared.sealed(self.version, self._cipher)

    def _read(self, packet_type: int, flags: int, body: bytes) -> FromClient:
        if packet_type == _SEND and self._cipher is not None:
            return read_send(flags, body, self.version, self._cipher)
        if packet_type == _RECVACK and self.version:
            return bodies.read_recvack(flags, body, self.version)
        if not self.version:
            if packet_type != _CONNECT:
                raise WireError(f"packet type {packet_type} came before CONNECT")
            return self._read_connect(flags, body)
        read = _PLAIN_FROM_CLIENT.get(packet_type)
        if read is None:
            raise WireError(f"packet type {packet_type} is out of order")
        return read(flags, body, self.version)

    def _read_connect(self, flags: int, body: bytes) -> Connect:
        packet = bodies.read_connect(flags, body, 0)
        self.version = negotiated(packet.version)
        self._frames.frame_bytes_max = FRAME_BYTES_MAX
        keys = KeyPair(self._entropy[:KEY_BYTES])
        salt = salt_from(self._entropy[KEY_BYTES:])
        self._entropy = b""
        try:
            self._cipher = keys.agree(packet.client_key, salt)
        except UnusableKey:
            return replace(packet, key_usable=False)
        self._answer = (keys.public_text, salt)
        return packet

    def _frame_of_connack(self, packet: Connack) -> bytes:
        server_key, salt = self._answer if packet.reason == _SUCCESS else ("", "")
        packet = replace(
            packet,
            server_version=self.version if self.version > 3 else 0,
            server_key=server_key,
            salt=salt,
        )
        return bodies.frame_of_connack(packet, self.version)


class ClientCodec(_Codec[FromServer]):
    """The client's end. `private_key` is 32 random bytes, for this connection alone."""

    __slots__ = ("_keys",)

    def __init__(self, private_key: bytes, version: int = LATEST_VERSION) -> None:
        super().__init__(FrameReader(_TYPES_FROM_SERVER))
        self.version = version
        self._keys = KeyPair(private_key)

    @property
    def client_key(self) -> str:
        """What `Connect.client_key` must be."""
        return self._keys.public_text

    def encode_one(self, packet: Packet) -> bytes:
        """One frame. A `Send` needs the CONNACK first."""
        if isinstance(packet, Send):
            assert self._cipher is not None, "a SEND before the CONNACK"
            return frame_of_send(packet, self.version, self._cipher)
        return _PLAIN_FRAMES[type(packet)](packet, self.version)

    def _read(self, packet_type: int, flags: int, body: bytes) -> FromServer:
        if packet_type == _RECV and self._cipher is not None:
            return read_recv(flags, body, self.version, self._cipher)
        if packet_type == _CONNACK:
            return self._read_connack(flags, body)
        read = _PLAIN_FROM_SERVER.get(packet_type)
        if read is None:
            raise WireError(f"packet type {packet_type} is out of order")
        return read(flags, body, self.version)

    def _read_connack(self, flags: int, body: bytes) -> Connack:
        packet = bodies.read_connack(flags, body, self.version)
        if packet.server_version:
            self.version = min(self.version, packet.server_version)
        if packet.reason == _SUCCESS:
            try:
                self._cipher = self._keys.agree(packet.server_key, packet.salt)
            except UnusableKey as error:
                raise WireError(f"no key can be agreed with the server: {error}") from None
        return packet
