"""JSON as this server reads, writes and signs it.

Every payload is parsed once, on arrival, and what `parse` returned is plain: no NaN, no lone
surrogates, bounded depth, integers exact. The other functions rely on that.

orjson does nearly all of the work. Each function has a slow path in Python for the few values that
orjson refuses or prints differently, and decides between the two by scanning bytes, because walking
a value in Python costs more than orjson needs for the whole of it.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, cast

import orjson

BigInts = Literal["double", "exact"]

DEPTH_MAX: Final = 200
"""Nesting that `parse` accepts. orjson writes 254 levels: this leaves room to wrap a payload."""

_ORJSON_DEPTH: Final = 254
_KEPT_DEPTH_MAX: Final = 900
_SAFE_INT_MAX: Final = 2**53
_DOUBLE_DIGITS_MAX: Final = 309  # Longer integers are beyond the largest double.


class InvalidJSONError(ValueError):
    """The body is not JSON that this server takes.

    `position` counts characters from 0, or bytes when the body is not even UTF-8.
    """

    code = "invalid_json"

    def __init__(self, reason: str, position: int = 0) -> None:
        super().__init__(f"the body is not valid JSON at character {position}: {reason}")
        self.reason = reason
        self.position = position


def parse(body: bytes) -> Any:
    """The value of a JSON text; integers of any size stay integers.

    Lone surrogates, in keys too, become U+FFFD as in the reference server. Of repeated keys the
    last counts; a leading byte order mark is ignored.

    Raises:
        InvalidJSONError: not JSON, not UTF-8, NaN or an infinity, a number beyond the range of a
            double, or nested deeper than `DEPTH_MAX`.
    """
    if not _may_hold_huge_integer(body):
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # The slow path accepts a few texts more, and reports the others.
        else:
            if len(body) > DEPTH_MAX and body.count(b"[") + body.count(b"{") > DEPTH_MAX:
                _check_depth_of_value(value)
            return value
    return _parse_slowly(body)


def checked(body: bytes) -> bytes:
    """The text of a JSON value as it came, once it is known that `parse` takes it as it is.

    Written anew only where `parse` mends something: a lone surrogate or a byte order mark.

    Raises:
        InvalidJSONError: as `parse`.
    """
    value = parse(body)
    if body.startswith(b"\xef\xbb\xbf") or b"\\ud" in body or b"\\uD" in body:
        return dumps(value)
    return body.strip()


def elements(body: bytes) -> Iterator[bytes]:
    """The JSON texts of an array's elements, one by one; only their brackets and strings are looked at.

    For a text so large that parsing it at once would hold up other threads: each step is short.

    Raises:
        InvalidJSONError: not an array, nested too deep, or its brackets or strings do not end.
    """
    at = 3 if body.startswith(b"\xef\xbb\xbf") else 0
    opening = _ARRAY_BEGINS.match(body, at)
    if opening is None:
        raise InvalidJSONError("not an array", at)
    start = at = opening.end()
    depth = 1
    while depth:
        found = (_STRUCTURE if depth > 1 else _TOP_STRUCTURE).match(body, at)
        if found is None:
            raise InvalidJSONError("a string or an array does not end", at)
        at = found.end()
        mark = body[at - 1]
        if mark in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise _too_deep(at)
        elif mark in b"]}":
            depth -= 1
            if not depth and mark != _ARRAY_ENDS:
                raise InvalidJSONError("an array ends as an object", at - 1)
        if not depth or (depth == 1 and mark == _COMMA):
            element = body[start : at - 1]
            # An array may be empty; what stands before or after a comma may not.
            if mark == _COMMA or start != opening.end() or element.strip(_WHITESPACE):
                yield element
            start = at
    if body[at:].strip(_WHITESPACE):
        raise InvalidJSONError("something follows the array", at)


def parse_kept(body: bytes) -> Any:
    """As `parse`, for a text that this server put together: what it wraps may be as deep as allowed."""
    if not _may_hold_huge_integer(body):
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    return _parse_slowly(body, depth_max=_KEPT_DEPTH_MAX)


def dumps(value: Any) -> bytes:
    """Compact JSON of a value, keys in their own order; integers of any size.

    As in JavaScript, NaN and the infinities become null.

    Raises:
        TypeError: something in it is not a JSON value.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return _write(value, sort=False, number=_plain_number)


def dumps_kept(value: Any) -> bytes:
    """As `dumps`, for a text that stays in memory.

    orjson leaves its working buffer of some kilobytes behind the text it returns; a copy has none.
    """
    return bytes(memoryview(dumps(value)))


