"""Values cut into parts that fit frames."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqim.bus.batches import in_frames, runs_in_frames
from zmqim.limits import BATCH_BYTES_MAX, BATCH_ITEMS_MAX

SIZES = st.lists(
    st.sampled_from([0, 1, BATCH_BYTES_MAX // 3, BATCH_BYTES_MAX, BATCH_BYTES_MAX + 1])
)


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
