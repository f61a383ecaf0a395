"""Start and finish timeouts: who is cancelled, when and with which reason, and who goes on instead."""

import pytest

from inngest_server.engine import timeouts
from inngest_server.engine.options import EngineOptions
from inngest_server.flow_control.timeouts import Deadline, Timeout, deadline
from inngest_server.runs.decide import started
from inngest_server.runs.facts import TimedOut
from inngest_server.wire import json
from tests.builders import DAY_MS, HOUR_MS, SECOND_MS
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
from tests.unit.runs.builders import Life, make_op, ran

PLACED = "shop/order.placed"
MINUTE_MS = 60 * SECOND_MS


# The rule.


@pytest.mark.parametrize(
    ("start_by_ms", "started_at_ms", "finish_ms", "expected"),
    [
        (None, None, None, None),
        (5, None, None, Deadline(Timeout.START, 5)),
        (5, None, 7, Deadline(Timeout.START, 5)),
        (None, None, 7, None),
        (5, 3, None, None),
        (5, 3, 7, Deadline(Timeout.FINISH, 10)),
    ],
)
def test_at_any_moment_at_most_one_timeout_counts(
    start_by_ms: int | None, started_at_ms: int | None, finish_ms: int | None, expected: Deadline | None
) -> None:
    found = deadline(start_by_ms=start_by_ms, started_at_ms=started_at_ms, finish_ms=finish_ms)
    assert found == expected


def test_a_deadline_passes_at_its_moment_and_not_before() -> None:
    due = Deadline(Timeout.START, 5)
    assert [due.has_passed(now_ms) for now_ms in (4, 5, 6)] == [False, True, True]


def test_a_start_timeout_that_is_decided_after_the_first_request_left_does_nothing() -> None:
    life = Life()
    life.run.row = started(life.run.row, life.now_ms)
    decision = life.take(TimedOut(life.run.id, Timeout.START, life.now_ms))
    assert not decision.ended
    assert decision.journal == []


# Start.


async def open_queue(office: Office, **timeouts: str) -> list[str]:
    """A function with room for one of three runs; their ids, the one that runs first."""
    await office.open(make_function("f", PLACED, concurrency=1, timeouts=timeouts))
    run_ids: list[str] = []
    for _ in range(3):
        row = await run_of_event(office, await office.send(PLACED))
        run_ids.append(row.run_id)
    return run_ids


async def test_a_run_that_waits_too_long_for_its_start_is_cancelled_once() -> None:
    office = Office()
    first, second, third = await open_queue(office, start="10m")

    await office.advance(10 * MINUTE_MS - 1)
    assert await status_of(office, second) == "Scheduled"
    await office.advance(1)

    for run_id in (second, third):
        row = await office.row(run_id)
        assert (row.status, row.started_at_ms, row.ended_at_ms) == ("Cancelled", None, office.clock.ms)
        assert await reason_of(office, run_id) == "timeout: start 10m"
        assert events_about(office, run_id) == CANCELLED_EVENTS
    assert await status_of(office, first) == "Running"  # What has started is under no start timeout.


async def test_a_start_timeout_that_ends_a_waiter_leaves_the_slot_to_the_next_one() -> None:
    office = Office()
    first, second, third = await open_queue(office, start="10m")
    await office.advance(5 * MINUTE_MS)
    late = await run_of_event(office, await office.send(PLACED))
    await office.advance(5 * MINUTE_MS)

    await office.complete(office.desk.calls[0])

    assert [call.item.run_id for call in office.desk.calls] == [late.run_id]
    assert {await status_of(office, run_id) for run_id in (second, third)} == {"Cancelled"}
    assert await status_of(office, first) == "Completed"


async def test_a_run_that_is_due_to_end_is_not_sent_though_its_slot_comes_free_at_that_moment() -> None:
    office = Office()
    _, second, _ = await open_queue(office, start="10m")

    office.clock.ms += 10 * MINUTE_MS
    await office.complete(office.desk.calls[0])

    assert office.desk.calls == []
    assert await reason_of(office, second) == "timeout: start 10m"


