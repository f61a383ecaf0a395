"""Runs that have ended: which gate kept them from starting, or ended them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from inngest_server.explain.gate import Fact, Gate, Verdict, moment
from inngest_server.explain.journal import find_ending
from inngest_server.explain.origin import error_text, gates_before, run_link
from inngest_server.explain.snapshot import RunSnapshot
from inngest_server.explain.words import duration, shortened
from inngest_server.runs.records import RunStatus
from inngest_server.runs.skip import SkipReason

ORDER = ("archived", "paused", "singleton", "backoff", "timeouts", "cancelled")
"""Gates that may have ended a run."""


def gates_of_ended(shot: RunSnapshot) -> list[Gate]:
    """What it passed, what ended it, and what it therefore did not reach."""
    row = shot.row
    passed = gates_before(shot)
    gate = _end(shot, RunStatus(row.status))
    if gate is None:
        return [*passed, *[_open(name) for name in ORDER]]
    at = ORDER.index(gate.id)
    # Who was skipped reached nothing that comes later.
    later = Verdict.SKIP if row.started_at_ms is None else Verdict.PASS
    return [
        *passed,
        *[_open(name) for name in ORDER[:at]],
        gate,
        *[replace(_open(name), verdict=later, says="") for name in ORDER[at + 1 :]],
    ]


def summary_of_ended(shot: RunSnapshot, gate: Gate | None) -> str:
    """One sentence."""
    row = shot.row
    if gate is not None:
        return gate.says
    ended_ms = row.ended_at_ms or row.created_at_ms
    took = f" after {duration(ended_ms - row.started_at_ms)}" if row.started_at_ms is not None else ""
    return f"completed{took}"


def _open(name: str) -> Gate:
    return Gate(id=name, verdict=Verdict.PASS)


def _end(shot: RunSnapshot, status: RunStatus) -> Gate | None:
    ending = find_ending(shot)
    reason = str(ending.get("reason", ""))
    match status:
        case RunStatus.SKIPPED:
            return _skipped(shot, reason, ending)
        case RunStatus.CANCELLED:
            return _cancelled(shot, reason)
        case RunStatus.FAILED:
            error = error_text(shot.row.output)
            says = f"failed{f': {shortened(error, 160)}' if error else ''}"
            return _shut(shot, "backoff", says, [Fact("error", shortened(error, 200))])
        case _:
            return None


def _skipped(shot: RunSnapshot, reason: str, ending: dict[str, Any]) -> Gate:
    match reason:
        case SkipReason.SINGLETON:
            other = str(ending.get("blocked_by") or "")
            says = f"was skipped: run {other} held the singleton"
            return _shut(
                shot, "singleton", says, [Fact("blocked_by", other)], run_link(other) if other else None
            )
        case SkipReason.FUNCTION_PAUSED:
            return _shut(shot, "paused", f"was skipped: {shot.function.slug} was paused")
        case _:
            says = f"was skipped: {shot.function.slug} was removed from its app before it started"
            return _shut(shot, "archived", says)


def _cancelled(shot: RunSnapshot, reason: str) -> Gate:
    kind, _, rest = reason.partition(" ")
    match kind:
        case "timeout:":
            which, _, length = rest.partition(" ")
            says = f"was cancelled by its {which} timeout of {length}"
            if which == "start":
                says = f"was cancelled by its start timeout: it had not begun within {length}"
            return _shut(shot, "timeouts", says, [Fact("timeout", which), Fact("after", length)])
        case "singleton:":
            other = rest.rpartition(" ")[2]
            says = f"was cancelled: the newer run {other} has its singleton"
            return _shut(shot, "singleton", says, [Fact("run", other)], run_link(other))
        case "event":
            says = f"was cancelled by event {rest}"
            return _shut(shot, "cancelled", says, [Fact("event", rest)], f"/api/ui/v1/events/{rest}/explain")
        case "job":
            says = f"was cancelled with others by job {rest}"
            return _shut(shot, "cancelled", says, [Fact("job", rest)], f"/api/ui/v1/jobs/{rest}")
        case _ if reason == "function paused":
            return _shut(shot, "paused", f"was cancelled because {shot.function.slug} was paused")
        case _:
            by = "by a request to the API" if reason == "api" else f"({shortened(reason)})" if reason else ""
            return _shut(shot, "cancelled", f"was cancelled {by}".rstrip())


def _shut(
    shot: RunSnapshot, name: str, says: str, facts: Sequence[Fact] = (), link: str | None = None
) -> Gate:
    ended_ms = shot.row.ended_at_ms
    facts = [*facts, *([moment("ended_at", ended_ms)] if ended_ms is not None else [])]
    return Gate(
        id=name,
        verdict=Verdict.BLOCK,
        says=says,
        since_ms=ended_ms,
        ends="never: the run has ended",
        facts=facts,
        link=link,
    )
