"""Pausing and resuming a function: what holds, what is skipped, what is cancelled, and what survives."""

from typing import Any

import pytest

from inngest_server.engine import engine, pauses
from inngest_server.engine.facts import FunctionPaused, FunctionResumed, JobAsked, RunAgain
from inngest_server.engine.options import EngineOptions
from inngest_server.engine.pauses import Resumed
from inngest_server.events.records import EventRow
from inngest_server.flow_control.records import PauseRow
from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.records import JobKind, JobRow
from inngest_server.runs.facts import Answered, Returned
from inngest_server.wire import json
from tests.builders import DAY_MS, HOUR_MS
from tests.unit.engine.aftermath import (
    CANCELLED_EVENTS,
    events_about,
    left_behind,
    reason_of,
    reload,
    run_of_event,
    status_of,
)
from tests.unit.engine.builders import Office, make_function
from tests.unit.engine.job_yard import PLACED, Yard
from tests.unit.runs.builders import make_failure, make_op, make_reported, ran

SLUG = "shop-f"


async def ask(office: Office, fact: FunctionPaused | FunctionResumed) -> Any:
    reply = office.engine.ask(fact)
    await office.settle()
    return await reply


async def pause(office: Office, *, cancels: bool = False) -> PauseRow:
    row = await ask(office, FunctionPaused(SLUG, cancels))
    assert isinstance(row, PauseRow)
    return row


async def resume(office: Office) -> Resumed:
    resumed = await ask(office, FunctionResumed(SLUG))
    assert isinstance(resumed, Resumed)
    return resumed


async def open_office(**options: Any) -> Yard:
    office = Yard()
    await office.open(make_function("f", PLACED, **options))
    return office


async def test_the_request_under_way_is_recorded_and_no_further_one_is_sent_until_the_function_goes_on() -> (
    None
):
    office = await open_office()
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office)

    await office.report(call, ran("a", 1))
    assert office.desk.calls == []
    assert json.parse(office.run_of(call).loaded.memos["a"]) == {"data": 1}

    assert await resume(office) == Resumed(was_paused=True, is_cancelling=False)
    (next_call,) = office.desk.calls
    assert next_call.item.run_id == call.item.run_id
    await office.complete(next_call)
    assert await status_of(office, call.item.run_id) == "Completed"


async def test_a_run_may_end_with_the_answer_that_was_under_way() -> None:
    office = await open_office()
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office)
    await office.complete(call)
    assert await status_of(office, call.item.run_id) == "Completed"


async def test_sleeps_and_waits_end_while_the_function_is_paused_and_their_requests_wait() -> None:
    office = await open_office()
    await office.send(PLACED)
    await office.send(PLACED)
    sleeper, waiter = office.desk.calls
    await office.report(sleeper, make_op("Sleep", "s", name="1h"))
    await office.report(waiter, make_op("WaitForEvent", "w", opts={"event": "paid", "timeout": "1h"}))
    await pause(office)

    await office.send("paid", {"n": 1})
    await office.advance(2 * HOUR_MS)

    assert office.desk.calls == []
    assert office.run_of(sleeper).loaded.memos["s"] == b"null"
    assert json.parse(office.run_of(waiter).loaded.memos["w"])["data"] == {"n": 1}
    await resume(office)
    assert {call.item.run_id for call in office.desk.calls} == {sleeper.item.run_id, waiter.item.run_id}


async def test_a_retry_waits_for_the_function_to_go_on() -> None:
    office = await open_office()
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office)
    await office.answer(call, make_failure())
    await office.advance(HOUR_MS)
    assert office.desk.calls == []
    await resume(office)
    assert [one.item.attempt for one in office.desk.calls] == [1]


async def test_runs_that_wait_for_a_slot_start_when_the_function_goes_on_within_its_limit() -> None:
    office = await open_office(concurrency=2)
    for _ in range(5):
        await office.send(PLACED)
    first, second = office.desk.calls
    await pause(office)
    await office.complete(first)
    await office.complete(second)
    assert office.desk.calls == []
    await resume(office)
    assert len(office.desk.calls) == 2


