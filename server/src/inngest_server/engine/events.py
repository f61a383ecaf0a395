"""What an event does: it is stored, ends waits, and starts functions, all in one batch.

Order is the order in which the engine takes events, never their ids or their senders' clocks (design 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from inngest_server.engine import starts
from inngest_server.engine.facts import EventsSent, InvokeSent
from inngest_server.engine.functions import Function
from inngest_server.engine.starts import Cause, Start
from inngest_server.events.event import Event, InvalidEventsError, make_event, read_event
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.events.system import INVOKED, run_ended_body, system_event
from inngest_server.runs.decision import Publish, StartChild
from inngest_server.runs.errors import plain_error, published_error
from inngest_server.runs.facts import ChildEnded
from inngest_server.runs.finish import FINISHED
from inngest_server.runs.placement import ended_event_id, invoke_event_id, possible_run_ids, shard_of
from inngest_server.wire import json

if TYPE_CHECKING:
    from inngest_server.engine.work import Work

MARK_LIFETIME_MS = 24 * 3_600_000
"""How long an event id is remembered. Source: protocol 1.7."""


RESUMED = "resumed"
"""Ends the origin of a run whose event was skipped for a pause before, and came again afterwards."""


def mark_key(event_id: str) -> str:
    return f"event/{event_id}"


def accept(work: Work, event: Event, fact: EventsSent, now_ms: int) -> str | None:
    """Store an event that a client sent, and deliver it unless its id was seen within a day.

    A duplicate wakes nothing, and starts only functions that the first one did not start. The result is the
    run that an invocation started.
    """
    shard_count = work.shard_count
    shard = shard_of(event.event_id, shard_count)
    first = _first_of_id(work, event, fact, now_ms)
    stored = fact.stored.get(event.internal_id) if first is not None else None
    if stored is not None and stored.body is not None:
        # The same event sent again stays as it was stored: runs have seen its time, or will read it.
        event = event._replace(ts_ms=stored.ts_ms, received_at_ms=stored.received_at_ms, body=stored.body)
    elif first is None or first[0] != event.internal_id:
        work.put(_row(event, shard))
        if first is not None:
            # The same request may be under way twice: what read before this is durable must read again.
            work.marks.add(mark_key(event.event_id), *first)
    if first is None:
        if event.repeatable:
            key = mark_key(event.event_id)
            expires_at_ms = event.received_at_ms + MARK_LIFETIME_MS
            work.put(MarkRow(key, shard, event.internal_id, expires_at_ms))
            work.marks.add(key, event.internal_id, expires_at_ms)
        if isinstance(fact, InvokeSent):
            [function] = _started_by(work, event, fact, now_ms)
            return starts.arrive(work, _start_on(event, function, Cause.INVOKE), now_ms)
        deliver(work, event, now_ms)
        return None
    run_id = None
    for function in _started_by(work, event, fact, now_ms):
        start = _start_of_duplicate(work, function, event, fact, first)
        if start is not None:
            run_id = starts.arrive(work, start, now_ms)
            # As if it were the first of its id: what has read before this is durable must read again.
            work.marks.add(mark_key(event.event_id), *first)
    return run_id


def _start_of_duplicate(
    work: Work, function: Function, event: Event, fact: EventsSent, first: tuple[str, int]
) -> Start | None:
    """What an event starts whose id was seen; None if that is nothing.

    `first` is its mark. A function that did not exist when the first one came starts on it now. Ids are not
    compared for functions that collect events or are paused; nor does an event count that was skipped for a
    pause. Source: features-2, 2-EVT-04.
    """
    cause = Cause.INVOKE if isinstance(fact, InvokeSent) else Cause.EVENT
    internal_id, expires_at_ms = first
    received_at_ms = expires_at_ms - MARK_LIFETIME_MS
    of_first = Start(function, event, internal_id, received_at_ms, cause)
    existing = fact.run_ids or frozenset[str]()
    there = _run_ids(work, of_first) & existing
    is_new = function.row.created_at_ms > received_at_ms
    if function.collects_events or function.id in work.live.pauses:
        # The very same event, sent again because its answer got lost, is not another one, whether or not it
        # was a duplicate the first time too. A function that is newer goes without it: of what a window has
        # had nothing is known when it is closed.
        is_same = event.internal_id == internal_id or event.internal_id in fact.stored
        return None if is_same else _start_on(event, function, cause)
    if there:
        again = of_first._replace(origin=f"{internal_id}/{RESUMED}")
        is_done = not there <= fact.paused_run_ids or not existing.isdisjoint(_run_ids(work, again))
        return None if is_done else again
    # Who limits starts may have dropped the first one; that stands.
    return of_first if is_new or function.rate is None else None


def _start_on(event: Event, function: Function, cause: Cause) -> Start:
    return Start(function, event, event.internal_id, event.received_at_ms, cause)


def candidates_of(work: Work, of_first: Start) -> list[str]:
    """Ids of the runs that an event may have started, given what it starts when it comes first."""
    again = of_first._replace(origin=f"{of_first.origin}/{RESUMED}")
    return [*sorted(_run_ids(work, of_first)), *sorted(_run_ids(work, again))]


def _run_ids(work: Work, start: Start) -> frozenset[str]:
    """The ids that the run of a start may have got."""
    return frozenset(possible_run_ids(start.function.id, start.origin, start.created_at_ms, work.shard_count))


def must_read_again(work: Work, fact: EventsSent, now_ms: int) -> bool:
    """Whether any of the events repeats an id, and what storage has of the first one's runs is not known yet.

    A mark and the runs that its event started are durable together. As long as memory keeps the mark as a
    recent one, a read may have come too early for both.
    """
    for event in fact.events:
        if _first_of_id(work, event, fact, now_ms) is not None and (
            fact.run_ids is None or work.marks.find(mark_key(event.event_id)) is not None
        ):
            return True
    # A sync may have come since the read: of a function that it brought nobody asked whether it had its run.
    return fact.run_ids is not None and not fact.asked.issuperset(candidate_runs(work, fact, now_ms))


def candidate_runs(work: Work, fact: EventsSent, now_ms: int) -> list[str]:
    """Ids of the runs that the duplicates among the events would start."""
    found: list[str] = []
    for event in fact.events:
        first = _first_of_id(work, event, fact, now_ms)
        if first is not None:
            received_at_ms = first[1] - MARK_LIFETIME_MS
            for function in _started_by(work, event, fact, now_ms):
                start = Start(function, event, first[0], received_at_ms, Cause.EVENT)
                found.extend(candidates_of(work, start))
    return found


def _first_of_id(work: Work, event: Event, fact: EventsSent, now_ms: int) -> tuple[str, int] | None:
    if not event.repeatable:
        return None
    key = mark_key(event.event_id)
    mark = work.marks.find(key) or fact.marks.get(key)
    return mark if mark is not None and mark[1] > now_ms else None


def deliver(work: Work, event: Event, now_ms: int) -> None:
    """End the waits that the event is for, and start its functions."""
    name = event.name
    waits = work.live.waits
    if not waits.knows(name) and not work.functions.is_subscribed(name):
        return
    parsed: dict[str, Any] = json.parse_kept(event.body)
    if wait_ids := waits.match(name, parsed, now_ms):
        work.tell_waits(event, wait_ids, shard_of(event.event_id, work.shard_count))
    for function in work.functions.match(name, parsed, now_ms):
        starts.arrive(work, _start_on(event, function, Cause.EVENT), now_ms, parsed)


def _started_by(work: Work, event: Event, fact: EventsSent, now_ms: int) -> list[Function]:
    if isinstance(fact, InvokeSent):
        function = work.functions.find(fact.function)
        return [function] if function is not None and function.is_active else []
    if not work.functions.is_subscribed(event.name):
        return []
    return work.functions.match(event.name, json.parse_kept(event.body), now_ms)


def _row(event: Event, shard: int) -> EventRow:
    return EventRow(
        event.internal_id,
        shard,
        event.event_id,
        event.name,
        event.ts_ms,
        event.received_at_ms,
        event.body,
        None,
    )


def start_on_timer(work: Work, function: Function, event: Event, cron: str, now_ms: int) -> None:
    """Store the event of a cron slot and start its function."""
    work.put(_row(event, shard_of(function.id, work.shard_count)))
    starts.arrive(work, Start(function, event, event.internal_id, now_ms, Cause.CRON, cron=cron), now_ms)


# Invocations.


class Dropped(NamedTuple):
    """A client's invocation started nothing."""

    reason: str


