"""The end of a run: exactly once, and nothing live stays behind. Source: protocol 5.3."""

from typing import Any

from inngest_server.runs.decision import Decision, Publish, TellParent, trace_of_item
from inngest_server.runs.errors import plain_error
from inngest_server.runs.records import JournalKind, RunRow, RunStatus
from inngest_server.runs.run import Moment, Run

FINISHED = "inngest/function.finished"
FAILED = "inngest/function.failed"
CANCELLED = "inngest/function.cancelled"

LOOP_GUARD = frozenset({FINISHED, FAILED})
"""Ends of runs that these started publish nothing: a failing failure handler must not start itself."""
CANCELLED_ERROR = plain_error("Error", "Function cancelled")
"""Source: decisions, "inngest/function.cancelled"."""
OPEN_ITEMS_MAX = 100
"""Requests under way when a run ends that its last entry tells of; only races and plans have so many."""


def complete(run: Run, decision: Decision, moment: Moment, output: bytes) -> None:
    """The function returned."""
    _finish(run, decision, moment, RunStatus.COMPLETED, output, b'{"data":' + output + b"}", None)


def fail(run: Run, decision: Decision, moment: Moment, error: bytes) -> None:
    """The function failed for good."""
    _finish(run, decision, moment, RunStatus.FAILED, error, b'{"error":' + error + b"}", error)


def cancel(run: Run, decision: Decision, moment: Moment, reason: str) -> None:
    """The run was cancelled; an answer still under way will be dropped."""
    memo = b'{"error":' + CANCELLED_ERROR + b"}"
    _finish(run, decision, moment, RunStatus.CANCELLED, None, memo, CANCELLED_ERROR, reason)


def skip(run: Run, decision: Decision, moment: Moment, reason: str, memo: bytes) -> None:
    """The run never begins; nothing is published. `memo` is for who invoked it."""
    _finish(run, decision, moment, RunStatus.SKIPPED, None, memo, None, reason)


def error_of(row: RunRow) -> bytes | None:
    """The error object that an ended run's system events carry; None for a completed one."""
    if row.status == RunStatus.CANCELLED:
        return CANCELLED_ERROR
    return row.output if row.status == RunStatus.FAILED else None


def _ending(decision: Decision, status: RunStatus, reason: str) -> dict[str, Any]:
    """What the last entry says: how the run ended, by which request, and what was under way then."""
    meta: dict[str, Any] = {"status": status.value, **decision.trace}
    answered = decision.answered
    if answered is not None and answered.step_id:
        meta["item"] = answered.step_id
    if reason:
        meta["reason"] = reason
    others = [item for item in decision.run.items.values() if item is not answered]
    if others:
        meta["open"] = [
            {"item": item.item_id.partition(".")[2], "state": item.state, **trace_of_item(item)}
            for item in others[:OPEN_ITEMS_MAX]
        ]
    return meta


def _finish(
    run: Run,
    decision: Decision,
    moment: Moment,
    status: RunStatus,
    output: bytes | None,
    memo: bytes,
    error: bytes | None,
    reason: str = "",
) -> None:
    row = run.row
    decision.ended = True
    decision.row = row._replace(status=status.value, ended_at_ms=moment.now_ms, output=output)
    decision.record(JournalKind.ENDED, "", moment.now_ms, _ending(decision, status, reason))
    # What this very decision opened must not outlive it either.
    decision.items.clear()
    decision.waits.clear()
    decision.messages.clear()
    decision.gone_items = list(run.items)
    decision.gone_waits = list(run.waits)
    if row.parent is not None:
        decision.messages.append(TellParent(row.parent, memo))
        if run.terms is not None and run.terms.callers:
            for caller in run.terms.callers.split("\n"):
                decision.messages.append(TellParent(caller, memo))
    if row.event_name in LOOP_GUARD or status is RunStatus.SKIPPED:
        return
    trigger, further = run.loaded.event_body, run.loaded.further
    decision.messages.append(Publish(FINISHED, decision.row, trigger, error, further))
    if status is RunStatus.FAILED:
        decision.messages.append(Publish(FAILED, decision.row, trigger, error, further))
    elif status is RunStatus.CANCELLED:
        decision.messages.append(Publish(CANCELLED, decision.row, trigger, error, further))
