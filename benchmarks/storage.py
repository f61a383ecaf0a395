"""What the storage costs: commits of steps and of no-op runs, growth, loading, contended reads.

    python -m benchmarks.storage [--directory DIR] [--seconds 1.0] [NAME ...]

NAME is one of steps, runs, growth, load, contention, checkpoints; all without a name. Rows look like those of
a real server: 300 bytes of output a step.
"""

import argparse
import asyncio
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from inngest_server.runs.records import ItemRow
from inngest_server.storage.protocol import Batch, Outcome, Storage
from inngest_server.storage.sqlite import SQLiteStorage
from tests.builders import (
    T0_MS,
    make_event_row,
    make_item,
    make_journal_entry,
    make_mark,
    make_run_row,
    make_ulid,
    make_wait,
)

BATCHES = (1, 10, 30, 100)
PAYLOAD = b'{"text":"' + b"x" * 300 + b'"}'
EVENT_BODY = b'{"data":{"text":"' + b"x" * 300 + b'"}}'
SHARDS = range(256)


class Load:
    """Makes batches whose keys are never used twice."""

    def __init__(self, epochs: dict[int, int]) -> None:
        self._epochs = epochs
        self._numbers = itertools.count(1)

    def _batch(self, now_ms: int) -> Batch:
        batch = Batch()
        batch.epochs = {7: self._epochs[7]}
        batch.now_ms = now_ms
        return batch

    def steps(self, count: int) -> Batch:
        """Each: a memo, the answered item gone, the next item."""
        first = next(self._numbers) * 1_000
        batch = self._batch(T0_MS + first)
        for number in range(first, first + count):
            run_id = make_ulid(number % 997, at_ms=T0_MS + 1)
            batch.journal.append(make_journal_entry(run_id, number, payload=PAYLOAD))
            batch.remove(ItemRow, f"{run_id}.{number - 1000}", 7)
            batch.put(make_item(f"{run_id}.{number}", run_id))
        return batch

    def no_op_runs(self, count: int) -> tuple[Batch, Batch]:
        """The batch that starts them and the one that ends them."""
        first = next(self._numbers) * 1_000
        now_ms = T0_MS + first
        start, end = self._batch(now_ms), self._batch(now_ms)
        for number in range(first, first + count):
            event_id, run_id = make_ulid(2 * number, at_ms=now_ms), make_ulid(2 * number + 1, at_ms=now_ms)
            start.put(make_event_row(event_id, received_at_ms=now_ms, body=EVENT_BODY))
            start.put(make_mark(f"5b1d6e0a-{hash(event_id):x}", value=event_id))
            start.put(make_run_row(run_id, event_id=event_id, created_at_ms=now_ms))
            start.put(make_item(f"{run_id}.0", run_id))
            end.put(make_run_row(run_id, event_id=event_id, created_at_ms=now_ms, ended_at_ms=now_ms + 5))
            end.remove(ItemRow, f"{run_id}.0", 7)
        return start, end


@asynccontextmanager
async def opened(directory: Path | None, *, relaxed: bool = False):
    folder = Path(tempfile.mkdtemp(prefix="bench-storage-", dir=directory))
    storage = SQLiteStorage(folder / "data", relaxed=relaxed)
    await storage.open()
    try:
        yield storage, Load(await storage.acquire(SHARDS, "bench", 0))
    finally:
        await storage.close()
        shutil.rmtree(folder)


async def timed(storage: Storage, batches: Iterator[Batch], seconds: float) -> list[float]:
    """Durations of commits made one after the other, as the engine makes them."""
    durations: list[float] = []
    until = time.perf_counter() + seconds
    while (start := time.perf_counter()) < until:
        batch = next(batches)
        start = time.perf_counter()
        result = await storage.commit(batch)
        durations.append(time.perf_counter() - start)
        assert result.outcome is Outcome.DONE, result
    return durations


def describe(durations: list[float], things_each: float) -> str:
    ordered = sorted(durations)
    mean = sum(ordered) / len(ordered)

    def ms(share: float) -> str:
        return f"{ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1e3:6.2f}"

    return (
        f"{1 / mean:7.0f} commits/s {things_each / mean:8.0f} /s {mean / things_each * 1e6:6.1f} us each  "
        f"p50 {ms(0.5)} p99 {ms(0.99)} max {ms(1)} ms"
    )


async def measure_steps(arguments: argparse.Namespace) -> None:
    for relaxed in (False, True):
        for size in BATCHES:
            async with opened(arguments.directory, relaxed=relaxed) as (storage, load):
                batches = (load.steps(size) for _ in itertools.count())
                durations = await timed(storage, batches, arguments.seconds)
                print(f"steps  {'NORMAL' if relaxed else 'FULL':6} {size:4} {describe(durations, size)}")


async def measure_runs(arguments: argparse.Namespace) -> None:
    for relaxed in (False, True):
        for size in BATCHES:
            async with opened(arguments.directory, relaxed=relaxed) as (storage, load):
                batches = itertools.chain.from_iterable(load.no_op_runs(size) for _ in itertools.count())
                durations = await timed(storage, batches, arguments.seconds)
                print(f"runs   {'NORMAL' if relaxed else 'FULL':6} {size:4} {describe(durations, size / 2)}")