def canonical(value: Any, big_ints: BigInts = "double") -> bytes:
    """The RFC 8785 form of a value, which is what signatures are computed over.

    Integers beyond 2^53 are written as the double that JavaScript makes of them, or digit for digit
    with `big_ints="exact"`. As in JavaScript, NaN and the infinities become null.

    Raises:
        TypeError: something in it is not a JSON value.

    Source: protocol 6.2; RFC 8785 section 3.2.
    """
    exact = big_ints == "exact"
    try:
        raw = orjson.dumps(value, option=_SORTED if exact else _SORTED | orjson.OPT_STRICT_INTEGER)
        is_es6 = _numbers_are_es6(raw) and not isinstance(value, float)
    except TypeError:
        try:
            raw = orjson.dumps(value, option=_SORTED)
            is_es6 = False
        except TypeError:
            return _write(value, sort=True, number=_exact_number if exact else _es6_number)
    if not _keys_are_sorted(raw):
        return _write(value, sort=True, number=_exact_number if exact else _es6_number)
    return raw if is_es6 else _with_es6_numbers(raw, exact=exact)


# What elements() looks for: the next bracket outside strings, and among elements the next comma too.

_WHITESPACE: Final = b" \t\r\n"
_COMMA: Final = ord(",")
_ARRAY_ENDS: Final = ord("]")
_ARRAY_BEGINS: Final = re.compile(rb"[ \t\r\n]*+\[")
_TOP_STRUCTURE: Final = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+[\[\]{},]', re.DOTALL)
_STRUCTURE: Final = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+[\[\]{}]', re.DOTALL)

# What orjson would turn into a float: 20 digits, or 19 below zero. 19 digits above zero are not among
# them, and must not be: every reported step carries its start in nanoseconds.

_DIGITS_ONLY: Final = bytes(ord("0") if chr(c) in "0123456789" else c for c in range(256))
_HUGE: Final = b"0" * 20
_HUGE_NEGATIVE: Final = b"-" + b"0" * 19


def _may_hold_huge_integer(body: bytes) -> bool:
    # Each run of 19 digits shows four neighbours in a sample of every fourth byte. No date does.
    if b"0000" not in body[::4].translate(_DIGITS_ONLY):
        return False
    digits = body.translate(_DIGITS_ONLY)
    return _HUGE in digits or _HUGE_NEGATIVE in digits


def _check_depth_of_value(value: Any) -> None:
    # Only orjson knows the depth at no cost: wrapped this often, its own limit becomes ours.
    for _ in range(_ORJSON_DEPTH - DEPTH_MAX):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise _too_deep() from error


def _too_deep(position: int = 0, depth_max: int = DEPTH_MAX) -> InvalidJSONError:
    return InvalidJSONError(f"nested deeper than {depth_max} levels", position)


# The slow path of parse().

