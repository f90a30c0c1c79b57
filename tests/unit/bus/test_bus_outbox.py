"""What waits for a link: every bound holds exactly, and frames carry all that was accepted."""

from __future__ import annotations

import pytest

from zmqim.bus.envelope import OVERHEAD_BYTES, Codec
from zmqim.bus.messages import DeliverAck, Item, Message, PresenceDiffers, Submit
from zmqim.bus.outbox import Outbox
from zmqim.ids import ClusterId, Incarnation, NodeUuid
from zmqim.limits import (
    BATCH_BYTES_MAX,
    BUS_FRAME_BYTES_MAX,
    MB,
    PEER_QUEUE_BYTES_MAX,
    PEER_QUEUE_MESSAGES_MAX,
)

CODEC = Codec(ClusterId(b"0123456789abcdef"), NodeUuid(b"n" * 16), Incarnation(2))
HEADER = CODEC.header(NodeUuid(b"t" * 16), Incarnation(3), 4)


def outbox() -> Outbox:
    return Outbox(HEADER, b"")


def taken_from(box: Outbox) -> list[list[Message]]:
    """The messages of each frame, as ZeroMQ takes them all."""
    found = []
    while box.messages:
        frame = box.next_frame()
        assert box.next_frame() is frame
        found.append(list(CODEC.decode(frame)[1]))
        box.taken()
    assert box.bytes == 0
    return found


def sized(frame_bytes: int, number: int = 0) -> Submit:
    """A message whose frame, when it travels alone, has so many bytes."""
    body = frame_bytes - OVERHEAD_BYTES - 64
    while True:
        message = Submit([Item(number, b"", 0, bytes(body))])
        rest = frame_bytes - len(CODEC.encode(message))
        if rest == 0:
            return message
        body += rest


def test_what_a_turn_says_is_one_frame() -> None:
    box = outbox()
    said: list[Message] = [DeliverAck(1), PresenceDiffers([3]), DeliverAck(2)]
    for message in said:
        assert box.put(message) == ""
    assert box.messages == 3
    assert taken_from(box) == [said]
    assert box.put(said[0]) == ""
    assert taken_from(box) == [said[:1]]


def test_a_frame_that_was_not_taken_stays_as_it_is_and_later_messages_follow_it() -> None:
    box = outbox()
    box.put(DeliverAck(1))
    first = bytes(box.next_frame())
    box.put(DeliverAck(2))
    box.put(DeliverAck(3))
    assert box.next_frame() == first
    assert taken_from(box) == [[DeliverAck(1)], [DeliverAck(2), DeliverAck(3)]]


def test_frames_of_several_messages_have_at_most_batch_bytes_and_fill_them() -> None:
    box = outbox()
    half = BATCH_BYTES_MAX // 2
    one = sized(half, 1)
    other = sized(BATCH_BYTES_MAX - half + OVERHEAD_BYTES - 5, 2)
    box.put(one)
    box.put(other)
    assert len(box.next_frame()) == BATCH_BYTES_MAX
    assert taken_from(box) == [[one, other]]
    larger = sized(BATCH_BYTES_MAX - half + OVERHEAD_BYTES - 4, 2)
    box.put(one)
    box.put(larger)
    box.put(DeliverAck(1))
    assert taken_from(box) == [[one], [larger, DeliverAck(1)]]


def test_a_message_above_batch_bytes_travels_alone_up_to_the_largest_frame() -> None:
    box = outbox()
    small, large = DeliverAck(1), sized(BUS_FRAME_BYTES_MAX)
    for message in (small, large, small, large, large):
        assert box.put(message) == ""
    assert taken_from(box) == [[small], [large], [small], [large], [large]]


def test_a_message_above_the_largest_frame_is_refused_and_leaves_no_trace() -> None:
    box = outbox()
    assert box.put(DeliverAck(1)) == ""
    assert box.put(sized(BUS_FRAME_BYTES_MAX + 1)) == "sends_too_large"
    assert box.put(DeliverAck(2)) == ""
    assert taken_from(box) == [[DeliverAck(1), DeliverAck(2)]]


def test_the_queue_holds_so_many_messages_and_no_more() -> None:
    box = outbox()
    for number in range(PEER_QUEUE_MESSAGES_MAX):
        assert box.put(DeliverAck(number)) == ""
    assert box.put(DeliverAck(0)) == "sends_queue_full"
    assert box.messages == PEER_QUEUE_MESSAGES_MAX
    [found] = taken_from(box)
    assert found == [DeliverAck(number) for number in range(PEER_QUEUE_MESSAGES_MAX)]


@pytest.mark.parametrize("size", [2 * MB, 7 * MB])
def test_the_queue_holds_so_many_bytes_and_no_more(size: int) -> None:
    box = outbox()
    message = sized(size)
    room = PEER_QUEUE_BYTES_MAX
    own = size - OVERHEAD_BYTES + 5
    while room >= own:
        assert box.put(message) == ""
        room -= own
        assert box.bytes == PEER_QUEUE_BYTES_MAX - room
    assert box.put(message) == "sends_queue_full"
    assert box.put(sized(room + OVERHEAD_BYTES - 5)) == ""
    assert box.bytes == PEER_QUEUE_BYTES_MAX
    assert box.put(DeliverAck(1)) == "sends_queue_full"
    box.next_frame()
    box.taken()
    assert box.put(DeliverAck(1)) == ""
    assert taken_from(box)[-1][-1] == DeliverAck(1)
