"""What the engine did, counted: once it is durable, by function and day.

Counting happens where things are decided, in the tally of the batch, and the tally is added when the batch is
committed: a batch that was refused and decided again is counted once. Nothing here is stored: counters begin
at nothing when the server starts, as their readers expect.
"""

from collections import Counter

from inngest_server.runs.decision import Decision
from inngest_server.runs.facts import Answer, CallFailed, Reported
from inngest_server.runs.records import ItemRow, JournalKind, RunStatus
from inngest_server.runs.run import Run
from inngest_server.runs.skip import find_skipped

Key = tuple[str, str, str]
"""What was counted, the function's id, and the status where there is one."""
Tally = Counter[Key]

DAY_MS = 24 * 3_600_000
DAYS_KEPT = 2
"""Counters carry their day, so those of the past do not change; the day before is kept for late readers."""


class Counters:
    """All tallies that were committed, by day."""

    def __init__(self) -> None:
        self.days: dict[int, Tally] = {}
        """Days since 1970 in UTC."""

    def add(self, tally: Tally, now_ms: int) -> None:
        day = now_ms // DAY_MS
        known = self.days.get(day)
        if known is None:
            known = self.days[day] = Tally()
            for old in sorted(self.days)[:-DAYS_KEPT]:
                del self.days[old]
        known.update(tally)


def count_decision(tally: Tally, run: Run, decision: Decision) -> None:
    """Count what a decision does to its run; call before it is applied."""
    function_id = run.row.function_id
    for entry in decision.journal:
        if entry.kind == JournalKind.MEMO and entry.payload is not None:
            tally["step_output_bytes", function_id, ""] += len(entry.payload)
    if decision.ended and decision.row is not None:
        tally["run_ended", function_id, decision.row.status] += 1
        if decision.row.status == RunStatus.SKIPPED and (skipped := find_skipped(decision.journal)):
            tally["run_skipped", function_id, skipped.reason] += 1


def count_answer(tally: Tally, run: Run, item: ItemRow, answer: Answer, decision: Decision) -> None:
    """Count the end of a request by what came of it; call before the decision is applied."""
    tally["req_ended", run.row.function_id, outcome_of(item, answer, decision)] += 1


def outcome_of(item: ItemRow, answer: Answer, decision: Decision) -> str:
    """`success`; `errored`, it will be tried again; `failed`, it will not. Source: features-3, 2."""
    if any(one.item_id == item.item_id and one.attempt > item.attempt for one in decision.items):
        return "errored"
    if isinstance(answer, CallFailed) or (
        decision.row is not None and decision.row.status == RunStatus.FAILED
    ):
        return "failed"
    if isinstance(answer, Reported) and any(op.code in ("StepFailed", "StepError") for op in answer.ops):
        return "failed"
    return "success"
