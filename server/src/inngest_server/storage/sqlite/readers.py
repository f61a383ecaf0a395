"""Reading, on connections that cannot write: point reads on two threads, scans on two others.

Each read is one statement or a page of one, since a reader that stays long keeps the log from being emptied.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

from inngest_server.apps.records import AppRow, CronRow, FunctionRow
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.flow_control.records import MeterRow, PauseRow, RekeyRow, TermsRow, WindowRow
from inngest_server.jobs.records import JobRow
from inngest_server.runs.records import ItemRow, JournalKind, JournalRow, RunRow, WaitRow, opened_mark
from inngest_server.storage.protocol import Catalogue, CorruptDataError, Counts, LivePage, RowT, RunHistory
from inngest_server.storage.records import TABLES, Key, MessageRow, Row
from inngest_server.storage.sqlite.checks import PAYLOADS, OnDamage, refused, salvaged, without_checksums
from inngest_server.storage.sqlite.connections import connect_reader
from inngest_server.storage.sqlite.errors import translated
from inngest_server.storage.sqlite.lane import Lane, T
from inngest_server.storage.sqlite.statements import chunks, columns_of, marks_for, selects

POINT_READERS = 2
SCAN_READERS = 2
"""So that a list does not wait for the count of a million rows."""
LOAD_PAGE_ROWS = 2_000
"""About 2 ms of the interpreter's lock at a time."""

Parameters = Sequence[Any] | Mapping[str, Any]


