"""The figures of a run: one JSON object for machines, one table for people."""

from __future__ import annotations

from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from zmqim.bench.histogram import Histogram
from zmqim.bench.plan import Plan, Shape
from zmqim.bench.sampling import Usage
from zmqim.bench.worker import Figures


def report_of(
    plan: Plan,
    figures: list[Figures],
    connect_seconds: float,
    before: dict[str, Usage],
    after: dict[str, Usage],
    idle: dict[str, Usage],
    syncs: tuple[int, int],
) -> dict[str, Any]:
    """Everything a run found. `idle` is the usage before any connection was made, `syncs` the
    (journal syncs, journal entries) that the storages made between `before` and `after`."""
    seconds = max((part.seconds for part in figures), default=0.0) or 1.0
    latencies = Histogram()
    for part in figures:
        latencies.merge(Histogram(part.latencies))
    refused: dict[str, int] = {}
    for part in figures:
        for reason, count in part.refused.items():
            refused[str(reason)] = refused.get(str(reason), 0) + count
    report: dict[str, Any] = {
        "shape": plan.shape.value,
        "connections": plan.connections,
        "in_flight": plan.in_flight,
        "payload_bytes": plan.payload,
        "rate_offered": plan.rate,
        "seconds": round(seconds, 2),
        "connect_seconds": round(connect_seconds, 2),
        "acknowledged_per_s": round(sum(part.acknowledged for part in figures) / seconds, 1),
        "delivered_per_s": round(sum(part.delivered for part in figures) / seconds, 1),
        "p50_ms": latencies.percentile_ms(50),
        "p99_ms": latencies.percentile_ms(99),
        "refused": refused,
        "unanswered": sum(part.unanswered for part in figures),
        "lost_connections": sum(part.lost_connections for part in figures),
        "corrupt": sum(part.corrupt for part in figures),
        "total_sent": sum(part.total_sent for part in figures),
        "total_acknowledged": sum(part.total_acknowledged for part in figures),
        "total_delivered": sum(part.total_delivered for part in figures),
        "records_per_sync": round(syncs[1] / syncs[0], 1) if syncs[0] else None,
        "processes": _processes(before, after, idle, seconds),
    }
    if plan.shape is Shape.GROUP:
        report["groups"], report["group_size"] = plan.groups, plan.group_size
    if plan.shape is Shape.CROWD:
        reached = sorted(seconds for part in figures for seconds in part.reached)
        report["group_size"] = plan.group_size
        report["messages"] = len(reached)
        report["reached_first_ms"] = round(figures[0].first_reached * 1000, 1) if figures else None
        report["reached_p50_ms"] = round(median(reached) * 1000, 1) if reached else None
        report["reached_max_ms"] = round(reached[-1] * 1000, 1) if reached else None
    if plan.shape is Shape.IDLE:
        report["rss_kb_per_connection"] = _rss_per_connection(plan, after, idle)
    return report


def _processes(
    before: dict[str, Usage], after: dict[str, Usage], idle: dict[str, Usage], seconds: float
) -> dict[str, dict[str, float]]:
    return {
        name: {
            "cpu": round((usage.cpu_seconds - before[name].cpu_seconds) / seconds, 2),
            "rss_mb": round(usage.rss_bytes / 2**20, 1),
            "rss_mb_before": round(idle[name].rss_bytes / 2**20, 1) if name in idle else 0.0,
        }
        for name, usage in after.items()
        if name in before
    }


def _rss_per_connection(plan: Plan, after: dict[str, Usage], idle: dict[str, Usage]) -> float:
    """KB that the gateways grew by, per connection."""
    grown = sum(
        usage.rss_bytes - idle[name].rss_bytes
        for name, usage in after.items()
        if name.startswith("gateway") and name in idle
    )
    return round(grown / 1024 / plan.connections, 2)


def show(report: dict[str, Any], console: Console) -> None:
    """The same for people."""
    table = Table(title=f"zmqim bench: {report['shape']}, {report['connections']} connections")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name in (
        "create_seconds", "connect_seconds", "messages", "reached_first_ms", "reached_p50_ms",
        "reached_max_ms",
        "acknowledged_per_s", "delivered_per_s", "p50_ms", "p99_ms",
        "records_per_sync", "rss_kb_per_connection", "unanswered", "lost_connections", "corrupt",
    ):  # fmt: skip
        if report.get(name) is not None:
            table.add_row(name.replace("_", " "), f"{report[name]:,}")
    for reason, count in report["refused"].items():
        table.add_row(f"refused with reason {reason}", f"{count:,}")
    for name, usage in report["processes"].items():
        table.add_row(name, f"{usage['cpu']:.2f} CPU, {usage['rss_mb']:.0f} MB")
    console.print(table)