async def test_a_delayed_run_has_its_whole_start_timeout_from_its_own_moment_on() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1, timeouts={"start": "10m"}))
    await office.send(PLACED)
    delayed = await run_of_event(office, await office.send(PLACED, ts=office.clock.ms + HOUR_MS))

    await office.advance(HOUR_MS + 10 * MINUTE_MS - 1)
    assert await status_of(office, delayed.run_id) == "Scheduled"
    await office.advance(1)
    assert await reason_of(office, delayed.run_id) == "timeout: start 10m"


async def test_a_batch_has_its_start_timeout_from_when_it_was_made_whatever_the_times_of_its_events() -> None:
    office = Office()
    options = {"batchEvents": {"maxSize": 2, "timeout": "5s"}, "timeouts": {"start": "10s"}}
    await office.open(make_function("f", PLACED, concurrency=1, **options))
    for _ in range(4):
        await office.send(PLACED, ts=office.clock.ms + HOUR_MS)
    runs = [run for shard in office.engine.live.shards.values() for run in shard.runs.values()]
    [waiting] = [run for run in runs if run.row.started_at_ms is None]
    await office.advance(10 * SECOND_MS)
    assert await reason_of(office, waiting.id) == "timeout: start 10s"


async def test_the_start_timeout_is_that_of_the_moment_at_which_the_run_was_made() -> None:
    office = Office()
    _, second, _ = await open_queue(office, start="10m")
    await office.sync(make_function("f", PLACED, concurrency=1))

    await office.advance(10 * MINUTE_MS)

    assert await reason_of(office, second) == "timeout: start 10m"
    new = await run_of_event(office, await office.send(PLACED))
    await office.complete(office.desk.calls[0])
    await office.advance(DAY_MS)
    assert await status_of(office, new.run_id) == "Running"


async def test_a_start_timeout_survives_a_restart() -> None:
    office = Office()
    first, second, _ = await open_queue(office, start="10m")
    await reload(office)
    await office.advance(10 * MINUTE_MS)
    assert await reason_of(office, second) == "timeout: start 10m"
    assert await status_of(office, first) == "Running"
    assert left_behind(office, second) == []


async def test_a_start_timeout_that_passed_while_the_server_was_down_sends_nothing() -> None:
    office = Office()
    first, second, _ = await open_queue(office, start="10m")
    office.clock.ms += HOUR_MS
    await reload(office)
    assert [call.item.run_id for call in office.desk.calls] == [first]
    assert await status_of(office, second) == "Cancelled"


# Finish.


async def test_a_run_that_takes_too_long_is_cancelled_and_its_answer_dropped() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, timeouts={"finish": "30s"}))
    await office.send(PLACED)
    (call,) = office.desk.calls

    await office.advance(30 * SECOND_MS - 1)
    assert await status_of(office, call.item.run_id) == "Running"
    await office.advance(1)
    await office.complete(call)

    row = await office.row(call.item.run_id)
    assert (row.status, row.output) == ("Cancelled", None)
    assert await reason_of(office, row.run_id) == "timeout: finish 30s"
    assert events_about(office, row.run_id) == CANCELLED_EVENTS
    assert office.engine.late_answers == 1
    assert left_behind(office, row.run_id) == []


async def test_runs_whose_content_was_dropped_from_memory_are_cancelled_in_time() -> None:
    office = Office(EngineOptions(idle_contents_max=0))
    await office.open(make_function("f", PLACED, concurrency=1, timeouts={"start": "10m", "finish": "1h"}))
    await office.send(PLACED)
    (sleeper,) = office.desk.calls
    second = await run_of_event(office, await office.send(PLACED))
    await office.report(sleeper, make_op("Sleep", "s", name="2h"))
    third = await run_of_event(office, await office.send(PLACED))
    live = office.engine.live
    assert [run.content for run in map(live.find_run, (sleeper.item.run_id, third.run_id)) if run] == [
        None
    ] * 2
    await office.advance(10 * MINUTE_MS)
    assert await reason_of(office, third.run_id) == "timeout: start 10m"
    await office.advance(50 * MINUTE_MS)
    assert await reason_of(office, sleeper.item.run_id) == "timeout: finish 1h"
    assert await status_of(office, second.run_id) == "Cancelled"
    assert live.run_count() == 0


