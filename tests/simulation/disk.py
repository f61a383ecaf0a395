"""The simulated disk: memory storage that is slow, refuses, and does not always know what it did.

The rows survive the processes that wrote them. A `FaultyStorage` is one process's handle; it dies with it.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from inngest_server.runs.records import JournalRow
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import (
    Batch,
    Catalogue,
    CommitResult,
    LivePage,
    Outcome,
    RowT,
    StorageUnavailableError,
)
from inngest_server.storage.records import Key, MessageRow

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
        self, shard_count: int, applied: Callable[[Batch], None], pruned: Callable[[int], None]
    ) -> None:
        self.rows = MemoryStorage(shard_count=shard_count)
        self._applied = applied
        self.pruned = pruned
        self._digest = hashlib.sha256()
        self.commits = 0
        self.faults = 0

    def apply(self, batch: Batch) -> CommitResult:
        result = self.rows.apply(batch)
        assert not result.stale, "one process at a time: nobody fences the other"
        self._digest.update(_text_of(batch).encode())
        self.commits += 1
        self._applied(batch)
        return result

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

    @property
    def shard_count(self) -> int:
        return self._disk.rows.shard_count

    @property
    def description(self) -> str:
        return "a simulated disk"

    def kill(self) -> None:
        """The process ends: what was handed to the operating system may still be written."""
        self.is_dead = True
        if self._chance.random() < 0.5:
            self._write_late()
        self._late.clear()

    def _write_late(self) -> None:
        for batch in self._late:
            self._disk.apply(batch)
        self._late.clear()

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
            self._disk.faults += 1
            raise StorageUnavailableError("simulated I/O error")
        await self._pause()
        return value

    async def open(self) -> None:
        await self._read(lambda: None)

    async def close(self) -> None:
        await self._pause()
        self._write_late()

    async def acquire(self, shards: Iterable[int], owner: str, until_ms: int) -> dict[int, int]:
        wanted = list(shards)
        await self._read(lambda: None)
        return await self._disk.rows.acquire(wanted, owner, until_ms)

    async def release(self, epochs: dict[int, int]) -> None:
        await self._disk.rows.release(epochs)

    async def domain_time_ms(self) -> int:
        await self._read(lambda: None)
        return await self._disk.rows.domain_time_ms()

    async def load(self, shards: Iterable[int]) -> AsyncIterator[LivePage]:
        wanted = list(shards)
        async for page in self._disk.rows.load(wanted):
            await self._read(lambda: None)
            yield page

    async def catalogue(self) -> Catalogue:
        await self._read(lambda: None)
        return await self._disk.rows.catalogue()

    async def get(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        rows: dict[Key, Any] = self._disk.rows._rows[kind]
        return await self._read(lambda: [rows[key] for key in dict.fromkeys(keys) if key in rows])

    async def journals(self, run_ids: Sequence[str]) -> dict[str, list[JournalRow]]:
        journals = self._disk.rows._journals
        return await self._read(
            lambda: {
                one: [journals[one][n] for n in sorted(journals[one])] for one in run_ids if one in journals
            }
        )

    async def messages(self, shard: int, limit: int) -> list[MessageRow]:
        rows = self._disk.rows
        found = [row for row in rows._all(MessageRow) if row.shard == shard]
        await self._read(lambda: None)
        return sorted(found, key=lambda row: (row.sender, row.number))[:limit]

    async def prune(self, before_ms: int, limit: int) -> int:
        await self._read(lambda: None)
        self._disk.pruned(before_ms)
        return await self._disk.rows.prune(before_ms, limit)

    async def commit(self, batch: Batch) -> CommitResult:
        """One draw decides what becomes of the batch, and whether the caller learns it."""
        await self._pause()
        faults, draw = self._faults, self._chance.random()
        for rate, outcome, applies in (
            (faults.commit_fails, Outcome.FAILED, False),
            (faults.unknown_before, Outcome.UNKNOWN, False),
            (faults.unknown_after, Outcome.UNKNOWN, True),
        ):
            if draw < rate:
                self._disk.faults += 1
                if applies:
                    self._disk.apply(batch)
                await self._pause()
                return CommitResult(outcome, frozenset(), "simulated disk fault")
            draw -= rate
        if draw < faults.unknown_late:
            self._disk.faults += 1
            self._late.append(batch)
            await self._pause()
            return CommitResult(Outcome.UNKNOWN, frozenset(), "simulated disk fault")
        result = self._disk.apply(batch)
        await self._pause()
        return result
