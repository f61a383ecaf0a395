"""Throttle: when starts are allowed, against a count of the emission intervals that have passed."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.apps.config import Throttle
from inngest_server.flow_control import gcra, throttle
from tests.builders import T0_MS


def starts(rate: throttle.Rate, count: int, *, from_ms: int = T0_MS) -> list[int]:
    """When that many runs start that all wait from the first moment, in milliseconds after it."""
    tat_ns, now_ms, found = 0, from_ms, list[int]()
    for _ in range(count):
        now_ms = throttle.opens_at_ms(rate, tat_ns, now_ms)
        tat_ns = throttle.start(rate, tat_ns, now_ms)
        found.append(now_ms - from_ms)
    return found


@pytest.mark.parametrize(
    ("limit", "period_ms", "burst", "expected"),
    [
        (1, 5_000, 2, [0, 0, 5_000, 10_000]),  # Features-2, section 23, item 8.
        (1, 5_000, 1, [0, 5_000, 10_000, 15_000]),
        (10, 60_000, 1, [0, 6_000, 12_000, 18_000]),
        (2, 1_000, 3, [0, 0, 0, 500, 1_000]),
        (3, 1_000, 1, [0, 334, 668]),  # Never early: thirds of a second are rounded up.
    ],
)
def test_a_burst_starts_at_once_and_then_one_per_interval(
    limit: int, period_ms: int, burst: int, expected: list[int]
) -> None:
    rate = throttle.rate_of(Throttle(limit, period_ms, burst))
    assert starts(rate, len(expected)) == expected


def test_what_was_not_used_for_long_gives_no_more_than_the_burst() -> None:
    rate = throttle.rate_of(Throttle(1, 1_000, 2))
    tat_ns = throttle.start(rate, 0, T0_MS)
    later = T0_MS + 3_600_000
    for expected in (later, later, later + 1_000):
        now_ms = throttle.opens_at_ms(rate, tat_ns, later)
        tat_ns = throttle.start(rate, tat_ns, now_ms)
        assert now_ms == expected


def test_who_raises_the_rate_does_not_wait_for_the_old_one() -> None:
    weekly = throttle.rate_of(Throttle(1, 7 * 86_400_000))
    tat_ns = throttle.start(weekly, 0, T0_MS)
    assert throttle.opens_at_ms(weekly, tat_ns, T0_MS) == T0_MS + 7 * 86_400_000
    quick = throttle.rate_of(Throttle(1, 1_000))
    assert throttle.opens_at_ms(quick, tat_ns, T0_MS + 10) == T0_MS + 10
    tat_ns = throttle.start(quick, tat_ns, T0_MS + 10)
    assert throttle.opens_at_ms(quick, tat_ns, T0_MS + 10) == T0_MS + 1_010


def test_the_state_is_used_up_by_a_start_and_by_nothing_else() -> None:
    allowed, tat_ns = gcra.take(0, 1_000, 10, 20)
    assert (allowed, tat_ns) == (True, 1_010)
    assert gcra.take(tat_ns, 1_000, 10, 20) == (True, 1_020)
    assert gcra.take(1_020, 1_000, 10, 20) == (False, 1_010)
    assert gcra.take(1_020, 1_009, 10, 20) == (False, 1_010)
    assert gcra.take(1_020, 1_010, 10, 20) == (True, 1_030)


@given(
    limit=st.integers(1, 50),
    period_ms=st.integers(1_000, 100_000),
    burst=st.integers(1, 10),
    gaps_ms=st.lists(st.integers(0, 5_000), min_size=1, max_size=60),
)
def test_in_no_span_do_more_start_than_its_intervals_and_the_burst(
    limit: int, period_ms: int, burst: int, gaps_ms: list[int]
) -> None:
    """The bound of a leaky bucket, counted from every start anew."""
    rate = throttle.rate_of(Throttle(limit, period_ms, burst))
    tat_ns, now_ms, moments = 0, T0_MS, list[int]()
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        if throttle.opens_at_ms(rate, tat_ns, now_ms) == now_ms:
            tat_ns = throttle.start(rate, tat_ns, now_ms)
            moments.append(now_ms)
    interval_ms = Fraction(rate.emission_ns, gcra.NS_PER_MS)
    for first, begin_ms in enumerate(moments):
        for last in range(first, len(moments)):
            span_ms = moments[last] - begin_ms
            assert last - first + 1 <= span_ms / interval_ms + burst
