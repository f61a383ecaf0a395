"""Planted bugs of flow control, two or more for each rule: the auditor must name each."""

from dataclasses import replace
from typing import Any

import pytest

from inngest_server.engine import (
    closing,
    events,
    job_runner,
    jobs,
    node_facts,
    rekeying,
    sending,
    starts,
    timeouts,
)
from inngest_server.engine import functions as functions_module
from inngest_server.engine import startup as startup_module
from inngest_server.engine.facts import JobDeleted
from inngest_server.engine.functions import Function
from inngest_server.engine.live import Live
from inngest_server.engine.windows import Window, Windows
from inngest_server.engine.work import Work
from inngest_server.events.event import Event
from inngest_server.flow_control import debounce, parking, rate_limit
from inngest_server.flow_control.parking import Buckets, Parking
from inngest_server.flow_control.rate_limit import RateRule
from inngest_server.flow_control.throttle import Rate, Throttled
from inngest_server.runs.records import ItemRow, ItemState
from inngest_server.runs.run import Run

from .biting import Plant, find

pytestmark = pytest.mark.simulation

ORDERLY: dict[str, Any] = {"disk_error_rate": 0.0, "app_error_rate": 0.0, "events": 100, "damage": False}
"""Where little fails, much gets through to the limits."""
CALM: dict[str, Any] = {
    **ORDERLY,
    "crash_rate": 0.0,
    "clock_jumps": False,
    "slow_disk": 0.0,
    "disk_delay_s": 0.0005,
}
CRASHING: dict[str, Any] = {**ORDERLY, "crash_rate": 0.004}
DEPLOYING: dict[str, Any] = {**CALM, "deploy_rate": 0.5}
SLOW: dict[str, Any] = {**CALM, "slow_disk": 0.2, "disk_delay_s": 0.2}
OPERATED: dict[str, Any] = {**CALM, "operate_rate": 0.6}


# Concurrency.


def run_slot_given_back_after_a_request(patch: pytest.MonkeyPatch) -> None:
    sent = Parking.sent

    def lavish(self: Parking, item_id: str, now_ms: int) -> Buckets:
        taken = sent(self, item_id, now_ms)
        self.release(parking.run_of(item_id))
        return taken

    patch.setattr(Parking, "sent", lavish)


def shared_bucket_counted_per_function(patch: pytest.MonkeyPatch) -> None:
    counted = functions_module.counted

    def own(function_id: str, limit: Any) -> Any:
        found = counted(function_id, limit)
        is_shared = found.prefix.startswith(("e/", "a/"))
        return (
            replace(found, prefix=f"{found.prefix[:2]}{function_id}{found.prefix[1:]}")
            if is_shared
            else found
        )

    patch.setattr(functions_module, "counted", own)


def runs_not_counted_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rekeying, "rekey", lambda work, run, now_ms: None)


def slots_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    hold = Parking.hold

    def forgetful(self: Parking, holder: str, buckets: Buckets) -> None:
        if holder in self._granted or parking.run_of(holder) + ".0" in self._granted:
            hold(self, holder, buckets)

    patch.setattr(Parking, "hold", forgetful)


def raised_limit_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rekeying, "_ask_again", lambda work, function_id, now_ms: None)


def release_of_a_run_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    stir = Parking.stir

    def deaf(self: Parking, bucket: str) -> None:
        if parking.kind_of(bucket) != "r":
            stir(self, bucket)

    patch.setattr(Parking, "stir", deaf)


# Throttle.


def burst_off_by_one(patch: pytest.MonkeyPatch) -> None:
    throttled = functions_module.throttled

    def lax(function_id: str, throttle: Any) -> Throttled:
        found = throttled(function_id, throttle)
        rate = found.rate
        return replace(found, rate=Rate(rate.emission_ns, rate.tolerance_ns + rate.emission_ns))

    patch.setattr(functions_module, "throttled", lax)


def throttle_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Parking, "set_tat", lambda self, bucket, tat_ns: None)


