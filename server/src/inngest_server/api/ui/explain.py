"""Why a run is not running, and what became of an event. Source: ui.md C.4.

Storage is read first; then the engine's memory is copied in one go; the explanation itself is made beside the
event loop, because conditions and journals may be long.
"""

from functools import partial
from typing import Any

from inngest_server.api.context import Context
from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.ids import run_id_of
from inngest_server.api.rest.system_events import bodies_of
from inngest_server.api.router import Reply, Request
from inngest_server.api.ui.answers import answered
from inngest_server.engine import starts
from inngest_server.engine.events import mark_key
from inngest_server.engine.explaining import concerned_by, event_view, snapshot_of_event, snapshot_of_run
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.explain.event import explain_event
from inngest_server.explain.run import explain_run
from inngest_server.explain.snapshot import EventView, RunSnapshot, StartedRun
from inngest_server.runs.records import RunRow, RunStatus
from inngest_server.runs.skip import find_skipped
from inngest_server.storage.protocol import CorruptDataError, RunHistory
from inngest_server.wire import json
from inngest_server.wire.ulid import is_ulid

READS_MAX = 3
"""A run may end between its reading and the look into memory; then it is read once more."""
RUNS_MAX = 1_000
"""Of one event that are looked at."""


async def explain_one_run(request: Request) -> Reply:
    """Why a run is where it is.

    Raises:
        RequestRejectedError: 404; 503 the server has no memory of anything at the moment.
    """
    context, run_id = request.context, run_id_of(request)
    for _ in range(READS_MAX):
        history = await _history_of(context, run_id)
        if history is None:
            raise RequestRejectedError(404, f"there is no run {run_id}", code="run_not_found")
        event = await _event_of(context, history.run)
        size = await _batch_size(context, history.run)
        _check_memory(context)
        if context.engine.functions.find(history.run.function_id) is None:
            raise CorruptDataError(f"run {run_id} is of a function that is not in the catalogue")
        shot = snapshot_of_run(context.engine, history.run, event, history.journal, size)
        if shot.is_live or _has_ended(history):
            return answered(await context.lane.do(partial(_explained, shot)))
    raise RequestRejectedError(503, "the run is changing; ask again", code="unavailable", retry_after_s=1)


def _explained(shot: RunSnapshot) -> dict[str, Any]:
    return explain_run(shot).to_json()


async def explain_one_event(request: Request) -> Reply:
    """What became of an event, which is named by its internal id or by the id that its sender chose.

    Raises:
        RequestRejectedError: 404; 503 the server has no memory of anything at the moment.
    """
    context = request.context
    row = await _find_event(context, request.params["event_id"])
    if row is None:
        raise RequestRejectedError(
            404,
            f"there is no event {request.params['event_id'][:100]!r}",
            code="event_not_found",
            hint="ids of senders are known for 24 hours, those that sending returned as long as the event",
        )
    [body] = await bodies_of(context, [row])
    event = await context.lane.do(lambda: event_view(row, body))
    storage, engine = context.storage, context.engine
    marks = {mark.key: mark for mark in await storage.get(MarkRow, [mark_key(row.event_id)])}
    first = marks.get(mark_key(row.event_id))
    runs = await _runs_of(context, event)
    functions, run_of = engine.functions.all(), {one.row.function_id for one in runs}
    concerned = await context.lane.do(lambda: concerned_by(functions, event, run_of))
    keys = {starts.note_key(event.internal_id, function.id): function.id for function in concerned}
    notes: dict[str, dict[str, Any]] = {}
    for mark in await storage.get(MarkRow, list(keys)):
        notes[keys[mark.key]] = json.parse_kept(mark.value.encode())
    _check_memory(context)
    shot = snapshot_of_event(
        engine,
        event,
        [function for function in concerned if engine.functions.find(function.id) is not None],
        run_id=row.run_id,
        first_id=first.value if first is not None and first.expires_at_ms > engine.now_ms() else None,
        runs=runs,
        notes=notes,
    )
    found = await context.lane.do(lambda: explain_event(shot).to_json())
    return answered(found)


def _check_memory(context: Context) -> None:
    failure = context.engine.failure
    if failure is not None:
        raise RequestRejectedError(
            503,
            f"the server is loading what is under way: {failure}",
            code="unavailable",
            retry_after_s=1,
        )


def _has_ended(history: RunHistory) -> bool:
    return RunStatus(history.run.status).has_ended


async def _history_of(context: Context, run_id: str) -> RunHistory | None:
    """A run with its journal; of damaged ones what is left: why such a run is held may be asked too."""
    storage = context.storage
    try:
        return (await storage.histories([run_id])).get(run_id)
    except CorruptDataError:
        rows = await storage.salvage(RunRow, [run_id])
        return RunHistory(rows[0], await storage.salvage_journal(run_id), (), ()) if rows else None


async def _event_of(context: Context, run: RunRow) -> EventView | None:
    rows = await context.storage.salvage(EventRow, [run.event_id])
    row = rows[0] if rows else None
    if row is None or not row.body:
        return None
    return await context.lane.do(lambda: event_view(row, row.body))


async def _batch_size(context: Context, run: RunRow) -> int:
    if run.batch_id is None:
        return 0
    return 1 + len((await context.storage.batched_events([run.run_id])).get(run.run_id, ()))


async def _find_event(context: Context, event_id: str) -> EventRow | None:
    """By its internal id, else the first one that had this id of its sender's."""
    internal_id = event_id.upper() if event_id.isascii() else event_id
    if is_ulid(internal_id) and (rows := await context.storage.get(EventRow, [internal_id])):
        return rows[0]
    marks = await context.storage.get(MarkRow, [mark_key(event_id)])
    if not marks:
        return None
    rows = await context.storage.get(EventRow, [marks[0].value])
    return rows[0] if rows else None


async def _runs_of(context: Context, event: EventView) -> list[StartedRun]:
    """The runs of the event, with why those were skipped that were."""
    rows = (await context.storage.runs_of_event(event.internal_id))[:RUNS_MAX]
    skipped = [row.run_id for row in rows if row.status == RunStatus.SKIPPED]
    journals = await context.storage.journals(skipped) if skipped else {}
    runs: list[StartedRun] = []
    for row in rows:
        why = find_skipped(journals.get(row.run_id, ()))
        if row.status != RunStatus.SKIPPED:
            runs.append(StartedRun(row))
        elif why is None:
            runs.append(StartedRun(row, "unknown"))
        else:
            runs.append(StartedRun(row, why.reason, why.blocked_by or ""))
    return runs
