"""The moment at which a window closes: one run is made of what it collected, in the batch that removes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from inngest_server.engine import starts
from inngest_server.engine.facts import WindowDue
from inngest_server.engine.windows import Window
from inngest_server.events.event import Event, stored_event
from inngest_server.events.records import EventRow
from inngest_server.events.system import TIMER
from inngest_server.flow_control.records import WindowKind
from inngest_server.runs.errors import plain_error
from inngest_server.runs.facts import ChildEnded
from inngest_server.wire import json

if TYPE_CHECKING:
    from inngest_server.engine.work import Work

log = structlog.get_logger("inngest.engine")

EVENTS_LOST = plain_error("Error", "the event of the invoked function is missing or damaged in the database")


def close(work: Work, fact: WindowDue, now_ms: int) -> bool:
    """Make the run of a window that is due; False if its events have to be read first.

    A window that was pushed back gets its timer anew; one that is gone was closed already. An event that
    cannot be read is left out.
    """
    windows = work.live.windows
    window = windows.find(fact.window_id)
    if window is None:
        return True
    if window.due_at_ms > now_ms:
        windows.arm(window, work.live.timers)
        return True
    if fact.read is None and window.missing:
        return False
    events = _events_of(window, fact.read or {})
    windows.remove(work, window)
    callers = window.callers or []
    if len(events) < window.count:
        lost = window.count - len(events)
        log.error("engine.window_events_lost", function_id=window.function_id, window=window.id, lost=lost)
    if not events:
        for caller in callers:
            memo = b'{"error":' + EVENTS_LOST + b"}"
            work.tell_run(ChildEnded(caller.partition(".")[0], caller, memo), window.shard)
        return True
    start = starts.Start(
        work.functions.get(window.function_id),
        events[0],
        origin=window.ulid,
        created_at_ms=now_ms,
        cause=starts.Cause.INVOKE if callers else starts.Cause.EVENT,
        parent=callers[0] if callers else None,
        cron=_cron_of(events[0]),
    )
    batch_id = window.ulid if window.kind is WindowKind.BATCH else None
    starts.begin(work, start, now_ms, further=events[1:], batch_id=batch_id, callers=callers)
    return True


def _events_of(window: Window, read: dict[str, EventRow]) -> list[Event]:
    """Those of its events that are not lost, in order."""
    known = {event.internal_id: event for event in window.kept or ()}
    events: list[Event] = []
    for internal_id in window.event_ids:
        row = read.get(internal_id)
        if (event := known.get(internal_id)) is not None:
            events.append(event)
        elif row is not None and row.body:
            events.append(stored_event(row))
    return events


def _cron_of(event: Event) -> str | None:
    """The schedule that an event came of."""
    return json.parse_kept(event.body)["data"].get("cron") if event.name == TIMER else None