def throttle_used_when_it_is_granted(patch: pytest.MonkeyPatch) -> None:
    """What was granted at different moments goes out at one, when it has been read."""
    take, use = Parking._take, Parking._use

    def early(
        self: Parking, item_id: str, function_id: str, steps: Buckets, starts: Buckets, now_ms: int
    ) -> None:
        take(self, item_id, function_id, steps, starts, now_ms)
        for bucket in starts:
            if parking.kind_of(bucket) == "t":
                self._unsent[bucket] -= 1
                use(self, bucket, now_ms)

    patch.setattr(Parking, "_take", early)
    patch.setattr(Parking, "_use", lambda self, bucket, now_ms: None)
    patch.setattr(Parking, "_leave", lambda self, bucket: None)
    patch.setattr(Parking, "_may_start", lambda self, bucket, now_ms: True)


def throttle_without_an_alarm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sending, "_set_alarm", lambda work, bucket, now_ms: None)


# Rate limit and idempotency.


def rate_limit_off_by_one(patch: pytest.MonkeyPatch) -> None:
    judge = rate_limit.judge
    patch.setattr(
        rate_limit,
        "judge",
        lambda limit, tat_ns, now_ms: judge(limit, tat_ns and tat_ns - 999_999_999, now_ms),
    )


def rate_limit_not_read(patch: pytest.MonkeyPatch) -> None:
    """What memory does not know of a rate limit counts as unused."""

    def hasty(work: Work, key: str, now_ms: int) -> int:
        mark = work.marks.find(key)
        return int(mark[0]) if mark is not None and mark[1] > now_ms else 0

    patch.setattr(starts, "_find_tat_ns", hasty)


def rate_limit_without_its_key(patch: pytest.MonkeyPatch) -> None:
    meter_of = RateRule.meter_of

    def blind(self: RateRule, event: Any, now_ms: int) -> Any:
        meter = meter_of(self, event, now_ms)
        return meter and meter._replace(name=self.name)

    patch.setattr(RateRule, "meter_of", blind)


def idempotency_for_an_hour(patch: pytest.MonkeyPatch) -> None:
    judge = rate_limit.judge

    def brief(limit: Any, tat_ns: int, now_ms: int) -> Any:
        is_day = limit.period_ms == 86_400_000
        return judge(replace(limit, period_ms=3_600_000) if is_day else limit, tat_ns, now_ms)

    patch.setattr(rate_limit, "judge", brief)


def idempotency_ignored(patch: pytest.MonkeyPatch) -> None:
    rate_rule = functions_module.rate_rule

    def lax(function_id: str, config: Any) -> RateRule | None:
        return rate_rule(function_id, config) if config.idempotency is None else None

    patch.setattr(functions_module, "rate_rule", lax)


# Debounce.


def debounce_keeps_the_first(patch: pytest.MonkeyPatch) -> None:
    collect = debounce.collect

    def stubborn(limit: Any, usage: Any, ts_ms: int, now_ms: int) -> Any:
        return collect(limit, usage, ts_ms, now_ms)._replace(is_newest=usage is None)

    patch.setattr(debounce, "collect", stubborn)


def debounce_does_not_begin_again(patch: pytest.MonkeyPatch) -> None:
    collect = debounce.collect

    def rigid(limit: Any, usage: Any, ts_ms: int, now_ms: int) -> Any:
        taken = collect(limit, usage, ts_ms, now_ms)
        return taken if usage is None else taken._replace(due_at_ms=usage.due_at_ms)

    patch.setattr(debounce, "collect", rigid)


def debounce_closes_early(patch: pytest.MonkeyPatch) -> None:
    close = closing.close

    def eager(work: Work, fact: Any, now_ms: int) -> bool:
        window = work.live.windows.find(fact.window_id)
        if window is not None and window.kind == "debounce":
            window.due_at_ms = min(window.due_at_ms, now_ms)
        return close(work, fact, now_ms)

    patch.setattr(closing, "close", eager)


def debounce_without_its_timeout(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(debounce, "_due_ms", lambda period_ms, deadline_ms, now_ms: now_ms + period_ms)


def windows_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Windows, "load", lambda self, rows, timers: None)


# Batch.


def batch_loses_its_last_event(patch: pytest.MonkeyPatch) -> None:
    events_of = closing._events_of

    def careless(window: Window, read: Any) -> list[Event]:
        found = events_of(window, read)
        return found[:-1] if window.kind == "batch" and len(found) > 1 else found

    patch.setattr(closing, "_events_of", careless)


def batch_out_of_order(patch: pytest.MonkeyPatch) -> None:
    events_of = closing._events_of
    patch.setattr(closing, "_events_of", lambda window, read: events_of(window, read)[::-1])


