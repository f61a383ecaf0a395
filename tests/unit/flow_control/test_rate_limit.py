"""Rate limits: what is let through, and what is dropped. Source: protocol 5.12, features-2 7."""

import pytest

from inngest_server.apps.config import FunctionConfig
from inngest_server.apps.options import RateLimit
from inngest_server.flow_control.rate_limit import Allowed, Dropped, judge, rate_rule
from tests.builders import HOUR_MS, SECOND_MS, T0_MS
from tests.unit.engine.builders import make_config

MINUTE_MS = 60 * SECOND_MS


def starts_at(limit: RateLimit, *moments_ms: int) -> list[int]:
    """Those of the moments, counted from T0, at which one is let through."""
    passed: list[int] = []
    tat_ns = 0
    for at_ms in moments_ms:
        verdict = judge(limit, tat_ns, T0_MS + at_ms)
        if isinstance(verdict, Allowed):
            passed.append(at_ms)
            tat_ns = verdict.tat_ns
    return passed


def test_ten_in_a_minute_lets_two_through_at_once_and_then_one_each_six_seconds() -> None:
    limit = RateLimit(10, MINUTE_MS)
    assert starts_at(limit, 0, 0, 0, 5_999, 6_000, 6_000, 12_000, 12_001) == [0, 0, 6_000, 12_000]


def test_one_in_four_hours_lets_one_through_until_they_have_passed() -> None:
    limit = RateLimit(1, 4 * HOUR_MS)
    assert starts_at(limit, 0, 1, 4 * HOUR_MS - 1, 4 * HOUR_MS) == [0, 4 * HOUR_MS]


def test_a_burst_is_a_tenth_of_the_limit_and_one() -> None:
    for limit, at_once in ((1, 1), (9, 1), (10, 2), (19, 2), (25, 3), (1000, 101)):
        assert len(starts_at(RateLimit(limit, HOUR_MS), *[0] * 200)) == at_once


def test_what_is_dropped_uses_nothing_up() -> None:
    limit = RateLimit(1, MINUTE_MS)
    assert starts_at(limit, *range(0, 2 * MINUTE_MS, SECOND_MS)) == [0, MINUTE_MS]


def test_a_drop_tells_from_when_on_one_passes_again() -> None:
    limit = RateLimit(3, 10 * SECOND_MS)  # An interval is no whole number of milliseconds.
    first = judge(limit, 0, T0_MS)
    assert isinstance(first, Allowed)
    dropped = judge(limit, first.tat_ns, T0_MS + 1)
    assert isinstance(dropped, Dropped)
    assert dropped.until_ms == T0_MS + 3_334
    assert isinstance(judge(limit, first.tat_ns, dropped.until_ms - 1), Dropped)
    assert isinstance(judge(limit, first.tat_ns, dropped.until_ms), Allowed)


def test_the_number_says_nothing_once_it_has_passed() -> None:
    limit = RateLimit(10, MINUTE_MS)
    used = judge(limit, 0, T0_MS)
    assert isinstance(used, Allowed)
    assert used.expires_at_ms == T0_MS + 6_000
    assert judge(limit, used.tat_ns, used.expires_at_ms) == judge(limit, 0, used.expires_at_ms)


def test_a_former_longer_period_does_not_hold_back_what_the_present_one_lets_through() -> None:
    old = judge(RateLimit(1, 24 * HOUR_MS), 0, T0_MS)
    assert isinstance(old, Allowed)
    limit = RateLimit(1, MINUTE_MS)
    assert judge(limit, old.tat_ns, T0_MS) == judge(limit, 0, T0_MS)
    longer = RateLimit(1, 48 * HOUR_MS)
    assert isinstance(judge(longer, old.tat_ns, T0_MS + 24 * HOUR_MS - 1), Dropped)


@pytest.mark.parametrize("limit", [1, 2, 7, 10, 33, 100, 1000])
def test_never_more_than_the_burst_and_what_the_time_allows(limit: int) -> None:
    period_ms = 10 * SECOND_MS
    moments = [number * 37 for number in range(2000)]
    passed = starts_at(RateLimit(limit, period_ms), *moments)
    for first in range(0, len(passed), 7):
        for last in range(first, len(passed), 11):
            span_ms = passed[last] - passed[first]
            assert last - first + 1 <= limit // 10 + 1 + span_ms * limit / period_ms


def test_idempotency_is_one_in_a_day_and_replaces_the_rate_limit() -> None:
    config = make_config(idempotency="event.data.cart", rateLimit={"limit": 5, "period": "1m"})
    rule = rate_rule("fn", config)
    assert rule is not None
    assert rule.limit == RateLimit(1, 24 * HOUR_MS, "event.data.cart")
    assert (rule.is_idempotency, rule.counts_runs) == (True, False)


def test_beside_a_debounce_idempotency_counts_runs_and_a_rate_limit_counts_events() -> None:
    debounce = {"period": "10s"}
    once = rate_rule("fn", make_config(idempotency="event.data.cart", debounce=debounce))
    limited = rate_rule("fn", make_config(rateLimit={"limit": 5, "period": "1m"}, debounce=debounce))
    assert once is not None
    assert limited is not None
    assert (once.counts_runs, limited.counts_runs) == (True, False)


def test_a_batch_has_no_rate_limit() -> None:
    batch = {"maxSize": 10, "timeout": "10s"}
    config = make_config(batchEvents=batch, rateLimit={"limit": 5, "period": "1m"})
    assert rate_rule("fn", config) is None


def meter_name(config: FunctionConfig, data: dict[str, object], function_id: str = "fn") -> str | None:
    rule = rate_rule(function_id, config)
    assert rule is not None
    meter = rule.meter_of({"data": data}, T0_MS)
    return meter.name if meter is not None else None


def test_each_value_of_the_key_and_each_function_is_counted_apart() -> None:
    config = make_config(rateLimit={"limit": 1, "period": "1m", "key": "event.data.user"})
    names = [
        meter_name(config, {"user": "ann"}),
        meter_name(config, {"user": "bob"}),
        meter_name(config, {}),
        meter_name(config, {"user": "ann"}, "other"),
        meter_name(make_config(rateLimit={"limit": 1, "period": "1m"}), {"user": "ann"}),
    ]
    assert len(set(names)) == len(names)
    assert meter_name(config, {"user": "ann", "more": 1}) == names[0]
    assert all(name is not None and name.startswith("rate/") for name in names)


def test_a_key_that_is_false_is_not_limited_and_no_other_value_is_exempt() -> None:
    config = make_config(rateLimit={"limit": 1, "period": "1m", "key": "event.data.limited"})
    assert meter_name(config, {"limited": False}) is None
    for value in ("false", 0, None, "", True):
        assert meter_name(config, {"limited": value}) is not None
