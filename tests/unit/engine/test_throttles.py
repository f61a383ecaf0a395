"""Throttles in the whole engine: when runs start, what a crash leaves of them, and what a sync changes."""

from typing import Any

import pytest

from inngest_server.flow_control.records import MeterRow
from inngest_server.runs.facts import CancelRequested
from tests.builders import HOUR_MS, SECOND_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_failure, make_op

PLACED = "shop/order.placed"
MINUTE_MS = 60 * SECOND_MS


async def open_office(**options: Any) -> Office:
    office = Office()
    await office.open(make_function("f", PLACED, **options))
    return office


async def crash(office: Office) -> None:
    office.desk.recall()
    await office.engine.start()
    await office.settle()


async def send(office: Office, count: int, **data: Any) -> None:
    for n in range(count):
        await office.send(PLACED, {"n": n, **data})


async def starts(office: Office, step_ms: int, until_ms: int) -> list[tuple[int, Any]]:
    """Which runs start when, as (milliseconds from now, position); each completes at once."""
    begin_ms, found = office.clock.ms, list[tuple[int, Any]]()
    while True:
        while office.desk.calls:
            call = office.desk.calls[0]
            found.append((office.clock.ms - begin_ms, call.run.loaded.event["data"]["n"]))
            await office.complete(call)
        if office.clock.ms - begin_ms >= until_ms:
            return found
        await office.advance(step_ms)


async def test_a_burst_starts_at_once_then_one_per_period_and_none_is_lost() -> None:
    """Features-2, section 23, item 8; first come, first served."""
    office = await open_office(throttle={"limit": 1, "period": "5s", "burst": 2})
    await send(office, 5)
    found = await starts(office, 500, 20_000)
    assert found == [(0, 0), (0, 1), (5_000, 2), (10_000, 3), (15_000, 4)]


async def test_a_throttle_never_starts_early_and_its_timer_is_exact() -> None:
    office = await open_office(throttle={"limit": 1, "period": "5s"})
    await send(office, 2)
    assert office.engine.live.timers.next_due_ms() == office.clock.ms + 5_000
    await office.advance(4_999)
    assert len(office.desk.calls) == 1
    await office.advance(1)
    assert len(office.desk.calls) == 2


async def test_later_requests_of_a_run_are_not_throttled() -> None:
    office = await open_office(throttle={"limit": 1, "period": "1h"})
    await send(office, 1)
    await office.report(office.desk.calls[0], make_op("StepRun", "a", data=1))
    assert len(office.desk.calls) == 1
    await office.answer(office.desk.calls[0], make_failure())
    await office.advance(10 * MINUTE_MS)
    assert len(office.desk.calls) == 1


async def test_each_value_of_the_key_and_each_function_has_a_throttle_of_its_own() -> None:
    throttle = {"limit": 1, "period": "1m", "key": "event.data.user"}
    office = Office()
    await office.open(
        make_function("f", PLACED, throttle=throttle), make_function("g", PLACED, throttle=throttle)
    )
    for user in ("ann", "bob", "ann"):
        await office.send(PLACED, {"user": user})
    assert len(office.desk.calls) == 4


async def test_invoked_runs_are_throttled_too() -> None:
    office = Office()
    await office.open(
        make_function("f", PLACED), make_function("child", throttle={"limit": 1, "period": "1m"})
    )
    await send(office, 2)
    for call in list(office.desk.calls):
        invoke = make_op("InvokeFunction", "i", opts={"function_id": "shop-child", "payload": {}})
        await office.report(call, invoke)
    assert len(office.desk.calls) == 1
    await office.advance(MINUTE_MS)
    assert len(office.desk.calls) == 2


async def test_what_is_used_survives_a_crash_and_is_forgotten_when_it_says_nothing() -> None:
    office = await open_office(throttle={"limit": 1, "period": "10s", "burst": 2})
    await send(office, 3)
    assert len(office.desk.calls) == 2
    await office.advance(4_000)
    await crash(office)
    assert len(office.desk.calls) == 2
    await office.advance(5_999)
    assert len(office.desk.calls) == 2
    await office.advance(1)
    assert len(office.desk.calls) == 3
    (row,) = office.storage._all(MeterRow)
    assert row.tat_ns > office.clock.ms * 1_000_000

    while office.desk.calls:
        await office.complete(office.desk.calls[0])
    await office.advance(HOUR_MS)
    assert office.storage._all(MeterRow) == []
    assert office.engine.live.meters == {}
    assert len(office.engine.live.timers) == 0
    await send(office, 3)
    assert len(office.desk.calls) == 2


