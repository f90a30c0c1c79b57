"""The bodies of packets that are the same for everyone on a connection: fields ↔ bytes.

Each `read_…` takes the flags of the header, the body and the version spoken; each `frame_of_…`
gives the whole frame. Short bodies raise what `struct` and indexing raise, which the codec turns
into `WireError`. SEND and RECV, which are signed and encrypted, stand in `zmqim.wkproto.sealed`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from zmqim.errors import WireError
from zmqim.wkproto.framing import frame_head, read_text, text_field
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    Event,
    PacketType,
    Ping,
    Pong,
    Recvack,
    Sendack,
    Sub,
    Suback,
)

SEQUENCE_U32_MAX: Final = 0xFFFF_FFFF
_I64: Final = Struct(">q")
_U64: Final = Struct(">Q")
_SENDACK: Final = {False: Struct(">qIIB"), True: Struct(">qIQB")}
_RECVACK: Final = {False: Struct(">qI"), True: Struct(">qQ")}
"""By whether the sequence has 8 bytes."""
_unpack_recvack: Final = _RECVACK[False].unpack_from
_unpack_wide_recvack: Final = _RECVACK[True].unpack_from
_pack_sendack: Final = Struct(">BBqIIB").pack
"""The whole frame up to version 5."""
_SENDACK_SIZE: Final = 17
_SENDACK_FIRST: Final = PacketType.SENDACK << 4
"""A plain number: an enumeration's member costs a look-up for each frame."""


def has_wide_sequence(version: int, sequence: int) -> bool:
    """Whether sequences have 8 bytes; `WireError` if `sequence` does not fit into 4."""
    if version >= 6:
        return True
    if sequence > SEQUENCE_U32_MAX:
        raise WireError(f"sequence {sequence} needs protocol version 6")
    return False


def _frame(packet_type: PacketType, flags: int, *fields: bytes) -> bytes:
    body = b"".join(fields)
    return frame_head(packet_type << 4 | flags, len(body)) + body


# ---- CONNECT and CONNACK -------------------------------------------------------------------------


def read_connect(flags: int, body: bytes, version: int) -> Connect:
    """The same layout in all versions."""
    device_id, at = read_text(body, 2)
    uid, at = read_text(body, at)
    token, at = read_text(body, at)
    client_timestamp = _I64.unpack_from(body, at)[0]
    client_key, at = read_text(body, at + 8)
    return Connect(
        body[0], body[1], device_id, uid, token, client_timestamp, client_key, flags=flags
    )


def frame_of_connect(packet: Connect, version: int) -> bytes:
    """The same layout in all versions."""
    return _frame(
        PacketType.CONNECT,
        packet.flags,
        bytes((packet.version, packet.device_flag)),
        text_field(packet.device_id),
        text_field(packet.uid),
        text_field(packet.token),
        _I64.pack(packet.client_timestamp),
        text_field(packet.client_key),
    )


def read_connack(flags: int, body: bytes, version: int) -> Connack:
    """`version` is what the client asked for; bit 0 of the flags announces the server's."""
    at = flags & 1
    server_version = body[0] if at else 0
    time_diff = _I64.unpack_from(body, at)[0]
    reason = body[at + 8]
    server_key, at = read_text(body, at + 9)
    salt, at = read_text(body, at)
    node_id = _U64.unpack_from(body, at)[0] if version >= 4 else 0
    return Connack(reason, time_diff, node_id, server_version, server_key, salt)


def frame_of_connack(packet: Connack, version: int) -> bytes:
    """`packet.server_version` is written if it is not 0."""
    return _frame(
        PacketType.CONNACK,
        1 if packet.server_version else 0,
        bytes((packet.server_version,)) if packet.server_version else b"",
        _I64.pack(packet.time_diff),
        bytes((packet.reason,)),
        text_field(packet.server_key),
        text_field(packet.salt),
        _U64.pack(packet.node_id) if version >= 4 else b"",
    )


# ---- acknowledgements ----------------------------------------------------------------------------


def read_sendack(flags: int, body: bytes, version: int) -> Sendack:
    """The tail is read where it may stand; some servers leave it out."""
    layout = _SENDACK[version >= 6]
    message_id, client_seq, message_seq, reason = layout.unpack_from(body)
    client_msg_no = ""
    if version >= 6 and len(body) > layout.size:
        client_msg_no, _ = read_text(body, layout.size)
    return Sendack(message_id, client_seq, message_seq, reason, client_msg_no, flags)


