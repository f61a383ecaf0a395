"""What every storage remembers of the past, lists and forgets."""

import pytest

from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import EventQuery, RunQuery, Storage
from inngest_server.storage.records import Row
from tests.builders import (
    DAY_MS,
    EVENT_ID,
    HOUR_MS,
    RUN_ID,
    T0_MS,
    make_cron_row,
    make_event_row,
    make_item,
    make_journal_entry,
    make_mark,
    make_run_row,
    make_ulid,
    make_wait,
)
from tests.conformance.actions import live_rows, put

# ---- history ------------------------------------------------------------------------------------

EVENTS = [
    make_event_row(
        make_ulid(at_ms=T0_MS + n * HOUR_MS),
        received_at_ms=T0_MS + n * HOUR_MS,
        name="inngest/function.finished" if n % 2 else "inngestion",
    )
    for n in range(6)
]
RUNS = [
    make_run_row(
        make_ulid(n, at_ms=T0_MS + n),
        created_at_ms=T0_MS + n,
        function_id=f"f{n % 2}",
        status=["Running", "Failed", "Completed"][n % 3],
    )
    for n in range(6)
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (EventQuery(limit=10), [5, 4, 3, 2, 1, 0]),
        (EventQuery(limit=2), [5, 4]),
        (EventQuery(limit=2, older_than=EVENTS[4].internal_id), [3, 2]),
        (EventQuery(limit=10, name="inngestion"), [4, 2, 0]),
        (EventQuery(limit=10, include_internal=False), [4, 2, 0]),
        (EventQuery(limit=10, received_after_ms=T0_MS + 3 * HOUR_MS), [5, 4]),
        (EventQuery(limit=10, received_before_ms=T0_MS + 2 * HOUR_MS), [1, 0]),
        (EventQuery(limit=10, received_after_ms=T0_MS - DAY_MS, received_before_ms=0), []),
        (EventQuery(limit=0), []),
    ],
)
async def test_events_are_listed_newest_first(
    storage: Storage, query: EventQuery, expected: list[int]
) -> None:
    await put(storage, *EVENTS)
    assert await storage.list_events(query) == [EVENTS[n] for n in expected]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (RunQuery(limit=10), [5, 4, 3, 2, 1, 0]),
        (RunQuery(limit=2, older_than=RUNS[4].run_id), [3, 2]),
        (RunQuery(limit=10, function_id="f1"), [5, 3, 1]),
        (RunQuery(limit=10, statuses=("Failed", "Running")), [4, 3, 1, 0]),
        (RunQuery(limit=10, function_id="f0", statuses=("Failed",)), [4]),
        (RunQuery(limit=10, created_after_ms=T0_MS + 3), [5, 4, 3]),
        (RunQuery(limit=10, created_before_ms=T0_MS + 3), [2, 1, 0]),
    ],
)
async def test_runs_are_listed_newest_first(storage: Storage, query: RunQuery, expected: list[int]) -> None:
    await put(storage, *RUNS)
    assert await storage.list_runs(query) == [RUNS[n] for n in expected]


async def test_the_runs_of_an_event_are_listed_oldest_first(storage: Storage) -> None:
    await put(storage, *reversed(RUNS), make_run_row("other", event_id="other"))
    assert await storage.runs_of_event(EVENT_ID) == RUNS
    assert await storage.runs_of_event("none") == []


async def test_the_items_of_a_run_are_listed_by_id(storage: Storage) -> None:
    await put(storage, make_item("b"), make_item("a"), make_item("c", "other"))
    assert await storage.items_of_run(RUN_ID) == [make_item("a"), make_item("b")]


# ---- pruning ------------------------------------------------------------------------------------


async def prune(storage: Storage, before_ms: int = T0_MS + DAY_MS, limit: int = 100) -> int:
    return await storage.prune(before_ms, limit)


async def test_a_run_that_ended_before_the_moment_goes_with_its_journal_and_its_event(
    storage: Storage,
) -> None:
    await put(storage, make_run_row(ended_at_ms=T0_MS), make_event_row(), make_journal_entry())

    assert await prune(storage) == 3
    assert await storage.get(RunRow, [RUN_ID]) == []
    assert await storage.get(EventRow, [EVENT_ID]) == []
    assert await storage.journals([RUN_ID]) == {}
    assert await prune(storage) == 0


@pytest.mark.parametrize(
    "run",
    [make_run_row(), make_run_row(ended_at_ms=T0_MS + DAY_MS)],
    ids=["has not ended", "ended at the moment"],
)
async def test_a_kept_run_keeps_its_journal_and_its_event(storage: Storage, run: RunRow) -> None:
    await put(storage, run, make_event_row(), make_journal_entry())
    assert await prune(storage) == 0
    assert (await storage.counts()).journal == 1


async def test_an_event_received_at_the_moment_is_kept(storage: Storage) -> None:
    await put(storage, make_event_row())
    assert await prune(storage, T0_MS) == 0
    assert await prune(storage, T0_MS + 1) == 1


async def test_a_mark_goes_when_domain_time_has_passed_it(storage: Storage) -> None:
    await put(storage, make_mark(), now_ms=T0_MS + DAY_MS)
    assert await prune(storage) == 0
    await put(storage, now_ms=T0_MS + DAY_MS + 1)
    assert await prune(storage) == 1
    assert await storage.get(MarkRow, ["order-1"]) == []


async def test_pruning_goes_in_slices_oldest_first(storage: Storage) -> None:
    runs = [make_run_row(f"r{n}", ended_at_ms=T0_MS + 9 - n, event_id=f"e{n}") for n in range(10)]
    events = [make_event_row(make_ulid(n)) for n in range(200)]
    await put(storage, *runs, *events)

    assert await prune(storage, limit=4) == 8
    left = await storage.list_runs(RunQuery(limit=100))
    assert [row.run_id for row in left] == ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert await storage.list_events(EventQuery(limit=300)) == events[:3:-1]
    while await prune(storage, limit=70):
        pass
    assert (await storage.counts()).events == 0


async def test_live_rows_are_never_pruned(storage: Storage) -> None:
    live: list[Row] = [make_run_row(), make_item(), make_wait(), make_cron_row()]
    await put(storage, *live, now_ms=T0_MS + 100 * DAY_MS)
    assert await prune(storage, T0_MS + 50 * DAY_MS) == 0
    assert await live_rows(storage) == live
