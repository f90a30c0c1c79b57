"""SEND and RECV: the two packets whose payload is encrypted and whose fields are signed.

They carry every message, so this is where a gateway's processor time goes. `frame_of_recv` is the
shortest way for one receiver. A `SharedRecv` computes once what all receivers of a message share
(layout, texts, padding), which leaves two encryptions and a digest for each session.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from zmqim.errors import WireError
from zmqim.limits import PAYLOAD_BYTES_MAX
from zmqim.wkproto.bodies import has_wide_sequence
from zmqim.wkproto.crypto import (
    BLOCK_BYTES,
    MSG_KEY_BYTES,
    SessionCipher,
    UndecryptablePayload,
    padding_of,
)
from zmqim.wkproto.framing import frame_head, octets_field, read_octets, read_text, text_field
from zmqim.wkproto.packets import BadSend, PacketType, Recv, Send, Setting

MSG_KEY_ERROR: Final = 8
PAYLOAD_DECODE_ERROR: Final = 9
WIRE_PAYLOAD_BYTES_MAX: Final = ((PAYLOAD_BYTES_MAX // BLOCK_BYTES + 1) * BLOCK_BYTES + 2) // 3 * 4
"""The largest payload, encrypted. Above: refused with reason 9 before any work is spent on it."""

_STREAM: Final = int(Setting.STREAM)
_EITHER_STREAM: Final = int(Setting.STREAM | Setting.OLD_STREAM)
_TOPIC: Final = int(Setting.TOPIC)
_NO_ENCRYPT: Final = int(Setting.NO_ENCRYPT)
_KEPT_IN_RECV: Final = 0xFF & ~int(Setting.STREAM | Setting.OLD_STREAM | Setting.NO_ENCRYPT)
"""Clients read other layouts behind the first two; the third would be untrue. From version 5 on
STREAM stands alone: it says that events will follow."""
_SEND_HEAD: Final = Struct(">BI")
_EXPIRE: Final = Struct(">I")
_pack_type_and_expire: Final = Struct(">BI").pack
_pack_setting_and_size: Final = Struct(">BH").pack
_RECV_IDS: Final = {False: Struct(">qII"), True: Struct(">qQI")}
"""Message id, sequence, seconds; by whether the sequence has 8 bytes."""
_pack_recv_ids: Final = _RECV_IDS[False].pack
_pack_wide_recv_ids: Final = _RECV_IDS[True].pack
_SEND_FIRST: Final = PacketType.SEND << 4
_RECV_FIRST: Final = PacketType.RECV << 4
"""Plain numbers: an enumeration's member costs a look-up for each frame."""
_STREAM_ID_SIZE: Final = 8
_read_send_head: Final = _SEND_HEAD.unpack_from
_read_expire: Final = _EXPIRE.unpack_from


def _has_stream_fields(setting: int, version: int) -> bool:
    return bool(setting & _STREAM) and 2 <= version < 5


def _has_stream_number(setting: int, version: int) -> bool:
    """In a SEND early SDKs (wukongimjssdk 1.0.4) write the stream's number at the same place."""
    return bool(setting & _EITHER_STREAM) and 2 <= version < 5


# ---- SEND ----------------------------------------------------------------------------------------


def read_send(flags: int, body: bytes, version: int, cipher: SessionCipher) -> Send | BadSend:
    """The message in clear; a `BadSend` if its signature or encryption is wrong.

    With Setting.NO_ENCRYPT and no msgKey it came in clear. Clients that only know that bit as
    something to pass on sign all the same, and are checked.
    """
    setting, client_seq = _read_send_head(body)
    client_msg_no, at = read_octets(body, 5)
    stream_no = topic = ""
    if _has_stream_number(setting, version):
        stream_no, at = read_text(body, at)
    channel_id, at = read_octets(body, at)
    channel_type = body[at]
    at += 1
    expire = 0
    if version >= 3:
        expire = _read_expire(body, at)[0]
        at += 4
    msg_key, at = read_octets(body, at)
    if setting & _TOPIC:
        topic, at = read_text(body, at)
    payload = body[at:]
    number = client_msg_no.decode()
    if msg_key or not setting & _NO_ENCRYPT:
        if len(payload) > WIRE_PAYLOAD_BYTES_MAX:
            return BadSend(client_seq, number, PAYLOAD_DECODE_ERROR, flags)
        signed = b"%d%b%b%d%b" % (client_seq, client_msg_no, channel_id, channel_type, payload)
        if not cipher.verifies(msg_key, signed):
            return BadSend(client_seq, number, MSG_KEY_ERROR, flags)
        try:
            payload = cipher.decrypt(payload)
        except UndecryptablePayload:
            return BadSend(client_seq, number, PAYLOAD_DECODE_ERROR, flags)
    return Send(
        client_seq,
        number,
        channel_id.decode(),
        channel_type,
        payload,
        setting,
        flags,
        expire,
        topic,
        stream_no,
    )


