"""A process that keeps the supervisor's rules and does nothing else: `plain_process.py NAME …`.

It is to `zmqim.node.supervisor` what a gateway, router or storage is. A file `<data>/<name>.mode`
changes what it does: "broken" ends before it is ready, "deaf" ignores the order to stop.
At its end it appends its name to `<data>/order`.
"""

from __future__ import annotations

import os
import select
import sys
import time
from pathlib import Path

from zmqim.bus.messages import Role
from zmqim.node.reports import ReportWriter
from zmqim.node.stopping import StopRequest
from zmqim.telemetry.logs import file_logger

DRAIN_S = 0.05


def main() -> int:
    name, data = sys.argv[1], Path(sys.argv[2])
    given = dict(word.removeprefix("--").split("=") for word in sys.argv[3:])
    reports = ReportWriter(int(given["report-fd"]))
    logger = file_logger(data / "logs" / f"{name}.log", name, reports.record)
    mode = data / f"{name}.mode"
    if mode.exists() and mode.read_text() == "broken":
        logger.error("cannot start", reason="it is broken")
        print("a last word on stderr", file=sys.stderr)
        return 3
    before = given.get("before-fd")
    stopping = StopRequest(
        Role[name.split("-")[0].upper()],
        int(given["supervisor-fd"]),
        int(before) if before else None,
    )
    reports.ready()
    poll = select.poll()
    poll.register(stopping.fileno(), select.POLLIN)
    while not stopping.requested or (mode.exists() and mode.read_text() == "deaf"):
        poll.poll()
    time.sleep(DRAIN_S)
    with open(data / "order", "a") as order:
        order.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
