"""Dates, durations and time zones as expressions spell them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from .errors import EvaluationError
from .limits import SCALAR_CHARS_MAX
from .values import Duration, Timestamp

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP_MIN_NS: Final = -62_135_596_800 * NS_PER_S  # 0001-01-01T00:00:00Z
_TIMESTAMP_MAX_NS: Final = 253_402_300_800 * NS_PER_S - 1  # the end of 9999
_DURATION_MAX_NS: Final = 315_576_000_000 * NS_PER_S  # 10,000 years, as in CEL

# A bare number is seconds, milliseconds, microseconds or nanoseconds, whichever puts it nearest to our
# times: 10^11 seconds is the year 5138, 10^11 milliseconds is 1973.
_EPOCH_SCALES: Final = ((10**11, NS_PER_S), (10**14, NS_PER_MS), (10**17, 1_000))

_ISO: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9})[0-9]*)?)?)?"
    r" ?([Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_OFFSET: Final = re.compile(r"([+-]?)([0-9]{1,2}):?([0-9]{2})")
_DURATION: Final = re.compile(r"([+-]?)(0|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h|d|w))+)")
_DURATION_PART: Final = re.compile(r"([0-9]*)\.?([0-9]*)([a-zµμ]+)")
_UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3_600 * NS_PER_S,
    "d": 86_400 * NS_PER_S,
    "w": 604_800 * NS_PER_S,
}


def timestamp_of(ns: int) -> Timestamp:
    """The moment `ns` after 1970, if it is in the years 1 to 9999.

    Raises:
        EvaluationError: it is not.
    """
    if not _TIMESTAMP_MIN_NS <= ns <= _TIMESTAMP_MAX_NS:
        raise EvaluationError("out_of_range", "the moment lies outside of the years 1 to 9999")
    return Timestamp(ns)


def duration_of(ns: int) -> Duration:
    """A duration of at most 10,000 years.

    Raises:
        EvaluationError: it is longer.
    """
    if abs(ns) > _DURATION_MAX_NS:
        raise EvaluationError("out_of_range", "the duration is longer than 10,000 years")
    return Duration(ns)


def timestamp_of_number(number: int | float) -> Timestamp:
    """A moment given as seconds, milliseconds, microseconds or nanoseconds since 1970; the size tells which.

    Raises:
        EvaluationError: the number is no such moment.
    """
    for limit, scale in _EPOCH_SCALES:
        if abs(number) < limit:
            return timestamp_of(round(number * scale))
    if not abs(number) <= _TIMESTAMP_MAX_NS:  # Also true of NaN.
        raise EvaluationError("out_of_range", "the number is no moment in the years 1 to 9999")
    return timestamp_of(round(number))


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339, an ISO date or date and time (UTC without a zone), or an e-mail date (RFC 822, 1123).

    Raises:
        EvaluationError: it is none of them, or no such day exists.
    """
    failure = EvaluationError("bad_value", "the text is not a date; write it like '2024-01-31T12:00:00Z'")
    if len(text) > SCALAR_CHARS_MAX:
        raise failure
    match = _ISO.fullmatch(text.strip())
    if match is None:
        return _parse_email_date(text, failure)
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError as error:
        raise failure from error
    ns = _ns_since_epoch(moment.replace(tzinfo=UTC)) + int((fraction or "").ljust(9, "0"))
    if zone and zone not in "Zz":
        ns -= _offset_seconds(zone, failure) * NS_PER_S
    return timestamp_of(ns)


def _parse_email_date(text: str, failure: EvaluationError) -> Timestamp:
    try:
        moment = parsedate_to_datetime(text)
        # A date without a zone is UTC, as in every other spelling.
        return timestamp_of(_ns_since_epoch(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise failure from error


def _ns_since_epoch(moment: datetime) -> int:
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * NS_PER_S + passed.microseconds * 1_000


def parse_duration(text: str) -> Duration:
    """`1h30m`, `2.5d`, `-300ms` or `0`; units from `ns` to `w`.

    Raises:
        EvaluationError: the text is not a duration, or longer than 10,000 years.
    """
    match = _DURATION.fullmatch(text) if len(text) <= SCALAR_CHARS_MAX else None
    if match is None:
        raise EvaluationError("bad_value", "the text is not a duration; write it like '90s', '5m' or '1h30m'")
    sign, parts = match.groups()
    ns = 0
    for whole, fraction, unit in _DURATION_PART.findall(parts):
        unit_ns = _UNITS_NS[unit]
        ns += int(whole or 0) * unit_ns
        if fraction:
            ns += int(fraction) * unit_ns // 10 ** len(fraction)
    return duration_of(-ns if sign == "-" else ns)


def format_timestamp(moment: Timestamp) -> str:
    """RFC 3339 in UTC, with as many digits below the second as it has."""
    seconds, ns = divmod(moment.ns, NS_PER_S)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%m-%dT%H:%M:%S")
    # strftime("%Y") does not pad years below 1000 on every platform.
    year = (_EPOCH + timedelta(seconds=seconds)).year
    return f"{year:04}-{text}{_fraction(ns)}Z"


def format_duration(duration: Duration) -> str:
    """Seconds with unit: `5400s`, `-1.5s`."""
    seconds, ns = divmod(abs(duration.ns), NS_PER_S)
    return f"{'-' if duration.ns < 0 else ''}{seconds}{_fraction(ns)}s"


def _fraction(ns: int) -> str:
    return f".{ns:09}".rstrip("0") if ns else ""


def _offset_seconds(text: str, failure: EvaluationError) -> int:
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise failure
    sign, hours, minutes = match.groups()
    if int(hours) > 23 or int(minutes) > 59:
        raise failure
    seconds = int(hours) * 3_600 + int(minutes) * 60
    return -seconds if sign == "-" else seconds


@lru_cache(maxsize=128)
def _zone(name: str) -> tzinfo:
    failure = EvaluationError("bad_value", "no such time zone; try 'Europe/Paris', 'UTC' or '+02:00'")
    if len(name) > SCALAR_CHARS_MAX:
        raise failure
    if _OFFSET.fullmatch(name):
        return timezone(timedelta(seconds=_offset_seconds(name, failure)))
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise failure from error


def in_zone(moment: Timestamp, zone_name: str | None) -> datetime:
    """The wall clock at a moment, in UTC or in the named zone.

    Raises:
        EvaluationError: the zone is not known, or the local time is outside of the years 1 to 9999.
    """
    utc = _EPOCH + timedelta(microseconds=moment.ns // 1_000)
    if zone_name is None:
        return utc
    try:
        return utc.astimezone(_zone(zone_name))
    except OverflowError as error:
        raise EvaluationError("out_of_range", "the local time lies outside of the years 1 to 9999") from error


# What `timestamp.getX()` reads. As in CEL, months, days of the month (but for getDate) and days of the
# year start at 0, and Sunday is 0.
CALENDAR_FIELDS: Final[dict[str, Callable[[datetime], int]]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
    "getMilliseconds": lambda moment: moment.microsecond // 1_000,
}

# The same names on a duration give all of it in that unit, but milliseconds only what exceeds the seconds.
DURATION_FIELDS: Final[dict[str, int]] = {
    "getHours": 3_600 * NS_PER_S,
    "getMinutes": 60 * NS_PER_S,
    "getSeconds": NS_PER_S,
    "getMilliseconds": NS_PER_MS,
}
