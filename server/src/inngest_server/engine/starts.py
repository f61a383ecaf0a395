"""From a cause to a run: what every start passes, in this order. Source: protocol 5.1.

    batch -> rate limit -> debounce -> [its window closes] -> idempotency of a debounced function
    -> paused or removed -> singleton -> the run is made

What comes after it, throttle and concurrency, concerns a run's requests, and is in `work.py`.

A rate limit's state is on disk and in memory only while a read may miss it (`marks.py`). Events of clients
are decided when it was read. Whatever else starts a function, as the end of a run or a schedule, is decided
with something else that cannot wait: the start is stored with that batch as a message (`StartAsked`), and
decided once the state was read. So it comes once, a crash in between included.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from inngest_server.apps.options import SingletonMode
from inngest_server.engine import windows
from inngest_server.engine.facts import EventsSent, InvokeSent, StartDue
from inngest_server.engine.functions import Function
from inngest_server.engine.messages import StartAsked
from inngest_server.events.event import Event
from inngest_server.events.records import MarkRow
from inngest_server.flow_control import rate_limit, singleton
from inngest_server.runs.errors import plain_error
from inngest_server.runs.facts import CancelRequested, ChildEnded
from inngest_server.runs.placement import possible_run_ids, shard_of_run
from inngest_server.runs.records import RunRow
from inngest_server.runs.run import Run
from inngest_server.runs.seed import Seed, plant
from inngest_server.runs.skip import SkipReason, memo_of, skipped
from inngest_server.runs.start import NewRun, start_run
from inngest_server.wire import json

if TYPE_CHECKING:
    from inngest_server.engine.work import Work
    from inngest_server.flow_control.rate_limit import Meter, RateRule

NOTE_LIFETIME_MS = 24 * 3_600_000
"""How long it is remembered that an event did not start a function."""
RATE_LIMITED_TEXT = "invoked function is rate limited"
"""Source: protocol 5.6 (5)."""
RATE_LIMITED = plain_error("Error", RATE_LIMITED_TEXT)


class Cause(StrEnum):
    """What starts a run; the value is stored."""

    EVENT = "event"
    CRON = "cron"
    INVOKE = "invoke"
    AGAIN = "again"
    """Rerun, replay or fork of a run that there was."""


class Start(NamedTuple):
    """A run that is to be made, unless a rule is against it."""

    function: Function
    event: Event
    origin: str
    """What the run's id follows from, beside the function: of an event its internal id."""
    created_at_ms: int
    """Moment of the cause, which stands in the run's id."""
    cause: Cause
    parent: str | None = None
    """Correlation id of the invocation, of a run's step."""
    cron: str | None = None
    original_run_id: str | None = None
    seed: Seed | None = None
    """What the run begins with, of a fork. Such a start is never stored."""


class Collected(NamedTuple):
    """What a run has of a window besides the event of its start."""

    further: Sequence[Event] = ()
    """The other events of a batch."""
    batch_id: str | None = None
    callers: Sequence[str] = ()
    """Correlation ids of all invocations that get the result of a debounced run."""


NOTHING_COLLECTED = Collected()


class Stage(StrEnum):
    """Where a start that was stored goes on."""

    ARRIVE = "arrive"
    BEGIN = "begin"


def arrive(work: Work, start: Start, now_ms: int, parsed: dict[str, Any] | None = None) -> str | None:
    """Take a start through all the rules; the run's id if one was made, also a skipped one.

    `parsed` is the event's body, where the caller has it.
    """
    function, cause = start.function, start.cause
    if not function.has_start_rules:
        return begin(work, start, now_ms)
    if parsed is None:
        parsed = json.parse_kept(start.event.body)
    assert parsed is not None
    if cause in (Cause.EVENT, Cause.CRON) and windows.take_batch(work, start, parsed, now_ms):
        return None
    if cause is not Cause.AGAIN:
        rule = function.rate
        if rule is not None and not rule.counts_runs:
            if (run_id := _known(work, _ids_of(work, start))) is not None:
                return run_id
            if not _is_allowed(work, start, rule, parsed, now_ms, Stage.ARRIVE):
                return None
        if windows.take_debounce(work, start, parsed, now_ms):
            return None
    return begin(work, start, now_ms)


