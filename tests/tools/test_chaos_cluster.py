"""tools/chaos asks the cluster what it knows, and treats lost disks as its voters allow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2]))
from tools.chaos.cluster import Cluster, NotInTime
from tools.chaos.disks import damage_files, lose_disk
from tools.chaos.rig import Rig

STORAGES = ("storage-1", "storage-2", "storage-3")


class Told(Cluster):
    """A cluster that says what the test wants, and whose processes are only numbers."""

    def __init__(self, folder: Path, voters: int) -> None:
        super().__init__(folder, None, replicas=3, small_disk="", clock_host="")
        self.lives = dict.fromkeys(self.names, 1)
        self.refuses: set[str] = set()
        self.table: list[dict[str, Any]] = []
        self.restarted: list[str] = []
        self.count = voters
        for name in STORAGES:
            self.folder_of(name).mkdir(parents=True)
            (self.folder_of(name) / "BIRTH").write_bytes(b"born")

    def is_compiled(self) -> bool:
        return False

    def voters(self) -> int:
        return self.count

    def pid(self, name: str) -> int:
        return self.lives[name]

    def signal(self, name: str, number: int) -> bool:
        self.lives[name] += 1
        return True

    def states(self) -> dict[str, str]:
        return {name: "failed" if name in self.refuses else "alive" for name in self.names}

    def status(self, host: object = None) -> dict[str, Any]:
        return {"partitions": self.table}

    def down(self, hosts: object = None) -> None:
        self.refuses.clear()

    def start(self, host: object) -> None:
        self.restarted.append("all")

    def wait(self, condition: Callable[[], Any], seconds: float, what: str) -> float:
        if not condition():
            raise NotInTime(what)
        return 0.0

    @contextmanager
    def stopped(self, name: str) -> Iterator[Path]:
        self.signal(name, 9)
        yield self.folder_of(name)


@pytest.fixture
def rigs(tmp_path: Path) -> Callable[[int], tuple[Rig, Told]]:
    def make(voters: int) -> tuple[Rig, Told]:
        cluster = Told(tmp_path, voters)
        return Rig(cluster, Random(1), 1.0, print), cluster

    return make


Rigs = Callable[[int], tuple[Rig, Told]]


def row(leader: str, whole: bool = True, number: int = 3) -> dict[str, Any]:
    voters = [{"name": name} for name in STORAGES]
    return {"id": number, "term": 1, "leader": leader, "voters": voters, "fully_replicated": whole}


def test_leaders_are_those_that_the_cluster_names_else_those_of_the_ring(rigs: Rigs) -> None:
    _, cluster = rigs(3)
    placed = cluster.ring.placement[3][0]
    assert cluster.leaders()[3] == placed
    other = next(name for name in STORAGES if name != placed)
    cluster.table = [row(other), {**row(other), "id": "meta"}]
    assert cluster.leaders()[3] == other
    assert len(cluster.leaders()) == cluster.ring.partitions
    assert Cluster.voters(cluster) == 3


def test_a_cluster_is_whole_once_every_partition_is_replicated(rigs: Rigs) -> None:
    _, cluster = rigs(3)
    assert cluster.is_whole()
    cluster.table = [row("storage-1"), row("storage-1", whole=False, number=4)]
    assert not cluster.is_whole()
    cluster.table.pop()
    cluster.refuses.add("storage-2")
    assert not cluster.is_whole()


def test_a_lost_disk_is_waited_for_until_everything_is_replicated_again(rigs: Rigs) -> None:
    rig, cluster = rigs(3)
    detail = lose_disk(rig)
    lost = detail.partition(",")[0]
    assert list(cluster.folder_of(lost).iterdir()) == []
    assert rig.findings == []
    cluster.table = [row("storage-1", whole=False)]
    lose_disk(rig)
    assert "replicated again" in rig.findings[0]


def test_with_three_voters_a_storage_that_refuses_its_damaged_folder_is_emptied(rigs: Rigs) -> None:
    rig, cluster = rigs(3)
    cluster.refuses.update(STORAGES)
    name = damage_files(rig).partition(":")[0]
    assert list(cluster.folder_of(name).iterdir()) == []
    assert cluster.restarted == ["all"]
    assert (rig.findings, next(iter(rig.outcomes))[-7:]) == ([], "refused")


def test_with_one_voter_the_bytes_are_put_back(rigs: Rigs) -> None:
    rig, cluster = rigs(1)
    cluster.refuses.update(STORAGES)
    name = damage_files(rig).partition(":")[0]
    assert (cluster.folder_of(name) / "BIRTH").read_bytes() == b"born"
    assert cluster.restarted == ["all"]
