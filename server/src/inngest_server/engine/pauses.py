"""Functions that are paused: no new run starts, and runs that are there send no further request.

A paused function's bucket has no room: items that become due park there and hold nothing else. What
was sent before is answered and recorded. New events, crons and invocations give skipped runs
(`engine/starts.py`). Source: features-2, 14c.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from inngest_server.engine import jobs, sending
from inngest_server.flow_control.parking import pause_bucket
from inngest_server.flow_control.records import PauseRow
from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.records import JobRow
from inngest_server.runs.placement import shard_of

if TYPE_CHECKING:
    from inngest_server.engine.facts import FunctionPaused, FunctionResumed
    from inngest_server.engine.live import Live
    from inngest_server.engine.work import Work

HELD_MAX_MS = 7 * 24 * 3_600_000
"""After this time the runs that a paused function had are cancelled. Source: features-2, 2-PAU-03."""
REASON = "function paused"
"""What the runs show that were cancelled because their function is paused, and the name of that job.

No job that somebody asked for gives a reason, so by this one a pause's own are known.
"""


class InFlight(StrEnum):
    """What becomes of the runs that a function has when it is paused."""

    HOLD = "hold"
    """They go on when it is resumed, and are cancelled if that takes longer than `HELD_MAX_MS`."""
    CANCEL = "cancel"


class Resumed(NamedTuple):
    """What came of resuming a function."""

    was_paused: bool
    is_cancelling: bool
    """Refused: the runs that it had are still being cancelled, and would go on first."""


def pause(work: Work, fact: FunctionPaused, now_ms: int) -> PauseRow | None:
    """Pause a function; None if there is none of that name.

    A second time changes nothing, except that runs which were held may be cancelled.
    """
    function = work.functions.find(fact.function)
    if function is None:
        return None
    before = work.live.pauses.get(function.id)
    row = before or PauseRow(
        function.id, shard_of(function.id, work.shard_count), now_ms, now_ms + HELD_MAX_MS
    )
    if fact.cancels:
        row = row._replace(cancel_at_ms=None)
        _cancel_runs(work, function.id, now_ms)
    if row != before:
        work.live.pauses[function.id] = row
        work.put(row)
        _arm(work.live, row)
    return row


def resume(work: Work, fact: FunctionResumed) -> Resumed | None:
    """Let a function go on; None if there is none of that name. What is parked is sent a slice at a time."""
    function = work.functions.find(fact.function)
    if function is None:
        return None
    row = work.live.pauses.get(function.id)
    if row is None:
        return Resumed(was_paused=False, is_cancelling=False)
    if any(_is_of_pause(job, function.id) for job in work.live.jobs.values()):
        return Resumed(was_paused=True, is_cancelling=True)
    del work.live.pauses[function.id]
    work.batch.remove(PauseRow, function.id, row.shard)
    work.owns(row.shard)
    sending.wake(work, pause_bucket(function.id))
    return Resumed(was_paused=True, is_cancelling=False)


def expire(work: Work, function_id: str, now_ms: int) -> None:
    """Cancel the runs that the function had when it was paused, if they are still held."""
    row = work.live.pauses.get(function_id)
    if row is None or row.cancel_at_ms is None or row.cancel_at_ms > now_ms:
        return
    work.live.pauses[function_id] = row = row._replace(cancel_at_ms=None)
    work.put(row)
    _cancel_runs(work, function_id, now_ms)


def load(live: Live) -> None:
    """Set the timers of the pauses that were loaded."""
    for row in live.pauses.values():
        _arm(live, row)


def _arm(live: Live, row: PauseRow) -> None:
    if row.cancel_at_ms is not None:
        live.timers.set(row.cancel_at_ms, "pause", "", row.function_id)


def _cancel_runs(work: Work, function_id: str, now_ms: int) -> None:
    # One more than the present moment: what was made in this millisecond was made before the pause.
    jobs.ask_cancel_job(work, function_id, REASON, now_ms + 1, now_ms, reason=REASON)


def _is_of_pause(job: JobRow, function_id: str) -> bool:
    return job.function_id == function_id and RunFilter.from_json(job.filter).reason == REASON
