"""Lists of runs and events, their counts, and scans for whoever searches in them.

Each is read by the scanning threads, a page at a time: nobody's reading keeps the log from being emptied.
"""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from inngest_server.events.records import EventRow
from inngest_server.jobs.records import JobRow
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import SCAN_ROWS, EventQuery, FoundRun, RunQuery
from inngest_server.storage.scans import take_page
from inngest_server.storage.sqlite import lists
from inngest_server.storage.sqlite.readers import Readers, get, select, select_without_payload, snapshot
from inngest_server.storage.sqlite.statements import chunks, marks_for


class History:
    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def list_events(self, query: EventQuery) -> list[EventRow]:
        chosen = select if query.with_bodies else select_without_payload
        return await self._readers.scan(
            lambda connection: chosen(connection, EventRow, *lists.event_page(query))
        )

    async def count_events(self, query: EventQuery) -> int:
        return await self._readers.scan(lambda connection: _number(connection, lists.event_count(query)))

    async def scan_events(self, query: EventQuery) -> AsyncIterator[Sequence[EventRow]]:
        left, after = query.limit, query.after
        while left > 0:
            asked = replace(query, limit=min(left, SCAN_ROWS), after=after)
            page = await self._readers.scan(lambda connection, asked=asked: events_at(connection, asked))
            if not page:
                return
            yield page
            left -= len(page)
            after = page[-1].internal_id

    async def list_runs(self, query: RunQuery) -> list[RunRow]:
        return await self._readers.scan(lambda connection: list_runs(connection, query))

    async def count_runs(self, query: RunQuery) -> int:
        return await self._readers.scan(
            lambda connection: _number(connection, lists.run_count(connection, query))
        )

    async def scan_runs(self, query: RunQuery) -> AsyncIterator[Sequence[FoundRun]]:
        left, after = query.limit, query.after
        while left > 0:
            asked = replace(query, limit=min(left, SCAN_ROWS), after=after)
            page = await self._readers.scan(lambda connection, asked=asked: runs_at(connection, asked))
            if not page:
                return
            yield page
            left -= len(page)
            after = query.place_of(page[-1].run)

    async def runs_of_event(self, internal_id: str) -> list[RunRow]:
        return await self._readers.scan(lambda connection: runs_of_event(connection, internal_id))

    async def runs_of_events(self, internal_ids: Sequence[str]) -> dict[str, list[RunRow]]:
        return await self._readers.scan(lambda connection: runs_of_events(connection, internal_ids))

    async def list_jobs(self, limit: int, after: str | None) -> list[JobRow]:
        where, parameters = "ORDER BY job_id DESC LIMIT ?", [limit]
        if after is not None:
            where, parameters = f"WHERE job_id < ? {where}", [after, limit]
        return await self._readers.scan(lambda connection: select(connection, JobRow, where, parameters))

    async def oldest_ms(self) -> int | None:
        sql = """
            SELECT min(at_ms) FROM (
                SELECT (
                    SELECT ended_at_ms FROM runs INDEXED BY runs_by_end WHERE ended_at_ms IS NOT NULL
                    ORDER BY ended_at_ms LIMIT 1
                ) AS at_ms
                UNION ALL SELECT (SELECT received_at_ms FROM events ORDER BY internal_id LIMIT 1)
            )
        """
        return await self._readers.scan(lambda connection: connection.execute(sql).fetchone()[0])

    async def used_bytes(self) -> int:
        sql = (
            "SELECT (page_count - freelist_count) * page_size "
            "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
        )
        return await self._readers.read(lambda connection: connection.execute(sql).fetchone()[0])


def runs_of_event(connection: sqlite3.Connection, internal_id: str) -> list[RunRow]:
    where = f"WHERE run_id IN ({_runs_of(1)}) ORDER BY run_id"
    return select(connection, RunRow, where, [internal_id, internal_id])


def runs_of_events(connection: sqlite3.Connection, internal_ids: Sequence[str]) -> dict[str, list[RunRow]]:
    found: dict[str, list[RunRow]] = {}
    with snapshot(connection):
        for chunk in chunks([*dict.fromkeys(internal_ids)]):
            sql = _runs_of(len(chunk), "event_id, run_id")
            pairs = sorted(connection.execute(sql, [*chunk, *chunk]))
            runs: dict[str, RunRow] = {}
            for some in chunks([*dict.fromkeys(run_id for _, run_id in pairs)]):
                where = f"WHERE run_id IN {marks_for(len(some))}"
                rows = select_without_payload(connection, RunRow, where, some)
                runs |= {row.run_id: row for row in rows}
            for event_id, run_id in pairs:
                if run_id in runs:  # A further event may have been left without its run.
                    found.setdefault(event_id, []).append(runs[run_id])
    return found


def _runs_of(size: int, columns: str = "run_id") -> str:
    """Ids of the runs of so many events, which are given twice."""
    some = marks_for(size)
    return (
        f"SELECT {columns} FROM runs WHERE event_id IN {some} "
        f"UNION SELECT {columns} FROM batched_events WHERE event_id IN {some}"
    )


def _number(connection: sqlite3.Connection, query: lists.Query) -> int:
    (number,) = connection.execute(*query).fetchone()
    return number


def list_runs(connection: sqlite3.Connection, query: RunQuery) -> list[RunRow]:
    chosen = select if query.with_outputs else select_without_payload
    return chosen(connection, RunRow, *lists.run_page(connection, query))


def events_at(connection: sqlite3.Connection, query: EventQuery) -> list[EventRow]:
    """A page of a scan."""
    with snapshot(connection):
        sizes = connection.execute(*lists.event_page_sizes(query)).fetchall()
        ids = [internal_id for internal_id, _ in take_page(iter(sizes), _last)]
        rows = {row.internal_id: row for row in get(connection, EventRow, ids)}
    return [rows[internal_id] for internal_id in ids]


def runs_at(connection: sqlite3.Connection, query: RunQuery) -> list[FoundRun]:
    """A page of a scan."""
    with snapshot(connection):
        sizes = connection.execute(*lists.run_page_sizes(connection, query)).fetchall()
        page = take_page(iter(sizes), _last)
        runs = {row.run_id: row for row in get(connection, RunRow, [run_id for run_id, _, _ in page])}
        event_ids = [*dict.fromkeys(event_id for _, event_id, _ in page)]
        events = {row.internal_id: row for row in get(connection, EventRow, event_ids)}
    return [FoundRun(runs[run_id], events.get(event_id)) for run_id, event_id, _ in page]


def _last(row: tuple[Any, ...]) -> int:
    return row[-1]