def frame_of_sendack(packet: Sendack, version: int) -> bytes:
    """Versions 1 to 5 have a fixed size; version 6 ends with the client_msg_no."""
    if not has_wide_sequence(version, packet.message_seq):
        return _pack_sendack(
            _SENDACK_FIRST | packet.flags,
            _SENDACK_SIZE,
            packet.message_id,
            packet.client_seq,
            packet.message_seq,
            packet.reason,
        )
    fixed = _SENDACK[True].pack(
        packet.message_id, packet.client_seq, packet.message_seq, packet.reason
    )
    tail = text_field(packet.client_msg_no) if packet.client_msg_no else b""
    return _frame(PacketType.SENDACK, packet.flags, fixed, tail)


def read_recvack(flags: int, body: bytes, version: int) -> Recvack:
    """Two numbers."""
    unpack = _unpack_wide_recvack if version >= 6 else _unpack_recvack
    message_id, message_seq = unpack(body)
    return Recvack(message_id, message_seq, flags)


def frame_of_recvack(packet: Recvack, version: int) -> bytes:
    """Two numbers."""
    layout = _RECVACK[has_wide_sequence(version, packet.message_seq)]
    return _frame(
        PacketType.RECVACK, packet.flags, layout.pack(packet.message_id, packet.message_seq)
    )


# ---- the rest ------------------------------------------------------------------------------------


def read_ping(flags: int, body: bytes, version: int) -> Ping:
    """One byte, whose flags mean nothing."""
    return Ping()


def frame_of_ping(packet: Ping, version: int) -> bytes:
    """One byte, without a length."""
    return b"\x70"


def read_pong(flags: int, body: bytes, version: int) -> Pong:
    """One byte, whose flags mean nothing."""
    return Pong()


def frame_of_pong(packet: Pong, version: int) -> bytes:
    """One byte, without a length."""
    return b"\x80"


def read_disconnect(flags: int, body: bytes, version: int) -> Disconnect:
    """A reason and a sentence."""
    text, _ = read_text(body, 1)
    return Disconnect(body[0], text, flags)


def frame_of_disconnect(packet: Disconnect, version: int) -> bytes:
    """A reason and a sentence."""
    return _frame(
        PacketType.DISCONNECT, packet.flags, bytes((packet.reason,)), text_field(packet.text)
    )


def read_sub(flags: int, body: bytes, version: int) -> Sub:
    """Numbers and names."""
    sub_no, at = read_text(body, 1)
    channel_id, at = read_text(body, at)
    channel_type, action = body[at], body[at + 1]
    param, _ = read_text(body, at + 2)
    return Sub(sub_no, channel_id, channel_type, action, param, body[0], flags)


def frame_of_sub(packet: Sub, version: int) -> bytes:
    """Numbers and names."""
    return _frame(
        PacketType.SUB,
        packet.flags,
        bytes((packet.setting,)),
        text_field(packet.sub_no),
        text_field(packet.channel_id),
        bytes((packet.channel_type, packet.action)),
        text_field(packet.param),
    )


def read_suback(flags: int, body: bytes, version: int) -> Suback:
    """The SUB's names and a reason."""
    sub_no, at = read_text(body, 0)
    channel_id, at = read_text(body, at)
    return Suback(sub_no, channel_id, body[at], body[at + 1], body[at + 2], flags)


def frame_of_suback(packet: Suback, version: int) -> bytes:
    """The SUB's names and a reason."""
    return _frame(
        PacketType.SUBACK,
        packet.flags,
        text_field(packet.sub_no),
        text_field(packet.channel_id),
        bytes((packet.channel_type, packet.action, packet.reason)),
    )


def read_event(flags: int, body: bytes, version: int) -> Event:
    """Names, a time, and data up to the end of the frame."""
    event_id, at = read_text(body, 0)
    event_type, at = read_text(body, at)
    timestamp = _I64.unpack_from(body, at)[0]
    return Event(event_id, event_type, timestamp, body[at + 8 :], flags)


def frame_of_event(packet: Event, version: int) -> bytes:
    """Names, a time, and data up to the end of the frame."""
    return _frame(
        PacketType.EVENT,
        packet.flags,
        text_field(packet.event_id),
        text_field(packet.event_type),
        _I64.pack(packet.timestamp),
        packet.data,
    )
