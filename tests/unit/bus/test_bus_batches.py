"""Values cut into parts that fit frames, and the messages that carry them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zmqim.bus.batches import appends_of, in_frames, notices_of, results_of, runs_in_frames
from zmqim.bus.envelope import Codec
from zmqim.bus.messages import Message, NoticeAck, NoticeAcks, NoticeItem, Notices
from zmqim.bus.replication import Append, AppendResult
from zmqim.ids import ClusterId, Incarnation, NodeUuid
from zmqim.limits import BATCH_BYTES_MAX, BATCH_ITEMS_MAX, BUS_FRAME_BYTES_MAX, PARTITIONS_MAX

SIZES = st.lists(
    st.sampled_from([0, 1, BATCH_BYTES_MAX // 3, BATCH_BYTES_MAX, BATCH_BYTES_MAX + 1])
)
CODEC = Codec(ClusterId(bytes(16)), NodeUuid(bytes(16)), Incarnation(1))
BIG = 1 << 63
"""No number of a message takes more bytes."""
BODIES = {size: bytes(size) for size in (0, 1, 1_000, BATCH_BYTES_MAX // 3, BATCH_BYTES_MAX)}
ITEMS = st.lists(st.lists(st.sampled_from(list(BODIES)), max_size=3), max_size=6)


def append_of(entries: list[bytes], partition: int = BIG) -> Append:
    return Append(partition, bytes(8), BIG, BIG, BIG, BIG, BIG, BIG, BIG, entries)


def notices_with(bodies: list[bytes], partition: int = BIG) -> Notices:
    return Notices(partition, BIG, BIG, [NoticeItem(BIG, body) for body in bodies])


def framed(message: Message) -> Message:
    """What arrives, in a frame that is not too large."""
    frame = CODEC.encode(message)
    assert len(frame) <= BUS_FRAME_BYTES_MAX
    (found,) = CODEC.decode(frame)[1]
    return found


@given(sizes=SIZES)
def test_parts_keep_the_order_and_the_bound_of_bytes_but_for_what_is_too_large_alone(
    sizes: list[int],
) -> None:
    parts = in_frames(list(enumerate(sizes)), sizes)
    assert [value for part in parts for value in part] == list(enumerate(sizes))
    for part in parts:
        assert sum(size for _, size in part) <= BATCH_BYTES_MAX or len(part) == 1
    for part, following in pairwise(parts):
        assert sum(size for _, size in part) + following[0][1] > BATCH_BYTES_MAX, "as few as fit"


@pytest.mark.parametrize("count", [0, 1, BATCH_ITEMS_MAX, BATCH_ITEMS_MAX + 1])
def test_parts_keep_the_bound_of_items(count: int) -> None:
    values = list(range(count))
    parts = in_frames(values, [0] * count)
    assert [len(part) for part in parts] == (
        [count] if count <= BATCH_ITEMS_MAX else [count - 1, 1]
    )


def test_a_run_is_never_cut() -> None:
    half = BATCH_ITEMS_MAX // 2
    runs = [[1] * half, [2] * (half + 1), [3] * (BATCH_ITEMS_MAX + 5), [4]]
    parts = runs_in_frames(runs, [0, 0, 0, 0])
    assert parts == runs
    assert runs_in_frames([[1], [2, 2]], [BATCH_BYTES_MAX, 0]) == [[1, 2, 2]]
    assert runs_in_frames([[1], [2, 2]], [BATCH_BYTES_MAX, 1]) == [[1], [2, 2]]


@settings(max_examples=30)
@given(items=ITEMS)
def test_appends_are_cut_by_their_bytes_and_arrive_whole_and_in_order(
    items: list[list[int]],
) -> None:
    appends = [append_of([BODIES[size] for size in sizes], n) for n, sizes in enumerate(items)]
    parts = appends_of(appends)
    assert [one for part in parts for one in part.items] == appends
    assert [framed(part) for part in parts] == parts
    for part in parts:
        size = sum(sum(items[one.partition]) for one in part.items)
        assert size <= BATCH_BYTES_MAX or len(part.items) == 1


@settings(max_examples=30)
@given(items=ITEMS)
def test_notices_are_cut_by_their_bytes_and_arrive_whole_and_in_order(
    items: list[list[int]],
) -> None:
    batches = [notices_with([BODIES[size] for size in sizes], n) for n, sizes in enumerate(items)]
    parts = notices_of(batches)
    assert [one for part in parts for one in part.items] == batches
    assert [framed(part) for part in parts] == parts
    for part in parts:
        size = sum(sum(items[one.partition]) for one in part.items)
        assert size <= BATCH_BYTES_MAX or len(part.items) == 1


def test_as_many_small_ones_as_a_part_may_have_fit_a_frame() -> None:
    small = [bytes(32)] * (BATCH_BYTES_MAX // BATCH_ITEMS_MAX // 32)
    (appends,) = appends_of([append_of(small)] * BATCH_ITEMS_MAX)
    assert framed(appends) == appends
    (notices,) = notices_of([notices_with(small)] * BATCH_ITEMS_MAX)
    assert framed(notices) == notices
    acks = NoticeAcks([NoticeAck(BIG, BIG, BIG)] * PARTITIONS_MAX)
    assert framed(acks) == acks


def test_answers_to_a_leader_are_cut_by_their_number() -> None:
    results = [
        AppendResult(n, bytes(8), BIG, BIG, BIG, False, BIG, BIG, True)
        for n in range(BATCH_ITEMS_MAX + 1)
    ]
    parts = results_of(results)
    assert [len(part.items) for part in parts] == [BATCH_ITEMS_MAX, 1]
    assert [one for part in parts for one in part.items] == results
    assert [framed(part) for part in parts] == parts
