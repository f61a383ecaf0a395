"""Traces as GraphQL shows them, and what their spans took and gave.

The reference interface draws a tree of this form (ui A.13, "Trace shape rules"): a root named "Run", a child
for each step, several tries as its children, and a last one named "Finalization" that has no step.
"""

from typing import Any, cast

from inngest_server.api.graphql.errors import QueryError
from inngest_server.api.graphql.legacy import show_read_run
from inngest_server.api.graphql.pages import decode_opaque, encode_opaque
from inngest_server.api.graphql.run_group import STATUSES, ReadHistory, get_history
from inngest_server.api.graphql.session import Session
from inngest_server.runs.skip import find_skipped
from inngest_server.traces.payloads import Output, input_of, output_of, output_of_run
from inngest_server.traces.span import (
    RUN_ROW,
    EventWaitInfo,
    InvokeInfo,
    Phase,
    SignalWaitInfo,
    SleepInfo,
    Span,
    SpanKind,
    StepInfo,
)
from inngest_server.traces.trace import trace_of
from inngest_server.wire import json
from inngest_server.wire.hashing import derived_uuid
from inngest_server.wire.ulid import is_ulid

INT_MAX = 2**31 - 1
"""What GraphQL's `Int` can hold: as milliseconds, 24 days."""
STEP_OPS = {
    SpanKind.STEP: "RUN",
    SpanKind.SLEEP: "SLEEP",
    SpanKind.WAIT_FOR_EVENT: "WAIT_FOR_EVENT",
    SpanKind.WAIT_FOR_SIGNAL: "WAIT_FOR_SIGNAL",
    SpanKind.INVOKE: "INVOKE",
    SpanKind.AI: "AI_GATEWAY",
    SpanKind.GATEWAY: "RUN",
}
STEP_TYPES = {**STEP_OPS, SpanKind.GATEWAY: "GATEWAY", SpanKind.BODY: "FINALIZATION"}
OVERHEAD = (Phase.DECIDING, Phase.CONNECTING, Phase.LOST, Phase.QUEUED)
"""The server's own share of a request, besides waiting for slots."""


def trace_id_of(run_id: str) -> str:
    """32 hex digits, the same at every read."""
    return derived_uuid("trace", run_id).replace("-", "")


def show_trace_of(session: Session, *, runID: str) -> dict[str, Any]:
    """The root of a run's trace, as of now.

    Raises:
        QueryError: `run_not_found`, `invalid_id`.
    """
    return show_trace(session, get_history(session, runID))


def show_trace(session: Session, read: ReadHistory) -> dict[str, Any]:
    """The root of a run's trace."""
    row = read.history.run
    root = trace_of(row, read.history.journal, read.history.items, now_ms=read.now_ms)
    common: dict[str, Any] = {
        "appID": session.function(row.function_id).row.app_id,
        "functionID": row.function_id,
        "runID": row.run_id,
        "traceID": trace_id_of(row.run_id),
        "run": lambda: show_read_run(session, read),
        "isUserland": False,
        "debugPaused": False,
    }
    shown = _show_span(root, common, None)
    # The list and the trace tell the same: whether a run is queued, and not what its parts do.
    shown.update(status=STATUSES[row.status], isRoot=True, name="Run")
    if (skipped := find_skipped(read.history.journal)) is not None:
        shown.update(skipReason=skipped.reason, skipExistingRunID=skipped.blocked_by)
    return shown


def _show_span(span: Span, common: dict[str, Any], parent: dict[str, Any] | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        **common,
        "spanID": span.span_id,
        "groupID": span.span_id,
        "name": span.name,
        "status": span.status.value,
        "attempts": span.attempt,
        "duration": None if span.is_open else min(span.duration_ms, INT_MAX),
        "outputID": _output_id(common["runID"], span),
        "queuedAt": span.queued_ms,
        "scheduledAt": span.scheduled_ms,
        "startedAt": span.started_ms,
        "endedAt": span.ended_ms,
        "stepOp": STEP_OPS.get(span.kind),
        "stepID": span.step_id or None,
        "stepInfo": _show_info(span.info),
        "stepType": STEP_TYPES.get(span.kind, ""),
        "isRoot": False,
        "parentSpanID": span.parent_id,
        "parentSpan": parent,
        "metadata": lambda: _metadata(span),
        "response": _response(span),
    }
    if span.kind is SpanKind.BODY and not span.is_open:
        shown["name"] = "Finalization"
    if span.kind is SpanKind.ATTEMPT and parent is not None:
        shown["stepOp"], shown["stepType"] = parent["stepOp"], parent["stepType"]
    shown["childrenSpans"] = lambda: [_show_span(child, common, shown) for child in span.children]
    return shown


