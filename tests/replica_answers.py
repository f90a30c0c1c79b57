"""Made-up answers of storages: what `zmqim status` is told of replicas."""

from __future__ import annotations

from typing import Any

NAMES = ("storage-1", "storage-2", "storage-3")

Answers = dict[str, dict[str, Any]]


def voter(name: str, state: str = "replicating", lag: int = 0) -> dict[str, Any]:
    """A replica as its leader tells of it."""
    return {"name": name, "replica": 1, "match_lag": lag, "state": state}


def leads(partition: int | str, name: str, term: int = 1, **changes: Any) -> dict[str, Any]:
    """What the leader says: three voters without fault, but for the changes."""
    others = [voter(one) for one in NAMES if one != name]
    return {
        **follows(partition, name, term),
        "role": "leader",
        "voters": [voter(name, "leader"), *others],
        "learners": [],
        "serving": True,
        "replicas_wanted": 3,
        **changes,
    }


def follows(partition: int | str, leader: str = "", term: int = 1, **changes: Any) -> Any:
    """What any other replica says."""
    return {
        "id": partition,
        "term": term,
        "role": "follower",
        "leader": leader,
        "last": 9,
        "commit": 9,
        "applied": 9,
        "conf_id": 0,
        **changes,
    }


def answers(**told: list[dict[str, Any]]) -> Answers:
    """Answers by storage: ``storage_1=[…]``."""
    return {name.replace("_", "-"): {"partitions": entries} for name, entries in told.items()}


def led_by_storage_1(*entries: dict[str, Any]) -> Answers:
    """Storage-1 says this; the others follow."""
    heard = [follows(one["id"], "storage-1", one["term"]) for one in entries]
    return answers(storage_1=list(entries), storage_2=heard, storage_3=heard)
