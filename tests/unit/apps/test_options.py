"""Every limit of the options that hold runs back, from both sides (protocol 2.7, decisions.md)."""

import pytest

from inngest_server.apps.config import (
    ConcurrencyLevel,
    ConcurrencyLimit,
    ConcurrencyScope,
    RateLimit,
    Throttle,
)
from tests.unit.apps.bodies import problems, read, warnings

STEP = ConcurrencyLevel.STEP
RUN = ConcurrencyLevel.RUN


# Concurrency.


@pytest.mark.parametrize(
    ("option", "limits"),
    [
        (None, []),
        (0, []),
        (5, [ConcurrencyLimit(5)]),
        ({"limit": 5}, [ConcurrencyLimit(5)]),
        ({"limit": 5, "key": "", "scope": "", "hash": ""}, [ConcurrencyLimit(5)]),
        ({"limit": 0, "key": "event.data.a"}, []),
        ({"key": "event.data.a"}, []),
        ([], []),
        ([5], [ConcurrencyLimit(5)]),
        (
            [{"limit": 10, "scope": "account", "key": "'openai'"}, {"limit": 1, "key": "event.data.a"}],
            [
                ConcurrencyLimit(10, "'openai'", ConcurrencyScope.ACCOUNT),
                ConcurrencyLimit(1, "event.data.a"),
            ],
        ),
        ([{"limit": 3, "scope": "env", "key": "'x'"}], [ConcurrencyLimit(3, "'x'", ConcurrencyScope.ENV)]),
        (
            {"fn": [{"limit": 2, "key": "event.data.a"}], "step": [{"limit": 9}, {"limit": 8, "key": "'k'"}]},
            [
                ConcurrencyLimit(2, "event.data.a", level=RUN),
                ConcurrencyLimit(9, level=STEP),
                ConcurrencyLimit(8, "'k'", level=STEP),
            ],
        ),
        ({"fn": 2}, [ConcurrencyLimit(2, level=RUN)]),
        ({"fn": {"limit": 2, "scope": "fn"}}, [ConcurrencyLimit(2, level=RUN)]),
        ({"fn": [], "step": None}, []),
    ],
)
def test_every_spelling_of_concurrency_is_read(option: object, limits: list[ConcurrencyLimit]) -> None:
    assert list(read(concurrency=option).concurrency) == limits


@pytest.mark.parametrize(
    ("option", "field", "code"),
    [
        (-1, "concurrency", "out_of_range"),
        (1.5, "concurrency", "wrong_type"),
        ("5", "concurrency", "wrong_type"),
        (True, "concurrency", "wrong_type"),
        ([1, -1], "concurrency[1]", "out_of_range"),
        ([{"limit": "5"}], "concurrency[0].limit", "wrong_type"),
        ([{"limit": 1}] * 3, "concurrency", "too_many"),
        ({"limit": 1, "scope": "galaxy"}, "concurrency.scope", "unknown_value"),
        ({"limit": 1, "scope": "env"}, "concurrency.key", "missing"),
        ({"limit": 0, "scope": "account", "key": ""}, "concurrency.key", "missing"),
        ({"limit": 1, "scope": "env", "key": "a +"}, "concurrency.key", "expression_invalid"),
        ({"fn": [{"limit": 1}, {"limit": 1}]}, "concurrency.fn", "too_many"),
        ({"step": [1, 2, 3]}, "concurrency.step", "too_many"),
        ({"fn": [{"limit": 1, "scope": "env", "key": "'x'"}]}, "concurrency.fn[0].scope", "conflict"),
        ({"fn": 1, "limit": 2}, "concurrency.limit", "conflict"),
    ],
)
def test_a_bad_concurrency_is_told(option: object, field: str, code: str) -> None:
    assert problems(concurrency=option) == [(field, code)]


# Options with a period.


@pytest.mark.parametrize(
    ("name", "rest", "shortest", "longest"),
    [
        ("throttle", {"limit": 1}, "1s", "7d"),
        ("rateLimit", {"limit": 1}, "1s", "24h"),
        ("debounce", {}, "1s", "7d"),
    ],
)
def test_a_period_has_two_bounds(name: str, rest: dict[str, object], shortest: str, longest: str) -> None:
    for period in (shortest, longest):
        assert problems(**{name: {**rest, "period": period}}) == []
    for period in ("999ms", f"{longest}1ms", "-1h", "0"):
        assert problems(**{name: {**rest, "period": period}}) == [(f"{name}.period", "out_of_range")]
    for period in ("1 fortnight", "10"):
        assert problems(**{name: {**rest, "period": period}}) == [(f"{name}.period", "duration_invalid")]
    for period in (None, ""):
        assert problems(**{name: {**rest, "period": period}}) == [(f"{name}.period", "missing")]
    assert problems(**{name: {**rest, "period": 5000}}) == [(f"{name}.period", "wrong_type")]
    assert problems(**{name: 5}) == [(name, "wrong_type")]


@pytest.mark.parametrize("name", ["throttle", "rateLimit", "debounce"])
def test_the_key_of_a_period_option_is_an_expression(name: str) -> None:
    option = {"limit": 1, "period": "1m"}

    assert problems(**{name: {**option, "key": "event.data.id"}}) == []
    assert problems(**{name: {**option, "key": ""}}) == []
    assert problems(**{name: {**option, "key": "(("}}) == [(f"{name}.key", "expression_invalid")]


