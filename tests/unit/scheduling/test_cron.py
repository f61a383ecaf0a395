"""Crons: what is accepted, when slots fall due, and what daylight saving does to them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_server.scheduling.cron import (
    CatchUp,
    Cron,
    InvalidCronError,
    jitter_offset_ms,
    missed_slots,
    parse_cron,
)

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NINE_OCLOCK = 1714554000000  # 2024-05-01T09:00:00Z, a Wednesday


def at(text: str) -> int:
    """The moment of `2024-05-01 09:00`, in UTC or with the offset that follows it."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def slots(cron: Cron, after_ms: int) -> Iterator[int]:
    while True:
        after_ms = cron.next_after(after_ms)
        yield after_ms


def clock_times(text: str, zone: str, start: str, end: str) -> list[str]:
    """The slots within a span, as the zone's clocks show them, `02:30+1` with the offset in hours."""
    found: list[str] = []
    for slot_ms in slots(parse_cron(f"TZ={zone} {text}"), at(start) - 1):
        if slot_ms >= at(end):
            return found
        local = datetime.fromtimestamp(slot_ms / 1000, ZoneInfo(zone))
        offset = local.utcoffset()
        assert offset is not None
        found.append(f"{local:%H:%M}{round(offset / timedelta(hours=1)):+d}")
    raise AssertionError


# Ordinary days


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", "2024-05-01 09:01"),
        ("*/5 * * * *", "2024-05-01 09:05"),
        ("5/20 * * * *", "2024-05-01 09:05"),
        ("0 9 * * *", "2024-05-02 09:00"),
        ("30 9 * * *", "2024-05-01 09:30"),
        ("0 9 * * 1-5", "2024-05-02 09:00"),
        ("0 9 * * MON", "2024-05-06 09:00"),
        ("0 9 * * mon-wed", "2024-05-06 09:00"),
        ("0 9 * * 7", "2024-05-05 09:00"),
        ("0 9 * * 0", "2024-05-05 09:00"),
        ("0 9 * * SAT-SUN", "2024-05-04 09:00"),
        ("0 9 * * 5-7", "2024-05-03 09:00"),
        ("0 0 1 jan *", "2025-01-01 00:00"),
        ("0 0 1 JAN-MAR/2 *", "2025-01-01 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 31 * *", "2024-05-31 00:00"),
        ("0 0 31 2,6,7 *", "2024-07-31 00:00"),
        ("15,45 8-10/2 * * *", "2024-05-01 10:15"),
        ("0 9 ? * ?", "2024-05-02 09:00"),
        ("  0   9 *\t* *  ", "2024-05-02 09:00"),
        ("@yearly", "2025-01-01 00:00"),
        ("@annually", "2025-01-01 00:00"),
        ("@monthly", "2024-06-01 00:00"),
        ("@weekly", "2024-05-05 00:00"),
        ("@daily", "2024-05-02 00:00"),
        ("@midnight", "2024-05-02 00:00"),
        ("@hourly", "2024-05-01 10:00"),
        ("TZ=Europe/Paris 0 11 * * *", "2024-05-02 09:00"),
        ("TZ=Europe/Paris 1 11 * * *", "2024-05-01 09:01"),
        ("CRON_TZ=America/New_York @daily", "2024-05-02 04:00"),
        ("TZ=UTC 0 9 * * *", "2024-05-02 09:00"),
        ("TZ=Asia/Kolkata 0 15 * * *", "2024-05-01 09:30"),
        ("TZ=Asia/Kolkata 0 * * * *", "2024-05-01 09:30"),
    ],
)
def test_the_slot_after_nine_oclock(text: str, expected: str) -> None:
    assert parse_cron(text).next_after(NINE_OCLOCK) == at(expected)