def frame_of_send(packet: Send, version: int, cipher: SessionCipher) -> bytes:
    """Encrypted and signed, unless Setting.NO_ENCRYPT asks for neither."""
    setting, payload = packet.setting, packet.payload
    number, channel_id = packet.client_msg_no.encode(), packet.channel_id.encode()
    msg_key = b""
    if not setting & _NO_ENCRYPT:
        payload = cipher.encrypt(payload)
        fields = (packet.client_seq, number, channel_id, packet.channel_type, payload)
        msg_key = cipher.msg_key(b"%d%b%b%d%b" % fields)
    body = b"".join(
        (
            _SEND_HEAD.pack(setting, packet.client_seq),
            octets_field(number),
            text_field(packet.stream_no) if _has_stream_number(setting, version) else b"",
            octets_field(channel_id),
            bytes((packet.channel_type,)),
            _EXPIRE.pack(packet.expire) if version >= 3 else b"",
            octets_field(msg_key),
            text_field(packet.topic) if setting & _TOPIC else b"",
            payload,
        )
    )
    return frame_head(_SEND_FIRST | packet.flags, len(body)) + body


# ---- RECV ----------------------------------------------------------------------------------------


def frame_of_recv(packet: Recv, version: int, cipher: SessionCipher) -> bytes:
    """The frame for one session: encrypted and signed."""
    payload = cipher.encrypt(packet.payload)
    head, middle = _layout_of_recv(packet, version, len(payload))
    msg_key = cipher.msg_key(_signed_of_recv(packet) + payload)
    return b"".join((head, msg_key, middle, payload))


def _signed_of_recv(packet: Recv) -> bytes:
    """What the msgKey signs, before the encrypted payload."""
    return (
        f"{packet.message_id}{packet.message_seq}{packet.client_msg_no}{packet.timestamp}"
        f"{packet.from_uid}{packet.channel_id}{packet.channel_type}"
    ).encode()


def _layout_of_recv(packet: Recv, version: int, wire_size: int) -> tuple[bytes, bytes]:
    """What stands before and behind the msgKey, up to a payload of `wire_size` bytes."""
    setting = packet.setting & (_KEPT_IN_RECV | _STREAM if version >= 5 else _KEPT_IN_RECV)
    is_wide = has_wide_sequence(version, packet.message_seq)
    pack_ids = _pack_wide_recv_ids if is_wide else _pack_recv_ids
    channel_type = packet.channel_type
    middle = b"".join(
        (
            octets_field(packet.from_uid.encode()),
            octets_field(packet.channel_id.encode()),
            _pack_type_and_expire(channel_type, packet.expire)
            if version >= 3
            else bytes((channel_type,)),
            octets_field(packet.client_msg_no.encode()),
            pack_ids(packet.message_id, packet.message_seq, packet.timestamp),
            text_field(packet.topic) if setting & _TOPIC else b"",
        )
    )
    size = 3 + MSG_KEY_BYTES + len(middle) + wire_size
    head = frame_head(_RECV_FIRST | packet.flags, size)
    return head + _pack_setting_and_size(setting, MSG_KEY_BYTES), middle


class SharedRecv:
    """A `Recv` for many sessions: `sealed` does only what differs from one to the next."""

    __slots__ = ("_layouts", "_packet", "_padded", "_padding", "_to_sign", "_wire_size")

    def __init__(self, packet: Recv) -> None:
        payload = packet.payload
        self._packet = packet
        self._padded = payload + padding_of(len(payload))
        self._wire_size = (len(self._padded) + 2) // 3 * 4
        self._to_sign = _signed_of_recv(packet)
        self._padding = padding_of(len(self._to_sign) + self._wire_size)
        self._layouts: dict[int, tuple[bytes, bytes]] = {}

    def sealed(self, version: int, cipher: SessionCipher) -> bytes:
        """The frame for the session with this version and cipher."""
        layout = self._layouts.get(version)
        if layout is None:
            layout = _layout_of_recv(self._packet, version, self._wire_size)
            self._layouts[version] = layout
        head, middle = layout
        payload = cipher.encrypt_padded(self._padded)
        msg_key = cipher.msg_key_padded(self._to_sign + payload + self._padding)
        return b"".join((head, msg_key, middle, payload))


def read_recv(flags: int, body: bytes, version: int, cipher: SessionCipher) -> Recv:
    """The message in clear; `WireError` if its signature or encryption is wrong."""
    setting = body[0]
    msg_key, at = read_octets(body, 1)
    from_uid, at = read_octets(body, at)
    channel_id, at = read_octets(body, at)
    channel_type = body[at]
    at += 1
    expire = 0
    if version >= 3:
        expire = _read_expire(body, at)[0]
        at += 4
    client_msg_no, at = read_octets(body, at)
    if _has_stream_fields(setting, version):
        _, at = read_octets(body, at + 1)
        at += _STREAM_ID_SIZE
    ids = _RECV_IDS[version >= 6]
    message_id, message_seq, timestamp = ids.unpack_from(body, at)
    at += ids.size
    topic = ""
    if setting & _TOPIC:
        topic, at = read_text(body, at)
    payload = body[at:]
    if msg_key or not setting & _NO_ENCRYPT:
        text = b"%d%d%b%d%b%b%d" % (
            message_id,
            message_seq,
            client_msg_no,
            timestamp,
            from_uid,
            channel_id,
            channel_type,
        )
        if not cipher.verifies(msg_key, text + payload):
            raise WireError(f"the msgKey of message {message_id} is wrong")
        try:
            payload = cipher.decrypt(payload)
        except UndecryptablePayload as error:
            raise WireError(f"message {message_id} cannot be decrypted: {error}") from None
    return Recv(
        message_id,
        message_seq,
        timestamp,
        from_uid.decode(),
        channel_id.decode(),
        channel_type,
        client_msg_no.decode(),
        payload,
        setting,
        flags,
        expire,
        topic,
    )