@pytest.mark.parametrize(
    ("option", "throttle"),
    [
        ({"limit": 0}, Throttle(1, 60_000, 1)),
        ({}, Throttle(1, 60_000, 1)),
        ({"limit": 10, "burst": 0}, Throttle(10, 60_000, 1)),
        ({"limit": 10, "burst": 2, "key": "event.data.t"}, Throttle(10, 60_000, 2, "event.data.t")),
    ],
)
def test_throttle_counts_zero_as_one(option: dict[str, object], throttle: Throttle) -> None:
    assert read(throttle={"period": "1m", **option}).throttle == throttle


@pytest.mark.parametrize("name", ["limit", "burst"])
def test_throttle_refuses_negative_counts(name: str) -> None:
    assert problems(throttle={"period": "1m", name: -1}) == [(f"throttle.{name}", "out_of_range")]


@pytest.mark.parametrize(
    ("limit", "code"),
    [(None, "missing"), (0, "out_of_range"), (2**53, "out_of_range"), (1e300, "out_of_range")],
)
def test_rate_limit_needs_a_limit_from_one(limit: object, code: str) -> None:
    assert problems(rateLimit={"limit": limit, "period": "1m"}) == [("rateLimit.limit", code)]


def test_debounce_takes_a_timeout() -> None:
    config = read(debounce={"period": "5m", "key": "event.data.id", "timeout": "30m"})

    assert config.debounce is not None
    assert config.debounce.timeout_ms == 1_800_000
    assert problems(debounce={"period": "5m", "timeout": "0"}) == [("debounce.timeout", "out_of_range")]


def test_idempotency_replaces_the_rate_limit_with_a_warning() -> None:
    options = {"idempotency": "event.data.id", "rateLimit": {"limit": 5, "period": "1m"}}

    assert read(**options).effective_rate_limit == RateLimit(1, 86_400_000, "event.data.id")
    assert warnings(**options) == [("rateLimit", "ignored")]
    assert read(rateLimit=options["rateLimit"]).effective_rate_limit == RateLimit(5, 60_000)
    assert problems(idempotency="a b") == [("idempotency", "expression_invalid")]


# Batches.


@pytest.mark.parametrize(("size", "ok"), [(1, False), (2, True), (100, True), (1000, True), (1001, False)])
def test_a_batch_has_two_to_a_thousand_events(size: int, ok: bool) -> None:
    found = problems(batchEvents={"maxSize": size, "timeout": "5s"})

    assert found == ([] if ok else [("batchEvents.maxSize", "out_of_range")])


@pytest.mark.parametrize(
    ("timeout", "ok"),
    [("999ms", False), ("1s", True), ("60s", True), ("1d", True), ("7d", True), ("169h", False)],
)
def test_a_batch_waits_one_second_to_seven_days(timeout: str, ok: bool) -> None:
    found = problems(batchEvents={"maxSize": 2, "timeout": timeout})

    assert found == ([] if ok else [("batchEvents.timeout", "out_of_range")])


def test_a_batch_beyond_the_documented_limits_is_accepted_with_warnings() -> None:
    assert warnings(batchEvents={"maxSize": 100, "timeout": "60s"}) == []
    assert warnings(batchEvents={"maxSize": 101, "timeout": "61s"}) == [
        ("batchEvents.maxSize", "beyond_documented"),
        ("batchEvents.timeout", "beyond_documented"),
    ]


def test_a_batch_needs_size_and_timeout() -> None:
    assert problems(batchEvents={}) == [
        ("batchEvents.maxSize", "missing"),
        ("batchEvents.timeout", "missing"),
    ]
    assert problems(batchEvents={"maxSize": 2, "timeout": "5s", "if": "x ==", "key": "y =="}) == [
        ("batchEvents.key", "expression_invalid"),
        ("batchEvents.if", "expression_invalid"),
    ]


BATCH = {"maxSize": 10, "timeout": "5s"}


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("cancel", [{"event": "a"}]),
        ("debounce", {"period": "5m"}),
        ("singleton", {"mode": "skip"}),
        ("priority", {"run": "1"}),
    ],
)
def test_some_options_cannot_stand_beside_a_batch(name: str, option: object) -> None:
    assert problems(**{"batchEvents": BATCH, name: option}) == [(name, "conflict")]


@pytest.mark.parametrize(
    ("name", "option"), [("idempotency", "event.data.id"), ("rateLimit", {"limit": 1, "period": "1m"})]
)
def test_a_batch_ignores_rate_limits_with_a_warning(name: str, option: object) -> None:
    assert warnings(**{"batchEvents": BATCH, name: option}) == [(name, "ignored")]
    assert read(**{"batchEvents": BATCH, name: option}).effective_rate_limit is None


def test_empty_options_do_not_conflict_with_a_batch() -> None:
    assert warnings(batchEvents=BATCH, cancel=[], debounce=None, priority={"run": ""}, concurrency=5) == []


def test_a_keyed_concurrency_beside_a_batch_is_warned_about() -> None:
    limits = [{"limit": 1, "key": "event.data.id"}]

    assert warnings(batchEvents=BATCH, concurrency=limits) == [("concurrency", "first_event_only")]
