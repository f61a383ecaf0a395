"""Cancelling a run in every state, by request and by event, and what comes of removed functions."""

from typing import Any

import pytest

from inngest_server.runs.facts import CancelRequested
from inngest_server.runs.records import ItemRow, ItemState
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
from tests.unit.runs.builders import make_failure, make_op

PLACED = "shop/order.placed"


async def cancel(office: Office, run_id: str) -> str | None:
    """The run id; None when it had ended."""
    reply = office.engine.ask(CancelRequested(run_id, "api"))
    await office.settle()
    return await reply


async def to_in_flight(office: Office) -> str:
    await office.send(PLACED)
    return office.desk.calls[0].item.run_id


async def to_sleeping(office: Office) -> str:
    run_id = await to_in_flight(office)
    await office.report(office.desk.calls[0], make_op("Sleep", "s", name="1h"))
    return run_id


async def to_waiting(office: Office) -> str:
    run_id = await to_in_flight(office)
    opts = {"event": "paid", "timeout": "1h"}
    await office.report(office.desk.calls[0], make_op("WaitForEvent", "w", opts=opts))
    return run_id


async def to_backing_off(office: Office) -> str:
    run_id = await to_in_flight(office)
    await office.answer(office.desk.calls[0], make_failure())
    return run_id


async def to_parked(office: Office) -> str:
    await office.send(PLACED)
    return (await run_of_event(office, await office.send(PLACED))).run_id


async def to_delayed(office: Office) -> str:
    return (await run_of_event(office, await office.send(PLACED, ts=office.clock.ms + HOUR_MS))).run_id


STATES = [to_in_flight, to_sleeping, to_waiting, to_backing_off, to_parked, to_delayed]


@pytest.mark.parametrize("bring", STATES, ids=lambda bring: bring.__name__[3:])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["", "restarted"])
async def test_a_run_is_cancelled_in_every_state_once_and_leaves_nothing(
    bring: Any, is_restarted: bool
) -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1))
    run_id = await bring(office)
    if is_restarted:
        await reload(office)

    assert await cancel(office, run_id) == run_id
    assert await cancel(office, run_id) is None
    await office.advance(2 * HOUR_MS)

    assert await status_of(office, run_id) == "Cancelled"
    assert await reason_of(office, run_id) == "api"
    assert events_about(office, run_id) == CANCELLED_EVENTS
    assert left_behind(office, run_id) == []


async def test_a_cancelled_waiter_leaves_its_place_to_the_next_one() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1))
    parked = await to_parked(office)
    third = await run_of_event(office, await office.send(PLACED))
    await cancel(office, parked)
    await office.complete(office.desk.calls[0])
    assert [call.item.run_id for call in office.desk.calls] == [third.run_id]


async def test_cancelling_a_run_in_flight_gives_its_slot_to_the_next_one_at_once() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1))
    parked = await to_parked(office)
    (call,) = office.desk.calls
    await cancel(office, call.item.run_id)
    assert [one.item.run_id for one in office.desk.calls] == [call.item.run_id, parked]
    await office.complete(call)
    assert await status_of(office, call.item.run_id) == "Cancelled"
    assert await status_of(office, parked) == "Running"


# By event.


def waits_for_stop(**fields: Any) -> dict[str, Any]:
    return make_function("f", PLACED, cancel=[{"event": "stop", **fields}])


@pytest.mark.parametrize("bring", STATES[:4] + STATES[5:], ids=lambda bring: bring.__name__[3:])
async def test_an_event_cancels_in_every_state(bring: Any) -> None:
    office = Office()
    await office.open(waits_for_stop())
    run_id = await bring(office)
    await office.send("stop")
    assert await status_of(office, run_id) == "Cancelled"
    assert events_about(office, run_id) == CANCELLED_EVENTS
    assert left_behind(office, run_id) == []


async def test_an_event_that_came_before_the_run_does_not_cancel_it() -> None:
    office = Office()
    await office.open(waits_for_stop())
    await office.send("stop")
    run_id = await to_in_flight(office)
    assert await status_of(office, run_id) == "Running"


