"""Starting a run again: what is read for it, and what a client may ask. Used by GraphQL and the UI's API.

What is read of a run may be as large as its state may be, so one is started again at a time. That is also why
a key is compared exactly: nobody else decides while one request looks for it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from inngest_server.api.context import Context
from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.runs import find_run_row, get_run_row
from inngest_server.api.rest.system_events import bodies_of
from inngest_server.engine.facts import RunAgain
from inngest_server.events.event import InvalidEventsError, make_event, read_event
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.fork import ForkError, ForkTooLargeError, Setting, Wish, past_of, seed_of
from inngest_server.runs.placement import shard_of
from inngest_server.runs.records import RunRow
from inngest_server.runs.seed import Seed
from inngest_server.wire import json

KEY_CHARS_MAX = 256
EVENT_KEYS = frozenset({"data", "user"})


class Again(NamedTuple):
    """What became of a request to start a run again, or would become of it."""

    run_id: str
    """Empty if it was only asked what would be."""
    kept: tuple[str, ...]
    """Names of the steps whose results the run begins with as they were."""
    edited: tuple[str, ...]
    """Those that were given another result or input."""
    is_repeated: bool = False
    """The key was used before, and this is the run that it led to."""


async def start_again(
    context: Context,
    run_id: str,
    wish: Wish | None = None,
    *,
    event: dict[str, Any] | None = None,
    key: str = "",
    is_dry: bool = False,
) -> Again:
    """Start another run of the same function on the same events; goes on if the client goes away.

    `wish` says what it takes over, nothing by default. `event` has the `data` or `user` that replace those of
    the event. A key that was used for the run within a day gives the run that it led to.

    Raises:
        RequestRejectedError: 400 the wish or the event cannot be; 404 the run, its events or its function are
            not there any more; 413 it is too large.
    """
    task = asyncio.create_task(_start(context, run_id, wish, event, key, is_dry=is_dry))
    return await asyncio.shield(task)


async def _start(
    context: Context,
    run_id: str,
    wish: Wish | None,
    edits: dict[str, Any] | None,
    key: str,
    *,
    is_dry: bool,
) -> Again:
    async with context.forking:
        row = await get_run_row(context, run_id)
        engine = context.engine
        mark = f"again/{run_id}/{key}" if key else ""
        if mark and not is_dry and (known := await _find_known(context, mark)):
            return Again(known, (), (), is_repeated=True)
        if engine.functions.find(row.function_id) is None:
            raise _no_function()  # Damage: the loop should not stumble over it.
        events = await _events_of(context, row)
        if edits is not None:
            events = (_edited(context, row, events, edits),)
        seed, again = None, Again("", (), ())
        if wish is not None:
            seed, again = await _seed_of(context, row, wish)
        if is_dry:
            return again
        origin = f"{run_id}/{key or engine.next_id()}"
        is_batch = row.batch_id is not None
        fact = RunAgain(row.function_id, events, is_batch, row.cron, run_id, origin, seed, mark)
        new_id: str | None = await engine.ask(fact)
        if new_id is None:
            raise _no_function()
        return again._replace(run_id=new_id)


def _no_function() -> RequestRejectedError:
    return RequestRejectedError(
        404, "the function of the run is not registered any more", code="function_not_found"
    )


async def _find_known(context: Context, mark: str) -> str | None:
    """The run that a key led to within a day, unless retention, which may be shorter, forgot it."""
    rows = await context.storage.get(MarkRow, [mark])
    if not rows or rows[0].expires_at_ms <= context.engine.now_ms():
        return None
    run = await find_run_row(context, rows[0].value)
    return run.run_id if run is not None else None


async def _seed_of(context: Context, row: RunRow, wish: Wish) -> tuple[Seed, Again]:
    engine = context.engine
    function = engine.functions.find(row.function_id)
    if function is None:  # What is stored has one; so it is not loaded yet.
        raise RequestRejectedError(503, "the server is starting", code="unavailable", retry_after_s=1)
    app = engine.functions.apps[function.row.app_id]
    limits = engine.options.limits
    setting = Setting(app.sdk, bool(app.takes_input), limits, engine.now_ms(), engine.next_id())
    journal = (await context.storage.journals([row.run_id])).get(row.run_id, [])

    def read() -> tuple[Seed, Again]:
        past = past_of(row.run_id, journal)
        seed = seed_of(past, wish, setting)
        names = [(past.steps[entry.step_id].label, entry) for entry in seed.entries]
        kept = tuple(name for name, entry in names if "kept" in entry.meta)
        return seed, Again("", kept, tuple(name for name, entry in names if "edited" in entry.meta))

    try:
        # Not in the lane: whoever asks by GraphQL waits in one of its few threads already.
        return await asyncio.to_thread(read)
    except ForkError as error:
        status = 413 if isinstance(error, ForkTooLargeError) else 400
        raise RequestRejectedError(status, str(error), code=error.code, hint=error.hint) from error


async def _events_of(context: Context, row: RunRow) -> tuple[EventRow, ...]:
    """The events of a run, with their bodies."""
    storage = context.storage
    further = (await storage.batched_events([row.run_id])).get(row.run_id, []) if row.batch_id else []
    ids = [row.event_id, *further]
    found = {event.internal_id: event for event in await storage.get(EventRow, ids)}
    gone = [one for one in ids if one not in found]
    if gone:
        raise RequestRejectedError(
            404, f"the event {gone[0]} of the run is not stored any more", code="event_not_found"
        )
    rows = [found[one] for one in ids]
    bodies = await bodies_of(context, rows)
    return tuple(event._replace(body=body) for event, body in zip(rows, bodies, strict=True))


def _edited(context: Context, row: RunRow, events: Sequence[EventRow], edits: dict[str, Any]) -> EventRow:
    """The run's event with other contents, as an event of its own; no function and no wait is told of it."""
    if len(events) > 1:
        raise RequestRejectedError(
            400,
            f"the run was started by {len(events)} events, and only a lone one can be edited",
            code="event_not_editable",
            hint="send the batch's events again instead, edited",
        )
    unknown = sorted(edits.keys() - EVENT_KEYS)
    if unknown:
        raise RequestRejectedError(
            400,
            f"unknown key {unknown[0][:60]!r} in event",
            code="invalid_parameter",
            hint="of an event only data and user can be edited; the rest stays as it was",
        )
    engine, event = context.engine, events[0]
    body = cast("dict[str, Any]", json.parse_kept(event.body or b"{}"))
    # What the server itself wrote into the event of an invocation stays.
    internal = cast("dict[str, Any]", body.get("data") or {}).get("_inngest")
    fields = {**body, **edits, "id": None}
    size_max = context.settings.event_bytes_max
    try:
        draft = read_event(fields, size=len(json.dumps(fields)), size_max=size_max, name=row.event_name)
    except InvalidEventsError as error:
        raise RequestRejectedError(400, str(error), code=error.code) from error
    if internal is not None:
        draft.data["_inngest"] = internal
    new = make_event(draft, internal_id=engine.next_id(), received_at_ms=engine.now_ms(), repeatable=False)
    shard = shard_of(new.event_id, context.storage.shard_count)
    return EventRow(
        new.internal_id, shard, new.event_id, new.name, new.ts_ms, new.received_at_ms, new.body, None
    )
