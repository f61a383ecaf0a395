"""Cron expressions and the moments, called slots, at which they fall due.

Calendar crons are read on the wall clock of their zone, which daylight saving bends twice a year:

- A schedule of certain hours follows the clock. A time that does not exist runs at the next existing
  minute, and of a doubled time only the first one runs.
- A schedule of every hour follows elapsed time. It neither stops for an hour when clocks go back nor
  adds a run when they go forward.

Source: protocol 5.17; decisions, "crons".
"""

import re
from calendar import monthrange
from collections import deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from inngest_server.wire.durations import InvalidDurationError, parse_duration_ms
from inngest_server.wire.hashing import stable_hash64

CRON_LENGTH_MAX: Final = 255
"""Source: protocol 0."""

_EPOCH: Final = datetime(1970, 1, 1)
_ONE_MS: Final = timedelta(milliseconds=1)
_ONE_DAY: Final = timedelta(days=1)
_MINUTE_MS: Final = 60_000
_EVERY_MIN_MS: Final = 1_000
_JITTER_MIN_MS: Final = 1_000


class InvalidCronError(ValueError):
    """A text is not a cron expression that this server takes."""

    code = "invalid_cron"

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(
            f'cron {text[:CRON_LENGTH_MAX]!r}: {reason}. Expected "minute hour day month weekday" such as '
            '"0 9 * * MON-FRI", a descriptor such as "@daily" or "@every 1h", and in front of it, '
            'if wanted, "TZ=Area/City "'
        )
        self.text = text
        self.reason = reason


class CatchUp(StrEnum):
    """What happens to the slots that passed while nobody could fire them."""

    SKIP = "skip"
    ONE = "one"  # The latest one runs.
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression; `text` is what was parsed."""

    text: str
    _schedule: "_Calendar | _Every"

    def next_after(self, ms: int) -> int:
        """The first slot strictly later than a moment."""
        return self._schedule.next_after(ms)


def parse_cron(text: str) -> Cron:
    """Read a cron expression; its zone is UTC unless it has a prefix.

    Taken are five fields with names, ranges, lists and steps, `?` for `*`, 7 for Sunday, the
    descriptors and `@every`, whose slots are the multiples of its duration since 1970, so that a
    restart does not move them.

    Raises:
        InvalidCronError: also when no date can ever match.
    """
    if len(text) > CRON_LENGTH_MAX:
        raise InvalidCronError(text, f"longer than {CRON_LENGTH_MAX} characters")
    try:
        return Cron(text, _read(text.split()))
    except _RefusedError as error:
        raise InvalidCronError(text, str(error)) from error


def jitter_offset_ms(function_id: str, slot_ms: int, jitter_ms: int) -> int:
    """How long after its slot a cron with jitter fires: from 1 s up to, but not including, `jitter_ms`.

    The same for the same function and slot on every node. 0 without jitter, 1 s for a jitter of 1 s.
    """
    if jitter_ms <= 0:
        return 0
    span_ms = max(jitter_ms - _JITTER_MIN_MS, 1)
    return _JITTER_MIN_MS + stable_hash64(f"{function_id}:{slot_ms}") % span_ms


def missed_slots(cron: Cron, last_ms: int, now_ms: int, policy: CatchUp, slots_max: int) -> list[int]:
    """Which slots after `last_ms`, up to and including `now_ms`, are still to run; oldest first.

    With `CatchUp.ALL` these are the newest `slots_max`; the older ones are given up, because after a
    long outage nobody wants the flood. The cost grows with what is returned, not with the time missed.
    """
    wanted = {CatchUp.SKIP: 0, CatchUp.ONE: min(slots_max, 1), CatchUp.ALL: slots_max}[policy]
    slots: deque[int] = deque()
    before_ms = now_ms + 1
    while len(slots) < wanted:
        slot_ms = _latest_slot(cron, last_ms, before_ms)
        if slot_ms is None:
            break
        slots.appendleft(slot_ms)
        before_ms = slot_ms
    return list(slots)


def _latest_slot(cron: Cron, after_ms: int, before_ms: int) -> int | None:
    """The latest slot strictly between two moments."""
    if cron.next_after(after_ms) >= before_ms:
        return None
    # Go back in doubling strides to a moment that a slot follows, then halve the rest.
    high, stride = before_ms - 1, _MINUTE_MS
    low = max(before_ms - stride, after_ms)
    while cron.next_after(low) >= before_ms:
        high, stride = low, stride * 2
        low = max(before_ms - stride, after_ms)
    slot_ms = cron.next_after(low)
    while slot_ms < high:
        middle = (slot_ms + high) // 2
        later_ms = cron.next_after(middle)
        if later_ms < before_ms:
            slot_ms = later_ms
        else:
            high = middle
    return slot_ms


@dataclass(frozen=True, slots=True)
class _Every:
    period_ms: int

    def next_after(self, ms: int) -> int:
        return (ms // self.period_ms + 1) * self.period_ms


@dataclass(frozen=True, slots=True)
class _Calendar:
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # Sunday is 0.
    either_day: bool
    """Day of month and weekday are both restricted: one of them suffices, the classic rule."""
    zone: ZoneInfo

    def next_after(self, ms: int) -> int:
        return self._next_elapsed(ms) if len(self.hours) == 24 else self._next_on_clock(ms)

    def _next_on_clock(self, ms: int) -> int:
        # Later times on the clock never mean earlier moments, so the first that is late enough is it.
        start = _clock(ms, self.zone)
        day = self._first_day(start.date())
        while True:
            earliest = start.time() if day == start.date() else time.min
            for hour in self.hours:
                if hour < earliest.hour:
                    continue
                for minute in self.minutes:
                    if hour == earliest.hour and minute < earliest.minute:
                        continue
                    slot_ms = _moment_ms(datetime.combine(day, time(hour, minute)), self.zone)
                    if slot_ms > ms:
                        return slot_ms
            day = self._first_day(day + _ONE_DAY)

    def _next_elapsed(self, ms: int) -> int:
        slot_ms = (ms // _MINUTE_MS + 1) * _MINUTE_MS
        while True:
            clock = _clock(slot_ms, self.zone)
            if not self._matches(clock.date()):
                day = self._first_day(clock.date())
                slot_ms = _moment_ms(datetime.combine(day, time.min), self.zone)
            elif clock.minute in self.minutes:
                return slot_ms
            else:
                wait = min((minute - clock.minute) % 60 for minute in self.minutes)
                later_ms = slot_ms + wait * _MINUTE_MS
                # Where the clock is changed in between, by half an hour perhaps, go minute by minute.
                is_smooth = _clock(later_ms, self.zone) - clock == timedelta(minutes=wait)
                slot_ms = later_ms if is_smooth else slot_ms + _MINUTE_MS

    def _first_day(self, day: date) -> date:
        """The first matching day from this one on."""
        while not self._matches(day):
            if day.month in self.months:
                day += _ONE_DAY
            else:
                day = (day.replace(day=1) + 31 * _ONE_DAY).replace(day=1)
        return day

    def _matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_day or by_weekday) if self.either_day else (by_day and by_weekday)


def _clock(ms: int, zone: ZoneInfo) -> datetime:
    """What the zone's clocks show at a moment."""
    utc = _EPOCH + ms * _ONE_MS
    return utc if zone is _UTC else utc.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)