# Possessive and with an optional end, so that no text makes it scan twice.
_STRING: Final = r'"(?:[^"\\]++|\\.)*+"?'
_STRING_OR_BRACKET: Final = re.compile(_STRING + r"|[\[{]|[\]}]", re.DOTALL)
_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def _parse_slowly(body: bytes, *, depth_max: int = DEPTH_MAX) -> Any:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidJSONError("not UTF-8", error.start) from error
    if not text.strip():
        raise InvalidJSONError("the body is empty")
    text = _ESCAPE.sub(_without_lone_surrogate, text)
    _check_depth_of_text(text, depth_max)
    try:
        return json.loads(
            text, parse_int=_parse_int, parse_float=_parse_float, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        raise InvalidJSONError(error.msg, error.pos) from error
    except _BadNumberError as error:
        raise InvalidJSONError(error.reason, _position_of(error.token, text)) from error


def _without_lone_surrogate(escape: re.Match[str]) -> str:
    return r"\ufffd" if escape["lone"] else escape[0]


def _check_depth_of_text(text: str, depth_max: int) -> None:
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > depth_max:
                raise _too_deep(token.start(), depth_max)
        elif token[0] in "]}":
            depth -= 1


class _BadNumberError(Exception):
    def __init__(self, token: str, reason: str) -> None:
        self.token = token
        self.reason = reason


def _parse_int(text: str) -> int:
    if len(text) >= _DOUBLE_DIGITS_MAX:
        _parse_float(text)
    return int(text)


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _BadNumberError(text, "the number is beyond the range of a double")
    return number


def _refuse_constant(text: str) -> Any:
    raise _BadNumberError(text, f"{text} is not a JSON value")


def _position_of(token: str, text: str) -> int:
    """Where a token first stands outside strings."""
    for match in re.finditer(_STRING + "|" + re.escape(token), text, re.DOTALL):
        if not match[0].startswith('"'):
            return match.start()
    return 0


# canonical() with orjson: its strings are canonical. Its numbers are unless they end in ".0", have an
# exponent or are large integers, and its keys are sorted unless UTF-16 orders them otherwise.

_SORTED: Final = orjson.OPT_SORT_KEYS
_NUMBER_MARKS: Final = bytes(
    ord("1" if c in "123456789" else "," if c in ",]}" else "+" if c in "+-" else c if c in "0.e" else " ")
    for c in map(chr, range(256))
)
# Older releases of orjson write 1e21 without the sign.
_SUSPICIOUS: Final = (b".0,", b"e+1") if orjson.dumps(1e21) == b"1e+21" else (b".0,", b"e+1", b"0e1", b"1e1")
_NUMBER: Final = re.compile(rb"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?")
_SAFE_DIGITS_MAX: Final = 15
_ASTRAL: Final = re.compile(rb"[\xf0-\xf4]")
_ABOVE_SURROGATES: Final = re.compile(rb"[\xee\xef]")


def _numbers_are_es6(raw: bytes) -> bool:
    """False for some texts, too, that only have such marks inside strings."""
    marks = raw.translate(_NUMBER_MARKS)
    return not any(mark in marks for mark in _SUSPICIOUS)


def _with_es6_numbers(raw: bytes, *, exact: bool) -> bytes:
    """Rewrite the numbers of a text, which stand outside its strings: in every other piece between quotes."""
    has_escapes = b"\\" in raw
    if has_escapes:  # What they become cannot occur otherwise: control characters are always escaped.
        raw = raw.replace(b"\\\\", b"\0\0").replace(b'\\"', b"\0\1")
    pieces = raw.split(b'"')

    def rewrite(number: re.Match[bytes]) -> bytes:
        text, fraction, exponent = number[0], number[1], number[2]
        if exponent or fraction == b".0":
            return _es6_number(float(text))
        if fraction or exact or len(text) <= _SAFE_DIGITS_MAX:
            return text
        return _es6_number(int(text))

    pieces[::2] = _NUMBER.sub(rewrite, b'"'.join(pieces[::2])).split(b'"')
    raw = b'"'.join(pieces)
    return raw.replace(b"\0\1", b'\\"').replace(b"\0\0", b"\\\\") if has_escapes else raw


def _keys_are_sorted(raw: bytes) -> bool:
    """Whether order by UTF-8, which orjson follows, is also the order by UTF-16 code units.

    They differ only between characters beyond U+FFFF and those from U+E000 up to it.
    """
    return raw.isascii() or not (_ASTRAL.search(raw) and _ABOVE_SURROGATES.search(raw))


# The slow writer.

_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _write(value: Any, *, sort: bool, number: Callable[[float], bytes]) -> bytes:
    pieces: list[bytes] = []
    put = pieces.append

    def write(value: Any) -> None:
        match value:
            case str():
                put(_string(value))
            case bool() | None:
                put(orjson.dumps(value))
            case int() | float():
                put(number(value))
            case dict():
                fields = cast("dict[str, Any]", value)
                before = b"{"
                for key in sorted(fields, key=_utf16) if sort else fields:
                    put(before + _string(key) + b":")
                    write(fields[key])
                    before = b","
                put(b"}" if fields else b"{}")
            case list() | tuple():
                items = cast("list[Any] | tuple[Any, ...]", value)
                before = b"["
                for item in items:
                    put(before)
                    write(item)
                    before = b","
                put(b"]" if items else b"[]")
            case _:
                put(orjson.dumps(value))

    write(value)
    return b"".join(pieces)


def _utf16(text: str) -> bytes:
    return str.encode(text, "utf-16-be", "surrogatepass")  # For another key this is a TypeError.


def _string(text: str) -> bytes:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"an object key must be text, not {type(text).__name__}")
    try:
        return orjson.dumps(text)
    except TypeError:
        return orjson.dumps(_LONE_SURROGATE.sub("\ufffd", text))


def _plain_number(number: float) -> bytes:
    return b"%d" % number if isinstance(number, int) else orjson.dumps(number)


def _exact_number(number: float) -> bytes:
    return b"%d" % number if isinstance(number, int) else _es6_number(number)


def _es6_number(number: float) -> bytes:
    """As ECMAScript's Number::toString prints it, which RFC 8785 adopts."""
    if isinstance(number, int):
        if -_SAFE_INT_MAX <= number <= _SAFE_INT_MAX:
            return b"%d" % number
        try:
            number = float(number)
        except OverflowError:
            return b"null"
    if not math.isfinite(number):
        return b"null"
    if number == 0:
        return b"0"  # Negative zero loses its sign.
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    padded = whole + fraction
    digits = padded.lstrip("0")
    # The number is 0.digits times ten to the `point`.
    point = len(whole) + int(exponent or 0) - (len(padded) - len(digits))
    return (sign + _place_point(digits.rstrip("0"), point)).encode()


def _place_point(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"
