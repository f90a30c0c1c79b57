"""Positions that must never change: data lies where they say."""

from __future__ import annotations

import pytest

from zmqim.chat.channels import person_channel_id, route_key_of_channel, route_key_of_user
from zmqim.ids import NodeName, PartitionId
from zmqim.ring.partitions import partition_of
from zmqim.ring.placement import Share, placed
from zmqim.ring.routers import Servants, owner_of

# key, partition of 64, partition of 2048
POSITIONS = [
    (b"", 11, 360),
    (b"a", 57, 1846),
    (route_key_of_user("alice"), 14, 472),
    (route_key_of_user("bob"), 14, 466),
    (route_key_of_user("carol"), 36, 1160),
    (route_key_of_user(""), 49, 1570),
    (route_key_of_user("ü"), 54, 1739),
    (route_key_of_user("u-1000000"), 0, 5),
    (route_key_of_channel(1, person_channel_id("alice", "bob")), 11, 370),
    (route_key_of_channel(1, person_channel_id("bob", "alice")), 11, 370),
    (route_key_of_channel(1, person_channel_id("carol", "dave")), 42, 1365),
    (route_key_of_channel(1, person_channel_id("u1", "u2")), 16, 523),
    (route_key_of_channel(2, "team"), 4, 158),
    (route_key_of_channel(2, "team____cmd"), 4, 158),
    (route_key_of_channel(2, "g1"), 24, 789),
    (route_key_of_channel(2, "g2"), 29, 947),
    (route_key_of_channel(2, "everyone"), 40, 1297),
    (route_key_of_channel(2, "群"), 8, 268),
    (route_key_of_channel(3, "help"), 4, 147),
    (route_key_of_channel(4, "forum"), 17, 547),
    (route_key_of_channel(5, "forum@topic"), 17, 547),
    (route_key_of_channel(6, "news"), 54, 1741),
]

ROUTERS = [NodeName(f"router-{number}") for number in (1, 2, 3)]


@pytest.mark.parametrize(("key", "of_64", "of_2048"), POSITIONS)
def test_a_known_key_lies_where_it_always_lay(key: bytes, of_64: int, of_2048: int) -> None:
    assert partition_of(key, 64) == of_64
    assert partition_of(key, 2048) == of_2048


def test_a_single_partition_holds_every_key() -> None:
    assert {partition_of(key, 1) for key, _, _ in POSITIONS} == {0}


def leaders(weights: list[int]) -> list[str]:
    shares = [
        Share(NodeName(f"s{number}"), f"z{number}", weight)
        for number, weight in enumerate(weights, 1)
    ]
    return [owners[0] for owners in placed(8, 1, shares)]


def test_known_placements_stay() -> None:
    assert placed(
        8, 3, [Share(NodeName(f"storage-{n}"), "aabc"[n - 1], 1) for n in (1, 2, 3, 4)]
    ) == (
        ("storage-4", "storage-3", "storage-1"),
        ("storage-4", "storage-2", "storage-3"),
        ("storage-3", "storage-2", "storage-4"),
        ("storage-3", "storage-1", "storage-4"),
        ("storage-2", "storage-4", "storage-3"),
        ("storage-2", "storage-3", "storage-4"),
        ("storage-1", "storage-3", "storage-4"),
        ("storage-1", "storage-4", "storage-3"),
    )
    assert placed(
        8, 2, [Share(NodeName(f"storage-{n}"), "aab"[n - 1], (1, 1, 2)[n - 1]) for n in (1, 2, 3)]
    ) == (
        ("storage-1", "storage-3"),
        ("storage-2", "storage-3"),
        ("storage-3", "storage-2"),
        ("storage-3", "storage-1"),
        ("storage-3", "storage-2"),
        ("storage-2", "storage-3"),
        ("storage-3", "storage-1"),
        ("storage-1", "storage-3"),
    )


def test_a_storage_with_twice_the_weight_leads_twice_as_much() -> None:
    given = leaders([1, 2, 1])
    assert [given.count(name) for name in ("s1", "s2", "s3")] == [2, 4, 2]


def test_numbers_in_names_count_as_numbers() -> None:
    before = [Share(NodeName(f"storage-{n}"), f"z{n}", 1) for n in range(1, 10)]
    after = [*before, Share(NodeName("storage-10"), "z10", 1)]
    old, new = placed(64, 1, before), placed(64, 1, after)
    moved = [owners for was, owners in zip(old, new, strict=True) if was != owners]
    assert moved == [("storage-10",)] * 6


def test_no_storage_places_nothing() -> None:
    assert placed(2, 1, []) == ((), ())


def test_known_partitions_keep_their_owners() -> None:
    assert [owner_of(PartitionId(number), ROUTERS) for number in range(8)] == [
        f"router-{number}" for number in (1, 2, 3, 2, 1, 3, 2, 3)
    ]


def test_without_a_live_router_there_is_none() -> None:
    assert owner_of(PartitionId(1), ()) is None
    assert Servants((("a",),)).of(0, ()) == ()


def test_partitions_of_one_home_go_to_one_router() -> None:
    """Three storages with four partitions each: two routers serve six of them, and share one."""
    servants = Servants((("a",), ("b",), ("c",)) * 4)
    served = [servants.of(number, ("router-1", "router-2"))[0] for number in range(12)]
    assert served[0::3] == ["router-1"] * 4
    assert sorted(served[1::3]) == ["router-1"] * 2 + ["router-2"] * 2
    assert served[2::3] == ["router-2"] * 4


def test_the_next_router_to_ask_is_another_one() -> None:
    servants = Servants((("a",), ("b",), ("c",)))
    assert servants.of(1, ROUTERS) == (ROUTERS[1], ROUTERS[2], ROUTERS[0])