def _moment_ms(clock: datetime, zone: ZoneInfo) -> int:
    """When the zone's clocks first show a time, or the next that they do show."""
    if zone is _UTC:
        return (clock - _EPOCH) // _ONE_MS
    late_ms = _as_ms(clock, zone, fold=0)
    if _clock(late_ms, zone) == clock:
        return late_ms
    # A gap. Reading the time with the offset after it gives a moment before it, and the other way
    # round, so the change of clocks lies between them.
    early_ms = _as_ms(clock, zone, fold=1)
    offset = clock - (_EPOCH + early_ms * _ONE_MS)
    while late_ms - early_ms > _MINUTE_MS:
        middle_ms = early_ms + (late_ms - early_ms) // _MINUTE_MS // 2 * _MINUTE_MS
        if _clock(middle_ms, zone) - (_EPOCH + middle_ms * _ONE_MS) == offset:
            late_ms = middle_ms
        else:
            early_ms = middle_ms
    return late_ms


def _as_ms(clock: datetime, zone: ZoneInfo, fold: int) -> int:
    utc = clock.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    return (utc.replace(tzinfo=None) - _EPOCH) // _ONE_MS


# Reading the text.

_UTC: Final = ZoneInfo("UTC")
_DESCRIPTORS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE_PREFIX: Final = re.compile(r"(?:CRON_)?TZ=(.*)", re.IGNORECASE)
_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_ITEM: Final = re.compile(
    r"(?:(?P<star>[*?])|(?P<low>[0-9]{1,4}|[A-Z]{3})(?:-(?P<high>[0-9]{1,4}|[A-Z]{3}))?)(?:/(?P<step>[0-9]{1,4}))?"
)


