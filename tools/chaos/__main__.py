"""Chaos on real processes: trouble from a seed under load, then every promise is checked.

To be started with `python -m tools.chaos`.

Usage:
  tools.chaos [options]

Options:
  --seed N         Draws nemeses, targets and times [default: 1].
  --runs N         So many runs, with the seeds after --seed too [default: 1].
  --seconds S      Trouble lasts so long in each run [default: 60].
  --rate N         Messages offered per second over all users [default: 200].
  --payload BYTES  Plain payload of a message [default: 64].
  --nemeses WORDS  Names or groups, with commas between; see --list [default: all].
  --each           Each chosen nemesis in turn instead of by chance.
  --longest S      No pause or cut lasts longer [default: 30].
  --calm S         At most so long between troubles [default: 3].
  --count N        End a run after so many troubles instead of by time.
  --replicas N     `replicas` of the topology [default: 3].
  --buffers BYTES  Of the storages. Small ones switch logs all the time; with them the disk, not the
                   cluster, decides how much load is too much [default: 65536].
  --netns          Three hosts in network namespaces instead of loopback: needs root.
  --report FILE    Append the reports to this file [default: tools/bench/results/chaos-DATE.jsonl].
  --keep           Keep data, logs and history of runs without a violation too.
  --list           Print the nemeses.
  -h --help        Show this.

Exit code 1 when anything was lost, doubled, out of order, or did not come about in time.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from docopt import docopt
from rich.console import Console

from tools.chaos.nemeses import NEMESES
from tools.chaos.report import save, show
from tools.chaos.run import Options, run

DATED = "tools/bench/results/chaos-DATE.jsonl"


def main() -> int:
    """Entry point of the command."""
    arguments = docopt(__doc__)
    console = Console(width=110)
    if arguments["--list"]:
        for name, nemesis in NEMESES.items():
            print(f"{nemesis.group:<13} {name:<19} {(nemesis.act.__doc__ or '').split(chr(10))[0]}")
        return 0
    report = arguments["--report"]
    path = None if report == DATED else Path(report)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # namespaces are removed then too
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {line}", flush=True)

    violations = 0
    first = int(arguments["--seed"])
    for seed in range(first, first + int(arguments["--runs"])):
        outcome = run(_options(arguments, seed), say)
        show(outcome.report, console)
        say(f"appended to {save(outcome.report, path)} and the table beside it")
        violations += sum(outcome.verdict.counts.values())
    return int(violations > 0)


def _options(arguments: dict[str, str], seed: int) -> Options:
    return Options(
        seed=seed,
        seconds=float(arguments["--seconds"]),
        rate=float(arguments["--rate"]),
        payload=int(arguments["--payload"]),
        nemeses=tuple(arguments["--nemeses"].split(",")),
        netns=bool(arguments["--netns"]),
        replicas=int(arguments["--replicas"]),
        buffers=int(arguments["--buffers"]),
        longest=float(arguments["--longest"]),
        calm=float(arguments["--calm"]),
        each=bool(arguments["--each"]),
        count=int(arguments["--count"] or 0),
        keep=bool(arguments["--keep"]),
    )


if __name__ == "__main__":
    sys.exit(main())
