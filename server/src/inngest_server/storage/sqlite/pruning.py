"""Forgetting the past in slices, between which commits go on.

Rows go together with the pages that they leave empty: beyond `FREE_PAGES_KEPT` those are given back to the
file system, a few at a time.
"""

import sqlite3

from inngest_server.events.records import EventRow
from inngest_server.storage.sqlite.queries import ID_SLACK_MS, first_id_at
from inngest_server.storage.sqlite.readers import Readers
from inngest_server.storage.sqlite.statements import chunks, remove_sql
from inngest_server.storage.sqlite.writer import Writer

SLICE_ROWS = 64
"""Runs, events or marks in one transaction: at most a few milliseconds between two commits."""
FREE_PAGES_KEPT = 1_000
"""Left for new rows, which would only make the file grow again."""
PAGES_GIVEN_BACK = 64
"""In one transaction."""

_UNUSED = "NOT EXISTS (SELECT * FROM runs WHERE runs.event_id = events.internal_id)"


class Pruning:
    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def prune(self, before_ms: int, limit: int) -> int:
        pruned = await self._prune_runs(before_ms, limit)
        pruned += await self._prune_events(before_ms, limit)
        pruned += await self._prune_marks(limit)
        await self._give_back(pruned)
        return pruned

    async def _prune_runs(self, before_ms: int, limit: int) -> int:
        oldest = "FROM runs WHERE ended_at_ms < ? ORDER BY ended_at_ms, run_id LIMIT ?"

        def forget(connection: sqlite3.Connection, count: int) -> tuple[int, int]:
            of_them = f"WHERE run_id IN (SELECT run_id {oldest})"
            connection.execute("BEGIN IMMEDIATE")
            entries = connection.execute(f"DELETE FROM journal {of_them}", (before_ms, count))
            runs = connection.execute(f"DELETE FROM runs {of_them}", (before_ms, count))
            connection.execute("COMMIT")
            return runs.rowcount, entries.rowcount

        rows = 0
        while limit > 0:
            count = min(limit, SLICE_ROWS)
            runs, entries = await self._writer.do(lambda connection, count=count: forget(connection, count))
            rows += runs + entries
            limit = limit - runs if runs == count else 0
        return rows

    async def _prune_events(self, before_ms: int, limit: int) -> int:
        """Finds candidates with a reader, since old events that are still referred to may be many."""
        find = (
            "SELECT internal_id FROM events WHERE internal_id < ? AND received_at_ms < ? "
            f"AND {_UNUSED} ORDER BY internal_id LIMIT ?"
        )
        parameters = (first_id_at(before_ms + ID_SLACK_MS), before_ms, limit)
        found = await self._readers.scan(lambda connection: connection.execute(find, parameters).fetchall())
        ids = [internal_id for (internal_id,) in found]

        def forget(connection: sqlite3.Connection, some: list[str]) -> int:
            rows = 0
            for chunk, size in chunks(some):
                # A run may have begun to refer to one of them since.
                sql = f"{remove_sql(EventRow, size)} AND {_UNUSED}"
                filled = [*chunk, *[chunk[-1]] * (size - len(chunk))]
                rows += connection.execute(sql, filled).rowcount
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

    async def _give_back(self, pruned: int) -> None:
        def step(connection: sqlite3.Connection) -> int:
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            pages = min(free - FREE_PAGES_KEPT, PAGES_GIVEN_BACK)
            if pages > 0:
                connection.executescript(f"PRAGMA incremental_vacuum({pages})")
            return pages

        for _ in range(1 + pruned // SLICE_ROWS):
            if await self._writer.do(step) < PAGES_GIVEN_BACK:
                return
