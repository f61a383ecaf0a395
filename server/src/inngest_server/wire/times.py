"""Moments as text. Inside this server a moment is an `int` of epoch milliseconds in UTC."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_MS: Final = timedelta(milliseconds=1)


class InvalidTimeError(ValueError):
    """A text that should be an RFC 3339 time is not."""

    code = "invalid_time"

    def __init__(self, text: str) -> None:
        super().__init__(
            f'{text[:60]!r} is not an RFC 3339 time: try one such as "2024-05-01T09:00:00Z" '
            'or "2024-05-01T11:00:00.123+02:00"'
        )
        self.text = text


def format_rfc3339(ms: int) -> str:
    """A moment as `2024-05-01T09:00:00.123Z`; like Go's RFC3339Nano it has no trailing zeros.

    Raises:
        ValueError: the moment lies outside the years 1 to 9999.
    """
    seconds, fraction = divmod(ms, 1000)
    try:
        text = (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
    except OverflowError as error:
        raise ValueError(f"{ms} ms lies outside the years 1 to 9999") from error
    return f"{text}.{fraction:03d}".rstrip("0") + "Z" if fraction else text + "Z"


def parse_rfc3339_ms(text: str) -> int:
    """The moment that an RFC 3339 text names; digits beyond the millisecond are cut off.

    Raises:
        InvalidTimeError: it is not RFC 3339, has no zone, or names a day that does not exist.
    """
    ms = find_rfc3339_ms(text)
    if ms is None:
        raise InvalidTimeError(text)
    return ms


def find_rfc3339_ms(text: str) -> int | None:
    """Like `parse_rfc3339_ms`, with None in place of the error."""
    match = _RFC3339.fullmatch(text)
    return None if match is None else _moment_ms(match, year=0)


def find_date_ms(text: str, now_ms: int) -> int | None:
    """The moment that a text in one of the layouts of protocol 0.1 names, or None.

    Without a zone it is UTC. `Stamp` has no year and gets the one of `now_ms`.
    """
    for layout in _LAYOUTS:
        if match := layout.fullmatch(text):
            return _moment_ms(match, year=(_EPOCH + now_ms * _ONE_MS).year)
    return None


_DAY: Final = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY: Final = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NAME: Final = f"(?P<month_name>{'|'.join(_MONTHS)})"
_CLOCK: Final = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_FRACTION: Final = r"(?:[.,](?P<fraction>\d{1,18}))?"
_ISO_DATE: Final = r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
_OFFSET: Final = r"(?P<sign>[+-])(?P<zone_hours>\d\d)(?P<zone_minutes>[0-5]\d)"
_ZONE: Final = rf"(?:{_OFFSET}|(?P<zone_name>[A-Z]{{1,4}}))"


def _layout(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


_RFC3339: Final = _layout(
    rf"{_ISO_DATE}[Tt ]{_CLOCK}{_FRACTION}"
    r"(?:[Zz]|(?P<sign>[+-])(?P<zone_hours>\d\d):(?P<zone_minutes>[0-5]\d))"
)
_LAYOUTS: Final = (
    _RFC3339,
    _layout(rf"{_ISO_DATE}T{_CLOCK}{_FRACTION}"),
    _layout(rf"{_DAY}, (?P<day>\d\d?) {_MONTH_NAME} (?P<year>\d{{4}}) {_CLOCK} {_ZONE}"),  # RFC 1123
    # RFC 822, which has no seconds.
    _layout(rf"(?P<day>\d\d?) {_MONTH_NAME} (?P<year>\d\d) (?P<hour>\d\d):(?P<minute>\d\d) {_ZONE}"),
    _layout(rf"{_LONG_DAY}, (?P<day>\d\d)-{_MONTH_NAME}-(?P<year>\d\d) {_CLOCK} {_ZONE}"),  # RFC 850
    # Ruby date and Unix date; without its zone ANSI C.
    _layout(rf"{_DAY} {_MONTH_NAME} (?P<day>[ \d]?\d) {_CLOCK}(?: {_ZONE})? (?P<year>\d{{4}})"),
    _layout(rf"{_MONTH_NAME} (?P<day>[ \d]?\d) {_CLOCK}{_FRACTION}"),  # Stamp, StampMilli
    _layout(_ISO_DATE),
)
# The names that RFC 822 defines. Others have no one meaning, so the text is no date.
_ZONE_HOURS: Final = {
    "UTC": 0, "GMT": 0, "UT": 0, "Z": 0, "EDT": -4, "EST": -5, "CDT": -5, "CST": -6,
    "MDT": -6, "MST": -7, "PDT": -7, "PST": -8,
}  # fmt: skip


def _moment_ms(match: re.Match[str], year: int) -> int | None:
    """The moment of a matched layout, None when it does not exist; `year` is for those without one."""
    part = match.groupdict()
    offset = _offset_of(part)
    if offset is None:
        return None
    month_name = part.get("month_name")
    try:
        local = datetime(
            _full_year(part["year"]) if part.get("year") else year,
            _MONTHS.index(month_name) + 1 if month_name else int(part["month"] or 0),
            int(part["day"] or 0),
            int(part.get("hour") or 0),
            int(part.get("minute") or 0),
            int(part.get("second") or 0),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    fraction_ms = int(((part.get("fraction") or "") + "000")[:3])
    return (local - offset - _EPOCH) // _ONE_MS + fraction_ms if _fits(local, offset) else None


def _full_year(text: str) -> int:
    if len(text) == 4:
        return int(text)
    short = int(text)
    return short + (1900 if short >= 69 else 2000)  # The pivot of POSIX and of Go.


def _offset_of(part: dict[str, str | None]) -> timedelta | None:
    name = part.get("zone_name")
    if name:
        hours = _ZONE_HOURS.get(name)
        return None if hours is None else timedelta(hours=hours)
    sign = part.get("sign")
    if not sign:
        return timedelta(0)
    size = timedelta(hours=int(part["zone_hours"] or 0), minutes=int(part["zone_minutes"] or 0))
    if size >= timedelta(hours=24):
        return None
    return -size if sign == "-" else size


def _fits(local: datetime, offset: timedelta) -> bool:
    try:
        return (local - offset).year > 0
    except OverflowError:
        return False
