"""An app that was away answers again: what waits for nothing else goes on at once."""

import asyncio
from typing import Any

from inngest_server.apps.app_error import AppError
from inngest_server.engine import syncs
from inngest_server.engine.facts import AppCameBack
from inngest_server.engine.polling import AppPoller
from inngest_server.execution.answers import transport_failed
from inngest_server.execution.driver import Call
from inngest_server.runs.facts import CallFailed, CancelRequested
from tests.unit.engine.builders import APP_URL, Office, make_function
from tests.unit.runs.builders import make_failure

UNREACHABLE = transport_failed("unreachable", "nobody is there")


async def office_with_a_failed_call(answer: CallFailed) -> tuple[Office, Call]:
    office = Office()
    await office.open(make_function("order", "shop/order.placed"))
    await office.send("shop/order.placed")
    [call] = office.desk.calls
    await office.answer(call, answer)
    assert office.desk.calls == []
    return office, call


async def come_back(office: Office) -> None:
    office.engine.tell(AppCameBack(APP_URL))
    await office.settle()


async def test_a_call_that_did_not_reach_the_app_is_tried_at_once() -> None:
    office, first = await office_with_a_failed_call(UNREACHABLE)

    await come_back(office)

    [call] = office.desk.calls
    assert (call.item.item_id, call.item.attempt) == (first.item.item_id, 1)
    await office.complete(call)
    assert (await office.row(call.item.run_id)).status == "Completed"


async def test_a_call_that_failed_in_the_app_waits_on() -> None:
    office, _ = await office_with_a_failed_call(make_failure())

    await come_back(office)

    assert office.desk.calls == []


async def test_a_call_that_reached_the_app_since_then_waits_on() -> None:
    office, _ = await office_with_a_failed_call(UNREACHABLE)
    await office.advance(60_000)
    [call] = office.desk.calls
    await office.answer(call, make_failure())

    await come_back(office)

    assert office.desk.calls == []


async def test_nothing_is_remembered_of_runs_that_ended() -> None:
    office, call = await office_with_a_failed_call(UNREACHABLE)
    office.engine.tell(CancelRequested(call.item.run_id, "api"))
    await office.settle()

    assert office.engine.live.unreached == {}
    await come_back(office)
    assert office.desk.calls == []


async def test_many_calls_are_told_in_slices(monkeypatch: Any) -> None:
    monkeypatch.setattr(syncs, "HURRIED_MAX", 2)
    office = Office()
    await office.open(make_function("order", "shop/order.placed"))
    for _ in range(5):
        await office.send("shop/order.placed")
    for call in list(office.desk.calls):
        await office.answer(call, UNREACHABLE)

    await come_back(office)

    assert len(office.desk.calls) == 5
    assert office.engine.live.unreached == {}


async def test_the_poller_tells_that_an_app_is_back_and_only_then() -> None:
    office, _ = await office_with_a_failed_call(UNREACHABLE)
    away = [None, AppError("unreachable", "nobody is there"), None]

    class Apps:
        async def sync(self, url: str) -> AppError | None:
            return away.pop(0)

    syncer: Any = Apps()
    poller = AppPoller(office.engine, syncer, urls=(), poll=True, interval_s=5)
    calls: list[int] = []
    for _ in range(3):
        asked = asyncio.create_task(poller.run_once())
        while not asked.done():
            await asyncio.sleep(0)
            await office.settle()
        calls.append(len(office.desk.calls))

    assert calls == [0, 0, 1]
