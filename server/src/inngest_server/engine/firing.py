"""What happens when the moment of a timer has come: facts for the next batch, always in the same order."""

from typing import Any

from inngest_server.engine import sending, timeouts
from inngest_server.engine.facts import CronDue, MeterDue, PauseExpired, WindowDue
from inngest_server.engine.live import Live
from inngest_server.engine.timers import Timer
from inngest_server.engine.work import Work
from inngest_server.flow_control.timeouts import Timeout
from inngest_server.runs.facts import ItemDue, WaitExpired

TIMERS_PER_BATCH = 200
_BEHIND_ALL_RUNS = 1 << 62


def fire_due(work: Work, now_ms: int) -> bool:
    """Turn the timers that are due into facts, some of them at a time; whether a job is among them."""
    live = work.live
    due = live.timers.take_due(now_ms, TIMERS_PER_BATCH)
    if len(due) > 1:
        due.sort(key=lambda timer: _place_of(live, timer))
    is_job_due = False
    for timer in due:
        if timer.kind in (Timeout.START, Timeout.FINISH):
            timeouts.due(work, timer.owner, now_ms)
        elif timer.kind == "job":
            live.due_jobs[timer.key] = None
            is_job_due = True
        else:
            if timer.kind == "meter":
                # Now: who waits for it and who asks for slots at this very moment are judged together.
                live.slots.stir(timer.key)
            work.tell(_fact_of(timer))
    return is_job_due


def _fact_of(timer: Timer) -> Any:
    match timer.kind:
        case "wait":
            return WaitExpired(timer.owner, timer.key)
        case "item":
            return ItemDue(timer.owner, timer.key)
        case "window":
            return WindowDue(timer.key)
        case "meter":
            return MeterDue(timer.key)
        case "pause":
            return PauseExpired(timer.key)
        case _:
            return CronDue(timer.key)


def _place_of(live: Live, timer: Timer) -> tuple[int, int, str]:
    """Of what is due at the same moment, runs come in the order in which they would get slots."""
    if timer.kind == "meter":
        return (timer.due_ms, _BEHIND_ALL_RUNS, "")
    run = live.find_run(timer.owner) if timer.kind in ("item", "wait") else None
    return (timer.due_ms, *sending.place_of(run)) if run is not None else (timer.due_ms, 0, "")
