"""What waits for one link: messages in order, gathered into frames that ZeroMQ takes whole.

`Endpoint.send` puts messages in, `Endpoint.flush` takes frames out; what a turn says to one peer so
costs one frame, one checksum and one send. Pure. Bounds: PEER_QUEUE_MESSAGES_MAX and
PEER_QUEUE_BYTES_MAX of one link, BATCH_BYTES_MAX of a frame, except for one message that is larger
by itself, up to BUS_FRAME_BYTES_MAX.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from zmqim.bus.envelope import CHECKSUM, append, seal
from zmqim.bus.messages import Message
from zmqim.limits import (
    BATCH_BYTES_MAX,
    BUS_FRAME_BYTES_MAX,
    PEER_QUEUE_BYTES_MAX,
    PEER_QUEUE_MESSAGES_MAX,
)

_CHECKSUM_BYTES: Final = CHECKSUM.size
_FRAME_BYTES_MAX: Final = BUS_FRAME_BYTES_MAX
_FRAME_BYTES: Final = BATCH_BYTES_MAX
_QUEUE_BYTES_MAX: Final = PEER_QUEUE_BYTES_MAX
_QUEUE_MESSAGES_MAX: Final = PEER_QUEUE_MESSAGES_MAX
"""By names of this module: imported ones are looked up for each message."""


class Outbox:
    """The queue of one link."""

    __slots__ = ("_frame", "_frame_messages", "_header", "_sealed", "bytes", "messages", "route")

    def __init__(self, header: bytes, route: bytes) -> None:
        """`header` opens every frame of the link."""
        self.route = route
        """Routing id of the connection that was dialled to us; empty where we dialled."""
        self.messages = 0
        self.bytes = 0
        """Of the messages that wait, without header and checksum of their frames."""
        self._header = header
        self._sealed: deque[tuple[bytearray, int]] = deque()
        """Whole frames, each with the number of its messages, oldest first."""
        self._frame = bytearray(header)
        self._frame_messages = 0
        """The frame that takes messages, behind the sealed ones."""

    def put(self, message: Message) -> str:
        """Queue a message; else the name under which its refusal is counted."""
        if self.messages >= _QUEUE_MESSAGES_MAX:
            return "sends_queue_full"
        frame = self._frame
        start = len(frame)
        append(frame, message)
        size = len(frame) - start
        if len(self._header) + size + _CHECKSUM_BYTES > _FRAME_BYTES_MAX:
            del frame[start:]
            return "sends_too_large"
        if self.bytes + size > _QUEUE_BYTES_MAX:
            del frame[start:]
            return "sends_queue_full"
        if len(frame) + _CHECKSUM_BYTES > _FRAME_BYTES and self._frame_messages:
            moved = frame[start:]
            del frame[start:]
            self._seal()
            self._frame += moved
        self._frame_messages += 1
        self.messages += 1
        self.bytes += size
        return ""

    def next_frame(self) -> bytearray:
        """The oldest frame, for ZeroMQ. There is one while `messages` is not 0."""
        if not self._sealed:
            self._seal()
        return self._sealed[0][0]

    def taken(self) -> None:
        """ZeroMQ took the frame that `next_frame` gave."""
        frame, count = self._sealed.popleft()
        self.messages -= count
        self.bytes -= len(frame) - len(self._header) - _CHECKSUM_BYTES

    def _seal(self) -> None:
        assert self._frame_messages
        seal(self._frame)
        self._sealed.append((self._frame, self._frame_messages))
        self._frame = bytearray(self._header)
        self._frame_messages = 0
