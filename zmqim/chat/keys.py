"""Keys of the rows of one partition (STORAGE.md 5.2), and the bodies that are plain structs.

Every key is ``partition u16 | install u32 | tag | ...`` in big-endian, so that ranges sort:

    A                        applied: index, term, clock, last message id, counters
    K                        configuration of the group, and the index that brought it
    C chan16                 head of a channel, or of a person's lists
    M chan16 seq8            message
    D chan16 len4 uid number sequence of the message that `uid` sent under that client_msg_no
    U chan16 uid             member, or the tombstone of one
    B chan16 uid             deny list; W chan16 uid: allow list; same body as U
    S uid                    a person's bans
    T len4 uid flag4         login token
    R request id             first result of an operation with a request id
    Q hlc8 request id        the same, by age
    V index8                 a notice that is not a message's, until it was acknowledged
    X number8                outbox
    N len4 uid chan16        a person in a channel: member, cursors
    J uid                    commands that a person was shown and has not acknowledged
    E s chan16 seq8          stream of a message (seq8: the message's sequence)
    E e chan16 seq8 number8  event of a stream
    E i chan16 seq8 hash16   number of the event with that event id (xxh3_128)
    E t chan16 seq8 key      snapshot of the lane `key`
    E o chan16 seq8          a stream with an open lane
    E n chan16 len4 client_msg_no uid  sequence of a message with a stream, by its sender
    Y chan16 uid             last sequence of a sender whom the head names no longer
    Z name                   a follower of the log, and how far it is

`chan16` is xxh3_128 over type and id of a channel and whether it is the command channel of that
name, so no id that a client chooses is another's command channel. Hashes may collide: whoever
looks one up compares the full name in the row and goes on to the next number if it differs
(`probes`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from xxhash import xxh3_128_digest

_PREFIX: Final = struct.Struct(">HI")
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_DIGEST_END: Final = 1 << 128
_UID_END: Final = b"\xff"
"""Above every UTF-8 byte."""

PREFIX_BYTES: Final = _PREFIX.size
CHAN_BYTES: Final = 16
MEMBER_TAG: Final = b"U"
DENY_TAG: Final = b"B"
ALLOW_TAG: Final = b"W"


def install_of(key: bytes) -> int:
    """The install number in the key of a row."""
    return int(_PREFIX.unpack_from(key)[1])


def channel_digest(channel_type: int, channel_id: str, command: bool) -> bytes:
    """First candidate for the `chan16` of a channel."""
    return xxh3_128_digest(b"%d:%d:" % (channel_type, command) + channel_id.encode())


def probes(digest: bytes) -> Iterator[bytes]:
    """`digest`, then the numbers after it: where a name may stand whose hash collides."""
    number = int.from_bytes(digest, "big")
    while True:
        yield number.to_bytes(16, "big")
        number = (number + 1) % _DIGEST_END


class Keys:
    """Makes the keys of one partition under one install number."""

    def __init__(self, partition: int, install: int) -> None:
        self.prefix = _PREFIX.pack(partition, install)
        self.applied = self.prefix + b"A"
        self.config = self.prefix + b"K"
        self.head_tag = self.prefix + b"C"
        self.message_tag = self.prefix + b"M"
        self.duplicate_tag = self.prefix + b"D"

    @property
    def stop(self) -> bytes:
        """Behind all keys of this partition and install number."""
        return (int.from_bytes(self.prefix, "big") + 1).to_bytes(PREFIX_BYTES, "big")

    def messages(self, chan16: bytes, first: int, last: int) -> tuple[bytes, bytes]:
        """Range of the messages `first` to `last`, both included."""
        start = self.message_tag + chan16
        return start + _U64.pack(first), start + _U64.pack(last + 1)

    def firsts(self, chan16: bytes, behind: str | None) -> tuple[bytes, bytes]:
        """Range of the rows that know messages again: all, or those that stand behind the ones of
        the sender `behind`."""
        start = self.duplicate_tag + chan16
        stop = start + b"\xff" * 4
        if behind is None:
            return start, stop
        name = behind.encode()
        return start + _U32.pack(len(name)) + name + b"\xff", stop

    def sender_of_first(self, key: bytes) -> str:
        """The sender in the key of such a row."""
        start = len(self.duplicate_tag) + 20
        (length,) = _U32.unpack_from(key, start - 4)
        return key[start : start + length].decode()

    def member(self, tag: bytes, chan16: bytes, uid: str) -> bytes:
        """Row of `uid` in the set `tag` of a channel."""
        return self.prefix + tag + chan16 + uid.encode()

    def members_after(self, tag: bytes, chan16: bytes, uid: str) -> tuple[bytes, bytes]:
        """Range of the rows after `uid` ("": all) in the set `tag` of a channel."""
        start = self.prefix + tag + chan16
        return (start + uid.encode() + b"\0" if uid else start), start + _UID_END

    def uid_of_member(self, key: bytes) -> str:
        """The uid in the key of a member's row."""
        return key[len(self.prefix) + 17 :].decode()

    def user(self, uid: str) -> bytes:
        """A person's bans."""
        return self.prefix + b"S" + uid.encode()

    def token(self, uid: str, device_flag: int) -> bytes:
        """A login token."""
        name = uid.encode()
        return self.prefix + b"T" + _U32.pack(len(name)) + name + _U32.pack(device_flag)

    def tokens(self, uid: str) -> tuple[bytes, bytes]:
        """Range of all login tokens of `uid`."""
        name = uid.encode()
        start = self.prefix + b"T" + _U32.pack(len(name)) + name
        return start, start + b"\xff" * 5

    def request(self, request_id: bytes) -> bytes:
        """First result of a request."""
        return self.prefix + b"R" + request_id

    def request_age(self, hlc: int, request_id: bytes) -> bytes:
        """The request among all, oldest first."""
        return self.prefix + b"Q" + _U64.pack(hlc) + request_id

    def requests_before(self, hlc: int) -> tuple[bytes, bytes]:
        """Range of the requests older than `hlc`."""
        return self.prefix + b"Q", self.prefix + b"Q" + _U64.pack(hlc)

    def request_of_age(self, key: bytes) -> bytes:
        """The request id in a key of `request_age`."""
        return key[len(self.prefix) + 9 :]

    def conversation(self, uid: str, chan16: bytes) -> bytes:
        """A person in a channel."""
        return self._conversations_of(uid) + chan16

    def conversations(self, uid: str, after: bytes) -> tuple[bytes, bytes]:
        """Range of the rows of `uid` behind the place `after` (b"": all)."""
        start = self._conversations_of(uid)
        return (start + after + b"\0" if after else start), start + b"\xff" * (CHAN_BYTES + 1)

    def place_of_conversation(self, key: bytes) -> bytes:
        """The place of a row among those of its person, for `conversations`."""
        return key[-CHAN_BYTES:]

    def _conversations_of(self, uid: str) -> bytes:
        name = uid.encode()
        return self.prefix + b"N" + _U32.pack(len(name)) + name

    def pending(self, uid: str) -> bytes:
        """Commands that a person was shown."""
        return self.prefix + b"J" + uid.encode()

    def sender(self, chan16: bytes, uid: str) -> bytes:
        """Last sequence that `uid` sent into a channel."""
        return self.prefix + b"Y" + chan16 + uid.encode()

    def stream(self, place: bytes) -> bytes:
        """Stream of the message at `place`: chan16 and sequence, of 8 bytes."""
        return self.prefix + b"Es" + place

    def streams(self, chan16: bytes, first: int, last: int) -> tuple[bytes, bytes]:
        """Range of the streams of the messages `first` to `last`, both included."""
        start = self.prefix + b"Es" + chan16
        return start + _U64.pack(first), start + _U64.pack(last + 1)

    def event(self, place: bytes, number: int) -> bytes:
        """An event of a stream."""
        return self.prefix + b"Ee" + place + _U64.pack(number)

    def event_by_id(self, place: bytes, event_id: str) -> bytes:
        """Number and digest of the event that came under that id."""
        return self.prefix + b"Ei" + place + xxh3_128_digest(event_id.encode())

    def lane_snapshot(self, place: bytes, event_key: str) -> bytes:
        """What the events of a lane come to."""
        return self.prefix + b"Et" + place + event_key.encode()

    def open_stream(self, place: bytes) -> bytes:
        """Exists while a lane of the stream is open."""
        return self.prefix + b"Eo" + place

    def open_streams(self, chan16: bytes) -> tuple[bytes, bytes]:
        """Range of the open streams of a channel."""
        start = self.prefix + b"Eo" + chan16
        return start, start + b"\xff" * (_U64.size + 1)

    def place_of_stream(self, key: bytes) -> bytes:
        """The place in a key of `stream` or `open_stream`."""
        return key[len(self.prefix) + 2 :]

    def named_stream(self, chan16: bytes, client_msg_no: str, uid: str) -> bytes:
        """Sequence of the message with a stream that `uid` sent under that number."""
        return self._streams_named(chan16, client_msg_no) + uid.encode()

    def named_streams(self, chan16: bytes, client_msg_no: str) -> tuple[bytes, bytes]:
        """Range of the rows `named_stream` of all senders."""
        start = self._streams_named(chan16, client_msg_no)
        return start, start + _UID_END

    def _streams_named(self, chan16: bytes, client_msg_no: str) -> bytes:
        name = client_msg_no.encode()
        return self.prefix + b"En" + chan16 + _U32.pack(len(name)) + name

    def notice(self, index: int) -> bytes:
        """A notice by the log index that made it."""
        return self.prefix + b"V" + _U64.pack(index)

    def outbox(self, number: int) -> bytes:
        """An outbox row by its number."""
        return self.prefix + b"X" + _U64.pack(number)

    def follower(self, name: str) -> bytes:
        """How far a follower is."""
        return self.prefix + b"Z" + name.encode()

    def followers(self) -> tuple[bytes, bytes]:
        """Range of all followers."""
        return self.prefix + b"Z", self.prefix + b"Z\xff"

    def follower_of(self, key: bytes) -> str:
        """The name in the key of a follower's row."""
        return key[len(self.prefix) + 1 :].decode()

    def number_of(self, key: bytes) -> int:
        """The number at the end of an outbox or notice key."""
        (number,) = _U64.unpack_from(key, len(self.prefix) + 1)
        return int(number)
