"""An auditor that finds nothing proves nothing: each of these plants one bug, and the auditor must name it.

Some were real: the simulator found them in the engine, and they are planted again here.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from inngest_server.engine import events as events_module
from inngest_server.engine import startup as startup_module
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import Pending
from inngest_server.engine.live import Live
from inngest_server.engine.timers import Timer, Timers
from inngest_server.engine.work import Work
from inngest_server.execution import driver as driver_module
from inngest_server.flow_control.concurrency import SlotTable
from inngest_server.runs import answered, decide, finish
from inngest_server.runs.decision import Decision, TellParent
from inngest_server.runs.records import WaitKind, WaitRow
from inngest_server.runs.run import Content, Known, Run
from inngest_server.runs.turn import Turn

from .auditor import AuditError
from .world import World

SEEDS_MAX = 120

pytestmark = pytest.mark.simulation

UNKIND: dict[str, Any] = {"crash_rate": 0.002, "disk_error_rate": 0.05, "app_error_rate": 0.1, "events": 30}
BUSY: dict[str, Any] = {
    "crash_rate": 0.0,
    "disk_error_rate": 0.0,
    "app_error_rate": 0.0,
    "events": 100,
    "pace_s": 0.05,
    "slow_disk": 0.0,
    "disk_delay_s": 0.2,
}

Plant = Callable[[pytest.MonkeyPatch], None]


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
    release = SlotTable.release

    def forgetful(self: SlotTable, item_id: str) -> tuple[str, ...]:
        release(self, item_id)
        return ()

    patch.setattr(SlotTable, "release", forgetful)


def limit_off_by_one(patch: pytest.MonkeyPatch) -> None:
    def is_full(self: SlotTable, bucket: str) -> bool:
        limit = self._limit_of(bucket)
        return limit is not None and self.holders(bucket) > limit

    patch.setattr(SlotTable, "_is_full", is_full)


def limit_counted_per_shard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Work, "home", lambda self, run: self.live.shards[run.row.shard])


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


NEED_A_BUSY_WORLD = (loaded_facts_come_last, limit_counted_per_shard)


@pytest.mark.parametrize(
    ("plant", "complaint"),
    [
        (answer_before_commit, "answered with 200 and is not on disk"),
        (call_before_commit, "was sent before the disk knew of it"),
        (memo_overwritten, "has a second memo"),
        (wake_up_not_passed_on, "never ended"),
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
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_auditor_finds_a_planted_bug(
    plant: Plant, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    said: list[str] = []
    for seed in range(SEEDS_MAX):
        try:
            # Unkind worlds show most bugs within a few seeds.
            World(seed, **{**UNKIND, **(BUSY if plant in NEED_A_BUSY_WORLD else {})}).run()
        except AuditError as error:
            said.append(str(error))
            if any(one in said[-1] for one in complaint.split("|")):
                return
    pytest.fail(f"nobody said {complaint!r}, but: {said[:3]}")