def batch_of_one_too_many(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "count", property(lambda self: len(self.event_ids) - 1))


def batch_made_twice(patch: pytest.MonkeyPatch) -> None:
    """Its window is forgotten in memory alone, and comes back with a restart."""
    patch.setattr(Windows, "remove", lambda self, work, window: self.forget(window))


def repeated_request_is_collected_again(patch: pytest.MonkeyPatch) -> None:
    start_of_duplicate = events._start_of_duplicate

    def gullible(work: Work, function: Function, event: Event, fact: Any, first: Any) -> Any:
        if function.collects_events:
            return events._start_on(event, function, starts.Cause.EVENT)
        return start_of_duplicate(work, function, event, fact, first)

    patch.setattr(events, "_start_of_duplicate", gullible)


# Singleton.


def singleton_held_during_requests_alone(patch: pytest.MonkeyPatch) -> None:
    holders_of = Live.holders_of

    def brief(self: Live, lock: str) -> tuple[str, ...]:
        runs = [self.find_run(run_id) for run_id in holders_of(self, lock)]
        return tuple(
            run.id for run in runs if run and any(item.state == ItemState.SENT for item in run.items.values())
        )

    patch.setattr(Live, "holders_of", brief)


def singleton_never_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Live, "unlock", lambda self, run: self.making_way.discard(run.id))


def singleton_does_not_wait_for_the_cancelled(patch: pytest.MonkeyPatch) -> None:
    set_of = sending._set_of

    def impatient(function: Function, run: Run, *given: Any) -> tuple[Buckets, Buckets]:
        steps, buckets = set_of(function, run, *given)
        return steps, tuple(one for one in buckets if parking.kind_of(one) != "s")

    patch.setattr(sending, "_set_of", impatient)
    patch.setattr(starts, "_make_way", lambda work, start, *given: None)


# Priority and order.


def priority_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        sending, "rank_of", lambda run, item: (run.row.created_at_ms, run.row.event_id, item.item_id)
    )


def last_come_first_served(patch: pytest.MonkeyPatch) -> None:
    rank_of = sending.rank_of

    def backwards(run: Run, item: ItemRow) -> Any:
        moment_ms, *rest = rank_of(run, item)
        return (-moment_ms, *rest)

    patch.setattr(sending, "rank_of", backwards)


# Pause.


def paused_function_goes_on(patch: pytest.MonkeyPatch) -> None:
    has_slots = sending._has_slots

    def blind(work: Work, run: Run, item: ItemRow, now_ms: int) -> bool:
        pauses, work.live.pauses = work.live.pauses, {}
        try:
            return has_slots(work, run, item, now_ms)
        finally:
            work.live.pauses = pauses

    patch.setattr(sending, "_has_slots", blind)


def pause_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    load = startup_module.pauses.load

    def forgetful(live: Live) -> None:
        live.pauses.clear()
        load(live)

    patch.setattr(startup_module.pauses, "load", forgetful)


def resuming_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sending, "wake", lambda work, bucket: None)


# Timeouts.


def timeouts_never_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(timeouts, "find_overdue", lambda function, run, now_ms: None)


def timeouts_a_second_early(patch: pytest.MonkeyPatch) -> None:
    deadline_of = timeouts.deadline_of

    def hasty(function: Function, run: Run) -> Any:
        due = deadline_of(function, run)
        return due and due._replace(at_ms=due.at_ms - 1000)

    patch.setattr(timeouts, "deadline_of", hasty)


# Jobs.


def job_takes_later_runs(patch: pytest.MonkeyPatch) -> None:
    """A replay is also about runs that were made, and ended, after its bound."""
    is_meant = job_runner.is_meant
    patch.setattr(
        job_runner, "is_meant", lambda job, wanted, run: is_meant(job._replace(until_ms=1 << 50), wanted, run)
    )
    query_of = job_runner.query_of
    patch.setattr(job_runner, "query_of", lambda job, *rest: query_of(job._replace(until_ms=1 << 50), *rest))


def job_counts_wrong(patch: pytest.MonkeyPatch) -> None:
    advanced = jobs.advanced

    def boastful(job: Any, *, affected: int, **rest: Any) -> Any:
        return advanced(job, affected=affected + 1, **rest)

    patch.setattr(jobs, "advanced", boastful)