def test_a_slot_is_strictly_later() -> None:
    cron = parse_cron("0 9 * * *")
    assert cron.next_after(NINE_OCLOCK - 1) == NINE_OCLOCK
    assert cron.next_after(NINE_OCLOCK) == NINE_OCLOCK + DAY
    assert cron.next_after(NINE_OCLOCK + 1) == NINE_OCLOCK + DAY
    assert parse_cron("* * * * *").next_after(NINE_OCLOCK + 59_999) == NINE_OCLOCK + MINUTE


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("13 * FRI", [3, 10, 13, 17, 24, 31]),  # Both restricted: either.
        ("*/10 * FRI", [1, 3, 10, 11, 17, 21, 24, 31]),  # A step restricts, too,
        ("13 * */3", [1, 4, 5, 8, 11, 12, 13, 15, 18, 19, 22, 25, 26, 29]),  # on either side,
        ("13 * */1", [13]),  # unless it is 1.
        ("* * FRI", [3, 10, 17, 24, 31]),
        ("13 * *", [13]),
        ("13 * ?", [13]),
        ("13 * 0-6", list(range(1, 32))),  # Spelled out it restricts, as in the reference server.
    ],
)
def test_day_of_month_and_weekday(days: str, expected: list[int]) -> None:
    found: list[int] = []
    for slot_ms in slots(parse_cron(f"0 0 {days}"), at("2024-04-30 23:59")):
        if slot_ms >= at("2024-06-01 00:00"):
            break
        found.append(datetime.fromtimestamp(slot_ms / 1000, UTC).day)

    assert found == expected


def test_the_text_is_kept() -> None:
    assert parse_cron("TZ=Europe/Paris 0 11 * * *").text == "TZ=Europe/Paris 0 11 * * *"
    assert parse_cron("@daily") == parse_cron("@daily")


# @every


@pytest.mark.parametrize(
    ("text", "period_ms"), [("1h", HOUR), ("90s", 90_000), ("1.5h", 90 * MINUTE), ("1d", DAY)]
)
def test_every_is_aligned_to_the_epoch(text: str, period_ms: int) -> None:
    cron = parse_cron(f"@every {text}")
    for now in (0, NINE_OCLOCK - 1, NINE_OCLOCK, NINE_OCLOCK + 12_345):
        slot = cron.next_after(now)
        assert slot % period_ms == 0
        assert now < slot <= now + period_ms


# Daylight saving. Berlin: 2024-03-31 02:00 becomes 03:00, 2024-10-27 03:00 becomes 02:00.
# New York: 2024-03-10 02:00 becomes 03:00, 2024-11-03 02:00 becomes 01:00.

SPRING = [
    ("Europe/Berlin", "2024-03-31 00:00+01:00", "2024-04-01 00:00+02:00", 1, 2),
    ("America/New_York", "2024-03-10 00:00-05:00", "2024-03-11 00:00-04:00", -5, -4),
]


@pytest.mark.parametrize(("zone", "start", "end", "winter", "summer"), SPRING)
def test_a_time_that_does_not_exist_runs_at_the_next_minute_that_does(
    zone: str, start: str, end: str, winter: int, summer: int
) -> None:
    three = f"03:00{summer:+d}"
    assert clock_times("30 2 * * *", zone, start, end) == [three]
    assert clock_times("0 2 * * *", zone, start, end) == [three]
    assert clock_times("*/15 2 * * *", zone, start, end) == [three]  # Once, not four times.
    assert clock_times("30 2,3 * * *", zone, start, end) == [three, f"03:30{summer:+d}"]
    assert clock_times("0 2,3 * * *", zone, start, end) == [three]
    assert clock_times("30 1 * * *", zone, start, end) == [f"01:30{winter:+d}"]
    assert clock_times("0 */12 * * *", zone, start, end) == [f"00:00{winter:+d}", f"12:00{summer:+d}"]


@pytest.mark.parametrize(("zone", "start", "end", "winter", "summer"), SPRING)
def test_every_hour_means_elapsed_hours_when_clocks_go_forward(
    zone: str, start: str, end: str, winter: int, summer: int
) -> None:
    found = clock_times("30 * * * *", zone, start, end)
    assert len(found) == 23
    assert found[:3] == [f"00:30{winter:+d}", f"01:30{winter:+d}", f"03:30{summer:+d}"]


AUTUMN = [
    ("Europe/Berlin", "2024-10-27 00:00+02:00", "2024-10-28 00:00+01:00", 2, 1, 2),
    ("America/New_York", "2024-11-03 00:00-04:00", "2024-11-04 00:00-05:00", -4, -5, 1),
]


@pytest.mark.parametrize(("zone", "start", "end", "summer", "winter", "hour"), AUTUMN)
def test_a_doubled_time_runs_once(
    zone: str, start: str, end: str, summer: int, winter: int, hour: int
) -> None:
    first, next_hour = f"{hour:02}:30{summer:+d}", f"{hour + 1:02}:30{winter:+d}"
    assert clock_times(f"30 {hour} * * *", zone, start, end) == [first]
    assert clock_times(f"30 {hour}-{hour + 1} * * *", zone, start, end) == [first, next_hour]
    assert clock_times(f"*/30 {hour} * * *", zone, start, end) == [f"{hour:02}:00{summer:+d}", first]


