"""Durations, and the fields that take a duration or a date."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.wire.durations import (
    InvalidDurationError,
    format_duration_s,
    format_go_duration,
    parse_deadline_ms,
    parse_duration_ms,
    parse_retry_after_ms,
    parse_sleep_until_ms,
)
from inngest_server.wire.times import parse_rfc3339_ms

NOW = 1714554000000  # 2024-05-01T09:00:00Z
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("+0", 0),
        ("-0", 0),
        ("0s", 0),
        ("300ms", 300),
        ("1h30m", HOUR + 30 * MINUTE),
        ("2.5d", 60 * HOUR),
        ("1w2d", 9 * DAY),
        ("-1.5h", -90 * MINUTE),
        ("+10s", 10 * SECOND),
        (".5s", 500),
        ("1.s", SECOND),
        ("1s1s", 2 * SECOND),
        ("1500us", 2),
        ("1499\u00b5s", 1),
        ("1500\u03bcs", 2),
        ("499999ns", 0),
        ("0.0000000000000000000001s", 0),
        ("106751d", 106751 * DAY),
    ],
)
def test_durations_are_read(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    ["", " ", "10", "1.5", "00", "s", ".s", ".", "+", "-", "+-1s", "1 s", " 1s", "1s ", "1s\n", "1S", "1y",
     "1mo", "1h-5m", "10 minutes", "1e3s", "\u0661s", "106752d", "9" * 99 + "s", "1s" * 60, "1_0s", "NaN",
     "2024-05-01T09:00:00Z"],
)  # fmt: skip
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(InvalidDurationError, match="30s") as caught:
        parse_duration_ms(text)

    assert caught.value.code == "invalid_duration"
    assert caught.value.text == text


@given(st.integers(min_value=0, max_value=10**12))
def test_milliseconds_are_exact(ms: int) -> None:
    assert parse_duration_ms(f"{ms}ms") == ms
    assert parse_duration_ms(f"{ms // 1000}.{ms % 1000:03}s") == ms
    assert parse_duration_ms(f"-{ms // 1000}s{ms % 1000}ms") == -ms


@given(st.text(alphabet="0123456789.+-nuµmshdw"))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidDurationError):
        parse_duration_ms(text)


# Deadlines


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("1h", NOW + HOUR),
        ("-1h", NOW - HOUR),
        ("0", NOW),
        ("2024-05-01T10:00:00.5Z", NOW + HOUR + 500),
        ("2020-01-01T00:00:00Z", 1577836800000),
    ],
)
def test_a_deadline_is_a_duration_or_a_time(text: str, at_ms: int) -> None:
    assert parse_deadline_ms(text, NOW) == at_ms


@pytest.mark.parametrize("text", ["", "tomorrow", "2024-05-01", "Wed, 01 May 2024 09:00:00 GMT"])
def test_a_deadline_is_nothing_else(text: str) -> None:
    with pytest.raises(InvalidDurationError, match=r"30s.*2024-05-01T09:00:00Z"):
        parse_deadline_ms(text, NOW)


# Sleeps


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("", NOW),
        ("0", NOW),
        ("10s", NOW + 10 * SECOND),
        ("1500ms", NOW + 1500),
        ("-1h", NOW),
        ("1h30m10s500ms", NOW + HOUR + 30 * MINUTE + 10_500),  # As long as a date, and none.
        ("2024-05-01T09:00:10Z", NOW + 10 * SECOND),
        ("2024-05-01T09:00:10.499Z", NOW + 10_499),
        ("2024-05-01T09:00:00.400Z", NOW + 400),
        ("2024-05-01T08:59:59Z", NOW),
        ("2024-05-02", NOW + 15 * HOUR),
        ("2020-01-01", NOW),
        ("Wed, 01 May 2024 09:01:00 GMT", NOW + MINUTE),
    ],
)
def test_a_sleep_ends(text: str, at_ms: int) -> None:
    assert parse_sleep_until_ms(text, NOW) == at_ms


@given(st.integers(min_value=0, max_value=999))
def test_a_sleep_until_a_date_never_ends_before_it(fraction_ms: int) -> None:
    now = NOW - 10 * SECOND + fraction_ms
    assert parse_sleep_until_ms("2024-05-01T09:00:00Z", now) == NOW


@pytest.mark.parametrize("text", ["later", "10", "1 hour from now", "2024-02-30T00:00:00Z"])
def test_a_sleep_is_nothing_else(text: str) -> None:
    with pytest.raises(InvalidDurationError):
        parse_sleep_until_ms(text, NOW)


# Retry-After


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("5", 5 * SECOND),
        (" 5 ", 5 * SECOND),
        ("0", SECOND),
        ("-5", SECOND),
        ("86400", DAY),
        ("9999999", DAY),
        ("2024-05-01T09:00:10.250Z", 10_250),
        ("Wed, 01 May 2024 09:01:00 GMT", MINUTE),
        ("Wed, 01 May 2024 08:00:00 GMT", SECOND),
        ("2025-01-01", DAY),
        ("", None),
        ("1.5", None),
        ("10s", None),
        ("\u0665", None),
        ("99999999", None),
        ("whenever you like", None),
    ],
)
def test_retry_after(text: str, ms: int | None) -> None:
    assert parse_retry_after_ms(text, NOW) == ms


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0s"), (1, "1s"), (999, "1s"), (10_000, "10s"), (120_001, "121s")]
)
def test_emitted_durations_are_whole_seconds(ms: int, text: str) -> None:
    assert format_duration_s(ms) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1500, "1.5s"),
        (MINUTE, "1m0s"),
        (90 * SECOND, "1m30s"),
        (3600 * SECOND, "1h0m0s"),
        (2 * DAY, "48h0m0s"),
        (DAY + 61_010, "24h1m1.01s"),
        (-90 * SECOND, "-1m30s"),
    ],
)
def test_durations_as_go_prints_them(ms: int, text: str) -> None:
    assert format_go_duration(ms) == text
    assert parse_duration_ms(text) == ms


def test_dates_are_moved_and_durations_are_not() -> None:
    now_ms = parse_rfc3339_ms("2026-12-01T00:00:00Z")
    date = "2026-11-02T00:00:00Z"  # Tomorrow, where it is the first of November.

    for parse in (parse_deadline_ms, parse_sleep_until_ms):
        assert parse(date, now_ms, 30 * DAY) == now_ms + DAY
        assert parse("1d", now_ms, 30 * DAY) == now_ms + DAY


def test_a_date_without_a_year_has_the_sender_s() -> None:
    now_ms = parse_rfc3339_ms("2027-01-15T00:00:00Z")

    assert parse_sleep_until_ms("Dec 17 00:00:00", now_ms, 30 * DAY) == now_ms + DAY
