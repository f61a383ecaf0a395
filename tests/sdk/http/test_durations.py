"""Durations and instants in all the forms in which users write them."""

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from inngest._wire.durations import to_instant, to_text, to_timedelta
from inngest.errors import ConfigError
from inngest_server.wire.durations import parse_duration_ms


@pytest.mark.parametrize(
    ("value", "wanted_ms"),
    [
        (0, 0),
        (1500, 1500),
        (timedelta(days=2), 172_800_000),
        ("300ms", 300),
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("2.5d", 216_000_000),
        ("1w2d", 777_600_000),
        ("1 day", 86_400_000),
        ("3 days", 259_200_000),
        ("30 minutes", 1_800_000),
        ("1min", 60_000),
        ("24h", 86_400_000),
        ("1 hour, 5 min", 3_900_000),
        (" 10S ", 10_000),
        ("0", 0),
        (".5s", 500),
    ],
)
def test_a_duration_is_read_in_each_of_its_forms(value: Any, wanted_ms: int) -> None:
    assert to_timedelta(value, what="timeout") == timedelta(milliseconds=wanted_ms)


@pytest.mark.parametrize(
    "value",
    ["", "5", "5 parsecs", "s", "-5s", "1h foo", "1..5s", 1.5, None, True, [], -1, 10**30, "9" * 400 + "s"],
)
def test_what_is_no_duration_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^timeout (has to be|cannot be|is longer)"):
        to_timedelta(value, what="timeout")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(milliseconds=1), "1ms"),
        (timedelta(microseconds=1), "1ms"),
        (timedelta(milliseconds=1500), "1500ms"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=90), "90m"),
        (timedelta(hours=36), "36h"),
        (timedelta(days=8), "8d"),
        (timedelta(days=14), "2w"),
    ],
)
def test_the_server_reads_what_is_written(duration: timedelta, text: str) -> None:
    assert to_text(duration) == text
    assert parse_duration_ms(text) == -(-duration // timedelta(milliseconds=1))


def test_the_largest_unit_may_be_bounded() -> None:
    assert to_text(timedelta(days=14), largest="h") == "336h"


def test_an_instant_is_read_as_time_or_text() -> None:
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)

    assert to_instant(noon.astimezone(timezone(timedelta(hours=5))), what="until") == noon
    assert to_instant("2026-05-01T12:00:00Z", what="until") == noon
    assert to_instant("2026-05-01T14:00:00+02:00", what="until") == noon


def test_an_instant_without_a_zone_is_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert to_instant("2026-05-01T12:00:00", what="until") == datetime(2026, 5, 1, 3, tzinfo=UTC)
        assert to_instant(datetime(2026, 5, 1, 12), what="until") == datetime(2026, 5, 1, 3, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("value", ["soon", 5, None, ""])
def test_what_is_no_instant_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^until has to be"):
        to_instant(value, what="until")
