"""Logs: JSON lines with the process's name, readable for people, without secrets, bounded."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zmqim import limits
from zmqim.telemetry.logs import file_logger, readable, tail
from zmqim.telemetry.metrics import Metrics


@pytest.fixture(autouse=True)
def _own_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        handler.close()
    logging.shutdown()
    root.handlers, root.level = before


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_a_json_line_with_process_level_and_time(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "router-1.log"
    file_logger(path, "router-1").info("linked", peer="storage-1")
    (record,) = lines(path)
    assert record.pop("time").endswith("Z")
    assert record == {
        "event": "linked",
        "level": "info",
        "peer": "storage-1",
        "process": "router-1",
    }


@pytest.mark.promise("P10")
@pytest.mark.parametrize("name", ["token", "api_key", "payload", "Authorization", "password"])
def test_a_secret_by_name_is_never_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.log"
    file_logger(path, "a").warning("refused", **{name: "s3cr3t"})
    assert "s3cr3t" not in path.read_text()


def test_records_of_libraries_end_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    file_logger(path, "a")
    logging.getLogger("uvicorn.error").warning("port %d", 5001)
    (record,) = lines(path)
    assert (record["event"], record["library"]) == ("port 5001", "uvicorn.error")


def test_the_watcher_hears_warnings_and_errors_only(tmp_path: Path) -> None:
    heard: list[str] = []
    logger = file_logger(tmp_path / "a.log", "a", lambda level, _: heard.append(level))
    logger.info("one")
    logger.warning("two")
    logger.error("three")
    assert heard == ["warning", "error"]


def test_a_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_FILE_BYTES_MAX", 2_000)
    logger = file_logger(tmp_path / "a.log", "a")
    for number in range(200):
        logger.info("line", number=number)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == limits.LOG_FILES_KEPT
    assert max(sizes) <= 2_000


def test_a_log_that_cannot_be_written_is_said_once_and_what_was_lost_is_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.log"
    path.symlink_to("/dev/full")
    logger = file_logger(path, "a")
    for number in range(100):
        logger.warning("line", number=number)
    shown = capfd.readouterr().err
    assert shown == (
        f"zmqim: the log {path} cannot be written (No space left on device): "
        "what does not fit is dropped and counted.\n"
    )
    path.unlink()
    logger.info("again")
    found = lines(path)
    assert [one["event"] for one in found] == ["again", "log records were lost"]
    assert (found[1]["count"], found[1]["process"]) == (100, "a")
    assert found[1]["time"].endswith("Z")
    assert capfd.readouterr().err == ""


def test_the_tail_of_a_log_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    logger = file_logger(path, "a")
    for number in range(30):
        logger.warning("line", number=number)
    with path.open("a") as file:
        file.write("no json\n")
    shown = tail(path, 3)
    assert [line.split("  ", 1)[-1] for line in shown] == [
        "a  warning: line  number=28",
        "a  warning: line  number=29",
        "no json",
    ]
    assert tail(tmp_path / "nothing", 3) == []


def test_a_traceback_stands_below_its_line() -> None:
    record = {"event": "ended", "level": "error", "process": "a", "exception": "Trace\n  x"}
    assert readable(record) == "a  error: ended\nTrace\n  x"


def test_counts_of_a_core_are_read_when_somebody_asks() -> None:
    metrics = Metrics()
    counts = {"frames_dropped": 0}
    metrics.counters("bus", "what the bus did", lambda: counts)
    metrics.gauges("router", "sizes", lambda: {"sessions": 4})
    counts["frames_dropped"] = 7
    text = metrics.exposition().decode()
    assert "zmqim_bus_frames_dropped_total 7.0" in text
    assert "zmqim_router_sessions 4.0" in text


def test_rare_things_are_counted_where_they_happen() -> None:
    metrics = Metrics()
    metrics.counter("restarts", "of what", ["name"]).labels("a").inc()
    metrics.gauge("room", "bytes").set(3)
    metrics.histogram("sync_seconds", "seconds", [0.001, 0.01]).observe(0.005)
    text = metrics.exposition().decode()
    assert 'zmqim_restarts_total{name="a"} 1.0' in text
    assert "zmqim_room 3.0" in text
    assert 'zmqim_sync_seconds_bucket{le="0.01"} 1.0' in text
