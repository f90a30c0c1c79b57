"""What `zmqim status` prints of made-up answers: few lines, however many partitions there are."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from replica_answers import NAMES, Answers, follows, leads, led_by_storage_1, voter
from rich.console import Console
from rich.table import Table

from zmqim.commands import status
from zmqim.errors import UsageError
from zmqim.node.cluster import merged
from zmqim.ring.document import ring_of
from zmqim.topology import load, shipped

TOPOLOGY = load(shipped("three-storages.toml"))
COUNT = TOPOLOGY.partitions
LAST = COUNT - 1
HOMES = [owners[0] for owners in ring_of(TOPOLOGY).placement]
EVERYBODY = [process.name for process in TOPOLOGY.processes()]


def cluster(down: str = "") -> Answers:
    """All partitions led at home; of a storage that is down storage-1 or -2 takes over."""
    found: Answers = {name: {"partitions": []} for name in NAMES if name != down}
    stand_in = "storage-1" if down != "storage-1" else "storage-2"
    for partition, home in [*enumerate(HOMES), ("meta", "storage-1")]:
        leader = stand_in if home == down else home
        others = [voter(n, "down" if n == down else "replicating") for n in NAMES if n != leader]
        voters = [voter(leader, "leader"), *others]
        for name in found:
            entry = follows(partition, leader)
            if name == leader:
                entry = leads(partition, leader, voters=voters)
            found[name]["partitions"].append(entry)
    return found


def together(answers: Answers, down: str = "") -> dict[str, Any]:
    children = {
        name: {"condition": "waiting" if name == down else "ready", "pid": 1} for name in EVERYBODY
    }
    found = merged(TOPOLOGY, "", {"processes": children}, answers, ())
    return {**found, "details": answers}


def printed(found: dict[str, Any], every_partition: bool = False) -> str:
    console = Console(highlight=False, width=200)
    with console.capture() as capture:
        for part in status.shown(found, every_partition):
            console.print(part, markup=isinstance(part, Table))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_a_whole_cluster_is_a_line_a_process_a_line_a_storage_and_two_lines() -> None:
    found = together(cluster())
    assert len(found["partitions"]) == COUNT + 1
    assert all(one["fully_replicated"] for one in found["partitions"])
    assert (found["problems"], found["notes"]) == ([], [])
    lines = printed(found).splitlines()
    assert len(lines) == 1 + 7 + 1 + 1 + 3 + 1 + 2
    assert lines[-2:] == [
        f"{COUNT} partitions: all fully replicated.",
        "The meta group: storage-1 leads in term 1, fully replicated.",
    ]
    leads_of = {share["name"]: share["leads"] for share in found["storages"]}
    assert sum(leads_of.values()) == COUNT
    assert f"storage-2  {leads_of['storage-2']}" in printed(found)


def test_a_storage_that_died_is_a_few_sentences_and_its_leaders_are_away_from_home() -> None:
    found = together(cluster(down="storage-2"), "storage-2")
    away = HOMES.count(next(name for name in EVERYBODY if name == "storage-2"))
    shown = printed(found)
    assert f"{COUNT} partitions: 0 fully replicated, {away} leaders away from home." in shown
    assert f"Not fully replicated: 0-{LAST}." in shown
    assert shown.splitlines()[-2:] == [
        "Problem: storage-2 is down.",
        f"Problem: {COUNT} partitions and the meta group have 2 of 3 voters: storage-2 is down.",
    ]


def test_every_partition_is_shown_when_asked_for() -> None:
    lines = printed(together(cluster()), every_partition=True).splitlines()
    (row,) = [line for line in lines if line.startswith(f"{LAST} ")]
    assert row.split()[:4] == [str(LAST), HOMES[LAST], "1", "yes"]
    assert f"{HOMES[LAST]} leader" in row


def test_how_far_a_replica_is_stands_beside_it() -> None:
    told = led_by_storage_1(
        leads(
            0,
            "storage-1",
            voters=[voter("storage-1", "leader"), voter("storage-2", "snapshot", 12_000)],
            learners=[voter("storage-3", lag=7)],
        )
    )
    shown = printed(together(told), every_partition=True)
    assert (
        "no     storage-1 leader  storage-2 snapshot -12,000  storage-3 replicating -7 (learner)"
        in shown
    )
    (untold,) = [line for line in shown.splitlines() if line.startswith(f"{LAST} ")]
    assert untold.split() == [str(LAST), "?", "?", "?"]


def test_before_any_storage_answers_nothing_is_called_whole() -> None:
    found = together({})
    assert {one["fully_replicated"] for one in found["partitions"]} == {None}
    shown = printed(found)
    assert f"{COUNT} partitions: 0 fully replicated." in shown
    assert f"Not known here: 0-{LAST}." in shown


def test_a_meta_group_without_leader_is_said() -> None:
    told = led_by_storage_1(leads(0, "storage-1"))
    told["storage-1"]["partitions"].append(follows("meta"))
    found = together(told)
    assert "The meta group has no leader." in printed(found)
    sentence = "the meta group has no leader: nothing can be read or written there."
    assert sentence in found["problems"]


def test_watching_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "running_cluster", lambda data: None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    with pytest.raises(UsageError, match="needs a terminal"):
        status.run({"--data": ".", "--partitions": False, "--watch": True, "--json": False})
