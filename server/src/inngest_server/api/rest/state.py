"""v0: what SDKs fetch of a run too large to be sent whole. Source: protocol 3.4."""

from inngest_server.api.context import Context
from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.answers import array, bare, empty
from inngest_server.api.rest.ids import run_id_of
from inngest_server.api.rest.runs import cancel_run, find_run_row
from inngest_server.api.rest.system_events import bodies_of, events_of_run
from inngest_server.api.router import Reply, Request
from inngest_server.runs.records import RunRow
from inngest_server.runs.run import Content
from inngest_server.wire import json

TELEMETRY_BYTES_MAX = 8 * 1024 * 1024


async def get_batch(request: Request) -> Reply:
    """The events that started the run, in the order in which they came."""
    context = request.context
    run = await _unfinished(context, run_id_of(request))
    return bare(array(await bodies_of(context, await events_of_run(context.storage, run))))


async def get_actions(request: Request) -> Reply:
    """The memos of the run as a request would carry them, from what is committed."""
    context, run_id = request.context, run_id_of(request)
    await _unfinished(context, run_id)
    content = Content(b"")
    for entry in (await context.storage.journals([run_id])).get(run_id, ()):
        content.fold(entry)
    sent = {**content.inputs, **content.memos}
    memos = [b"%b:%b" % (json.dumps(step_id), memo) for step_id, memo in sent.items()]
    return bare(b"{" + b",".join(memos) + b"}")


async def _unfinished(context: Context, run_id: str) -> RunRow:
    """A run that an SDK may go on with.

    Raises:
        RequestRejectedError: 410, it never was or has ended.
    """
    run = await find_run_row(context, run_id)
    if run is None or run.ended_at_ms is not None:
        why = "there is no such run" if run is None else f"it has ended as {run.status}"
        raise RequestRejectedError(410, f"The state of the run is gone: {why}", code="run_gone")
    return run


async def delete_run(request: Request) -> Reply:
    await cancel_run(request.context, run_id_of(request))
    return empty(204)


async def take_telemetry(request: Request) -> Reply:
    """Read and forgotten."""
    await request.body(TELEMETRY_BYTES_MAX)
    return empty()
