"""Runs seeds of the simulated cluster, and says of each whether every promise held.

To be started with `python -m zmqim.sim`.

Usage:
  zmqim.sim [options]

Options:
  --seeds N    How many seeds [default: 100].
  --first N    The first of them [default: 0].
  --small      Three storages, two partitions, 20 s.
  --jobs N     So many at once, each in a process of its own [default: 1].
  --held FILE  Leave out the seeds that held according to FILE, and add those that hold now. FILE is
               of one state of the code: remove it when the code changes.
  -h --help    Show this.

A failing seed is printed with what it broke and how to run it again. Exit code 1 if there was one.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from docopt import docopt

from zmqim.sim.run import Report, run


def main(words: Sequence[str] | None = None) -> int:
    """Run the seeds that the arguments ask for; Ctrl-C ends it, and what held is kept."""
    found = docopt(__doc__, argv=None if words is None else list(words))
    world = "small " if found["--small"] else ""
    try:
        first, count, jobs = (int(found[name]) for name in ("--first", "--seeds", "--jobs"))
    except ValueError as error:
        sys.stderr.write(f"--first, --seeds and --jobs are numbers: {error}\n")
        return 2
    held = Path(found["--held"]) if found["--held"] else None
    known = _held(held)
    seeds = [seed for seed in range(first, first + count) if f"{world}{seed}" not in known]
    failed = []
    try:
        with _notes(held) as notes, _reports(seeds, jobs, bool(world)) as reports:
            for report in reports:
                sys.stdout.write(f"{report}\n")
                sys.stdout.flush()
                if report.violations:
                    failed.append(report.seed)
                elif notes is not None:
                    notes.write(f"{world}{report.seed}\n")
                    notes.flush()
    except KeyboardInterrupt:
        return 130
    for seed in failed:
        again = f"python -m zmqim.sim {world and '--small '}--seeds 1 --first {seed}"
        sys.stdout.write(f"seed {seed} failed; again: {again}\n")
    return 1 if failed else 0


def _held(path: Path | None) -> set[str]:
    """The lines of the file; none if it is not there yet."""
    if path is None or not path.exists():
        return set()
    return set(path.read_text().splitlines())


@contextmanager
def _notes(path: Path | None) -> Iterator[TextIO | None]:
    """Where seeds that hold are noted; None: nowhere."""
    if path is None:
        yield None
        return
    with path.open("a") as file:
        yield file


@contextmanager
def _reports(seeds: Sequence[int], jobs: int, small: bool) -> Iterator[Iterable[Report]]:
    """The reports of the seeds in their order, each as soon as it and those before it are there."""
    one = partial(run, small=small)
    if jobs <= 1:
        yield map(one, seeds)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool.map(one, seeds)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the processes of --jobs stay
    sys.exit(main())
