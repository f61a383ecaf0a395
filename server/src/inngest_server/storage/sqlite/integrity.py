"""The check of the whole file after a server was killed, while the next one already works.

SQLite's log makes a kill harmless; what this looks for is a disk or file system that lost or mixed up
pages. It reads one table after the other, as a reader that stays long keeps the log from being emptied.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inngest_server.storage.records import TABLES
from inngest_server.storage.sqlite.connections import connect_reader
from inngest_server.storage.sqlite.lane import Lane

PROBLEMS_MAX = 10


class IntegrityCheck:
    """Runs to its end at most once in the life of a storage."""

    def __init__(self, path: Path, log: Callable[..., Any]) -> None:
        self._path = path
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._lane = Lane("sqlite-check", lambda: connect_reader(path))
        self.result = ""
        """Empty when none was needed, `running`, `given up`, `ok`, or the problems found."""

    def start(self) -> None:
        if self._task is None:
            self.result = "running"
            self._task = asyncio.create_task(self._run(), name="sqlite-integrity-check")

    async def stop(self) -> None:
        """Give up what is left of it."""
        if self._task is None:
            return
        self._task.cancel()
        self._lane.interrupt()
        await asyncio.gather(self._task, return_exceptions=True)
        if self.result == "running":
            self._task, self.result = None, "given up"

    async def _run(self) -> None:
        problems: list[str] = []
        try:
            await self._lane.open()
            for table in TABLES.values():
                problems += await self._lane.do(lambda connection, table=table: _problems(connection, table))
        except sqlite3.Error as error:
            problems.append(str(error))
        finally:
            await self._lane.close()
        self.result = "; ".join(problems[:PROBLEMS_MAX]) or "ok"
        level = "error" if problems else "info"
        self._log("storage.checked_after_unclean_stop", level=level, path=str(self._path), result=self.result)


def _problems(connection: sqlite3.Connection, table: str) -> list[str]:
    found = connection.execute(f"PRAGMA quick_check({table})").fetchmany(PROBLEMS_MAX)
    return [line for (line,) in found if line != "ok"]
