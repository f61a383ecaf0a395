"""From rows to spans: the tree that a run's history makes.

Which try belongs to which span: that of a targeted item to its step; one that brought results to those steps;
one that ended the run to the function's body. One that failed belongs to the step whose error it was, where
that is known, else to whom the next try of its item belongs. What is left, requests that found steps and
needed no second try, are no spans of their own: they are part of the run's time.
"""

import hashlib
from collections.abc import Iterable, Iterator

from inngest_server.runs.placement import invoke_event_id
from inngest_server.runs.records import ItemRow, JournalRow, RunRow, RunStatus
from inngest_server.traces.history import History, ItemLog, Piece, StepLog, Try
from inngest_server.traces.partition import partition
from inngest_server.traces.span import (
    RUN_ROW,
    EventWaitInfo,
    InvokeInfo,
    Phase,
    Reuse,
    SignalWaitInfo,
    SleepInfo,
    Span,
    SpanKind,
    SpanStatus,
    StepInfo,
)

_KINDS = {
    "Sleep": SpanKind.SLEEP,
    "WaitForEvent": SpanKind.WAIT_FOR_EVENT,
    "WaitForSignal": SpanKind.WAIT_FOR_SIGNAL,
    "InvokeFunction": SpanKind.INVOKE,
    "AIGateway": SpanKind.AI,
    "Gateway": SpanKind.GATEWAY,
}
_WAITS = frozenset({SpanKind.SLEEP, SpanKind.WAIT_FOR_EVENT, SpanKind.WAIT_FOR_SIGNAL, SpanKind.INVOKE})
_STATUSES = {
    RunStatus.SCHEDULED: SpanStatus.QUEUED,
    RunStatus.RUNNING: SpanStatus.RUNNING,
    RunStatus.COMPLETED: SpanStatus.COMPLETED,
    RunStatus.FAILED: SpanStatus.FAILED,
    RunStatus.CANCELLED: SpanStatus.CANCELLED,
    RunStatus.SKIPPED: SpanStatus.SKIPPED,
}
_BODY = ""
"""In place of a step id: the function's body."""
_FAR_MS = 1 << 62
_AHEAD = frozenset({Phase.BACKOFF, Phase.DELAYED, Phase.WAITING})


def trace_of(
    row: RunRow, journal: Iterable[JournalRow], items: Iterable[ItemRow] = (), *, now_ms: int
) -> Span:
    """The root of a run's trace. Pure: the same rows and moment give the same spans.

    `journal` is in order and whole; `items` are the live items of an unfinished run. Rows may be read one
    after the other: what the journal says counts. Waits need no rows: the journal has all of them.
    Takes about 20 us per step, so large runs are read outside of the event loop.
    """
    history = History(row, journal, items, now_ms)
    root_id = _span_id(row.run_id, "run")
    bodies = [body for log in history.items.values() if (body := _share_out(history, log))]
    children = [_step_span(history, root_id, step) for step in history.steps.values()]
    children += [_body_span(history, root_id, log, tries) for log, tries in bodies]
    children.sort(key=lambda span: span.queued_ms)
    return _root(history, root_id, tuple(children))


def _share_out(history: History, log: ItemLog) -> tuple[ItemLog, list[Try]] | None:
    """Give the tries of an item to the steps they belong to; returns those of the body, if any."""
    body: list[Try] = []
    for owner, found in _owners(history, log):
        if owner == _BODY:
            body.append(found)
        elif found not in (tries := history.step(owner).tries):
            tries.append(found)
    return (log, body) if body else None


def _owners(history: History, log: ItemLog) -> Iterator[tuple[str, Try]]:
    failed: list[Try] = []
    for found in log.tries:
        if log.is_targeted:
            yield log.name, found
        for step_id in found.steps:
            yield step_id, found
        if log.is_targeted:
            continue
        if found.has_failed:
            failed.append(found)
            continue
        owner = _owner(history, found, failed)
        yield from _adopted(failed, owner)
        if found.steps and found.has_ended_run:
            # The function returned in the request that brought its last step.
            yield _BODY, found.rest()
        elif owner is not None and not found.steps:
            yield owner, found
        failed = []
    yield from _adopted(failed, None)


