"""One client of the load: as much client as a load needs, and no more.

It logs in through the real codec, signs and encrypts every SEND, and acknowledges every RECV; but
it reads the ids straight out of SENDACK and RECV frames and decrypts only one RECV in
`CHECK_EVERY`, so that the generator takes little of the machine that it measures.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from struct import Struct
from time import perf_counter
from typing import TYPE_CHECKING, cast

from zmqim.errors import WireError
from zmqim.wkproto.codec import ClientCodec
from zmqim.wkproto.packets import Connack, Connect, Recv, Send

if TYPE_CHECKING:
    from zmqim.bench.worker import Load

CHECK_EVERY = 256
VERSION = 5
_RECVACK_HEAD = b"\x60\x0c"
_SENDACK, _RECV, _PONG, _DISCONNECT = 4, 5, 8, 9
_CLIENT_SEQ_AT = 8
_REASON_AT = 16
_U32 = Struct(">I").unpack_from
_IDS = Struct(">qI")
"""Message id and sequence; with the seconds they are the last fields before the payload."""
_SECONDS_BYTES = 4


def tail_bytes_of(payload: int) -> int:
    """From the ids to the end of a RECV frame with a payload of that size."""
    padded = payload + 16 - payload % 16
    return _IDS.size + _SECONDS_BYTES + (padded + 2) // 3 * 4


def _long_length(data: bytes, position: int, end: int) -> tuple[int, int] | None:
    """A remaining length of several bytes, and where the body begins; None: not there yet."""
    length = shift = 0
    for cursor in range(position, min(end, position + 4)):
        length |= (data[cursor] & 127) << shift
        shift += 7
        if data[cursor] < 128:
            return length, cursor + 1
    return None


class Connection(asyncio.Protocol):
    """A user online; `target` is the channel it writes to, or None."""

    __slots__ = (
        "_buffer", "_codec", "_due", "_load", "_next_seq", "_prefix", "_transport", "number",
        "ready", "received", "target", "token", "uid", "waiting",
    )  # fmt: skip

    def __init__(
        self, load: Load, number: int, uid: str, token: str, target: tuple[str, int] | None
    ) -> None:
        self.number = number
        self.uid = uid
        self.token = token
        self.target = target
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = 0
        self.waiting: dict[int, float] = {}
        self._load = load
        self._codec = ClientCodec(os.urandom(32), VERSION)
        self._buffer = b""
        self._due: deque[float] = deque()
        self._next_seq = 0
        self._prefix = f"{load.plan.run}-{number}-"
        self._transport: asyncio.Transport | None = None

    # ---- sending --------------------------------------------------------------------------------

    def offer(self, due: list[float]) -> None:
        """Sends that became due at these times: sent now, or when an answer frees a place."""
        self._due.extend(due)
        self._send_due()

    def _send_due(self) -> None:
        room = self._load.plan.in_flight - len(self.waiting)
        if room <= 0 or not self._due or self.target is None or self._transport is None:
            return
        channel_id, channel_type = self.target
        first = self._next_seq + 1
        self._next_seq += min(room, len(self._due))
        payload, prefix, due, waiting = self._load.payload, self._prefix, self._due, self.waiting
        packets = []
        for seq in range(first, self._next_seq + 1):
            waiting[seq] = due.popleft()
            packets.append(Send(seq, f"{prefix}{seq}", channel_id, channel_type, payload, 0, 2))
        self._load.sent += len(packets)
        self._transport.write(self._codec.encode(packets))

    # ---- asyncio --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being subclasses.
        self._transport = cast(asyncio.Transport, transport)
        connect = Connect(
            VERSION, 0, f"d{self.number}", self.uid, self.token, 0, self._codec.client_key
        )
        self._transport.write(self._codec.encode_one(connect))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"{self.uid}: closed before CONNACK"))
        elif not self._load.stopping:
            self._load.lost_connections += 1

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            self._log_in(data)
        else:
            self._read(self._buffer + data if self._buffer else data)

    def ping(self) -> None:
        """Keep the connection."""
        if self._transport is not None:
            self._transport.write(b"\x70")

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()

    def _log_in(self, data: bytes) -> None:
        for packet in self._codec.feed(data):
            if isinstance(packet, Connack):
                if packet.reason == 1:
                    self.ready.set_result(None)
                else:
                    self.ready.set_exception(ConnectionError(f"CONNACK {packet.reason}"))

    def _read(self, data: bytes) -> None:
        """Take every whole frame of `data`; keep the rest."""
        position, end, now, load = 0, len(data), perf_counter(), self._load
        acks: list[bytes] = []
        durations: list[float] = []
        refused = 0
        waiting = self.waiting
        while position < end:
            head = data[position]
            if head >> 4 == _PONG:
                position += 1
                continue
            cursor = position + 2
            if cursor > end:
                break
            length = data[position + 1]
            if length > 127 and cursor < end and data[cursor] < 128:
                length = length & 127 | data[cursor] << 7
                cursor += 1
            elif length > 127:
                found = _long_length(data, position + 1, end)
                if found is None:
                    break
                length, cursor = found
            if end - cursor < length:
                break
            kind = head >> 4
            if kind == _SENDACK:
                due = waiting.pop(_U32(data, cursor + _CLIENT_SEQ_AT)[0])
                if data[cursor + _REASON_AT] == 1:
                    durations.append(now - due)
                else:
                    load.refuse(data[cursor + _REASON_AT])
                    refused += 1
            elif kind == _RECV:
                acks.append(self._received(data, position, cursor + length))
            elif kind == _DISCONNECT:
                load.lost_connections += 1
            position = cursor + length
        self._buffer = data[position:]
        load.delivered += len(acks)
        if acks and self._transport is not None:
            self._transport.write(b"".join(acks))
        if durations or refused:
            load.answered(durations)
            if load.closed_loop and not load.stopping:
                self._due.extend([now] * (len(durations) + refused))
            self._send_due()

    def _received(self, data: bytes, position: int, end: int) -> bytes:
        """The RECVACK of a RECV frame. In a run all payloads have one size, and the ids stand
        before the payload."""
        at = end - self._load.tail_bytes
        ids = data[at : at + _IDS.size]
        self.received += 1
        if self.received % CHECK_EVERY == 1:
            self._check(data[position:end], ids)
        return _RECVACK_HEAD + ids

    def _check(self, frame: bytes, ids: bytes) -> None:
        """Signature, payload and ids of one RECV; a wrong one is counted and fails the run."""
        try:
            packets = self._codec.feed(frame)
        except WireError:
            packets = []
        match packets:
            case [Recv(message_id=message_id, message_seq=sequence, payload=payload)] if (
                payload == self._load.payload and ids == _IDS.pack(message_id, sequence)
            ):
                pass
            case _:
                self._load.corrupt += 1
