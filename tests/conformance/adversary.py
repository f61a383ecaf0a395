"""A storage that does to its caller whatever the protocol allows.

It delays, does a commit twice, fails without having changed anything, and says that it cannot tell: after
having committed, without having committed, or before committing later. The late commit is what the epoch is
for: whoever took a new epoch before loading is never surprised by it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from enum import Enum
from random import Random

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
    Outcome,
    RowT,
    RunHistory,
    RunQuery,
    Storage,
)
from inngest_server.storage.records import Key, MessageRow

TURNS_MAX = 4
"""Turns of the event loop for which an answer is held back."""


class Mischief(Enum):
    NONE = "none"
    TWICE = "commits twice"
    FAILS = "fails, nothing changed"
    UNKNOWN_DONE = "cannot tell, has committed"
    UNKNOWN_NOT_DONE = "cannot tell, has not committed"
    UNKNOWN_LATE = "cannot tell, commits at some later call"


TROUBLE = tuple(kind for kind in Mischief if kind is not Mischief.NONE)


class AdversaryStorage:
    """Wraps another storage; the same seed and the same calls give the same mischief.

    `rate` is the share of commits that something happens to; set it to 0 to let a world come to rest.
    """

    def __init__(self, inner: Storage, random: Random, *, rate: float = 0.3) -> None:
        self.inner = inner
        self.rate = rate
        self.done: list[Mischief] = []
        """What was done to each commit."""
        self._random = random
        self._late: list[Batch] = []

    @property
    def shard_count(self) -> int:
        return self.inner.shard_count

    @property
    def description(self) -> str:
        return f"adversary over {self.inner.description}"

    async def commit(self, batch: Batch) -> CommitResult:
        await self._hold_back()
        mischief = self._random.choice(TROUBLE) if self._random.random() < self.rate else Mischief.NONE
        self.done.append(mischief)
        result = await self._commit(batch, mischief)
        await self._pause()
        return result

    async def _commit(self, batch: Batch, mischief: Mischief) -> CommitResult:
        unknown = CommitResult(Outcome.UNKNOWN, frozenset(), f"adversary: {mischief.value}")
        match mischief:
            case Mischief.NONE:
                return await self.inner.commit(batch)
            case Mischief.TWICE:
                await self.inner.commit(batch)
                return await self.inner.commit(batch)
            case Mischief.FAILS:
                return CommitResult(Outcome.FAILED, frozenset(), "adversary: fails")
            case Mischief.UNKNOWN_DONE:
                await self.inner.commit(batch)
                return unknown
            case Mischief.UNKNOWN_NOT_DONE:
                return unknown
            case Mischief.UNKNOWN_LATE:
                self._late.append(batch)
                return unknown

    async def _hold_back(self) -> None:
        """Before a call: wait, and perhaps do what was left undone, in its order."""
        await self._pause()
        while self._late and self._random.random() < 0.5:
            await self.inner.commit(self._late.pop(0))

    async def _pause(self) -> None:
        for _ in range(self._random.randrange(TURNS_MAX + 1)):
            await asyncio.sleep(0)

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        self._late.clear()
        await self.inner.close()

    async def acquire(self, shards: Iterable[int], owner: str, until_ms: int) -> dict[int, int]:
        await self._hold_back()
        epochs = await self.inner.acquire(shards, owner, until_ms)
        await self._hold_back()
        return epochs

    async def release(self, epochs: dict[int, int]) -> None:
        await self._hold_back()
        await self.inner.release(epochs)

    async def domain_time_ms(self) -> int:
        await self._hold_back()
        return await self.inner.domain_time_ms()

    async def load(self, shards: Iterable[int]) -> AsyncIterator[LivePage]:
        await self._hold_back()
        async for page in self.inner.load(shards):
            await self._pause()
            yield page

    async def catalogue(self) -> Catalogue:
        await self._hold_back()
        return await self.inner.catalogue()

    async def get(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        await self._hold_back()
        rows = await self.inner.get(kind, keys)
        self._random.shuffle(rows)  # They come in no order.
        return rows

    async def journals(self, run_ids: Sequence[str]) -> dict[str, list[JournalRow]]:
        await self._hold_back()
        return await self.inner.journals(run_ids)

    async def salvage(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        await self._hold_back()
        return await self.inner.salvage(kind, keys)

    async def salvage_journal(self, run_id: str) -> list[JournalRow]:
        await self._hold_back()
        return await self.inner.salvage_journal(run_id)

    async def subscribers(self, names: Sequence[str]) -> dict[str, list[int]]:
        await self._hold_back()
        return await self.inner.subscribers(names)

    async def messages(self, shard: int, limit: int) -> list[MessageRow]:
        await self._hold_back()
        return await self.inner.messages(shard, limit)

    async def list_events(self, query: EventQuery) -> list[EventRow]:
        await self._hold_back()
        return await self.inner.list_events(query)

    async def count_events(self, query: EventQuery) -> int:
        await self._hold_back()
        return await self.inner.count_events(query)

    async def scan_events(self, query: EventQuery) -> AsyncIterator[Sequence[EventRow]]:
        await self._hold_back()
        async for page in self.inner.scan_events(query):
            await self._pause()
            yield page

    async def list_runs(self, query: RunQuery) -> list[RunRow]:
        await self._hold_back()
        return await self.inner.list_runs(query)

    async def count_runs(self, query: RunQuery) -> int:
        await self._hold_back()
        return await self.inner.count_runs(query)

    async def scan_runs(self, query: RunQuery) -> AsyncIterator[Sequence[FoundRun]]:
        await self._hold_back()
        async for page in self.inner.scan_runs(query):
            await self._pause()
            yield page

    async def runs_of_event(self, internal_id: str) -> list[RunRow]:
        await self._hold_back()
        return await self.inner.runs_of_event(internal_id)

    async def runs_of_events(self, internal_ids: Sequence[str]) -> dict[str, list[RunRow]]:
        await self._hold_back()
        return await self.inner.runs_of_events(internal_ids)

    async def items_of_run(self, run_id: str) -> list[ItemRow]:
        await self._hold_back()
        return await self.inner.items_of_run(run_id)

    async def batched_events(self, run_ids: Sequence[str]) -> dict[str, list[str]]:
        await self._hold_back()
        return await self.inner.batched_events(run_ids)

    async def list_jobs(self, *, limit: int, after: str | None = None) -> list[JobRow]:
        await self._hold_back()
        return await self.inner.list_jobs(limit=limit, after=after)

    async def histories(self, run_ids: Sequence[str]) -> dict[str, RunHistory]:
        await self._hold_back()
        return await self.inner.histories(run_ids)

    async def runs_that_opened(self, run_ids: Sequence[str], op: str) -> frozenset[str]:
        await self._hold_back()
        return await self.inner.runs_that_opened(run_ids, op)

    async def prune(self, before_ms: int, limit: int) -> int:
        await self._hold_back()
        return await self.inner.prune(before_ms, limit)

    async def oldest_ms(self) -> int | None:
        await self._hold_back()
        return await self.inner.oldest_ms()

    async def used_bytes(self) -> int:
        await self._hold_back()
        return await self.inner.used_bytes()

    async def counts(self) -> Counts:
        await self._hold_back()
        return await self.inner.counts()
