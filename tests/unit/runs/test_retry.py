"""When a failed try is repeated. Source: protocol 4.7."""

import pytest

from inngest_server.runs.retry import next_try_ms, retry_delay_ms
from inngest_server.runs.run import Limits, Moment
from tests.builders import HOUR_MS, SECOND_MS, T0_MS
from tests.unit.runs.builders import make_failure


def make_moment(
    *, jitter: float = 0.0, max_attempts: int = 21, retry_interval_ms: int | None = None
) -> Moment:
    return Moment(T0_MS, jitter, "shop-fulfil", max_attempts, retry_interval_ms, Limits())


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    list(enumerate([15, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200, 7200, 7200])),
)
def test_delays_grow_to_two_hours_and_stay_there(attempt: int, seconds: int) -> None:
    assert retry_delay_ms(attempt, 0.0) == seconds * SECOND_MS


@pytest.mark.parametrize(("jitter", "extra_ms"), [(0.0, 0), (0.5, 15_000), (0.9999, 29_997)])
def test_jitter_adds_up_to_thirty_seconds(jitter: float, extra_ms: int) -> None:
    assert next_try_ms(0, make_failure(), make_moment(jitter=jitter)) == T0_MS + 15_000 + extra_ms


@pytest.mark.parametrize(("attempt", "is_last"), [(0, False), (2, False), (3, True), (4, True)])
def test_there_are_as_many_tries_as_the_function_allows(attempt: int, is_last: bool) -> None:
    assert (next_try_ms(attempt, make_failure(), make_moment(max_attempts=4)) is None) is is_last


def test_a_function_without_retries_is_tried_once() -> None:
    assert next_try_ms(0, make_failure(), make_moment(max_attempts=1)) is None


def test_what_must_not_be_retried_is_not() -> None:
    assert next_try_ms(0, make_failure(retriable=False, retry_after_ms=1000), make_moment()) is None


def test_a_constant_interval_replaces_the_delays_and_their_jitter() -> None:
    assert next_try_ms(7, make_failure(), make_moment(jitter=0.9, retry_interval_ms=500)) == T0_MS + 500


def test_retry_after_wins_over_everything_else() -> None:
    failure = make_failure(retry_after_ms=HOUR_MS)
    assert next_try_ms(0, failure, make_moment(jitter=0.9, retry_interval_ms=500)) == T0_MS + HOUR_MS


def test_retry_after_does_not_add_tries() -> None:
    assert next_try_ms(0, make_failure(retry_after_ms=1000), make_moment(max_attempts=1)) is None
