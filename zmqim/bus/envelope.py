"""The frame: bytes on the wire between two processes ↔ typed messages of one life of a sender.

A frame is one ZeroMQ frame (docs/PROTOCOL.md): a fixed header that names cluster, sender and
receiver with their lives, one or more messages, each with its type, its length and a msgpack body
(`zmqim.bus.messages`), and a CRC-32 over all. This is the door of the bus: whatever is not exactly
that becomes a `FrameError`, which the endpoint counts by its `kind`. ZeroMQ keeps no checksum of
its own and TCP's is weak.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import ClassVar, Final, NamedTuple

import msgspec
from zlib_ng.zlib_ng import crc32

from zmqim.bus.codes import MESSAGE_CODES
from zmqim.bus.messages import Message
from zmqim.errors import WireError
from zmqim.ids import ClusterId, Incarnation, NodeUuid

MAGIC: Final = b"zmqi"
PROTOCOL_VERSION: Final = 1
CLUSTER_BYTES: Final = 8
"""Of the cluster id's 16, the first so many travel in each frame."""
NO_NODE: Final = NodeUuid(bytes(16))
"""Receiver of a frame whose sender does not know yet who answers there."""
NO_INCARNATION: Final = Incarnation(0)

HEADER: Final = Struct(">4sB8s16sQ16sQQ")
PREFIX: Final = Struct(">BI")
"""Before each body: the message's type and the body's length."""
CHECKSUM: Final = Struct(">I")
OVERHEAD_BYTES: Final = HEADER.size + PREFIX.size + CHECKSUM.size
"""What a frame with one message has beside that message's body."""
TYPE_OFFSET: Final = HEADER.size
"""Where the type of a frame's first message stands."""
_ROOM: Final = bytes(PREFIX.size)
_HEADER_BYTES: Final = HEADER.size
_PREFIX_BYTES: Final = PREFIX.size
_CHECKSUM_BYTES: Final = CHECKSUM.size
_unpack_header: Final = HEADER.unpack_from
_unpack_prefix: Final = PREFIX.unpack_from
_unpack_checksum: Final = CHECKSUM.unpack_from


class FrameError(WireError):
    """A frame that is not for us or not a frame; `kind` is the name under which it is counted."""

    kind: ClassVar[str] = "bad_frame"


class BadLength(FrameError):
    """Shorter than header, a message and checksum; or a message's length leads past the end."""

    kind: ClassVar[str] = "bad_length"


class BadMagic(FrameError):
    """Not a frame of zmqim."""

    kind: ClassVar[str] = "bad_magic"


class BadVersion(FrameError):
    """Of a protocol version that this process does not speak; `version` says which."""

    kind: ClassVar[str] = "bad_version"

    def __init__(self, version: int) -> None:
        super().__init__(f"protocol version {version}, not {PROTOCOL_VERSION}")
        self.version = version


class BadChecksum(FrameError):
    """Damaged on the way."""

    kind: ClassVar[str] = "bad_checksum"


class BadCluster(FrameError):
    """From a process of another cluster: its header, and the `code` of its first message."""

    kind: ClassVar[str] = "bad_cluster"

    def __init__(self, cluster: bytes, header: Header, code: int) -> None:
        super().__init__(f"cluster {cluster.hex()} is not ours")
        self.cluster = cluster
        self.header = header
        self.code = code


class BadType(FrameError):
    """No message has this type code."""

    kind: ClassVar[str] = "bad_type"


class BadBody(FrameError):
    """The body is not the msgpack array that the type asks for."""

    kind: ClassVar[str] = "bad_body"


class Header(NamedTuple):
    """Who sent a frame to whom; `link` is the number of the link."""

    from_node: NodeUuid
    from_incarnation: Incarnation
    to_node: NodeUuid
    to_incarnation: Incarnation
    link: int


_encode_into: Final = msgspec.msgpack.Encoder().encode_into
_decoders: Final[dict[int, msgspec.msgpack.Decoder[Message]]] = {
    code: msgspec.msgpack.Decoder(kind) for kind, code in MESSAGE_CODES.items()
}


def append(frame: bytearray, message: Message) -> None:
    """Put a message at the end of a frame that is not sealed yet."""
    start = len(frame)
    frame += _ROOM
    _encode_into(message, frame, -1)
    size = len(frame) - start - _PREFIX_BYTES
    PREFIX.pack_into(frame, start, MESSAGE_CODES[type(message)], size)


def seal(frame: bytearray) -> None:
    """Put the checksum at the end: nothing is appended afterwards."""
    frame += CHECKSUM.pack(crc32(frame))


class Codec:
    """Encodes as one life of one process, and decodes what is said in its cluster."""

    __slots__ = ("_cluster", "_incarnation", "_node_uuid")

    def __init__(
        self, cluster_id: ClusterId, node_uuid: NodeUuid, incarnation: Incarnation
    ) -> None:
        self._cluster = cluster_id[:CLUSTER_BYTES]
        self._node_uuid = node_uuid
        self._incarnation = incarnation

    def header(
        self,
        to_node: NodeUuid = NO_NODE,
        to_incarnation: Incarnation = NO_INCARNATION,
        link: int = 0,
    ) -> bytes:
        """How every frame to that life on that link begins."""
        return HEADER.pack(
            MAGIC,
            PROTOCOL_VERSION,
            self._cluster,
            self._node_uuid,
            self._incarnation,
            to_node,
            to_incarnation,
            link,
        )

    def encode(
        self,
        message: Message,
        to_node: NodeUuid = NO_NODE,
        to_incarnation: Incarnation = NO_INCARNATION,
        link: int = 0,
    ) -> bytearray:
        """The frame that carries `message` alone."""
        frame = bytearray(self.header(to_node, to_incarnation, link))
        append(frame, message)
        seal(frame)
        return frame

    def decode(self, frame: bytes | bytearray | memoryview) -> tuple[Header, Iterator[Message]]:
        """Header and messages, in order, of a frame; `FrameError` if it is not one of this cluster.

        The messages are decoded one by one: whoever takes them hears of a bad one when it is its
        turn, and those behind it are lost.
        """
        size = len(frame)
        if size < OVERHEAD_BYTES:
            raise BadLength(f"{size} bytes, a frame has at least {OVERHEAD_BYTES}")
        magic, version, cluster, node, life, to_node, to_life, link = _unpack_header(frame)
        if magic != MAGIC:
            raise BadMagic(f"begins with {magic!r}")
        if version != PROTOCOL_VERSION:
            raise BadVersion(version)
        end = size - _CHECKSUM_BYTES
        messages = memoryview(frame)[:end]
        if crc32(messages) != _unpack_checksum(frame, end)[0]:
            raise BadChecksum("the checksum does not match")
        header = Header(node, life, to_node, to_life, link)
        if cluster != self._cluster:
            raise BadCluster(cluster, header, frame[TYPE_OFFSET])
        return header, _messages(messages)


def _messages(view: memoryview) -> Iterator[Message]:
    """What stands between header and checksum."""
    end = len(view)
    offset = _HEADER_BYTES
    while offset < end:
        body = offset + _PREFIX_BYTES
        if body > end:
            raise BadLength("the last message has no length")
        code, size = _unpack_prefix(view, offset)
        offset = body + size
        if offset > end:
            raise BadLength(f"a message of {size} bytes where {end - body} are left")
        decoder = _decoders.get(code)
        if decoder is None:
            raise BadType(f"type {code}")
        try:
            message = decoder.decode(view[body:offset])
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise BadBody(f"type {code}: {error}") from None
        yield message
