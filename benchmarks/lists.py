"""How long lists and counts take over a million runs, and what their indexes cost each run.

    python -m benchmarks.lists [--runs 1000000] [--json FILE] [--directory DIR] [--keep] [--repeats 20]

Makes a database of runs of 50 functions within a week: nine in ten completed, one in twenty failed, ten that
were skipped, and a function and a status that only occur among the oldest. A directory that is kept is used
again. Everything is asked of the storage as the API asks, so figures include the way to its threads and back.
"""

import argparse
import asyncio
import json
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from inngest_server.runs.placement import make_run_id
from inngest_server.runs.records import ItemRow, RunRow, RunStatus
from inngest_server.storage.protocol import Batch, EventQuery, Outcome, RunOrder, RunQuery
from inngest_server.storage.sqlite import SQLiteStorage
from tests.builders import (
    DAY_MS,
    T0_MS,
    make_event_row,
    make_item,
    make_journal_entry,
    make_mark,
    make_run_row,
    make_ulid,
)

SPAN_MS = 7 * DAY_MS
PAGE = 100
FUNCTIONS = [f"5b1d6e0a-0000-4000-8000-{number:012x}" for number in range(50)]
OLD_FUNCTION = f"5b1d6e0a-0000-4000-8000-{99:012x}"
OUTPUT = b'{"text":"' + b"x" * 200 + b'"}'
BODY = b'{"data":{"text":"' + b"x" * 200 + b'"}}'
NAMES = ("shop/order.placed", "shop/order.paid", "shop/cart.left", "billing/invoice.sent")
SHARD = 7
BATCH = 500

BEFORE = (
    # The indexes of schema 1, to compare with.
    "DROP INDEX runs_by_status",
    "DROP INDEX runs_by_start",
    "DROP INDEX runs_by_end",
    "CREATE INDEX runs_ended ON runs (ended_at_ms) WHERE ended_at_ms IS NOT NULL",
    "CREATE INDEX runs_by_function ON runs (function_id, run_id)",
)


# ---- the database -------------------------------------------------------------------------------