class Readers:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._points = Lane("sqlite-reader", lambda: connect_reader(path), threads=POINT_READERS)
        self._scans = Lane("sqlite-scanner", lambda: connect_reader(path), threads=SCAN_READERS)

    async def open(self) -> None:
        try:
            await self._points.open()
            await self._scans.open()
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    async def close(self) -> None:
        await self._points.close()
        await self._scans.close()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """A read of few rows that the engine waits for."""
        return await self._on(self._points, work)

    async def scan(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """A read that may look at many rows."""
        return await self._on(self._scans, work)

    async def _on(self, lane: Lane, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await lane.do(work)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    async def get(
        self, kind: type[RowT], keys: Sequence[Key], *, damaged: OnDamage[RowT] = refused
    ) -> list[RowT]:
        return await self.read(lambda connection: get(connection, kind, keys, damaged=damaged))

    async def salvage_journal(self, run_id: str) -> list[JournalRow]:
        def work(connection: sqlite3.Connection) -> list[JournalRow]:
            sql = f"SELECT {', '.join(columns_of(JournalRow))} FROM journal WHERE run_id = ? ORDER BY n"
            return without_checksums(JournalRow, connection.execute(sql, [run_id]).fetchall(), salvaged)

        return await self.read(work)

    async def journals(self, run_ids: Sequence[str]) -> dict[str, list[JournalRow]]:
        return await self.read(lambda connection: read_journals(connection, run_ids))

    async def batched_events(self, run_ids: Sequence[str]) -> dict[str, list[str]]:
        def work(connection: sqlite3.Connection) -> dict[str, list[str]]:
            found: dict[str, list[str]] = {}
            for chunk in chunks([*dict.fromkeys(run_ids)]):
                sql = (
                    f"SELECT run_id, event_id FROM batched_events WHERE run_id IN {marks_for(len(chunk))} "
                    "ORDER BY run_id, n"
                )
                for run_id, event_id in connection.execute(sql, chunk):
                    found.setdefault(run_id, []).append(event_id)
            return found

        return await self.read(work)

    async def subscribers(self, names: Sequence[str]) -> dict[str, list[int]]:
        def work(connection: sqlite3.Connection) -> dict[str, list[int]]:
            found: dict[str, list[int]] = {name: [] for name in names}
            for chunk in chunks([*found]):
                sql = (
                    f"SELECT event_name, shard FROM subscribers WHERE event_name IN {marks_for(len(chunk))} "
                    "ORDER BY event_name, shard"
                )
                for name, shard in connection.execute(sql, chunk):
                    found[name].append(shard)
            return found

        return await self.read(work)

    async def messages(self, shard: int, limit: int) -> list[MessageRow]:
        return await self.read(
            lambda connection: select(
                connection, MessageRow, "WHERE shard = ? ORDER BY sender, number LIMIT ?", [shard, limit]
            )
        )

    async def items_of_run(self, run_id: str) -> list[ItemRow]:
        return await self.read(lambda connection: select_of_run(connection, ItemRow, run_id))

    async def catalogue(self) -> Catalogue:
        apps = await self.scan(lambda connection: select(connection, AppRow))
        return Catalogue(apps, await self.scan(lambda connection: select(connection, FunctionRow)))

    async def load(self, shards: frozenset[int], shard_count: int) -> AsyncIterator[LivePage]:
        """Pages of live rows, in the order of their keys, runs first."""
        everything = shards.issuperset(range(shard_count))
        of_shards = "" if everything else f"AND shard IN ({', '.join(map(str, sorted(shards)))})"
        async for pauses in self._pages(PauseRow, of_shards):
            yield LivePage(pauses=pauses)
        async for rekeys in self._pages(RekeyRow, of_shards):
            yield LivePage(rekeys=rekeys)
        async for meters in self._pages(MeterRow, of_shards):
            yield LivePage(meters=meters)
        async for runs in self._pages(RunRow, f"AND ended_at_ms IS NULL {of_shards}"):
            yield LivePage(runs=runs)
        async for terms in self._pages(TermsRow, of_shards):
            yield LivePage(terms=terms)
        async for items in self._pages(ItemRow, of_shards):
            yield LivePage(items=items)
        async for waits in self._pages(WaitRow, of_shards):
            yield LivePage(waits=waits)
        async for crons in self._pages(CronRow, of_shards):
            yield LivePage(crons=crons)
        async for windows in self._pages(WindowRow, of_shards):
            yield LivePage(windows=windows)
        async for jobs in self._pages(JobRow, f"AND ended_at_ms IS NULL {of_shards}"):
            yield LivePage(jobs=jobs)

    async def _pages(self, kind: type[RowT], condition: str) -> AsyncIterator[list[RowT]]:
        key = kind._fields[0]
        where = f"WHERE {key} > ? {condition} ORDER BY {key} LIMIT {LOAD_PAGE_ROWS}"
        last = ""
        while page := await self.scan(lambda connection, last=last: select(connection, kind, where, [last])):
            yield page
            if len(page) < LOAD_PAGE_ROWS:
                return
            last = page[-1][0]

    async def counts(self) -> Counts:
        return await self.scan(read_counts)


def get(
    connection: sqlite3.Connection,
    kind: type[RowT],
    keys: Sequence[Key],
    *,
    damaged: OnDamage[RowT] = refused,
) -> list[RowT]:
    return [
        row
        for sql, parameters in selects(kind, keys)
        for row in without_checksums(kind, connection.execute(sql, parameters).fetchall(), damaged)
    ]


def select(
    connection: sqlite3.Connection, kind: type[RowT], conditions: str = "", parameters: Parameters = ()
) -> list[RowT]:
    sql = f"SELECT {', '.join(columns_of(kind))} FROM {TABLES[kind]} {conditions}"
    return without_checksums(kind, connection.execute(sql, parameters).fetchall())


def select_without_payload(
    connection: sqlite3.Connection, kind: type[RowT], conditions: str, parameters: Parameters
) -> list[RowT]:
    """The rows with None for what their checksum covers, which is not read."""
    columns = ["NULL" if name in PAYLOADS[kind] else name for name in kind._fields]
    found = connection.execute(f"SELECT {', '.join(columns)} FROM {TABLES[kind]} {conditions}", parameters)
    make = cast("Callable[[Sequence[Any]], RowT]", kind._make)
    return [make(row) for row in found.fetchall()]


def select_of_run(connection: sqlite3.Connection, kind: type[RowT], run_id: str) -> list[RowT]:
    """The items or waits of a run, by id: their ids begin with the run's and a dot, which `/` follows."""
    key = kind._fields[0]
    where = f"WHERE {key} > ? AND {key} < ? ORDER BY {key}"
    return select(connection, kind, where, [f"{run_id}.", f"{run_id}/"])


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Generator[None]:
    """All that is read inside is of one moment of the database."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def read_journals(connection: sqlite3.Connection, run_ids: Sequence[str]) -> dict[str, list[JournalRow]]:
    rows: list[JournalRow] = []
    for chunk in chunks([*dict.fromkeys(run_ids)]):
        rows += select(
            connection, JournalRow, f"WHERE run_id IN {marks_for(len(chunk))} ORDER BY run_id, n", chunk
        )
    journals = {run_id: list(entries) for run_id, entries in groupby(rows, key=itemgetter(0))}
    for run_id, entries in journals.items():
        if entries[-1].n != len(entries):
            numbers = {entry.n for entry in entries}
            missing = next(n for n in range(1, entries[-1].n) if n not in numbers)
            raise CorruptDataError(f"table journal, key {run_id}, {missing}: the entry is missing")
    return journals


def read_histories(connection: sqlite3.Connection, run_ids: Sequence[str]) -> dict[str, RunHistory]:
    with snapshot(connection):
        runs = {run.run_id: run for run in get(connection, RunRow, [*dict.fromkeys(run_ids)])}
        journals = read_journals(connection, [*runs])
        return {
            run_id: RunHistory(
                run,
                journals.get(run_id, []),
                select_of_run(connection, ItemRow, run_id),
                select_of_run(connection, WaitRow, run_id),
            )
            for run_id, run in runs.items()
        }


def read_openers(connection: sqlite3.Connection, run_ids: Sequence[str], op: str) -> frozenset[str]:
    found: set[str] = set()
    for chunk in chunks([*dict.fromkeys(run_ids)]):
        sql = (
            f"SELECT DISTINCT run_id FROM journal WHERE run_id IN {marks_for(len(chunk))} "
            "AND kind = ? AND instr(meta, ?) > 0"
        )
        parameters = [*chunk, JournalKind.OPENED.value, opened_mark(op)]
        found.update(run_id for (run_id,) in connection.execute(sql, parameters))
    return frozenset(found)


def read_counts(connection: sqlite3.Connection) -> Counts:
    def count(kind: type[Row], condition: str = "") -> int:
        (number,) = connection.execute(f"SELECT count(*) FROM {TABLES[kind]} {condition}").fetchone()
        return number

    return Counts(
        live_runs=count(RunRow, "WHERE ended_at_ms IS NULL"),
        items=count(ItemRow),
        waits=count(WaitRow),
        marks=count(MarkRow),
        runs=count(RunRow),
        events=count(EventRow),
        journal=count(JournalRow),
    )
