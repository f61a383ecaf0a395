"""Jobs as clients ask for them: what REST and the interface's own API have in common."""

from typing import Any

from inngest_server.api.context import Context
from inngest_server.api.replies import RequestRejectedError
from inngest_server.engine.facts import JobAsked
from inngest_server.engine.functions import Function
from inngest_server.engine.job_runner import Preview, count_matches, query_of
from inngest_server.engine.jobs import JobRefusal
from inngest_server.events.expressions import CompileError, compile_expression
from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.progress import new_job
from inngest_server.jobs.records import JobKind, JobRow
from inngest_server.wire.times import find_rfc3339_ms

FUTURE_GRACE_MS = 5_000
"""By how much the clock of a client may be ahead. Source: features-2, EXT-15."""
NAME_CHARS_MAX = 200
EXPRESSION_CHARS_MAX = 4_096

REFUSALS = {
    JobRefusal.FUNCTION_NOT_FOUND: (404, "the function is not registered any more", ""),
    JobRefusal.FUNCTION_ARCHIVED: (
        409,
        "the function is archived: its app does not serve it any more, so its runs cannot be started again",
        "sync the app with the function, then replay",
    ),
    JobRefusal.FUNCTION_PAUSED: (
        409,
        "the function is paused, so every run of a replay would be skipped",
        "resume the function, then replay",
    ),
    JobRefusal.TOO_MANY_JOBS: (
        429,
        "too many jobs run already",
        "wait until some have ended, or delete some",
    ),
}


async def ask_job(
    context: Context,
    kind: JobKind,
    function: Function,
    name: str,
    wanted: RunFilter,
    *,
    rate_per_s: int = 0,
) -> JobRow:
    """Make a job; when this returns it is durable, and begins.

    Raises:
        RequestRejectedError: 404, 409 or 429, with the code of a `JobRefusal`.
    """
    estimate = await context.storage.count_runs(query_of(_draft(context, kind, function, wanted)))
    wanted = wanted._replace(estimate=estimate)
    engine = context.engine
    fact = JobAsked(engine.next_id(), kind, function.id, name, wanted, rate_per_s)
    result: JobRow | JobRefusal = await engine.ask(fact)
    if isinstance(result, JobRefusal):
        status, message, hint = REFUSALS[result]
        raise RequestRejectedError(status, message, code=result.value, hint=hint)
    return result


async def preview(context: Context, kind: JobKind, function: Function, wanted: RunFilter) -> Preview:
    """How many runs such a job would be about."""
    return await count_matches(context.storage, _draft(context, kind, function, wanted))


def _draft(context: Context, kind: JobKind, function: Function, wanted: RunFilter) -> JobRow:
    now_ms = context.engine.now_ms()
    return new_job("", kind, function.id, "", wanted, shard=0, now_ms=now_ms)


# ---- what a client gives ------------------------------------------------------------------------


def text_of(fields: dict[str, Any], key: str, *, chars_max: int = NAME_CHARS_MAX) -> str:
    """A text; empty where it is absent or null.

    Raises:
        RequestRejectedError: 400, it is something else or too long.
    """
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > chars_max:
        raise invalid(f"{key} must be a text of at most {chars_max} characters")
    return value


def condition_of(fields: dict[str, Any]) -> str:
    """The expression `if`; empty where it is absent or null.

    Raises:
        RequestRejectedError: 400, it is empty, cannot be compiled, or uses what there is not.
    """
    if fields.get("if") is None:
        return ""
    text = text_of(fields, "if", chars_max=EXPRESSION_CHARS_MAX).strip()
    if not text:
        # Most often a variable that had no value; taken for none it would concern every run.
        raise RequestRejectedError(
            400, "if is empty; to mean every run, leave it out", code="expression_invalid"
        )
    try:
        expression = compile_expression(text)
    except CompileError as error:
        raise RequestRejectedError(400, f"invalid expression: {error}", code="expression_invalid") from error
    if expression.uses_async:
        raise RequestRejectedError(
            400,
            "invalid expression: there is no `async` here, only `event`, the event that started the run",
            code="expression_invalid",
        )
    return text


def moment_of(fields: dict[str, Any], key: str) -> int | None:
    """An RFC 3339 time as epoch milliseconds; None where it is absent, null or empty.

    Raises:
        RequestRejectedError: 400.
    """
    text = fields.get(key)
    if text is None or text == "":
        return None
    moment_ms = find_rfc3339_ms(text) if isinstance(text, str) else None
    if moment_ms is None:
        raise invalid(f"{key} must be an RFC 3339 time such as 2024-05-01T09:00:00Z, got {str(text)[:60]!r}")
    return moment_ms


def check_range(context: Context, from_ms: int | None, until_ms: int | None, names: tuple[str, str]) -> None:
    """Return if a range is one, and ends in the past or now.

    Raises:
        RequestRejectedError: 400.
    """
    if until_ms is not None and until_ms > context.engine.now_ms() + FUTURE_GRACE_MS:
        raise invalid(f"{names[1]} must not be in the future: runs that are made later are never touched")
    if from_ms is not None and until_ms is not None and from_ms > until_ms:
        raise invalid(f"{names[0]} must not be later than {names[1]}")


def invalid(message: str) -> RequestRejectedError:
    return RequestRejectedError(400, message, code="invalid_parameter")
