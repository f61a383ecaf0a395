"""What a start passes, in which order, and what becomes of one that stops on the way."""

from typing import Any

import pytest

from inngest_server.engine import starts
from inngest_server.engine.facts import (
    CronDue,
    EventsSent,
    FunctionPaused,
    FunctionResumed,
    InvokeSent,
    Released,
    RunAgain,
)
from inngest_server.engine.starts import Cause, Start
from inngest_server.events.event import make_event, read_event
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.events.system import INVOKED
from inngest_server.runs.records import BatchedEventRow, RunRow
from inngest_server.storage.records import MessageRow
from inngest_server.wire import json
from tests.builders import HOUR_MS, SECOND_MS
from tests.unit.engine.aftermath import events_about, left_behind, reason_of, reload, run_of_event, status_of
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_op

PLACED, SHIPPED = "shop/order.placed", "shop/order.shipped"
SLUG = "shop-fulfil"


async def make_office(**options: Any) -> Office:
    office = Office()
    await office.open(make_function("fulfil", PLACED, **options))
    return office


async def pause(office: Office) -> None:
    office.engine.tell(FunctionPaused(SLUG, False))
    await office.settle()


async def go_on(office: Office) -> None:
    office.engine.tell(FunctionResumed(SLUG))
    await office.settle()


async def send_id(office: Office, event_id: str = "order-1", **data: Any) -> str:
    """Send an event whose id its client chose; its internal id."""
    draft = read_event({"name": PLACED, "id": event_id, "data": data})
    internal_id, now_ms = office.engine.next_id(), office.clock.now_ms()
    event = make_event(draft, internal_id=internal_id, received_at_ms=now_ms, repeatable=True)
    reply = office.engine.ask_events(EventsSent([event]))
    await office.settle()
    await reply
    return internal_id


async def run_again(office: Office, row: RunRow) -> RunRow:
    events = tuple(await office.storage.get(EventRow, [row.event_id]))
    reply = office.engine.ask(RunAgain(row.function_id, events, False, None, row.run_id, "again"))
    await office.settle()
    return await office.row(await reply)


def runs(office: Office) -> list[RunRow]:
    return office.storage._all(RunRow)


# Paused functions.


async def test_the_event_of_a_paused_function_leaves_a_skipped_run() -> None:
    office = await make_office()
    await pause(office)
    run = await run_of_event(office, await office.send(PLACED))
    assert (run.status, await reason_of(office, run.run_id)) == ("Skipped", "FunctionPaused")
    assert (left_behind(office, run.run_id), events_about(office, run.run_id)) == ([], [])


async def test_the_event_of_a_paused_function_cancels_no_singleton() -> None:
    office = await make_office(singleton={"mode": "cancel"})
    first = await run_of_event(office, await office.send(PLACED))
    await pause(office)
    await office.send(PLACED)
    assert await status_of(office, first.run_id) == "Running"


async def test_an_event_that_was_skipped_starts_a_run_when_it_is_sent_again_after_the_pause() -> None:
    office = await make_office()
    await pause(office)
    await send_id(office)
    await go_on(office)

    for _ in range(3):
        await send_id(office)
    assert sorted(run.status for run in runs(office)) == ["Running", "Skipped"]


async def test_ids_are_not_compared_while_a_function_is_paused() -> None:
    office = await make_office()
    await send_id(office)
    await pause(office)
    for _ in range(2):
        await send_id(office)
    assert sorted(run.status for run in runs(office)) == ["Running", "Skipped", "Skipped"]
    await go_on(office)
    await send_id(office)
    assert len(runs(office)) == 3


async def test_the_very_same_request_is_skipped_once() -> None:
    office = await make_office()
    await pause(office)
    seed_ms = office.clock.ms
    for _ in range(2):
        await office.send_seeded(PLACED, seed_ms)
        office._number = 0
    assert [run.status for run in runs(office)] == ["Skipped"]


