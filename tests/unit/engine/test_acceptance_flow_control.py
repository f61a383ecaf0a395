"""The numbers that the documentation states about flow control, at the real engine.

Source: features-2, section 23, by number. The model of the documentation runs beside it and objects to
whatever else is wrong.
"""

from typing import Any

import pytest

from inngest_server.apps.problems import RegistrationInvalidError
from inngest_server.events.records import EventRow
from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.records import JobKind
from tests.builders import HOUR_MS, SECOND_MS, T0_MS
from tests.models.event import Event
from tests.models.pipeline import Do, Function
from tests.unit.engine.builders import make_function, make_registration
from tests.unit.engine.job_yard import PLACED, Yard
from tests.unit.engine.side_by_side import SideBySide

MINUTE_MS = 60 * SECOND_MS
QUICK = (Do("request", 10),)


async def play(
    options: dict[str, Any],
    arrivals: list[tuple[int, Event]],
    *,
    work: tuple[Do, ...] = QUICK,
    until_ms: int = 3 * HOUR_MS,
) -> SideBySide:
    pair = SideBySide(Function("f", options, work))
    await pair.open()
    await pair.play(arrivals, until_ms)
    await pair.compare()
    return pair


async def test_1_two_events_of_one_id_248_ms_apart_start_one_run() -> None:
    pair = await play({}, [(0, Event(0, id="order-1")), (248, Event(1, id="order-1"))])

    assert pair.numbers() == [[0]]
    events = pair.office.storage._all(EventRow)
    assert len([event for event in events if event.event_id == "order-1"]) == 2


async def test_2_a_priority_of_two_minutes_goes_ahead_of_two_minutes() -> None:
    arrivals = [(0, Event(0))]
    arrivals += [(10 * SECOND_MS, Event(1)), (40 * SECOND_MS, Event(2)), (130 * SECOND_MS, Event(3))]
    arrivals += [(150 * SECOND_MS, Event(4, {"factor": 0})), (150 * SECOND_MS, Event(5, {"factor": 120}))]
    options = {"concurrency": 1, "priority": {"run": "event.data.factor"}}

    pair = await play(options, arrivals, work=(Do("request", 160 * SECOND_MS),))

    assert [pair.numbers()[n] for n in _by_start(pair)] == [[0], [1], [5], [2], [3], [4]]


async def test_5_a_wildcard_matches_and_a_star_within_a_word_is_refused() -> None:
    pair = await play({"triggers": ["app/*"]}, [(0, Event(0, name="app/blog.post.published"))])
    assert pair.numbers() == [[0]]

    with pytest.raises(RegistrationInvalidError):
        make_registration(make_function("f", "app/user.update*"))


async def test_7_a_rate_limit_of_ten_an_hour_lets_steady_events_in_each_six_minutes() -> None:
    options = {"rateLimit": {"limit": 10, "period": "60m"}}

    pair = await play(options, [(n * MINUTE_MS, Event(n)) for n in range(60)])

    assert pair.numbers() == [[0], [1], *([n] for n in range(6, 60, 6))]
    events = pair.office.storage._all(EventRow)
    assert len([event for event in events if event.name == "test/event"]) == 60


async def test_8_a_throttle_starts_its_burst_and_then_one_each_five_seconds() -> None:
    options = {"throttle": {"limit": 1, "period": "5s", "burst": 2}}

    pair = await play(options, [(0, Event(n)) for n in range(6)])

    assert pair.started() == [0, 0, 5000, 10_000, 15_000, 20_000]


async def test_9_a_debounce_ends_at_its_timeout_on_the_last_event() -> None:
    options = {"debounce": {"period": "5m", "timeout": "10m"}}

    pair = await play(options, [(n * MINUTE_MS, Event(n)) for n in range(10)])

    assert pair.numbers() == [[9]]
    assert pair.started() == [10 * MINUTE_MS]


async def test_10_250_quick_events_are_batches_of_100_100_and_50() -> None:
    options = {"batchEvents": {"maxSize": 100, "timeout": "5s"}}

    pair = await play(options, [(n, Event(n)) for n in range(250)])

    assert [len(numbers) for numbers in pair.numbers()] == [100, 100, 50]
    assert pair.started() == [99, 199, 5200]