def _owner(history: History, found: Try, failed: list[Try]) -> str | None:
    """Whose a try is that did not fail, with the tries before it that did; None: the run's alone."""
    if found.steps:
        return found.steps[0]
    last = failed[-1] if failed else None
    if found.is_open and last is not None and last.failed_step:
        return last.failed_step if history.step(last.failed_step).memo_n is None else _BODY
    # A request under way shows at once, and one after a failed one shows how that ended.
    is_shown = found.has_ended_run or (found.is_open and found.sent_ms is not None)
    return _BODY if is_shown or (last is not None and not last.failed_step) else None


def _adopted(failed: list[Try], owner: str | None) -> Iterator[tuple[str, Try]]:
    for found in reversed(failed):
        owner = found.failed_step or (_BODY if found.has_ended_run else owner) or _BODY
        yield owner, found


def _order(found: Try) -> tuple[int, int, int]:
    return found.end_ms, found.start_ms, found.generation


def _step_span(history: History, parent_id: str, step: StepLog) -> Span:
    kind = _KINDS.get(step.opened.get("op", step.opcode), SpanKind.STEP)
    tries = sorted(step.tries, key=_order)
    moments = [found.start_ms for found in tries]
    if step.opened_ms is not None:
        moments.append(step.opened_ms)
    elif not moments and step.memo_ms is not None:
        moments.append(step.memo_ms)
    queued_ms = min(moments)
    is_waiting = kind in _WAITS and step.opened_ms is not None
    status, ended_ms = _outcome(history, tries, step, is_waiting)
    end_ms = history.end_ms if ended_ms is None else ended_ms
    pieces = [Piece(Phase.WAITING, queued_ms, end_ms)] if is_waiting else []
    span = _span_of_tries(
        history.row.run_id,
        ("step", step.step_id),
        kind=kind,
        name=step.name or step.step_id,
        status=status,
        queued_ms=queued_ms,
        ended_ms=ended_ms,
        end_ms=end_ms,
        tries=tries,
        pieces=pieces,
    )
    return span._replace(
        parent_id=parent_id,
        opcode=step.opcode,
        step_id=step.step_id,
        started_ms=queued_ms if is_waiting else span.started_ms,
        until_ms=step.opened.get("until") if is_waiting and ended_ms is None else span.until_ms,
        input_n=step.input_n,
        output_n=span.output_n if step.memo_n is None else step.memo_n,
        info=_info(step.memo.get("kept", history.row.run_id), step, kind),
        reuse=next((reuse for reuse in Reuse if reuse in step.memo), None),
        children=tuple(child._replace(step_id=step.step_id) for child in span.children),
    )


def _outcome(
    history: History, tries: list[Try], step: StepLog, is_waiting: bool
) -> tuple[SpanStatus, int | None]:
    """How a step ended and when; None while it is open."""
    if step.memo_ms is not None:
        return (SpanStatus.FAILED if step.is_error else SpanStatus.COMPLETED), step.memo_ms
    last = tries[-1] if tries else None
    if last is not None and last.has_failed and not last.has_next:
        return SpanStatus.FAILED, last.end_ms
    if step.opened_ms is None and last is not None and not last.is_open:
        return SpanStatus.FAILED, last.end_ms  # The function never came to it again.
    if history.ended_ms is not None:
        return SpanStatus.CANCELLED, history.ended_ms
    if is_waiting:
        return SpanStatus.WAITING, None
    is_sent = any(found.is_open and found.sent_ms is not None for found in tries)
    return (SpanStatus.RUNNING if is_sent else SpanStatus.QUEUED), None


