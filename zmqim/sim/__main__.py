"""Runs seeds from the command line: ``python -m zmqim.sim [--small] [--seeds N] [--first SEED]``.

A failing seed is printed with what it broke and how to run it again. Exit code 1 if there was one.
"""

from __future__ import annotations

import argparse
import sys

from zmqim.sim.run import run


def main() -> int:
    """Run the seeds that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m zmqim.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds (100)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--small", action="store_true", help="three storages, two partitions, 20 s")
    arguments = parser.parse_args()
    failed = []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        report = run(seed, small=arguments.small)
        sys.stdout.write(f"{report}\n")
        if report.violations:
            failed.append(seed)
    for seed in failed:
        again = f"python -m zmqim.sim {'--small ' * arguments.small}--seeds 1 --first {seed}"
        sys.stdout.write(f"seed {seed} failed; again: {again}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
