"""Jobs, as they are decided: asked for, done a slice at a time, deleted.

A slice and the cursor behind it are one batch. `job_runner.py` reads what a slice is about, and a slice is
decided only if its job still stands where that reading began: what was read for it before a crash, a deletion
or another slice comes to nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from inngest_server.engine import forks
from inngest_server.engine.facts import Again, JobAsked, JobDeleted, JobSlice
from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.progress import Undecided, advanced, deleted, new_job, pause_ms
from inngest_server.jobs.records import JobKind, JobRow
from inngest_server.runs.facts import CancelRequested
from inngest_server.runs.placement import derived_ulid, shard_of
from inngest_server.runs.records import RunRow, RunStatus

if TYPE_CHECKING:
    from inngest_server.engine.work import Work

JOBS_MAX = 100
"""That run at a time."""


class JobRefusal(StrEnum):
    """Why a job was not made; the value is the code that a client gets."""

    FUNCTION_NOT_FOUND = "function_not_found"
    FUNCTION_ARCHIVED = "function_archived"
    FUNCTION_PAUSED = "function_paused"
    TOO_MANY_JOBS = "too_many_jobs"


def ask(work: Work, fact: JobAsked, now_ms: int) -> JobRow | JobRefusal:
    """Make a job, which begins once that is durable."""
    function = work.functions.find(fact.function)
    if function is None:
        return JobRefusal.FUNCTION_NOT_FOUND
    if fact.kind is JobKind.REPLAY:
        if not function.is_active:
            return JobRefusal.FUNCTION_ARCHIVED
        if function.id in work.live.pauses:
            return JobRefusal.FUNCTION_PAUSED
    if len(work.live.jobs) >= JOBS_MAX:
        return JobRefusal.TOO_MANY_JOBS
    return _begin(
        work, fact.job_id, fact.kind, function.id, fact.name, fact.filter, now_ms, rate_per_s=fact.rate_per_s
    )


def ask_cancel_job(
    work: Work, function_id: str, name: str, until_ms: int, now_ms: int, *, reason: str = ""
) -> JobRow:
    """Have the unfinished runs of a function cancelled that were made before a moment.

    For who decides something else, in the same batch. `until_ms` may be `now_ms + 1`, for all runs so far.
    """
    job_id = derived_ulid(now_ms, function_id, "cancel", name)
    wanted = RunFilter(asked_until_ms=until_ms, reason=reason)
    return _begin(work, job_id, JobKind.CANCEL, function_id, name, wanted, now_ms)


def _begin(
    work: Work,
    job_id: str,
    kind: JobKind,
    function_id: str,
    name: str,
    wanted: RunFilter,
    now_ms: int,
    *,
    rate_per_s: int = 0,
) -> JobRow:
    shard = shard_of(function_id, work.shard_count)
    job = new_job(job_id, kind, function_id, name, wanted, shard=shard, now_ms=now_ms, rate_per_s=rate_per_s)
    # What is decided in later batches has a later moment, so that the bound tells it from what was there.
    work.not_before_ms = max(work.not_before_ms, now_ms + 1)
    work.live.jobs[job_id] = job
    work.put(job)
    _wake_at(work, job, now_ms)
    return job


def resume(work: Work, now_ms: int) -> None:
    """Let the jobs that were loaded go on."""
    for job in work.live.jobs.values():
        work.not_before_ms = max(work.not_before_ms, job.created_at_ms + 1)
        _wake_at(work, job, now_ms)


def _wake_at(work: Work, job: JobRow, due_ms: int) -> None:
    work.live.timers.set(due_ms, "job", "", job.job_id)


def do_slice(work: Work, fact: JobSlice, now_ms: int) -> JobRow | None:
    """Do a slice of a job, unless the job has moved on or is gone."""
    job = work.live.jobs.get(fact.job_id)
    if job is None or job.cursor != fact.cursor_before:
        return None
    undecided = list(fact.undecided)
    affected = _cancel(work, job, fact.run_ids)
    for again in fact.again:
        if error := _start_again(work, job, again, now_ms):
            undecided.append(Undecided(again.run_id, error))
        else:
            affected += 1
    job = advanced(
        job,
        cursor=fact.cursor,
        seen=fact.seen,
        affected=affected,
        undecided=undecided,
        is_last=fact.is_last,
        now_ms=now_ms,
    )
    work.put(job)
    if fact.is_last:
        del work.live.jobs[job.job_id]
    else:
        work.live.jobs[job.job_id] = job
        _wake_at(work, job, now_ms + pause_ms(job.rate_per_s, len(fact.again)))
    return job


def _cancel(work: Work, job: JobRow, run_ids: tuple[str, ...]) -> int:
    """Tell runs that they are cancelled; how many of them had not ended."""
    told = 0
    reason = RunFilter.from_json(job.filter).reason or f"job {job.job_id}"
    for run_id in run_ids:
        if work.live.find_run(run_id) is not None:
            work.tell_run(CancelRequested(run_id, reason), job.shard)
            told += 1
    return told


def _start_again(work: Work, job: JobRow, again: Again, now_ms: int) -> str:
    """Start a run once more; empty, or why that was not possible.

    Its id follows from the job and the run, and bears the first moment after the job, which is its cause: the
    job itself never comes upon it.
    """
    function = work.functions.get(job.function_id)
    run_id = forks.begin_again(
        work,
        function,
        again.events,
        is_batch=again.is_batch,
        origin=f"{job.job_id}/{again.run_id}",
        caused_at_ms=job.created_at_ms + 1,
        cron=again.cron,
        original_run_id=again.run_id,
        now_ms=now_ms,
    )
    row = work.batch.rows.get(RunRow, {}).get(run_id) if run_id is not None else None
    if isinstance(row, RunRow) and row.status == RunStatus.SKIPPED:
        return f"skipped: run {run_id} says why"
    return "" if run_id is not None else "not_started: a rule of the function does not let it start"


def delete(work: Work, fact: JobDeleted, now_ms: int) -> JobRow | None:
    """Stop a job between two slices."""
    job = work.live.jobs.pop(fact.job_id, None)
    if job is None:
        return None
    job = deleted(job, now_ms)
    work.put(job)
    return job
