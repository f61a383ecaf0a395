"""When start and finish timeouts are checked; the rule is `flow_control/timeouts.py`. Source: protocol 5.8.

A timer of the kind `start` or `finish` is set where a deadline begins to count: when a run is made, when its
first request is sent, when a sync changes the finish timeout, and when memory is loaded. Each request is
checked again before it is sent, so none is sent late, however late timers are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inngest_server.engine.facts import FinishChanged
from inngest_server.flow_control.timeouts import Deadline, deadline
from inngest_server.runs.facts import TimedOut

if TYPE_CHECKING:
    from inngest_server.engine.functions import Function, Functions
    from inngest_server.engine.live import Live
    from inngest_server.engine.timers import Timers
    from inngest_server.engine.work import Work
    from inngest_server.runs.run import Run

RUNS_PER_SLICE = 500
"""Whose timers are set between two batches after a sync."""


def deadline_of(function: Function, run: Run) -> Deadline | None:
    """The deadline of a live run under the present configuration of its function."""
    terms, finish_ms = run.terms, function.config.timeouts.finish_ms
    if terms is None and finish_ms is None:
        return None
    start_by_ms = terms.start_by_ms if terms is not None else None
    return deadline(start_by_ms=start_by_ms, started_at_ms=run.row.started_at_ms, finish_ms=finish_ms)


def arm(timers: Timers, function: Function, run: Run) -> None:
    """Set the timer of the run's deadline, if it has one."""
    if (due := deadline_of(function, run)) is not None:
        timers.set(due.at_ms, due.timeout, run.id, run.id)


def find_overdue(function: Function, run: Run, now_ms: int) -> TimedOut | None:
    """What there is to decide before a request of the run may be sent; None if it may."""
    due = deadline_of(function, run)
    if due is None or not due.has_passed(now_ms):
        return None
    return TimedOut(run.id, due.timeout, due.at_ms)


def due(work: Work, run_id: str, now_ms: int) -> None:
    """A timer of the run came: end the run, unless its deadline is another one by now."""
    run = work.live.find_run(run_id)
    if run is None:
        return
    overdue = find_overdue(work.functions.get(run.row.function_id), run, now_ms)
    if overdue is not None:
        work.tell(overdue)


def load(live: Live, functions: Functions) -> None:
    """Set the timers of all runs that were loaded."""
    bounded = {one.id for one in functions.all() if one.config.timeouts.finish_ms is not None}
    for shard in live.shards.values():
        for run in shard.runs.values():
            if run.terms is not None or run.row.function_id in bounded:
                arm(live.timers, functions.get(run.row.function_id), run)


def finish_changed(work: Work, fact: FinishChanged) -> None:
    """Set the timers of the function's runs anew, a slice at a time; the old ones come to nothing."""
    function = work.functions.get(fact.function_id)
    for run_id in fact.run_ids[:RUNS_PER_SLICE]:
        run = work.live.find_run(run_id)
        if run is not None and run.row.function_id == function.id:
            arm(work.live.timers, function, run)
    rest, shards = fact.run_ids[RUNS_PER_SLICE:], fact.shards
    while not rest and shards:
        rest, shards = list(work.live.shards[shards[0]].runs), shards[1:]
    if rest:
        work.tell(FinishChanged(function.id, shards, rest))
