"""Runs seeded worlds and says what happened.

`python -m tests.simulation --seeds 200` or `--minutes 30`; `--seed 7` replays one world. The story of each
failing seed is kept in a file.
"""

import argparse
import sys
import time
from itertools import count
from pathlib import Path

from .batch import Ended, run_many, run_one
from .coverage import WORLDS_MIN, Report

PROGRESS_S = 10.0
LOGS = Path("build/simulation")
"""Where stories of failing seeds are kept."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds, from --first on")
    parser.add_argument("--minutes", type=float, help="run for this long instead of for a number of seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay one world")
    parser.add_argument("--workers", type=int, help="processes at a time; without it one for each core")
    parser.add_argument("--logs", type=Path, default=LOGS, help="where stories of failing seeds are kept")
    parser.add_argument(
        "--digest", action="store_true", help="print the digest of each world's storage journal"
    )
    options = parser.parse_args()
    began_s = time.monotonic()
    if options.seed is not None:
        worlds = iter([run_one(options.seed)])
    elif options.minutes is not None:
        worlds = run_many(
            count(options.first), workers=options.workers, ends_at_s=began_s + 60 * options.minutes
        )
    else:
        seeds = range(options.first, options.first + options.seeds)
        worlds = run_many(seeds, workers=options.workers)
    total, failed, ended, said_s = Report(), list[int](), 0, began_s
    for world in worlds:
        total += world.report
        ended += 1
        if world.failure:
            failed.append(world.seed)
            print(f"{world.failure}\n  the whole story: {_keep(world, options.logs)}", flush=True)
        if options.digest:
            print(f"seed {world.seed} digest {world.digest}")
        if time.monotonic() - said_s > PROGRESS_S:
            said_s = time.monotonic()
            print(f"... {summary(total, ended, failed, said_s - began_s)}", file=sys.stderr, flush=True)
    if options.seed is None:
        print(total.table())
        if ended >= WORLDS_MIN and total.missing():
            print(f"never occurred: {', '.join(total.missing())}")
    print(summary(total, ended, failed, time.monotonic() - began_s))
    return 1 if failed else 0


def _keep(world: Ended, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed-{world.seed}.log"
    path.write_text(world.story)
    return path


def summary(total: Report, worlds: int, failed: list[int], took_s: float) -> str:
    """One line for people."""
    faults = total.total("disk") + total.total("network") + total.total("garbage")
    seen = total.seen
    return (
        f"{worlds:,} worlds, {len(failed)} failed {failed[:20] if failed else ''}: "
        f"{total.hours:,.0f} simulated hours in {took_s:.0f} s; "
        f"{total.events:,} events, {total.runs:,} runs, "
        f"{total.requests:,} calls, {total.commits:,} commits, "
        f"{seen['process: crashed between two callbacks']:,} crashes, "
        f"{seen['process: woke up with a stale epoch']:,} takeovers, "
        f"{total.total('deploy'):,} changes of deployments, "
        f"{total.total('registration'):,} odd registrations, "
        f"{total.total('clock'):,} jumps of the clock, {faults:,} faults of disk, network and answers"
    )


if __name__ == "__main__":
    sys.exit(main())
