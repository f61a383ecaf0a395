"""What every storage remembers of the past, lists and forgets."""

from typing import Any

import pytest

from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import (
    SCAN_BYTES,
    SCAN_ROWS,
    EventQuery,
    RunCursor,
    RunOrder,
    RunQuery,
    Storage,
)
from inngest_server.storage.records import Row
from tests.builders import (
    DAY_MS,
    EVENT_ID,
    HOUR_MS,
    RUN_ID,
    T0_MS,
    make_batched_event,
    make_cron_row,
    make_event_row,
    make_item,
    make_job,
    make_journal_entry,
    make_mark,
    make_meter,
    make_pause,
    make_rekey,
    make_run_row,
    make_terms,
    make_ulid,
    make_wait,
    make_window,
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
        (EventQuery(limit=2, after=EVENTS[4].internal_id), [3, 2]),
        (EventQuery(limit=10, names=frozenset(["inngestion"])), [4, 2, 0]),
        (EventQuery(limit=10, include_internal=False), [4, 2, 0]),
        (EventQuery(limit=10, from_ms=T0_MS + 3 * HOUR_MS), [5, 4, 3]),
        (EventQuery(limit=10, until_ms=T0_MS + 2 * HOUR_MS), [1, 0]),
        (EventQuery(limit=10, from_ms=T0_MS - DAY_MS, until_ms=0), []),
        (EventQuery(limit=0), []),
    ],
)
async def test_events_are_listed_newest_first(
    storage: Storage, query: EventQuery, expected: list[int]
) -> None:
    await put(storage, *EVENTS)
    assert await storage.list_events(query) == [EVENTS[n] for n in expected]


def of(*, limit: int = 10, functions: str = "", statuses: str = "", **others: Any) -> RunQuery:
    """A query of functions and statuses named in one text, none if it is empty."""
    return RunQuery(
        limit=limit,
        **others,
        function_ids=frozenset(functions.split()) if functions else None,
        statuses=frozenset(statuses.split()) if statuses else None,
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (of(), [5, 4, 3, 2, 1, 0]),
        (of(ascending=True), [0, 1, 2, 3, 4, 5]),
        (of(limit=2, after=RunCursor(0, RUNS[4].run_id)), [3, 2]),
        (of(limit=2, after=RunCursor(0, RUNS[4].run_id), functions="f0 f1"), [3, 2]),
        (of(limit=2, after=RunCursor(0, RUNS[1].run_id), functions="f0 f1", ascending=True), [2, 3]),
        (of(functions="f1"), [5, 3, 1]),
        (of(functions="none"), []),
        (of(statuses="Failed Running"), [4, 3, 1, 0]),
        (of(statuses="Failed Running", ascending=True), [0, 1, 3, 4]),
        (of(functions="f0", statuses="Failed"), [4]),
        (RunQuery(limit=10, statuses=frozenset()), []),
        (RunQuery(limit=10, function_ids=frozenset()), []),
        (of(from_ms=T0_MS + 3), [5, 4, 3]),
        (of(until_ms=T0_MS + 3), [2, 1, 0]),
        (of(from_ms=T0_MS + 1, until_ms=T0_MS + 5, functions="f0"), [4, 2]),
        (of(event_id=EVENT_ID, functions="f0"), [4, 2, 0]),
        (of(event_id="none"), []),
        (of(limit=0, functions="f0"), []),
    ],
)
async def test_runs_are_listed_by_id(storage: Storage, query: RunQuery, expected: list[int]) -> None:
    await put(storage, *RUNS)
    assert await storage.list_runs(query) == [RUNS[n] for n in expected]


