"""Laws of the ring, for clusters drawn at random."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from zmqim.ids import NodeName, PartitionId
from zmqim.ring.partitions import partition_of
from zmqim.ring.placement import Placement, Share, placed, rebalanced
from zmqim.ring.quotas import quotas
from zmqim.ring.routers import Servants, owner_of

PARTITIONS = st.sampled_from([8, 16, 64])
REPLICAS = st.integers(1, 4)
NAMES = st.lists(
    st.from_regex(r"[a-z]{1,3}-[0-9]{1,3}", fullmatch=True), min_size=1, max_size=8, unique=True
)


@st.composite
def clusters(draw: st.DrawFn, *, alike: bool = False) -> list[Share]:
    """Storages; `alike`: each of its own zone, all of one weight."""
    names = draw(NAMES)
    zones = st.sampled_from("abcd")
    weights = st.integers(1, 9)
    return [
        Share(NodeName(name), name if alike else draw(zones), 1 if alike else draw(weights))
        for name in names
    ]


def moved(before: Placement, after: Placement) -> int:
    """How many replicas have a new owner."""
    return sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True))


def replicas_of(placement: Placement) -> Counter[str]:
    return Counter(name for owners in placement for name in owners)


def leaders_of(placement: Placement) -> Counter[str]:
    return Counter(owners[0] for owners in placement)


@given(clusters(), PARTITIONS, REPLICAS)
def test_owners_are_distinct_and_in_as_many_zones_as_there_are(
    shares: list[Share], partitions: int, replicas: int
) -> None:
    zone = {share.name: share.zone for share in shares}
    placement = placed(partitions, replicas, shares)
    assert len(placement) == partitions
    for owners in placement:
        assert len(owners) == len(set(owners)) == min(replicas, len(shares))
        zones = {zone[name] for name in owners}
        assert len(zones) == min(replicas, len(set(zone.values())))


@given(clusters(), PARTITIONS, REPLICAS, st.randoms(use_true_random=False))
def test_the_order_in_which_storages_are_named_does_not_matter(
    shares: list[Share], partitions: int, replicas: int, random: object
) -> None:
    shuffled = list(shares)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert placed(partitions, replicas, shuffled) == placed(partitions, replicas, shares)


@given(clusters(alike=True), PARTITIONS, REPLICAS)
def test_equal_storages_own_and_lead_equally(
    shares: list[Share], partitions: int, replicas: int
) -> None:
    placement = placed(partitions, replicas, shares)
    for count in (replicas_of(placement), leaders_of(placement)):
        numbers = [count[share.name] for share in shares]
        assert max(numbers) - min(numbers) <= 1


@given(clusters(), PARTITIONS)
def test_leaders_follow_the_weights_within_rounding(shares: list[Share], partitions: int) -> None:
    """Webster's rule: no seat could pass to another storage and bring both nearer their share."""
    count = leaders_of(placed(partitions, 1, shares))
    total = sum(share.weight for share in shares)
    above = [count[share.name] - partitions * share.weight / total for share in shares]
    assert max(above) - min(above) <= 1 + 1e-9 or not any(
        high > 0.5 and low < -0.5 for high in above for low in above
    )


@given(clusters(alike=True), PARTITIONS, REPLICAS)
def test_a_storage_that_joins_takes_its_share_and_nothing_else_moves(
    shares: list[Share], partitions: int, replicas: int
) -> None:
    before = placed(partitions, replicas, shares)
    joined = Share(NodeName("zzzz-1000"), "zzzz-1000", 1)
    after = placed(partitions, replicas, [*shares, joined])
    assert moved(before, after) == replicas_of(after)[joined.name]
    if replicas == 1:
        leaders = sum(old[0] != new[0] for old, new in zip(before, after, strict=True))
        assert leaders == leaders_of(after)[joined.name]


@given(clusters(alike=True), PARTITIONS, REPLICAS, st.integers(0, 7))
def test_a_storage_that_goes_leaves_its_share_and_little_else_moves(
    shares: list[Share], partitions: int, replicas: int, which: int
) -> None:
    gone = shares[which % len(shares)]
    rest = [share for share in shares if share != gone]
    if not rest:
        return
    before = placed(partitions, replicas, shares)
    after = rebalanced(before, replicas, rest)
    left = replicas_of(before)[gone.name] if replicas <= len(rest) else 0
    assert left <= moved(before, after) <= left + 2
    numbers = [replicas_of(after)[share.name] for share in rest]
    assert max(numbers) - min(numbers) <= 1


@given(clusters(), PARTITIONS, REPLICAS)
def test_a_placement_that_fits_is_left_alone(
    shares: list[Share], partitions: int, replicas: int
) -> None:
    placement = placed(partitions, replicas, shares)
    ordered = sorted(shares)
    settled = rebalanced(placement, replicas, ordered)
    assert rebalanced(settled, replicas, ordered) == settled


@given(clusters(), st.integers(0, 200))
def test_quotas_give_out_every_seat_that_the_caps_allow(shares: list[Share], seats: int) -> None:
    weights = {share.name: share.weight for share in shares}
    zones = {share.name: share.zone for share in shares}
    caps = dict.fromkeys(weights, 20)
    given_out = quotas(seats, weights, caps, zones, 50)
    room = sum(
        min(50, 20 * sum(zone == other for other in zones.values())) for zone in set(zones.values())
    )
    assert sum(given_out.values()) == min(seats, room)
    assert all(given_out[name] <= 20 for name in weights)


@given(st.binary(max_size=40), st.integers(0, 11))
def test_twice_the_partitions_split_each_in_two(key: bytes, bits: int) -> None:
    assert partition_of(key, 1 << bits) == partition_of(key, 2 << bits) >> 1


@settings(max_examples=50)
@given(st.sets(st.text(min_size=1), min_size=2, max_size=6), st.integers(0, 63))
def test_an_owner_that_goes_takes_only_its_own_partitions(names: set[str], number: int) -> None:
    partition = PartitionId(number)
    live = sorted(NodeName(name) for name in names)
    owner = owner_of(partition, live)
    for gone in live:
        rest = [name for name in live if name != gone]
        assert (owner_of(partition, rest) == owner) == (gone != owner)


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=64), st.integers(1, 7))
def test_routers_serve_as_many_partitions_each_of_few_homes(homes: list[str], count: int) -> None:
    live = tuple(NodeName(f"router-{number}") for number in range(count))
    servants = Servants(tuple((NodeName(home),) for home in homes))
    served: dict[NodeName, list[str]] = {router: [] for router in live}
    for partition, home in enumerate(homes):
        asked = servants.of(partition, live)
        assert sorted(asked) == list(live)
        served[asked[0]].append(home)
    sizes = [len(of) for of in served.values()]
    assert max(sizes) - min(sizes) <= 1
    # Blocks in a row: of all (router, home) pairs there are hardly more than homes and routers.
    assert sum(len(set(of)) for of in served.values()) < len(set(homes)) + count
