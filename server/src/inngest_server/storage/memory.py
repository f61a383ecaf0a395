"""Storage in memory: the reference model of the protocol, for tests, simulation and `--in-memory`."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, cast

from inngest_server.apps.records import AppRow, CronRow, FunctionRow
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.records import ItemRow, JournalRow, RunRow, WaitRow
from inngest_server.storage.protocol import (
    Batch,
    Catalogue,
    CommitResult,
    CorruptDataError,
    Counts,
    EventQuery,
    LivePage,
    Outcome,
    RowT,
    RunQuery,
)
from inngest_server.storage.records import TABLES, Key, MessageRow, Row, SubscriberRow, key_of

DONE = CommitResult(Outcome.DONE, frozenset(), "")


class MemoryStorage:
    """Keeps rows in dictionaries for as long as the process lives; `close` forgets nothing."""

    def __init__(self, *, shard_count: int = 256) -> None:
        self._shard_count = shard_count
        self._epochs: dict[int, int] = defaultdict(int)
        self._domain_time_ms = 0
        self._rows: dict[type[Row], dict[Key, Row]] = {kind: {} for kind in TABLES}
        self._journals: dict[str, dict[int, JournalRow]] = {}
        self._runs_by_event: dict[str, list[str]] = defaultdict(list)

    @property
    def shard_count(self) -> int:
        return self._shard_count

    @property
    def description(self) -> str:
        return "memory, lost when the process ends"

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def acquire(self, shards: Iterable[int], owner: str, until_ms: int) -> dict[int, int]:
        got: dict[int, int] = {}
        for shard in shards:
            self._epochs[shard] += 1
            got[shard] = self._epochs[shard]
        return got

    async def release(self, epochs: dict[int, int]) -> None:
        for shard, epoch in epochs.items():
            if self._epochs[shard] == epoch:
                self._epochs[shard] += 1

    async def domain_time_ms(self) -> int:
        return self._domain_time_ms

    async def load(self, shards: Iterable[int]) -> AsyncIterator[LivePage]:
        wanted = set(shards)
        runs = [row for row in self._all(RunRow) if row.ended_at_ms is None and row.shard in wanted]
        yield LivePage(runs=runs)
        yield LivePage(
            items=[row for row in self._all(ItemRow) if row.shard in wanted],
            waits=[row for row in self._all(WaitRow) if row.shard in wanted],
            crons=[row for row in self._all(CronRow) if row.shard in wanted],
        )

    async def catalogue(self) -> Catalogue:
        return Catalogue(self._all(AppRow), self._all(FunctionRow))

    async def get(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        rows = cast("dict[Key, RowT]", self._rows[kind])
        return [rows[key] for key in dict.fromkeys(keys) if key in rows]

    async def journals(self, run_ids: Sequence[str]) -> dict[str, list[JournalRow]]:
        found = {run_id: self._journals[run_id] for run_id in run_ids if run_id in self._journals}
        for run_id, rows in found.items():
            if missing := set(range(1, max(rows))) - rows.keys():
                raise CorruptDataError(f"table journal, key {run_id}, {min(missing)}: the entry is missing")
        return {run_id: [rows[n] for n in sorted(rows)] for run_id, rows in found.items()}

    async def commit(self, batch: Batch) -> CommitResult:
        return self.apply(batch)

    def apply(self, batch: Batch) -> CommitResult:
        """The commit itself, at once; the simulated disk decides when and whether to call it."""
        stale = frozenset(s for s, epoch in batch.epochs.items() if epoch != self._epochs[s])
        for kind, gone in batch.gone.items():
            for key, shard in gone.items():
                if shard not in stale:
                    self._rows[kind].pop(key, None)
        for rows in batch.rows.values():
            for row in rows.values():
                if row.shard not in stale:
                    self._put(row)
        for entry in batch.journal:
            if entry.shard not in stale:
                self._journals.setdefault(entry.run_id, {})[entry.n] = entry
        for message in batch.messages:
            if message.sender not in stale:
                self._put(message)
        if len(stale) < len(batch.epochs):
            self._domain_time_ms = max(self._domain_time_ms, batch.now_ms)
        return DONE if not stale else CommitResult(Outcome.DONE, stale, "")

    def _put(self, row: Row) -> None:
        rows = self._rows[type(row)]
        key = key_of(row)
        if isinstance(row, RunRow) and key not in rows:
            self._runs_by_event[row.event_id].append(row.run_id)
        rows[key] = row

    async def subscribers(self, names: Sequence[str]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {name: [] for name in names}
        for row in self._all(SubscriberRow):
            if row.event_name in found:
                found[row.event_name].append(row.shard)
        return {name: sorted(shards) for name, shards in found.items()}

    async def messages(self, shard: int, limit: int) -> list[MessageRow]:
        rows = [row for row in self._all(MessageRow) if row.shard == shard]
        return sorted(rows, key=lambda row: (row.sender, row.number))[:limit]

    async def list_events(self, query: EventQuery) -> list[EventRow]:
        rows = [row for row in self._all(EventRow) if _event_matches(row, query)]
        return sorted(rows, key=lambda row: row.internal_id, reverse=True)[: query.limit]

    async def list_runs(self, query: RunQuery) -> list[RunRow]:
        rows = [row for row in self._all(RunRow) if _run_matches(row, query)]
        return sorted(rows, key=lambda row: row.run_id, reverse=True)[: query.limit]

    async def runs_of_event(self, internal_id: str) -> list[RunRow]:
        return await self.get(RunRow, sorted(self._runs_by_event.get(internal_id, [])))

    async def items_of_run(self, run_id: str) -> list[ItemRow]:
        return sorted(row for row in self._all(ItemRow) if row.run_id == run_id)

    async def prune(self, before_ms: int, limit: int) -> int:
        ended = sorted(
            (row.ended_at_ms, row.run_id)
            for row in self._all(RunRow)
            if row.ended_at_ms is not None and row.ended_at_ms < before_ms
        )
        pruned = 0
        for _, run_id in ended[:limit]:
            row = self._rows[RunRow].pop(run_id)
            assert isinstance(row, RunRow)
            self._runs_by_event[row.event_id].remove(run_id)
            pruned += 1 + len(self._journals.pop(run_id, {}))
        kept = {row.event_id for row in self._all(RunRow)}
        old = sorted(
            row.internal_id
            for row in self._all(EventRow)
            if row.received_at_ms < before_ms and row.internal_id not in kept
        )
        for internal_id in old[:limit]:
            del self._rows[EventRow][internal_id]
            self._runs_by_event.pop(internal_id, None)
        expired = sorted(
            (row.expires_at_ms, row.key)
            for row in self._all(MarkRow)
            if row.expires_at_ms < self._domain_time_ms
        )
        for _, key in expired[:limit]:
            del self._rows[MarkRow][key]
        return pruned + len(old[:limit]) + len(expired[:limit])

    async def counts(self) -> Counts:
        runs = self._all(RunRow)
        return Counts(
            live_runs=sum(row.ended_at_ms is None for row in runs),
            items=len(self._rows[ItemRow]),
            waits=len(self._rows[WaitRow]),
            marks=len(self._rows[MarkRow]),
            runs=len(runs),
            events=len(self._rows[EventRow]),
            journal=sum(map(len, self._journals.values())),
        )

    def _all(self, kind: type[RowT]) -> list[RowT]:
        return list(cast("dict[Any, RowT]", self._rows[kind]).values())


def _event_matches(row: EventRow, query: EventQuery) -> bool:
    return (
        (query.older_than is None or row.internal_id < query.older_than)
        and (query.name is None or row.name == query.name)
        and (query.received_after_ms is None or row.received_at_ms > query.received_after_ms)
        and (query.received_before_ms is None or row.received_at_ms < query.received_before_ms)
        and (query.include_internal or not row.name.startswith("inngest/"))
    )


def _run_matches(row: RunRow, query: RunQuery) -> bool:
    return (
        (query.older_than is None or row.run_id < query.older_than)
        and (query.function_id is None or row.function_id == query.function_id)
        and (not query.statuses or row.status in query.statuses)
        and (query.created_after_ms is None or row.created_at_ms >= query.created_after_ms)
        and (query.created_before_ms is None or row.created_at_ms < query.created_before_ms)
    )
