"""Actions on many runs: what they would do, asking for them, how far they are, stopping them."""

from typing import Any, cast

from inngest_server.api.bulk import (
    ask_job,
    check_range,
    condition_of,
    invalid,
    moment_of,
    preview,
    text_of,
)
from inngest_server.api.context import Context
from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.router import Reply, Request
from inngest_server.api.ui.answers import answered, is_dry_run, settings_of
from inngest_server.api.ui.functions import function_of
from inngest_server.engine.facts import JobDeleted
from inngest_server.jobs.filter import REPLAYABLE, RunFilter
from inngest_server.jobs.records import JobKind, JobRow
from inngest_server.wire import json
from inngest_server.wire.times import format_rfc3339
from inngest_server.wire.ulid import is_ulid

RATE_DEFAULT = 20
"""Runs that a replay starts in a second."""
RATE_MAX = 1_000
LIMIT_DEFAULT = 50
LIMIT_MAX = 200
COMMON_KEYS = frozenset({"name", "from", "until", "if"})
QUERY_KEYS = frozenset({"limit", "cursor", "kind", "function"})


async def replay(request: Request) -> Reply:
    """Start runs of a function again that ended or were skipped, and were queued in a range of time."""
    fields = await settings_of(request, COMMON_KEYS | {"statuses", "rate_per_s"})
    rate_per_s = _rate_of(fields)
    return await _ask(request, JobKind.REPLAY, fields, _statuses_of(fields), rate_per_s)


async def cancel(request: Request) -> Reply:
    """Cancel the runs of a function that started, or were queued and have not, in a range of time."""
    fields = await settings_of(request, COMMON_KEYS)
    return await _ask(request, JobKind.CANCEL, fields, RunFilter().statuses, 0)


async def _ask(
    request: Request, kind: JobKind, fields: dict[str, Any], statuses: frozenset[str], rate_per_s: int
) -> Reply:
    context, function, is_dry = request.context, function_of(request), is_dry_run(request)
    from_ms, until_ms = moment_of(fields, "from"), moment_of(fields, "until")
    check_range(context, from_ms, until_ms, ("from", "until"))
    wanted = RunFilter(from_ms, statuses, condition_of(fields), asked_until_ms=until_ms)
    name = text_of(fields, "name")
    if is_dry:
        found = await preview(context, kind, function, wanted)
        return answered({"count": found.runs, "is_exact": found.is_exact})
    job = await ask_job(context, kind, function, name, wanted, rate_per_s=rate_per_s)
    return answered(show_job(context, job), 202)


def _statuses_of(fields: dict[str, Any]) -> frozenset[str]:
    given = fields.get("statuses")
    statuses = cast("list[Any]", given) if isinstance(given, list) else []
    known = ", ".join(sorted(REPLAYABLE))
    if not statuses:
        raise invalid(f"statuses must name which runs to start again: some of {known}")
    if unknown := [one for one in statuses if not isinstance(one, str) or one not in REPLAYABLE]:
        raise invalid(f"runs of status {str(unknown[0])[:60]!r} cannot be started again, only {known}")
    return frozenset(cast("list[str]", statuses))


def _rate_of(fields: dict[str, Any]) -> int:
    rate = fields.get("rate_per_s", RATE_DEFAULT)
    if type(rate) is not int or not 0 <= rate <= RATE_MAX:
        raise invalid(f"rate_per_s must be a whole number from 1 to {RATE_MAX}, or 0 for as many as possible")
    return rate


async def list_jobs(request: Request) -> Reply:
    """Jobs that run or have ended, the newest first; `next` is the cursor of the next page, or null."""
    context, query = request.context, request.query()
    if unknown := sorted(set(query) - QUERY_KEYS):
        raise invalid(f"there is no parameter {unknown[0][:60]!r}; there are {', '.join(sorted(QUERY_KEYS))}")
    limit = _limit_of(query.get("limit", ""))
    kind, slug, after = query.get("kind"), query.get("function"), query.get("cursor") or None
    if kind and kind not in list(JobKind):
        raise invalid(f"kind must be one of {', '.join(JobKind)}, got {kind[:60]!r}")
    function = context.engine.functions.find(slug) if slug else None
    found: list[JobRow] = []
    while len(found) <= limit:
        page = await context.storage.list_jobs(limit=LIMIT_MAX, after=after)
        for job in page:
            if kind and job.kind != kind:
                continue
            if slug and (function is None or job.function_id != function.id):
                continue
            found.append(job)
        if len(page) < LIMIT_MAX:
            break
        after = page[-1].job_id
    shown = [show_job(context, job) for job in found[:limit]]
    return answered({"jobs": shown, "next": found[limit - 1].job_id if len(found) > limit else None})


def _limit_of(text: str) -> int:
    if not text:
        return LIMIT_DEFAULT
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    if not 1 <= limit <= LIMIT_MAX:
        raise invalid(f"limit must be a whole number from 1 to {LIMIT_MAX}, got {text[:60]!r}")
    return limit


async def get_job(request: Request) -> Reply:
    return answered(show_job(request.context, await _job_of(request)))


async def delete_job(request: Request) -> Reply:
    """Stop a job between two slices; what it did stays done. One that has ended is answered as it is."""
    job = await _job_of(request)
    stopped: JobRow | None = await request.context.engine.ask(JobDeleted(job.job_id))
    return answered(show_job(request.context, stopped or await _job_of(request)))


async def _job_of(request: Request) -> JobRow:
    """The job that the path names.

    Raises:
        RequestRejectedError: 400, 404.
    """
    job_id = request.params["job_id"].upper()
    if not is_ulid(job_id):
        raise RequestRejectedError(400, "the id of a job is a ULID", code="invalid_id")
    rows = await request.context.storage.get(JobRow, [job_id])
    if not rows:
        raise RequestRejectedError(404, "no job has this id", code="job_not_found")
    return rows[0]


def show_job(context: Context, job: JobRow) -> dict[str, Any]:
    """A job and how far it is; `total` is what there was to look at when it was asked for, or null."""
    wanted = RunFilter.from_json(job.filter)
    function = context.engine.functions.find(job.function_id)
    return {
        "id": job.job_id,
        "kind": job.kind,
        "name": job.name,
        "function": function.row.slug if function is not None else None,
        "function_id": job.function_id,
        "status": job.status,
        "created_at": format_rfc3339(job.created_at_ms),
        "ended_at": None if job.ended_at_ms is None else format_rfc3339(job.ended_at_ms),
        "filter": {
            "from": None if wanted.from_ms is None else format_rfc3339(wanted.from_ms),
            "until": format_rfc3339(job.until_ms),
            "statuses": sorted(wanted.statuses),
            "if": wanted.expression or None,
        },
        "rate_per_s": job.rate_per_s or None,
        "seen": job.seen,
        "total": wanted.estimate,
        "affected": job.affected,
        "undecided": job.undecided,
        "errors": json.parse_kept(job.errors),
    }
