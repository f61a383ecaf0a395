"""Which runs a job is about.

A job judges runs as of the moment at which it was asked for: a run that started, or ended, after that is not
taken for one that had. So what it does depends neither on how fast it is nor on when a crash interrupts it.
"""

from typing import Any, NamedTuple

from inngest_server.events.expressions import Expression, compile_expression
from inngest_server.jobs.records import JobKind, JobRow
from inngest_server.runs.records import RunRow, RunStatus
from inngest_server.wire import json

UNFINISHED = frozenset({RunStatus.SCHEDULED.value, RunStatus.RUNNING.value})
REPLAYABLE = frozenset(status.value for status in RunStatus if status.has_ended)


class RunFilter(NamedTuple):
    """What narrows a job down, beside its function and its upper bound. Moments are epoch milliseconds."""

    from_ms: int | None = None
    """Inclusive; None for no lower bound."""
    statuses: frozenset[str] = UNFINISHED
    expression: str = ""
    """On the run's event, its first one if it has several; empty for every event."""
    reason: str = ""
    """What the journals of cancelled runs say; empty for the job's own id."""
    asked_until_ms: int | None = None
    """The upper bound that the client gave. That of the job is not later than the moment it was asked for."""
    estimate: int | None = None
    """How many runs there were to look at when it was asked for; None where nobody counted."""

    def to_json(self) -> bytes:
        """As `JobRow.filter` has it: an object without what has its default."""
        fields: dict[str, Any] = {
            "from": self.from_ms,
            "statuses": sorted(self.statuses),
            "if": self.expression or None,
            "reason": self.reason or None,
            "until": self.asked_until_ms,
            "estimate": self.estimate,
        }
        return json.dumps({key: value for key, value in fields.items() if value is not None})

    @staticmethod
    def from_json(text: bytes) -> "RunFilter":
        fields: dict[str, Any] = json.parse_kept(text)
        return RunFilter(
            from_ms=fields.get("from"),
            statuses=frozenset(fields.get("statuses", UNFINISHED)),
            expression=fields.get("if", ""),
            reason=fields.get("reason", ""),
            asked_until_ms=fields.get("until"),
            estimate=fields.get("estimate"),
        )

    @property
    def condition(self) -> Expression | None:
        """The expression, compiled.

        Raises:
            CompileError: it is none.
        """
        return compile_expression(self.expression) if self.expression else None


def is_meant(job: JobRow, wanted: RunFilter, run: RunRow) -> bool:
    """Whether the job is about the run, as far as its row tells; the condition on its event is not looked at.

    Cancelling goes by the moment at which a run started; one that had not started counts as of the moment at
    which it was made. Replaying goes by the moment by which runs are listed, which the query has seen to.
    """
    if run.created_at_ms >= job.until_ms or run.function_id != job.function_id:
        return False
    if job.kind == JobKind.REPLAY:
        ended_at_ms = run.ended_at_ms
        was_over = ended_at_ms is not None and ended_at_ms <= job.created_at_ms
        return was_over and run.status in wanted.statuses
    if run.status not in wanted.statuses:
        return False
    started_at_ms = run.started_at_ms
    had_started = started_at_ms is not None and started_at_ms <= job.created_at_ms
    moment_ms = started_at_ms if had_started and started_at_ms is not None else run.created_at_ms
    return moment_ms < job.until_ms and (wanted.from_ms is None or moment_ms >= wanted.from_ms)
