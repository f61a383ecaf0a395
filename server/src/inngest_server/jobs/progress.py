"""How a job goes on: from one slice to the next."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.records import JobKind, JobRow, JobStatus
from inngest_server.wire import json

ERRORS_KEPT = 20
"""Of all undecided runs, so that the row of a job stays small."""
ERROR_CHARS_MAX = 300
SLICE_RUNS = 50
"""Runs decided about in one batch: about as long as the loop may be busy with one fact."""


class Undecided(NamedTuple):
    """A run about which a job could decide nothing, and why."""

    run_id: str
    error: str
    """Begins with a code: `event_gone: ...`."""


def slice_size(rate_per_s: int) -> int:
    """How many runs to start at once, so that a rate is kept evenly; 0 is no rate."""
    return min(SLICE_RUNS, max(1, rate_per_s // 10)) if rate_per_s else SLICE_RUNS


def pause_ms(rate_per_s: int, started: int) -> int:
    """How long to wait after a slice that started so many runs; rounded up: the rate is never passed."""
    return -(-started * 1000 // rate_per_s) if rate_per_s else 0


def new_job(
    job_id: str,
    kind: JobKind,
    function_id: str,
    name: str,
    wanted: RunFilter,
    *,
    shard: int,
    now_ms: int,
    rate_per_s: int = 0,
) -> JobRow:
    """A job that has done nothing yet. Its bound is what was asked, or this very moment with all it holds."""
    until_ms = now_ms + 1
    if wanted.asked_until_ms is not None:
        until_ms = min(until_ms, wanted.asked_until_ms)
    return JobRow(
        job_id=job_id,
        shard=shard,
        kind=kind.value,
        name=name,
        function_id=function_id,
        filter=wanted.to_json(),
        until_ms=until_ms,
        rate_per_s=rate_per_s,
        cursor="",
        status=JobStatus.RUNNING.value,
        created_at_ms=now_ms,
        ended_at_ms=None,
        seen=0,
        affected=0,
        undecided=0,
        errors=b"[]",
    )


def advanced(
    job: JobRow,
    *,
    cursor: str,
    seen: int,
    affected: int,
    undecided: Sequence[Undecided],
    is_last: bool,
    now_ms: int,
) -> JobRow:
    """The job behind a slice; it is done if there is nothing after that."""
    errors = job.errors
    if undecided:
        kept: list[dict[str, Any]] = json.parse_kept(errors)
        for one in undecided[: max(0, ERRORS_KEPT - len(kept))]:
            kept.append({"run_id": one.run_id, "error": one.error[:ERROR_CHARS_MAX]})
        errors = json.dumps(kept)
    return job._replace(
        cursor=max(job.cursor, cursor),
        status=(JobStatus.DONE if is_last else JobStatus.RUNNING).value,
        ended_at_ms=now_ms if is_last else None,
        seen=job.seen + seen,
        affected=job.affected + affected,
        undecided=job.undecided + len(undecided),
        errors=errors,
    )


def deleted(job: JobRow, now_ms: int) -> JobRow:
    """The job, stopped where it is; what it did stays done."""
    return job._replace(status=JobStatus.DELETED.value, ended_at_ms=now_ms)
