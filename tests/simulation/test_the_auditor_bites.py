"""An auditor that finds nothing proves nothing: each of these plants one bug, and the auditor must name it.

Some were real: the simulator found them in the engine, and they are planted again here.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from inngest_server.engine import events as events_module
from inngest_server.engine import functions as functions_module
from inngest_server.engine import rekeying, sending
from inngest_server.engine import retention as retention_module
from inngest_server.engine import startup as startup_module
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import Pending
from inngest_server.engine.functions import Function
from inngest_server.engine.live import Live
from inngest_server.engine.timers import Timer, Timers
from inngest_server.engine.work import Work
from inngest_server.events.records import EventRow
from inngest_server.execution import driver as driver_module
from inngest_server.flow_control import parking
from inngest_server.flow_control.parking import Buckets, Parking
from inngest_server.runs import answered, decide, finish
from inngest_server.runs import start as start_module
from inngest_server.runs.decision import Decision, TellParent
from inngest_server.runs.records import ItemState, WaitKind, WaitRow
from inngest_server.runs.run import Content, Known, Run
from inngest_server.runs.turn import Turn
from inngest_server.storage.memory import MemoryStorage

from .biting import UNKIND, Plant, find

pytestmark = pytest.mark.simulation

BUSY: dict[str, Any] = {
    "crash_rate": 0.0,
    "disk_error_rate": 0.0,
    "app_error_rate": 0.0,
    "events": 100,
    "pace_s": 0.05,
    "slow_disk": 0.0,
    "disk_delay_s": 0.2,
}


def answer_before_commit(patch: pytest.MonkeyPatch) -> None:
    commit = Engine._commit

    async def hasty(self: Engine, now_ms: int) -> None:
        for pending in self._work.replies:
            if pending.reply is not None and not pending.reply.done():
                pending.reply.set_result(pending.result)
        await commit(self, now_ms)

    patch.setattr(Engine, "_commit", hasty)


def call_before_commit(patch: pytest.MonkeyPatch) -> None:
    commit = Engine._commit

    async def hasty(self: Engine, now_ms: int) -> None:
        assert self.driver is not None
        calls, self._work.calls = self._work.calls, []
        for call in calls:
            self.driver.send(call)
        await commit(self, now_ms)

    patch.setattr(Engine, "_commit", hasty)


def memo_overwritten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "knows", lambda self, step_id: step_id in self.saved)


def wake_up_not_passed_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Parking, "stir", lambda self, bucket: None)


def limit_off_by_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(parking, "is_full", lambda limit, held: limit is not None and held > limit)


def limit_counted_per_shard(patch: pytest.MonkeyPatch) -> None:
    set_of = sending._set_of

    def of_shard(function: Function, run: Run, *given: Any) -> tuple[Buckets, Buckets]:
        steps, starts = set_of(function, run, *given)
        return tuple(f"{bucket}.{run.row.shard}" for bucket in steps), starts

    patch.setattr(sending, "_set_of", of_shard)


def timer_fired_early(patch: pytest.MonkeyPatch) -> None:
    take_due = Timers.take_due

    def eager(self: Timers, now_ms: int, limit: int) -> list[Timer]:
        return take_due(self, now_ms + 3000, limit)

    def on_expired(run: Run, fact: Any, moment: Any) -> Decision:
        wait = run.waits.get(fact.wait_id)
        if wait is None or wait.kind == WaitKind.CANCEL:
            return Decision(run)
        return answered.resume(run, moment, wait.wait_id, b"null", {})

    patch.setattr(Timers, "take_due", eager)
    patch.setattr(decide, "_on_expired", on_expired)


def retried_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answered, "next_try_ms", _next_try_at_once)


def _next_try_at_once(attempt: int, failure: Any, moment: Any) -> int | None:
    return moment.now_ms if failure.retriable and attempt + 1 < moment.max_attempts else None


def tried_too_often(patch: pytest.MonkeyPatch) -> None:
    next_try_ms = answered.next_try_ms
    patch.setattr(
        answered,
        "next_try_ms",
        lambda attempt, failure, moment: next_try_ms(
            attempt, failure, moment._replace(max_attempts=moment.max_attempts + 1)
        ),
    )


def item_leaked_at_run_end(patch: pytest.MonkeyPatch) -> None:
    original = finish._finish

    def leaky(run: Run, decision: Decision, *rest: Any) -> None:
        original(run, decision, *rest)
        decision.gone_items = decision.gone_items[1:]

    patch.setattr(finish, "_finish", leaky)


def message_to_parent_lost(patch: pytest.MonkeyPatch) -> None:
    follow = Work._follow

    def lossy(self: Work, message: Any, run: Run, now_ms: int) -> None:
        if not isinstance(message, TellParent):
            follow(self, message, run, now_ms)

    patch.setattr(Work, "_follow", lossy)


def stored_message_not_taken_up(patch: pytest.MonkeyPatch) -> None:
    """What another entity was told is forgotten by a restart."""
    patch.setattr(startup_module, "MESSAGES_MAX", 0)


def waits_not_loaded(patch: pytest.MonkeyPatch) -> None:
    open_wait = Live.open_wait

    def forgetful(self: Live, wait: WaitRow) -> None:
        run = self.find_run(wait.run_id)
        if run is not None and run.content is None and wait.kind == WaitKind.EVENT:
            self.timers.set(wait.fires_at_ms, "wait", wait.run_id, wait.wait_id)
        else:
            open_wait(self, wait)

    patch.setattr(Live, "open_wait", forgetful)


def duplicates_start_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(events_module, "_first_of_id", lambda engine, event, fact, now_ms: None)


def sent_items_forgotten(patch: pytest.MonkeyPatch) -> None:
    """After a crash nobody sends again what was under way."""
    patch.setattr(decide, "on_lost", lambda run, item, moment, losses_max: Decision(run))


def call_for_a_run_that_ended(patch: pytest.MonkeyPatch) -> None:
    carry = driver_module.HTTPDriver._carry

    async def careless(self: Any, call: Any) -> None:
        call.run.items.setdefault(call.item.item_id, call.item)
        await carry(self, call)

    patch.setattr(driver_module.HTTPDriver, "_carry", careless)


def request_ahead_of_the_disk(patch: pytest.MonkeyPatch) -> None:
    """A request is composed of what is in memory, while the commit of it may still fail."""
    compose = driver_module.compose

    def eager(content: Content, item: Any, known: Known, **rest: Any) -> Any:
        return compose(content, item, content.known, **rest)

    patch.setattr(driver_module, "compose", eager)


def loaded_facts_come_last(patch: pytest.MonkeyPatch) -> None:
    """What came for a run while it was loaded overtakes what it was loaded for."""
    load_once = Engine.load_once

    async def unfair(self: Engine) -> bool:
        wanted = [pending for queue in self._loader._waiting.values() for pending in queue]
        worked = await load_once(self)
        loaded = [pending for pending in self._inbox if pending in wanted]
        for pending in loaded:
            self._inbox.remove(pending)
        self._inbox.extend(loaded)
        return worked

    patch.setattr(Engine, "load_once", unfair)


def targeted_step_vanishes(patch: pytest.MonkeyPatch) -> None:
    """An app that answers a targeted request with nothing loses the step."""
    on_failed = answered._on_failed

    def indifferent(run: Run, decision: Decision, moment: Any, item: Any, failure: Any) -> None:
        if failure.code == "no_progress" and item.kind == "step":
            decision.gone_items.append(item.item_id)
            if answered._has_reason_to_wake(run, decision):
                return
            decision.gone_items.remove(item.item_id)
        on_failed(run, decision, moment, item, failure)

    patch.setattr(answered, "_on_failed", indifferent)
    patch.setattr(Turn, "is_forsaken", lambda self, op: False)  # It would plan the step again.


def duplicate_wakes(patch: pytest.MonkeyPatch) -> None:
    accept = events_module.accept

    def twice(work: Work, event: Any, fact: Any, now_ms: int) -> None:
        if events_module._first_of_id(work, event, fact, now_ms) is not None:
            events_module.deliver(work, event, now_ms)
        accept(work, event, fact, now_ms)

    patch.setattr(events_module, "accept", twice)


def answers_of_a_failed_batch_are_kept(patch: pytest.MonkeyPatch) -> None:
    """Memory is used on after a commit whose outcome is not known."""

    def careless(self: Engine, result: Any, replies: Iterable[Pending]) -> None:
        for pending in replies:
            if pending.reply is not None and not pending.reply.done():
                pending.reply.set_result(pending.result)

    patch.setattr(Engine, "_commit_failed", careless)


def two_owners_of_a_shard(patch: pytest.MonkeyPatch) -> None:
    """The storage takes what a replaced owner writes."""
    apply = MemoryStorage.apply

    def lax(self: MemoryStorage, batch: Any) -> Any:
        epochs, batch.epochs = batch.epochs, {shard: self._epochs[shard] for shard in batch.epochs}
        result = apply(self, batch)
        batch.epochs = epochs
        return result

    patch.setattr(MemoryStorage, "apply", lax)


def timer_leaked_at_run_end(patch: pytest.MonkeyPatch) -> None:
    original = finish._finish

    def leaky(run: Run, decision: Decision, *rest: Any) -> None:
        original(run, decision, *rest)
        decision.gone_waits = decision.gone_waits[1:]

    patch.setattr(finish, "_finish", leaky)


def id_remembered_a_millisecond_too_long(patch: pytest.MonkeyPatch) -> None:
    first_of_id = events_module._first_of_id

    def slow(work: Work, event: Any, fact: Any, now_ms: int) -> Any:
        return first_of_id(work, event, fact, now_ms - 1)

    patch.setattr(events_module, "_first_of_id", slow)


def event_pruned_under_its_run(patch: pytest.MonkeyPatch) -> None:
    prune = MemoryStorage.prune

    async def greedy(self: MemoryStorage, before_ms: int, limit: int) -> int:
        pruned = await prune(self, before_ms, limit)
        rows: dict[Any, Any] = self._rows[EventRow]
        for key in [key for key, row in rows.items() if row.received_at_ms < before_ms]:
            del rows[key]
        return pruned

    patch.setattr(MemoryStorage, "prune", greedy)


def runs_kept_for_an_hour(patch: pytest.MonkeyPatch) -> None:
    """Although a repeated event id asks for them for a day."""
    patch.setattr(retention_module, "MARK_HOURS_MS", 0)


def error_of_a_replaced_call_counts(patch: pytest.MonkeyPatch) -> None:
    on_answered = decide.on_answered

    def gullible(run: Run, fact: Any, moment: Any) -> Decision:
        item = run.items.get(fact.item_id)
        if item is not None and item.state == ItemState.SENT:
            fact = fact._replace(generation=item.generation)
        return on_answered(run, fact, moment)

    patch.setattr(decide, "on_answered", gullible)


def deployment_drops_who_waits(patch: pytest.MonkeyPatch) -> None:
    """Who waits for slots of a limit that changed leaves the queue, and is not asked again."""

    configured = rekeying.configured

    def drop(work: Work, before: Any, function: Function, now_ms: int) -> None:
        configured(work, before, function, now_ms)
        for item_id in work.live.slots.waiting_of(function.id):
            work.live.slots.release(item_id)

    patch.setattr(rekeying, "configured", drop)


def clock_set_back_fires_early(patch: pytest.MonkeyPatch) -> None:
    """Timers go by the time that has passed, and not by domain time, which stood still."""
    fire_timers = Engine._fire_timers
    began: dict[Engine, tuple[int, float]] = {}

    def fire(self: Engine, now_ms: int) -> None:
        since_ms, since_s = began.setdefault(self, (now_ms, self._clock.monotonic_s()))
        elapsed_ms = since_ms + int(1000 * (self._clock.monotonic_s() - since_s))
        fire_timers(self, max(now_ms, elapsed_ms))

    def on_expired(run: Run, fact: Any, moment: Any) -> Decision:
        wait = run.waits.get(fact.wait_id)
        if wait is None or wait.kind == WaitKind.CANCEL:
            return Decision(run)
        return answered.resume(run, moment, wait.wait_id, b"null", {"timeout": True})

    patch.setattr(Engine, "_fire_timers", fire)
    patch.setattr(decide, "_on_expired", on_expired)


def domain_time_follows_the_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "now_ms", lambda self: self._clock.now_ms())


def called_where_it_was_first(patch: pytest.MonkeyPatch) -> None:
    """An app that moved is called at its old URL."""
    make_function = functions_module.make_function
    urls: dict[str, str] = {}

    def stubborn(row: Any, *given: Any) -> Any:
        function = make_function(row, *given)
        return replace(function, discovery_url=urls.setdefault(function.id, function.discovery_url))

    patch.setattr(functions_module, "make_function", stubborn)


def cancel_on_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(start_module, "_cancel_waits", lambda *given: ())


def replaced_wait_keeps_its_signal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Work, "_silence", lambda self, wait_id: None)


def retry_after_ignored(patch: pytest.MonkeyPatch) -> None:
    next_try_ms = answered.next_try_ms
    patch.setattr(
        answered,
        "next_try_ms",
        lambda attempt, failure, moment: next_try_ms(attempt, failure._replace(retry_after_ms=None), moment),
    )


def damaged_run_stops_the_server(patch: pytest.MonkeyPatch) -> None:
    """What a message refers to is expected to be there, and is gone when its run was held for long."""

    events_of = startup_module._events_of

    async def trusting(storage: Any, messages: list[Any]) -> dict[str, EventRow]:
        found = await events_of(storage, messages)
        return found | {
            one.internal_id: found[one.internal_id] for one in messages if hasattr(one, "internal_id")
        }

    patch.setattr(startup_module, "_events_of", trusting)


NEED: dict[Plant, dict[str, Any]] = {
    loaded_facts_come_last: BUSY,
    limit_counted_per_shard: BUSY,
    two_owners_of_a_shard: {"pause_share": 0.7, "sqlite": False},
    id_remembered_a_millisecond_too_long: {
        "crash_rate": 0.0,
        "disk_error_rate": 0.0,
        "app_error_rate": 0.0,
        "edges": True,
        "disk_delay_s": 0.0005,
        "slow_disk": 0.0,
        "pace_s": 60.0,
        "clock_jumps": False,
    },
    event_pruned_under_its_run: {"pace_s": 14_400.0, "crash_rate": 0.0003, "sqlite": False},
    clock_set_back_fires_early: {"clock_jumps": True, "pace_s": 60.0},
    domain_time_follows_the_clock: {"clock_jumps": True, "pace_s": 60.0},
    called_where_it_was_first: {"deploys_code": True},
    error_of_a_replaced_call_counts: {"pace_s": 60.0, "app_error_rate": 0.02, "crash_rate": 0.004},
    deployment_drops_who_waits: {"crash_rate": 0.0, "disk_error_rate": 0.0, "deploy_rate": 0.5},
    damaged_run_stops_the_server: {"damage": True, "pace_s": 900.0},
}
"""What a world must be like beside unkind, so that the bug shows within a few seeds."""


@pytest.mark.parametrize(
    ("plant", "complaint"),
    [
        (answer_before_commit, "answered with 200 and is not on disk"),
        (call_before_commit, "was sent before the disk knew of it"),
        (memo_overwritten, "has a second memo"),
        (wake_up_not_passed_on, "never ended|all of it has room"),
        (limit_off_by_one, "are in flight"),
        (limit_counted_per_shard, "are in flight"),
        (timer_fired_early, "ms early"),
        (retried_at_once, "is tried again"),
        (tried_too_often, "has attempt"),
        (item_leaked_at_run_end, "behind"),
        (message_to_parent_lost, "timed out although"),
        (stored_message_not_taken_up, "missed event|timed out although|left behind in storage"),
        (waits_not_loaded, "missed event"),
        (duplicates_start_again, "has the runs|was changed"),
        (sent_items_forgotten, "never ended"),
        (call_for_a_run_that_ended, "was sent after the end of the run|was sent before the disk"),
        (request_ahead_of_the_disk, "has the stack"),
        (loaded_facts_come_last, "missed event"),
        (targeted_step_vanishes, "no call of it failed|never ended"),
        (duplicate_wakes, "a duplicate|has the runs"),
        (answers_of_a_failed_batch_are_kept, "is not on disk|before the disk knew"),
        (two_owners_of_a_shard, "by an owner that was replaced"),
        (timer_leaked_at_run_end, "behind"),
        (id_remembered_a_millisecond_too_long, "has the runs|has no run of"),
        (event_pruned_under_its_run, "a run that is kept refers to it"),
        (runs_kept_for_an_hour, "ms are kept"),
        (error_of_a_replaced_call_counts, "raised by the replaced calls|no call of it failed"),
        (deployment_drops_who_waits, "never ended|all of it has room"),
        (clock_set_back_fires_early, "ms early"),
        (domain_time_follows_the_clock, "domain time went back"),
        (called_where_it_was_first, "its function is at"),
        (cancel_on_forgotten, "has no cancelOn"),
        (replaced_wait_keeps_its_signal, "would all get the signal"),
        (retry_after_ignored, "before its Retry-After"),
        (damaged_run_stops_the_server, "no server starts|the node ended"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_auditor_finds_a_planted_bug(
    plant: Plant, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(plant, complaint, monkeypatch, {**UNKIND, **NEED.get(plant, {})})