async def test_a_schedule_of_a_paused_function_is_skipped_and_goes_on() -> None:
    office = Office()
    hourly = make_function("fulfil")
    hourly["triggers"] = [{"cron": "0 * * * *"}]
    await office.open(hourly)
    await pause(office)
    await office.advance(HOUR_MS)
    await go_on(office)
    await office.advance(HOUR_MS)
    assert sorted(run.status for run in runs(office)) == ["Running", "Skipped"]
    assert {run.cron for run in runs(office)} == {"0 * * * *"}


async def test_a_run_that_is_started_again_meets_the_pause_too() -> None:
    office = await make_office()
    first = await run_of_event(office, await office.send(PLACED))
    await pause(office)
    again = await run_again(office, first)
    assert (again.status, again.original_run_id) == ("Skipped", first.run_id)


async def test_a_run_that_is_started_again_is_neither_limited_nor_collected() -> None:
    office = await make_office(rateLimit={"limit": 1, "period": "1h"})
    first = await run_of_event(office, await office.send(PLACED))
    assert (await run_again(office, first)).status == "Running"
    await office.sync(make_function("fulfil", PLACED, debounce={"period": "1h"}))
    events = tuple(await office.storage.get(EventRow, [first.event_id]))
    reply = office.engine.ask(RunAgain(first.function_id, events, False, None, first.run_id, "third"))
    await office.settle()
    assert await status_of(office, await reply) == "Running"


async def test_an_invocation_of_a_paused_function_tells_its_parent_at_once() -> None:
    office = await make_office()
    await office.sync(make_function("parent", SHIPPED), make_function("fulfil", PLACED))
    await pause(office)
    await office.send(SHIPPED)
    call = office.call_of("shop-parent")
    await office.report(call, make_op("InvokeFunction", "child", opts={"function_id": SLUG}))
    memo = json.parse(office.call_of("shop-parent").run.loaded.memos["child"])
    assert memo == {
        "error": {
            "name": "Error",
            "message": "the invoked function was skipped: its function is paused",
        }
    }


async def test_a_client_gets_the_skipped_run_that_it_invoked() -> None:
    office = await make_office()
    await pause(office)
    draft = read_event({"data": {}}, name=INVOKED)
    now_ms = office.clock.now_ms()
    event = make_event(draft, internal_id=office.engine.next_id(), received_at_ms=now_ms, repeatable=False)
    reply = office.engine.ask_events(InvokeSent(SLUG, event))
    await office.settle()
    assert await status_of(office, await reply) == "Skipped"


# Windows.


async def test_a_debounce_of_a_function_that_is_paused_meanwhile_ends_in_a_skipped_run() -> None:
    office = await make_office(debounce={"period": "10s"})
    await office.send(PLACED, {"n": 1})
    newest = await office.send(PLACED, {"n": 2})
    await pause(office)
    await office.advance(10 * SECOND_MS)
    [run] = runs(office)
    assert (run.status, run.event_id) == ("Skipped", newest)


async def test_a_batch_of_a_function_that_was_removed_meanwhile_is_skipped_with_all_its_events() -> None:
    office = await make_office(batchEvents={"maxSize": 10, "timeout": "10s"})
    sent = [await office.send(PLACED, {"n": n}) for n in range(3)]
    await office.sync(make_function("other", SHIPPED))
    await office.advance(10 * SECOND_MS)

    [run] = runs(office)
    assert (run.status, await reason_of(office, run.run_id)) == ("Skipped", "FunctionRemoved")
    others = [row.event_id for row in sorted(office.storage._all(BatchedEventRow))]
    assert [run.event_id, *others] == sent


async def test_ids_are_not_compared_for_functions_that_collect_events() -> None:
    office = await make_office(batchEvents={"maxSize": 3, "timeout": "10s"})
    for _ in range(3):
        await send_id(office)
    [run] = runs(office)
    assert run.batch_id is not None
    assert len(office.storage._all(BatchedEventRow)) == 2


async def test_a_run_that_was_not_started_is_skipped_once_its_function_is_removed() -> None:
    office = await make_office()
    await office.send(PLACED, {}, ts=office.clock.ms + HOUR_MS)
    await office.sync(make_function("other", SHIPPED))
    await office.advance(HOUR_MS)
    [run] = runs(office)
    assert (run.status, await reason_of(office, run.run_id)) == ("Skipped", "FunctionRemoved")
    assert (left_behind(office, run.run_id), events_about(office, run.run_id)) == ([], [])
    [tally] = office.engine.counters.days.values()
    assert tally["run_skipped", run.function_id, "FunctionRemoved"] == 1


