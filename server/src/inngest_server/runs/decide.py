"""What one fact does to one run; nothing else ever changes a run.

States of a run: `Scheduled` (nothing sent yet), `Running`, and the ends `Completed`, `Failed`, `Cancelled`.
Until it ends it has at least one reason to wake: an item (queued, parked or sent) or a wait. Ended runs are
not in memory, so a fact that comes late finds no run and is dropped by the shell.

Invariants that every decision keeps:

* a step's memo is recorded once; whatever reports it again changes nothing but the wish to discover;
* a live run keeps a reason to wake;
* an item that is answered is gone or queued again in the same decision.
"""

from typing import assert_never

from inngest_server.apps.fields import duration_text
from inngest_server.flow_control.timeouts import Timeout
from inngest_server.runs import finish
from inngest_server.runs.answered import (
    on_answered,
    on_checkpointed,
    on_known,
    on_lost,
    on_stalled,
    resume,
)
from inngest_server.runs.decision import Decision
from inngest_server.runs.errors import RunFailure, error_object
from inngest_server.runs.facts import (
    Answered,
    AppReached,
    CancelRequested,
    Checkpointed,
    ChildEnded,
    DamageFound,
    EventArrived,
    Fact,
    ItemDue,
    ItemLost,
    SignalArrived,
    StallFound,
    TimedOut,
    WaitExpired,
)
from inngest_server.runs.records import ItemRow, ItemState, RunRow, RunStatus, WaitKind
from inngest_server.runs.retry import LOSSES_PER_ATTEMPT
from inngest_server.runs.run import Moment, Run
from inngest_server.wire import json

INVOKE_TIMEOUT_MEMO = json.dumps(
    {
        "error": {
            "error": "InngestInvokeTimeoutError: Timed out waiting for invoked function to complete",
            "name": "InngestInvokeTimeoutError",
            "message": "Timed out waiting for invoked function to complete",
        }
    }
)


def decide(run: Run, fact: Fact, moment: Moment) -> Decision:
    """The decision that a fact calls for in this state; empty when the fact comes too late to matter.

    Pure: the same arguments give the same result, so a crash before the commit is repaired by deciding again.
    """
    match fact:
        case Answered():
            return on_answered(run, fact, moment)
        case Checkpointed():
            return on_checkpointed(run, fact, moment)
        case ItemDue():
            return _on_due(run, fact, moment)
        case ItemLost():
            item = run.items.get(fact.item_id)
            if item is None or item.state != ItemState.SENT or item.generation != fact.generation:
                return Decision(run)
            if item.step_id in run.loaded.memos:
                return on_known(run, item, moment)
            return on_lost(run, item, moment, LOSSES_PER_ATTEMPT)
        case AppReached():
            return _on_reached(run, fact, moment)
        case WaitExpired():
            return _on_expired(run, fact, moment)
        case EventArrived():
            return _on_event(run, fact, moment)
        case SignalArrived():
            memo = b'{"data":{"signal":' + json.dumps(fact.signal) + b',"data":' + fact.data + b"}}"
            return resume(run, moment, fact.wait_id, memo, {})
        case ChildEnded():
            meta: dict[str, object] = {"child": fact.child_run_id} if fact.child_run_id else {}
            return resume(run, moment, fact.wait_id, fact.memo, meta)
        case CancelRequested():
            decision = Decision(run)
            finish.cancel(run, decision, moment, fact.reason)
            return decision
        case TimedOut():
            return _on_timed_out(run, fact, moment)
        case StallFound():
            return on_stalled(run, fact, moment)
        case DamageFound():
            decision = Decision(run)
            finish.fail(run, decision, moment, error_object("data_damaged", fact.detail))
            return decision
        case _:
            assert_never(fact)


def _on_due(run: Run, fact: ItemDue, moment: Moment) -> Decision:
    """The shell sends or parks what is queued and due; here it is only said that it is so."""
    decision = Decision(run)
    item = run.items.get(fact.item_id)
    if item is None or item.state == ItemState.SENT:
        return decision
    if item.state == ItemState.PARKED or item.due_at_ms <= moment.now_ms:
        if item.step_id in run.loaded.memos:
            return on_known(run, item, moment)
        decision.items.append(item)
    return decision


def _on_reached(run: Run, fact: AppReached, moment: Moment) -> Decision:
    """What is left of the back-off is skipped: it was there to wait for the app."""
    decision = Decision(run)
    item = run.items.get(fact.item_id)
    if item is None or item.state != ItemState.QUEUED:
        return decision
    if item.step_id in run.loaded.memos:
        return on_known(run, item, moment)
    decision.items.append(item._replace(due_at_ms=min(item.due_at_ms, moment.now_ms)))
    return decision


def _on_expired(run: Run, fact: WaitExpired, moment: Moment) -> Decision:
    wait = run.waits.get(fact.wait_id)
    if wait is None or wait.fires_at_ms > moment.now_ms:
        return Decision(run)
    if wait.kind == WaitKind.CANCEL:
        decision = Decision(run)
        decision.gone_waits.append(wait.wait_id)
        return decision
    if wait.kind == WaitKind.INVOKE:
        return resume(run, moment, wait.wait_id, INVOKE_TIMEOUT_MEMO, {"timeout": True})
    meta: dict[str, object] = {} if wait.kind == WaitKind.SLEEP else {"timeout": True}
    return resume(run, moment, wait.wait_id, b"null", meta)


def _on_event(run: Run, fact: EventArrived, moment: Moment) -> Decision:
    wait = run.waits.get(fact.wait_id)
    if wait is None:
        return Decision(run)
    if wait.kind == WaitKind.CANCEL:
        decision = Decision(run)
        finish.cancel(run, decision, moment, f"event {fact.internal_id}")
        return decision
    return resume(run, moment, fact.wait_id, fact.body, {"event": fact.internal_id})


def _on_timed_out(run: Run, fact: TimedOut, moment: Moment) -> Decision:
    """The run is cancelled, unless its first request left before the start timeout could be decided."""
    decision = Decision(run)
    started_at_ms = run.row.started_at_ms
    if fact.timeout is Timeout.FINISH:
        since_ms = started_at_ms if started_at_ms is not None else fact.due_ms
    elif started_at_ms is None:
        # As `start_run` has it: a batch does not wait for the times of its events.
        of_event_ms = 0 if run.row.batch_id is not None else run.loaded.event.get("ts") or 0
        since_ms = max(run.row.created_at_ms, of_event_ms)
    else:
        return decision
    finish.cancel(run, decision, moment, f"timeout: {fact.timeout} {duration_text(fact.due_ms - since_ms)}")
    return decision


def send(run: Run, item: ItemRow, moment: Moment, slots: str) -> ItemRow:
    """The item as it is once it is handed to the driver, holding `slots`.

    Raises:
        RunFailure: the run has used up its steps.
    """
    limits = moment.limits
    if len(run.loaded.memos) >= limits.steps_max:
        raise RunFailure(
            "InngestErrFunctionOverflowed",
            f"The function run exceeded the step limit of {limits.steps_max} steps.",
        )
    return item._replace(
        generation=item.generation + 1, state=ItemState.SENT.value, sent_at_ms=moment.now_ms, slots=slots
    )


def started(row: RunRow, now_ms: int) -> RunRow:
    """The run's row once its first request is sent."""
    return row._replace(status=RunStatus.RUNNING.value, started_at_ms=now_ms)
