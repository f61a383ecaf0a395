"""What an explanation needs of the engine's memory, taken at one moment between two decisions.

Gathering reads one run and the buckets that it waits in; nothing here decides anything. Rows that memory does
not have, as a run that ended, its event and its journal, were read before by who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inngest_server.apps.fields import is_object
from inngest_server.engine import sending
from inngest_server.engine.windows import name_of
from inngest_server.events.expressions import compile_expression
from inngest_server.events.match import trigger_names
from inngest_server.events.system import INVOKED
from inngest_server.explain.gate import HOLDERS_MAX, Holder
from inngest_server.explain.snapshot import (
    AppView,
    EventSnapshot,
    EventView,
    FunctionView,
    RunSnapshot,
    SetAside,
    StartedRun,
    Usage,
    WindowView,
    first_wait,
    in_question,
)
from inngest_server.flow_control.keys import key_value
from inngest_server.flow_control.parking import run_of
from inngest_server.flow_control.records import WindowKind
from inngest_server.runs.placement import possible_run_ids
from inngest_server.runs.records import ItemRow, ItemState, JournalRow, RunRow, WaitKind
from inngest_server.wire import json

if TYPE_CHECKING:
    from inngest_server.engine.engine import Engine
    from inngest_server.engine.functions import Function
    from inngest_server.engine.live import Live
    from inngest_server.engine.windows import Window
    from inngest_server.events.records import EventRow
    from inngest_server.runs.run import Run

EVENTS_LOOKED_AT = 10_000
"""Windows and events in them among which one is looked for."""


def snapshot_of_run(
    engine: Engine, row: RunRow, event: EventView | None, journal: Sequence[JournalRow], batch_size: int = 0
) -> RunSnapshot:
    """A run as it is now. `row` and the rest were read; where the run is in memory that is what counts."""
    live, now_ms = engine.live, engine.now_ms()
    function = engine.functions.get(row.function_id)
    view = view_of(engine, function)
    run, held = live.find_run(row.run_id), engine.held.get(row.run_id)
    if run is None:
        return RunSnapshot(
            now_ms=now_ms,
            row=row,
            function=view,
            event=event,
            journal=journal,
            is_live=False,
            batch_size=batch_size,
        )
    item = in_question(run.items.values())
    buckets = _buckets(live, function, run, item, event, now_ms)
    unreached = live.unreached.get(function.row.app_id, {})
    return RunSnapshot(
        now_ms=now_ms,
        row=run.row,
        function=view,
        event=event,
        journal=journal,
        terms=run.terms,
        items=list(run.items.values()),
        waits=list(run.waits.values()),
        place=live.slots.place_of(item.item_id, sending.rank_of(run, item)) if item is not None else None,
        buckets=buckets,
        usages={bucket: _usage(engine, bucket, function.id) for bucket in buckets},
        unreached=frozenset([item_id for item_id in run.items if item_id in unreached]),
        set_aside=SetAside(held.reason, held.since_ms) if held is not None else None,
        children=_children(engine, run),
        waits_for_connection=_waits_for_connection(engine, item),
        batch_size=batch_size,
    )


def event_view(row: EventRow, body: bytes | None) -> EventView:
    """An event with its body, which of a system event was put together."""
    parsed: dict[str, Any] = json.parse_kept(body) if body is not None else {}
    return EventView(row.internal_id, row.event_id, row.name, row.ts_ms, row.received_at_ms, parsed)


def view_of(engine: Engine, function: Function) -> FunctionView:
    """A function for an explanation."""
    app = engine.functions.apps[function.row.app_id]
    throttles = (*((function.throttle,) if function.throttle else ()), *function.former_throttles)
    return FunctionView(
        id=function.id,
        slug=function.row.slug,
        config=function.config,
        app=AppView(function.config.url, app.error, app.archived_at_ms, _calls_waiting(engine, app.app_id)),
        created_at_ms=function.row.created_at_ms,
        archived_at_ms=function.row.archived_at_ms,
        limits=(*function.limits, *function.former_limits),
        throttles=throttles,
        pause=engine.live.pauses.get(function.id),
    )


def _calls_waiting(engine: Engine, app_id: str) -> int | None:
    count: Callable[[], Mapping[str, tuple[int, int]]] | None = getattr(engine.driver, "calls_by_app", None)
    return count().get(app_id, (0, 0))[1] if count is not None else None


def _buckets(
    live: Live, function: Function, run: Run, item: ItemRow | None, event: EventView | None, now_ms: int
) -> tuple[str, ...]:
    """Those that a parked item waits for; of any other run those that it would need."""
    if item is not None and item.state == ItemState.PARKED:
        return live.slots.set_of(item.item_id)
    if event is None:
        return ()
    wanted = [*function.step_buckets(event.body, now_ms), *live.slots.held_by(run.id)]
    if run.row.started_at_ms is None:
        wanted += function.run_buckets(event.body, now_ms)
        wanted += function.throttle_buckets(event.body, now_ms)
    return tuple(dict.fromkeys(wanted))


def _usage(engine: Engine, bucket: str, function_id: str) -> Usage:
    slots, functions = engine.live.slots, engine.functions
    holders = slots.holders(bucket)
    return Usage(
        functions.limit_of(bucket, function_id),
        len(holders),
        [_holder(engine, one) for one in holders[:HOLDERS_MAX]],
        functions.rate_of(bucket, function_id),
        slots.tat_ns(bucket),
        slots.unsent(bucket),
    )


def _holder(engine: Engine, name: str) -> Holder:
    """Who holds a slot: an item while its request is under way, or a run."""
    run = engine.live.find_run(run_of(name))
    if run is None:
        return Holder(run_of(name), "", None)
    item = run.items.get(name)
    since_ms = run.row.started_at_ms if item is None else item.sent_at_ms or None
    slug = engine.functions.get(run.row.function_id).row.slug
    return Holder(run.id, item.step_id if item is not None else "", since_ms, slug)


def _children(engine: Engine, run: Run) -> dict[str, str]:
    """The unfinished run that was started for the invocation that is explained, by its wait.

    Only for that one: a run may have a thousand, and finding an id takes some hashing.
    """
    wait = first_wait(run.waits.values(), WaitKind.INVOKE)
    function = engine.functions.find(wait.name) if wait is not None else None
    if wait is None or function is None:
        return {}
    ids = possible_run_ids(function.id, wait.wait_id, wait.opened_at_ms, engine.storage.shard_count)
    child = next((run_id for run_id in ids if engine.live.find_run(run_id) is not None), None)
    return {wait.wait_id: child} if child is not None else {}


def _waits_for_connection(engine: Engine, item: ItemRow | None) -> bool:
    """Whether the driver has the item's call and has not begun it; drivers of tests need not say."""
    has_begun: Callable[[str], bool] | None = getattr(engine.driver, "has_begun", None)
    if item is None or engine.driver is None or has_begun is None or item.state != ItemState.SENT:
        return False
    return engine.driver.is_sending(item.item_id, item.generation) and not has_begun(item.item_id)