def invoke(work: Work, fact: InvokeSent, now_ms: int) -> str | Dropped | None:
    """Start a function for a client: its run id, empty while there is none; None without such a function.

    An id that was seen within a day gives the run that this function had of it. Source: protocol 1.7, 1.8.
    """
    [event] = fact.events
    for function in _started_by(work, event, fact, now_ms):
        if (run_id := accept(work, event, fact, now_ms)) is not None:
            return run_id
        if starts.was_dropped(work, event.internal_id, function.id):
            return Dropped(starts.RATE_LIMITED_TEXT)
        if (first := _first_of_id(work, event, fact, now_ms)) is None:
            return ""
        of_first = Start(function, event, first[0], first[1] - MARK_LIFETIME_MS, Cause.INVOKE)
        known = fact.run_ids or frozenset[str]()
        there = [one for one in candidates_of(work, of_first) if one in known or work.live.find_run(one)]
        if there:
            return there[-1]
        # The first one was dropped too, unless a window still collects it.
        is_dropped = function.rate is not None and not function.rate.counts_runs
        return Dropped(starts.RATE_LIMITED_TEXT) if is_dropped else ""
    return None


def start_child(work: Work, message: StartChild, now_ms: int) -> None:
    """Start the function that a run invoked, or tell the run at once why that is impossible."""
    parent_id, _, step_id = message.correlation_id.partition(".")
    function = work.functions.find(message.function)
    shard = shard_of(message.function, work.shard_count)
    if function is None or not function.is_active:
        error = plain_error("Error", f"could not find function with ID: {message.function}")
        _refuse_child(work, message, parent_id, shard, error)
        return
    source = work.functions.get(message.source_function_id)
    payload = {
        key: value for key, value in message.payload.items() if key in ("data", "user", "v", "id", "ts")
    }
    try:
        draft = read_event(payload, name=INVOKED)
    except InvalidEventsError as problem:
        error = plain_error("Error", f"the payload of the invocation is invalid: {problem}")
        _refuse_child(work, message, parent_id, shard, error)
        return
    draft.data["_inngest"] = {
        "fn_id": message.function,
        "correlation_id": message.correlation_id,
        "expire": message.expires_at_ms,
        "gid": step_id,
        "name": message.step_name,
        "source_app_id": source.row.app_id,
        "source_fn_id": source.id,
        "source_fn_v": source.row.version,
    }
    internal_id = invoke_event_id(message.correlation_id, now_ms)
    event = make_event(
        draft, internal_id=internal_id, received_at_ms=now_ms, repeatable=False, shift_ms=work.shift_ms
    )
    work.put(_row(event, shard))
    correlation_id = message.correlation_id
    start = Start(function, event, correlation_id, now_ms, Cause.INVOKE, parent=correlation_id)
    starts.arrive(work, start, now_ms)


