"""One function as it is now, and pausing and resuming it."""

from difflib import get_close_matches
from typing import Any

from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.router import Reply, Request
from inngest_server.api.ui.answers import answered, settings_of
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import FunctionPaused, FunctionResumed
from inngest_server.engine.functions import Function
from inngest_server.engine.pauses import InFlight, Resumed
from inngest_server.flow_control.records import PauseRow
from inngest_server.runs.records import ItemState
from inngest_server.wire.times import format_rfc3339

NEAREST_AMONG_MAX = 500
NEAREST_CHARS_MAX = 100
"""Comparing texts takes its time, which the server's one loop has not."""


def function_of(request: Request) -> Function:
    """The function that the path names by its slug or id, archived or not.

    Raises:
        RequestRejectedError: 404.
    """
    function = request.context.engine.functions.find(request.params["slug"])
    if function is None:
        raise no_function(request.context.engine, request.params["slug"])
    return function


def no_function(engine: Engine, slug: str) -> RequestRejectedError:
    hint = "a slug is the app's id, a dash and the function's id, such as shop-fulfil"
    if nearest := _nearest(engine, slug):
        hint = f"did you mean {nearest}?"
    return RequestRejectedError(
        404, f"no function is named {slug[:300]!r}", code="function_not_found", hint=hint
    )


def _nearest(engine: Engine, slug: str) -> str | None:
    """The function that was meant by its id alone, or with a slip; looked for among few only."""
    slugs = [function.row.slug for function in engine.functions.all()]
    if len(slugs) > NEAREST_AMONG_MAX or len(slug) > NEAREST_CHARS_MAX:
        return None
    same = [one for one in slugs if one.endswith(f"-{slug}")]
    found = same if len(same) == 1 else get_close_matches(slug, slugs, n=1, cutoff=0.75)
    return found[0] if found else None


async def get_function(request: Request) -> Reply:
    return answered(show_function(request.context.engine, function_of(request)))


async def pause(request: Request) -> Reply:
    """Start no further run of a function, and hold or cancel those that it has."""
    function = function_of(request)
    settings = await settings_of(request, frozenset({"in_flight"}))
    in_flight = settings.get("in_flight", InFlight.HOLD.value)
    if in_flight not in list(InFlight):
        raise RequestRejectedError(
            400,
            f"in_flight is {str(in_flight)[:60]!r}",
            code="invalid_parameter",
            hint="hold keeps the runs that the function has until it is resumed, cancel ends them now",
        )
    engine = request.context.engine
    if await engine.ask(FunctionPaused(function.id, in_flight == InFlight.CANCEL)) is None:
        raise no_function(engine, function.row.slug)
    return answered(show_function(engine, function))


async def resume(request: Request) -> Reply:
    """Let a function go on; 200 too when it was not paused.

    Raises:
        RequestRejectedError: 404; 409, the runs that it had are still being cancelled.
    """
    function = function_of(request)
    await settings_of(request, frozenset())
    engine = request.context.engine
    resumed: Resumed | None = await engine.ask(FunctionResumed(function.id))
    if resumed is None:
        raise no_function(engine, function.row.slug)
    if resumed.is_cancelling:
        raise RequestRejectedError(
            409,
            "the runs that the function had when it was paused are still being cancelled",
            code="pause_cancelling",
            hint="try again in a moment, or stop that job first: DELETE /api/ui/v1/jobs/{id}",
        )
    return answered(show_function(engine, function))


def show_function(engine: Engine, function: Function) -> dict[str, Any]:
    """A function with its state and how much of its work waits for what, now."""
    row, pause = function.row, engine.live.pauses.get(function.id)
    archived_at_ms = row.archived_at_ms
    state = "archived" if archived_at_ms is not None else "active" if pause is None else "paused"
    counts = engine.live.item_counts
    return {
        "id": function.id,
        "slug": row.slug,
        "name": function.config.name,
        "app": function.app_name,
        "version": row.version,
        "state": state,
        "archived_at": _moment(archived_at_ms),
        "pause": _show_pause(pause),
        "work": {state.value: counts[function.id, state] for state in ItemState},
    }


def _show_pause(row: PauseRow | None) -> dict[str, Any] | None:
    """Since when it is paused, and when the runs that it had are cancelled unless it goes on before."""
    if row is None:
        return None
    return {"since": format_rfc3339(row.paused_at_ms), "cancels_runs_at": _moment(row.cancel_at_ms)}


def _moment(ms: int | None) -> str | None:
    return format_rfc3339(ms) if ms is not None else None
