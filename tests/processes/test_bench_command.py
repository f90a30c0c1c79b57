"""`zmqim bench` against a real cluster: it counts what really happened."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest


def bench(cluster: Any, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "zmqim.cli", "bench", *words, "--json", "--data"]
    done = subprocess.run(
        [*command, str(cluster.data)], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("rate", [(), ("--rate", "200")])
def test_every_message_of_a_person_run_is_acknowledged_and_delivered(
    cluster: Any, rate: tuple[str, ...]
) -> None:
    report = bench(cluster, "--connections", "10", "--seconds", "2", "--warmup", "1", *rate)
    assert report["total_sent"] == report["total_acknowledged"] == report["total_delivered"] > 0
    assert (report["refused"], report["unanswered"], report["corrupt"]) == ({}, 0, 0)
    assert 0 < report["p50_ms"] <= report["p99_ms"]
    assert report["records_per_sync"] >= 1
    assert {"gateway-1", "router-1", "storage-1"} <= set(report["processes"])


def test_every_member_of_a_group_hears_every_message(cluster: Any) -> None:
    words = "group", "--connections", "20", "--group-size", "20", "--senders", "3"
    report = bench(cluster, *words, "--seconds", "2", "--warmup", "1", "--workers", "2")
    assert report["total_delivered"] == report["total_acknowledged"] * 19


def test_each_message_to_a_crowd_is_timed_until_the_last_one_has_it(cluster: Any) -> None:
    words = "crowd", "--connections", "20", "--group-size", "2500", "--rate", "20"
    report = bench(cluster, *words, "--seconds", "2", "--warmup", "0")
    assert report["total_delivered"] == report["total_sent"] * 19
    assert report["messages"] == report["total_acknowledged"] > 0
    assert 0 < report["reached_p50_ms"] <= report["reached_max_ms"]
    assert report["create_seconds"] > 0


def test_idle_connections_are_counted(cluster: Any) -> None:
    report = bench(cluster, "idle", "--connections", "50", "--seconds", "1", "--warmup", "0")
    assert report["lost_connections"] == 0
    assert report["connect_seconds"] > 0
