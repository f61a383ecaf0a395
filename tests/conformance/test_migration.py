"""A database of an older schema is the same database after it was brought up to date."""

import asyncio
import sqlite3
from importlib import resources
from pathlib import Path

import pytest

from inngest_server.runs.records import RunStatus
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import EventQuery, RunOrder, RunQuery, Storage
from inngest_server.storage.records import TABLES, Row, key_of
from inngest_server.storage.sqlite import SQLiteStorage
from inngest_server.storage.sqlite.checks import with_checksums
from inngest_server.storage.sqlite.migrations import APPLICATION_ID
from inngest_server.storage.sqlite.statements import columns_of
from tests.builders import (
    T0_MS,
    make_app_row,
    make_cron_row,
    make_event_row,
    make_function_row,
    make_item,
    make_journal_entry,
    make_mark,
    make_run_row,
    make_subscriber,
    make_ulid,
    make_wait,
)
from tests.conformance.actions import live_rows, put

RUNS = [
    make_run_row(
        make_ulid(n),
        function_id=f"f{n % 3}",
        event_id=make_ulid(n // 2),
        status=(RunStatus.FAILED if n % 4 else RunStatus.RUNNING).value,
        started_at_ms=T0_MS + n,
        ended_at_ms=T0_MS + 100 - n if n % 4 else None,
    )
    for n in range(40)
]
LIVE: list[Row] = [
    *[make_item(f"{run.run_id}.0", run.run_id) for run in RUNS if run.ended_at_ms is None],
    *[make_wait("s", run.run_id) for run in RUNS if run.ended_at_ms is None],
    make_cron_row(),
]
REST: list[Row] = [
    make_app_row(),
    *[make_event_row(make_ulid(n), event_id=f"e{n}") for n in range(20)],
    *[make_journal_entry(run.run_id) for run in RUNS],
    make_function_row(),
    make_mark(),
    make_subscriber(),
]

OLD_NAMES = {("marks", "value"): "internal_id"}
"""Columns that had another name in the first schema."""


def make_first_schema(path: Path, rows: list[Row]) -> None:
    """The file as the first release left it."""
    schema = resources.files("inngest_server.storage.sqlite").joinpath("schema", "0001.sql")
    path.parent.mkdir()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.executescript(schema.read_text(encoding="utf-8"))
    connection.execute("INSERT INTO meta VALUES (16, ?)", [T0_MS])
    connection.execute("PRAGMA journal_mode = WAL")
    known = {
        table: {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", [table])}
        for table in TABLES.values()
    }
    for row in rows:
        table = TABLES[type(row)]
        [stored] = with_checksums(type(row), [row])
        values = {
            OLD_NAMES.get((table, name), name): value
            for name, value in zip(columns_of(type(row)), stored, strict=True)
        }
        # What came later says nothing about a row of that time.
        values = {name: value for name, value in values.items() if name in known[table]}
        into = f"{table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
        connection.execute(f"INSERT INTO {into}", [*values.values()])
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def schema_of(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    connection.close()
    return found


@pytest.fixture
async def migrated(tmp_path: Path) -> SQLiteStorage:
    storage = SQLiteStorage(tmp_path / "old")
    make_first_schema(storage.path, [*RUNS, *LIVE, *REST])
    return storage


async def test_a_file_of_the_first_schema_opens_and_loads(migrated: SQLiteStorage) -> None:
    model = MemoryStorage(shard_count=16)
    await put(model, *RUNS, *LIVE, *REST)
    await migrated.open()
    try:
        assert migrated.shard_count == 16
        assert await migrated.domain_time_ms() == T0_MS
        assert sorted(map(repr, await live_rows(migrated))) == sorted(map(repr, await live_rows(model)))
        assert await all_of(migrated) == await all_of(model)
    finally:
        await migrated.close()


async def all_of(storage: Storage) -> list[object]:
    """Every row by its key, and every list."""
    kinds = {type(row) for row in (*RUNS, *LIVE, *REST)} - {type(make_journal_entry())}
    found: list[object] = [await storage.counts(), await storage.journals([run.run_id for run in RUNS])]
    for kind in sorted(kinds, key=lambda kind: kind.__name__):
        keys = [key_of(row) for row in (*RUNS, *LIVE, *REST) if type(row) is kind]
        found.append(sorted(map(repr, await storage.get(kind, keys))))
    for order in RunOrder:
        query = RunQuery(limit=100, order=order, statuses=frozenset(["Failed"]))
        found += [await storage.list_runs(query), await storage.count_runs(query)]
    found.append(await storage.list_events(EventQuery(limit=100, include_internal=False)))
    return found


async def test_its_schema_is_that_of_a_new_file(migrated: SQLiteStorage, tmp_path: Path) -> None:
    new = SQLiteStorage(tmp_path / "new")
    for storage in (migrated, new):
        await storage.open()
        await storage.close()
    assert await asyncio.to_thread(schema_of, migrated.path) == await asyncio.to_thread(schema_of, new.path)
