"""Runs that are recorded and never execute. Source: protocol 5.1.

A skipped run is kept so that people see what did not happen, and can replay it. It publishes no system
events; who invoked it gets a named error.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from inngest_server.runs import finish
from inngest_server.runs.decision import Decision
from inngest_server.runs.errors import plain_error
from inngest_server.runs.records import JournalKind, JournalRow, RunRow, RunStatus
from inngest_server.runs.run import Moment, Run


class SkipReason(StrEnum):
    """Why; the value stands in the journal."""

    FUNCTION_PAUSED = "FunctionPaused"
    FUNCTION_REMOVED = "FunctionRemoved"
    SINGLETON = "Singleton"

    @property
    def words(self) -> str:
        match self:
            case SkipReason.FUNCTION_PAUSED:
                return "its function is paused"
            case SkipReason.FUNCTION_REMOVED:
                return "its function was removed from its app"
            case SkipReason.SINGLETON:
                return "another run of its function holds the singleton"


def memo_of(reason: SkipReason) -> bytes:
    """What a step gets whose invocation was skipped. Source: decisions, "invoked child that is skipped"."""
    return b'{"error":' + plain_error("Error", f"the invoked function was skipped: {reason.words}") + b"}"


def skipped(row: RunRow, reason: SkipReason, now_ms: int, **about: Any) -> tuple[RunRow, JournalRow]:
    """The rows of a run that is skipped as it would have been made, and never was live.

    `about` says more in its only entry, such as `blocked_by`, a run.
    """
    meta = orjson.dumps({"status": RunStatus.SKIPPED.value, "reason": reason.value, **about})
    entry = JournalRow(row.run_id, 1, row.shard, JournalKind.ENDED.value, "", now_ms, meta, None)
    return row._replace(status=RunStatus.SKIPPED.value, started_at_ms=None, ended_at_ms=now_ms), entry


class Skipped(NamedTuple):
    """Why a run was skipped, as its journal has it."""

    reason: str
    """A `SkipReason`, unless a later server wrote it."""
    blocked_by: str | None
    """The run that held the singleton."""


def find_skipped(entries: Sequence[JournalRow]) -> Skipped | None:
    """Why the run of this journal was skipped; None if it was not."""
    if not entries or entries[-1].kind != JournalKind.ENDED:
        return None
    meta = orjson.loads(entries[-1].meta)
    if meta.get("status") != RunStatus.SKIPPED:
        return None
    return Skipped(meta.get("reason", ""), meta.get("blocked_by"))


def skip(run: Run, moment: Moment, reason: SkipReason) -> Decision:
    """End a live run before its first request."""
    assert run.row.started_at_ms is None, f"{run.id}: a run under way is never skipped"
    decision = Decision(run)
    finish.skip(run, decision, moment, reason.value, memo_of(reason))
    return decision
