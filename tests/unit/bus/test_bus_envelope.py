"""The frame's layout stands still, and each way to be wrong has its own name."""

from __future__ import annotations

from zlib import crc32

import pytest

from zmqim.bus.codes import MESSAGE_CODES, RETIRED_CODES
from zmqim.bus.envelope import (
    HEADER,
    NO_NODE,
    OVERHEAD_BYTES,
    PREFIX,
    TYPE_OFFSET,
    BadBody,
    BadChecksum,
    BadCluster,
    BadLength,
    BadMagic,
    BadType,
    BadVersion,
    Codec,
    FrameError,
    append,
    seal,
)
from zmqim.bus.messages import Message, Ping, PushPull, WhoAreYou
from zmqim.ids import ClusterId, Incarnation, NodeUuid

CODEC = Codec(ClusterId(b"0123456789abcdef"), NodeUuid(b"n" * 16), Incarnation(2))


def test_the_bytes_of_a_frame_are_pinned() -> None:
    frame = bytearray(CODEC.header(NodeUuid(b"t" * 16), Incarnation(3), 4))
    append(frame, Ping(True))
    append(frame, WhoAreYou())
    seal(frame)
    whole = (
        b"zmqi\x01" + b"01234567" + b"n" * 16 + bytes(7) + b"\x02"
        + b"t" * 16 + bytes(7) + b"\x03" + bytes(7) + b"\x04"
        + b"\x05" + b"\0\0\0\x02" + b"\x91\xc3"
        + b"\x04" + b"\0\0\0\x01" + b"\x90"
    )  # fmt: skip
    assert frame == whole + crc32(whole).to_bytes(4, "big")
    assert (HEADER.size, PREFIX.size, OVERHEAD_BYTES, TYPE_OFFSET) == (69, 5, 78, 69)
    assert frame[TYPE_OFFSET] == MESSAGE_CODES[Ping]


def message(code: int = 5, body: bytes = b"\x91\xc3", size: int | None = None) -> bytes:
    """A message as it stands in a frame; `size` is what it says of itself."""
    return PREFIX.pack(code, len(body) if size is None else size) + body


def sealed(*messages: bytes, magic: bytes = b"zmqi", version: int = 1,
           cluster: bytes = b"01234567") -> bytes:  # fmt: skip
    head = HEADER.pack(magic, version, cluster, b"x" * 16, 1, bytes(16), 0, 0)
    whole = head + b"".join(messages)
    return whole + crc32(whole).to_bytes(4, "big")


GOOD = message()


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"", BadLength),
        (sealed(), BadLength),
        (sealed(GOOD)[:77], BadLength),
        (sealed(GOOD, magic=b"HTTP"), BadMagic),
        (sealed(GOOD, version=2), BadVersion),
        (sealed(GOOD, cluster=b"________"), BadCluster),
        (sealed(GOOD)[:-1] + b"!", BadChecksum),
    ],
)
def test_each_fault_of_a_frame_has_its_kind(frame: bytes, kind: type[FrameError]) -> None:
    with pytest.raises(kind):
        CODEC.decode(frame)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (message(code=99), BadType),
        (message(code=0), BadType),
        (message(body=b""), BadBody),
        (message(body=b"\x91\x01"), BadBody),
        (message(body=b"\x91\xc3\xc3"), BadBody),
        (message(size=1), BadBody),
        (message(size=0), BadBody),
        (message(size=3), BadLength),
        (message(size=(1 << 32) - 1), BadLength),
        (GOOD[:-1], BadLength),
        (message(code=99, size=3), BadLength),
        (GOOD + b"\x05", BadLength),
        (GOOD + GOOD[:4], BadLength),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_bad_message_is_named_when_its_turn_comes_and_those_before_it_count(
    before: int, bad: bytes, kind: type[FrameError]
) -> None:
    _, messages = CODEC.decode(sealed(*[GOOD] * before, bad))
    for _ in range(before):
        assert next(messages) == Ping(True)
    with pytest.raises(kind):
        list(messages)


def test_what_stands_behind_a_bad_message_is_lost() -> None:
    _, messages = CODEC.decode(sealed(GOOD, message(body=b"\xc0"), GOOD))
    assert next(messages) == Ping(True)
    with pytest.raises(BadBody):
        next(messages)
    assert list(messages) == []


def test_kinds_are_counted_under_different_names() -> None:
    kinds = [one.kind for one in FrameError.__subclasses__()]
    assert len(set(kinds)) == len(kinds) == 7


def test_a_stranger_is_known_by_its_header() -> None:
    other = Codec(ClusterId(b"another cluster!"), NodeUuid(b"s" * 16), Incarnation(9))
    with pytest.raises(BadCluster) as caught:
        CODEC.decode(other.encode(Ping(False)))
    assert caught.value.header == (b"s" * 16, 9, NO_NODE, 0, 0)
    assert caught.value.cluster == b"another "
    assert caught.value.code == MESSAGE_CODES[Ping]


def test_fields_that_a_later_version_adds_at_the_end_are_skipped() -> None:
    longer: list[Message] = [Ping(True), PushPull(True, [])]
    bodies = (b"\x92\xc3\x01", b"\x93\xc3\x90\xa1x")
    parts = [
        message(MESSAGE_CODES[type(one)], body) for one, body in zip(longer, bodies, strict=True)
    ]
    assert list(CODEC.decode(sealed(*parts))[1]) == longer


def test_types_that_were_retired_are_not_taken_for_anything() -> None:
    assert {20, 21, 66, 67} == RETIRED_CODES
    for code in RETIRED_CODES:
        _, messages = CODEC.decode(sealed(message(code, b"\x90")))
        with pytest.raises(BadType):
            next(messages)
