"""Storage in memory: the reference model of the protocol, for tests, simulation and `--in-memory`."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, cast

from inngest_server.apps.records import AppRow, CronRow, FunctionRow
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.flow_control.records import MeterRow, PauseRow, RekeyRow, TermsRow, WindowRow
from inngest_server.jobs.records import JobRow
from inngest_server.runs.records import (
    BatchedEventRow,
    ItemRow,
    JournalKind,
    JournalRow,
    RunRow,
    WaitRow,
    opened_mark,
)
from inngest_server.storage.protocol import (
    Batch,
    Catalogue,
    CommitResult,
    CorruptDataError,
    Counts,
    EventQuery,
    FoundRun,
    LivePage,
    Outcome,
    RowT,
    RunHistory,
    RunOrder,
    RunQuery,
)
from inngest_server.storage.records import TABLES, Key, MessageRow, Row, SubscriberRow, key_of
from inngest_server.storage.scans import bytes_of_event, bytes_of_run, take_page
from inngest_server.wire.ulid import first_at

DONE = CommitResult(Outcome.DONE, frozenset(), "")

ROWS_AT_A_TIME = 2_000
"""That a list looks at before others have a turn: about a millisecond."""


class MemoryStorage:
    """Keeps rows in dictionaries for as long as the process lives; `close` forgets nothing."""

    def __init__(self, *, shard_count: int = 256) -> None:
        self._shard_count = shard_count
        self._epochs: dict[int, int] = defaultdict(int)
        self._domain_time_ms = 0
        self._rows: dict[type[Row], dict[Key, Row]] = {kind: {} for kind in TABLES}
        self._journals: dict[str, dict[int, JournalRow]] = {}
        self._runs_by_event: dict[str, list[str]] = defaultdict(list)
        self._used_bytes = 0

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

        def live(kind: type[RowT]) -> list[RowT]:
            return [row for row in self._all(kind) if row.shard in wanted]

        yield LivePage(pauses=live(PauseRow), rekeys=live(RekeyRow), meters=live(MeterRow))
        yield LivePage(runs=[row for row in live(RunRow) if row.ended_at_ms is None], terms=live(TermsRow))
        yield LivePage(
            items=live(ItemRow),
            waits=live(WaitRow),
            crons=live(CronRow),
            windows=live(WindowRow),
            jobs=[row for row in live(JobRow) if row.ended_at_ms is None],
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

    async def batched_events(self, run_ids: Sequence[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for row in sorted(row for row in self._all(BatchedEventRow) if row.run_id in set(run_ids)):
            found.setdefault(row.run_id, []).append(row.event_id)
        return found

    async def histories(self, run_ids: Sequence[str]) -> dict[str, RunHistory]:
        runs = {run.run_id: run for run in await self.get(RunRow, run_ids)}
        journals = await self.journals([*runs])
        items, waits = sorted(self._all(ItemRow)), sorted(self._all(WaitRow))
        return {
            run_id: RunHistory(
                run,
                journals.get(run_id, []),
                [item for item in items if item.item_id.startswith(f"{run_id}.")],
                [wait for wait in waits if wait.wait_id.startswith(f"{run_id}.")],
            )
            for run_id, run in runs.items()
        }

    async def runs_that_opened(self, run_ids: Sequence[str], op: str) -> frozenset[str]:
        mark = opened_mark(op)
        return frozenset(
            run_id
            for run_id in run_ids
            if any(
                row.kind == JournalKind.OPENED and mark in row.meta
                for row in self._journals.get(run_id, {}).values()
            )
        )

    async def salvage(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        return await self.get(kind, keys)

    async def salvage_journal(self, run_id: str) -> list[JournalRow]:
        rows = self._journals.get(run_id, {})
        return [rows[n] for n in sorted(rows)]

    async def commit(self, batch: Batch) -> CommitResult:
        return self.apply(batch)

    def apply(self, batch: Batch) -> CommitResult:
        """The commit itself, at once; the simulated disk decides when and whether to call it."""
        stale = frozenset(s for s, epoch in batch.epochs.items() if epoch != self._epochs[s])
        for kind, gone in batch.gone.items():
            for key, shard in gone.items():
                if shard not in stale:
                    self._remove(kind, key)
        for rows in batch.rows.values():
            for row in rows.values():
                if row.shard not in stale:
                    self._put(row)
        for entry in batch.journal:
            if entry.shard not in stale:
                journal = self._journals.setdefault(entry.run_id, {})
                self._count_bytes(journal.get(entry.n), entry)
                journal[entry.n] = entry
        for message in batch.messages:
            if message.sender not in stale:
                self._put(message)
        if len(stale) < len(batch.epochs):
            self._domain_time_ms = max(self._domain_time_ms, batch.now_ms)
        return DONE if not stale else CommitResult(Outcome.DONE, stale, "")

    def _put(self, row: Row) -> None:
        rows = self._rows[type(row)]
        key = key_of(row)
        if isinstance(row, RunRow | BatchedEventRow) and key not in rows:
            self._runs_by_event[row.event_id].append(row.run_id)
        self._count_bytes(rows.get(key), row)
        rows[key] = row

    def _remove(self, kind: type[Row], key: Key) -> None:
        gone = self._rows[kind].pop(key, None)
        if isinstance(gone, RunRow | BatchedEventRow):
            self._runs_by_event[gone.event_id].remove(gone.run_id)
        self._count_bytes(gone, None)

    def _count_bytes(self, old: Row | None, new: Row | None) -> None:
        self._used_bytes += (_size_of(new) if new is not None else 0) - (_size_of(old) if old else 0)

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
        found = await self._select(EventRow, lambda row: _event_is_shown(row, query))
        found.sort(reverse=True)
        after = query.after
        page = [row for row in found if after is None or row.internal_id < after][: query.limit]
        return page if query.with_bodies else [row._replace(body=None) for row in page]

    async def count_events(self, query: EventQuery) -> int:
        return len(await self._select(EventRow, lambda row: _event_is_shown(row, query)))

    async def scan_events(self, query: EventQuery) -> AsyncIterator[Sequence[EventRow]]:
        rows = iter(await self.list_events(replace(query, with_bodies=True)))
        while page := take_page(rows, bytes_of_event):
            yield page

    async def list_runs(self, query: RunQuery) -> list[RunRow]:
        found = await self._select(RunRow, lambda row: _run_is_shown(row, query))
        found.sort(key=query.place_of, reverse=not query.ascending)
        page = [row for row in found if _follows(row, query)][: query.limit]
        return page if query.with_outputs else [row._replace(output=None) for row in page]

    async def count_runs(self, query: RunQuery) -> int:
        return len(await self._select(RunRow, lambda row: _run_is_shown(row, query)))

    async def scan_runs(self, query: RunQuery) -> AsyncIterator[Sequence[FoundRun]]:
        events = cast("dict[Key, EventRow]", self._rows[EventRow])
        runs = await self.list_runs(replace(query, with_outputs=True))
        rows = iter([FoundRun(run, events.get(run.event_id)) for run in runs])
        while page := take_page(rows, bytes_of_run):
            yield page

    async def runs_of_event(self, internal_id: str) -> list[RunRow]:
        return await self.get(RunRow, sorted(self._runs_by_event.get(internal_id, [])))

    async def runs_of_events(self, internal_ids: Sequence[str]) -> dict[str, list[RunRow]]:
        found = {one: await self.runs_of_event(one) for one in dict.fromkeys(internal_ids)}
        return {one: [run._replace(output=None) for run in runs] for one, runs in found.items() if runs}

    async def list_jobs(self, *, limit: int, after: str | None = None) -> list[JobRow]:
        rows = sorted(self._all(JobRow), reverse=True)
        return [row for row in rows if after is None or row.job_id < after][:limit]

    async def items_of_run(self, run_id: str) -> list[ItemRow]:
        return sorted(row for row in self._all(ItemRow) if row.item_id.startswith(f"{run_id}."))

    async def prune(self, before_ms: int, limit: int) -> int:
        ended = sorted(
            (row.ended_at_ms, row.run_id)
            for row in self._all(RunRow)
            if row.ended_at_ms is not None and row.ended_at_ms < before_ms
        )
        pruned = 0
        for _, run_id in ended[:limit]:
            self._remove(RunRow, run_id)
            for further in [one for one in self._all(BatchedEventRow) if one.run_id == run_id]:
                self._remove(BatchedEventRow, (run_id, further.n))
            journal = self._journals.pop(run_id, {})
            for entry in journal.values():
                self._count_bytes(entry, None)
            pruned += 1 + len(journal)
        kept = {row.event_id for row in (*self._all(RunRow), *self._all(BatchedEventRow))}
        old = sorted(
            row.internal_id
            for row in self._all(EventRow)
            if row.received_at_ms < before_ms and row.internal_id not in kept
        )
        for internal_id in old[:limit]:
            self._remove(EventRow, internal_id)
            self._runs_by_event.pop(internal_id, None)
        expired = sorted(
            (row.expires_at_ms, row.key)
            for row in self._all(MarkRow)
            if row.expires_at_ms < self._domain_time_ms
        )
        for _, key in expired[:limit]:
            self._remove(MarkRow, key)
        jobs = sorted(
            (row.ended_at_ms, row.job_id)
            for row in self._all(JobRow)
            if row.ended_at_ms is not None and row.ended_at_ms < before_ms
        )
        for _, job_id in jobs[:limit]:
            self._remove(JobRow, job_id)
        return pruned + len(old[:limit]) + len(expired[:limit]) + len(jobs[:limit])

    async def oldest_ms(self) -> int | None:
        ends = [row.ended_at_ms for row in self._all(RunRow) if row.ended_at_ms is not None]
        events = self._all(EventRow)
        if events:
            ends.append(min(events, key=lambda row: row.internal_id).received_at_ms)
        return min(ends, default=None)

    async def used_bytes(self) -> int:
        return self._used_bytes

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

    async def _select(self, kind: type[RowT], is_wanted: Callable[[RowT], bool]) -> list[RowT]:
        """The rows that there are now and that are wanted; others have turns meanwhile."""
        rows = iter(self._all(kind))
        found: list[RowT] = []
        while some := list(islice(rows, ROWS_AT_A_TIME)):
            found += filter(is_wanted, some)
            await asyncio.sleep(0)
        return found


def _size_of(row: Row) -> int:
    """About what the row's values take: texts and payloads by their length, numbers eight bytes."""
    return sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row)


