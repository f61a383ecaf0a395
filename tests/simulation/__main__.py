"""Runs seeded worlds and says what happened: `python -m tests.simulation --seeds 200`, `--seed 7` for one."""

import argparse
import sys
import time

from .auditor import AuditError
from .world import Report, World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds, from --first on")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay one world")
    parser.add_argument(
        "--digest", action="store_true", help="print the digest of each world's storage journal"
    )
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    total, failed, began = Report(), 0, time.monotonic()
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except AuditError as error:
            failed += 1
            print(error)
        total += world.report
        if options.digest:
            print(f"seed {seed} digest {world.disk.digest}")
    print(summary(total, len(seeds), failed, time.monotonic() - began))
    return 1 if failed else 0


def summary(total: Report, worlds: int, failed: int, took_s: float) -> str:
    """One line for people."""
    return (
        f"{worlds} worlds, {failed} failed: {total.hours:,.0f} simulated hours in {took_s:.0f} s; "
        f"{total.events:,} events, {total.runs:,} runs, {total.requests:,} calls, {total.commits:,} commits, "
        f"{total.crashes:,} crashes, {total.faults:,} faults"
    )


if __name__ == "__main__":
    sys.exit(main())
