"""A running cluster, seen from outside: what status, down, chat and bench find in a data folder.

The supervisor knows pids and who is starting or failed; gossip, as any process sees it, knows who
is alive for the others and what runs on other hosts; the storages know their replicas. `merged`
puts all that together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from zmqim.errors import NotRunning, ZmqimError
from zmqim.node import partition_words
from zmqim.node.control import ask
from zmqim.node.folders import DataFolder, read_api_key
from zmqim.node.partition_words import Surroundings
from zmqim.node.partitions import partitions_of, shares_of
from zmqim.node.supervision import Condition
from zmqim.node.supervisor import SUPERVISOR
from zmqim.ring.document import ring_of
from zmqim.topology import Topology, load

ROLE_WORDS = ("gateway", "router", "storage")
_STATE_OF_CONDITION = {
    Condition.STARTING: "starting",
    Condition.READY: "alive",
    Condition.WAITING: "down",
    Condition.FAILED: "failed",
    Condition.GONE: "left",
}


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster that runs on a data folder of this host."""

    folder: DataFolder
    cluster: str
    host: str
    """The host of the topology that runs here; empty when it has only one."""
    gateways: tuple[dict[str, str], ...]
    """Those of this host: name, tcp (``host:port``), ws and http (URLs); empty: no listener."""
    api_key_file: str
    """Empty when the key comes from the environment."""

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder.path

    def api_key(self) -> str:
        """The key of the HTTP API; UsageError when it is nowhere."""
        return read_api_key(Path(self.api_key_file) if self.api_key_file else None)

    def topology(self) -> Topology:
        """What it was started with."""
        return load(self.folder.topology, key_needed=False)

    def supervisor(self) -> dict[str, Any]:
        """The supervisor's answer to `status`; NotRunning when it is gone."""
        return ask(self.folder.run, SUPERVISOR, "status")

    def status(self, name: str) -> dict[str, Any]:
        """The answer of one process of this host; a ZmqimError when there is none."""
        return ask(self.folder.run, name, "status")

    def statuses(self) -> list[dict[str, Any]]:
        """The answers of all processes of this host that answer."""
        return list(self.answers(self.supervisor())[0].values())

    def answers(self, supervisor: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """What each process says of itself, by name, and a sentence for each silent one.

        Who is starting is asked too: a storage that waits for its peers knows for whom. Of it,
        silence is no fault.
        """
        found: dict[str, dict[str, Any]] = {}
        problems: list[str] = []
        for name, child in supervisor["processes"].items():
            if child["condition"] in (Condition.READY, Condition.STARTING):
                try:
                    found[name] = self.status(name)
                except ZmqimError as error:
                    if child["condition"] == Condition.READY:
                        problems.append(error.what)
        return found, problems


def running_cluster(data: str | Path) -> Running:
    """The cluster that runs on a data folder; NotRunning when there is none."""
    folder = DataFolder(data)
    hint = "Start one with `zmqim up`, or name its folder with --data."
    if not folder.locked():
        raise NotRunning(f"No cluster runs on {str(folder.path)!r}.", hint=hint)
    try:
        found = orjson.loads(folder.cluster.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        raise NotRunning(
            f"The cluster on {str(folder.path)!r} is just starting or stopping.",
            hint="Try again in a moment.",
        ) from None
    return Running(
        folder,
        found["cluster"],
        found["host"],
        tuple(found["gateways"]),
        found["api_key_file"],
    )


def merged(
    topology: Topology,
    host: str,
    supervisor: Mapping[str, Any],
    answers: Mapping[str, Mapping[str, Any]],
    silent: Iterable[str],
) -> dict[str, Any]:
    """What `zmqim status --json` prints but for the details: what runs, what is stored how often,
    and what is wrong: with processes, with what is stored, then what single processes tell. Only
    the storages of this host are among the `answers`.
    """
    problems: list[str] = []
    rows = _processes(topology, supervisor, _views(answers), problems)
    problems.sort(key=lambda sentence: " failed: " not in sentence)
    problems += silent
    storages = [storage.name for storage in topology.storages]
    partitions = partitions_of(topology.partitions, storages, answers, _ended(supervisor))
    around = Surroundings(
        states={row["name"]: row["state"] for row in rows},
        storages=frozenset(storages),
        here=frozenset(one.name for one in topology.storages if not host or one.host == host),
    )
    problems += partition_words.problems(partitions, around)
    problems += _told(answers)
    homes = [owners[0] for owners in ring_of(topology).placement]
    return {
        "cluster": topology.cluster,
        "host": host,
        "processes": rows,
        "storages": [asdict(share) for share in shares_of(partitions, storages, homes)],
        "partitions": [partition.to_json() for partition in partitions],
        "problems": problems,
        "notes": partition_words.notes(partitions, around),
    }


def _processes(
    topology: Topology,
    supervisor: Mapping[str, Any],
    views: Mapping[str, Mapping[str, str]],
    problems: list[str],
) -> list[dict[str, Any]]:
    """A row for every process of the topology; what is wrong with it is added to `problems`."""
    children = supervisor["processes"]
    rows: list[dict[str, Any]] = []
    for process in topology.processes():
        seen = views.get(process.name, {})
        child = children.get(process.name)
        if child is None:
            state = _most_seen(seen) or "down"
        else:
            state = _STATE_OF_CONDITION[Condition(child["condition"])]
            if state == "alive":
                state = _most_seen(seen) or state
        if len(set(seen.values())) > 1:
            said = ", ".join(f"{state} by {name}" for name, state in sorted(seen.items()))
            problems.append(f"{process.name} is seen differently: {said}.")
        if state != "alive":
            error = str(child.get("error", "")) if child else ""
            problems.append(_sentence(process.name, state, error))
        rows.append(
            {
                "name": process.name,
                "role": process.role.name.lower(),
                "pid": child["pid"] if child else None,
                "state": state,
                "host": process.host,
            }
        )
    return rows


def _told(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The problems that the processes tell; what several tell in the same words is told once."""
    tellers: dict[str, list[str]] = {}
    for name, answer in answers.items():
        for text in answer.get("problems", ()):
            tellers.setdefault(text, []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in tellers.items()]


def _ended(supervisor: Mapping[str, Any]) -> frozenset[str]:
    """The processes of this host that do not run: no gossip is needed to know."""
    runs = (Condition.STARTING, Condition.READY)
    children = supervisor["processes"].items()
    return frozenset(name for name, child in children if child["condition"] not in runs)


def _views(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Name → {who looks: state}: what the others see; nobody is asked about itself."""
    views: dict[str, dict[str, str]] = {}
    for viewer, answer in answers.items():
        for member in answer.get("members", ()):
            if member["name"] != viewer:
                views.setdefault(member["name"], {})[viewer] = member["state"]
    return views


def _most_seen(seen: Mapping[str, str]) -> str:
    """The state that most of the others see; of equals the first by name. Empty: nobody looks."""
    states = sorted(seen.values())
    return max(states, key=states.count, default="")


def _sentence(name: str, state: str, error: str) -> str:
    match state:
        case "starting":
            return f"{name} is starting."
        case "failed" if error:
            return f"{name} failed: {error}"
        case "failed":
            return f"{name} failed: it ended again and again before it was ready; see its log."
        case _:
            return f"{name} is {state}."
