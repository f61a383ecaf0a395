"""Keeps the log short without making commits wait for the database file.

A checkpoint copies pages from the log into the database file and syncs that. Done by the writer, as SQLite
does by default, it would hold up the commit that crosses the threshold: for tens of milliseconds on a good
disk and for much longer on a slow one. So a thread of its own copies while commits go on. What was committed
meanwhile is little, and the writer copies it between two commits: only when nothing is left over does
the next commit start again at the beginning of the log, so that the file stops growing.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inngest_server.storage.protocol import StorageError
from inngest_server.storage.sqlite.connections import connect_checkpointer
from inngest_server.storage.sqlite.errors import needs_reopening, translated
from inngest_server.storage.sqlite.lane import Lane
from inngest_server.storage.sqlite.writer import Writer

ROWS_BETWEEN = 2_000
"""Rows changed between two checkpoints: about 1,000 pages, so that the log is a few megabytes."""
SECONDS_BETWEEN = 5.0
"""Or this time. So the log of a quiet server is short too, and its commits are seldom disturbed."""


class Checkpoints:
    """Told of each commit; starts a checkpoint when one is due. All on the event loop."""

    def __init__(self, path: Path, writer: Writer, log: Callable[..., Any]) -> None:
        self._path = path
        self._writer = writer
        self._log = log
        self._lane = Lane("sqlite-checkpoints", lambda: connect_checkpointer(path))
        self._running: asyncio.Task[None] | None = None
        self._rows_at_last = 0
        self._last_s = 0.0
        self._is_open = False

    async def open(self) -> None:
        await self._lane.open()
        self._rows_at_last, self._last_s = self._writer.rows_changed, time.monotonic()
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        if self._running is not None:
            await self._running
        await self._lane.close()

    def after_commit(self) -> None:
        if self._running is not None or not self._is_open or self._writer.failed:
            return
        rows = self._writer.rows_changed
        now_s = time.monotonic()
        if rows - self._rows_at_last < ROWS_BETWEEN and now_s - self._last_s < SECONDS_BETWEEN:
            return
        self._rows_at_last, self._last_s = rows, now_s
        self._running = asyncio.create_task(self._run(), name="sqlite-checkpoint")

    async def _run(self) -> None:
        try:
            await self._lane.do(checkpoint)
            await self._writer.do(checkpoint)
        except sqlite3.Error as error:
            # The log keeps what was not copied, and the next checkpoint copies it again.
            self._log("storage.checkpoint_failed", level="warning", error=str(translated(error, self._path)))
            if needs_reopening(error):
                await self._writer.fail(error)
        except StorageError as error:
            self._log("storage.checkpoint_failed", level="warning", error=str(error))
        finally:
            self._running = None


def checkpoint(connection: sqlite3.Connection) -> None:
    """Copy what can be copied without waiting for anybody."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
