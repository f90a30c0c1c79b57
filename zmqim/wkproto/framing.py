"""Frames of the client protocol: a header byte, a length, a body (WuKongIM v2.2).

`FrameReader` cuts a byte stream, however it was split on its way, into ``(header byte, body)``. It
keeps at most one incomplete frame, bounded by the length which that frame announced, and copies it
only when it is complete: a peer that trickles single bytes costs no more than one that does not.
A frame that this side may not receive is refused at its first byte, before any body arrives.
"""

from __future__ import annotations

from collections.abc import Container
from struct import Struct
from typing import Final

from zmqim.errors import WireError
from zmqim.limits import FRAME_BYTES_MAX, STRING_BYTES_MAX
from zmqim.wkproto.packets import PacketType

LENGTH_BYTES_MAX: Final = 4
_pack_long_head: Final = Struct("BBB").pack
_STRING_BYTES_MAX: Final = STRING_BYTES_MAX
"""By itself: an imported name costs a look-up for each string."""
_ONE_BYTE_FRAMES: Final = frozenset((int(PacketType.PING), int(PacketType.PONG)))


class FrameReader:
    """Bytes in, complete frames out. `expected` holds the packet types that the peer may send.

    After a `WireError` the stream has no meaning any more: close the connection.
    """

    __slots__ = ("_expected", "_needed", "_pending", "frame_bytes_max")

    def __init__(self, expected: Container[int], frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._expected = expected
        self._pending = bytearray()
        self._needed = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes kept of a frame that is not complete yet."""
        return len(self._pending)

    def cut(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames completed by `data`, each as its header byte and its body."""
        pending = self._pending
        if pending:
            pending += data
            if len(pending) < self._needed:
                return []
            data = bytes(pending)
            pending.clear()
        frames = []
        expected, frame_bytes_max = self._expected, self.frame_bytes_max
        at, end = 0, len(data)
        while at < end:
            first = data[at]
            packet_type = first >> 4
            if packet_type not in expected:
                raise WireError(f"packet type {packet_type} is not expected here")
            if packet_type in _ONE_BYTE_FRAMES:
                frames.append((first, b""))
                at += 1
                continue
            start = at + 2
            if start < end and data[start - 1] < 0x80:
                size = data[start - 1]
            elif start < end and data[start] < 0x80:
                size = data[start - 1] & 0x7F | data[start] << 7
                start += 1
            else:
                start, size = _read_length(data, at + 1)
            if size > frame_bytes_max:
                raise WireError(f"frame of {size} bytes, allowed are {frame_bytes_max}")
            if start + size > end or not start:
                self._needed = start + size - at if start else end - at + 1
                pending += data[at:]
                break
            at = start + size
            frames.append((first, data[start:at]))
        return frames


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    """Where the body starts and its size; ``(0, 0)`` if the length is not complete."""
    size = shift = 0
    for octet in data[at : at + LENGTH_BYTES_MAX]:
        at += 1
        size |= (octet & 0x7F) << shift
        if octet < 0x80:
            return at, size
        shift += 7
    if shift == 7 * LENGTH_BYTES_MAX:
        raise WireError("frame length does not end after 4 bytes")
    return 0, 0


def frame_head(first: int, size: int) -> bytes:
    """Header byte and length of a frame whose body has `size` bytes."""
    if size < 0x80:
        return bytes((first, size))
    if size < 0x4000:
        return _pack_long_head(first, size & 0x7F | 0x80, size >> 7)
    if size > FRAME_BYTES_MAX:
        raise WireError(f"frame of {size} bytes, allowed are {FRAME_BYTES_MAX}")
    head = bytearray((first,))
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)


def text_field(text: str) -> bytes:
    """A string as it stands in a body; `WireError` above 32,767 bytes."""
    return octets_field(text.encode())


def octets_field(octets: bytes) -> bytes:
    """The same for the string's bytes."""
    if len(octets) > _STRING_BYTES_MAX:
        raise WireError(f"string of {len(octets)} bytes, allowed are {_STRING_BYTES_MAX}")
    return len(octets).to_bytes(2, "big") + octets


def read_octets(body: bytes, at: int) -> tuple[bytes, int]:
    """The bytes of the string at `at`, and where the next field begins."""
    start = at + 2
    end = start + (body[at] << 8 | body[at + 1])
    if end > len(body) or end - start > _STRING_BYTES_MAX:
        raise WireError("a string is longer than its frame or than 32,767 bytes")
    return body[start:end], end


def read_text(body: bytes, at: int) -> tuple[str, int]:
    """The string at `at`, and where the next field begins."""
    octets, end = read_octets(body, at)
    return octets.decode(), end
