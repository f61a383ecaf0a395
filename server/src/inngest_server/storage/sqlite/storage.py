"""`Storage` on one SQLite file: puts the parts of this package together."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from inngest_server.events.records import EventRow
from inngest_server.jobs.records import JobRow
from inngest_server.runs.records import ItemRow, JournalRow, RunRow
from inngest_server.storage.protocol import (
    Batch,
    Catalogue,
    CommitResult,
    Counts,
    EventQuery,
    FoundRun,
    LivePage,
    RowT,
    RunHistory,
    RunQuery,
)
from inngest_server.storage.records import Key, MessageRow
from inngest_server.storage.sqlite.checkpoints import Checkpoints
from inngest_server.storage.sqlite.checks import salvaged
from inngest_server.storage.sqlite.history import History
from inngest_server.storage.sqlite.integrity import IntegrityCheck
from inngest_server.storage.sqlite.lock import DirectoryLock
from inngest_server.storage.sqlite.log_file import what_is_lost
from inngest_server.storage.sqlite.pruning import Pruning
from inngest_server.storage.sqlite.readers import Readers, read_histories, read_openers
from inngest_server.storage.sqlite.writer import Writer

FILE_NAME = "main.db"
Log = Callable[..., Any]


def no_log(event: str, **fields: object) -> None:
    """Says nothing."""


class SQLiteStorage:
    """Rows in `directory/main.db`, for one server at a time.

    Every commit is on disk before it is answered; with `relaxed` the commits of the last moments before
    a power failure or a crash of the system may be lost, whole. A crash of the server loses none.
    """

    def __init__(
        self,
        directory: Path,
        *,
        shard_count: int = 256,
        relaxed: bool = False,
        url: str = "",
        log: Log = no_log,
        connection_class: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        """`shard_count` is for a new database; `url` is told to whoever finds the directory in use;
        `connection_class` is how tests come between the writer and SQLite."""
        self.path = directory / FILE_NAME
        self._shard_count = shard_count
        self._relaxed = relaxed
        self._log = log
        self._lock = DirectoryLock(directory, url)
        self._writer = Writer(self.path, relaxed=relaxed, connection_class=connection_class)
        self._readers = Readers(self.path)
        self._history = History(self._readers)
        self._checkpoints = Checkpoints(self.path, self._writer, log)
        self._check = IntegrityCheck(self.path, log)
        self._pruning = Pruning(self._writer, self._readers)
        self._is_open = False

    @property
    def shard_count(self) -> int:
        return self._shard_count

    @property
    def description(self) -> str:
        return f"SQLite {self.path}, synchronous={'NORMAL' if self._relaxed else 'FULL'}"

    @property
    def integrity(self) -> str:
        """Of the check after an unclean stop: empty, `running`, `given up`, `ok`, or the problems."""
        return self._check.result

    async def open(self) -> None:
        if self._is_open and not self._writer.failed:
            return
        await self._close_connections()
        if not self._lock.is_held:
            self._lock.take()
            if self._lock.was_unclean and (lost := await asyncio.to_thread(what_is_lost, self.path)):
                self._log("storage.log_damaged", level="error", path=f"{self.path}-wal", detail=lost)
        try:
            await self._writer.open(shard_count=self._shard_count)
            await self._readers.open()
            await self._checkpoints.open()
        except BaseException:
            await self.close()
            raise
        self._shard_count = self._writer.shard_count
        self._is_open = True
        if self._lock.was_unclean:
            self._check.start()

    async def close(self) -> None:
        is_clean = not self._writer.failed
        await self._close_connections()
        self._lock.release(is_clean=is_clean)

    async def _close_connections(self) -> None:
        self._is_open = False
        await self._check.stop()
        await self._checkpoints.close()
        await self._readers.close()
        await self._writer.close()  # Last, so that it empties the log.

    async def acquire(self, shards: Iterable[int], owner: str, until_ms: int) -> dict[int, int]:
        return await self._writer.acquire(shards)

    async def release(self, epochs: dict[int, int]) -> None:
        await self._writer.release(epochs)

    async def domain_time_ms(self) -> int:
        return self._writer.domain_time_ms

    def load(self, shards: Iterable[int]) -> AsyncIterator[LivePage]:
        return self._readers.load(frozenset(shards), self._shard_count)

    async def catalogue(self) -> Catalogue:
        return await self._readers.catalogue()

    async def get(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        return await self._readers.get(kind, list(dict.fromkeys(keys)))

    async def journals(self, run_ids: Sequence[str]) -> dict[str, list[JournalRow]]:
        return await self._readers.journals(run_ids)

    async def batched_events(self, run_ids: Sequence[str]) -> dict[str, list[str]]:
        return await self._readers.batched_events(run_ids)

    async def histories(self, run_ids: Sequence[str]) -> dict[str, RunHistory]:
        return await self._readers.scan(lambda connection: read_histories(connection, run_ids))

    async def runs_that_opened(self, run_ids: Sequence[str], op: str) -> frozenset[str]:
        return await self._readers.scan(lambda connection: read_openers(connection, run_ids, op))

    async def salvage(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        return await self._readers.get(kind, list(dict.fromkeys(keys)), damaged=salvaged)

    async def salvage_journal(self, run_id: str) -> list[JournalRow]:
        return await self._readers.salvage_journal(run_id)

    async def commit(self, batch: Batch) -> CommitResult:
        result = await self._writer.commit(batch)
        self._checkpoints.after_commit()
        return result

    async def subscribers(self, names: Sequence[str]) -> dict[str, list[int]]:
        return await self._readers.subscribers(names)

    async def messages(self, shard: int, limit: int) -> list[MessageRow]:
        return await self._readers.messages(shard, limit)

    async def list_events(self, query: EventQuery) -> list[EventRow]:
        return await self._history.list_events(query)

    async def count_events(self, query: EventQuery) -> int:
        return await self._history.count_events(query)

    def scan_events(self, query: EventQuery) -> AsyncIterator[Sequence[EventRow]]:
        return self._history.scan_events(query)

    async def list_runs(self, query: RunQuery) -> list[RunRow]:
        return await self._history.list_runs(query)

    async def count_runs(self, query: RunQuery) -> int:
        return await self._history.count_runs(query)

    def scan_runs(self, query: RunQuery) -> AsyncIterator[Sequence[FoundRun]]:
        return self._history.scan_runs(query)

    async def runs_of_event(self, internal_id: str) -> list[RunRow]:
        return await self._history.runs_of_event(internal_id)

    async def runs_of_events(self, internal_ids: Sequence[str]) -> dict[str, list[RunRow]]:
        return await self._history.runs_of_events(internal_ids)

    async def list_jobs(self, *, limit: int, after: str | None = None) -> list[JobRow]:
        return await self._history.list_jobs(limit, after)

    async def items_of_run(self, run_id: str) -> list[ItemRow]:
        return await self._readers.items_of_run(run_id)

    async def prune(self, before_ms: int, limit: int) -> int:
        return await self._pruning.prune(before_ms, limit)

    async def oldest_ms(self) -> int | None:
        return await self._history.oldest_ms()

    async def used_bytes(self) -> int:
        return await self._history.used_bytes()

    async def counts(self) -> Counts:
        return await self._readers.counts()
