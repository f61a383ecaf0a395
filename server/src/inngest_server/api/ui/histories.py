"""Histories of runs to take away: what `inngest replay` checks code by."""

from inngest_server.api.replies import JSON_TYPE, NO_STORE, RequestRejectedError
from inngest_server.api.rest.ids import run_id_of
from inngest_server.api.rest.system_events import bodies_of, events_of_run
from inngest_server.api.router import Reply, Request
from inngest_server.api.ui.answers import answered
from inngest_server.api.ui.functions import function_of
from inngest_server.runs.records import RunStatus
from inngest_server.storage.protocol import RunQuery
from inngest_server.traces.exported import exported, to_json
from inngest_server.wire import json

RUNS_MAX = 1_000
RUNS_DEFAULT = 20
STATUSES = {status.value.lower(): status.value for status in RunStatus}


async def get_history(request: Request) -> Reply:
    """The events of a run, what its steps gave in completion order, and how it ended: `traces/exported.py`.

    Raises:
        RequestRejectedError: 404, the run or its events are not stored any more.
    """
    context, run_id = request.context, run_id_of(request)
    history = (await context.storage.histories([run_id])).get(run_id)
    if history is None:
        raise RequestRejectedError(404, f"there is no run {run_id}", code="run_not_found")
    events = await bodies_of(context, await events_of_run(context.storage, history.run))
    if not events:
        raise RequestRejectedError(
            404, f"the events of run {run_id} are not stored any more", code="event_not_found"
        )
    function = context.engine.functions.find(history.run.function_id)
    slug = function.row.slug if function is not None else history.run.function_id

    def make() -> bytes:
        return json.dumps_kept(to_json(exported(history.run, history.journal, function=slug, events=events)))

    return Reply(200, await context.lane.do(make), (JSON_TYPE, NO_STORE))


async def list_run_ids(request: Request) -> Reply:
    """Ids of the latest runs of a function, newest first; `?limit=` and `?status=` narrow it.

    Raises:
        RequestRejectedError: 404; 400, a parameter is wrong.
    """
    function = function_of(request)
    query = request.query()
    if unknown := sorted(query.keys() - {"limit", "status"}):
        raise RequestRejectedError(
            400,
            f"there is no parameter {unknown[0][:60]!r}; there are limit and status",
            code="invalid_parameter",
        )
    text = query.get("limit", str(RUNS_DEFAULT))
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) <= RUNS_MAX):
        raise RequestRejectedError(
            400, f"limit must be a number from 1 to {RUNS_MAX}, got {text[:60]!r}", code="invalid_parameter"
        )
    status = query.get("status")
    if status is not None and status.lower() not in STATUSES:
        raise RequestRejectedError(
            400,
            f"status must be one of {', '.join(STATUSES.values())}, got {status[:60]!r}",
            code="invalid_parameter",
        )
    statuses = None if status is None else frozenset({STATUSES[status.lower()]})
    wanted = RunQuery(
        limit=int(text), statuses=statuses, function_ids=frozenset({function.id}), with_outputs=False
    )
    rows = await request.context.storage.list_runs(wanted)
    return answered({"run_ids": [row.run_id for row in rows]})