def make_runs(count: int) -> Iterator[tuple[RunRow, str]]:
    """Runs, oldest first, and the name of each one's event."""
    random = Random(1)
    for number in range(count):
        at_ms = T0_MS + number * SPAN_MS // count
        function_id, status = random.choice(FUNCTIONS), RunStatus.COMPLETED
        started_at_ms: int | None = at_ms + random.randrange(2_000)
        ended_at_ms: int | None = at_ms + 2_000 + int(random.expovariate(1 / 60_000))
        if number % (count // 10) == count // 20:
            status = RunStatus.SKIPPED
        elif number >= count - 50:
            status, ended_at_ms = RunStatus.RUNNING, None
        elif number < count // 50:
            function_id, status = random.choice((function_id, OLD_FUNCTION)), RunStatus.CANCELLED
        elif random.random() < 0.05:
            status = RunStatus.FAILED
        run_id = make_run_id(at_ms, SHARD, function_id, str(number))
        run = make_run_row(
            run_id,
            function_id=function_id,
            event_id=make_ulid(number, at_ms=at_ms),
            status=status.value,
            created_at_ms=at_ms,
            started_at_ms=started_at_ms,
            ended_at_ms=ended_at_ms,
            output=OUTPUT if ended_at_ms is not None else None,
        )
        yield run, NAMES[0] if random.random() < 0.9 else random.choice(NAMES)


async def fill(storage: SQLiteStorage, count: int) -> None:
    """Store runs, the event that started each, and the one that told of its end."""
    epochs = await storage.acquire([SHARD], "bench", 0)
    batch = Batch()
    batch.epochs = epochs
    for number, (run, name) in enumerate(make_runs(count), start=1):
        at_ms = run.created_at_ms
        batch.put(run)
        batch.put(make_event_row(run.event_id, name=name, received_at_ms=at_ms, body=BODY))
        if run.ended_at_ms is not None:
            internal_id = make_ulid(2**40 + number, at_ms=run.ended_at_ms)
            event = make_event_row(
                internal_id, name="inngest/function.finished", received_at_ms=run.ended_at_ms, body=None
            )
            batch.put(event._replace(run_id=run.run_id))
        if number % BATCH == 0 or number == count:
            batch.now_ms = at_ms
            assert (await storage.commit(batch)).outcome is Outcome.DONE
            batch = Batch()
            batch.epochs = epochs


# ---- lists --------------------------------------------------------------------------------------


def run_queries() -> Iterator[tuple[str, RunQuery]]:
    """What is asked, with a name."""
    filters: dict[str, dict[str, Any]] = {
        "all": {},
        "Completed": {"statuses": frozenset(["Completed"])},
        "Failed, 5 %": {"statuses": frozenset(["Failed"])},
        "Skipped, 10 in all": {"statuses": frozenset(["Skipped"])},
        "Cancelled, the oldest 2 %": {"statuses": frozenset(["Cancelled"])},
        "Scheduled, none": {"statuses": frozenset(["Scheduled"])},
        "a function": {"function_ids": frozenset(FUNCTIONS[:1])},
        "a function, the oldest 1 %": {"function_ids": frozenset([OLD_FUNCTION])},
        "a function, Failed": {
            "function_ids": frozenset(FUNCTIONS[:1]),
            "statuses": frozenset(["Failed"]),
        },
        "20 functions, 3 statuses": {
            "function_ids": frozenset(FUNCTIONS[:20]),
            "statuses": frozenset(["Failed", "Cancelled", "Running"]),
        },
    }
    day = {"from_ms": T0_MS + 3 * DAY_MS, "until_ms": T0_MS + 4 * DAY_MS}
    for order in RunOrder:
        for name, chosen in filters.items():
            yield f"{order.value}: {name}", RunQuery(limit=PAGE, order=order, with_outputs=False, **chosen)
        for name in ("all", "Failed, 5 %", "a function"):
            query = RunQuery(limit=PAGE, order=order, with_outputs=False, **day, **filters[name])
            yield f"{order.value}: {name}, one day", query


EVENT_QUERIES = {
    "events: all": EventQuery(limit=PAGE, with_bodies=False),
    "events: without the server's own": EventQuery(limit=PAGE, with_bodies=False, include_internal=False),
    "events: one name": EventQuery(limit=PAGE, with_bodies=False, names=frozenset(NAMES[1:2])),
    "events: one day": EventQuery(
        limit=PAGE, with_bodies=False, from_ms=T0_MS + 3 * DAY_MS, until_ms=T0_MS + 4 * DAY_MS
    ),
    "events: without the server's own, one day": EventQuery(
        limit=PAGE,
        with_bodies=False,
        include_internal=False,
        from_ms=T0_MS + 3 * DAY_MS,
        until_ms=T0_MS + 4 * DAY_MS,
    ),
}


async def timed(ask: Callable[[], Awaitable[Any]], repeats: int) -> tuple[Any, dict[str, float]]:
    """The answer, and the milliseconds that it took."""
    answer = await ask()
    took: list[float] = []
    for _ in range(repeats):
        begun = time.perf_counter()
        answer = await ask()
        took.append((time.perf_counter() - begun) * 1e3)
    took.sort()
    p95 = took[min(int(0.95 * len(took)), len(took) - 1)]
    return answer, {"p50_ms": round(statistics.median(took), 2), "p95_ms": round(p95, 2)}


async def measure_lists(storage: SQLiteStorage, repeats: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def note(name: str, shown: int, page: dict[str, float], count: dict[str, float]) -> None:
        found.append({"what": name, "rows": shown, "page": page, "count": count})
        times = "  ".join(
            f"{each['p50_ms']:8.2f} {each['p95_ms']:8.2f}" if each else "" for each in (page, count)
        )
        print(f"{name:46} {shown:9,}  {times}", flush=True)

    print(f"{'':46} {'rows':>9}  {'page p50':>8} {'p95':>8}  {'count p50':>8} {'p95':>8}  ms")
    for name, query in run_queries():
        rows, page = await timed(lambda query=query: storage.list_runs(query), repeats)
        number, count = await timed(lambda query=query: storage.count_runs(query), repeats)
        assert len(rows) == min(PAGE, number), name
        note(name, number, page, count)
        if number > 100 * PAGE:
            # A page in the middle, where no reader has been yet.
            middle = await storage.list_runs(replace(query, limit=1, until_ms=T0_MS + SPAN_MS // 2))
            deep = replace(query, after=query.place_of(middle[0])) if middle else query
            rows, page = await timed(lambda query=deep: storage.list_runs(query), repeats)
            note(f"{name}, page in the middle", number, page, {})
    for name, query in EVENT_QUERIES.items():
        _, page = await timed(lambda query=query: storage.list_events(query), repeats)
        number, count = await timed(lambda query=query: storage.count_events(query), repeats)
        note(name, number, page, count)
    return found


async def measure_scan(storage: SQLiteStorage) -> dict[str, Any]:
    """A search that looks into 50,000 runs with their events."""
    begun, rows, longest, last = time.perf_counter(), 0, 0.0, time.perf_counter()
    async for page in storage.scan_runs(RunQuery(limit=50_000)):
        rows += len(page)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    figures = {
        "runs_per_s": round(rows / (time.perf_counter() - begun)),
        "longest_page_ms": round(longest * 1e3, 1),
    }
    print(f"scan of runs with their events: {figures}")
    return figures


async def measure_load(storage: SQLiteStorage) -> dict[str, Any]:
    begun, rows = time.perf_counter(), 0
    async for page in storage.load(range(storage.shard_count)):
        rows += len(page.runs)
    figures = {"runs": rows, "ms": round((time.perf_counter() - begun) * 1e3, 1)}
    print(f"load of live rows at the start: {figures}")
    return figures


async def measure_pruning(storage: SQLiteStorage) -> dict[str, Any]:
    begun, rows, until = time.perf_counter(), 0, time.perf_counter() + 3
    while time.perf_counter() < until and (gone := await storage.prune(T0_MS + SPAN_MS // 10, 500)):
        rows += gone
    figures = {"rows_per_s": round(rows / (time.perf_counter() - begun))}
    print(f"pruning: {figures}")
    return figures


# ---- insertion ----------------------------------------------------------------------------------


async def measure_insertion(directory: Path, statements: tuple[str, ...]) -> float:
    """Microseconds of the storage for a run without steps, in batches of 30 as the engine makes them.

    Each batch ends the runs that the one before started.
    """
    shutil.rmtree(directory, ignore_errors=True)
    storage = SQLiteStorage(directory)
    await storage.open()
    await storage.close()
    connection = sqlite3.connect(storage.path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    await storage.open()
    epochs = await storage.acquire([SHARD], "bench", 0)
    random, started, batches = Random(1), list[RunRow](), list[Batch]()
    for number in range(40_000):
        if number % 30 == 0:
            batches.append(Batch())
            batches[-1].epochs = epochs
        batch, at_ms = batches[-1], T0_MS + number
        function_id = FUNCTIONS[min(int(random.expovariate(0.06)), 49)]
        run_id, event_id = make_run_id(at_ms, SHARD, function_id, str(number)), make_ulid(number, at_ms=at_ms)
        run = make_run_row(
            run_id,
            function_id=function_id,
            event_id=event_id,
            status=RunStatus.RUNNING.value,
            created_at_ms=at_ms,
            started_at_ms=at_ms,
        )
        batch.put(make_event_row(event_id, received_at_ms=at_ms, body=BODY))
        batch.put(make_mark(f"event/{number}", internal_id=event_id))
        batch.put(run)
        batch.put(make_item(f"{run_id}.0", run_id))
        started.append(run)
        if len(started) > 30:
            ended = started.pop(0)
            batch.put(ended._replace(status="Completed", ended_at_ms=at_ms, output=OUTPUT))
            batch.journal.append(make_journal_entry(ended.run_id, kind="ended", payload=None))
            batch.remove(ItemRow, f"{ended.run_id}.0", SHARD)
    half = len(batches) // 2
    for batch in batches[:half]:
        await storage.commit(batch)
    begun = time.perf_counter()
    for batch in batches[half:]:
        await storage.commit(batch)
    took = time.perf_counter() - begun
    await storage.close()
    return took / 20_000 * 1e6


# ---- all of it ----------------------------------------------------------------------------------


async def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    costs: dict[str, list[float]] = {"before": [], "now": []}
    for _ in range(3):  # In turn, since machines are noisy.
        for name, statements in (("before", BEFORE), ("now", ())):
            costs[name].append(await measure_insertion(folder / "insertion", statements))
    before, now = min(costs["before"]), min(costs["now"])
    insertion = {
        "us_a_run_before": round(before, 1),
        "us_a_run_now": round(now, 1),
        "ratio": round(now / before, 2),
    }
    print(f"insertion, indexes of schema 1 and of now: {insertion}")
    shutil.rmtree(folder / "insertion")

    storage = SQLiteStorage(folder / f"lists-{arguments.runs}", relaxed=True)
    is_made = storage.path.exists()
    await storage.open()
    try:
        if not is_made:
            begun = time.perf_counter()
            await fill(storage, arguments.runs)
            print(f"{arguments.runs:,} runs made in {time.perf_counter() - begun:.0f} s")
        used_bytes = await storage.used_bytes()
        print(f"{used_bytes / 1e6:.0f} MB used")
        lists = await measure_lists(storage, arguments.repeats)
        figures = {
            "runs": arguments.runs,
            "used_bytes": used_bytes,
            "insertion": insertion,
            "lists": lists,
            "scan": await measure_scan(storage),
            "load": await measure_load(storage),
        }
        if not arguments.keep:
            figures["pruning"] = await measure_pruning(storage)
        return figures
    finally:
        await storage.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1_000_000, help="a multiple of 100")
    parser.add_argument("--repeats", type=int, default=20, help="for each figure")
    parser.add_argument(
        "--directory", type=Path, help="where the database goes; its disk is what is measured"
    )
    parser.add_argument("--keep", action="store_true", help="keep the database there, and do not prune it")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    folder = arguments.directory or Path(tempfile.mkdtemp(prefix="bench-lists-"))
    try:
        figures = asyncio.run(measure(arguments, folder))
    finally:
        if not arguments.keep:
            shutil.rmtree(folder / f"lists-{arguments.runs}", ignore_errors=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