async def test_a_paused_function_leaves_shared_slots_to_others() -> None:
    shared = {"concurrency": {"limit": 1, "key": "'k'", "scope": "env"}}
    office = Office()
    await office.open(make_function("f", PLACED, **shared), make_function("g", "other", **shared))
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office)
    await office.send("other")
    await office.report(call, ran("a"))
    assert [one.item.run_id for one in office.desk.calls] == [office.call_of("shop-g").item.run_id]


async def test_what_comes_while_it_is_paused_is_skipped_and_stays_so() -> None:
    office = await open_office()
    await pause(office)
    row = await run_of_event(office, await office.send(PLACED))
    assert (row.status, row.started_at_ms) == ("Skipped", None)
    assert events_about(office, row.run_id) == []
    await resume(office)
    assert office.desk.calls == []
    await office.send(PLACED)
    assert len(office.desk.calls) == 1


async def test_the_runs_that_were_held_for_seven_days_are_cancelled_and_the_function_stays_paused() -> None:
    office = await open_office()
    await office.send(PLACED)
    (call,) = office.desk.calls
    run_id = call.item.run_id
    row = await pause(office)
    assert row.cancel_at_ms == office.clock.ms + 7 * DAY_MS
    await office.report(call, make_op("Sleep", "s", name="30d"))

    await office.advance(7 * DAY_MS - 1)
    await office.work_off()
    assert await status_of(office, run_id) == "Running"
    await office.advance(1)
    await office.work_off()

    assert await status_of(office, run_id) == "Cancelled"
    assert await reason_of(office, run_id) == "function paused"
    assert events_about(office, run_id) == CANCELLED_EVENTS
    assert left_behind(office, run_id) == []
    (stored,) = office.storage._all(PauseRow)
    assert stored.cancel_at_ms is None


async def test_runs_are_not_cancelled_when_the_function_goes_on_before() -> None:
    office = await open_office()
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office)
    await office.report(call, make_op("Sleep", "s", name="30d"))
    await office.advance(6 * DAY_MS)
    await resume(office)
    await office.advance(10 * DAY_MS)
    await office.work_off()
    assert await status_of(office, call.item.run_id) == "Running"
    assert office.storage._all(PauseRow) == []


async def test_a_second_pause_does_not_begin_the_seven_days_anew() -> None:
    office = await open_office()
    first = await pause(office)
    await office.advance(DAY_MS)
    assert await pause(office) == first


async def test_all_that_is_there_can_be_cancelled_at_once() -> None:
    office = await open_office(concurrency=1)
    run_ids = [(await run_of_event(office, await office.send(PLACED))).run_id for _ in range(3)]
    (call,) = office.desk.calls
    await pause(office, cancels=True)
    await office.work_off()

    assert {await status_of(office, run_id) for run_id in run_ids} == {"Cancelled"}
    await office.complete(call)
    assert await status_of(office, call.item.run_id) == "Cancelled"  # Its answer came too late.
    assert all(events_about(office, run_id) == CANCELLED_EVENTS for run_id in run_ids)
    await resume(office)
    assert office.desk.calls == []


async def test_a_crash_before_the_first_slice_cancels_all_the_same() -> None:
    office = await open_office()
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office, cancels=True)
    await office.restart()
    await office.work_off()
    assert await status_of(office, call.item.run_id) == "Cancelled"
    assert (await resume(office)).is_cancelling is False


async def test_runs_that_are_made_after_the_function_goes_on_are_not_cancelled_with_those_before() -> None:
    office = await open_office()
    await pause(office, cancels=True)
    await office.work_off()
    await resume(office)
    row = await run_of_event(office, await office.send(PLACED))
    await office.work_off()
    assert await status_of(office, row.run_id) == "Running"


async def test_what_was_held_may_be_cancelled_later() -> None:
    office = await open_office()
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office)
    await office.report(call, make_op("Sleep", "s", name="1h"))
    row = await pause(office, cancels=True)
    await office.work_off()
    assert row.cancel_at_ms is None
    assert await status_of(office, call.item.run_id) == "Cancelled"


