"""Any messages survive the envelope, and no bytes whatever do worse than a FrameError."""

from __future__ import annotations

import types
import typing
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqim.bus.codes import MESSAGE_CODES
from zmqim.bus.envelope import HEADER, NO_NODE, PREFIX, Codec, FrameError, append, seal
from zmqim.bus.messages import Message
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


FRAMES = st.lists(MESSAGES, min_size=1, max_size=4)


def frame_of(
    messages: list[Message], to: NodeUuid = NO_NODE, life: int = 0, link: int = 0
) -> bytes:
    frame = bytearray(CODEC.header(to, Incarnation(life), link))
    for message in messages:
        append(frame, message)
    seal(frame)
    return bytes(frame)


def read(frame: bytes) -> list[Message]:
    return list(CODEC.decode(frame)[1])


@given(FRAMES, NODES, U64, U64)
def test_any_messages_come_out_as_they_went_in(
    messages: list[Message], to: NodeUuid, life: int, link: int
) -> None:
    header, decoded = CODEC.decode(memoryview(frame_of(messages, to, life, link)))
    assert list(decoded) == messages
    assert header == (b"n" * 16, 7, to, life, link)


@given(MESSAGES, NODES, U64, U64)
def test_one_message_is_no_special_case(
    message: Message, to: NodeUuid, life: int, link: int
) -> None:
    assert CODEC.encode(message, to, Incarnation(life), link) == frame_of([message], to, life, link)


@given(st.binary(max_size=300))
def test_random_bytes_are_a_frame_error(frame: bytes) -> None:
    with pytest.raises(FrameError):
        CODEC.decode(frame)


@given(FRAMES, st.data())
def test_a_frame_with_one_changed_bit_is_a_frame_error(messages: list[Message], data: Any) -> None:
    frame = bytearray(frame_of(messages))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FrameError):
        CODEC.decode(bytes(frame))


@given(FRAMES)
def test_a_frame_cut_anywhere_is_a_frame_error(messages: list[Message]) -> None:
    frame = frame_of(messages)
    for length in range(len(frame)):
        with pytest.raises(FrameError):
            CODEC.decode(frame[:length])


@given(FRAMES)
def test_messages_cut_anywhere_under_a_right_checksum_are_a_frame_error_or_fewer_messages(
    messages: list[Message],
) -> None:
    whole = frame_of(messages)[HEADER.size : -4]
    for length in range(len(whole)):
        found: list[Message] = []
        try:
            for message in CODEC.decode(sealed(whole[:length]))[1]:
                found.append(message)
            assert 0 < len(found) < len(messages)
        except FrameError:
            pass
        assert found == messages[: len(found)]


@given(FRAMES, st.data())
def test_a_message_that_lies_about_its_length_never_reaches_beyond_the_frame(
    messages: list[Message], data: Any
) -> None:
    whole = bytearray(frame_of(messages)[HEADER.size : -4])
    code, size = PREFIX.unpack_from(whole)
    lie = data.draw(st.integers(0, (1 << 32) - 1).filter(lambda number: number != size))
    PREFIX.pack_into(whole, 0, code, lie)
    try:
        read(sealed(bytes(whole)))
    except FrameError:
        return
    assert lie <= len(whole) - PREFIX.size


@given(st.sampled_from(sorted(MESSAGE_CODES.values())), st.binary(max_size=200))
def test_hostile_bodies_with_a_right_checksum_are_wire_errors_or_messages(
    code: int, body: bytes
) -> None:
    try:
        [message] = read(sealed(PREFIX.pack(code, len(body)) + body))
    except WireError:
        return
    assert MESSAGE_CODES[type(message)] == code


@given(st.binary(max_size=200))
def test_hostile_bytes_between_header_and_checksum_are_wire_errors_or_messages(
    whole: bytes,
) -> None:
    try:
        assert len(read(sealed(whole))) * (PREFIX.size + 1) <= len(whole)
    except WireError:
        return


@pytest.mark.parametrize("opener", [b"\x91", b"\x81", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff"])
def test_deeply_nested_or_boundless_bodies_are_wire_errors(opener: bytes) -> None:
    body = opener * 100_000
    for code in MESSAGE_CODES.values():
        with pytest.raises(FrameError):
            read(sealed(PREFIX.pack(code, len(body)) + body))


def sealed(messages: bytes) -> bytes:
    """A frame whose header and checksum are right, around any bytes."""
    whole = HEADER.pack(b"zmqi", 1, b"cluster-", b"x" * 16, 1, bytes(16), 0, 0) + messages
    return whole + crc32(whole).to_bytes(4, "big")
