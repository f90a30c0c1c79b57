"""Numbers of partitions as a person reads them."""

from __future__ import annotations

from zmqim.ring.partitions import ranges


def test_ranges_join_neighbours_and_count_what_does_not_fit() -> None:
    assert ranges([5, 0, 1, 2, 9, 8]) == "0-2, 5, 8-9"
    assert ranges([4, "meta"]) == "4, meta"
    assert ranges(range(0, 60, 2)).endswith("44, 46, and 6 more")
    assert ranges([]) == ""