@pytest.mark.parametrize(("zone", "start", "end", "summer", "winter", "hour"), AUTUMN)
def test_every_hour_means_elapsed_hours_when_clocks_go_back(
    zone: str, start: str, end: str, summer: int, winter: int, hour: int
) -> None:
    found = clock_times("30 * * * *", zone, start, end)
    assert len(found) == 25
    assert found[hour : hour + 2] == [f"{hour:02}:30{summer:+d}", f"{hour:02}:30{winter:+d}"]
    assert len(clock_times("*/30 * * * *", zone, start, end)) == 50


def test_a_slot_asked_for_within_the_doubled_hour_is_the_next_day() -> None:
    cron = parse_cron("TZ=Europe/Berlin 30 2 * * *")
    for minute in ("02:00", "02:15", "02:30", "02:45"):
        assert cron.next_after(at(f"2024-10-27 {minute}+01:00")) == at("2024-10-28 02:30+01:00")


def test_midnight_may_be_missing() -> None:
    # In Beirut 2024-03-31 begins at 01:00.
    for text in ("0 0 * * *", "30 0 * * *", "0 0 31 3 *"):
        assert clock_times(text, "Asia/Beirut", "2024-03-31 00:00+02:00", "2024-04-01 00:00+03:00") == [
            "01:00+3"
        ]


def test_a_whole_day_may_be_missing() -> None:
    # Samoa went from Thursday 29 to Saturday 31 December 2011.
    cron = parse_cron("TZ=Pacific/Apia 0 12 30 12 *")
    assert cron.next_after(at("2011-12-29 12:00-10:00")) == at("2011-12-31 00:00+14:00")
    hourly = parse_cron("TZ=Pacific/Apia 0 * 30 12 *")
    assert hourly.next_after(at("2011-12-29 12:00-10:00")) == at("2012-12-30 00:00+14:00")


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Beirut",
         "Africa/Casablanca", "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia", "UTC"]  # fmt: skip
MINUTES = st.sampled_from(["*", "*/7", "*/30", "0", "15", "45", "0,30", "50-59"])
HOURS = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "0-3", "1,2", "23", "0-23", "1-23", "*/1"])
CHANGES = {
    "Australia/Lord_Howe": ["2024-10-05", "2024-04-06"],
    "America/Havana": ["2024-03-09", "2024-11-02"],
    "Asia/Beirut": ["2024-03-30", "2024-10-26"],
    "Africa/Casablanca": ["2024-03-09", "2024-04-13"],
    "America/Sao_Paulo": ["2018-11-03", "2018-02-17"],
    "Pacific/Apia": ["2011-12-29", "2011-12-30"],
    "America/New_York": ["2024-03-09", "2024-11-02"],
}


@settings(max_examples=60, deadline=None)
@given(MINUTES, HOURS, st.sampled_from(ZONES), st.integers(0, 1))
def test_slots_around_changes_of_clocks_agree_with_a_walk_through_every_minute(
    minutes: str, hours: str, zone: str, which: int
) -> None:
    start_ms = at(CHANGES.get(zone, ["2024-03-30", "2024-10-26"])[which] + " 00:00")
    end_ms = start_ms + 2 * DAY
    found: list[int] = []
    for slot_ms in slots(parse_cron(f"TZ={zone} {minutes} {hours} * * *"), start_ms - 1):
        if slot_ms >= end_ms:
            break
        found.append(slot_ms)

    assert found == walk(values_of(minutes, 60), values_of(hours, 24), ZoneInfo(zone), start_ms, end_ms)


def values_of(field: str, count: int) -> set[int]:
    return {
        value
        for value in range(count)
        for item in field.split(",")
        if (item.startswith("*") and value % int(item[2:] or 1) == 0)
        or (item == str(value))
        or ("-" in item and int(item.split("-")[0]) <= value <= int(item.split("-")[1]))
    }


