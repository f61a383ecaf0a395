"""Priority in the whole engine: who of those that wait is sent first."""

from typing import Any

from inngest_server.engine.options import EngineOptions
from inngest_server.runs.records import RunRow
from tests.builders import HOUR_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_op

PLACED = "shop/order.placed"
RUN = "event.data.factor"


async def open_office(options: EngineOptions | None = None, **given: Any) -> Office:
    office = Office(options)
    await office.open(make_function("f", PLACED, **{"concurrency": 1, "priority": {"run": RUN}, **given}))
    return office


async def send(office: Office, name: str, factor: Any = 0) -> None:
    await office.send(PLACED, {"n": name, "factor": factor})


async def served(office: Office) -> list[str]:
    found: list[str] = []
    while office.desk.calls:
        call = office.desk.calls[0]
        found.append(call.run.loaded.event["data"]["n"])
        await office.complete(call)
    return found


async def queue_up(office: Office) -> None:
    """The worked case of features-2, 2-PRI-04, behind a run that is under way since 12:00:00."""
    await send(office, "holder")
    for after_ms, name, factor in (
        (10_000, "A", 0),
        (30_000, "B", 0),
        (90_000, "C", 0),
        (20_000, "X", 0),
        (0, "Y", 120),
    ):
        await office.advance(after_ms)
        await send(office, name, factor)


async def test_a_priority_moves_a_run_ahead_of_those_of_so_many_seconds_before() -> None:
    office = await open_office()
    await queue_up(office)
    assert await served(office) == ["holder", "A", "Y", "B", "C", "X"]


async def test_the_order_survives_a_crash() -> None:
    office = await open_office()
    await queue_up(office)
    office.desk.recall()
    await office.engine.start()
    await office.settle()
    assert await served(office) == ["holder", "A", "Y", "B", "C", "X"]


async def test_a_negative_priority_lets_later_ones_go_first() -> None:
    office = await open_office()
    await send(office, "holder")
    await send(office, "slow", -60)
    await office.advance(59_000)
    await send(office, "early")
    await office.advance(2_000)
    await send(office, "late")
    assert await served(office) == ["holder", "early", "slow", "late"]


async def test_a_priority_never_delays_an_idle_queue() -> None:
    office = await open_office()
    await send(office, "only", -600)
    assert await served(office) == ["only"]


async def test_it_counts_for_all_requests_of_a_run() -> None:
    office = await open_office()
    await send(office, "first", 0)
    await send(office, "urgent", 300)
    await office.report(office.desk.calls[0], make_op("Sleep", "s", name="1h"))
    await office.report(office.desk.calls[0], make_op("Sleep", "s", name="1h"))
    assert office.desk.calls == []
    await office.advance(HOUR_MS - 1)
    await send(office, "holder")
    await office.advance(1)
    assert await served(office) == ["holder", "urgent", "first"]


async def test_what_is_no_whole_number_and_what_is_too_much_is_judged_when_the_run_is_made() -> None:
    office = await open_office()
    for name, factor in (
        ("text", "high"),
        ("huge", 10_000),
        ("tiny", -10_000),
        ("none", None),
        ("broken", 1.5),
    ):
        await send(office, name, factor)
    kept = [row.priority_ms for row in office.storage._all(RunRow)]
    assert sorted(kept) == [-600_000, 0, 0, 0, 600_000]


async def test_a_server_may_allow_more() -> None:
    office = await open_office(EngineOptions(priority_max_s=43_200))
    await send(office, "huge", 10_000)
    (row,) = office.storage._all(RunRow)
    assert row.priority_ms == 10_000_000


async def test_a_run_keeps_the_priority_that_it_was_made_with() -> None:
    office = await open_office()
    await send(office, "holder")
    await send(office, "A", 0)
    await office.advance(1_000)
    await send(office, "B", 60)
    await office.sync(make_function("f", PLACED, concurrency=1, priority={"run": "0 - event.data.factor"}))
    assert await served(office) == ["holder", "B", "A"]
