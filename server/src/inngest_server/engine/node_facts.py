"""What the facts lead to that need nothing but memory, and concern more than one run: one decision each."""

from collections.abc import Callable
from typing import Any

from inngest_server.engine import forks, jobs, pauses, rekeying, sending, syncs, timeouts
from inngest_server.engine.facts import (
    AppAdded,
    AppCameBack,
    AppDeleted,
    AppDiscovered,
    AppFailed,
    AppMoved,
    AppRemoved,
    ClockKept,
    FinishChanged,
    FunctionPaused,
    FunctionResumed,
    JobAsked,
    JobDeleted,
    JobSlice,
    Mending,
    MeterDue,
    PauseExpired,
    Ping,
    RekeyNext,
    Released,
    RunAgain,
    SlotsFreed,
    Synced,
)
from inngest_server.engine.work import Work

Decision = Callable[[Work, Any, int], Any]
"""Of a work, a fact and the moment; gives what who asked is told."""


def _keep_clock(work: Work, fact: ClockKept, now_ms: int) -> None:
    work.owns(0)
    work.put(fact.row)


def _release(work: Work, fact: Released, now_ms: int) -> bool:
    is_held = fact.entity in work.held
    work.release(fact.entity)
    return is_held


DECISIONS: dict[type, Decision] = {
    Ping: lambda work, fact, now_ms: True,
    Synced: lambda work, fact, now_ms: syncs.sync(work, fact.registration, now_ms),
    AppRemoved: lambda work, fact, now_ms: syncs.remove(work, fact.url, now_ms),
    AppFailed: lambda work, fact, now_ms: syncs.failed(work, fact.url, fact.error, now_ms),
    AppDiscovered: lambda work, fact, now_ms: syncs.discovered(work, fact.url),
    AppCameBack: lambda work, fact, now_ms: syncs.came_back(work, fact),
    AppAdded: lambda work, fact, now_ms: syncs.add(work, fact.url, now_ms),
    AppMoved: lambda work, fact, now_ms: syncs.move(work, fact.app_id, fact.url),
    AppDeleted: lambda work, fact, now_ms: syncs.delete(work, fact.app_id, now_ms),
    FunctionPaused: pauses.pause,
    FunctionResumed: lambda work, fact, now_ms: pauses.resume(work, fact),
    PauseExpired: lambda work, fact, now_ms: pauses.expire(work, fact.function_id, now_ms),
    FinishChanged: lambda work, fact, now_ms: timeouts.finish_changed(work, fact),
    JobAsked: jobs.ask,
    JobSlice: jobs.do_slice,
    JobDeleted: jobs.delete,
    RunAgain: forks.run_again,
    ClockKept: _keep_clock,
    SlotsFreed: lambda work, fact, now_ms: sending.grant_on(work, now_ms),
    MeterDue: lambda work, fact, now_ms: sending.meter_due(work, fact.bucket, now_ms),
    RekeyNext: rekeying.advance,
    Mending: lambda work, fact, now_ms: fact.decide(work, now_ms),
    Released: _release,
}
"""Finding one here costs the same for all: answers and events pass on the way to their own decisions."""