def _body_span(history: History, parent_id: str, log: ItemLog, tries: list[Try]) -> Span:
    tries = sorted(tries, key=_order)
    last = tries[-1]
    ended_ms: int | None = last.end_ms
    if last.has_ended_run:
        status = _STATUSES[history.status]
    elif last.is_open and history.ended_ms is not None:
        status = SpanStatus.CANCELLED
    elif last.is_open:
        status, ended_ms = (SpanStatus.QUEUED if last.sent_ms is None else SpanStatus.RUNNING), None
    else:
        status = SpanStatus.FAILED if last.has_failed else SpanStatus.COMPLETED
    span = _span_of_tries(
        history.row.run_id,
        ("body", log.name),
        kind=SpanKind.BODY,
        name="Function body",
        status=status,
        queued_ms=tries[0].start_ms,
        ended_ms=ended_ms,
        end_ms=last.end_ms,
        tries=tries,
        pieces=[],
    )
    output_n = RUN_ROW if last.has_ended_run else span.output_n
    return span._replace(parent_id=parent_id, output_n=output_n)


def _span_of_tries(
    run_id: str,
    key: tuple[str, str],
    *,
    kind: SpanKind,
    name: str,
    status: SpanStatus,
    queued_ms: int,
    ended_ms: int | None,
    end_ms: int,
    tries: list[Try],
    pieces: list[Piece],
) -> Span:
    """A span whose time is that of its tries; they are its children where there are several."""
    span_id = _span_id(run_id, *key)
    # A result that came by an older request ends the step while a later one is still under way.
    tries = [found for found in tries if found.start_ms < end_ms or found.end_ms <= end_ms] or tries[:1]
    pieces = [*pieces, *(piece for found in tries for piece in found.pieces)]
    children: list[Span] = []
    cursor_ms = queued_ms
    if len(tries) > 1:
        for number, found in enumerate(tries):
            is_last = number == len(tries) - 1
            try_end_ms = max(cursor_ms, min(found.end_ms, end_ms))
            try_status = _attempt_status(found, status, is_last=is_last)
            child = _attempt_span(run_id, key, number, found, try_status, cursor_ms, try_end_ms)
            # Two items may be at one step, so a try's share of the time is that of the whole span.
            segments = partition(pieces, cursor_ms, try_end_ms)
            children.append(child._replace(parent_id=span_id, segments=segments))
            cursor_ms = try_end_ms
    last = tries[-1] if tries else None
    failed = [found for found in tries if found.error_n is not None]
    return Span(
        span_id=span_id,
        parent_id=None,
        kind=kind,
        name=name,
        status=status,
        opcode="",
        step_id="",
        attempt=max(len(tries) - 1, 0),
        queued_ms=queued_ms,
        scheduled_ms=max(queued_ms, min(tries[0].scheduled_ms, ended_ms or _FAR_MS)) if tries else queued_ms,
        started_ms=next((min(one.sent_ms, end_ms) for one in tries if one.sent_ms is not None), None),
        ended_ms=ended_ms,
        until_ms=_until_ms(tries) if status is SpanStatus.QUEUED else None,
        segments=partition(pieces, queued_ms, end_ms),
        children=tuple(children),
        input_n=None,
        output_n=failed[-1].error_n if failed and status is not SpanStatus.COMPLETED else None,
        error_code=last.code if last is not None else "",
        http_status=next((one.http_status for one in reversed(tries) if one.http_status is not None), None),
        info=None,
    )


def _attempt_status(found: Try, status: SpanStatus, *, is_last: bool) -> SpanStatus:
    """How one of several tries stands, when `status` is that of all."""
    if found.has_failed:
        return SpanStatus.FAILED
    if found.is_open and not status.has_ended:
        return SpanStatus.QUEUED if found.sent_ms is None else SpanStatus.RUNNING
    if found.is_open and not (is_last and found.sent_ms is not None):
        return SpanStatus.CANCELLED  # The result came without it, or the run ended.
    return status if is_last and status.has_ended else SpanStatus.COMPLETED