async def test_10_batches_are_of_one_key_and_a_false_condition_starts_a_run_at_once() -> None:
    batch = {"maxSize": 100, "timeout": "5s", "key": "event.data.user", "if": "event.data.batchable"}
    arrivals = [(n, Event(n, {"user": "ab"[n % 2], "batchable": n != 7})) for n in range(250)]

    pair = await play({"batchEvents": batch}, arrivals)

    assert sorted(len(numbers) for numbers in pair.numbers()) == [1, 24, 25, 100, 100]
    assert pair.started() == [7, 198, 201, 5200, 5203]


async def test_11_two_functions_go_by_their_own_limits_on_one_counter() -> None:
    busy = (Do("request", HOUR_MS),)
    shared = {"scope": "account", "key": '"openai"'}
    few = Function("few", {"concurrency": {**shared, "limit": 5}, "triggers": ["test/few"]}, busy)
    many = Function("many", {"concurrency": {**shared, "limit": 50}, "triggers": ["test/many"]}, busy)
    pair = SideBySide(few, many)
    await pair.open()

    await pair.play([(n, Event(n, name="test/few")) for n in range(10)], 10)
    assert len(pair.started("few")) == 5
    await pair.play([(20 + n, Event(20 + n, name="test/many")) for n in range(60)], 100)
    assert len(pair.started("many")) == 45
    await pair.play([], 3 * HOUR_MS)
    await pair.compare()


async def test_12_a_singleton_skips_a_second_event_while_the_first_run_is_trying_again() -> None:
    trying = (Do("request", 10), Do("sleep", 30 * SECOND_MS), Do("request", 10))
    options = {"singleton": {"mode": "skip", "key": "event.data.user"}}
    arrivals = [
        (0, Event(0, {"user": "a"})),
        (15_000, Event(1, {"user": "a"})),
        (15_000, Event(2, {"user": "b"})),
    ]

    pair = await play(options, arrivals, work=trying)

    assert [row.status for row in pair.runs()] == ["Completed", "Skipped", "Completed"]


def test_12_batching_and_singleton_together_are_refused() -> None:
    options = {"batchEvents": {"maxSize": 2, "timeout": "5s"}, "singleton": {"mode": "skip"}}
    with pytest.raises(RegistrationInvalidError, match="singleton"):
        make_registration(make_function("f", "test/event", **options))


async def test_13_a_paused_function_holds_its_runs_and_skips_events() -> None:
    pair = SideBySide(Function("f", {}, (Do("request", 10), Do("sleep", 30_000), Do("request", 10))))
    await pair.open()
    await pair.play([(0, Event(0))], 5)
    await pair.pause("f")
    await pair.play([(20, Event(1))], 50_000)
    assert [row.status for row in pair.runs()] == ["Running", "Skipped"]

    await pair.resume("f")
    await pair.play([(60_000, Event(2))], 120_000)

    await pair.compare()
    assert [row.status for row in pair.runs()] == ["Completed", "Skipped", "Completed"]


async def test_14_a_bulk_cancellation_meets_its_range_and_condition_and_lets_the_executing_step_finish() -> (
    None
):
    yard = Yard()
    await yard.open(make_function("fulfil", PLACED))
    sent = [(0, "user_a"), (HOUR_MS, "user_a"), (HOUR_MS + SECOND_MS, "user_b"), (2 * HOUR_MS, "user_a")]
    for at_ms, user in sent:
        yard.clock.ms = T0_MS + at_ms
        await yard.send(PLACED, {"userId": user})

    wanted = RunFilter(
        from_ms=T0_MS + MINUTE_MS,
        asked_until_ms=T0_MS + HOUR_MS + MINUTE_MS,
        expression="event.data.userId == 'user_a'",
    )
    await yard.begin(JobKind.CANCEL, wanted=wanted)
    await yard.work_off()

    assert [row.status for row in await yard.runs()] == ["Running", "Cancelled", "Running", "Running"]
    assert len(yard.desk.calls) == 4  # The app was not interrupted, and what it answers changes nothing.
    for call in list(yard.desk.calls):
        await yard.complete(call)
    assert [row.status for row in await yard.runs()] == ["Completed", "Cancelled", "Completed", "Completed"]


def _by_start(pair: SideBySide) -> list[int]:
    """Places of the runs in `pair.runs()`, in the order in which they were started."""
    rows = pair.runs()
    return sorted(range(len(rows)), key=lambda n: rows[n].started_at_ms or 0)
