"""What `up` and `check` say that an acknowledged message survives."""

from __future__ import annotations

import pytest

from zmqim.ring.guarantee import guarantee, warnings
from zmqim.topology import Topology, load, parse, shipped


def topology(replicas: int, *zones: str) -> Topology:
    """One storage a zone that is named, each on a host of its own."""
    text = f'cluster = "test"\nreplicas = {replicas}\ninsecure_bus = true\n'
    for number in range(1, len(zones) + 1):
        text += f'[[host]]\nname = "host-{number}"\naddress = "10.0.0.{number}"\n'
    text += '[[gateway]]\nname = "g"\nhost = "host-1"\nlisteners = ["ws://127.0.0.1:5200"]\n'
    text += '[[router]]\nname = "r"\nhost = "host-1"\n'
    for number, zone in enumerate(zones, start=1):
        text += f'[[storage]]\nname = "s-{number}"\nhost = "host-{number}"\nzone = "{zone}"\n'
    return parse(text, "t.toml", api_key_given=True)


ONE = "one replica: an acknowledged message survives a crash of any process, not the loss of "
TWO = (
    "two replicas: an acknowledged message survives a crash of any process, not the loss of a disk "
    "(a majority of two is two); while one storage is away nothing can be written"
)
HELD = "; after a loss the partitions that it held stay at two copies until the storage is replaced"


@pytest.mark.parametrize(
    ("replicas", "zones", "words"),
    [
        (1, "a", ONE + "this disk"),
        (3, "a", ONE + "this disk"),
        (1, "abc", ONE + "the disk that holds its partition"),
        (2, "ab", TWO),
        (2, "abc", TWO + " to the partitions that it holds"),
        (
            3,
            "abc",
            "three replicas in three zones: an acknowledged message survives the loss of any one "
            "storage with its disk; after a loss the partitions stay at two copies until "
            "the storage is replaced",
        ),
        (
            3,
            "abcd",
            "three replicas in three zones: an acknowledged message survives the loss of any one "
            f"storage with its disk{HELD}",
        ),
        (
            3,
            "aabbcc",
            "three replicas in three zones: an acknowledged message survives the loss of any one "
            f"storage with its disk, or of any one zone{HELD}",
        ),
        (
            3,
            "aab",
            "three replicas in two zones: an acknowledged message survives the loss of any one "
            "storage with its disk; after a loss the partitions stay at two copies until "
            "the storage is replaced",
        ),
        (
            5,
            "aabbc",
            "five replicas in three zones: an acknowledged message survives the loss of any two "
            "storages with their disks, or of any one zone; after a loss the partitions "
            "stay at four copies until the storage is replaced",
        ),
        (
            7,
            "abcdefg",
            "7 replicas in 7 zones: an acknowledged message survives the loss of any three "
            "storages with their disks; after a loss the partitions stay at fewer copies "
            "until the storage is replaced",
        ),
    ],
)
def test_the_guarantee_follows_from_replicas_storages_and_zones(
    replicas: int, zones: str, words: str
) -> None:
    assert guarantee(topology(replicas, *zones)) == words


@pytest.mark.parametrize(
    ("replicas", "zones"), [(1, "a"), (1, "aa"), (2, "ab"), (3, "abc"), (3, "aabbcc"), (5, "aabbc")]
)
def test_there_is_no_warning_where_the_guarantee_says_all(replicas: int, zones: str) -> None:
    assert warnings(topology(replicas, *zones)) == ()


def test_more_replicas_than_storages_is_allowed_but_said() -> None:
    (one,) = warnings(topology(3, "a"))
    assert "replicas = 3, but there is only one storage" in one
    (two,) = warnings(topology(3, "a", "b"))
    assert "there are only two storages" in two


@pytest.mark.parametrize(
    ("replicas", "zones", "words"),
    [
        (2, "aa", "only one zone: a zone may hold 2 of a partition's 2 replicas"),
        (3, "aab", "only two zones: a zone may hold 2 of a partition's 3 replicas"),
        (5, "aaaab", "only two zones: a zone may hold 4 of a partition's 5 replicas"),
    ],
)
def test_what_the_loss_of_a_zone_does_is_said(replicas: int, zones: str, words: str) -> None:
    (warning,) = warnings(topology(replicas, *zones))
    assert words in warning
    assert "while it is away such a partition stops" in warning
    assert "acknowledged messages may be lost" in warning


def test_an_even_number_of_replicas_is_said_to_be_no_better_than_one_less() -> None:
    (warning,) = warnings(topology(4, "a", "b", "c", "d"))
    assert warning.startswith("four replicas survive no more losses than three")


def test_zones_that_share_a_host_are_said() -> None:
    found = load(shipped("three-storages.toml"))
    assert guarantee(found).startswith("three replicas in three zones: ")
    assert warnings(found) == (
        "three zones are on one host (localhost): what takes the host takes all of them at once",
    )
    quick = load(shipped("quickstart.toml"))
    assert (guarantee(quick), warnings(quick)) == (ONE + "this disk", ())


def test_two_hosts_are_said_to_survive_no_loss_of_a_disk() -> None:
    assert guarantee(load(shipped("two-hosts.toml"), key_needed=False)) == TWO