def begin(
    work: Work,
    start: Start,
    now_ms: int,
    *,
    further: Sequence[Event] = (),
    batch_id: str | None = None,
    callers: Sequence[str] = (),
) -> str | None:
    """Make the run, from where a window has closed: its id, also of a skipped one; None if it was dropped.

    `further` are the other events of a batch, `callers` the correlation ids of all invocations that get the
    result of a debounced run.
    """
    function, ids = start.function, _ids_of(work, start)
    if (run_id := _known(work, ids)) is not None:
        return run_id
    rule = function.rate
    # A batch, whose function has another configuration by now, is not judged: what is stored is one event.
    if rule is not None and rule.counts_runs and start.cause is not Cause.AGAIN and batch_id is None:
        parsed = json.parse_kept(start.event.body)
        if not _is_allowed(work, start, rule, parsed, now_ms, Stage.BEGIN, callers):
            return None
    collected = Collected(further, batch_id, callers)
    if not function.is_active:
        return skip(work, start, SkipReason.FUNCTION_REMOVED, now_ms, collected)
    if function.id in work.live.pauses:
        return skip(work, start, SkipReason.FUNCTION_PAUSED, now_ms, collected)
    lock = ""
    if function.singleton is not None:
        lock = function.singleton.lock_of(json.parse_kept(start.event.body), now_ms) or ""
    if lock:
        assert function.singleton is not None
        mode, live = function.singleton.mode, work.live
        holders = live.rivals_of(lock) if mode is SingletonMode.CANCEL else live.holders_of(lock)
        match singleton.judge(mode, holders):
            case singleton.Skip(blocked_by):
                return skip(work, start, SkipReason.SINGLETON, now_ms, collected, blocked_by=blocked_by)
            case singleton.Start(cancels):
                _make_way(work, start, cancels)
    new = _new(work, start, _id_now(start, ids), now_ms, collected, singleton=lock)
    if start.seed is not None:
        new, entries = plant(new, start.seed, now_ms)
        work.batch.journal.extend(entries)
    run = Run(new.row, new.content, new.terms)
    for other in new.further:
        work.put(other)
    work.add_run(run, new.first_item, new.waits, now_ms)
    return run.id


def skip(
    work: Work,
    start: Start,
    reason: SkipReason,
    now_ms: int,
    collected: Collected = NOTHING_COLLECTED,
    **about: Any,
) -> str:
    """Record a run that is skipped, and tell who invoked it; its id.

    `about` is what its journal says more.
    """
    new = _new(work, start, run_id_of(work, start), now_ms, collected)
    row, entry = skipped(new.row, reason, now_ms, **about)
    work.put(row)
    work.batch.journal.append(entry)
    for other in new.further:
        work.put(other)
    work.tally["run_skipped", start.function.id, reason.value] += 1
    _tell_callers(work, start, memo_of(reason), collected.callers)
    return row.run_id


def run_id_of(work: Work, start: Start) -> str:
    """The id that the run of a start has if it is made now."""
    return _id_now(start, _ids_of(work, start))


def _ids_of(work: Work, start: Start) -> tuple[str, str]:
    """The ids that the run of a start may have got; made once for a start, for hashing is not free."""
    return possible_run_ids(start.function.id, start.origin, start.created_at_ms, work.shard_count)


def _id_now(start: Start, ids: tuple[str, str]) -> str:
    limited, free = ids
    return limited if start.function.limits else free


def _known(work: Work, ids: tuple[str, str]) -> str | None:
    """The run of this very start if it is live, or was made in this batch: then the start came before."""
    made = work.batch.rows.get(RunRow, {})  # It may have been skipped, or have ended.
    # Both, because the function may have got or lost its limits since.
    return next((one for one in ids if work.live.find_run(one) is not None or one in made), None)


def _new(
    work: Work,
    start: Start,
    run_id: str,
    now_ms: int,
    collected: Collected,
    *,
    singleton: str = "",
) -> NewRun:
    function = start.function
    parent, others = start.parent, list(collected.callers)
    if parent is None and others:
        parent = others[0]
    new = start_run(
        run_id,
        shard=shard_of_run(run_id),
        function_id=function.id,
        version=function.row.version,
        config=function.config,
        event=start.event,
        now_ms=now_ms,
        parent=parent,
        cron=start.cron,
        singleton=singleton,
        priority_max_s=work.options.priority_max_s,
        shift_ms=work.shift_ms,
        further=collected.further,
        batch_id=collected.batch_id,
        callers=[one for one in others if one != parent],
    )
    if start.original_run_id is not None:
        new = new._replace(row=new.row._replace(original_run_id=start.original_run_id))
    return new


def _make_way(work: Work, start: Start, cancels: Sequence[str]) -> None:
    """Cancel the runs that held the lock; each is told once, and goes on holding it until it has ended."""
    reason = f"singleton: run {run_id_of(work, start)}"
    for run_id in cancels:
        if run_id not in work.live.making_way:
            work.live.making_way.add(run_id)
            work.tell_run(CancelRequested(run_id, reason), start.function.row.shard)


def _tell_callers(work: Work, start: Start, memo: bytes, callers: Sequence[str]) -> None:
    everybody: list[str] = [*([start.parent] if start.parent is not None else []), *callers]
    for correlation_id in dict.fromkeys(everybody):
        parent = correlation_id.partition(".")[0]
        work.tell_run(ChildEnded(parent, correlation_id, memo), start.function.row.shard)


# Rate limits.