async def test_a_run_that_waits_for_a_slot_uses_nothing_of_the_throttle() -> None:
    office = await open_office(concurrency=1, throttle={"limit": 1, "period": "10s"})
    await send(office, 2)
    await office.advance(60_000)
    assert len(office.desk.calls) == 1
    await office.complete(office.desk.calls[0])
    assert len(office.desk.calls) == 1  # The rate allowed it long ago.
    await send(office, 1)
    await office.complete(office.desk.calls[0])
    assert office.desk.calls == []  # This one has to wait for the rate.
    await office.advance(10_000)
    assert len(office.desk.calls) == 1


async def test_a_waiter_that_is_cancelled_leaves_its_moment_to_the_next() -> None:
    office = await open_office(throttle={"limit": 1, "period": "10s"})
    await send(office, 3)
    waiters = [run for shard in office.engine.live.shards.values() for run in shard.runs.values()]
    (second,) = [run for run in waiters if run.loaded.event["data"]["n"] == 1]
    office.engine.tell(CancelRequested(second.id, "api"))
    await office.settle()
    await office.complete(office.desk.calls[0])
    await office.advance(10_000)
    assert [call.run.loaded.event["data"]["n"] for call in office.desk.calls] == [2]


@pytest.mark.parametrize(
    ("throttle", "expected"),
    [
        ({"limit": 10, "period": "10s"}, [0, 1_000]),  # Who raises it does not wait.
        ({"limit": 1, "period": "10s", "burst": 2}, [0, 10_000]),
        ({"limit": 1, "period": "20s"}, [10_000, 30_000]),
        ({"limit": 1, "period": "1s", "key": "event.data.n"}, [0, 0]),
        (None, [0, 0]),
    ],
    ids=["rate", "burst", "slower", "key", "none"],
)
async def test_runs_that_wait_follow_the_present_throttle(throttle: Any, expected: list[int]) -> None:
    office = await open_office(throttle={"limit": 1, "period": "10s"})
    await send(office, 3)
    await office.complete(office.desk.calls[0])
    options = {"throttle": throttle} if throttle else {}
    await office.sync(make_function("f", PLACED, **options))
    found = await starts(office, 500, 60_000)
    assert [moment for moment, _ in found] == expected
    await office.advance(24 * HOUR_MS)
    assert office.storage._all(MeterRow) == []
    assert office.engine.live.slots.is_empty()


async def test_a_function_that_gets_a_throttle_throttles_who_waits_for_slots_already() -> None:
    office = await open_office(concurrency=1)
    await send(office, 3)
    await office.sync(make_function("f", PLACED, concurrency=1, throttle={"limit": 1, "period": "10s"}))
    found = await starts(office, SECOND_MS, 30_000)
    assert [moment for moment, _ in found] == [0, 0, 10_000]


async def test_a_throttle_that_opens_sooner_at_a_slower_rate_wakes_who_waits_then() -> None:
    office = await open_office(throttle={"limit": 2, "period": "10s", "burst": 3})
    await send(office, 4)
    await office.sync(make_function("f", PLACED, throttle={"limit": 5, "period": "30s", "burst": 3}))
    assert len(office.desk.calls) == 3
    # Three of five seconds each are used up, of which two of six may be outstanding.
    await office.advance(3 * SECOND_MS)
    assert len(office.desk.calls) == 4


async def test_throttles_that_open_at_one_moment_ring_once_each_and_not_until_their_slices_come() -> None:
    office = await open_office(throttle={"limit": 1, "period": "1m", "key": "event.data.key"})
    for n in range(400):
        await office.send(PLACED, {"n": n, "key": n // 2})
    assert len(office.desk.calls) == 200
    before = office.engine.facts_decided
    await office.advance(MINUTE_MS)
    assert len(office.desk.calls) == 400
    # For each a moment that came and an item that is sent; one more for those that came before their slice.
    assert office.engine.facts_decided - before < 200 * 3 + 50
    await office.advance(SECOND_MS)
    await office.advance(HOUR_MS)
    assert office.storage._all(MeterRow) == []


async def test_a_start_that_was_granted_long_before_it_could_be_sent_leaves_nothing_behind() -> None:
    """Its event had to be read again, and meanwhile the throttle's use had passed."""
    office = await open_office(throttle={"limit": 1, "period": "5s"})
    await send(office, 2)
    for shard in office.engine.live.shards.values():
        for run in shard.runs.values():
            run.content = run.content if run.row.started_at_ms is not None else None
    engine = office.engine
    for later_ms in (5_000, 20_000):
        office.clock.ms += later_ms
        while await engine.run_once():
            pass
    assert len(office.desk.calls) == 1  # The disk is slow.
    await office.settle()
    assert len(office.desk.calls) == 2
    await office.advance(MINUTE_MS)
    assert office.storage._all(MeterRow) == []
