"""RFC 3339 in and out, and the other layouts of dates."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.wire.times import InvalidTimeError, find_date_ms, format_rfc3339, parse_rfc3339_ms

NINE_OCLOCK = 1714554000000  # 2024-05-01T09:00:00Z, a Wednesday
MOMENTS = st.datetimes(timezones=st.just(UTC)).map(lambda moment: round(moment.timestamp()) * 1000)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (NINE_OCLOCK, "2024-05-01T09:00:00Z"),
        (NINE_OCLOCK + 123, "2024-05-01T09:00:00.123Z"),
        (NINE_OCLOCK + 120, "2024-05-01T09:00:00.12Z"),
        (NINE_OCLOCK + 7, "2024-05-01T09:00:00.007Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-62135596800000, "0001-01-01T00:00:00Z"),
    ],
)
def test_moments_are_written_without_trailing_zeros(ms: int, text: str) -> None:
    assert format_rfc3339(ms) == text
    assert parse_rfc3339_ms(text) == ms


@given(MOMENTS, st.integers(min_value=0, max_value=999))
def test_what_is_written_is_read_back(seconds_ms: int, fraction_ms: int) -> None:
    ms = seconds_ms + fraction_ms
    if ms < 253402300800000:
        assert parse_rfc3339_ms(format_rfc3339(ms)) == ms


@pytest.mark.parametrize("ms", [10**15, -(10**15), 10**30])
def test_a_year_without_four_digits_is_refused(ms: int) -> None:
    with pytest.raises(ValueError, match="years"):
        format_rfc3339(ms)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2024-05-01T11:00:00+02:00", NINE_OCLOCK),
        ("2024-05-01T03:30:00-05:30", NINE_OCLOCK),
        ("2024-05-01t09:00:00z", NINE_OCLOCK),
        ("2024-05-01 09:00:00Z", NINE_OCLOCK),
        ("2024-05-01T09:00:00.1239999Z", NINE_OCLOCK + 123),
        ("2024-05-01T09:00:00,5Z", NINE_OCLOCK + 500),
        ("2024-02-29T00:00:00Z", 1709164800000),
    ],
)
def test_rfc3339_is_read(text: str, ms: int) -> None:
    assert parse_rfc3339_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "1h", "2024-05-01", "2024-05-01T09:00:00", "2024-05-01T09:00Z", "2023-02-29T00:00:00Z",
     "2024-13-01T00:00:00Z", "2024-05-01T24:00:00Z", "2024-05-01T09:60:00Z", "2024-05-01T09:00:60Z",
     "2024-05-01T09:00:00+24:00", "2024-05-01T09:00:00+0200", "2024-05-01T09:00:00Z\n",
     "0000-05-01T09:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00",
     "2024-05-01T09:00:00.Z", "20240501T090000Z", "\u0662024-05-01T09:00:00Z"],
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidTimeError) as caught:
        parse_rfc3339_ms(text)

    assert caught.value.code == "invalid_time"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2024-05-01T09:00:00Z", NINE_OCLOCK),
        ("2024-05-01T09:00:00", NINE_OCLOCK),
        ("2024-05-01T09:00:00.25", NINE_OCLOCK + 250),
        ("Wed, 01 May 2024 09:00:00 GMT", NINE_OCLOCK),
        ("Wed, 01 May 2024 09:00:00 UTC", NINE_OCLOCK),
        ("Wed, 01 May 2024 11:00:00 +0200", NINE_OCLOCK),
        ("Wed, 1 May 2024 05:00:00 EDT", NINE_OCLOCK),
        ("01 May 24 09:00 GMT", NINE_OCLOCK),
        ("01 May 24 02:00 -0700", NINE_OCLOCK),
        ("01 May 24 02:00 MST", NINE_OCLOCK),
        ("Wednesday, 01-May-24 09:00:00 GMT", NINE_OCLOCK),
        ("Wednesday, 31-Dec-69 00:00:00 GMT", -86400000),
        ("Wed May 01 09:00:00 +0000 2024", NINE_OCLOCK),
        ("Wed May  1 09:00:00 UTC 2024", NINE_OCLOCK),
        ("Wed May  1 09:00:00 2024", NINE_OCLOCK),
        ("May  1 09:00:00", NINE_OCLOCK),
        ("May  1 09:00:00.123", NINE_OCLOCK + 123),
        ("2024-05-01", NINE_OCLOCK - 9 * 3600_000),
    ],
)
def test_every_layout_of_the_protocol_is_read(text: str, ms: int) -> None:
    assert find_date_ms(text, now_ms=NINE_OCLOCK) == ms


@pytest.mark.parametrize(
    "text",
    ["", "1h", "10 minutes", "2024-02-30", "Wed, 31 Jun 2024 09:00:00 GMT", "Wed, 01 May 2024 09:00:00 XYZ",
     "Wed, 01 Foo 2024 09:00:00 GMT", "Feb 30 09:00:00", "01 May 24 25:00 GMT"],
)  # fmt: skip
def test_other_texts_are_no_dates(text: str) -> None:
    assert find_date_ms(text, now_ms=NINE_OCLOCK) is None


@given(st.text(alphabet="0123456789-:TZ+., MayWed"))
def test_any_text_is_survived(text: str) -> None:
    find_date_ms(text, now_ms=NINE_OCLOCK)


def test_python_agrees_about_iso_texts() -> None:
    for text in ("2024-05-01T11:00:00.123+02:00", "1999-12-31T23:59:59-08:00"):
        assert parse_rfc3339_ms(text) == round(datetime.fromisoformat(text).timestamp() * 1000)
