"""`inngest doctor --repair`: a copy first, then the repairs, by whoever is the one writer of the database.

Where a server runs it does them; otherwise an engine that is at rest does, which sends nothing and lets no
timer fire. Both decide a repair by the same code (`engine/repairs.py`).
"""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from logging import CRITICAL
from pathlib import Path

import structlog

from inngest_server.cli.examination import Reindex
from inngest_server.clock import SystemClock, system_random
from inngest_server.engine.engine import Engine
from inngest_server.engine.messages import run_of
from inngest_server.engine.repairs import Repair, Repaired, RepairKind, give_up, repair, unblock
from inngest_server.storage.sqlite import SQLiteStorage
from inngest_server.storage.sqlite.lock import DirectoryLock


def back_up(connection: sqlite3.Connection, path: Path) -> Path:
    """Copy the database as it is at this moment to a file beside it; returns that file.

    Raises:
        OSError: the file cannot be made.
        sqlite3.Error: the database cannot be read, or the disk is full; nothing is left behind.
    """
    moment = datetime.now(UTC)
    copy = path.with_name(f"{path.name}.before-repair-{moment:%Y%m%dT%H%M%S}.{moment.microsecond:06}Z")
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with closing(sqlite3.connect(copy)) as target:
            connection.backup(target)
    except BaseException:
        with suppress(OSError):
            copy.unlink()
        raise
    return copy


def rebuild_indexes(directory: Path, path: Path, wanted: Sequence[Reindex]) -> list[Repaired]:
    """Make the indexes of these tables anew from the tables; no server can be started meanwhile.

    Raises:
        StorageError: a server runs on the directory.
        sqlite3.Error: a table cannot be read, or the disk is full.
    """
    lock = DirectoryLock(directory, "")
    lock.take()
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            for one in wanted:
                connection.execute(f"REINDEX {one.table}")
    finally:
        lock.release(is_clean=True)
    return [Repaired(True, "its indexes were made anew") for _ in wanted]


def repair_stopped(directory: Path, wanted: Sequence[Repair]) -> list[Repaired]:
    """Do the repairs on a database without a server, in their order.

    Raises:
        StorageError: a server was started on it meanwhile, or it cannot be opened.
    """
    # The engine's log is for whoever runs a server; what was done here is in the results.
    logging_before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))
    try:
        return asyncio.run(_repair(directory, wanted))
    finally:
        structlog.configure(**logging_before)


async def _repair(directory: Path, wanted: Sequence[Repair]) -> list[Repaired]:
    storage = SQLiteStorage(directory)
    await storage.open()
    try:
        done = await unblock(storage, list(wanted))
        engine = Engine(storage, SystemClock(), system_random())
        await engine.start(at_rest=True)
        deciding = asyncio.create_task(engine.run())
        try:
            for one in wanted:
                if one not in done:
                    done[one] = await repair(engine, one)
                elif one.kind is RepairKind.MEND_WAIT:
                    await give_up(engine, run_of(one.key))
        finally:
            deciding.cancel()
            await asyncio.gather(deciding, return_exceptions=True)
    finally:
        await storage.close()
    return [done[one] for one in wanted]
