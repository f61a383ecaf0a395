"""What an event does: it is stored, ends waits, and starts functions, all in one batch.

Order is the order in which the engine takes events, never their ids or their senders' clocks (design 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inngest_server.engine.facts import EventsSent, InvokeSent, RunAgain
from inngest_server.engine.functions import Function
from inngest_server.events.event import Event, InvalidEventsError, make_event, read_event
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.events.system import INVOKED, run_ended_body, system_event
from inngest_server.runs.decision import Publish, StartChild
from inngest_server.runs.errors import plain_error, published_error
from inngest_server.runs.facts import ChildEnded
from inngest_server.runs.finish import FINISHED
from inngest_server.runs.placement import ended_event_id, invoke_event_id, possible_run_ids, shard_of
from inngest_server.runs.run import Run
from inngest_server.runs.start import start_run
from inngest_server.wire import json

if TYPE_CHECKING:
    from inngest_server.engine.work import Work

MARK_LIFETIME_MS = 24 * 3_600_000
"""How long an event id is remembered. Source: protocol 1.7."""


def mark_key(event_id: str) -> str:
    return f"event/{event_id}"


def accept(work: Work, event: Event, fact: EventsSent, now_ms: int) -> None:
    """Store an event that a client sent, and deliver it unless its id was seen within a day.

    A duplicate wakes nothing, and starts only functions that the first one did not start.
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
            for function in _started_by(work, event, fact, now_ms):
                received_at_ms = event.received_at_ms
                _start(work, function, event, now_ms, origin=event.internal_id, created_at_ms=received_at_ms)
        else:
            deliver(work, event, now_ms)
        return
    internal_id, expires_at_ms = first
    received_at_ms = expires_at_ms - MARK_LIFETIME_MS
    existing = fact.run_ids or frozenset[str]()
    for function in _started_by(work, event, fact, now_ms):
        run_ids = possible_run_ids(function.id, internal_id, received_at_ms, shard_count)
        if existing.isdisjoint(run_ids):
            _start(work, function, event, now_ms, origin=internal_id, created_at_ms=received_at_ms)
            # As if it were the first of its id: what has read before this is durable must read again.
            work.marks.add(mark_key(event.event_id), internal_id, expires_at_ms)


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
                found.extend(possible_run_ids(function.id, first[0], received_at_ms, work.shard_count))
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
        _start(work, function, event, now_ms, origin=event.internal_id, created_at_ms=event.received_at_ms)


def _started_by(work: Work, event: Event, fact: EventsSent, now_ms: int) -> list[Function]:
    if isinstance(fact, InvokeSent):
        function = work.functions.find(fact.function)
        return [function] if function is not None and function.is_active else []
    if not work.functions.is_subscribed(event.name):
        return []
    return work.functions.match(event.name, json.parse_kept(event.body), now_ms)


def _start(
    work: Work,
    function: Function,
    event: Event,
    now_ms: int,
    *,
    origin: str,
    created_at_ms: int,
    parent: str | None = None,
    cron: str | None = None,
) -> str:
    """Make the run of a function that `origin` causes; nothing if it is there already. Returns its id."""
    shard_count = work.shard_count
    limited, free = possible_run_ids(function.id, origin, created_at_ms, shard_count)
    run_id = limited if function.limits else free
    for known in (limited, free):  # The function may have got or lost its limits since.
        if work.live.find_run(known) is not None:
            return known
    new = start_run(
        run_id,
        shard=shard_of(function.id if function.limits else f"{function.id}/{origin}", shard_count),
        function_id=function.id,
        version=function.row.version,
        config=function.config,
        event=event,
        now_ms=now_ms,
        parent=parent,
        cron=cron,
    )
    run = Run(new.row, new.content)
    work.add_run(run, new.first_item, new.waits, now_ms)
    return run_id


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
    _start(work, function, event, now_ms, origin=event.internal_id, created_at_ms=now_ms, cron=cron)


# Invocations.


def invoke(work: Work, fact: InvokeSent, now_ms: int) -> str | None:
    """Start a function for a client; its run id, or None if there is no such function.

    An id that was seen within a day gives the run that this function had of it. Source: protocol 1.7, 1.8.
    """
    [event] = fact.events
    for function in _started_by(work, event, fact, now_ms):
        accept(work, event, fact, now_ms)
        first = _first_of_id(work, event, fact, now_ms)
        origin, expires_at_ms = first or (event.internal_id, event.received_at_ms + MARK_LIFETIME_MS)
        run_ids = possible_run_ids(function.id, origin, expires_at_ms - MARK_LIFETIME_MS, work.shard_count)
        known = fact.run_ids or frozenset[str]()
        there = [one for one in run_ids if one in known or work.live.find_run(one) is not None]
        # A run may have failed as it started, and is in memory no more.
        return there[0] if there else run_ids[0 if function.limits else 1]
    return None


def run_again(work: Work, fact: RunAgain, now_ms: int) -> str | None:
    """Start another run on an event that is stored; its id, or None if the function is not there any more.

    It tells no parent: whoever invoked the first run has its result.
    """
    function = work.functions.get(fact.function_id)
    if not function.is_active:
        return None
    row = fact.event
    work.put(row)  # Retention may have forgotten it since it was read.
    event = Event(
        row.internal_id,
        row.event_id,
        row.name,
        row.ts_ms,
        row.received_at_ms,
        row.body or b"null",
        repeatable=False,
    )
    return _start(work, function, event, now_ms, origin=fact.cause, created_at_ms=now_ms, cron=fact.cron)


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
    event = make_event(draft, internal_id=internal_id, received_at_ms=now_ms, repeatable=False)
    work.put(_row(event, shard))
    _start(
        work,
        function,
        event,
        now_ms,
        origin=message.correlation_id,
        created_at_ms=now_ms,
        parent=message.correlation_id,
    )


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
        correlation_id=run.parent,
        output=run.output,
        error=published_error(error) if error is not None else None,
    )
    event = system_event(
        internal_id=internal_id, event_id=event_id, name=name, ts_ms=now_ms, now_ms=now_ms, body=body
    )
    work.put(_row(event, shard))
    deliver(work, event, now_ms)