def _refuse_child(work: Work, message: StartChild, parent_id: str, shard: int, error: bytes) -> None:
    work.tell_run(ChildEnded(parent_id, message.correlation_id, b'{"error":' + error + b"}"), shard)


# System events about runs.


def publish(work: Work, message: Publish, now_ms: int) -> None:
    """Store a system event, and deliver it if anybody listens.

    Without listeners it only refers to its run: the body is put together when it is read.
    """
    run, name = message.run, message.name
    internal_id = ended_event_id(run.run_id, name, now_ms)
    event_id = internal_id if name == FINISHED else run.run_id
    shard = shard_of(event_id, work.shard_count)
    if not (work.functions.is_subscribed(name) or work.live.waits.knows(name)):
        work.put(EventRow(internal_id, shard, event_id, name, now_ms, now_ms, None, run.run_id))
        return
    error = message.error
    body = run_ended_body(
        name=name,
        event_id=event_id,
        ts_ms=now_ms,
        function_slug=work.functions.get(run.function_id).row.slug,
        run_id=run.run_id,
        status=run.status,
        trigger_body=message.trigger_body,
        further=message.further,
        correlation_id=run.parent,
        output=run.output,
        error=published_error(error) if error is not None else None,
    )
    event = system_event(
        internal_id=internal_id, event_id=event_id, name=name, ts_ms=now_ms, now_ms=now_ms, body=body
    )
    work.put(_row(event, shard))
    deliver(work, event, now_ms)