async def test_a_function_does_not_go_on_while_its_runs_are_still_being_cancelled() -> None:
    office = await open_office()
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office, cancels=True)
    assert await resume(office) == Resumed(was_paused=True, is_cancelling=True)
    await office.report(call, ran("a"))
    assert office.desk.calls == []
    await office.work_off()
    assert await resume(office) == Resumed(was_paused=True, is_cancelling=False)
    assert office.desk.calls == []
    assert await status_of(office, call.item.run_id) == "Cancelled"


async def test_a_job_of_somebody_does_not_hold_up_a_resume_whatever_its_name_is() -> None:
    office = await open_office()
    await office.send(PLACED)
    await pause(office)
    job_id = office.engine.next_id()
    reply = office.engine.ask(JobAsked(job_id, JobKind.CANCEL, SLUG, pauses.REASON, RunFilter()))
    await office.settle()
    assert isinstance(await reply, JobRow)

    assert await resume(office) == Resumed(was_paused=True, is_cancelling=False)


async def test_a_pause_survives_syncs_and_restarts() -> None:
    office = await open_office()
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office)
    await office.report(call, ran("a"))

    await office.sync(make_function("f", PLACED, retries=1))
    await reload(office)
    assert office.desk.calls == []
    row = await run_of_event(office, await office.send(PLACED))
    assert row.status == "Skipped"

    await resume(office)
    assert [one.item.run_id for one in office.desk.calls] == [call.item.run_id]
    await reload(office)
    assert await resume(office) == Resumed(was_paused=False, is_cancelling=False)


async def test_a_pause_survives_that_its_function_was_away() -> None:
    office = await open_office()
    await pause(office)
    await office.sync(make_function("other", "x"))
    await office.sync(make_function("f", PLACED))
    assert (await run_of_event(office, await office.send(PLACED))).status == "Skipped"


async def test_the_seven_days_go_on_over_a_restart() -> None:
    office = await open_office()
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office)
    await office.report(call, make_op("Sleep", "s", name="30d"))
    await reload(office)
    await office.advance(7 * DAY_MS)
    await office.work_off()
    assert await status_of(office, call.item.run_id) == "Cancelled"


async def test_many_held_runs_go_on_in_the_order_in_which_they_were_made() -> None:
    office = await open_office()
    for _ in range(250):
        await office.send(PLACED)
    calls = list(office.desk.calls)
    await pause(office)
    for call in calls:
        await office.report(call, ran("a"))
    assert office.desk.calls == []
    await resume(office)
    assert [call.item.run_id for call in office.desk.calls] == [call.item.run_id for call in calls]


async def test_a_crash_while_held_runs_are_woken_loses_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    office = await open_office()
    for _ in range(250):
        await office.send(PLACED)
    calls = list(office.desk.calls)
    await pause(office)
    for call in calls:
        await office.report(call, ran("a"))

    monkeypatch.setattr(engine, "FACTS_PER_BATCH", 2)
    asked = office.engine.ask(FunctionResumed(SLUG))
    await office.engine.run_once()
    assert (await asked).was_paused
    assert 0 < len(office.desk.calls) < len(calls)  # The rest comes in later batches.
    await office.restart()

    assert {call.item.run_id for call in office.desk.calls} == {call.item.run_id for call in calls}


async def test_a_run_whose_slot_was_granted_just_before_the_pause_is_not_sent() -> None:
    office = Yard(EngineOptions(idle_contents_max=0))
    await office.open(make_function("f", PLACED, concurrency=1))
    await office.send(PLACED)
    second = await run_of_event(office, await office.send(PLACED))
    (call,) = office.desk.calls
    await office.report(call, make_op("Sleep", "s", name="1h"))
    (call,) = office.desk.calls
    assert call.item.run_id == second.run_id
    third = await run_of_event(office, await office.send(PLACED))
    assert office.run_of(call).id == second.run_id

    office.desk.calls.remove(call)
    item = call.item
    office.engine.tell(Answered(item.run_id, item.item_id, item.generation, Returned(b"1")))
    await office.engine.run_once()  # The third run has the slot now, and its content has to be read.
    asked = office.engine.ask(FunctionPaused(SLUG, False))
    await office.engine.run_once()
    await asked
    await office.settle()

    assert office.desk.calls == []
    await resume(office)
    assert [one.item.run_id for one in office.desk.calls] == [third.run_id]