def deleted_job_goes_on(patch: pytest.MonkeyPatch) -> None:
    delete = jobs.delete

    def half(work: Work, fact: Any, now_ms: int) -> Any:
        job = work.live.jobs.get(fact.job_id)
        row = delete(work, fact, now_ms)
        if job is not None:
            work.live.jobs[fact.job_id] = job
        return row

    patch.setitem(node_facts.DECISIONS, JobDeleted, half)


def having(options: dict[str, Any], *rules: str) -> dict[str, Any]:
    """Worlds like these whose functions have these rules alone; see `options.RULES`."""
    return {**options, "rules": rules}


PLANTS: list[tuple[Plant, str, dict[str, Any]]] = [
    (run_slot_given_back_after_a_request, "are in flight", having(CALM, "runs")),
    (shared_bucket_counted_per_function, "are in flight in (('", having(CALM, "steps")),
    (runs_not_counted_anew, "are in flight", having(DEPLOYING, "steps", "runs")),
    (slots_forgotten_at_a_restart, "are in flight", having(CRASHING, "steps")),
    (raised_limit_wakes_nobody, "all of it has room|never ended", having(DEPLOYING, "steps")),
    (release_of_a_run_wakes_nobody, "all of it has room|never ended", having(CALM, "runs")),
    (burst_off_by_one, "before the throttle", having(CALM, "throttle")),
    (throttle_forgotten_at_a_restart, "before the throttle", having(CRASHING, "throttle")),
    (throttle_used_when_it_is_granted, "before the throttle", having(SLOW, "throttle")),
    (throttle_without_an_alarm, "all of it has room|never ended", having(CALM, "throttle")),
    (rate_limit_off_by_one, "passed the rate limit", having(CALM, "rate")),
    (rate_limit_not_read, "passed the rate limit", having(CRASHING, "rate")),
    (rate_limit_without_its_key, "has room", having(CALM, "rate")),
    (idempotency_for_an_hour, "passed the rate limit", having({**CALM, "pace_s": 900.0}, "rate")),
    (idempotency_ignored, "passed the rate limit", having(CALM, "rate")),
    (debounce_keeps_the_first, "and should be", having(CALM, "debounce")),
    (debounce_does_not_begin_again, "and should be", having(CALM, "debounce")),
    (debounce_closes_early, "ms early", having(CALM, "debounce")),
    (debounce_without_its_timeout, "and should be|was opened, and no event", having(CALM, "debounce")),
    (windows_forgotten_at_a_restart, "never closed|and should be|no event", having(CRASHING, "debounce")),
    (batch_loses_its_last_event, "which nobody collected", having(CALM, "batch")),
    (batch_out_of_order, "which nobody collected", having(CALM, "batch")),
    (batch_of_one_too_many, "which nobody collected|and should be", having(CALM, "batch")),
    (batch_made_twice, "which nobody collected|left behind", having(CRASHING, "batch")),
    (repeated_request_is_collected_again, "and should be|no event", having(CRASHING, "debounce")),
    (singleton_held_during_requests_alone, "the singleton", having(CALM, "singleton")),
    (singleton_never_given_back, "for a singleton that nobody holds", having(CALM, "singleton")),
    (singleton_does_not_wait_for_the_cancelled, "has its singleton", having(CALM, "singleton")),
    (priority_ignored, "was overtaken", having({**CALM, "pace_s": 2.0}, "steps", "other")),
    (last_come_first_served, "was overtaken", having(CALM, "steps")),
    (paused_function_goes_on, "is paused", OPERATED),
    (pause_forgotten_at_a_restart, "is paused", {**OPERATED, "crash_rate": 0.004}),
    (resuming_wakes_nobody, "all of it has room|never ended", OPERATED),
    (
        timeouts_never_checked,
        "after its start timeout|after the finish timeout",
        having(CALM, "steps", "other"),
    ),
    (timeouts_a_second_early, "and was due at", having(CALM, "steps", "other")),
    (job_takes_later_runs, "is none of", OPERATED),
    (job_counts_wrong, "do not add up|says more than", OPERATED),
    (deleted_job_goes_on, "became", {**OPERATED, "pace_s": 2.0}),
]


@pytest.mark.parametrize(
    ("plant", "complaint", "options"), PLANTS, ids=lambda value: value.__name__ if callable(value) else ""
)
def test_the_auditor_finds_a_planted_bug_of_flow_control(
    plant: Plant, complaint: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    find(plant, complaint, monkeypatch, options)
