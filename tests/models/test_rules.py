"""The models themselves, on numbers that the documentation states."""

from fractions import Fraction

import pytest

from tests.models.concurrency import Counters, needs_of
from tests.models.event import Event
from tests.models.leaky_bucket import LeakyBucket
from tests.models.options import UNIT_MS, duration_ms, key_of, value_of
from tests.models.pipeline import Do, Function, Objection, World
from tests.models.priority import priority_ms
from tests.models.throttle import starts_ms

S, M, H = UNIT_MS["s"], UNIT_MS["m"], UNIT_MS["h"]
AT_ONCE = (Do("request", 10),)


def play(
    options: dict,
    arrivals: list[tuple[int, Event]],
    *,
    work: tuple[Do, ...] = AT_ONCE,
    until_ms: int = 100 * H,
) -> World:
    world = World([Function("f", options, work)])
    world.play(arrivals, until_ms)
    return world


def numbers(world: World, function_id: str = "f") -> list[list[int]]:
    """The events of each run."""
    return [[event.number for event in run.events] for run in world.runs_of(function_id)]


def test_a_repeated_event_id_starts_a_function_once() -> None:
    world = play(
        {}, [(0, Event(1, id="order-1")), (248, Event(2, id="order-1")), (25 * H, Event(3, id="order-1"))]
    )

    assert numbers(world) == [[1], [3]]
    assert [(drop.number, drop.why) for drop in world.dropped] == [(2, "event id")]


def test_priority_puts_a_run_where_it_would_be_had_it_come_earlier() -> None:
    arrivals = [
        (0, Event(0)),
        (10 * S, Event(1)),
        (40 * S, Event(2)),
        (130 * S, Event(3)),
        (150 * S, Event(4, {"factor": 0})),
        (150 * S, Event(5, {"factor": 120})),
    ]
    options = {"concurrency": 1, "priority": {"run": "event.data.factor"}}

    world = play(options, arrivals, work=(Do("request", 160 * S),))

    started = sorted(world.runs_of("f"), key=lambda run: run.started_ms or 0)
    assert [run.events[0].number for run in started] == [0, 1, 5, 2, 3, 4]


@pytest.mark.parametrize(
    ("factor", "seconds"),
    [(120, 120), (-5, -5), (1800, 600), (-1800, -600), ("x", 0), (1.5, 0), (None, 0), (True, 0)],
)
def test_a_priority_is_a_number_of_seconds_within_bounds(factor: object, seconds: int) -> None:
    assert priority_ms({"run": "event.data.factor"}, {"factor": factor}) == seconds * S


def test_a_wildcard_matches_below_its_prefix_only() -> None:
    function = Function("f", {"triggers": ["app/*", "user/signed.*"]}, AT_ONCE)

    assert function.is_triggered_by("app/blog.post.published")
    assert function.is_triggered_by("user/signed.up")
    assert not function.is_triggered_by("app")
    assert not Function("g", {"triggers": ["app/user.update*"]}, AT_ONCE).is_triggered_by("app/user.updated")


def test_a_rate_limit_of_ten_an_hour_lets_two_in_and_then_one_in_six_minutes() -> None:
    world = play({"rateLimit": {"limit": 10, "period": "60m"}}, [(n * M, Event(n)) for n in range(60)])

    assert numbers(world) == [[0], [1], [6], [12], [18], [24], [30], [36], [42], [48], [54]]
    assert len(world.dropped) == 49
    assert {drop.why for drop in world.dropped} == {"rate limit"}


def test_a_rate_limit_of_one_in_four_hours_counts_each_company_by_itself() -> None:
    arrivals = [(n * H, Event(n, {"company_id": n % 2})) for n in range(9)]

    world = play({"rateLimit": {"limit": 1, "period": "4h", "key": "event.data.company_id"}}, arrivals)

    assert numbers(world) == [[0], [1], [4], [5], [8]]


def test_a_key_that_is_false_is_not_limited() -> None:
    options = {"rateLimit": {"limit": 1, "period": "1h", "key": "event.data.limited"}}

    world = play(options, [(n, Event(n, {"limited": n % 2 == 0})) for n in range(5)])

    assert numbers(world) == [[0], [1], [3]]


