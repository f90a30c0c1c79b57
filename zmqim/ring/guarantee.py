"""What an acknowledgement means in a topology, in words: said by `up` and `check` before anyone
relies on it.

Every word follows from three numbers: how many copies a partition has, how many of them a majority
can miss, and how many share a zone where they are placed (zmqim/ring/placement.py). An
acknowledged message is on the disks of a majority, so it survives as many losses as leave one
(docs/REPLICATION.md 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from zmqim.ring.quotas import per_zone_most
from zmqim.topology_values import Topology

_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}


@dataclass(frozen=True, slots=True)
class _Copies:
    """The copies of a partition, counted."""

    count: int
    storages: int
    zones: int
    zone_most: int
    """Copies of one partition that share a zone."""

    @property
    def storages_to_lose(self) -> int:
        """Storages that may be lost with their disks: a majority of the copies is left."""
        return (self.count - 1) // 2

    @property
    def zones_to_lose(self) -> int:
        """Whole zones that may be lost."""
        return self.storages_to_lose // self.zone_most


def _copies(topology: Topology) -> _Copies:
    zones: dict[str, int] = {}
    for storage in topology.storages:
        zones[storage.zone] = zones.get(storage.zone, 0) + 1
    count = min(topology.replicas, len(topology.storages))
    most = per_zone_most(tuple(zones.values()), count)
    return _Copies(count, len(topology.storages), len(zones), most)


def guarantee(topology: Topology) -> str:
    """What an acknowledged message survives, without a full stop at the end."""
    copies = _copies(topology)
    wanted = counted(copies.count, "replica")
    if copies.count == 1:
        disk = "this disk" if copies.storages == 1 else "the disk that holds its partition"
        return (
            f"{wanted}: an acknowledged message survives a crash of any process, "
            f"not the loss of {disk}"
        )
    if copies.count == 2:
        where = "" if copies.storages == 2 else " to the partitions that it holds"
        return (
            f"{wanted}: an acknowledged message survives a crash of any process, not the loss of a "
            f"disk (a majority of two is two); while one storage is away nothing can be written"
            f"{where}"
        )
    return (
        f"{wanted} in {counted(min(copies.zones, copies.count), 'zone')}: an acknowledged message "
        f"survives the loss of any {_losses(copies)}; {_after_a_loss(copies)}"
    )


def _losses(copies: _Copies) -> str:
    """Storages, and zones where a zone is more than a storage."""
    number = copies.storages_to_lose
    words = counted(number, "storage") + (" with its disk" if number == 1 else " with their disks")
    if copies.zones < copies.storages and copies.zones_to_lose:
        words += f", or of any {counted(copies.zones_to_lose, 'zone')}"
    return words


def _after_a_loss(copies: _Copies) -> str:
    """Nobody takes over from a storage that stays away: only another disk under its name does."""
    left = _NUMBERS.get(copies.count - 1, "fewer")
    which = " that it held" if copies.storages > copies.count else ""
    return f"after a loss the partitions{which} stay at {left} copies until the storage is replaced"


def warnings(topology: Topology) -> tuple[str, ...]:
    """What is allowed but leaves less than `replicas` sounds like; without full stops."""
    copies = _copies(topology)
    found = []
    if topology.replicas > copies.storages:
        verb = "is" if copies.storages == 1 else "are"
        found.append(
            f"replicas = {topology.replicas}, but there {verb} only "
            f"{counted(copies.storages, 'storage')}: a partition cannot have more replicas "
            "than storages"
        )
    if copies.zones < copies.count and not copies.zones_to_lose:
        found.append(
            f"replicas = {topology.replicas}, but the storages are in only "
            f"{counted(copies.zones, 'zone')}: a zone may hold {copies.zone_most} of a partition's "
            f"{copies.count} replicas; while it is away such a partition stops, and with its disks "
            "acknowledged messages may be lost"
        )
    if copies.count > 2 and copies.count % 2 == 0:
        found.append(
            f"{counted(copies.count, 'replica')} survive no more losses than "
            f"{_NUMBERS.get(copies.count - 1, copies.count - 1)}: an odd number is better"
        )
    for host in topology.hosts if copies.count > 1 else ():
        zones = {storage.zone for storage in topology.storages if storage.host == host.name}
        if len(zones) > 1:
            found.append(
                f"{counted(len(zones), 'zone')} are on one host ({host.name}): what takes the "
                "host takes all of them at once"
            )
    return tuple(found)


def counted(number: int, noun: str) -> str:
    """``one zone``, ``three zones``, ``7 zones``."""
    return f"{_NUMBERS.get(number, str(number))} {noun}" + ("" if number == 1 else "s")
