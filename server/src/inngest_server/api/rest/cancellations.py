"""Cancelling many runs at once. Source: protocol 7.3, features-2 14a and EXT-15.

The bounds are compared with the moment at which a run started, or was queued if it had not: `started_after`
is inclusive, `started_before` exclusive.
"""

from typing import Any, cast

from inngest_server.api.bulk import ask_job, check_range, condition_of, invalid, moment_of, text_of
from inngest_server.api.context import Context
from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.answers import enveloped
from inngest_server.api.rest.shapes import ENVIRONMENT_ID
from inngest_server.api.router import Reply, Request
from inngest_server.engine.facts import JobDeleted
from inngest_server.engine.functions import Function
from inngest_server.execution.driver import ACCOUNT_ID
from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.records import JobKind, JobRow, JobStatus
from inngest_server.wire import json
from inngest_server.wire.times import format_rfc3339
from inngest_server.wire.ulid import is_ulid

BODY_BYTES_MAX = 64 * 1024
KEYS = ("app_id", "function_id", "started_after", "started_before", "if", "name")
SHOWN_MAX = 1_000
PAGE = 200


async def create_cancellation(request: Request) -> Reply:
    """Have the unfinished runs of a function cancelled that started in a range of time."""
    context, fields = request.context, _fields(await request.json(BODY_BYTES_MAX))
    from_ms, until_ms = moment_of(fields, "started_after"), moment_of(fields, "started_before")
    if until_ms is None:
        raise invalid("started_before is required: the runs that started before that time are cancelled")
    check_range(context, from_ms, until_ms, ("started_after", "started_before"))
    wanted = RunFilter(from_ms=from_ms, asked_until_ms=until_ms, expression=condition_of(fields))
    function = _function_of(context, text_of(fields, "app_id"), text_of(fields, "function_id", chars_max=512))
    name = text_of(fields, "name") or f"Runs of {function.row.slug}"
    job = await ask_job(context, JobKind.CANCEL, function, name, wanted)
    return enveloped(request, json.dumps(show_cancellation(context, job)))


async def list_cancellations(request: Request) -> Reply:
    """Those that run and those that are done, the newest first; not the deleted ones."""
    found: list[dict[str, Any]] = []
    after: str | None = None
    while len(found) < SHOWN_MAX:
        page = await request.context.storage.list_jobs(limit=PAGE, after=after)
        found += [show_cancellation(request.context, job) for job in page if _is_shown(job)]
        if len(page) < PAGE:
            break
        after = page[-1].job_id
    return enveloped(request, json.dumps(found[:SHOWN_MAX]))


async def delete_cancellation(request: Request) -> Reply:
    """Stop a cancellation; runs that it has cancelled stay so. One that is over already is answered alike."""
    job_id = request.params["cancellation_id"].upper()
    if not is_ulid(job_id):
        raise RequestRejectedError(400, "the id of a cancellation is a ULID", code="invalid_id")
    rows = await request.context.storage.get(JobRow, [job_id])
    if not rows or rows[0].kind != JobKind.CANCEL:
        raise RequestRejectedError(404, "no cancellation has this id", code="cancellation_not_found")
    await request.context.engine.ask(JobDeleted(job_id))
    return enveloped(request, b'{"ok":true}')


def show_cancellation(context: Context, job: JobRow) -> dict[str, Any]:
    """The object of protocol 7.3 and, under `progress`, how far it has come."""
    wanted = RunFilter.from_json(job.filter)
    function = context.engine.functions.find(job.function_id)
    until_ms = job.until_ms if wanted.asked_until_ms is None else wanted.asked_until_ms
    shown: dict[str, Any] = {
        "id": job.job_id,
        "name": job.name,
        "created_at": format_rfc3339(job.created_at_ms),
        "account_id": ACCOUNT_ID,
        "environment_id": ENVIRONMENT_ID,
        "app_id": function.row.app_id if function is not None else None,
        "function_internal_id": job.function_id,
        "function_id": function.row.slug if function is not None else None,
        "started_after": None if wanted.from_ms is None else format_rfc3339(wanted.from_ms),
        "started_before": format_rfc3339(until_ms),
        "kind": "bulk_run",
        "cause": wanted.reason or "api",
        "progress": {
            "status": job.status,
            "seen": job.seen,
            "cancelled": job.affected,
            "undecided": job.undecided,
            "errors": json.parse_kept(job.errors),
        },
    }
    if wanted.expression:
        shown["if"] = wanted.expression
    return shown


def _is_shown(job: JobRow) -> bool:
    return job.kind == JobKind.CANCEL and job.status != JobStatus.DELETED


def _fields(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise invalid("the body must be a JSON object")
    fields = cast("dict[str, Any]", body)
    # The official server ignores what it does not know. Whoever mistypes `if` would cancel every run.
    if unknown := sorted(set(fields).difference(KEYS)):
        raise invalid(f"there is no field {unknown[0][:60]!r}; there are {', '.join(KEYS)}")
    return fields


def _function_of(context: Context, app: str, function_id: str) -> Function:
    """The function of an app, by its own id, its composite slug or its internal id; an archived one too.

    Raises:
        RequestRejectedError: 400 one of them is missing, 404 there is no such function.
    """
    if not app or not function_id:
        raise invalid("app_id and function_id are required, as the app's SDK has them")
    for name in (f"{app}-{function_id}", function_id):
        function = context.engine.functions.find(name)
        if function is not None and app in (function.app_name, function.row.app_id):
            return function
    raise RequestRejectedError(
        404, f"the app {app[:100]!r} has no function {function_id[:200]!r}", code="function_not_found"
    )