# Order.


async def test_what_is_dropped_opens_no_window_and_what_is_collected_cancels_nothing() -> None:
    office = await make_office(
        rateLimit={"limit": 1, "period": "1m"},
        debounce={"period": "10s"},
        singleton={"mode": "cancel"},
    )
    await office.send(PLACED, {"n": 0})
    await office.send(PLACED, {"n": 1})
    await office.advance(10 * SECOND_MS)
    [first] = runs(office)
    await office.advance(60 * SECOND_MS)
    await office.send(PLACED, {"n": 2})
    assert await status_of(office, first.run_id) == "Running"
    await office.advance(10 * SECOND_MS)
    assert await status_of(office, first.run_id) == "Cancelled"
    assert [json.parse(call.run.loaded.event_body)["data"]["n"] for call in office.desk.calls] == [0, 2]


async def test_the_same_start_makes_one_run() -> None:
    office = await make_office()
    event_id = await office.send(PLACED)
    first = await run_of_event(office, event_id)
    function = office.engine.functions.get(first.function_id)
    [row] = await office.storage.get(EventRow, [event_id])
    assert row.body is not None
    event = make_event(
        read_event(json.parse(row.body)), internal_id=event_id, received_at_ms=0, repeatable=False
    )
    start = Start(function, event, event_id, row.received_at_ms, Cause.EVENT)
    assert starts.arrive(office.engine._work, start, office.clock.ms) == first.run_id
    assert office.engine._work.batch.is_empty()


# Mistakes and damage.


async def test_a_stored_start_whose_decision_raises_is_held_alone_and_can_be_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = Office()
    hourly = make_function("fulfil", rateLimit={"limit": 1, "period": "30m"})
    hourly["triggers"] = [{"cron": "0 * * * *"}]
    await office.open(hourly, make_function("other", SHIPPED))

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as planted:
        planted.setattr(starts, "resume", broken)
        await raised(office, office.advance(HOUR_MS))
        await office.engine.start()
        await office.settle()
        [(run_id, held)] = office.engine.held.items()
        assert (held.kind, len(office.storage._all(MessageRow))) == ("run", 1)
        await office.send(SHIPPED)
        assert len(office.desk.calls) == 1

    office.engine.tell(Released(run_id))
    await office.settle()
    assert await status_of(office, run_id) == "Running"
    assert office.storage._all(MessageRow) == []


async def raised(office: Office, work: Any) -> None:
    """As the engine's own loop: memory is loaded again after a mistake in a batch."""
    try:
        await work
    except ZeroDivisionError as error:
        office.engine._decide_again(error)


async def test_a_stored_start_whose_event_is_gone_keeps_nobody_from_starting() -> None:
    office = Office()
    hourly = make_function("fulfil", rateLimit={"limit": 1, "period": "30m"})
    hourly["triggers"] = [{"cron": "0 * * * *"}]
    await office.open(hourly)
    [cron_id] = office.engine.live.crons
    office.clock.ms += HOUR_MS
    office.engine.tell(CronDue(cron_id))
    await office.engine.run_once()
    office.storage._rows[EventRow].clear()

    office.engine._fail("the process dies")
    await reload(office)
    await office.send(SHIPPED)
    assert (office.storage._all(MessageRow), runs(office)) == ([], [])


async def test_notes_of_what_was_dropped_are_forgotten_after_a_day() -> None:
    office = await make_office(rateLimit={"limit": 1, "period": "1m"})
    for _ in range(2):
        await office.send(PLACED)
    assert len([row for row in office.storage._all(MarkRow) if row.key.startswith("why/")]) == 1
    await office.advance(24 * HOUR_MS + 1)
    await office.send(SHIPPED)
    while await office.storage.prune(0, 100):
        pass
    assert office.storage._all(MarkRow) == []
