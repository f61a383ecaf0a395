"""Reading and cancelling runs. Source: protocol 7.2 and 7.4."""

from inngest_server.api.context import Context
from inngest_server.api.replies import NO_STORE, TEXT_TYPE, RequestRejectedError
from inngest_server.api.rest.answers import empty, enveloped
from inngest_server.api.rest.held import show_held
from inngest_server.api.rest.ids import run_id_of
from inngest_server.api.rest.shapes import show_job, show_run
from inngest_server.api.router import Reply, Request
from inngest_server.runs.facts import CancelRequested
from inngest_server.runs.records import RunRow, RunStatus
from inngest_server.runs.skip import find_skipped
from inngest_server.traces.text import timeline
from inngest_server.traces.trace import trace_of
from inngest_server.wire import json

METADATA_BYTES_MAX = 64 * 1024


async def find_run_row(context: Context, run_id: str) -> RunRow | None:
    """The run as it was last committed; one whose event was accepted is there."""
    rows = await context.storage.get(RunRow, [run_id])
    return rows[0] if rows else None


async def get_run_row(context: Context, run_id: str) -> RunRow:
    """As `find_run_row`.

    Raises:
        RequestRejectedError: 404.
    """
    row = await find_run_row(context, run_id)
    if row is None:
        hint = "no run has this id, or it ended longer ago than --retention"
        raise RequestRejectedError(404, "Run not found", code="run_not_found", hint=hint)
    return row


async def get_run(request: Request) -> Reply:
    """A run; one that is held has the field `held` more, and a skipped one says why in `skipped`.

    No client has to know these fields.
    """
    row = await get_run_row(request.context, run_id_of(request))
    shown, held = show_run(row), request.context.engine.held.get(row.run_id)
    if row.status == RunStatus.SKIPPED:
        journal = (await request.context.storage.journals([row.run_id])).get(row.run_id, ())
        if (skipped := find_skipped(journal)) is not None:
            shown = b'%b,"skipped":%b}' % (shown[:-1], json.dumps(skipped._asdict()))
    if held is not None:
        shown = b'%b,"held":%b}' % (shown[:-1], json.dumps(show_held(held)))
    return enveloped(request, shown)


async def show_timeline(request: Request) -> Reply:
    """What the run did and when, as text for people: one line for each step, wait and try."""
    context = request.context
    run_id = run_id_of(request)
    history = (await context.storage.histories([run_id])).get(run_id)
    if history is None:
        raise RequestRejectedError(404, "Run not found", code="run_not_found")
    now_ms = context.engine.now_ms()
    text = await context.lane.do(
        lambda: timeline(trace_of(history.run, history.journal, history.items, now_ms=now_ms))
    )
    return Reply(200, f"{text}\n".encode(), (TEXT_TYPE, NO_STORE))


async def delete_run(request: Request) -> Reply:
    await cancel_run(request.context, run_id_of(request))
    return empty()


async def cancel_run(context: Context, run_id: str) -> None:
    """Cancel a run; afterwards it has ended durably.

    Raises:
        RequestRejectedError: 404 there is no such run, 409 it has ended already.
    """
    if await context.engine.ask(CancelRequested(run_id, "api")) is not None:
        return
    row = await get_run_row(context, run_id)
    raise RequestRejectedError(
        409, f"the run cannot be cancelled: it has ended already, as {row.status}", code="run_ended"
    )


async def list_jobs(request: Request) -> Reply:
    """The run's work that is being done, or waits for its moment or for slots; none once it has ended."""
    context, run_id = request.context, run_id_of(request)
    await get_run_row(context, run_id)
    items = await context.storage.items_of_run(run_id)
    return enveloped(request, json.dumps([show_job(item) for item in items]))


async def add_metadata(request: Request) -> Reply:
    """Accepted and not kept, so that SDKs which send metadata work. Source: protocol 7.4."""
    run_id = run_id_of(request)
    await request.json(METADATA_BYTES_MAX)
    await get_run_row(request.context, run_id)
    return empty()
