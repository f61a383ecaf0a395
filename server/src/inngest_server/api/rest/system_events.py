"""System events whose body was never stored, put together from their runs. Source: design 5, "Write once"."""

from collections.abc import Sequence

from inngest_server.api.context import Context
from inngest_server.events.records import EventRow
from inngest_server.events.system import run_ended_body
from inngest_server.runs.errors import published_error
from inngest_server.runs.finish import error_of
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import Storage
from inngest_server.wire import json


async def events_of_run(storage: Storage, run: RunRow) -> list[EventRow]:
    """The events of a run, of a batch all in the order in which they came; without those that are gone."""
    ids = [run.event_id]
    if run.batch_id is not None:
        ids += (await storage.batched_events([run.run_id])).get(run.run_id, ())
    rows = {row.internal_id: row for row in await storage.get(EventRow, ids)}
    return [rows[internal_id] for internal_id in ids if internal_id in rows]


async def bodies_of(context: Context, rows: Sequence[EventRow]) -> list[bytes]:
    """The body of each event: the stored one, or what a function subscribed to it would have received."""
    run_ids = [row.run_id for row in rows if row.body is None and row.run_id is not None]
    runs = {run.run_id: run for run in await context.storage.get(RunRow, run_ids)} if run_ids else {}
    batches = [run.run_id for run in runs.values() if run.batch_id is not None]
    further = await context.storage.batched_events(batches) if batches else {}
    trigger_ids = [run.event_id for run in runs.values()]
    trigger_ids += [event_id for event_ids in further.values() for event_id in event_ids]
    triggers = await context.storage.get(EventRow, trigger_ids) if trigger_ids else []
    trigger_bodies = {trigger.internal_id: trigger.body for trigger in triggers}
    bodies: list[bytes] = []
    for row in rows:
        run = runs.get(row.run_id or "")
        if row.body is not None:
            bodies.append(row.body)
        elif run is None:
            bodies.append(_without_run(row))
        else:
            others = [trigger_bodies.get(event_id) or b"null" for event_id in further.get(run.run_id, ())]
            bodies.append(_of_run(context, row, run, trigger_bodies.get(run.event_id) or b"null", others))
    return bodies


def _of_run(
    context: Context, row: EventRow, run: RunRow, trigger_body: bytes, further: Sequence[bytes]
) -> bytes:
    function = context.engine.functions.find(run.function_id)
    error = error_of(run)
    return run_ended_body(
        name=row.name,
        event_id=row.event_id,
        ts_ms=row.ts_ms,
        function_slug=function.row.slug if function is not None else run.function_id,
        run_id=run.run_id,
        status=run.status,
        trigger_body=trigger_body,
        further=further,
        correlation_id=run.parent,
        output=run.output,
        error=published_error(error) if error is not None else None,
    )


def _without_run(row: EventRow) -> bytes:
    """Retention forgets a run and its system events one after the other; in between little is left to say."""
    return json.dumps(
        {"data": {"run_id": row.run_id}, "id": row.event_id, "name": row.name, "ts": row.ts_ms, "user": {}}
    )
