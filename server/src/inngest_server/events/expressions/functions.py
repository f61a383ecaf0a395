"""The functions an expression can call.

A function gets the frame and its arguments, none of them missing or null: of those the result is false,
or 0 for `size`, decided in one place (`closures.py`). Clock and chance are not there: `now()` is the moment
that the caller passed in.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, cast

import orjson

from .errors import EvaluationError
from .limits import (
    CHARS_PER_STEP,
    INT_MAX,
    INT_MIN,
    JSON_CHARS_PER_STEP,
    PATTERN_CHARS_MAX,
    PATTERN_CHARS_PER_STEP,
    PATTERN_COMPILE_STEPS,
    PATTERN_MEMORY_BYTES,
    SCALAR_CHARS_MAX,
    UINT_MAX,
)
from .semantics import is_number, to_text
from .times import (
    CALENDAR_FIELDS,
    DURATION_FIELDS,
    NS_PER_MS,
    NS_PER_S,
    in_zone,
    parse_duration,
    parse_timestamp,
    timestamp_of,
    timestamp_of_number,
)
from .values import Duration, Frame, Timestamp, TypeName, mismatch, type_of


@dataclass(frozen=True, slots=True)
class Function:
    """One function; of a method the receiver counts as the first argument.

    `of_missing` is the result when an argument is missing or null. `reads_time` marks what may differ from
    one evaluation to the next for the same event.
    """

    run: Callable[..., Any]
    counts: tuple[int, ...] = (1,)
    of_missing: Any = False
    takes_missing: bool = False
    reads_time: bool = False
    gives_int: bool = False


# ---- patterns -------------------------------------------------------------------------------


class Pattern(Protocol):
    def search(self, text: str) -> object | None: ...


@lru_cache(maxsize=256)
def _pattern(text: str) -> Pattern:
    """A compiled pattern. RE2, because a pattern can make Python's own `re` run for years.

    Raises:
        EvaluationError: it is no RE2 pattern, or too big.
    """
    if len(text) > PATTERN_CHARS_MAX:
        raise EvaluationError("bad_pattern", f"a pattern has at most {PATTERN_CHARS_MAX} characters")
    # Loaded when first needed: few expressions have patterns, and the library is large.
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_MEMORY_BYTES
    try:
        return cast(Pattern, re2.compile(text, options))
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else ""
        shown = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise EvaluationError("bad_pattern", f"not a regular expression: {shown}") from error


def check_pattern(text: str) -> str:
    """What is wrong with a pattern; empty when it can be used."""
    try:
        _pattern(text)
    except EvaluationError as error:
        return str(error)
    return ""


def matcher(pattern_text: str) -> Callable[[Frame, Any], bool]:
    """`matches` for a pattern that is known beforehand, and so costs nothing to compile each time.

    Raises:
        EvaluationError: the pattern cannot be used; the parser has made sure that it can.
    """
    pattern = _pattern(pattern_text)

    def run(frame: Frame, text: Any) -> bool:
        _need_text("matches()", text)
        frame.spend(1 + len(text) // PATTERN_CHARS_PER_STEP)
        try:
            return pattern.search(text) is not None
        except UnicodeEncodeError as error:  # Half a surrogate pair, which JSON can carry.
            raise EvaluationError("bad_value", "the text is not valid Unicode") from error

    return run


def _matches(frame: Frame, text: Any, pattern: Any) -> bool:
    _need_text("matches()", text, pattern)
    # Paid even when the pattern is cached: the result must not depend on what ran before.
    frame.spend(PATTERN_COMPILE_STEPS)
    return matcher(pattern)(frame, text)


# ---- text -----------------------------------------------------------------------------------


def _need_text(what: str, *values: Any) -> None:
    if not all(type(value) is str for value in values):
        raise mismatch(what, *values)


def _text_test(name: str, test: Callable[[str, str], bool]) -> Function:
    def run(frame: Frame, text: Any, part: Any) -> bool:
        _need_text(f"{name}()", text, part)
        frame.spend((len(text) + len(part)) // CHARS_PER_STEP)
        return test(text, part)

    return Function(run, (2,))


def _text_change(name: str, change: Callable[[str], str]) -> Function:
    def run(frame: Frame, text: Any) -> str:
        _need_text(f"{name}()", text)
        frame.spend(len(text) // CHARS_PER_STEP)
        return change(text)

    return Function(run)


_UPPER_ASCII: Final = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_LOWER_ASCII: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def _size(frame: Frame, value: Any) -> int:
    if type(value) in (str, bytes, list, dict):
        return len(value)
    raise mismatch("size()", value)


def _b64decode(frame: Frame, text: Any) -> str:
    """The text that a base64 text stands for; both alphabets, with or without padding."""
    _need_text("b64decode()", text)
    frame.spend(len(text) // CHARS_PER_STEP)
    standard = text.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    try:
        return b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise EvaluationError("bad_value", "b64decode() needs base64 of UTF-8 text") from error


def _json_parse(frame: Frame, text: Any) -> Any:
    _need_text("json_parse()", text)
    frame.spend(len(text) // JSON_CHARS_PER_STEP)
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        raise EvaluationError("bad_value", "json_parse() needs JSON text") from error


def _dyn(frame: Frame, value: Any) -> Any:
    return value


def _type(frame: Frame, value: Any) -> TypeName:
    return type_of(value)


# ---- conversions ----------------------------------------------------------------------------

_WHOLE: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?[iI]nf|NaN")
_BOOLS: Final = {
    **dict.fromkeys(("true", "TRUE", "True", "t", "T", "1"), True),
    **dict.fromkeys(("false", "FALSE", "False", "f", "F", "0"), False),
}


def _not_a(what: str) -> EvaluationError:
    return EvaluationError("bad_value", f"the text is not {what}")


def _whole(what: str, value: Any, low: int, high: int) -> int:
    number = value
    if type(value) is str:
        if len(value) > SCALAR_CHARS_MAX or not _WHOLE.fullmatch(value):
            raise _not_a("a whole number")
        number = int(value)
    elif type(value) is Timestamp:
        number = value.ns // NS_PER_S
    elif type(value) is float:
        # Compared as a float first: infinity and NaN cannot become whole numbers.
        number = int(value) if -(2.0**64) < value < 2.0**64 else UINT_MAX + 1
    elif type(value) is not int:
        raise mismatch(what, value)
    if not low <= number <= high:
        raise EvaluationError("out_of_range", f"{what}: the number does not fit into 64 bits")
    return number


def _int(frame: Frame, value: Any) -> int:
    return _whole("int()", value, INT_MIN, INT_MAX)


def _uint(frame: Frame, value: Any) -> int:
    return _whole("uint()", value, 0, UINT_MAX)


def _double(frame: Frame, value: Any) -> float:
    if type(value) is str:
        if len(value) > SCALAR_CHARS_MAX or not _NUMBER.fullmatch(value):
            raise _not_a("a number")
        return float(value)
    if not is_number(value):
        raise mismatch("double()", value)
    try:
        return float(value)
    except OverflowError as error:
        raise EvaluationError("out_of_range", "double(): the number is too large") from error


def _string(frame: Frame, value: Any) -> str:
    if type(value) is bytes:
        frame.spend(len(value) // CHARS_PER_STEP)
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise EvaluationError("bad_value", "string() needs bytes of UTF-8 text") from error
    return to_text(value)


def _bytes(frame: Frame, value: Any) -> bytes:
    if type(value) is bytes:
        return value
    _need_text("bytes()", value)
    frame.spend(len(value) // CHARS_PER_STEP)
    try:
        return cast(str, value).encode()
    except UnicodeEncodeError as error:
        raise EvaluationError("bad_value", "the text is not valid Unicode") from error


def _bool(frame: Frame, value: Any) -> bool:
    if type(value) is bool:
        return value
    _need_text("bool()", value)
    if value not in _BOOLS:
        raise _not_a("a boolean; write 'true' or 'false'")
    return _BOOLS[value]


# ---- times ----------------------------------------------------------------------------------


def _timestamp(name: str) -> Function:
    def run(frame: Frame, value: Any) -> Timestamp:
        if type(value) is Timestamp:
            return value
        if is_number(value):
            return timestamp_of_number(value)
        _need_text(f"{name}()", value)
        return parse_timestamp(value)

    return Function(run)


def _duration(frame: Frame, value: Any) -> Duration:
    if type(value) is Duration:
        return value
    _need_text("duration()", value)
    return parse_duration(value)


def _from_now(sign: int) -> Callable[[Frame, Any], Timestamp]:
    def run(frame: Frame, value: Any) -> Timestamp:
        return timestamp_of(frame.now_ms * NS_PER_MS + sign * _duration(frame, value).ns)

    return run


def _now(frame: Frame) -> Timestamp:
    return timestamp_of(frame.now_ms * NS_PER_MS)


def _calendar_field(name: str) -> Function:
    def run(frame: Frame, value: Any, zone: Any = None) -> int:
        if type(value) is Duration and name in DURATION_FIELDS and zone is None:
            # Rounded towards zero, as CEL does.
            whole = abs(value.ns) // DURATION_FIELDS[name]
            whole = whole % 1_000 if name == "getMilliseconds" else whole
            return -whole if value.ns < 0 else whole
        if type(value) is not Timestamp or not (zone is None or type(zone) is str):
            raise mismatch(f"{name}()", value)
        return CALENDAR_FIELDS[name](in_zone(value, zone))

    return Function(run, (1, 2), gives_int=True)


# ---- the tables -----------------------------------------------------------------------------

_SIZE: Final = Function(_size, of_missing=0, gives_int=True)

FUNCTIONS: Final[dict[str, Function]] = {
    "b64decode": Function(_b64decode),
    "bool": Function(_bool),
    "bytes": Function(_bytes),
    "date": _timestamp("date"),
    "double": Function(_double),
    "duration": Function(_duration),
    "dyn": Function(_dyn, takes_missing=True),
    "int": Function(_int, gives_int=True),
    "json_parse": Function(_json_parse),
    "lowercase": _text_change("lowercase", str.lower),
    "matches": Function(_matches, (2,)),
    "now": Function(_now, (0,), reads_time=True),
    "now_minus": Function(_from_now(-1), reads_time=True),
    "now_plus": Function(_from_now(1), reads_time=True),
    "size": _SIZE,
    "string": Function(_string),
    "timestamp": _timestamp("timestamp"),
    "type": Function(_type, takes_missing=True),
    "uint": Function(_uint, gives_int=True),
    "uppercase": _text_change("uppercase", str.upper),
}

METHODS: Final[dict[str, Function]] = {
    "contains": _text_test("contains", lambda text, part: part in text),
    "endsWith": _text_test("endsWith", str.endswith),
    "lowerAscii": _text_change("lowerAscii", lambda text: text.translate(_LOWER_ASCII)),
    "matches": FUNCTIONS["matches"],
    "size": _SIZE,
    "startsWith": _text_test("startsWith", str.startswith),
    "upperAscii": _text_change("upperAscii", lambda text: text.translate(_UPPER_ASCII)),
    **{name: _calendar_field(name) for name in CALENDAR_FIELDS},
}