STARTED, ENDED = RunOrder.STARTED, RunOrder.ENDED
TIMED = [
    # (started, ended) minutes after T0; the third and fourth start at one moment.
    run._replace(
        started_at_ms=None if times[0] is None else T0_MS + times[0] * 60_000,
        ended_at_ms=None if times[1] is None else T0_MS + times[1] * 60_000,
    )
    for run, times in zip(RUNS, [(5, 6), (None, 1), (4, None), (4, 9), (3, 8), (None, None)], strict=True)
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (of(order=STARTED), [0, 3, 2, 4]),
        (of(order=STARTED, ascending=True), [4, 2, 3, 0]),
        (of(order=STARTED, functions="f0"), [0, 2, 4]),
        (of(order=STARTED, from_ms=T0_MS + 4 * 60_000), [0, 3, 2]),
        (of(order=STARTED, until_ms=T0_MS + 5 * 60_000), [3, 2, 4]),
        (of(order=STARTED, after=RunCursor(T0_MS + 4 * 60_000, RUNS[3].run_id)), [2, 4]),
        (of(order=STARTED, after=RunCursor(T0_MS + 4 * 60_000, RUNS[2].run_id), ascending=True), [3, 0]),
        (of(order=STARTED, event_id=EVENT_ID, statuses="Running"), [0, 3]),
        (of(order=ENDED), [3, 4, 0, 1]),
        (of(order=ENDED, statuses="Failed"), [4, 1]),
        (of(order=ENDED, from_ms=-(2**70), until_ms=2**70), [3, 4, 0, 1]),
        (of(order=ENDED, from_ms=2**70), []),
    ],
)
async def test_runs_are_listed_by_the_moments_that_they_have(
    storage: Storage, query: RunQuery, expected: list[int]
) -> None:
    await put(storage, *TIMED)
    assert await storage.list_runs(query) == [TIMED[n] for n in expected]


async def test_a_list_without_payloads_has_all_else(storage: Storage) -> None:
    run = make_run_row(ended_at_ms=T0_MS + 1)
    await put(storage, run, make_event_row())

    assert await storage.list_runs(RunQuery(limit=1, with_outputs=False)) == [run._replace(output=None)]
    assert await storage.list_events(EventQuery(limit=1, with_bodies=False)) == [make_event_row(body=None)]
    assert await storage.runs_of_events([EVENT_ID, "none"]) == {EVENT_ID: [run._replace(output=None)]}


async def test_a_scan_reads_bounded_pages_of_runs_with_their_events(storage: Storage) -> None:
    runs = [make_run_row(make_ulid(n), event_id=make_ulid(n % 7)) for n in range(SCAN_ROWS + 5)]
    large = make_run_row(make_ulid(3_000), ended_at_ms=T0_MS, output=bytes(SCAN_BYTES))
    events = [make_event_row(make_ulid(n), event_id=f"e{n}") for n in range(6)]
    await put(storage, *runs, large, *events)

    pages = [page async for page in storage.scan_runs(RunQuery(limit=SCAN_ROWS + 3))]

    assert [len(page) for page in pages] == [1, SCAN_ROWS, 2]
    shown = [large, *runs[::-1]][: SCAN_ROWS + 3]
    of_events = {event.internal_id: event for event in events}
    assert [one for page in pages for one in page] == [(run, of_events.get(run.event_id)) for run in shown]


async def test_a_scan_reads_bounded_pages_of_events(storage: Storage) -> None:
    events = [make_event_row(make_ulid(n)) for n in range(SCAN_ROWS + 1)]
    large = make_event_row(make_ulid(3_000), body=bytes(SCAN_BYTES))
    await put(storage, *events, large)

    pages = [page async for page in storage.scan_events(EventQuery(limit=2 * SCAN_ROWS))]

    assert [len(page) for page in pages] == [1, SCAN_ROWS, 1]
    assert [one for page in pages for one in page] == [large, *events[::-1]]


async def test_the_runs_of_an_event_are_listed_oldest_first(storage: Storage) -> None:
    await put(storage, *reversed(RUNS), make_run_row("other", event_id="other"))
    assert await storage.runs_of_event(EVENT_ID) == RUNS
    assert await storage.runs_of_event("none") == []


async def test_the_items_of_a_run_are_listed_by_id(storage: Storage) -> None:
    items = [make_item(f"{RUN_ID}.{n}") for n in range(2)]
    await put(storage, *reversed(items), make_item(f"{make_ulid(0)}.0"), make_item(f"{make_ulid(2)}.0"))
    assert await storage.items_of_run(RUN_ID) == items