def test_idempotency_runs_a_value_once_a_day_and_replaces_a_rate_limit() -> None:
    options = {"idempotency": "event.data.cart", "rateLimit": {"limit": 1, "period": "1s"}}
    arrivals = [(0, Event(0, {"cart": "a"})), (0, Event(1, {"cart": "b"})), (2 * S, Event(2, {"cart": "a"}))]
    arrivals += [(24 * H - 1, Event(3, {"cart": "a"})), (24 * H, Event(4, {"cart": "a"}))]

    world = play(options, arrivals)

    assert numbers(world) == [[0], [1], [4]]
    assert {drop.why for drop in world.dropped} == {"idempotency"}


def test_a_throttle_with_burst_two_starts_two_at_once_then_one_each_five_seconds() -> None:
    options = {"limit": 1, "period": "5s", "burst": 2}

    assert starts_ms(options, [0] * 6) == [0, 0, 5 * S, 10 * S, 15 * S, 20 * S]

    world = play({"throttle": options}, [(0, Event(n)) for n in range(6)])

    assert [run.started_ms for run in world.runs_of("f")] == starts_ms(options, [0] * 6)
    assert world.dropped == []


def test_a_throttle_of_three_a_second_never_starts_early() -> None:
    assert starts_ms({"limit": 3, "period": "1s"}, [0] * 5) == [0, 334, 668, 1002, 1336]
    assert starts_ms({"limit": 3, "period": "1s", "burst": 3}, [0] * 5) == [0, 0, 0, 334, 667]


def test_debounce_with_a_timeout_runs_on_the_last_event_before_it() -> None:
    options = {"debounce": {"period": "5m", "timeout": "10m"}}

    world = play(options, [(n * M, Event(n)) for n in range(10)])

    assert numbers(world) == [[9]]
    assert world.runs_of("f")[0].started_ms == 10 * M


def test_debounce_takes_the_newest_event_and_waits_again_after_each() -> None:
    options = {"debounce": {"period": "1m", "key": "event.data.user"}}
    arrivals = [
        (0, Event(0, {"user": "a"}, ts_ms=500)),
        (30 * S, Event(1, {"user": "a"}, ts_ms=400)),
        (31 * S, Event(2, {"user": "b"})),
        (80 * S, Event(3, {"user": "a"}, ts_ms=500)),
    ]

    world = play(options, arrivals)

    assert numbers(world) == [[2], [3]]
    assert [run.created_ms for run in world.runs_of("f")] == [91 * S, 140 * S]


def test_a_batch_of_a_hundred_or_five_seconds() -> None:
    world = play({"batchEvents": {"maxSize": 100, "timeout": "5s"}}, [(n, Event(n)) for n in range(250)])

    assert [len(run.events) for run in world.runs_of("f")] == [100, 100, 50]
    assert [number for run in numbers(world) for number in run] == list(range(250))
    assert [run.created_ms for run in world.runs_of("f")] == [99, 199, 200 + 5 * S]


def test_batches_are_of_one_key_and_leave_out_what_their_condition_leaves_out() -> None:
    options = {
        "batchEvents": {"maxSize": 2, "timeout": "5s", "key": "event.data.user", "if": "event.data.batchable"}
    }
    arrivals = [
        (0, Event(0, {"user": "a", "batchable": True})),
        (1, Event(1, {"user": "b", "batchable": True})),
        (2, Event(2, {"user": "a", "batchable": False})),
        (3, Event(3, {"user": "a"})),
        (4, Event(4, {"user": "a", "batchable": True})),
    ]

    world = play(options, arrivals)

    assert numbers(world) == [[2], [3], [0, 4], [1]]


def test_ten_mebibytes_end_a_batch() -> None:
    arrivals = [(n, Event(n, bytes=3 * 1024 * 1024)) for n in range(5)]

    world = play({"batchEvents": {"maxSize": 100, "timeout": "5s"}}, arrivals)

    assert numbers(world) == [[0, 1, 2, 3], [4]]


def test_two_functions_share_a_counter_and_go_by_their_own_limit() -> None:
    few = {"concurrency": {"scope": "account", "key": '"openai"', "limit": 5}, "triggers": ["a"]}
    many = {"concurrency": {"scope": "account", "key": '"openai"', "limit": 50}, "triggers": ["b"]}
    work = (Do("request", 1 * H),)
    world = World([Function("few", few, work), Function("many", many, work)])

    world.play([(n, Event(n, name="a")) for n in range(10)], until_ms=9)
    assert sum(run.started_ms is not None for run in world.runs_of("few")) == 5

    world.play([(10 + n, Event(10 + n, name="b")) for n in range(60)], until_ms=100)
    assert sum(run.started_ms is not None for run in world.runs_of("many")) == 45

    world.play([], until_ms=2 * H)
    assert sum(run.started_ms is not None for run in world.runs_of("few")) < 10