def _event_is_shown(row: EventRow, query: EventQuery) -> bool:
    return (
        (query.from_ms is None or row.internal_id >= first_at(query.from_ms))
        and (query.until_ms is None or row.internal_id < first_at(query.until_ms))
        and (query.names is None or row.name in query.names)
        and (query.include_internal or not row.name.startswith("inngest/"))
    )


def _run_is_shown(row: RunRow, query: RunQuery) -> bool:
    """Whether the run is on some page of the list."""
    place, from_, until = query.place_of(row), query.from_ms, query.until_ms
    if query.order is RunOrder.QUEUED:
        is_within = (from_ is None or row.run_id >= first_at(from_)) and (
            until is None or row.run_id < first_at(until)
        )
    else:
        is_within = (from_ is None or place.moment_ms >= from_) and (until is None or place.moment_ms < until)
    return (
        query.moment_of(row) is not None
        and is_within
        and (query.statuses is None or row.status in query.statuses)
        and (query.function_ids is None or row.function_id in query.function_ids)
        and (query.event_id is None or row.event_id == query.event_id)
    )


def _follows(row: RunRow, query: RunQuery) -> bool:
    """Whether the run comes after the query's place in the list."""
    if query.after is None:
        return True
    place, after = query.place_of(row), query.after
    if query.order is RunOrder.QUEUED:
        place, after = place._replace(moment_ms=0), after._replace(moment_ms=0)
    return place > after if query.ascending else place < after
