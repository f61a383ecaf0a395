"""Reads what the next slices of jobs are about, and asks the engine to decide them.

Nothing is changed here, and nothing is remembered that a restart would miss: a job goes on from the cursor in
its row, when its timer says so. That is domain time, so a job with a rate follows a clock that is moved.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import structlog

from inngest_server.engine.facts import Again, JobSlice
from inngest_server.engine.live import Live
from inngest_server.engine.options import EngineUnavailableError, UndecidableError
from inngest_server.events.expressions import EvaluationError, Expression
from inngest_server.events.records import EventRow
from inngest_server.jobs.filter import RunFilter, is_meant
from inngest_server.jobs.progress import SLICE_RUNS, Undecided, slice_size
from inngest_server.jobs.records import JobKind, JobRow, JobStatus
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import CorruptDataError, RunCursor, RunQuery, Storage, StorageError
from inngest_server.wire import json

log = structlog.get_logger("inngest.jobs")

RETRY_S = 1.0
"""Host time after which a slice that could not be read is tried again."""
CROWD_MAX = 1_000
"""Runs with untaken messages, beyond which no further ones are told that they are cancelled."""
CROWD_PAUSE_S = 0.02
RUNS_PER_READ = 5
"""Whose events are read at once: a batch may have 10 MiB of them."""
SLICE_BYTES = 8 * 1024 * 1024
"""Of events, after which a slice ends before its number of runs is reached."""
COUNTED_MAX = 10_000
"""Runs that a preview looks at."""
COUNTED_WITH_EVENTS_MAX = 2_000


class Preview(NamedTuple):
    """How many runs a job would be about."""

    runs: int
    is_exact: bool
    """Whether all runs were looked at."""


class JobRunner:
    """The jobs of an engine, one slice after the other."""

    def __init__(
        self,
        storage: Storage,
        live: Live,
        *,
        ask: "Callable[[JobSlice], asyncio.Future[Any]]",
        crowd: Callable[[], int],
        rested: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._live = live
        self._ask = ask
        self._crowd = crowd
        """How many runs have messages that wait."""
        self._rested = rested
        """Told when slices were done: who waits for quiet looks again."""
        self._wake: asyncio.Future[None] | None = None
        self._put_off: dict[str, float] = {}
        """Jobs whose slice cannot be done now, with the seconds of host time until it is tried again."""
        self._singly: dict[str, int] = {}
        """Runs still to be taken one at a time, by job, to find the one that cannot be decided."""
        self._is_busy = False

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is being read or decided; a job may still wait for its moment."""
        return not (self._is_busy or self._put_off or self._live.due_jobs)

    def wake(self) -> None:
        """Call when a job is due."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def run(self) -> None:
        """Do slices for ever."""
        while True:
            if self._put_off:
                await asyncio.sleep(min(self._put_off.values()))
                self._live.due_jobs |= dict.fromkeys(self._put_off)
                self._put_off.clear()
            if not await self.run_once():
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake

    async def run_once(self) -> bool:
        """Do one slice of each job that is due; False if there was none."""
        due = list(self._live.due_jobs)
        self._is_busy = bool(due)
        try:
            for job_id in due:
                self._live.due_jobs.pop(job_id, None)
                await self._try_slice(job_id)
        finally:
            self._is_busy = False
        if due:
            self._rested()
        return bool(due)

    async def _try_slice(self, job_id: str) -> None:
        try:
            await self._do_slice(job_id)
        except EngineUnavailableError as error:
            # The engine loads its memory again, and the job's timer with it.
            log.info("jobs.interrupted", job=job_id, detail=str(error))
        except StorageError as error:
            log.warning("jobs.read_failed", job=job_id, code=error.code, detail=str(error))
            self._put_off[job_id] = RETRY_S
        except Exception as error:  # Our own mistake; other jobs go on.
            log.error("jobs.failed", job=job_id, exc_info=error)
            self._put_off[job_id] = RETRY_S

    async def _do_slice(self, job_id: str) -> None:
        if self._crowd() > CROWD_MAX:
            self._put_off[job_id] = CROWD_PAUSE_S
            return
        job = self._live.jobs.get(job_id)
        if job is None:
            return
        singly = self._singly.get(job_id, 0)
        portion = await read_slice(self._storage, job, 1 if singly else slice_size(job.rate_per_s))
        try:
            after: JobRow | None = await self._ask(portion)
        except UndecidableError as error:
            if portion.seen > 1:
                self._singly[job_id] = portion.seen
                self._live.due_jobs[job_id] = None
                return
            run_ids = (*portion.run_ids, *(one.run_id for one in portion.again))
            portion.run_ids, portion.again = (), ()
            portion.undecided += tuple(Undecided(run_id, f"undecidable: {error}") for run_id in run_ids)
            after = await self._ask(portion)
        if singly:
            self._singly[job_id] = singly - 1
        if after is not None and after.status == JobStatus.DONE:
            self._singly.pop(job_id, None)
            counts = {"seen": after.seen, "affected": after.affected, "undecided": after.undecided}
            log.info("jobs.done", job=job_id, kind=after.kind, name=after.name, **counts)


# ---- reading ------------------------------------------------------------------------------------


def query_of(job: JobRow, limit: int = SLICE_RUNS) -> RunQuery:
    """The runs that a job has still to look at, by id: none that it is about is left out."""
    wanted = RunFilter.from_json(job.filter)
    return RunQuery(
        limit=limit,
        ascending=True,
        after=RunCursor(0, job.cursor) if job.cursor else None,
        # A run that was made before the bound may have started after it.
        from_ms=wanted.from_ms if job.kind == JobKind.REPLAY else None,
        until_ms=job.until_ms,
        statuses=wanted.statuses,
        function_ids=frozenset({job.function_id}),
        with_outputs=False,
    )


async def count_matches(storage: Storage, job: JobRow) -> Preview:
    """How many runs a job would be about, which need not have been asked for.

    Raises:
        StorageError: it cannot be read.
    """
    has_condition = bool(RunFilter.from_json(job.filter).expression)
    if job.kind == JobKind.REPLAY and not has_condition:
        return Preview(await storage.count_runs(query_of(job)), is_exact=True)
    counted_max = COUNTED_WITH_EVENTS_MAX if has_condition else COUNTED_MAX
    count = seen = 0
    while seen < counted_max:
        portion = await read_slice(storage, job, min(1_000, counted_max - seen))
        count += len(portion.run_ids) + len(portion.again)
        seen += portion.seen
        if portion.is_last:
            return Preview(count, is_exact=True)
        job = job._replace(cursor=portion.cursor)
    return Preview(count, is_exact=False)


async def read_slice(storage: Storage, job: JobRow, limit: int) -> JobSlice:
    """The next slice of at most so many runs.

    Raises:
        StorageError: it cannot be read. A damaged event only makes its run an undecided one.
    """
    wanted = RunFilter.from_json(job.filter)
    rows = await storage.list_runs(query_of(job, limit + 1))
    is_last, rows = len(rows) <= limit, rows[:limit]
    cursor = rows[-1].run_id if rows else job.cursor
    portion = JobSlice(job.job_id, job.cursor, cursor, len(rows), is_last=is_last)
    meant = [row for row in rows if is_meant(job, wanted, row)]
    if job.kind == JobKind.CANCEL and not wanted.expression:
        portion.run_ids = tuple(row.run_id for row in meant)
        return portion
    size, condition = 0, wanted.condition
    for start in range(0, len(meant), RUNS_PER_READ):
        some = meant[start : start + RUNS_PER_READ]
        if size >= SLICE_BYTES:
            # The rest is read again with the next slice.
            ahead = next(n for n, row in enumerate(rows) if row.run_id == some[0].run_id)
            portion.cursor, portion.seen, portion.is_last = rows[ahead - 1].run_id, ahead, False
            break
        events = await _events_of(storage, some, with_all=job.kind == JobKind.REPLAY)
        for row in some:
            _judge(portion, job, row, events[row.run_id], condition)
        size += sum(len(event.body or b"") for found in events.values() for event in found or ())
    return portion


def _judge(
    portion: JobSlice,
    job: JobRow,
    run: RunRow,
    events: tuple[EventRow, ...] | None,
    condition: Expression | None,
) -> None:
    """Put a run where it belongs; `events` is None if one of them is gone or damaged."""
    if events is None:
        why = "event_gone: an event of the run is not stored any more, or is damaged"
        portion.undecided += (Undecided(run.run_id, why),)
        return
    try:
        body = json.parse_kept(events[0].body or b"null")
        if condition is not None and not condition.check_bool(body, None, job.created_at_ms):
            return
    except EvaluationError as error:
        portion.undecided += (Undecided(run.run_id, f"condition_failed: {error}"),)
        return
    if job.kind == JobKind.CANCEL:
        portion.run_ids += (run.run_id,)
    else:
        portion.again += (Again(run.run_id, run.cron, events, run.batch_id is not None),)


async def _events_of(
    storage: Storage, runs: Sequence[RunRow], *, with_all: bool
) -> dict[str, tuple[EventRow, ...] | None]:
    """The events of each run, the first or all of its batch; None where one of them cannot be had."""
    batches = [run.run_id for run in runs if run.batch_id is not None] if with_all else []
    further = await storage.batched_events(batches) if batches else {}
    wanted = {run.run_id: (run.event_id, *further.get(run.run_id, ())) for run in runs}
    found = await _readable(storage, list(dict.fromkeys(one for ids in wanted.values() for one in ids)))
    events: dict[str, tuple[EventRow, ...] | None] = {}
    for run_id, ids in wanted.items():
        rows = [found[one] for one in ids if one in found]
        events[run_id] = tuple(rows) if len(rows) == len(ids) else None
    return events


async def _readable(storage: Storage, internal_ids: list[str]) -> dict[str, EventRow]:
    try:
        rows = await storage.get(EventRow, internal_ids)
    except CorruptDataError:
        rows: list[EventRow] = []
        for internal_id in internal_ids:
            try:
                rows += await storage.get(EventRow, [internal_id])
            except CorruptDataError:
                log.warning("jobs.event_damaged", event_id=internal_id)
    return {row.internal_id: row for row in rows if row.body is not None}