async def test_a_run_on_a_batch_is_a_run_of_each_of_its_events(storage: Storage) -> None:
    batch = make_run_row(make_ulid(9), batch_id=make_ulid(50))
    further = [make_batched_event(batch.run_id, n, event_id=make_ulid(n + 1)) for n in (2, 1)]
    alone = make_run_row(make_ulid(10), event_id=make_ulid(2))
    await put(storage, batch, *further, alone)

    assert await storage.batched_events([batch.run_id, alone.run_id, "none"]) == {
        batch.run_id: [make_ulid(2), make_ulid(3)]
    }
    assert await storage.runs_of_event(EVENT_ID) == [batch]
    assert await storage.runs_of_event(make_ulid(2)) == [batch, alone]
    assert await storage.runs_of_events([EVENT_ID, make_ulid(2), make_ulid(3)]) == {
        EVENT_ID: [batch],
        make_ulid(2): [batch, alone],
        make_ulid(3): [batch],
    }


async def test_jobs_are_listed_newest_first(storage: Storage) -> None:
    jobs = [make_job(make_ulid(n), ended_at_ms=T0_MS if n else None) for n in range(3)]
    await put(storage, *jobs)

    assert await storage.list_jobs(limit=10) == jobs[::-1]
    assert await storage.list_jobs(limit=1, after=jobs[2].job_id) == [jobs[1]]
    assert await live_rows(storage) == jobs[:1]


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


async def test_the_events_of_a_batch_go_with_its_run_and_not_before(storage: Storage) -> None:
    run = make_run_row(batch_id=make_ulid(50))
    events = [make_event_row(), make_event_row(make_ulid(2)), make_event_row(make_ulid(3))]
    await put(storage, run, make_batched_event(n=1), *events)
    assert await prune(storage) == 1
    assert sorted(await storage.get(EventRow, [EVENT_ID, make_ulid(2), make_ulid(3)])) == events[:2]

    await put(storage, run._replace(ended_at_ms=T0_MS))
    assert await prune(storage) == 3
    assert await storage.batched_events([RUN_ID]) == {}
    assert await storage.get(EventRow, [EVENT_ID, make_ulid(2)]) == []


async def test_a_job_that_ended_before_the_moment_goes(storage: Storage) -> None:
    jobs = [
        make_job(make_ulid(1), ended_at_ms=T0_MS),
        make_job(make_ulid(2), ended_at_ms=T0_MS + DAY_MS),
        make_job(make_ulid(3)),
    ]
    await put(storage, *jobs)
    assert await prune(storage) == 1
    assert await storage.list_jobs(limit=10) == jobs[:0:-1]


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


async def test_used_bytes_are_those_of_what_is_there(storage: Storage) -> None:
    empty = await storage.used_bytes()
    row = make_run_row(ended_at_ms=T0_MS, output=bytes(100_000))
    await put(storage, row, make_event_row(body=bytes(200_000)), make_journal_entry(payload=bytes(300_000)))
    full = await storage.used_bytes()
    await put(storage, row)
    again = await storage.used_bytes()

    assert await prune(storage) == 3
    left = await storage.used_bytes()

    assert 600_000 < full - empty < 700_000
    assert abs(again - full) < 20_000
    assert left - empty < 50_000


async def test_the_oldest_is_the_first_end_or_the_first_event(storage: Storage) -> None:
    assert await storage.oldest_ms() is None
    await put(storage, make_run_row("live"), make_run_row("ended", ended_at_ms=T0_MS + 5))
    assert await storage.oldest_ms() == T0_MS + 5
    await put(storage, make_event_row(make_ulid(1), received_at_ms=T0_MS + 3))
    await put(storage, make_event_row(make_ulid(2), received_at_ms=T0_MS + 4))
    assert await storage.oldest_ms() == T0_MS + 3


async def test_live_rows_are_never_pruned(storage: Storage) -> None:
    live: list[Row] = [
        make_pause(),
        make_rekey(),
        make_meter(),
        make_run_row(),
        make_terms(),
        make_item(),
        make_wait(),
        make_cron_row(),
        make_window(),
        make_job(),
    ]
    await put(storage, *live, now_ms=T0_MS + 100 * DAY_MS)
    assert await prune(storage, T0_MS + 50 * DAY_MS) == 0
    assert await live_rows(storage) == live
