"""Debounce: when a window closes, and with which event."""

from hypothesis import given
from hypothesis import strategies as st

from inngest_server.apps.options import Debounce
from inngest_server.flow_control.debounce import collect, is_due
from tests.builders import T0_MS, make_window

MINUTE_MS = 60_000
LIMIT = Debounce(period_ms=5 * MINUTE_MS)


def test_the_first_event_opens_a_window_of_one_period() -> None:
    taken = collect(LIMIT, None, ts_ms=T0_MS - 7, now_ms=T0_MS)
    assert taken == (T0_MS + 5 * MINUTE_MS, None, True)


def test_each_further_event_restarts_the_period_that_the_window_opened_with() -> None:
    window = make_window(period_ms=MINUTE_MS, due_at_ms=T0_MS + 10)
    assert collect(LIMIT, window, T0_MS + 9, T0_MS + 9).due_at_ms == T0_MS + 9 + MINUTE_MS


def test_an_event_with_an_older_time_restarts_the_period_and_replaces_nothing() -> None:
    window = make_window(period_ms=MINUTE_MS, due_at_ms=T0_MS + 10, newest_ts_ms=T0_MS)
    taken = collect(LIMIT, window, ts_ms=T0_MS - 1, now_ms=T0_MS + 5)
    assert (taken.due_at_ms, taken.is_newest) == (T0_MS + 5 + MINUTE_MS, False)


def test_of_two_events_with_the_same_time_the_later_arrival_is_the_newest() -> None:
    window = make_window(due_at_ms=T0_MS + 10, newest_ts_ms=T0_MS)
    assert collect(LIMIT, window, ts_ms=T0_MS, now_ms=T0_MS + 5).is_newest


def test_the_timeout_counts_from_the_first_event_and_cuts_the_period() -> None:
    limit = Debounce(period_ms=5 * MINUTE_MS, timeout_ms=3 * MINUTE_MS)
    opened = collect(limit, None, T0_MS, T0_MS)
    assert (opened.due_at_ms, opened.deadline_ms) == (T0_MS + 3 * MINUTE_MS,) * 2


def test_a_window_takes_nothing_from_its_very_moment_on() -> None:
    window = make_window(due_at_ms=T0_MS)
    assert not is_due(window, T0_MS - 1)
    assert is_due(window, T0_MS)


@given(
    period_ms=st.integers(1, 50),
    timeout_ms=st.none() | st.integers(1, 200),
    events=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 300)), min_size=1, max_size=30),
)
def test_a_series_of_events_closes_when_its_definition_says(
    period_ms: int, timeout_ms: int | None, events: list[tuple[int, int]]
) -> None:
    """Against the definition: a gap of a period or the timeout; the largest `ts`."""
    limit = Debounce(period_ms=period_ms, timeout_ms=timeout_ms)
    now_ms = T0_MS
    arrivals: list[tuple[int, int]] = []
    for gap_ms, ts_ms in events:
        now_ms += gap_ms
        arrivals.append((now_ms, ts_ms))
    first_ms = arrivals[0][0]
    deadline_ms = first_ms + timeout_ms if timeout_ms is not None else None

    window = None
    newest = -1
    members = 0
    for index, (at_ms, ts_ms) in enumerate(arrivals):
        if window is not None and is_due(window, at_ms):
            break
        taken = collect(limit, window, ts_ms, at_ms)
        newest = index if taken.is_newest else newest
        members += 1
        newest_ts_ms = ts_ms if taken.is_newest or window is None else window.newest_ts_ms
        window = make_window(
            period_ms=period_ms,
            due_at_ms=taken.due_at_ms,
            deadline_ms=taken.deadline_ms,
            newest_ts_ms=newest_ts_ms,
        )
    assert window is not None

    expected = [at_ms for at_ms, _ in arrivals]
    count = 1
    while count < len(expected):
        closes_ms = expected[count - 1] + period_ms
        if deadline_ms is not None:
            closes_ms = min(closes_ms, deadline_ms)
        if expected[count] >= closes_ms:
            break
        count += 1
    last_ms = expected[count - 1] + period_ms
    assert members == count
    assert window.due_at_ms == (last_ms if deadline_ms is None else min(last_ms, deadline_ms))
    assert newest == max(range(count), key=lambda index: (arrivals[index][1], index))
