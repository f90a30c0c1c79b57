"""Any message survives the envelope, and no bytes whatever do worse than a FrameError."""

from __future__ import annotations

import types
import typing
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqim.bus.envelope import HEADER, NO_NODE, Codec, FrameError
from zmqim.bus.messages import MESSAGE_CODES, Message
from zmqim.errors import WireError
from zmqim.ids import ClusterId, Incarnation, NodeUuid

CODEC = Codec(ClusterId(b"cluster-of-tests"), NodeUuid(b"n" * 16), Incarnation(7))


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    if kind is int:
        return st.integers(0, (1 << 64) - 1)
    if kind is bool:
        return st.booleans()
    if kind is str:
        return st.text(max_size=20)
    if kind is bytes:
        return st.binary(max_size=40)
    if kind is type(None):
        return st.none()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = typing.get_type_hints(kind)
        return st.builds(kind, *[values_of(field) for field in fields.values()])
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if origin is tuple:
        return st.tuples(*[values_of(one) for one in arguments])
    if origin is dict:
        return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=3)
    assert origin in (typing.Union, types.UnionType), kind
    return st.one_of(*[values_of(one) for one in arguments])


MESSAGES: st.SearchStrategy[Message] = st.sampled_from(
    sorted(MESSAGE_CODES, key=MESSAGE_CODES.__getitem__)
).flatmap(values_of)
NODES = st.binary(min_size=16, max_size=16).map(NodeUuid)
U64 = st.integers(0, (1 << 64) - 1)


@given(MESSAGES, NODES, U64, U64, st.integers(0, (1 << 32) - 1))
def test_any_message_comes_out_as_it_went_in(
    message: Message, to: NodeUuid, life: int, link: int, deadline: int
) -> None:
    frame = CODEC.encode(message, to, Incarnation(life), link, deadline)
    header, decoded = CODEC.decode(memoryview(frame))
    assert decoded == message
    assert header == (b"n" * 16, 7, to, life, MESSAGE_CODES[type(message)], link, deadline)


@given(st.binary(max_size=300))
def test_random_bytes_are_a_frame_error(frame: bytes) -> None:
    with pytest.raises(FrameError):
        CODEC.decode(frame)


@given(MESSAGES, st.data())
def test_a_frame_with_one_changed_bit_is_a_frame_error(message: Message, data: Any) -> None:
    frame = bytearray(CODEC.encode(message, NO_NODE))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FrameError):
        CODEC.decode(bytes(frame))


@given(MESSAGES)
def test_a_frame_cut_anywhere_is_a_frame_error(message: Message) -> None:
    frame = CODEC.encode(message, NO_NODE)
    for length in range(len(frame)):
        with pytest.raises(FrameError):
            CODEC.decode(frame[:length])


@given(st.sampled_from(sorted(MESSAGE_CODES.values())), st.binary(max_size=200))
def test_hostile_bodies_with_a_right_checksum_are_wire_errors_or_messages(
    code: int, body: bytes
) -> None:
    frame = sealed(code, body)
    try:
        _, message = CODEC.decode(frame)
    except WireError:
        return
    assert MESSAGE_CODES[type(message)] == code


@pytest.mark.parametrize("opener", [b"\x91", b"\x81", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff"])
def test_deeply_nested_or_boundless_bodies_are_wire_errors(opener: bytes) -> None:
    for code in MESSAGE_CODES.values():
        with pytest.raises(FrameError):
            CODEC.decode(sealed(code, opener * 100_000))


def sealed(code: int, body: bytes) -> bytes:
    """A frame whose header and checksum are right, around any body."""
    header = HEADER.pack(b"zmqi", 1, b"cluster-", b"x" * 16, 1, bytes(16), 0, code, 0, 0)
    return header + body + crc32(header + body).to_bytes(4, "big")
