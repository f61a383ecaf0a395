"""Lists, counts and scans of generated runs and events: SQLite answers as the model, and from its indexes."""

import asyncio
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inngest_server.events.records import EventRow
from inngest_server.runs.records import RunRow, RunStatus
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import EventQuery, RunCursor, RunOrder, RunQuery, Storage
from inngest_server.storage.sqlite import SQLiteStorage, history, lists
from tests.builders import HOUR_MS, T0_MS, make_event_row, make_run_row, make_ulid
from tests.conformance.actions import put

NAMES = ["a", "a\0b", "inngest/function.finished", "inngestion", "z"]
FUNCTIONS = ["f0", "f1", "f2"]
STATUSES = [status.value for status in RunStatus]
ROWS_MAX = 40

moments = st.integers(-1, 6).map(lambda halves: T0_MS + halves * HOUR_MS // 2)
optional_moments = st.none() | moments | st.sampled_from([0, -5, 2**63, -(2**70)])
subsets = st.none() | st.frozensets(st.sampled_from([*FUNCTIONS, "none"]))

run_rows = st.builds(
    lambda number, at_ms, event, **others: make_run_row(
        make_ulid(number, at_ms=at_ms), event_id=make_ulid(event), **others
    ),
    st.integers(0, 10**6),
    moments,
    st.integers(0, 3),
    function_id=st.sampled_from(FUNCTIONS),
    status=st.sampled_from(STATUSES),
    started_at_ms=st.none() | moments,
    ended_at_ms=st.none() | moments,
    output=st.none() | st.binary(min_size=1, max_size=4),
)
event_rows = st.builds(
    lambda number, at_ms, **others: make_event_row(
        make_ulid(number, at_ms=at_ms), received_at_ms=at_ms, **others
    ),
    st.integers(0, 10**6),
    moments,
    name=st.sampled_from(NAMES),
    body=st.none() | st.binary(min_size=1, max_size=4),
)
run_queries = st.builds(
    RunQuery,
    limit=st.integers(0, 5),
    order=st.sampled_from(RunOrder),
    ascending=st.booleans(),
    from_ms=optional_moments,
    until_ms=optional_moments,
    statuses=st.none() | st.frozensets(st.sampled_from(STATUSES)),
    function_ids=subsets,
    event_id=st.none() | st.sampled_from([make_ulid(number) for number in range(5)]),
    with_outputs=st.booleans(),
)
event_queries = st.builds(
    EventQuery,
    limit=st.integers(0, 5),
    from_ms=optional_moments,
    until_ms=optional_moments,
    names=st.none() | st.frozensets(st.sampled_from([*NAMES, "none"])),
    include_internal=st.booleans(),
    with_bodies=st.booleans(),
)


async def all_runs(storage: Storage, query: RunQuery) -> list[RunRow]:
    """The list, page after page."""
    found: list[RunRow] = []
    while page := await storage.list_runs(query):
        found += page
        assert len(found) <= ROWS_MAX, "the list goes round"
        query = replace(query, after=query.place_of(page[-1]))
    return found


async def all_events(storage: Storage, query: EventQuery) -> list[EventRow]:
    found: list[EventRow] = []
    while page := await storage.list_events(query):
        found += page
        assert len(found) <= ROWS_MAX, "the list goes round"
        query = replace(query, after=page[-1].internal_id)
    return found


async def told(storage: Storage, runs: Sequence[RunQuery], events: Sequence[EventQuery]) -> list[Any]:
    """What a storage answers; pages, the whole list, its count and a scan agree."""
    answers: list[Any] = []
    for query in runs:
        rows = await all_runs(storage, query)
        place = query.place_of(rows[len(rows) // 2]) if rows else None
        for counted in (query, replace(query, after=place)):  # A count is of all pages.
            assert query.limit == 0 or len(rows) == await storage.count_runs(counted)
        scanned = [one async for page in storage.scan_runs(query) for one in page]
        assert [found.run.run_id for found in scanned] == [row.run_id for row in rows[: query.limit]]
        answers.append((rows, scanned))
    for query in events:
        rows = await all_events(storage, query)
        place = rows[len(rows) // 2].internal_id if rows else None
        for counted in (query, replace(query, after=place)):
            assert query.limit == 0 or len(rows) == await storage.count_events(counted)
        scanned = [row async for page in storage.scan_events(query) for row in page]
        assert [row.internal_id for row in scanned] == [row.internal_id for row in rows[: query.limit]]
        answers.append((rows, scanned))
    return answers


@contextmanager
def bounds(few: int, some: int, glance: int) -> Iterator[None]:
    """So that a handful of rows is found in each of the ways there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "FEW", few)
        patch.setattr(lists, "SOME", some)
        patch.setattr(lists, "GLANCE", glance)
        yield


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(run_rows | event_rows, max_size=ROWS_MAX, unique_by=lambda row: (type(row), row[0])),
    runs=st.lists(run_queries, min_size=8, max_size=8),
    events=st.lists(event_queries, min_size=4, max_size=4),
    plan=st.sampled_from([(2_000, 25_000, 100_000), (0, 0, 0), (1, 50, 1), (2, 5, 10)]),
)
def test_lists_counts_and_scans_are_those_of_the_model(
    rows: list[RunRow | EventRow],
    runs: list[RunQuery],
    events: list[EventQuery],
    plan: tuple[int, int, int],
) -> None:
    async def compare(folder: str) -> None:
        model, other = (
            MemoryStorage(shard_count=16),
            SQLiteStorage(Path(folder), shard_count=16, relaxed=True),
        )
        await other.open()
        try:
            for storage in (model, other):
                await put(storage, *rows)
            assert await told(other, runs, events) == await told(model, runs, events)
        finally:
            await other.close()

    with tempfile.TemporaryDirectory() as folder, bounds(*plan):
        asyncio.run(compare(folder))


# ---- plans --------------------------------------------------------------------------------------

SHAPES = [
    RunQuery(
        limit=10,
        order=order,
        ascending=ascending,
        after=RunCursor(T0_MS, make_ulid(5)) if paged else None,
        from_ms=T0_MS if bounded else None,
        until_ms=T0_MS + HOUR_MS if bounded else None,
        statuses=statuses,
        function_ids=function_ids,
        event_id=event_id,
    )
    for order in RunOrder
    for ascending in (False, True)
    for paged, bounded in ((False, False), (True, True))
    for statuses in (None, frozenset(["Failed", "Running"]))
    for function_ids in (None, frozenset(["f0", "f1"]))
    for event_id in (None, make_ulid(1))
]
EVENT_SHAPES = [
    EventQuery(limit=10, after=after, from_ms=from_ms, names=names, include_internal=include_internal)
    for after in (None, make_ulid(5))
    for from_ms in (None, T0_MS)
    for names in (None, frozenset(["a", "b"]))
    for include_internal in (False, True)
]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """To a database with a few rows; SQLite has no statistics, so the plans are those of a large one."""
    storage = SQLiteStorage(tmp_path / "data")
    rows = [
        make_run_row(
            make_ulid(n), function_id=f"f{n % 3}", status="Failed", started_at_ms=T0_MS, ended_at_ms=T0_MS + 1
        )
        for n in range(9)
    ]

    async def fill() -> None:
        await storage.open()
        await put(storage, *rows)
        await storage.close()

    asyncio.run(fill())
    connection = sqlite3.connect(storage.path)
    yield connection
    connection.close()


def plans_of(connection: sqlite3.Connection, read: Any) -> list[str]:
    """The plan of each statement that is run."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    read(connection)
    connection.set_trace_callback(None)
    assert statements
    return [
        line
        for sql in statements
        if sql.lstrip().startswith(("SELECT", "WITH"))
        for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {sql}")
    ]


def whole_tables_in(plans: Sequence[str]) -> list[str]:
    return [line for line in plans if re.match(r"SCAN (runs|events|batched_events)\b", line)]


@pytest.mark.parametrize("plan", [(2_000, 25_000, 100_000), (0, 100, 100)], ids=["looks up", "walks"])
def test_every_list_of_runs_is_found_in_an_index(
    connection: sqlite3.Connection, plan: tuple[int, int, int]
) -> None:
    with bounds(*plan):
        for query in SHAPES:
            for read in (history.runs_at, history.list_runs):
                plans = plans_of(connection, lambda of, query=query, read=read: read(of, query))
                assert whole_tables_in(plans) == [], query


@pytest.mark.parametrize("plan", [(2_000, 25_000, 100_000), (0, 100, 100)], ids=["looks up", "walks"])
def test_every_count_of_runs_reads_an_index(
    connection: sqlite3.Connection, plan: tuple[int, int, int]
) -> None:
    with bounds(*plan):
        for query in SHAPES:
            counted = lists.run_count(connection, query)
            plans = plans_of(connection, lambda of, counted=counted: of.execute(*counted))
            scans = whole_tables_in(plans)
            # Of everything SQLite counts the pages of an index, without looking into them.
            is_whole = counted.sql == "SELECT count(*) FROM runs"
            assert [("COVERING INDEX" in line, is_whole) for line in scans] in ([], [(True, True)]), query


def test_every_list_and_count_of_events_is_found_in_an_index(connection: sqlite3.Connection) -> None:
    for query in EVENT_SHAPES:
        plans = plans_of(connection, lambda of, query=query: history.events_at(of, query))
        assert whole_tables_in(plans) == [], query
        counted = lists.event_count(query)
        plans = plans_of(connection, lambda of, counted=counted: of.execute(*counted))
        is_whole = counted.sql == "SELECT count(*) FROM events"
        scans = [("COVERING INDEX" in line, is_whole) for line in whole_tables_in(plans)]
        assert scans in ([], [(True, True)]), query


def test_the_runs_of_events_are_found_in_indexes(connection: sqlite3.Connection) -> None:
    plans = plans_of(connection, lambda of: history.runs_of_event(of, make_ulid(1)))
    plans += plans_of(connection, lambda of: history.runs_of_events(of, [make_ulid(1), "none"]))
    assert whole_tables_in(plans) == []
    assert any("batched_events_by_event" in line for line in plans)


def test_no_page_of_a_walk_is_sorted(connection: sqlite3.Connection) -> None:
    """Nor of a merge: a page costs what it shows, however much there is."""
    for query in SHAPES:
        if query.event_id is None:
            ids = lists.run_ids(query)
            plans = plans_of(connection, lambda of, ids=ids: of.execute(*ids))
            assert [line for line in plans if "TEMP B-TREE" in line] == [], query
