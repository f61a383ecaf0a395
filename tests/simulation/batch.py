"""Many worlds on all cores: what each seed came to, added up, and the failing ones with their stories."""

import multiprocessing
import os
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .auditor import AuditError
from .coverage import Report
from .world import World

SEEDS_PER_JOB = 5


@dataclass
class Ended:
    """One world that was run to its end, or to its failure."""

    seed: int
    report: Report
    digest: str
    """Names everything that its disk was given, byte for byte."""
    failure: str = ""
    """What was wrong, for people; empty when nothing was."""
    story: str = ""
    """What the failing world had been through, and the log of its nodes."""


def run_one(seed: int, **options: Any) -> Ended:
    """One world, whatever becomes of it."""
    world = World(seed, **options)
    failure = ""
    try:
        world.run()
    except AuditError as error:
        failure = str(error)
    except Exception:
        failure = f"seed {seed}: the simulation itself failed\n{traceback.format_exc()}"
    ended = Ended(seed, world.report, world.disk.digest, failure)
    if failure:
        log = "\n".join(str(entry) for entry in world.logs)
        ended.story = f"{failure}\n\n{world.report.table()}\n\n{log}\n"
    return ended


def run_many(
    seeds: Iterable[int], *, workers: int | None = None, ends_at_s: float | None = None
) -> Iterator[Ended]:
    """Run worlds in processes of their own, as many at a time as there are cores.

    Yields them as they end; begins no more after `ends_at_s`, a moment of `time.monotonic`.
    """
    workers = workers or os.cpu_count() or 1
    remaining = iter(seeds)
    running: set[Future[list[Ended]]] = set()
    # Not forked: a parent with threads, as a test runner is, must not be copied.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        while True:
            while len(running) < 2 * workers and (ends_at_s is None or time.monotonic() < ends_at_s):
                job = list(islice(remaining, SEEDS_PER_JOB))
                if not job:
                    break
                running.add(pool.submit(_run_some, job))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()


def _run_some(seeds: list[int]) -> list[Ended]:
    return [run_one(seed) for seed in seeds]