def walk(minutes: set[int], hours: set[int], zone: ZoneInfo, start_ms: int, end_ms: int) -> list[int]:
    """The rules of the module, applied minute by minute."""
    shown = {
        ms: datetime.fromtimestamp(ms / 1000, zone).replace(tzinfo=None)
        for ms in range(start_ms - 2 * DAY, end_ms + 2 * DAY, MINUTE)
    }
    if len(hours) == 24:
        return [ms for ms, clock in shown.items() if start_ms <= ms < end_ms and clock.minute in minutes]
    first: dict[datetime, int] = {}
    for ms, clock in shown.items():
        first.setdefault(clock, ms)
    found: set[int] = set()
    for before, after in pairwise(sorted(first)):
        if before.minute in minutes and before.hour in hours:
            found.add(first[before])
        missing = before + timedelta(minutes=1)
        while missing < after:
            if missing.minute in minutes and missing.hour in hours:
                found.add(first[after])
            missing += timedelta(minutes=1)
    return sorted(ms for ms in found if start_ms <= ms < end_ms)


NUMBERS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 28), "month": (1, 12), "weekday": (0, 6)}


@st.composite
def fields(draw: st.DrawFn, name: str) -> str:
    low, high = NUMBERS[name]
    one = draw(st.integers(low, high - 1))  # Not 6-6/2, which cronsim reads as 6/2.
    other = draw(st.integers(one + 1, high))
    step = draw(st.integers(1, high))
    plain = [str(one), str(other), f"{one}-{other}", f"{one}-{other}/{step}", f"{one},{other}", "*"]
    # cronsim does not count a step as a restriction of days.
    return draw(st.sampled_from(plain if name in ("day", "weekday") else [*plain, f"*/{step}"]))


@settings(deadline=None)
@given(
    st.tuples(*(fields(name) for name in NUMBERS)).map(" ".join),
    st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1)).map(
        lambda moment: moment.replace(second=0, microsecond=0)
    ),
)
def test_in_utc_an_independent_library_agrees(text: str, moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    theirs = CronSim(text, aware)
    ours = slots(parse_cron(text), round(aware.timestamp() * 1000))
    for _ in range(5):
        assert next(ours) == round(next(theirs).timestamp() * 1000)


# What is refused


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 0 9 * * *", "seconds are not supported"),
        ("* * * * * * *", "7 fields"),
        ("60 * * * *", "60 in the field minute is not within 0 and 59"),
        ("* 24 * * *", "24 in the field hour"),
        ("* * 0 * *", "0 in the field day of month"),
        ("* * * 13 *", "13 in the field month"),
        ("* * * * 8", "8 in the field weekday"),
        ("* * * FOO *", "unknown name 'FOO'"),
        ("* * MON * *", "unknown name 'MON'"),
        ("5-1 * * * *", "backwards"),
        ("* * * * FRI-MON", "backwards"),
        ("*/0 * * * *", "step of 0"),
        ("1,,2 * * * *", "cannot read ''"),
        ("-1 * * * *", "cannot read"),
        ("1- * * * *", "cannot read"),
        ("*-5 * * * *", "cannot read"),
        ("1.5 * * * *", "cannot read"),
        ("\u0661 * * * *", "cannot read"),
        ("* * L * *", "cannot read 'L'"),
        ("* * 15W * *", "cannot read"),
        ("* * * * 5#2", "cannot read"),
        ("0 0 30 2 *", "never run"),
        ("0 0 31 2,4,6,9,11 *", "never run"),
        ("0 0 31 feb ?", "never run"),
        ("@reboot", "not a descriptor"),
        ("@daily 5", "not a descriptor"),
        ("@every", "needs a duration"),
        ("@every x", "needs a duration"),
        ("@every 500ms", "at least 1s"),
        ("@every 0", "at least 1s"),
        ("@every -1h", "at least 1s"),
        ("@every 1h 30m", "one duration"),
        ("TZ= 0 9 * * *", "unknown time zone ''"),
        ("TZ=Mars/Olympus 0 9 * * *", "unknown time zone 'Mars/Olympus'"),
        ("TZ=Europe 0 9 * * *", "unknown time zone"),
        ("TZ=Local 0 9 * * *", "unknown time zone"),
        ("TZ=../../etc/passwd 0 9 * * *", "unknown time zone"),
        ("TZ=/etc/localtime 0 9 * * *", "unknown time zone"),
        ("TZ=Europe/Paris", "0 fields"),
        ("* * * * *" + " " * 300, "longer than 255"),
    ],
)  # fmt: skip
def test_other_texts_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidCronError) as caught:
        parse_cron(text)

    assert reason in str(caught.value)
    assert "0 9 * * MON-FRI" in str(caught.value)
    assert caught.value.code == "invalid_cron"


