"""The frame: bytes on the wire between two processes ↔ typed messages of one life of a sender.

A frame is one ZeroMQ frame (docs/PROTOCOL.md): a fixed header that names cluster, sender and
receiver with their lives, a msgpack body (`zmqim.bus.messages`), and a CRC-32 over both. This is
the door of the bus: whatever is not exactly that becomes a `FrameError`, which the endpoint
counts by its `kind`. ZeroMQ keeps no checksum of its own and TCP's is weak.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

import msgspec

from zmqim.bus.messages import MESSAGE_CODES, Message
from zmqim.errors import WireError
from zmqim.ids import ClusterId, Incarnation, NodeUuid

MAGIC = b"zmqi"
PROTOCOL_VERSION = 1
CLUSTER_BYTES = 8
"""Of the cluster id's 16, the first so many travel in each frame."""
NO_NODE = NodeUuid(bytes(16))
"""Receiver of a frame whose sender does not know yet who answers there."""
NO_INCARNATION = Incarnation(0)

HEADER = Struct(">4sB8s16sQ16sQBQI")
_OPENING = Struct(">4sB8s16sQ")
_REST = Struct(">16sQBQI")
_CHECKSUM = Struct(">I")
OVERHEAD_BYTES = HEADER.size + _CHECKSUM.size
TYPE_OFFSET = _OPENING.size + 16 + 8

assert HEADER.size == _OPENING.size + _REST.size


class FrameError(WireError):
    """A frame that is not for us or not a frame; `kind` is the name under which it is counted."""

    kind = "bad_frame"


class BadLength(FrameError):
    """Shorter than header and checksum."""

    kind = "bad_length"


class BadMagic(FrameError):
    """Not a frame of zmqim."""

    kind = "bad_magic"


class BadVersion(FrameError):
    """Of a protocol version that this process does not speak; `version` says which."""

    kind = "bad_version"

    def __init__(self, version: int) -> None:
        super().__init__(f"protocol version {version}, not {PROTOCOL_VERSION}")
        self.version = version


class BadChecksum(FrameError):
    """Damaged on the way."""

    kind = "bad_checksum"


class BadCluster(FrameError):
    """From a process of another cluster; `cluster` and `sender` are what its header says."""

    kind = "bad_cluster"

    def __init__(self, cluster: bytes, header: Header) -> None:
        super().__init__(f"cluster {cluster.hex()} is not ours")
        self.cluster = cluster
        self.header = header


class BadType(FrameError):
    """No message has this type code."""

    kind = "bad_type"


class BadBody(FrameError):
    """The body is not the msgpack array that the type asks for."""

    kind = "bad_body"


class Header(NamedTuple):
    """Who sent a frame to whom; `link` is the request_id field, the number of the link."""

    from_node: NodeUuid
    from_incarnation: Incarnation
    to_node: NodeUuid
    to_incarnation: Incarnation
    code: int
    link: int
    deadline_ms: int


_encode_body = msgspec.msgpack.Encoder().encode
_decoders: dict[int, msgspec.msgpack.Decoder[Message]] = {
    code: msgspec.msgpack.Decoder(kind) for kind, code in MESSAGE_CODES.items()
}


class Codec:
    """Encodes as one life of one process, and decodes what is said in its cluster."""

    __slots__ = ("_cluster", "_opening", "node_uuid")

    def __init__(
        self, cluster_id: ClusterId, node_uuid: NodeUuid, incarnation: Incarnation
    ) -> None:
        self.node_uuid = node_uuid
        self._cluster = cluster_id[:CLUSTER_BYTES]
        self._opening = _OPENING.pack(
            MAGIC, PROTOCOL_VERSION, self._cluster, node_uuid, incarnation
        )

    def encode(
        self,
        message: Message,
        to_node: NodeUuid = NO_NODE,
        to_incarnation: Incarnation = NO_INCARNATION,
        link: int = 0,
        deadline_ms: int = 0,
    ) -> bytes:
        """The frame that carries `message`; `deadline_ms` is what is left of it, 0 for none."""
        code = MESSAGE_CODES[type(message)]
        rest = _REST.pack(to_node, to_incarnation, code, link, deadline_ms)
        body = _encode_body(message)
        checksum = crc32(body, crc32(rest, crc32(self._opening)))
        return b"".join((self._opening, rest, body, _CHECKSUM.pack(checksum)))

    def decode(self, frame: bytes | memoryview) -> tuple[Header, Message]:
        """Header and message of a frame; `FrameError` if it is not one of this cluster."""
        size = len(frame)
        if size < OVERHEAD_BYTES:
            raise BadLength(f"{size} bytes, a frame has at least {OVERHEAD_BYTES}")
        magic, version, cluster, *fields = HEADER.unpack_from(frame)
        if magic != MAGIC:
            raise BadMagic(f"begins with {magic!r}")
        if version != PROTOCOL_VERSION:
            raise BadVersion(version)
        view = memoryview(frame)
        end = size - _CHECKSUM.size
        if crc32(view[:end]) != _CHECKSUM.unpack_from(frame, end)[0]:
            raise BadChecksum("the checksum does not match")
        header = Header._make(fields)
        if cluster != self._cluster:
            raise BadCluster(cluster, header)
        decoder = _decoders.get(header.code)
        if decoder is None:
            raise BadType(f"type {header.code}")
        try:
            return header, decoder.decode(view[HEADER.size : end])
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise BadBody(f"type {header.code}: {error}") from None