async def test_a_schedule_leaves_skipped_runs_while_the_function_is_paused() -> None:
    office = Yard()
    await office.open(make_function("f") | {"triggers": [{"cron": "0 * * * *"}]})
    await pause(office)
    await office.advance(HOUR_MS)
    assert await office.statuses() == ["Skipped"]
    await resume(office)
    await office.advance(HOUR_MS)
    assert await office.statuses() == ["Running", "Skipped"]


async def test_a_window_that_closes_while_the_function_is_paused_leaves_a_skipped_run() -> None:
    office = await open_office(debounce={"period": "10s"})
    await office.send(PLACED)
    await pause(office)
    await office.advance(HOUR_MS)
    assert await office.statuses() == ["Skipped"]


async def test_a_paused_function_cancels_no_run_for_the_sake_of_a_new_one() -> None:
    office = await open_office(singleton={"mode": "cancel"})
    await office.send(PLACED)
    (call,) = office.desk.calls
    await pause(office)
    assert (await run_of_event(office, await office.send(PLACED))).status == "Skipped"
    await office.complete(call)
    assert await status_of(office, call.item.run_id) == "Completed"


async def test_a_run_that_is_made_again_is_skipped_too() -> None:
    office = await open_office()
    row = await run_of_event(office, await office.send(PLACED))
    await office.complete(office.desk.calls[0])
    await pause(office)
    (event,) = await office.storage.get(EventRow, [row.event_id])
    again = RunAgain(row.function_id, (event,), False, None, row.run_id, origin=office.engine.next_id())
    office.engine.tell(again)
    await office.settle()
    assert await office.statuses() == ["Completed", "Skipped"]


@pytest.mark.parametrize("fact", [FunctionPaused("nobody", False), FunctionResumed("nobody")])
async def test_what_is_not_there_cannot_be_paused(fact: FunctionPaused | FunctionResumed) -> None:
    office = await open_office()
    assert await ask(office, fact) is None


async def test_a_parent_is_told_at_once_that_the_function_it_invokes_is_paused() -> None:
    office = Office()
    await office.open(make_function("parent", "go"), make_function("f"))
    await pause(office)
    await office.send("go")
    parent = office.call_of("shop-parent")
    opts = {"function_id": SLUG, "payload": {"data": {}}}
    await office.report(parent, make_op("InvokeFunction", "c", opts=opts))
    error = json.parse(office.run_of(parent).loaded.memos["c"])["error"]
    assert "skipped" in error["message"]
    assert "paused" in error["message"]


def test_seven_days_are_seven_days() -> None:
    assert pauses.HELD_MAX_MS == 7 * DAY_MS


async def test_a_request_that_needs_no_answer_any_more_leaves_the_queue_of_the_paused_function() -> None:
    office = await open_office()
    await office.send(PLACED)
    await office.report(office.desk.calls[0], make_op("StepPlanned", "a"), make_op("StepPlanned", "b"))
    [a] = [call for call in office.desk.calls if call.item.step_id == "a"]
    await pause(office)
    await office.answer(a, make_failure())
    await office.advance(HOUR_MS)
    assert office.run_of(a).items[a.item.item_id].state == "parked"

    # The app answers what it had answered with a failure before.
    late = Answered(a.item.run_id, a.item.item_id, a.item.generation, make_reported(ran("a", 1)))
    office.engine.tell(late)
    await office.settle()
    await resume(office)
    for call in list(office.desk.calls):
        await office.complete(call)
    assert await office.statuses() == ["Completed"]
    assert office.engine.live.slots.is_empty()
