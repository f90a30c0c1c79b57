"""`zmqim status` puts together what the supervisor and gossip know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zmqim.errors import NotRunning
from zmqim.node import cluster
from zmqim.node.cluster import Running, merged
from zmqim.node.folders import DataFolder
from zmqim.topology import parse

TOPOLOGY = parse(
    """cluster = "test"
insecure_bus = true
[[host]]
name = "left"
address = "10.0.0.1"
[[host]]
name = "right"
address = "10.0.0.2"
[[gateway]]
name = "gateway-1"
host = "left"
listeners = ["http://127.0.0.1:5001"]
[[router]]
name = "router-1"
host = "left"
[[storage]]
name = "storage-1"
host = "right"
""",
    "t.toml",
    api_key_given=True,
)


def supervisor(gateway: str = "ready", router: str = "ready") -> dict[str, Any]:
    return {
        "processes": {
            "gateway-1": {"condition": gateway, "pid": 11 if gateway == "ready" else None},
            "router-1": {"condition": router, "pid": 12},
        }
    }


def answer(**states: str) -> dict[str, Any]:
    return {
        "members": [
            {"name": name.replace("_", "-"), "state": state} for name, state in states.items()
        ]
    }


def states(found: dict[str, Any]) -> dict[str, str]:
    return {row["name"]: row["state"] for row in found["processes"]}


def test_when_all_is_well_there_are_no_problems() -> None:
    views = {
        "gateway-1": answer(router_1="alive", storage_1="alive"),
        "router-1": answer(gateway_1="alive", storage_1="alive"),
    }
    found = merged(TOPOLOGY, "left", supervisor(), views, ())
    assert found["processes"] == [
        {"name": "storage-1", "role": "storage", "pid": None, "state": "alive", "host": "right"},
        {"name": "router-1", "role": "router", "pid": 12, "state": "alive", "host": "left"},
        {"name": "gateway-1", "role": "gateway", "pid": 11, "state": "alive", "host": "left"},
    ]
    assert found["problems"] == []


@pytest.mark.parametrize(
    ("condition", "state"),
    [("starting", "starting"), ("waiting", "down"), ("failed", "failed"), ("gone", "left")],
)
def test_what_is_not_ready_is_what_its_supervisor_says(condition: str, state: str) -> None:
    views = {"router-1": answer(gateway_1="alive", storage_1="alive")}
    found = merged(TOPOLOGY, "left", supervisor(gateway=condition), views, ())
    assert states(found)["gateway-1"] == state
    assert any("gateway-1" in problem for problem in found["problems"])


def test_what_is_ready_is_what_the_others_see_and_nobody_is_asked_about_itself() -> None:
    views = {
        "gateway-1": answer(gateway_1="alive", router_1="alive", storage_1="down"),
        "router-1": answer(gateway_1="suspect", storage_1="down"),
    }
    found = merged(TOPOLOGY, "left", supervisor(), views, ())
    assert states(found) == {"storage-1": "down", "router-1": "alive", "gateway-1": "suspect"}
    assert found["problems"] == ["storage-1 is down.", "gateway-1 is suspect."]


def test_a_process_elsewhere_that_nobody_has_seen_is_down() -> None:
    assert states(merged(TOPOLOGY, "left", supervisor(), {}, ()))["storage-1"] == "down"


def test_views_that_differ_are_a_problem() -> None:
    views = {"gateway-1": answer(storage_1="alive"), "router-1": answer(storage_1="suspect")}
    problems = merged(TOPOLOGY, "left", supervisor(), views, ())["problems"]
    assert "storage-1 is seen differently: alive by gateway-1, suspect by router-1." in problems


def test_silence_and_what_processes_complain_of_are_problems() -> None:
    views = {"router-1": {"members": [], "problems": ["no storage answers"]}}
    found = merged(TOPOLOGY, "left", supervisor(), views, ["gateway-1 did not answer within 2 s."])
    assert "gateway-1 did not answer within 2 s." in found["problems"]
    assert "router-1: no storage answers" in found["problems"]


def test_what_several_processes_tell_in_the_same_words_is_told_once() -> None:
    views = {
        "gateway-1": {"members": [], "problems": ["storage-1 is DOWN", "no router is linked"]},
        "router-1": {"members": [], "problems": ["storage-1 is DOWN"]},
    }
    found = merged(TOPOLOGY, "left", supervisor(), views, ())
    assert found["problems"][-2:] == [
        "gateway-1, router-1: storage-1 is DOWN",
        "gateway-1: no router is linked",
    ]


def test_what_failed_is_told_before_what_follows_from_it() -> None:
    views = {"router-1": answer(gateway_1="alive", storage_1="down")}
    views["router-1"]["problems"] = ["no storage answers"]
    found = merged(TOPOLOGY, "left", supervisor(gateway="failed"), views, ["storage-1 is silent."])
    assert [problem.partition(" failed")[0] for problem in found["problems"]][:1] == ["gateway-1"]
    assert found["problems"][1:4] == [
        "storage-1 is down.",
        "storage-1 is silent.",
        "router-1: no storage answers",
    ]


def test_who_is_starting_is_asked_too_but_its_silence_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ask(folder: Path, name: str, question: str) -> dict[str, object]:
        if name == "storage-1":
            return {"problems": ["waits for storage-2"]}
        raise NotRunning(f"{name} does not run.")

    monkeypatch.setattr(cluster, "ask", ask)
    conditions = {
        "storage-1": "starting", "router-1": "starting", "gateway-1": "ready", "x": "failed",
    }  # fmt: skip
    children = {name: {"condition": condition} for name, condition in conditions.items()}
    running = Running(DataFolder(tmp_path), "test", "", (), "")
    assert running.answers({"processes": children}) == (
        {"storage-1": {"problems": ["waits for storage-2"]}},
        ["gateway-1 does not run."],
    )


def test_on_one_of_several_hosts_what_the_storages_elsewhere_hold_is_a_note() -> None:
    views = {
        "gateway-1": answer(router_1="alive", storage_1="alive"),
        "router-1": answer(gateway_1="alive", storage_1="alive"),
    }
    found = merged(TOPOLOGY, "left", supervisor(), views, ())
    assert {one["known_by"] for one in found["partitions"]} == {"nobody"}
    assert found["notes"] == [
        f"nothing is known here of {TOPOLOGY.partitions} partitions:"
        " no storage that answers holds a replica."
    ]
    assert found["problems"] == []
