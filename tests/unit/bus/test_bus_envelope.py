"""The frame's layout stands still, and each way to be wrong has its own name."""

from __future__ import annotations

from zlib import crc32

import pytest

from zmqim.bus.envelope import (
    HEADER,
    OVERHEAD_BYTES,
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
)
from zmqim.bus.messages import MESSAGE_CODES, Message, Ping, PushPull
from zmqim.ids import ClusterId, Incarnation, NodeUuid

CODEC = Codec(ClusterId(b"0123456789abcdef"), NodeUuid(b"n" * 16), Incarnation(2))


def test_the_bytes_of_a_frame_are_pinned() -> None:
    frame = CODEC.encode(Ping(True), NodeUuid(b"t" * 16), Incarnation(3), 4, 5)
    head = (
        b"zmqi\x01" + b"01234567" + b"n" * 16 + bytes(7) + b"\x02"
        + b"t" * 16 + bytes(7) + b"\x03" + b"\x05" + bytes(7) + b"\x04" + bytes(3) + b"\x05"
    )  # fmt: skip
    assert frame == head + b"\x91\xc3" + crc32(head + b"\x91\xc3").to_bytes(4, "big")
    assert (HEADER.size, OVERHEAD_BYTES, TYPE_OFFSET) == (74, 78, 61)
    assert frame[TYPE_OFFSET] == MESSAGE_CODES[Ping]


def sealed(magic: bytes = b"zmqi", version: int = 1, code: int = 5, body: bytes = b"\x91\xc3",
           cluster: bytes = b"01234567") -> bytes:  # fmt: skip
    head = HEADER.pack(magic, version, cluster, b"x" * 16, 1, bytes(16), 0, code, 0, 0)
    return head + body + crc32(head + body).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"", BadLength),
        (sealed()[:77], BadLength),
        (sealed(magic=b"HTTP"), BadMagic),
        (sealed(version=2), BadVersion),
        (sealed(cluster=b"________"), BadCluster),
        (sealed()[:-1] + b"!", BadChecksum),
        (sealed(code=99), BadType),
        (sealed(body=b""), BadBody),
        (sealed(body=b"\x91\x01"), BadBody),
        (sealed(body=b"\x91\xc3\xc3"), BadBody),
    ],
)
def test_each_fault_has_its_kind(frame: bytes, kind: type[FrameError]) -> None:
    with pytest.raises(kind):
        CODEC.decode(frame)


def test_kinds_are_counted_under_different_names() -> None:
    kinds = [one.kind for one in FrameError.__subclasses__()]
    assert len(set(kinds)) == len(kinds) == 7


def test_a_stranger_is_known_by_its_header() -> None:
    other = Codec(ClusterId(b"another cluster!"), NodeUuid(b"s" * 16), Incarnation(9))
    with pytest.raises(BadCluster) as caught:
        CODEC.decode(other.encode(Ping(False)))
    assert caught.value.header[:2] == (b"s" * 16, 9)
    assert caught.value.cluster == b"another "


def test_fields_that_a_later_version_adds_at_the_end_are_skipped() -> None:
    longer: list[Message] = [Ping(True), PushPull(True, [])]
    for message, body in zip(longer, (b"\x92\xc3\x01", b"\x93\xc3\x90\xa1x"), strict=True):
        assert CODEC.decode(sealed(code=MESSAGE_CODES[type(message)], body=body))[1] == message
