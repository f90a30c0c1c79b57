"""Every sentence that `zmqim status` says about replicas, and that the manual knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from replica_answers import NAMES, Answers, answers, follows, leads, led_by_storage_1, voter

from zmqim.node import partition_words
from zmqim.node.partition_words import Surroundings, named
from zmqim.node.partitions import partitions_of

MANUAL = Path(__file__).resolve().parents[3] / "docs" / "OPERATING.md"
ALIVE = dict.fromkeys(NAMES, "alive")


def around(here: tuple[str, ...] = NAMES, **states: str) -> Surroundings:
    given = {name.replace("_", "-"): state for name, state in states.items()}
    return Surroundings({**ALIVE, **given}, frozenset(NAMES), frozenset(here))


def said(told: Answers, where: Surroundings | None = None, count: int = 0) -> list[str]:
    """The problems; only the partitions that somebody tells of are asked for."""
    ids = {entry["id"] for answer in told.values() for entry in answer["partitions"]}
    found = partitions_of(count or len(ids - {"meta"}), NAMES, told, frozenset())
    return partition_words.problems(found, where or around())


def led(*voters: dict[str, Any], ids: tuple[int | str, ...] = (0,), **changes: Any) -> Answers:
    """Partitions that storage-1 leads, with these other voters."""
    every = [voter("storage-1", "leader"), *voters]
    return led_by_storage_1(*(leads(one, "storage-1", voters=every, **changes) for one in ids))


TWO, THREE = voter("storage-2"), voter("storage-3")
TWO_DOWN, THREE_DOWN = voter("storage-2", "down", 50), voter("storage-3", "down", 50)
SILENT = answers(storage_1=[follows(0, "storage-3")], storage_2=[follows(0, "storage-3")])
LEFT = around(here=("storage-1", "storage-2"))

SENTENCES: list[tuple[Answers, Surroundings, str]] = [
    (
        answers(storage_1=[follows(0)], storage_2=[follows(0, role="candidate")]),
        around(),
        "partition 0 has no leader: nothing can be read or written there.",
    ),
    (
        answers(storage_1=[follows(n) for n in range(3)]),
        around(),
        "partitions 0, 1 and 2 have no leader: nothing can be read or written there.",
    ),
    (
        answers(storage_1=[follows(0)]),
        LEFT,
        "partition 0 has no leader, as far as this host knows: nothing can be read or written "
        "there.",
    ),
    (
        SILENT,
        around(),
        "storage-3 leads partition 0 but says nothing of it: how far the replicas are is not "
        "known.",
    ),
    (
        led(TWO, THREE, serving=False),
        around(),
        "storage-1 leads partition 0 but does not serve it yet.",
    ),
    (
        led(TWO_DOWN, THREE, ids=(0, 1, 2)),
        around(storage_2="down"),
        "partitions 0, 1 and 2 have 2 of 3 voters: storage-2 is down.",
    ),
    (
        led(TWO_DOWN, THREE, ids=tuple(range(20))),
        around(storage_2="failed"),
        "20 partitions have 2 of 3 voters: storage-2 has failed.",
    ),
    (
        led(TWO_DOWN, THREE),
        around(),
        "partition 0 has 2 of 3 voters: storage-2 runs but its replica does not answer the leader.",
    ),
    (
        led(TWO_DOWN, THREE),
        around(storage_2="left"),
        "partition 0 has 2 of 3 voters: storage-2 has left.",
    ),
    (
        led(TWO_DOWN, THREE_DOWN),
        around(storage_2="down", storage_3="starting"),
        "partition 0 has 1 of 3 voters: storage-2 is down and storage-3 is starting. Without a "
        "majority nothing is acknowledged there.",
    ),
    (
        led(TWO, learners=[voter("storage-3", "snapshot", 40_000)]),
        around(),
        "partition 0 has 2 of 3 voters: storage-3 is being added.",
    ),
    (
        led(TWO, THREE, replicas_wanted=5),
        around(),
        "partition 0 has 3 of 5 voters: there are only 3 storages.",
    ),
    (
        led(TWO),
        around(),
        "partition 0 has 2 of 3 voters: no storage has been given the missing replica yet.",
    ),
    (
        led(TWO, voter("storage-3", "damaged")),
        around(),
        "storage-3's replica of partition 0 is damaged and being rebuilt.",
    ),
    (
        led(TWO, voter("storage-3", "damaged"), ids=(0, 1)),
        around(),
        "storage-3's replicas of partitions 0 and 1 are damaged and being rebuilt.",
    ),
    (
        answers(storage_1=[follows(0)], storage_3=[follows(0, role="damaged")]),
        around(),
        "storage-3's replica of partition 0 is damaged and will be rebuilt once there is a leader.",
    ),
    (
        led(voter("storage-2", lag=24_000), THREE, ids=tuple(range(5))),
        around(),
        "storage-2 is catching up: 5 partitions, 120,000 entries behind.",
    ),
    (
        led(voter("storage-2", "snapshot", 1), THREE),
        around(),
        "storage-2 is catching up: 1 partition, 1 entry behind (1 by snapshot).",
    ),
    (
        led(TWO, learners=[voter("storage-3", "snapshot", 40_000)]),
        around(),
        "storage-3 is being added: 1 partition, 40,000 entries behind (1 by snapshot).",
    ),
    (
        led(voter("storage-2", "probing"), THREE),
        around(),
        "storage-2 has not said yet what it holds of partition 0.",
    ),
]

KNOWN_BY_THE_MANUAL = (
    "no leader",
    "says nothing of",
    "does not serve",
    "is down",
    "has failed",
    "has left",
    "runs but its replica does not answer the leader",
    "Without a majority nothing is acknowledged",
    "is being added",
    "there are only",
    "no storage has been given the missing replica yet",
    "damaged and being rebuilt",
    "will be rebuilt once there is a leader",
    "is catching up",
    "has not said yet what it holds",
)


@pytest.mark.parametrize(("told", "where", "sentence"), SENTENCES)
def test_what_is_wrong_is_said(told: Answers, where: Surroundings, sentence: str) -> None:
    assert sentence in said(told, where)


@pytest.mark.parametrize("words", KNOWN_BY_THE_MANUAL)
def test_the_manual_explains_every_sentence(words: str) -> None:
    assert any(words in sentence for _, _, sentence in SENTENCES)
    rows = [line for line in MANUAL.read_text().splitlines() if line.startswith("| *")]
    assert any(words in row.split("|")[1] for row in rows)


def test_every_sentence_is_known_by_the_manual() -> None:
    for _, _, sentence in SENTENCES:
        assert any(words in sentence for words in KNOWN_BY_THE_MANUAL), sentence


def test_without_a_fault_there_is_nothing_to_say() -> None:
    told = led(TWO, THREE, ids=(0, 1, "meta"))
    assert said(told) == []
    assert said(led(voter("storage-2", lag=999), THREE)) == []


def test_partitions_that_suffer_from_different_things_have_their_own_sentences() -> None:
    told = led_by_storage_1(
        leads(0, "storage-1", voters=[voter("storage-1", "leader"), TWO_DOWN, THREE]),
        leads(1, "storage-1", voters=[voter("storage-1", "leader"), TWO, THREE_DOWN]),
        leads("meta", "storage-1", voters=[voter("storage-1", "leader"), TWO_DOWN, THREE]),
    )
    assert said(told, around(storage_2="down", storage_3="down")) == [
        "partition 0 and the meta group have 2 of 3 voters: storage-2 is down.",
        "partition 1 has 2 of 3 voters: storage-3 is down.",
    ]


def test_a_replacement_beside_a_dead_voter_is_counted_among_four() -> None:
    told = led(TWO_DOWN, THREE, voter("storage-4"))
    assert said(told, around(storage_2="down")) == [
        "partition 0 has 3 of 4 voters: storage-2 is down."
    ]


def test_a_dead_and_a_damaged_voter_together_leave_no_majority() -> None:
    told = led(TWO_DOWN, voter("storage-3", "damaged"))
    assert said(told, around(storage_2="down")) == [
        "partition 0 has 1 of 3 voters: storage-2 is down and storage-3's replica is damaged. "
        "Without a majority nothing is acknowledged there.",
        "storage-3's replica of partition 0 is damaged and being rebuilt.",
    ]


def test_what_nobody_tells_is_a_problem_on_one_host_and_a_note_with_several() -> None:
    told = led(TWO, THREE, ids=(0, 1))
    sentence = (
        "nothing is known here of partitions 2 and 3: no storage that answers holds a replica."
    )
    assert said(told, around(), count=4) == [sentence]
    assert said(told, LEFT, count=4) == []
    partitions = partitions_of(4, NAMES, told, frozenset())
    assert partition_words.notes(partitions, around()) == []
    assert partition_words.notes(partitions, LEFT) == [sentence]


def test_what_is_led_on_other_hosts_is_a_note_and_no_problem() -> None:
    assert said(SILENT, LEFT) == []
    assert partition_words.notes(partitions_of(1, NAMES, SILENT, frozenset()), LEFT) == [
        "partition 0 is led on other hosts: how far the replicas are is known there."
    ]


def test_a_few_partitions_are_named_and_many_are_counted() -> None:
    assert named([7]) == "partition 7"
    assert named([3, 9, 14]) == "partitions 3, 9 and 14"
    assert named(range(6)) == "6 partitions"
    assert named(["meta"]) == "the meta group"
    assert named([3, "meta"]) == "partition 3 and the meta group"
