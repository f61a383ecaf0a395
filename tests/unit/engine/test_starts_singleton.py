"""Singletons: the lock of a run, who is skipped for it, and who makes way."""

from typing import Any

import pytest

from inngest_server.apps.options import SingletonMode
from inngest_server.engine import starts
from inngest_server.engine.facts import Synced
from inngest_server.engine.options import EngineOptions
from inngest_server.execution.driver import Call
from inngest_server.flow_control.records import TermsRow
from inngest_server.runs.facts import CancelRequested
from inngest_server.runs.records import RunRow
from inngest_server.storage.records import MessageRow
from inngest_server.wire import json
from tests.builders import HOUR_MS
from tests.unit.engine.aftermath import events_about, left_behind, reason_of, reload, status_of
from tests.unit.engine.builders import Office, make_function, make_registration
from tests.unit.engine.test_starts_rate_limit import make_sent
from tests.unit.runs.builders import make_failure, make_op

PLACED, SHIPPED = "shop/order.placed", "shop/order.shipped"
SKIP: dict[str, Any] = {"mode": "skip"}
CANCEL: dict[str, Any] = {"mode": "cancel"}


async def make_office(*, bounds: EngineOptions | None = None, **singleton: Any) -> Office:
    office = Office(bounds)
    await office.open(make_function("fulfil", PLACED, singleton=singleton))
    return office


async def send(office: Office, user: Any = "ann") -> str:
    """The run of an event of that user."""
    event_id = await office.send(PLACED, {"user": user})
    [row] = await office.storage.runs_of_event(event_id)
    return row.run_id


def call_of_run(office: Office, run_id: str) -> Call:
    [call] = [call for call in office.desk.calls if call.item.run_id == run_id]
    return call


async def test_while_a_run_goes_on_the_next_one_is_skipped_and_says_why() -> None:
    office = await make_office(**SKIP)
    first, second = await send(office), await send(office)

    row = await office.row(second)
    assert (row.status, row.started_at_ms, row.ended_at_ms) == ("Skipped", None, office.clock.ms)
    [entry] = (await office.storage.journals([second]))[second]
    assert json.parse(entry.meta) == {"status": "Skipped", "reason": "Singleton", "blocked_by": first}
    assert (left_behind(office, second), events_about(office, second)) == ([], [])
    assert [call.item.run_id for call in office.desk.calls] == [first]
    [tally] = office.engine.counters.days.values()
    assert tally["run_skipped", row.function_id, "Singleton"] == 1
    assert tally["run_ended", row.function_id, "Skipped"] == 0


async def test_once_it_has_ended_the_next_one_runs() -> None:
    office = await make_office(**SKIP)
    first = await send(office)
    await office.complete(call_of_run(office, first))
    assert await status_of(office, await send(office)) == "Running"


async def test_every_end_of_a_run_frees_its_lock() -> None:
    office = await make_office(**SKIP)
    first = await send(office)
    await office.answer(call_of_run(office, first), make_failure(retriable=False))
    second = await send(office)
    office.engine.tell(CancelRequested(second, "api"))
    await office.settle()
    third = await send(office)
    assert [await status_of(office, one) for one in (first, second, third)] == [
        "Failed",
        "Cancelled",
        "Running",
    ]


async def test_a_run_that_sleeps_or_waits_for_another_try_holds_its_lock() -> None:
    office = await make_office(**SKIP)
    first = await send(office)
    await office.report(call_of_run(office, first), make_op("Sleep", "nap", name="1h"))
    assert await status_of(office, await send(office)) == "Skipped"
    await office.advance(HOUR_MS)
    await office.answer(call_of_run(office, first), make_failure())
    assert await status_of(office, await send(office)) == "Skipped"


@pytest.mark.parametrize("mode", list(SingletonMode))
async def test_each_value_of_the_key_has_a_run_of_its_own_and_false_any_number(mode: str) -> None:
    office = await make_office(mode=mode, key="event.data.user")
    runs = [await send(office, user) for user in ("ann", "bob", False, False)]
    assert [await status_of(office, run_id) for run_id in runs] == ["Running"] * 4


async def test_a_lock_survives_a_restart() -> None:
    office = await make_office(**SKIP)
    first = await send(office)
    await reload(office)
    assert await status_of(office, await send(office)) == "Skipped"
    await office.complete(call_of_run(office, first))
    assert await status_of(office, await send(office)) == "Running"
    assert len(office.storage._all(TermsRow)) == 1


async def test_in_mode_cancel_the_run_before_is_cancelled_and_the_new_one_starts_at_once() -> None:
    office = await make_office(**CANCEL)
    first = await send(office)
    second = await send(office)

    assert (await status_of(office, first), await status_of(office, second)) == ("Cancelled", "Running")
    assert await reason_of(office, first) == f"singleton: run {second}"
    assert events_about(office, first) == ["inngest/function.cancelled", "inngest/function.finished"]
    assert left_behind(office, first) == []


async def test_the_answer_of_the_run_that_made_way_changes_nothing() -> None:
    office = await make_office(**CANCEL)
    first = await send(office)
    call = call_of_run(office, first)
    await send(office)
    await office.complete(call, b'"too late"')
    row = await office.row(first)
    assert (row.status, row.output) == ("Cancelled", None)


async def test_of_a_burst_the_newest_run_is_left() -> None:
    office = await make_office(**CANCEL)
    runs = [await send(office) for _ in range(5)]
    assert [await status_of(office, run_id) for run_id in runs] == ["Cancelled"] * 4 + ["Running"]
    assert {call.item.run_id for call in office.desk.calls} >= {runs[-1]}


