"""The report of a run: as JSON for machines, as a table for people."""

from __future__ import annotations

import subprocess
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table

from tools.chaos.replicas import Replica
from tools.chaos.rig import Rig
from tools.chaos.stalls import percentiles
from tools.chaos.verdict import Verdict
from zmqim.sim.history import History

if TYPE_CHECKING:
    from tools.chaos.run import Options

SHOWN_MAX = 12
"""Of the sentences; the file holds more."""
RESULTS = Path(__file__).parents[1] / "bench" / "results"


def report_of(
    options: Options,
    rig: Rig,
    history: History,
    counted: dict[str, Any],
    verdict: Verdict,
    replicas: list[Replica],
    left_out: dict[str, str],
) -> dict[str, Any]:
    """Everything but the stalls."""
    cluster = rig.cluster
    zero = min((each.attempts[0].began for each in history.sendings if each.attempts), default=0)
    return {
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "commit": _commit(),
        "options": msgspec.to_builtins(options),
        "hosts": len(cluster.hosts),
        "processes": len(cluster.names),
        "voters": rig.voters,
        "compiled": rig.compiled,
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "gaps": verdict.gaps,
        "violations": verdict.counts,
        "sentences": verdict.sentences,
        "sent": counted["sent"],
        "acknowledged": counted["acknowledged"],
        "pushed": counted["pushed"],
        "clients": counted["counts"],
        "replicas": len(replicas),
        "reads": len(history.pulls),
        "absences": len(history.absences),
        "nemeses": dict(Counter(trouble.kind for trouble in rig.troubles)),
        "left_out": left_out,
        "outcomes": rig.outcomes,
        "waiting": _waiting(history, rig),
        "troubles": [
            {
                "kind": trouble.kind,
                "detail": trouble.detail,
                "from": _seconds(trouble.began - zero),
                "to": _seconds(trouble.ended - zero),
                "recovered": _seconds(trouble.recovered - zero),
            }
            for trouble in rig.troubles
        ],
    }


def show(report: dict[str, Any], console: Console) -> None:
    """The same for people."""
    options = report["options"]
    title = (
        f"chaos, seed {options['seed']}: {options['seconds']:g} s, {options['rate']:g}/s offered,"
        f" {report['hosts']} hosts, {report['voters']} voters"
    )
    table = Table(title=title)
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_row("lost / doubled / gaps", "{lost} / {doubled} / {gaps}".format(**report))
    for name in ("sent", "acknowledged", "pushed", "reads", "absences", "replicas"):
        table.add_row(name, f"{report[name]:,}")
    for name, count in sorted(report["clients"].items()):
        table.add_row(f"clients: {name.replace('_', ' ')}", f"{count:,}")
    table.add_row("clients: CPU", f"{report['clients_cpu']:.2f}")
    for kind, found in report["stalls"].items():
        words = "p50 {p50} s, p99 {p99} s, max {max} s, never {never}".format(**found)
        table.add_row(f"stalls after {kind} ({found['stalls']})", words)
    for kind, found in report["waiting"].items():
        words = "p50 {p50} s, p99 {p99} s, max {max} s".format(**found)
        count = report["nemeses"].get(kind)
        table.add_row(f"SENDACK, {f'{count} × ' if count else ''}{kind}", words)
    for name, count in sorted(report["outcomes"].items()):
        table.add_row(name, f"{count:,}")
    for name, why in report["left_out"].items():
        table.add_row(f"left out: {name}", why)
    for storage, entries in report["entries_behind"].items():
        table.add_row(f"{storage} behind at the end", f"{entries:,} entries")
    console.print(table)
    for sentence in report["sentences"][:SHOWN_MAX]:
        console.print(sentence, style="red", markup=False, highlight=False)
    verdict = "violations: " + str(report["violations"]) if report["violations"] else "no violation"
    console.print(verdict, style="bold red" if report["violations"] else "bold green")


def save(report: dict[str, Any], path: Path | None) -> Path:
    """Append the report as a line of JSON, and its table to the file of that name in ``.txt``."""
    path = path or RESULTS / f"chaos-{time.strftime('%Y-%m-%d', time.gmtime())}.jsonl"
    with path.open("ab") as file:
        file.write(msgspec.json.encode(report) + b"\n")
    with path.with_suffix(".txt").open("a") as text:
        show(report, Console(file=text, width=110))
    return path


def _waiting(history: History, rig: Rig) -> dict[str, dict[str, float]]:
    """How long messages waited for their SENDACK, by what troubled the cluster when they began."""
    spans = sorted((one.began, one.recovered, one.kind) for one in rig.troubles)
    found: dict[str, list[int]] = defaultdict(list)
    acknowledged = (
        (sending.attempts[0].began, answer.at)
        for sending in history.sendings
        if (answer := sending.first_acknowledged) is not None
    )
    place = 0
    for began, at in sorted(acknowledged):
        while place < len(spans) and spans[place][1] < began:
            place += 1
        is_troubled = place < len(spans) and spans[place][0] <= began
        found[spans[place][2] if is_troubled else "calm"].append(at - began)
    return {kind: percentiles(each) for kind, each in sorted(found.items())}


def _seconds(microseconds: int) -> float:
    return round(microseconds / 1e6, 2)


def _commit() -> str:
    words = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    return done.stdout.strip() or "unknown"