class _RefusedError(Exception):
    """Why a text is no cron; `parse_cron` adds the text."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """Names of the values from `low` on."""


_MINUTE: Final = _Field("minute", 0, 59)
_HOUR: Final = _Field("hour", 0, 23)
_DAY: Final = _Field("day of month", 1, 31)
_MONTH_NAMES: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MONTH: Final = _Field("month", 1, 12, _MONTH_NAMES)
_WEEKDAY: Final = _Field("weekday", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))


def _read(words: list[str]) -> _Calendar | _Every:
    zone = _UTC
    if words and (prefix := _ZONE_PREFIX.fullmatch(words[0])):
        zone = _read_zone(prefix[1])
        words = words[1:]
    if words and words[0].startswith("@"):
        descriptor = words[0].lower()
        if descriptor == "@every":
            return _read_every(words[1:])
        if len(words) > 1 or descriptor not in _DESCRIPTORS:
            known = ", ".join(_DESCRIPTORS)
            raise _RefusedError(f"{' '.join(words)!r} is not a descriptor; known are {known} and @every")
        words = _DESCRIPTORS[descriptor].split()
    return _read_fields(words, zone)


def _read_zone(name: str) -> ZoneInfo:
    # The name becomes part of a path, and "localtime" would differ from node to node.
    if _ZONE_NAME.fullmatch(name) and name.lower() not in ("local", "localtime"):
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
        else:
            return _UTC if name == "UTC" else zone
    raise _RefusedError(f"unknown time zone {name!r}; expected a name such as Europe/Paris")


def _read_every(words: list[str]) -> _Every:
    try:
        period_ms = parse_duration_ms("".join(words))
    except InvalidDurationError as error:
        raise _RefusedError(f"@every needs a duration: {error}") from error
    if len(words) != 1 or period_ms < _EVERY_MIN_MS:
        raise _RefusedError("@every needs one duration of at least 1s")
    return _Every(period_ms)


def _read_fields(words: list[str], zone: ZoneInfo) -> _Calendar:
    if len(words) == 6:
        raise _RefusedError("6 fields, but seconds are not supported: leave out the field of the seconds")
    if len(words) != 5:
        raise _RefusedError(f"{len(words)} fields instead of 5")
    minute, hour, day, month, weekday = words
    minutes, _ = _read_field(_MINUTE, minute)
    hours, _ = _read_field(_HOUR, hour)
    days, day_is_restricted = _read_field(_DAY, day)
    months, _ = _read_field(_MONTH, month)
    weekdays, weekday_is_restricted = _read_field(_WEEKDAY, weekday)
    either_day = day_is_restricted and weekday_is_restricted
    if not either_day and min(days) > max(monthrange(2000, month)[1] for month in months):
        raise _RefusedError("none of its months has such a day, so it would never run")
    return _Calendar(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(weekday % 7 for weekday in weekdays),
        either_day=either_day,
        zone=zone,
    )


def _read_field(field: _Field, text: str) -> tuple[set[int], bool]:
    """The values of a field, and whether it restricts: `*/2` does, as in the reference server."""
    values: set[int] = set()
    is_restricted = True
    for item in text.split(","):
        match = _ITEM.fullmatch(item.upper())
        if match is None:
            raise _RefusedError(f"cannot read {item!r} in the field {field.name}")
        step = int(match["step"] or 1)
        if step == 0:
            raise _RefusedError(f"a step of 0 in the field {field.name}")
        if match["star"]:
            low, high = field.low, field.high
            is_restricted = is_restricted and step > 1
            if field is _WEEKDAY:
                high = 6  # Sunday is counted once, as 0.
        else:
            low, high = _read_range(field, match)
        values.update(range(low, high + 1, step))
    return values, is_restricted


def _read_range(field: _Field, match: re.Match[str]) -> tuple[int, int]:
    low = _read_value(field, match["low"])
    if match["high"]:
        high = _read_value(field, match["high"])
    elif match["step"]:
        # "5/15" means from 5 on, as in the reference server.
        high = max(low, 6) if field is _WEEKDAY else field.high
    else:
        high = low
    if field is _WEEKDAY and high == 0 < low:
        high = 7  # "SAT-SUN"
    if high < low:
        raise _RefusedError(
            f"the range {match[0]!r} in the field {field.name} runs backwards: write it as two ranges"
        )
    return low, high


def _read_value(field: _Field, text: str) -> int:
    if text in field.names:
        return field.low + field.names.index(text)
    if not text.isdigit():
        raise _RefusedError(f"unknown name {text!r} in the field {field.name}")
    value = int(text)
    if not field.low <= value <= field.high:
        raise _RefusedError(f"{value} in the field {field.name} is not within {field.low} and {field.high}")
    return value