@pytest.mark.parametrize(
    "condition", ["event.data.id == async.data.id", "async.data.id == event.data.id"], ids=["ab", "ba"]
)
async def test_only_what_fits_the_condition_cancels(condition: str) -> None:
    office = Office()
    await office.open(waits_for_stop(**{"if": condition}))
    runs = [await run_of_event(office, await office.send(PLACED, {"id": one})) for one in (1, 2)]
    await office.send("stop", {"id": 2})
    assert [await status_of(office, run.run_id) for run in runs] == ["Running", "Cancelled"]


async def test_a_condition_that_cannot_be_evaluated_cancels_nothing() -> None:
    office = Office()
    await office.open(waits_for_stop(**{"if": "event.data.id == async.data.deep.id"}))
    row = await run_of_event(office, await office.send(PLACED, {"id": 1}))
    await office.send("stop", {"deep": 3})
    assert await status_of(office, row.run_id) == "Running"


async def test_any_of_five_events_cancels() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, cancel=[{"event": f"stop/{n}"} for n in range(5)]))
    for n in range(5):
        row = await run_of_event(office, await office.send(PLACED))
        await office.send(f"stop/{n}")
        assert await status_of(office, row.run_id) == "Cancelled"


@pytest.mark.parametrize(("after_ms", "status"), [(HOUR_MS - 1, "Cancelled"), (HOUR_MS, "Running")])
async def test_a_cancelling_event_counts_for_as_long_as_its_timeout_says(after_ms: int, status: str) -> None:
    office = Office()
    await office.open(waits_for_stop(timeout="1h"))
    run_id = await to_in_flight(office)
    await office.advance(after_ms)
    await office.send("stop")
    assert await status_of(office, run_id) == status


async def test_without_a_timeout_it_counts_for_months() -> None:
    office = Office()
    await office.open(waits_for_stop())
    run_id = await to_in_flight(office)
    await office.report(office.desk.calls[0], make_op("Sleep", "s", name="366d"))
    await office.advance(364 * DAY_MS)
    await office.send("stop")
    assert await status_of(office, run_id) == "Cancelled"


async def test_what_cancels_is_settled_when_the_run_is_made() -> None:
    office = Office()
    await office.open(waits_for_stop())
    before = await to_in_flight(office)
    await office.sync(make_function("f", PLACED, cancel=[{"event": "halt"}]))
    after = (await run_of_event(office, await office.send(PLACED))).run_id
    await office.send("halt")
    assert [await status_of(office, run_id) for run_id in (before, after)] == ["Running", "Cancelled"]
    await office.send("stop")
    assert await status_of(office, before) == "Cancelled"


async def test_a_trigger_that_is_a_wildcard_may_name_the_event_that_cancels() -> None:
    office = Office()
    await office.open(make_function("f", "order/*", cancel=[{"event": "order/withdrawn"}]))
    first = await run_of_event(office, await office.send("order/placed"))
    second = await run_of_event(office, await office.send("order/withdrawn"))
    assert await status_of(office, first.run_id) == "Cancelled"
    assert await status_of(office, second.run_id) == "Running"  # Its own event never cancels it.


async def test_two_runs_of_a_function_whose_trigger_cancels_leave_the_newest() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, cancel=[{"event": PLACED}]))
    runs = [await run_of_event(office, await office.send(PLACED)) for _ in range(3)]
    statuses = [await status_of(office, run.run_id) for run in runs]
    assert statuses == ["Cancelled", "Cancelled", "Running"]


# Functions that are gone.


async def test_an_unstarted_run_of_a_removed_function_is_skipped_and_a_started_one_finishes() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1))
    waiting = await to_parked(office)
    (call,) = office.desk.calls
    await office.report(call, make_op("Sleep", "s", name="1h"))
    (second,) = office.desk.calls
    third = await run_of_event(office, await office.send(PLACED))
    assert second.item.run_id == waiting

    await office.sync(make_function("other", "x"))
    await office.complete(second)
    await office.advance(HOUR_MS)

    row = await office.row(third.run_id)
    assert (row.status, row.started_at_ms) == ("Skipped", None)
    assert await reason_of(office, third.run_id) == "FunctionRemoved"
    assert events_about(office, third.run_id) == []
    assert left_behind(office, third.run_id) == []
    (again,) = office.desk.calls
    assert (again.item.run_id, again.url) == (call.item.run_id, call.url)
    await office.complete(again)
    assert await status_of(office, call.item.run_id) == "Completed"
    assert [item.state for item in office.storage._all(ItemRow) if item.state != ItemState.QUEUED] == []