async def test_a_finish_timeout_counts_from_the_first_request_and_goes_through_a_sleep() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1, timeouts={"finish": "1h"}))
    await office.send(PLACED)
    second = await run_of_event(office, await office.send(PLACED))
    await office.advance(50 * MINUTE_MS)
    await office.complete(office.desk.calls[0])
    await office.report(office.desk.calls[0], make_op("Sleep", "s", name="2h"))

    await office.advance(HOUR_MS - 1)
    assert await status_of(office, second.run_id) == "Running"
    await office.advance(1)
    assert await reason_of(office, second.run_id) == "timeout: finish 1h"


async def test_a_request_is_not_sent_when_the_finish_timeout_has_passed() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, timeouts={"finish": "1m"}))
    await office.send(PLACED)
    (call,) = office.desk.calls
    office.clock.ms += MINUTE_MS

    await office.report(call, ran("a"))

    assert office.desk.calls == []
    assert await status_of(office, call.item.run_id) == "Cancelled"


@pytest.mark.parametrize(
    ("before", "after", "ends_after_ms"),
    [("1h", "2h", 2 * HOUR_MS), ("2h", "1h", HOUR_MS), (None, "1h", HOUR_MS)],
)
async def test_a_sync_that_changes_the_finish_timeout_counts_for_runs_under_way(
    before: str | None, after: str, ends_after_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "RUNS_PER_SLICE", 2)
    office = Office()
    options = {"timeouts": {"finish": before}} if before else {}
    await office.open(make_function("f", PLACED, **options))
    for _ in range(5):
        await office.send(PLACED)
    run_ids = [call.item.run_id for call in office.desk.calls]

    await office.sync(make_function("f", PLACED, timeouts={"finish": after}))
    await office.advance(ends_after_ms - 1)
    assert {await status_of(office, run_id) for run_id in run_ids} == {"Running"}
    await office.advance(1)
    assert {await status_of(office, run_id) for run_id in run_ids} == {"Cancelled"}


async def test_a_finish_timeout_that_is_removed_ends_nothing() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, timeouts={"finish": "1h"}))
    await office.send(PLACED)
    (call,) = office.desk.calls
    await office.sync(make_function("f", PLACED))
    await office.advance(DAY_MS)
    await office.complete(call)
    assert await status_of(office, call.item.run_id) == "Completed"


async def test_a_finish_timeout_survives_a_restart_and_a_lost_call_is_not_sent_after_it() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, timeouts={"finish": "1h"}))
    await office.send(PLACED)
    (call,) = office.desk.calls
    office.clock.ms += HOUR_MS
    await reload(office)
    assert office.desk.calls == []
    assert await status_of(office, call.item.run_id) == "Cancelled"


async def test_a_held_run_is_ended_by_its_timeout_only_when_it_is_released() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, timeouts={"finish": "1h"}))
    await office.send(PLACED)
    (call,) = office.desk.calls
    run_id = call.item.run_id
    office.engine._work.hold(run_id, "run", "planted", office.clock.ms)
    await office.advance(HOUR_MS)
    assert await status_of(office, run_id) == "Running"

    office.engine._work.release(run_id)
    await office.settle()
    assert await status_of(office, run_id) == "Cancelled"


async def test_a_run_without_timeouts_sets_no_timer_for_them() -> None:
    office = Office()
    await office.open(make_function("f", PLACED))
    await office.send(PLACED)
    assert len(office.engine.live.timers) == 0


async def test_a_parent_is_told_that_its_child_took_too_long() -> None:
    office = Office()
    await office.open(make_function("parent", PLACED), make_function("child", timeouts={"finish": "1m"}))
    await office.send(PLACED)
    parent = office.call_of("shop-parent")
    opts = {"function_id": "shop-child", "payload": {"data": {}}}
    await office.report(parent, make_op("InvokeFunction", "c", opts=opts))
    await office.advance(MINUTE_MS)
    memo = json.parse(office.run_of(parent).loaded.memos["c"])
    assert memo == {"error": {"name": "Error", "message": "Function cancelled"}}
