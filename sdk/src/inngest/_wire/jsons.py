"""JSON: compact text, the canonical form that is signed, and errors that name the place.

The canonical form is RFC 8785 (JCS): keys in the order of their UTF-16 code units, numbers as ECMAScript
writes them, no spaces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, cast

__all__ = ["NotJsonError", "canonical", "dumps", "loads", "to_plain"]

_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_sorted = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
_INT_DIGITS_EXACT = 15
"""Integers of so many digits are the same in ECMAScript, which has only doubles."""


class NotJsonError(ValueError):
    """A value has no JSON form; `path` is the place inside it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} {reason}" if path else reason)
        self.path = path
        self.reason = reason


def dumps(value: object, *, what: str = "the value") -> bytes:
    """Compact JSON in UTF-8.

    Raises:
        NotJsonError: something in it has no JSON form; the path to it begins with `what`.
    """
    try:
        return _compact.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise next(_faults(value, what, ()), NotJsonError(what, f"has no JSON form: {error}")) from None


def loads(text: str | bytes) -> Any:
    """Decode JSON text; NaN and the infinities are refused, as they are no JSON.

    Raises:
        ValueError: it is no JSON, no UTF-8, or nested too deeply.
    """
    try:
        return _decoder.decode(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def canonical(text: bytes) -> bytes:
    """The canonical form of JSON text; empty text stays empty.

    Raises:
        ValueError: it is no JSON, or has no canonical form.
    """
    if not text:
        return b""
    numbers = _Numbers(text)
    decoder = json.JSONDecoder(
        parse_float=numbers.keep_float, parse_int=numbers.keep_int, parse_constant=_refuse_constant
    )
    decoded = text.decode()
    try:
        value = decoder.decode(decoded)
        if max(decoded) > "\uffff" or "\\ud" in decoded.lower():
            # Only here do code units sort differently from code points.
            written = _compact.encode(_in_code_unit_order(value))
        else:
            written = _sorted.encode(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return numbers.put_back(written).encode()


def to_plain(value: Any) -> Any:
    """A copy that has a JSON form: times as ISO 8601, models as their fields, sets and tuples as lists."""
    match value:
        case None | bool() | int() | float() | str():
            return getattr(value, "value", value)  # Members of IntEnum and StrEnum are their values.
        case Mapping():
            fields = cast("Mapping[object, object]", value)
            return {key if isinstance(key, str) else str(key): to_plain(one) for key, one in fields.items()}
        case list() | tuple() | set() | frozenset():
            return [to_plain(one) for one in cast("list[object]", value)]
        case _ if hasattr(value, "model_dump"):
            return value.model_dump(mode="json")
        case _ if hasattr(value, "isoformat"):
            return value.isoformat()
        case _:
            return to_plain(value.value) if hasattr(value, "value") else str(value)


class _Numbers:
    """Writes numbers as ECMAScript does, though the encoder knows only Python's way.

    Numbers that both write alike pass; each other one becomes a string with a mark, and its text is put in
    place of that string at the end. So encoding stays in C, however long the body is. The mark is a hash of
    the whole text: nobody can write a text that contains its own.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._mark = ""

    def keep_int(self, text: str) -> float | int | str:
        if len(text) <= _INT_DIGITS_EXACT and text != "-0":
            return int(text)
        return self.keep_float(text)

    def keep_float(self, text: str) -> float | int | str:
        number = float(text)
        shortest = repr(number)
        if "e" not in shortest and not shortest.endswith(".0"):
            if shortest in ("inf", "-inf"):
                raise ValueError(f"the number {text:.30} is too large")
            return number
        self._mark = self._mark or blake2b(self._text, digest_size=16).hexdigest()
        return f"{self._mark}{_as_ecmascript(shortest)}"

    def put_back(self, written: str) -> str:
        return re.sub(f'"{self._mark}([^"]*)"', r"\1", written) if self._mark else written


def _as_ecmascript(shortest: str) -> str:
    """Text of a double in ECMAScript, from Python's shortest text of it ("1e+16", "1e-07", "5.0", "-0.0")."""
    sign = "-" if shortest.startswith("-") else ""
    mantissa, _, exponent = shortest.removeprefix("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    padded = whole + fraction
    digits = padded.strip("0")
    if not digits:
        return "0"
    # The value is 0.DIGITS times ten to the power of `point`.
    point = len(whole) + int(exponent or 0) - (len(padded) - len(padded.lstrip("0")))
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def _in_code_unit_order(value: Any) -> Any:
    match value:
        case dict():
            fields = cast("dict[str, Any]", value)
            keys = sorted(fields, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
            return {key: _in_code_unit_order(fields[key]) for key in keys}
        case list():
            return [_in_code_unit_order(one) for one in cast("list[Any]", value)]
        case _:
            return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _faults(value: object, path: str, above: tuple[int, ...]) -> Iterator[NotJsonError]:
    """Places that have no JSON form, in the order in which they are met."""
    if id(value) in above:
        yield NotJsonError(path, "contains itself")
        return
    match value:
        case None | bool() | int():
            return
        case str():
            if any("\ud800" <= char <= "\udfff" for char in value):
                yield NotJsonError(path, "has half a surrogate pair, which is no text")
        case float():
            if value != value or value in (float("inf"), float("-inf")):
                yield NotJsonError(path, f"is {value!r}, which JSON does not know")
        case dict():
            fields = cast("dict[object, object]", value)
            for key, one in fields.items():
                if not isinstance(key, str | int | float | bool | None):
                    yield NotJsonError(path, f"has the key {key!r:.50} of type {type(key).__name__}")
                else:
                    yield from _faults(one, f"{path}.{key}", (*above, id(fields)))
        case list() | tuple():
            entries = cast("list[object]", value)
            for index, one in enumerate(entries):
                yield from _faults(one, f"{path}[{index}]", (*above, id(entries)))
        case _:
            hint = _hint(value)
            kind = type(value).__name__
            article = "an" if kind[0] in "aeiouAEIOU" else "a"
            yield NotJsonError(path, f"is {article} {kind}, which has no JSON form{hint}")


def _hint(value: object) -> str:
    hints: tuple[tuple[str, str], ...] = (
        ("model_dump", '; use .model_dump(mode="json")'),
        ("isoformat", "; use .isoformat()"),
        ("__await__", "; it was not awaited"),
        ("__iter__", "; use list(...)"),
    )
    return next((hint for name, hint in hints if hasattr(cast("Callable[..., Any]", value), name)), "")
