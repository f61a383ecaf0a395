"""Durations as text, and the fields that hold either a duration or a moment."""

import re
from typing import Final

from inngest_server.wire import times

_NS_PER_MS: Final = 1_000_000
_NS_PER_UNIT: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "μs": 1_000,  # U+03BC, the Greek letter
    "ms": _NS_PER_MS,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
    "d": 24 * 3_600 * 1_000_000_000,
    "w": 7 * 24 * 3_600 * 1_000_000_000,
}
_PART: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h|d|w)")

_TEXT_MAX: Final = 100  # No duration that a person or an SDK writes is longer.
_NS_END: Final = 1 << 63  # 292 years, where the reference server's own type ends.
_DATE_LENGTH_MIN: Final = 10
_RETRY_SECONDS_LENGTH_MAX: Final = 7
_RETRY_AFTER_MIN_MS: Final = 1_000
_RETRY_AFTER_MAX_MS: Final = 24 * 3_600_000


class InvalidDurationError(ValueError):
    """A text is not a duration, and not a moment where one is accepted."""

    code = "invalid_duration"

    def __init__(self, text: str, *, or_time: bool = False) -> None:
        expected = 'a duration such as "30s", "1h30m" or "7d" (units ns, us, ms, s, m, h, d, w)'
        if or_time:
            expected += ', or a time such as "2024-05-01T09:00:00Z"'
        super().__init__(f"{text[:60]!r} is not valid here: expected {expected}")
        self.text = text


def parse_duration_ms(text: str) -> int:
    """The length of a duration such as `1h30m` or `-2.5d`, to the nearest millisecond.

    Raises:
        InvalidDurationError: also for an empty text, for a number without unit other than 0, and
            beyond 292 years.

    Source: protocol 0.1.
    """
    ms = _find_duration_ms(text)
    if ms is None:
        raise InvalidDurationError(text)
    return ms


def parse_deadline_ms(text: str, now_ms: int, shift_ms: int = 0) -> int:
    """The moment that a timeout field names: a duration from now, or an RFC 3339 time moved by `shift_ms`.

    It may be in the past. What an empty text means is the field's own affair: here it is an error.

    Raises:
        InvalidDurationError: it is neither.

    Source: protocol 0.1.
    """
    duration_ms = _find_duration_ms(text)
    if duration_ms is not None:
        return now_ms + duration_ms
    at_ms = times.find_rfc3339_ms(text)
    if at_ms is None:
        raise InvalidDurationError(text, or_time=True)
    return at_ms + shift_ms


def parse_sleep_until_ms(text: str, now_ms: int, shift_ms: int = 0) -> int:
    """When a sleep ends, never before `now_ms`; an empty text means now.

    A date is moved by `shift_ms`, and kept to the millisecond. The reference server rounds what is left to
    whole seconds, which wakes up to half a second early; Python SDKs send every sleep as a date.

    Raises:
        InvalidDurationError: it is neither a duration nor a date in a layout of protocol 0.1.

    Source: protocol 0.1.
    """
    if not text:
        return now_ms
    if len(text) >= _DATE_LENGTH_MIN:
        at_ms = times.find_date_ms(text, now_ms - shift_ms)
        if at_ms is not None:
            return max(at_ms + shift_ms, now_ms)
    duration_ms = _find_duration_ms(text)
    if duration_ms is None:
        raise InvalidDurationError(text, or_time=True)
    return now_ms + max(duration_ms, 0)


def parse_retry_after_ms(text: str, now_ms: int) -> int | None:
    """How long a `Retry-After` asks to wait, within 1 s and 24 h; None when it cannot be read.

    `now_ms` is what the clock of the sender is taken to show.

    Source: protocol 4.3.
    """
    text = text.strip()
    if len(text) <= _RETRY_SECONDS_LENGTH_MAX:
        if re.fullmatch(r"[+-]?[0-9]+", text) is None:
            return None
        wait_ms = int(text) * 1000
    else:
        at_ms = times.find_date_ms(text, now_ms)
        if at_ms is None:
            return None
        wait_ms = at_ms - now_ms
    return min(max(wait_ms, _RETRY_AFTER_MIN_MS), _RETRY_AFTER_MAX_MS)


def format_duration_s(ms: int) -> str:
    """A duration in whole seconds, rounded up, such as `10s`: the one form that every SDK reads."""
    return f"{-(-ms // 1000)}s"


def format_go_duration(ms: int) -> str:
    """A duration as Go prints it: `1h0m0s`, `1m30s`, `1.5s`, `500ms`, `0s`."""
    sign, size = ("-", -ms) if ms < 0 else ("", ms)
    if 0 < size < 1000:
        return f"{sign}{size}ms"
    minutes, rest_ms = divmod(size, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest_ms // 1000}.{rest_ms % 1000:03d}".rstrip("0").rstrip(".")
    larger = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{larger}{seconds}s"


def _find_duration_ms(text: str) -> int | None:
    sign = -1 if text.startswith("-") else 1
    size = text[1:] if text[:1] in ("+", "-") else text
    if size == "0":
        return 0
    if not size or len(size) > _TEXT_MAX:
        return None
    total_ns, position = 0, 0
    while position < len(size):
        part = _PART.match(size, position)
        if part is None or not (part[1] or part[2]):
            return None
        scale = _NS_PER_UNIT[part[3]]
        total_ns += int(part[1] or 0) * scale
        if part[2]:
            total_ns += int(part[2]) * scale // 10 ** len(part[2])
        position = part.end()
    if total_ns >= _NS_END:
        return None
    return sign * ((total_ns + _NS_PER_MS // 2) // _NS_PER_MS)