def test_a_request_needs_room_under_each_of_its_limits() -> None:
    options = {
        "concurrency": [
            {"scope": "account", "key": '"openai"', "limit": 10},
            {"key": "event.data.account_id", "limit": 1},
        ]
    }

    world = play(options, [(n, Event(n, {"account_id": n // 2})) for n in range(6)], until_ms=5)

    assert [run.started_ms for run in world.runs_of("f")] == [0, None, 2, None, 4, None]


def test_what_sleeps_holds_no_step_but_keeps_its_run_limit() -> None:
    work = (Do("request", 10), Do("sleep", 1_000), Do("request", 10))
    by_step = play({"concurrency": 1}, [(0, Event(0)), (0, Event(1))], work=work)
    by_run = play({"concurrency": {"fn": [{"limit": 1}]}}, [(0, Event(0)), (0, Event(1))], work=work)

    assert [run.sent_ms for run in by_step.runs_of("f")] == [[0, 1_010], [10, 1_020]]
    assert [run.sent_ms for run in by_run.runs_of("f")] == [[0, 1_010], [1_020, 2_030]]


def test_a_limit_of_zero_is_none() -> None:
    assert needs_of("f", {"limit": 0}, {}) == []


def test_singleton_skips_while_the_first_is_still_trying() -> None:
    trying = (Do("request", 10), Do("sleep", 30 * S), Do("request", 10))
    arrivals = [
        (0, Event(0, {"user": "a"})),
        (15 * S, Event(1, {"user": "a"})),
        (15 * S, Event(2, {"user": "b"})),
    ]
    arrivals += [(60 * S, Event(3, {"user": "a"}))]

    world = play({"singleton": {"mode": "skip", "key": "event.data.user"}}, arrivals, work=trying)

    statuses = [(run.status, run.reason) for run in world.runs_of("f")]
    assert statuses == [("Completed", ""), ("Skipped", "Singleton"), ("Completed", ""), ("Completed", "")]


def test_singleton_cancels_the_run_before() -> None:
    work = (Do("request", 10), Do("sleep", 30 * S), Do("request", 10))

    world = play({"singleton": {"mode": "cancel"}}, [(0, Event(0)), (15 * S, Event(1))], work=work)

    first, second = world.runs_of("f")
    assert (first.status, first.reason, first.ended_ms) == ("Cancelled", "Singleton", 15 * S)
    assert (second.status, second.started_ms) == ("Completed", 15 * S)


def test_a_paused_function_skips_events_and_holds_its_runs() -> None:
    work = (Do("request", 10), Do("sleep", 30 * S), Do("request", 10))
    world = World([Function("f", {}, work)])
    world.play([(0, Event(0))], until_ms=5)
    world.pause("f", 5)
    world.play([(6, Event(1))], until_ms=50 * S)
    world.resume("f", 50 * S)
    world.play([(60 * S, Event(2))], until_ms=100 * S)

    held, skipped, later = world.runs_of("f")
    assert (held.status, held.sent_ms) == ("Completed", [0, 50 * S])
    assert (skipped.status, skipped.reason, skipped.sent_ms) == ("Skipped", "FunctionPaused", [])
    assert later.status == "Completed"


def test_runs_of_a_paused_function_are_cancelled_after_seven_days_or_at_once() -> None:
    work = (Do("request", 10), Do("sleep", 30 * S), Do("request", 10))
    for cancel, ended_ms in ((False, 5 + 7 * 24 * H), (True, 5)):
        world = World([Function("f", {}, work)])
        world.play([(0, Event(0))], until_ms=4)
        world.pause("f", 5, cancel=cancel)
        world.play([], until_ms=8 * 24 * H)

        assert [(run.status, run.ended_ms) for run in world.runs_of("f")] == [("Cancelled", ended_ms)]


def test_what_a_cancelled_run_executes_counts_until_it_is_done() -> None:
    world = World([Function("f", {"concurrency": 1}, (Do("request", 100),))])
    world.play([(0, Event(0)), (1, Event(1))], until_ms=1)
    world.cancel("f:0", 50)
    world.play([], until_ms=1_000)

    assert [(run.status, run.started_ms) for run in world.runs_of("f")] == [
        ("Cancelled", 0),
        ("Completed", 100),
    ]


def test_timeouts_count_from_the_making_and_from_the_first_request() -> None:
    options = {"concurrency": 1, "timeouts": {"start": "10s", "finish": "15s"}}

    world = play(options, [(0, Event(0)), (0, Event(1))], work=(Do("request", 12 * S),))
    assert [(run.status, run.ended_ms) for run in world.runs_of("f")] == [
        ("Completed", 12 * S),
        ("Cancelled", 10 * S),
    ]

    world = play(
        options, [(0, Event(0))], work=(Do("request", 12 * S), Do("sleep", 12 * S), Do("request", 1))
    )
    assert [(run.status, run.ended_ms) for run in world.runs_of("f")] == [("Cancelled", 15 * S)]


def test_an_event_of_the_future_starts_at_its_moment() -> None:
    world = play({"timeouts": {"start": "10s"}}, [(0, Event(0, ts_ms=60 * S))])

    assert [(run.status, run.created_ms, run.started_ms) for run in world.runs_of("f")] == [
        ("Completed", 0, 60 * S)
    ]


def test_debounced_idempotency_counts_runs_and_not_events() -> None:
    options = {"debounce": {"period": "1m"}, "idempotency": "event.data.cart"}

    world = play(options, [(0, Event(0, {"cart": "a"})), (1 * S, Event(1, {"cart": "a"}))])
    assert numbers(world) == [[1]]

    world = play(options, [(0, Event(0, {"cart": "a"})), (2 * M, Event(1, {"cart": "a"}))])
    assert numbers(world) == [[0]]


def test_a_rate_limited_event_does_not_reach_the_debounce() -> None:
    options = {"debounce": {"period": "1m"}, "rateLimit": {"limit": 1, "period": "1h"}}

    world = play(options, [(0, Event(0)), (59 * S, Event(1))])

    assert numbers(world) == [[0]]
    assert world.runs_of("f")[0].created_ms == 60 * S


def test_a_follower_objects_to_what_no_order_allows() -> None:
    def one_at_a_time() -> World:
        world = World([Function("f", {"concurrency": 1}, (Do("request", 100),))])
        world.receive(Event(0), 0, ["f:0"])
        world.receive(Event(1), 1, [])
        world.receive(Event(2), 2, [])
        return world

    one_at_a_time().answer("f:0", 100, ["f:1"])
    with pytest.raises(Objection, match="beyond"):
        one_at_a_time().receive(Event(3), 3, ["f:3"])
    with pytest.raises(Objection, match="before f:1"):
        one_at_a_time().answer("f:0", 100, ["f:2"])
    with pytest.raises(Objection, match="everything is open"):
        one_at_a_time().answer("f:0", 100, [])
    with pytest.raises(Objection, match="no run"):
        one_at_a_time().answer("f:0", 100, ["f:9"])
    with pytest.raises(Objection, match="ended"):
        one_at_a_time().answer("f:0", 100, ["f:0"])


def test_a_leaky_bucket_is_exact_at_its_edge() -> None:
    bucket = LeakyBucket(1, Fraction(1000, 3))
    bucket.fill(0)

    assert bucket.room_from_ms(0) == 334
    assert not bucket.has_room(333)
    assert bucket.has_room(334)


def test_counters_are_held_by_name() -> None:
    counters = Counters()
    [need] = needs_of("f", 1, {})
    counters.take(need, "a")
    counters.take(need, "a")

    assert not counters.has_room(need)
    counters.give("a")
    assert counters.has_room(need)


def test_durations_and_values_are_read_as_documented() -> None:
    assert duration_ms("1h30m") == 90 * M
    assert value_of("event.data.a.b", {"a": {"b": 1}}) == 1
    assert value_of("event.data.a.c", {"a": {"b": 1}}) is None
    assert key_of({"key": "event.data.a"}, {"a": 1}) == key_of({"key": "event.data.a"}, {"a": "1"})
    assert key_of({}, {"a": 1}) == ""