def _is_allowed(
    work: Work,
    start: Start,
    rule: RateRule,
    parsed: dict[str, Any],
    now_ms: int,
    stage: Stage,
    callers: Sequence[str] = (),
) -> bool:
    """Whether the start goes on now. If the limit's state is not known, it does so once it was read."""
    meter = rule.meter_of(parsed, start.event.received_at_ms)  # As `_meters`, whatever the time is now.
    if meter is None:
        return True
    tat_ns = _find_tat_ns(work, meter.name, now_ms)
    if tat_ns is None:
        work.store_start(_stored(start, stage, callers), start.event)
        return False
    verdict = rate_limit.judge(rule.limit, tat_ns, now_ms)
    if isinstance(verdict, rate_limit.Allowed):
        expires_at_ms, tat = verdict.expires_at_ms, str(verdict.tat_ns)
        work.put(MarkRow(meter.name, start.function.row.shard, tat, expires_at_ms))
        work.marks.add(meter.name, tat, expires_at_ms)
        return True
    _drop(work, start, rule, meter, verdict, now_ms)
    _tell_callers(work, start, b'{"error":' + RATE_LIMITED + b"}", callers)
    return False


def _find_tat_ns(work: Work, key: str, now_ms: int) -> int | None:
    """How far a limit is used up: 0 if not at all, None if nobody has read that."""
    mark = work.marks.find(key)
    if mark is None:
        reading = work.reading
        if reading is None or key not in reading.asked_marks:
            return None
        mark = reading.marks.get(key)
    return int(mark[0]) if mark is not None and mark[1] > now_ms else 0


def _drop(
    work: Work, start: Start, rule: RateRule, meter: Meter, verdict: rate_limit.Dropped, now_ms: int
) -> None:
    """Nothing starts: it is counted, and remembered for who asks why."""
    function = start.function
    work.tally["run_rate_limited", function.id, ""] += 1
    note = {
        "gate": "idempotency" if rule.is_idempotency else "rateLimit",
        "at": now_ms,
        "until": verdict.until_ms,
        "key": meter.key.text[: windows.KEY_CHARS_SHOWN],
    }
    key = note_key(start.event.internal_id, function.id)
    expires_at_ms = now_ms + NOTE_LIFETIME_MS
    work.put(MarkRow(key, function.row.shard, json.dumps(note).decode(), expires_at_ms))


def note_key(event_id: str, function_id: str) -> str:
    """Key of the mark that says why an event (by internal id) did not start a function.

    Its value is a JSON object: `gate` (`rateLimit` or `idempotency`), `at` and `until` (epoch milliseconds:
    when it was dropped, and from when on another event is not), `key` (how the value of the limit's key
    begins, a text).
    """
    return f"why/{event_id}/{function_id}"


def was_dropped(work: Work, event_id: str, function_id: str) -> bool:
    """Whether the present batch drops the start of a function on an event."""
    return note_key(event_id, function_id) in work.batch.rows.get(MarkRow, {})


def is_rate_limited(work: Work, fact: EventsSent) -> bool:
    """Whether the state of a rate limit has to be read for any of these events."""
    if isinstance(fact, InvokeSent):
        function = work.functions.find(fact.function)
        return function is not None and function.rate is not None
    return any(work.functions.limits_rate(event.name) for event in fact.events)


def meters_of(work: Work, fact: EventsSent | StartDue, now_ms: int) -> list[str]:
    """Keys of the marks that have to be read before a fact can be decided: of rate limits."""
    found: list[str] = []
    if isinstance(fact, StartDue):
        function = work.functions.find(fact.asked.function_id)
        return _meters(function, fact.event) if function is not None else []
    for event in fact.events:
        if isinstance(fact, InvokeSent):
            function = work.functions.find(fact.function)
            found += _meters(function, event) if function is not None else []
        elif work.functions.limits_rate(event.name):
            for function in work.functions.match_rate_limited(
                event.name, json.parse_kept(event.body), now_ms
            ):
                found += _meters(function, event)
    return found


def _meters(function: Function, event: Event) -> list[str]:
    rule = function.rate
    # A key may ask for the time: what is read must be what is looked for when the event is decided.
    meter = rule.meter_of(json.parse_kept(event.body), event.received_at_ms) if rule is not None else None
    return [meter.name] if meter is not None else []


# Starts that were stored.


def _stored(start: Start, stage: Stage, callers: Sequence[str]) -> StartAsked:
    return StartAsked(
        start.function.id,
        start.event.internal_id,
        start.origin,
        start.created_at_ms,
        start.cause.value,
        start.parent,
        start.cron,
        start.original_run_id,
        stage.value,
        list(callers),
    )


def start_of(work: Work, fact: StartDue) -> Start:
    """The start that was stored; the function is as it is now."""
    asked = fact.asked
    return Start(
        work.functions.get(asked.function_id),
        fact.event,
        asked.origin,
        asked.created_at_ms,
        Cause(asked.cause),
        asked.parent,
        asked.cron,
        asked.original_run_id,
    )


def resume(work: Work, fact: StartDue, now_ms: int) -> str | None:
    """Let a stored start go on where it stopped."""
    start = start_of(work, fact)
    if fact.asked.stage == Stage.BEGIN:
        return begin(work, start, now_ms, callers=fact.asked.callers)
    return arrive(work, start, now_ms)
