"""What the engine records for traces: slots, invocations, and who was sent when."""

from typing import Any

import pytest

from inngest_server.engine.functions import Function
from inngest_server.events.records import EventRow
from inngest_server.runs.finish import FINISHED
from inngest_server.runs.placement import ended_event_id, possible_run_ids
from inngest_server.runs.records import RunRow
from inngest_server.traces.span import InvokeInfo, Span
from inngest_server.traces.trace import trace_of
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_failure, make_op

PLACED = "shop/order.placed"


async def read(office: Office, run_id: str) -> Span:
    run = office.engine.live.find_run(run_id)
    items = list(run.items.values()) if run is not None else []
    journal = (await office.storage.journals([run_id])).get(run_id, [])
    return trace_of(await office.row(run_id), journal, items, now_ms=office.clock.ms)


def phases(span: Span) -> list[tuple[str, int]]:
    return [(segment.phase.value, segment.duration_ms) for segment in span.segments]


def function_of(office: Office, slug: str) -> Function:
    function = office.engine.functions.find(slug)
    assert function is not None
    return function


async def test_time_without_a_slot_is_shown_as_such_then_and_later() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1))
    await office.send(PLACED)
    await office.send(PLACED)
    (first,) = office.desk.calls
    run_ids = {run_id for shard in office.engine.live.shards.values() for run_id in shard.runs}
    (second_id,) = run_ids - {first.item.run_id}
    await office.advance(700)
    assert phases(await read(office, second_id)) == [("slots", 700)]

    await office.complete(first)
    await office.advance(50)
    await office.complete(office.desk.calls[0])

    assert phases(await read(office, second_id)) == [("slots", 700), ("request", 50)]
    assert phases(await read(office, first.item.run_id)) == [("request", 700)]


async def test_a_try_that_waits_for_its_slot_after_its_back_off_shows_both() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1))
    await office.send(PLACED)
    (first,) = office.desk.calls
    await office.answer(first, make_failure())
    await office.send(PLACED)  # Takes the slot.
    other = next(call for call in office.desk.calls if call.item.run_id != first.item.run_id)
    (item,) = office.run_of(first).items.values()
    back_off_ms = item.due_at_ms - office.clock.ms
    await office.advance(back_off_ms)
    await office.advance(400)
    await office.complete(other)
    await office.advance(30)

    assert phases(await read(office, first.item.run_id)) == [
        ("backoff", back_off_ms),
        ("slots", 400),
        ("request", 30),
    ]


@pytest.mark.parametrize("limit", [None, 3])
async def test_an_invocation_leads_to_its_run_and_its_events(limit: int | None) -> None:
    options: dict[str, Any] = {} if limit is None else {"concurrency": limit}
    office = Office()
    await office.open(make_function("parent", PLACED), make_function("child", **options))
    await office.send(PLACED)
    parent_id = office.call_of("shop-parent").item.run_id
    invocation = make_op("InvokeFunction", "call", opts={"function_id": "shop-child", "payload": {}})
    await office.report(office.call_of("shop-parent"), invocation)
    child_id = office.call_of("shop-child").item.run_id

    info = (await read(office, parent_id)).children[0].info

    assert isinstance(info, InvokeInfo)
    (event,) = await office.storage.get(EventRow, [info.event_id])
    assert event.name == "inngest/function.invoked"
    function = function_of(office, "shop-child")
    started_ms = (await office.row(child_id)).created_at_ms
    possible = possible_run_ids(function.id, info.correlation_id, started_ms, office.storage.shard_count)
    assert [row.run_id for row in await office.storage.get(RunRow, list(possible))] == [child_id]

    await office.advance(60)
    await office.complete(office.call_of("shop-child"))

    span = (await read(office, parent_id)).children[0]
    assert isinstance(span.info, InvokeInfo)
    assert (span.info.run_id, phases(span)) == (child_id, [("waiting", 60)])
    finished = ended_event_id(child_id, FINISHED, (await office.row(child_id)).ended_at_ms or 0)
    assert len(await office.storage.get(EventRow, [finished])) == 1


async def test_a_call_that_a_restart_lost_is_shown_as_lost_until_it_was_sent_again() -> None:
    office = Office()
    await office.open(make_function("f", PLACED))
    await office.send(PLACED)
    (call,) = office.desk.calls
    await office.advance(90)
    office.desk.calls.clear()
    await office.engine.start()
    await office.settle()
    await office.advance(10)
    await office.complete(office.desk.calls[0])

    assert phases(await read(office, call.item.run_id)) == [("lost", 90), ("request", 10)]