def _attempt_span(
    run_id: str,
    key: tuple[str, str],
    number: int,
    found: Try,
    status: SpanStatus,
    start_ms: int,
    end_ms: int,
) -> Span:
    return Span(
        span_id=_span_id(run_id, *key, str(number)),
        parent_id=None,
        kind=SpanKind.ATTEMPT,
        name=f"Attempt {number}",
        status=status,
        opcode="",
        step_id="",
        attempt=number,
        queued_ms=start_ms,
        scheduled_ms=max(start_ms, min(found.scheduled_ms, end_ms if status.has_ended else _FAR_MS)),
        started_ms=None if found.sent_ms is None else min(max(found.sent_ms, start_ms), end_ms),
        ended_ms=end_ms if status.has_ended else None,
        until_ms=None if status.has_ended else _until_ms([found]),
        segments=(),
        children=(),
        input_n=None,
        output_n=found.error_n,
        error_code=found.code,
        http_status=found.http_status,
        info=None,
    )


def _until_ms(tries: Iterable[Try]) -> int | None:
    """The moment at which the first of the tries that are still to come is due, while that lies ahead."""
    to_come = [one for one in tries if one.is_open and one.sent_ms is None]
    return min([one.scheduled_ms for one in to_come if one.scheduled_ms > one.end_ms], default=None)


def _info(run_id: str, step: StepLog, kind: SpanKind) -> StepInfo | None:
    opened = step.opened
    until_ms = opened.get("until", step.opened_ms or 0)
    timed_out = None if step.memo_ms is None else bool(step.memo.get("timeout"))
    match kind:
        case SpanKind.SLEEP:
            return SleepInfo(until_ms)
        case SpanKind.WAIT_FOR_EVENT:
            matched = step.memo.get("event")
            return EventWaitInfo(opened.get("event", ""), opened.get("if", ""), until_ms, matched, timed_out)
        case SpanKind.WAIT_FOR_SIGNAL:
            return SignalWaitInfo(opened.get("signal", ""), until_ms, timed_out)
        case SpanKind.INVOKE:
            correlation_id = f"{run_id}.{step.step_id}"
            event_id = invoke_event_id(correlation_id, step.opened_ms or opened.get("at", 0))
            child_id = step.memo.get("child")
            function = opened.get("function", "")
            return InvokeInfo(function, correlation_id, event_id, until_ms, child_id, timed_out)
        case _:
            return None


def _root(history: History, span_id: str, children: tuple[Span, ...]) -> Span:
    row = history.row
    tries = [found for log in history.items.values() for found in log.tries]
    pieces = [piece for found in (*tries, *history.late) for piece in found.pieces]
    pieces += [
        Piece(segment.phase, segment.start_ms, segment.end_ms)
        for child in children
        if child.kind in _WAITS
        for segment in child.segments
    ]
    segments = partition(pieces, row.created_at_ms, history.end_ms)
    scheduled_ms = tries[0].scheduled_ms if tries else row.created_at_ms
    is_idle = history.ended_ms is None and segments and segments[-1].phase in _AHEAD
    futures = [child.until_ms for child in children] + [_until_ms(tries)]
    return Span(
        span_id=span_id,
        parent_id=None,
        kind=SpanKind.RUN,
        name="Run",
        status=_STATUSES[history.status],
        opcode="",
        step_id="",
        attempt=0,
        queued_ms=row.created_at_ms,
        scheduled_ms=max(row.created_at_ms, min(scheduled_ms, history.ended_ms or _FAR_MS)),
        started_ms=row.started_at_ms,
        ended_ms=history.ended_ms,
        until_ms=min([one for one in futures if one is not None], default=None) if is_idle else None,
        segments=segments,
        children=children,
        input_n=None,
        output_n=RUN_ROW if history.ended_ms is not None else None,
        error_code="",
        http_status=None,
        info=None,
        reason=history.reason,
    )


def _span_id(*cause: str) -> str:
    return hashlib.blake2b("\n".join(cause).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