def _show_info(info: StepInfo | None) -> dict[str, Any] | None:
    match info:
        case None:
            return None
        case SleepInfo():
            return {"__typename": "SleepStepInfo", "sleepUntil": info.until_ms}
        case EventWaitInfo():
            return {
                "__typename": "WaitForEventStepInfo",
                "eventName": info.event,
                "expression": info.expression or None,
                "timeout": info.timeout_ms,
                "foundEventID": info.matched_event_id,
                "timedOut": info.timed_out,
            }
        case SignalWaitInfo():
            return {
                "__typename": "WaitForSignalStepInfo",
                "signal": info.signal,
                "timeout": info.timeout_ms,
                "timedOut": info.timed_out,
            }
        case InvokeInfo():
            return {
                "__typename": "InvokeStepInfo",
                "triggeringEventID": info.event_id,
                "functionID": info.function,
                "timeout": info.timeout_ms,
                "runID": info.run_id,
                "timedOut": info.timed_out,
            }


def _response(span: Span) -> dict[str, Any] | None:
    return {"statusCode": span.http_status, "headers": {}} if span.http_status is not None else None


def _metadata(span: Span) -> list[dict[str, Any]]:
    """Where the time of a request went that was not the app's, as the reference interface draws it."""
    if not any(segment.phase is Phase.REQUEST for segment in span.segments):
        return []
    queue_ms = span.time_in(Phase.SLOTS)
    system_ms = sum(span.time_in(phase) for phase in OVERHEAD)
    values = {
        "queue_delay_ms": queue_ms,
        "system_latency_ms": system_ms,
        "total_inngest_ms": queue_ms + system_ms,
    }
    scope = {SpanKind.RUN: "run", SpanKind.ATTEMPT: "step_attempt"}.get(span.kind, "step")
    return [{"scope": scope, "kind": "inngest.timing", "values": values, "updatedAt": span.end_ms}]


# Inputs and outputs


def _output_id(run_id: str, span: Span) -> str | None:
    if span.input_n is None and span.output_n is None:
        return None
    return encode_opaque([run_id, span.input_n, span.output_n])


def show_output(session: Session, *, outputID: str) -> dict[str, Any]:
    """What a span took and gave.

    Raises:
        QueryError: `output_not_found`, the id names none, or retention has forgotten the run.
    """
    match decode_opaque(outputID):
        case [str(run_id), int() | None as input_n, int() | None as output_n] if is_ulid(run_id):
            pass
        case _:
            raise QueryError("outputID must be the outputID of a span", code="output_not_found")
    history = get_history(session, run_id).history
    entries = {entry.n: entry for entry in history.journal}
    output = Output()
    if output_n == RUN_ROW:
        output = output_of_run(history.run)
    elif output_n is not None and output_n in entries:
        output = output_of(entries[output_n])
    given = entries.get(input_n) if input_n is not None else None
    return {
        "input": session.spend_bytes(input_of(given)) if given is not None else None,
        "data": session.spend_bytes(output.data),
        "error": _show_error(session.spend_bytes(output.error)),
    }


def _show_error(error: bytes | None) -> dict[str, Any] | None:
    """The error object that an SDK reported, or whatever it reported in place of one."""
    if error is None:
        return None
    value: Any = json.parse_kept(error)
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {"message": value}
    return {
        "message": _text(fields.get("message")) or "",
        "name": _text(fields.get("name")),
        "stack": _text(fields.get("stack")),
        "cause": fields.get("cause"),
    }


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value).decode()
