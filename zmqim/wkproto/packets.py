"""The packets of the client protocol as values: what bytes become, and what is made into bytes.

The gateway's core and the Python SDK speak in these; `zmqim.wkproto.codec` alone knows their
layout in each protocol version (WuKongIM v2.2). Everything that belongs to a connection and not
to a packet stays in the codec: the version, the keys, signatures and encryption. So the payload of
a `Send` is already plain, and a `Recv` holds the plain payload for whichever session encodes it.
The four that each message costs stand in `zmqim.wkproto.frequent`.

`flags` is the low nibble of the header byte (`zmqim.chat.codes.MessageFlag`).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import msgspec

from zmqim.wkproto.frequent import Recv as Recv
from zmqim.wkproto.frequent import Recvack as Recvack
from zmqim.wkproto.frequent import Send as Send
from zmqim.wkproto.frequent import Sendack as Sendack


class PacketType(IntEnum):
    """The high nibble of the header byte."""

    CONNECT = 1
    CONNACK = 2
    SEND = 3
    SENDACK = 4
    RECV = 5
    RECVACK = 6
    PING = 7
    PONG = 8
    DISCONNECT = 9
    SUB = 10
    SUBACK = 11
    EVENT = 12


class Setting(IntFlag):
    """The setting byte of SEND and RECV (WuKongIM v2.2)."""

    STREAM = 0x02
    OLD_STREAM = 0x04
    """The stream bit of early SDKs, with another layout behind it: never set in a RECV."""
    TOPIC = 0x08
    NO_ENCRYPT = 0x10
    SIGNAL = 0x20
    RECEIPT = 0x80


class _Packet(msgspec.Struct, frozen=True, gc=False):
    """Common shape of the others: an immutable value that the garbage collector need not see."""


class Connect(_Packet, frozen=True):
    """C→S, must be first. `version` is what the client asked for; the codec clamps it."""

    version: int
    device_flag: int
    device_id: str
    uid: str
    token: str
    client_timestamp: int
    """Milliseconds since 1970 on the client's clock."""
    client_key: str
    """Base64 of the X25519 public key."""
    key_usable: bool = True
    """False: no key can be agreed with `client_key`; the answer is CONNACK 21."""
    flags: int = 0


class Connack(_Packet, frozen=True):
    """S→C. A server leaves the last three fields alone: its codec fills them on success."""

    reason: int
    time_diff: int = 0
    """Server clock minus `Connect.client_timestamp`, in milliseconds."""
    node_id: int = 0
    server_version: int = 0
    """0: not given (clients up to version 3)."""
    server_key: str = ""
    salt: str = ""


class BadSend(_Packet, frozen=True):
    """A SEND whose signature (`reason` 8) or encryption (9) is wrong: for a SENDACK with `reason`.

    It has no layout of its own: the server's codec returns it in place of a `Send`.
    """

    client_seq: int
    client_msg_no: str
    reason: int
    flags: int = 0


class Ping(_Packet, frozen=True):
    """C→S: one byte."""


class Pong(_Packet, frozen=True):
    """S→C: one byte."""


class Disconnect(_Packet, frozen=True):
    """S→C before a final close; a client may send it too."""

    reason: int
    text: str = ""
    flags: int = 0


class Sub(_Packet, frozen=True):
    """C→S: `action` 0 subscribes, 1 unsubscribes."""

    sub_no: str
    channel_id: str
    channel_type: int
    action: int
    param: str = ""
    setting: int = 0
    flags: int = 0


class Suback(_Packet, frozen=True):
    """S→C: the answer to a SUB."""

    sub_no: str
    channel_id: str
    channel_type: int
    action: int
    reason: int
    flags: int = 0


class Event(_Packet, frozen=True):
    """S→C: not encrypted; `data` is JSON text."""

    event_id: str
    event_type: str
    timestamp: int
    """Milliseconds since 1970."""
    data: bytes
    flags: int = 0


FromClient = Connect | Send | BadSend | Recvack | Ping | Disconnect | Sub
"""What a server's codec returns."""
FromServer = Connack | Sendack | Recv | Pong | Disconnect | Suback | Event
"""What a client's codec returns."""
Packet = FromClient | FromServer