async def test_a_run_that_was_not_started_makes_way_too() -> None:
    office = await make_office(**CANCEL)
    later = office.clock.ms + HOUR_MS
    await office.send(PLACED, {}, ts=later)
    [first] = office.storage._all(RunRow)
    second = await send(office)
    row = await office.row(first.run_id)
    assert (row.status, row.started_at_ms, await status_of(office, second)) == ("Cancelled", None, "Running")


async def asleep_and_forgotten(office: Office) -> str:
    """A run whose content is not in memory."""
    run_id = await send(office)
    await office.report(call_of_run(office, run_id), make_op("Sleep", "nap", name="1h"))
    run = office.engine.live.find_run(run_id)
    assert run is not None
    assert run.content is None
    return run_id


NO_IDLE = EngineOptions(idle_contents_max=0)


async def test_a_run_that_is_not_in_memory_makes_way_and_two_are_never_under_way() -> None:
    office = await make_office(bounds=NO_IDLE, **CANCEL)
    first = await asleep_and_forgotten(office)
    event = office.send(PLACED, {"user": "ann"})
    second = await send_and_see(office, event, first)
    assert (await status_of(office, first), await status_of(office, second)) == ("Cancelled", "Running")
    assert office.storage._all(MessageRow) == []


async def send_and_see(office: Office, event: Any, first: str) -> str:
    """The run of the event; until the first one has ended nothing of it is sent."""
    engine, settle = office.engine, office.settle

    async def watched() -> None:
        worked = True
        while worked:
            worked = await engine.load_once() or await engine.run_once()
            is_there = engine.live.find_run(first) is not None
            assert not (is_there and office.desk.calls)

    office.settle = watched
    try:
        [row] = await office.storage.runs_of_event(await event)
    finally:
        office.settle = settle
    return row.run_id


async def test_a_crash_before_the_old_run_was_read_loses_neither_its_end_nor_the_new_run() -> None:
    office = await make_office(bounds=NO_IDLE, **CANCEL)
    first = await asleep_and_forgotten(office)
    sent = office.send(PLACED, {"user": "ann"})

    async def decided() -> None:
        await office.engine.run_once()

    settle, office.settle = office.settle, decided
    event_id = await sent
    office.settle = settle
    [second] = await office.storage.runs_of_event(event_id)
    assert (await status_of(office, first), len(office.storage._all(MessageRow))) == ("Running", 1)

    office.engine._fail("the process dies")
    await reload(office)
    assert (await status_of(office, first), await status_of(office, second.run_id)) == (
        "Cancelled",
        "Running",
    )
    assert office.storage._all(MessageRow) == []


async def test_a_sync_that_changes_the_mode_holds_for_the_next_event() -> None:
    office = await make_office(**SKIP)
    first = await send(office)
    await office.sync(make_function("fulfil", PLACED, singleton=CANCEL))
    second = await send(office)
    assert (await status_of(office, first), await status_of(office, second)) == ("Cancelled", "Running")
    await office.sync(make_function("fulfil", PLACED))
    assert await status_of(office, await send(office)) == "Running"
    assert await status_of(office, second) == "Running"


async def test_a_duplicate_of_a_skipped_event_starts_nothing() -> None:
    office = await make_office(**SKIP)
    first = await send(office)
    seed_ms = office.clock.ms
    await office.send_seeded(PLACED, seed_ms)
    await office.complete(call_of_run(office, first))
    office._number -= 1
    await office.send_seeded(PLACED, seed_ms)
    assert sorted(row.status for row in office.storage._all(RunRow)) == ["Completed", "Skipped"]


async def make_parent(office: Office, singleton: dict[str, str]) -> Call:
    child = make_function("fulfil", PLACED, singleton=singleton)
    await office.open(make_function("parent", SHIPPED), child)
    await send(office)
    await office.send(SHIPPED)
    call = office.call_of("shop-parent")
    await office.report(call, make_op("InvokeFunction", "child", opts={"function_id": "shop-fulfil"}))
    return call


async def test_an_invoked_run_is_skipped_too_and_its_parent_is_told_at_once() -> None:
    office = Office()
    await make_parent(office, SKIP)
    memo = json.parse(office.call_of("shop-parent").run.loaded.memos["child"])
    assert memo["error"]["message"] == (
        "the invoked function was skipped: another run of its function holds the singleton"
    )


async def test_an_invoked_run_cancels_the_one_before_it() -> None:
    office = Office()
    await make_parent(office, CANCEL)
    await office.complete(office.desk.calls[-1], b'"sent"')
    memo = json.parse(office.call_of("shop-parent").run.loaded.memos["child"])
    assert memo == {"data": "sent"}


async def test_two_events_of_one_batch_of_facts_start_one_run() -> None:
    office = await make_office(**SKIP)
    office.engine.tell(Synced(make_registration(make_function("fulfil", PLACED, singleton=SKIP))))
    sent = [office.send(PLACED) for _ in range(2)]
    for one in sent:
        await one
    assert sorted(row.status for row in office.storage._all(RunRow)) == ["Running", "Skipped"]


async def test_in_a_burst_each_run_asks_the_one_before_it_alone_to_make_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = await make_office(**CANCEL)
    await send(office)
    asked: list[int] = []
    judge = starts.singleton.judge

    def watched(mode: SingletonMode, holders: tuple[str, ...]) -> Any:
        asked.append(len(holders))
        return judge(mode, holders)

    monkeypatch.setattr(starts.singleton, "judge", watched)
    office.engine.ask_events(make_sent(office, count=20))
    await office.settle()
    assert asked == [1] * 20
    assert len(office.desk.calls) == 1 + 1
    statuses = sorted(row.status for row in office.storage._all(RunRow))
    assert statuses == ["Cancelled"] * 20 + ["Running"]
