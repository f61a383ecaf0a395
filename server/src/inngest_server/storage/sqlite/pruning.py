"""Forgetting the past in slices, between which commits go on.

Rows go together with the pages that they leave empty: beyond `FREE_PAGES_KEPT` those are given back to the
file system, a few at a time.
"""

import sqlite3
from itertools import accumulate

from inngest_server.events.records import EventRow
from inngest_server.runs.records import RunRow
from inngest_server.storage.sqlite.readers import Readers
from inngest_server.storage.sqlite.statements import chunks, marks_for, remove_sql, removes
from inngest_server.storage.sqlite.writer import Writer
from inngest_server.wire.ulid import first_at

ID_SLACK_MS = 24 * 3_600_000
"""How far an id's time may lie from the moment in its row: far more than hosts' clocks differ."""
SLICE_ROWS = 64
"""Runs, events or marks in one transaction: at most a few milliseconds between two commits."""
SLICE_ENTRIES = 1_000
"""Journal entries of its runs."""
FREE_PAGES_KEPT = 1_000
"""Left for new rows, which would only make the file grow again."""
PAGES_GIVEN_BACK = 64
"""In one transaction."""

_UNUSED = (
    "NOT EXISTS (SELECT * FROM runs WHERE runs.event_id = events.internal_id) "
    "AND NOT EXISTS (SELECT * FROM batched_events AS more WHERE more.event_id = events.internal_id)"
)


class Pruning:
    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def prune(self, before_ms: int, limit: int) -> int:
        pruned = await self._prune_runs(before_ms, limit)
        pruned += await self._prune_events(before_ms, limit)
        pruned += await self._prune_marks(limit)
        pruned += await self._prune_jobs(before_ms, limit)
        await self._give_back()
        return pruned

    async def _prune_runs(self, before_ms: int, limit: int) -> int:
        rows = 0
        while limit > 0:
            count = min(limit, SLICE_ROWS)
            runs, entries = await self._writer.do(
                lambda connection, n=count: _forget_runs(connection, before_ms, n)
            )
            rows += runs + entries
            limit = limit - runs if runs else 0
        return rows

    async def _prune_events(self, before_ms: int, limit: int) -> int:
        """Finds candidates with a reader, since old events that are still referred to may be many."""
        find = (
            "SELECT internal_id FROM events WHERE internal_id < ? AND received_at_ms < ? "
            f"AND {_UNUSED} ORDER BY internal_id LIMIT ?"
        )
        parameters = (first_at(before_ms + ID_SLACK_MS), before_ms, limit)
        found = await self._readers.scan(lambda connection: connection.execute(find, parameters).fetchall())
        ids = [internal_id for (internal_id,) in found]

        def forget(connection: sqlite3.Connection, some: list[str]) -> int:
            rows = 0
            for chunk in chunks(some):
                # A run may have begun to refer to one of them since.
                sql = f"{remove_sql(EventRow, len(chunk))} AND {_UNUSED}"
                rows += connection.execute(sql, chunk).rowcount
            return rows

        rows = 0
        for start in range(0, len(ids), SLICE_ROWS):
            some = ids[start : start + SLICE_ROWS]
            rows += await self._writer.do(lambda connection, some=some: forget(connection, some))
        return rows

    async def _prune_marks(self, limit: int) -> int:
        sql = (
            "DELETE FROM marks WHERE key IN "
            "(SELECT key FROM marks WHERE expires_at_ms < ? ORDER BY expires_at_ms, key LIMIT ?)"
        )
        rows = 0
        while limit > 0:
            count = min(limit, SLICE_ROWS)
            parameters = (self._writer.domain_time_ms, count)
            gone = await self._writer.do(lambda connection, p=parameters: connection.execute(sql, p).rowcount)
            rows += gone
            limit = limit - gone if gone == count else 0
        return rows

    async def _prune_jobs(self, before_ms: int, limit: int) -> int:
        sql = (
            "DELETE FROM jobs WHERE job_id IN "
            "(SELECT job_id FROM jobs WHERE ended_at_ms < ? ORDER BY ended_at_ms, job_id LIMIT ?)"
        )
        return await self._writer.do(lambda connection: connection.execute(sql, (before_ms, limit)).rowcount)

    async def _give_back(self) -> None:
        def step(connection: sqlite3.Connection) -> int:
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            pages = min(free - FREE_PAGES_KEPT, PAGES_GIVEN_BACK)
            if pages > 0:
                connection.executescript(f"PRAGMA incremental_vacuum({pages})")
            return pages

        while await self._writer.do(step) == PAGES_GIVEN_BACK:
            pass


def _forget_runs(connection: sqlite3.Connection, before_ms: int, count: int) -> tuple[int, int]:
    """Remove the runs that ended first, and their journals; returns how many runs and entries went.

    Fewer than `count` when their journals are long, but one at least if there is one.
    """
    oldest = connection.execute(
        "SELECT run_id, (SELECT max(n) FROM journal WHERE journal.run_id = runs.run_id) "
        "FROM runs WHERE ended_at_ms < ? ORDER BY ended_at_ms, run_id LIMIT ?",
        (before_ms, count),
    ).fetchall()
    lengths = accumulate(length or 0 for _, length in oldest)
    chosen = [run_id for (run_id, _), length in zip(oldest, lengths, strict=True) if length <= SLICE_ENTRIES]
    chosen = chosen or [run_id for run_id, _ in oldest[:1]]
    entries = 0
    connection.execute("BEGIN IMMEDIATE")
    for chunk in chunks(chosen):
        sql = f"DELETE FROM journal WHERE run_id IN {marks_for(len(chunk))}"
        entries += connection.execute(sql, chunk).rowcount
        connection.execute(f"DELETE FROM batched_events WHERE run_id IN {marks_for(len(chunk))}", chunk)
    for sql, parameters in removes(RunRow, chosen):
        connection.execute(sql, parameters)
    connection.execute("COMMIT")
    return len(chosen), entries
