"""Durations and instants: what users write, and their text on the wire (protocol 0.1).

Wherever the SDK takes a duration it takes an integer of milliseconds, a `timedelta`, or text: "90s", "1h30m",
"2.5d", "1 day", "30 minutes".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from inngest.errors import ConfigError

Duration: TypeAlias = int | str | timedelta

_UNITS_US = {
    **dict.fromkeys(("us", "µs", "μs"), 1),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1_000),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1_000_000),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60_000_000),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3_600_000_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000_000),
    **dict.fromkeys(("w", "week", "weeks"), 604_800_000_000),
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)\s*([a-zµμ]+)[\s,]*", re.IGNORECASE)
_FORMS = 'milliseconds as an integer, a timedelta, or text such as "90s", "1h30m" or "2 days"'
_WIRE_UNITS = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def to_timedelta(value: object, *, what: str) -> timedelta:
    """A duration in any of its forms; `what` names it in the error.

    Raises:
        ConfigError: no duration, or a negative one.
    """
    match value:
        case timedelta():
            duration = value
        case bool():
            raise ConfigError(f"{what} has to be {_FORMS}, not {value!r}")
        case int():
            duration = _in_range(value * 1000, value, what)
        case str():
            duration = _in_range(_parse_us(value, what), value, what)
        case _:
            raise ConfigError(f"{what} has to be {_FORMS}, not {type(value).__name__}: {value!r:.100}")
    if duration < timedelta():
        raise ConfigError(f"{what} cannot be negative: {value!r}")
    return duration


def to_text(duration: timedelta, *, largest: str = "w") -> str:
    """The duration on the wire: one unit, the largest that divides it, at most `largest`; "90s", "1d",
    "500ms".

    Parts of a millisecond are rounded up, as no server counts them.
    """
    ms = -(-duration // timedelta(milliseconds=1))
    seconds, rest_ms = divmod(ms, 1000)
    if rest_ms:
        return f"{ms}ms"
    units = _WIRE_UNITS[next(n for n, unit in enumerate(_WIRE_UNITS) if unit[0] == largest) :]
    unit, size = next((unit for unit in units if seconds and seconds % unit[1] == 0), units[-1])
    return f"{seconds // size}{unit}"


def to_instant(value: object, *, what: str) -> datetime:
    """A moment in UTC, from a `datetime` or ISO 8601 text; without a zone it is local time of this process.

    Raises:
        ConfigError: neither of both.
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise ConfigError(f'{what} has to be a time such as "2026-05-01T09:00:00Z": {value!r}') from error
    if not isinstance(moment, datetime):
        raise ConfigError(
            f"{what} has to be a datetime or ISO 8601 text, not {type(value).__name__}: {value!r:.100}"
        )
    return moment.astimezone(UTC)


def _parse_us(text: str, what: str) -> float:
    total, position = 0.0, 0
    trimmed = text.strip().removeprefix("+").lstrip()
    if trimmed == "0":
        return 0
    while found := _PART.match(trimmed, position):
        unit = _UNITS_US.get(found[2].lower())
        if unit is None:
            break
        total += float(found[1]) * unit
        position = found.end()
    if not trimmed or position != len(trimmed):
        raise ConfigError(f"{what} has to be {_FORMS}, not {text!r}")
    return total


def _in_range(microseconds: float, value: object, what: str) -> timedelta:
    try:
        return timedelta(microseconds=microseconds)
    except OverflowError as error:
        raise ConfigError(f"{what} is longer than any clock counts: {value!r:.100}") from error
