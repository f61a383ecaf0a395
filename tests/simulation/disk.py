"""The simulated disk: memory storage that is slow, refuses, and does not always know what it did.

The rows survive the processes that wrote them. A `FaultyStorage` is one process's handle; it dies with it.

The lock of the data directory is held by one process. A process that is stopped loses it to the next one, as
a node loses its lease: what it wanted to write when it goes on again is of an older epoch.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.records import JournalRow, RunRow
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import (
    Batch,
    Catalogue,
    CommitResult,
    CorruptDataError,
    FoundRun,
    LivePage,
    Outcome,
    RowT,
    RunQuery,
    StorageUnavailableError,
)
from inngest_server.storage.records import Key, MessageRow

from .auditor import Auditor
from .sqlite_rows import SQLiteRows

T = TypeVar("T")


@dataclass
class DiskFaults:
    """How bad a disk is. Rates are per call."""

    commit_fails: float = 0.0
    unknown_after: float = 0.0
    """The commit happened, and the storage cannot tell."""
    unknown_before: float = 0.0
    """The commit did not happen, and the storage cannot tell."""
    unknown_late: float = 0.0
    """The commit happens when the storage is closed."""
    read_fails: float = 0.0
    slow: float = 0.0
    delay_s: float = 0.002


class Disk:
    """What lasts: the rows, and a digest of every batch in order."""

    def __init__(
        self, shard_count: int, auditor: Auditor, seen: Counter[str], *, keep_ms: int, is_sqlite: bool
    ) -> None:
        self.rows = MemoryStorage(shard_count=shard_count)
        self.sqlite = SQLiteRows(shard_count, auditor.note) if is_sqlite else None
        self.auditor = auditor
        self.seen = seen
        self.keep_ms = keep_ms
        self.holder: FaultyStorage | None = None
        """The process that has the lock of the data directory."""
        self.owner: FaultyStorage | None = None
        """The process that took the shards last; it may be dead."""
        self.damaged: set[str] = set()
        """Runs of whose journal a byte changed on the disk."""
        self._digest = hashlib.sha256()
        self.commits = 0

    def apply(self, batch: Batch) -> CommitResult:
        result = self.rows.apply(batch)
        if self.sqlite is not None:
            self.sqlite.apply(batch, result)
        if result.stale:
            assert len(result.stale) == len(batch.epochs), "all shards change their owner at once"
            self.seen["process: commit refused as stale"] += 1
            return result
        self._digest.update(_text_of(batch).encode())
        self.commits += 1
        self.auditor.applied(batch)
        return result

    async def acquire(self, shards: list[int], owner: str) -> dict[int, int]:
        epochs = await self.rows.acquire(shards, owner, 0)
        if self.sqlite is not None:
            self.sqlite.acquire(shards, owner, epochs)
        self.auditor.took(epochs)
        return epochs

    async def prune(self, before_ms: int, limit: int) -> int:
        """Prune, and show the auditor what went and what it was kept for."""
        rows = self.rows
        runs, events, marks = (dict(rows._rows[kind]) for kind in (RunRow, EventRow, MarkRow))
        pruned = await rows.prune(before_ms, limit)
        if self.sqlite is not None:
            self.sqlite.prune(before_ms, limit)
        gone: list[Any] = [
            [row for key, row in before.items() if key not in rows._rows[kind]]
            for kind, before in ((RunRow, runs), (EventRow, events), (MarkRow, marks))
        ]
        self.auditor.pruned(before_ms, rows._domain_time_ms, *gone)
        return pruned

    @property
    def digest(self) -> str:
        """Names the whole history of this disk, byte for byte."""
        return self._digest.hexdigest()


def _text_of(batch: Batch) -> str:
    rows = [(kind.__name__, list(rows.values())) for kind, rows in batch.rows.items()]
    gone = [(kind.__name__, list(keys.items())) for kind, keys in batch.gone.items()]
    return repr((batch.now_ms, list(batch.epochs.items()), gone, rows, batch.journal, batch.messages))


class FaultyStorage:
    """The storage protocol as one process sees it."""

    def __init__(self, disk: Disk, faults: DiskFaults, chance: random.Random) -> None:
        self._disk = disk
        self._faults = faults
        self._chance = chance
        self._late: list[Batch] = []
        self.is_dead = False
        self.is_paused = False

    @property
    def shard_count(self) -> int:
        return self._disk.rows.shard_count

    @property
    def description(self) -> str:
        return "a simulated disk"

    @property
    def is_replaced(self) -> bool:
        """Whether another process has taken the shards since this one did."""
        return self._disk.owner is not self

    def kill(self) -> None:
        """The process ends: what was handed to the operating system may still be written."""
        self.is_dead = True
        self._unlock()
        if self._chance.random() < 0.5:
            self._write_late()
        self._late.clear()

    def _write_late(self) -> None:
        for batch in self._late:
            self._disk.apply(batch)
        self._late.clear()

    def _lock(self) -> None:
        holder = self._disk.holder
        if holder is not None and holder is not self and not holder.is_paused:
            self._disk.seen["process: start refused, the lock is held"] += 1
            raise StorageUnavailableError("the data directory is in use by another server")
        self._disk.holder = self

    def _unlock(self) -> None:
        if self._disk.holder is self:
            self._disk.holder = None

    async def _pause(self) -> None:
        assert not self.is_dead, "a dead process uses its storage"
        delay_s = self._chance.expovariate(1.0) * self._faults.delay_s
        if self._chance.random() < self._faults.slow:
            delay_s += self._chance.expovariate(0.3)
        await asyncio.sleep(delay_s)
        assert not self.is_dead, "a dead process uses its storage"

    async def _read(self, read: Callable[[], T]) -> T:
        """A read sees one moment between its beginning and its end."""
        await self._pause()
        value = read()
        if self._chance.random() < self._faults.read_fails:
            self._disk.seen["disk: read failed"] += 1
            raise StorageUnavailableError("simulated I/O error")
        await self._pause()
        return value

    async def open(self) -> None:
        await self._read(lambda: None)
        self._lock()
        if self._disk.sqlite is not None:
            self._disk.seen["disk: SQLite reopened"] += 1
            self._disk.sqlite.reopen()

    async def close(self) -> None:
        await self._pause()
        self._write_late()
        self._unlock()

    async def acquire(self, shards: Iterable[int], owner: str, until_ms: int) -> dict[int, int]:
        wanted = list(shards)
        await self._read(lambda: None)
        self._disk.owner = self
        return await self._disk.acquire(wanted, owner)

    async def release(self, epochs: dict[int, int]) -> None:
        await self._disk.rows.release(epochs)

    async def domain_time_ms(self) -> int:
        await self._read(lambda: None)
        if self._disk.sqlite is not None:
            self._disk.sqlite.domain_time_ms(self._disk.rows._domain_time_ms)
        return await self._disk.rows.domain_time_ms()

    async def load(self, shards: Iterable[int]) -> AsyncIterator[LivePage]:
        wanted = list(shards)
        pages = [page async for page in self._disk.rows.load(wanted)]
        if self._disk.sqlite is not None:
            await self._disk.sqlite.load(wanted, pages)
        for page in pages:
            await self._read(lambda: None)
            yield page

    async def catalogue(self) -> Catalogue:
        await self._read(lambda: None)
        return await self._disk.rows.catalogue()

    async def get(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        rows: dict[Key, Any] = self._disk.rows._rows[kind]
        return await self._read(lambda: [rows[key] for key in dict.fromkeys(keys) if key in rows])

    async def journals(self, run_ids: Sequence[str]) -> dict[str, list[JournalRow]]:
        def read() -> dict[str, list[JournalRow]]:
            journals = self._disk.rows._journals
            if damaged := self._disk.damaged.intersection(run_ids):
                raise CorruptDataError(f"table journal, key {min(damaged)}: the checksum does not match")
            found = {
                one: [journals[one][n] for n in sorted(journals[one])] for one in run_ids if one in journals
            }
            if self._disk.sqlite is not None:
                self._disk.sqlite.journals(run_ids, found)
            return found

        return await self._read(read)

    async def batched_events(self, run_ids: Sequence[str]) -> dict[str, list[str]]:
        found = await self._disk.rows.batched_events(run_ids)
        await self._read(lambda: None)
        return found

    async def list_runs(self, query: RunQuery) -> list[RunRow]:
        found = await self._disk.rows.list_runs(query)
        await self._read(lambda: None)
        return found

    async def count_runs(self, query: RunQuery) -> int:
        found = await self._disk.rows.count_runs(query)
        await self._read(lambda: None)
        return found

    async def scan_runs(self, query: RunQuery) -> AsyncIterator[Sequence[FoundRun]]:
        async for page in self._disk.rows.scan_runs(query):
            await self._read(lambda: None)
            yield page

    async def runs_of_event(self, internal_id: str) -> list[RunRow]:
        run_ids = sorted(self._disk.rows._runs_by_event.get(internal_id, []))
        return await self.get(RunRow, run_ids)

    async def salvage(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        return await self.get(kind, keys)

    async def salvage_journal(self, run_id: str) -> list[JournalRow]:
        return (await self.journals([run_id])).get(run_id, [])

    async def messages(self, shard: int, limit: int) -> list[MessageRow]:
        rows = self._disk.rows
        found = [row for row in rows._all(MessageRow) if row.shard == shard]
        await self._read(lambda: None)
        return sorted(found, key=lambda row: (row.sender, row.number))[:limit]

    async def prune(self, before_ms: int, limit: int) -> int:
        await self._read(lambda: None)
        return await self._disk.prune(before_ms, limit)

    async def commit(self, batch: Batch) -> CommitResult:
        """One draw decides what becomes of the batch, and whether the caller learns it."""
        await self._pause()
        faults, draw, seen = self._faults, self._chance.random(), self._disk.seen
        for rate, outcome, applies, situation in (
            (faults.commit_fails, Outcome.FAILED, False, "disk: commit failed"),
            (faults.unknown_before, Outcome.UNKNOWN, False, "disk: commit unknown and lost"),
            (faults.unknown_after, Outcome.UNKNOWN, True, "disk: commit unknown and done"),
        ):
            if draw < rate:
                seen[situation] += 1
                if applies:
                    self._disk.apply(batch)
                await self._pause()
                return CommitResult(outcome, frozenset(), "simulated disk fault")
            draw -= rate
        if draw < faults.unknown_late:
            seen["disk: commit done late"] += 1
            self._late.append(batch)
            await self._pause()
            return CommitResult(Outcome.UNKNOWN, frozenset(), "simulated disk fault")
        result = self._disk.apply(batch)
        await self._pause()
        return result