async def measure_growth(arguments: argparse.Namespace) -> None:
    async with opened(arguments.directory) as (storage, load):
        stored = 0
        for goal in (1_000, 10_000, 50_000, 100_000, 200_000, 300_000):
            while stored < goal:
                for batch in load.no_op_runs(100):
                    await storage.commit(batch)
                stored += 100
            batches = itertools.chain.from_iterable(load.no_op_runs(30) for _ in itertools.count())
            durations = await timed(storage, batches, arguments.seconds)
            steps = await timed(storage, (load.steps(30) for _ in itertools.count()), arguments.seconds)
            stored += len(durations) * 15
            print(f"growth runs  {goal:7} {describe(durations, 15)}")
            print(f"growth steps {goal:7} {describe(steps, 30)}")
        await measure_prune(storage, load, arguments)
        print(f"file {storage.path.stat().st_size / stored:.0f} bytes a run")


async def measure_prune(storage: Storage, load: Load, arguments: argparse.Namespace) -> None:
    pruned, slices = 0, list[float]()

    async def prune() -> None:
        nonlocal pruned
        until = time.perf_counter() + 2 * arguments.seconds
        while (start := time.perf_counter()) < until:
            pruned += await storage.prune(T0_MS + 10**9, 500)
            slices.append(time.perf_counter() - start)

    task = asyncio.create_task(prune())
    durations = await timed(storage, (load.steps(30) for _ in itertools.count()), 2 * arguments.seconds)
    await task
    print(f"steps beside pruning  {describe(durations, 30)}; {pruned / sum(slices):.0f} rows/s pruned")


async def measure_load(arguments: argparse.Namespace) -> None:
    async with opened(arguments.directory) as (storage, _):
        for start in range(0, 100_000, 500):
            batch = Batch()
            for number in range(start, start + 500):
                run_id = make_ulid(number)
                batch.put(make_run_row(run_id, event_id=make_ulid(number)))
                batch.put(make_wait("5" * 40, run_id))
            await storage.commit(batch)
        await storage.close()
        started = time.perf_counter()
        await storage.open()
        opened_s = time.perf_counter() - started
        longest, runs, waits, last = 0.0, list[object](), list[object](), time.perf_counter()
        async for page in storage.load(SHARDS):
            longest = max(longest, time.perf_counter() - last)
            runs += page.runs
            waits += page.waits
            last = time.perf_counter()
        total = time.perf_counter() - started
        print(
            f"load {len(runs)} runs, {len(waits)} waits: {total:.2f} s, "
            f"open {opened_s * 1e3:.0f} ms, longest page {longest * 1e3:.1f} ms"
        )


async def measure_contention(arguments: argparse.Namespace) -> None:
    """Beside an event loop that never waits and runs 2 ms of Python at a time."""
    async with opened(arguments.directory) as (storage, load):
        run_ids = [make_ulid(number) for number in range(30)]
        for run_id in run_ids:
            batch = Batch()
            batch.journal += [make_journal_entry(run_id, n, payload=PAYLOAD) for n in range(1, 21)]
            await storage.commit(batch)
        for interval in (0.005, 0.0005):
            sys.setswitchinterval(interval)
            for name, work in {
                "commit of 30 steps": lambda: storage.commit(load.steps(30)),
                "journals of 1 run, 20 entries": lambda: storage.journals(run_ids[:1]),
                "journals of 30 runs, 600 entries": lambda: storage.journals(run_ids),
            }.items():
                durations = await beside_a_busy_loop(work, arguments.seconds)
                print(f"busy loop, switch {interval * 1e3:g} ms: {name}: {describe(durations, 1)}")
        sys.setswitchinterval(0.005)


async def beside_a_busy_loop(work: Callable[[], Awaitable[object]], seconds: float) -> list[float]:
    durations: list[float] = []
    is_done = False

    async def spin() -> None:
        while not is_done:
            until = time.perf_counter() + 0.002
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)

    spinner = asyncio.create_task(spin())
    until = time.perf_counter() + seconds
    while (start := time.perf_counter()) < until:
        await work()
        durations.append(time.perf_counter() - start)
    is_done = True
    await spinner
    return durations


async def measure_checkpoints(arguments: argparse.Namespace) -> None:
    """Whether emptying the log stalls commits, and how large the log gets, under load that never pauses."""
    async with opened(arguments.directory) as (storage, load):
        batches = itertools.chain.from_iterable(load.no_op_runs(30) for _ in itertools.count())
        durations = await timed(storage, batches, 5 * arguments.seconds)
        log_bytes = os.stat(f"{storage.path}-wal").st_size
        worst = ", ".join(f"{duration * 1e3:.0f}" for duration in sorted(durations)[-8:])
        print(f"checkpoints {describe(durations, 15)}; log {log_bytes / 2**20:.0f} MiB; worst {worst} ms")


MEASURES = {
    "steps": measure_steps,
    "runs": measure_runs,
    "growth": measure_growth,
    "load": measure_load,
    "contention": measure_contention,
    "checkpoints": measure_checkpoints,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*MEASURES, []], metavar="NAME")
    parser.add_argument(
        "--directory", type=Path, help="where the database goes; its disk is what is measured"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    arguments = parser.parse_args()
    for name in arguments.names or MEASURES:
        asyncio.run(MEASURES[name](arguments))


if __name__ == "__main__":
    main()
