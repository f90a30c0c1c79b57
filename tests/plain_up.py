"""A supervisor over processes that do nothing: `plain_up.py DATA`; says "serving" on stdout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import plain_process

from zmqim.ids import NodeName
from zmqim.node.folders import DataFolder
from zmqim.node.supervisor import Supervisor
from zmqim.telemetry.logs import file_logger
from zmqim.topology import Process, parse

TOPOLOGY = """
cluster = "plain"
[[gateway]]
name = "gateway-1"
listeners = ["http://127.0.0.1:1001"]
[[gateway]]
name = "gateway-2"
listeners = ["http://127.0.0.1:1002"]
[[router]]
name = "router-1"
[[storage]]
name = "storage-1"
"""


class Printer:
    def say(self, line: str) -> None:
        print(line, flush=True)

    def serves(self, failed: Sequence[NodeName]) -> None:
        print("serving", flush=True)


def main() -> int:
    data = DataFolder(sys.argv[1])
    data.create()

    def command(process: Process) -> list[str]:
        return [sys.executable, str(Path(plain_process.__file__)), process.name, str(data.path)]

    supervisor = Supervisor(
        parse(TOPOLOGY, "plain.toml").processes(),
        data,
        data.lock(),
        Printer(),
        file_logger(data.log("supervisor"), "supervisor"),
        command,
    )
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