# Events.


def snapshot_of_event(
    engine: Engine,
    event: EventView,
    concerned: Sequence[Function],
    *,
    run_id: str | None,
    first_id: str | None,
    runs: Iterable[StartedRun],
    notes: Mapping[str, Mapping[str, Any]],
) -> EventSnapshot:
    """What became of an event: what was read of storage, and what functions and windows there are now."""
    by_function: dict[str, list[StartedRun]] = {}
    for run in runs:
        by_function.setdefault(run.row.function_id, []).append(run)
    ids = {function.id for function in concerned}
    return EventSnapshot(
        now_ms=engine.now_ms(),
        event=event,
        run_id=run_id,
        first_id=first_id,
        functions=[view_of(engine, function) for function in concerned],
        others=[(one.row.slug, one.config) for one in engine.functions.active() if one.id not in ids],
        runs=by_function,
        notes=notes,
        windows=_windows(engine, [one for one in concerned if one.id not in by_function], event),
    )


def concerned_by(functions: Sequence[Function], event: EventView, run_of: Collection[str]) -> list[Function]:
    """Functions, also archived ones, with a trigger of the event's name, whatever its condition says.

    And those with a run of it, by id, and the one that it invokes. Looks at all: not for the event loop.
    """
    names, invoked = set(trigger_names(event.name)), _invoked(event)
    return [
        function
        for function in functions
        if function.id in run_of
        or invoked in (function.id, function.row.slug)
        or any(trigger.event in names for trigger in function.config.event_triggers)
    ]


def _invoked(event: EventView) -> str | None:
    """The function that an event invokes."""
    data: object = event.body.get("data")
    ours = data.get("_inngest") if event.name == INVOKED and is_object(data) else None
    function = ours.get("fn_id") if is_object(ours) else None
    return function if isinstance(function, str) else None


def _windows(engine: Engine, functions: Sequence[Function], event: EventView) -> dict[str, WindowView]:
    """By function: the window that has the event, else the one that its key has open."""
    live, found = engine.live, dict[str, WindowView]()
    collecting = {function.id: function for function in functions if function.collects_events}
    if not collecting or len(live.windows) == 0:
        return found
    for function in list(collecting.values()):
        window = _window_of_key(live, function, event)
        if window is not None:
            found[function.id] = _window_view(window, event.internal_id)
            if found[function.id].has_event:
                del collecting[function.id]
    looked_at = 0
    for window in live.windows if collecting else ():
        looked_at += 1
        if window.function_id in collecting:
            looked_at += window.count
            if event.internal_id in window.event_ids:
                found[window.function_id] = _window_view(window, event.internal_id)
        if looked_at > EVENTS_LOOKED_AT:
            break  # It is in the open window of its key, unless that has another key now.
    return found


def _window_of_key(live: Live, function: Function, event: EventView) -> Window | None:
    config = function.config
    limit, kind = (config.batch, WindowKind.BATCH) if config.batch else (config.debounce, WindowKind.DEBOUNCE)
    if limit is None:
        return None
    key = key_value(compile_expression(limit.key) if limit.key else None, event.body, event.received_at_ms)
    # At the beginning of time nothing is due, so one that is due and not closed yet is found as well.
    return live.windows.find_open(name_of(function.id, kind, key), 0)


def _window_view(window: Window, event_id: str) -> WindowView:
    return WindowView(
        kind=window.kind,
        opened_at_ms=window.opened_at_ms,
        due_at_ms=window.due_at_ms,
        deadline_ms=window.deadline_ms,
        period_ms=window.period_ms,
        newest_ts_ms=window.newest_ts_ms,
        count=window.count,
        max_size=window.max_size,
        size_bytes=window.size_bytes,
        key_value=window.key_value,
        has_event=event_id in window.event_ids,
        newest_event_id=window.event_ids[-1] if window.event_ids else "",
    )