def test_an_impossible_date_beside_a_weekday_is_possible() -> None:
    assert parse_cron("0 0 31 2 MON").next_after(NINE_OCLOCK) == at("2025-02-03 00:00")


@given(st.text() | st.text(alphabet="0123456789*/-,? @TZ=", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        cron = parse_cron(text)
    except InvalidCronError:
        return
    assert cron.next_after(NINE_OCLOCK) > NINE_OCLOCK


# Jitter


@given(st.text(), st.integers(0, 2**45), st.integers(1001, 300_000))
def test_jitter_lies_between_one_second_and_its_bound(function_id: str, slot_ms: int, jitter_ms: int) -> None:
    offset_ms = jitter_offset_ms(function_id, slot_ms, jitter_ms)
    assert 1000 <= offset_ms < jitter_ms
    assert offset_ms == jitter_offset_ms(function_id, slot_ms, jitter_ms)


def test_jitter_differs_between_functions_and_slots() -> None:
    assert len({jitter_offset_ms("f", slot, 300_000) for slot in range(0, 100 * MINUTE, MINUTE)}) > 90
    assert len({jitter_offset_ms(f"f{number}", 0, 300_000) for number in range(100)}) > 90


def test_without_jitter_there_is_no_offset() -> None:
    assert jitter_offset_ms("f", NINE_OCLOCK, 0) == 0
    assert jitter_offset_ms("f", NINE_OCLOCK, 1000) == 1000


# Catching up


def test_skip_runs_nothing_that_was_missed() -> None:
    assert missed_slots(parse_cron("* * * * *"), NINE_OCLOCK, NINE_OCLOCK + DAY, CatchUp.SKIP, 10) == []


def test_one_runs_the_latest_that_was_missed() -> None:
    hourly = parse_cron("@hourly")
    now = NINE_OCLOCK + 5 * HOUR + 1
    assert missed_slots(hourly, NINE_OCLOCK, now, CatchUp.ONE, 10) == [NINE_OCLOCK + 5 * HOUR]
    assert missed_slots(hourly, NINE_OCLOCK, NINE_OCLOCK + HOUR - 1, CatchUp.ONE, 10) == []


def test_all_runs_the_newest_within_the_bound() -> None:
    hourly = parse_cron("@hourly")
    now = NINE_OCLOCK + 5 * HOUR
    assert missed_slots(hourly, NINE_OCLOCK, now, CatchUp.ALL, 10) == [
        NINE_OCLOCK + n * HOUR for n in range(1, 6)
    ]
    assert missed_slots(hourly, NINE_OCLOCK, now, CatchUp.ALL, 2) == [NINE_OCLOCK + n * HOUR for n in (4, 5)]
    assert missed_slots(hourly, NINE_OCLOCK, now, CatchUp.ALL, 0) == []


@settings(deadline=None)
@given(
    st.sampled_from(
        ["*/7 * * * *", "@every 90s", "0 9 * * *", "TZ=Europe/Berlin */20 2 * * *", "* 1 29 2 *", "0 0 1 1 *"]
    ),
    st.integers(at("2024-03-30 20:00"), at("2024-03-31 12:00")),
    st.integers(-HOUR, 6 * HOUR),
    st.integers(1, 20),
)
def test_catching_up_agrees_with_counting_forward(
    text: str, last_ms: int, away_ms: int, slots_max: int
) -> None:
    cron, now_ms = parse_cron(text), last_ms + away_ms
    forward: list[int] = []
    for slot_ms in slots(cron, last_ms):
        if slot_ms > now_ms:
            break
        forward.append(slot_ms)

    assert missed_slots(cron, last_ms, now_ms, CatchUp.ALL, slots_max) == forward[-slots_max:]
    assert missed_slots(cron, last_ms, now_ms, CatchUp.ONE, slots_max) == forward[-1:]


def test_a_decade_away_costs_little() -> None:
    cron = parse_cron("* * * 1 *")
    now = at("2024-12-24 18:00")
    assert missed_slots(cron, now - 3650 * DAY, now, CatchUp.ONE, 1) == [at("2024-01-31 23:59")]
