"""What the operators do: CEL made lenient, as protocol 5.16 has it.

A missing attribute is `UNKNOWN`. It behaves like null where the two can be compared, is less than
everything, adds nothing, and makes any other operation false. Numbers compare by value whether whole or
not; a boolean never equals a number.
"""

import operator
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, cast

from .errors import EvaluationError
from .limits import CHARS_PER_STEP, INT_MAX, INT_MIN, TREE_HEIGHT_MAX, UINT_MAX
from .times import duration_of, format_duration, format_timestamp, timestamp_of
from .values import UNKNOWN, Duration, Frame, Timestamp, TypeName, mismatch

_COMPARABLE: Final = frozenset((str, bool, bytes, Timestamp, Duration))
# What null counts as beside a value of the type.
_ZEROS: Final[dict[type[Any], Any]] = {
    int: 0,
    float: 0.0,
    str: "",
    bool: False,
    bytes: b"",
    Timestamp: Timestamp(-62_135_596_800_000_000_000),
    Duration: Duration(0),
}
# Whole floats below print as whole numbers, as Go and JavaScript print them.
_PLAIN_FLOAT_MAX: Final = 1e21


def is_number(value: Any) -> bool:
    """Whether a value is a number; a boolean is none."""
    return type(value) is int or type(value) is float


def is_truthy(value: Any) -> bool:
    """Missing, null, false, empty text, 0 and NaN are not; everything else is, an empty list too."""
    if value is True or value is False:
        return value
    if value is None or value is UNKNOWN or value == "":
        return False
    return not is_number(value) or (value != 0 and value == value)


# ---- equality and membership ----------------------------------------------------------------


def equal(left: Any, right: Any, frame: Frame) -> bool:
    """`left == right`; values of different types differ, except whole and other numbers.

    Raises:
        WorkLimitError: the values are lists or objects too big to compare.
    """
    kind: type[Any] = left.__class__
    if kind is str:
        if type(right) is not str or len(left) != len(right):
            return False
        frame.spend(len(left) // CHARS_PER_STEP)
        return left == right
    if kind is int or kind is float:
        return is_number(right) and left == right
    if left is None:
        return right is None or right is UNKNOWN
    if left is UNKNOWN:
        return right is None  # Two missing values are not known to be the same.
    if kind is bool:
        return left is right
    if kind is list or kind is dict:
        return _equal_deep(left, right, frame)
    return kind is type(right) and left == right


def _equal_deep(left: Any, right: Any, frame: Frame) -> bool:
    """Equality of lists and objects, without recursion: JSON can be nested 1,000 deep."""
    waiting = [(left, right)]
    while waiting:
        one, other = waiting.pop()
        kind: type[Any] = one.__class__
        if kind is not list and kind is not dict:
            if not equal(one, other, frame):
                return False
        elif kind is not type(other) or len(one) != len(other):
            return False
        elif kind is list:
            frame.spend(len(one))
            waiting.extend(zip(one, other, strict=True))
        else:
            frame.spend(len(one))
            if one.keys() != other.keys():
                return False
            waiting.extend((value, other[key]) for key, value in one.items())
    return True


def contains(item: Any, container: Any, frame: Frame) -> bool:
    """`item in container`: an item of a list or a key of an object; false when either is missing.

    Raises:
        EvaluationError: the container is neither.
    """
    if item is UNKNOWN or container is UNKNOWN or container is None:
        return False
    if type(container) is dict:
        key = map_key(item)
        return key is not UNKNOWN and key in cast(dict[Any, Any], container)
    if type(container) is not list:
        raise mismatch("in", item, container)
    items = cast(list[Any], container)
    if type(item) is str:
        # At the worst every item has the length of this one and differs at its end.
        frame.spend(len(items) * (len(item) // CHARS_PER_STEP + 1) // CHARS_PER_STEP)
        return item in items
    frame.spend(len(items))
    return any(equal(item, other, frame) for other in items)


def map_key(key: Any) -> Any:
    """The key under which an object would have it; `UNKNOWN` for what cannot be a key."""
    kind: type[Any] = key.__class__
    if kind is str or kind is int:
        return key
    if kind is float and key.is_integer():
        return int(key)
    return UNKNOWN


def index(value: Any, key: Any) -> Any:
    """`value[key]`; `UNKNOWN` where there is no such field or item, whatever the value is."""
    if type(value) is dict:
        found = map_key(key)
        return UNKNOWN if found is UNKNOWN else cast(dict[Any, Any], value).get(found, UNKNOWN)
    if type(value) is list:
        place = map_key(key)
        items = cast(list[Any], value)
        if type(place) is int and 0 <= place < len(items):
            return items[place]
    return UNKNOWN


# ---- order ----------------------------------------------------------------------------------

Test = Callable[[Any, Any], bool]

ORDER_TESTS: Final[dict[str, Test]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def ordered(name: str, test: Test, left: Any, right: Any, frame: Frame) -> bool:
    """`left < right` and its like. Missing is less than anything; null counts as the other type's zero.

    Raises:
        EvaluationError: the two have no order, such as a number and a text.
    """
    if left is UNKNOWN:
        return test(0, 1)
    if right is UNKNOWN:
        return test(1, 0)
    if left is None and right is None:
        return test(0, 0)
    if left is None:
        left = _ZEROS.get(right.__class__)
    elif right is None:
        right = _ZEROS.get(left.__class__)
    kind: type[Any] = left.__class__
    if is_number(left) and is_number(right):
        return test(left, right)
    if kind is type(right) and kind in _COMPARABLE:
        if kind is str:
            frame.spend(len(left) // CHARS_PER_STEP)
        return test(left, right)
    raise mismatch(name, left, right)


# ---- arithmetic -----------------------------------------------------------------------------


def add(left: Any, right: Any, frame: Frame) -> Any:
    """`left + right`: a sum, or texts, lists, bytes and times joined; what is missing adds nothing.

    Raises:
        EvaluationError: such values have no sum, or it is too large.
    """
    if type(left) is str and type(right) is str:
        return _joined(left, right, frame)
    if left is UNKNOWN or left is None:
        return False if right is UNKNOWN or right is None else right
    if right is UNKNOWN or right is None:
        return left
    kinds: tuple[type[Any], type[Any]] = (left.__class__, right.__class__)
    if is_number(left) and is_number(right):
        return in_range(_calculated("+", operator.add, left, right))
    if str in kinds and is_scalar(left) and is_scalar(right):
        return _joined(to_text(left), to_text(right), frame)
    if kinds[0] is kinds[1] and kinds[0] in (list, bytes):
        frame.spend(len(left) + len(right))
        return left + right
    match left, right:
        case (Timestamp(), Duration()) | (Duration(), Timestamp()):
            return timestamp_of(left.ns + right.ns)
        case (Duration(), Duration()):
            return duration_of(left.ns + right.ns)
        case _:
            raise mismatch("+", left, right)


def _joined(left: str, right: str, frame: Frame) -> str:
    # This also bounds the length of what comes of adding a text to itself.
    frame.spend((len(left) + len(right)) // CHARS_PER_STEP)
    return left + right


def subtract(left: Any, right: Any) -> Any:
    """`left - right` of numbers and times.

    Raises:
        EvaluationError: such values have no difference, or it is out of range.
    """
    match left, right:
        case (Timestamp(), Timestamp()) | (Duration(), Duration()):
            return duration_of(left.ns - right.ns)
        case (Timestamp(), Duration()):
            return timestamp_of(left.ns - right.ns)
        case _:
            return arithmetic("-", operator.sub, left, right)


def arithmetic(name: str, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """`left - right` or `left * right`; false when one is missing.

    Raises:
        EvaluationError: one is not a number, or the result is out of range.
    """
    if left is UNKNOWN or right is UNKNOWN or left is None or right is None:
        return False
    if not is_number(left) or not is_number(right):
        raise mismatch(name, left, right)
    return in_range(_calculated(name, function, left, right))


def divide(left: Any, right: Any, *, whole: bool) -> Any:
    """`left / right`. With `whole`, the quotient without its fraction, as CEL divides whole numbers.

    JSON does not tell 4.0 from 4, so numbers of an event divide exactly: 5 / 2 is 2.5, and 4 / 2 is 2.

    Raises:
        EvaluationError: one is not a number, or a whole number is divided by zero.
    """
    if left is UNKNOWN or right is UNKNOWN or left is None or right is None:
        return False
    if not is_number(left) or not is_number(right):
        raise mismatch("/", left, right)
    if type(left) is int and type(right) is int:
        quotient, rest = _truncated(left, right)
        if whole or not rest:
            return in_range(quotient)
    elif right == 0:
        return float("nan") if left == 0 or left != left else float("inf") if left > 0 else float("-inf")
    return _calculated("/", lambda one, other: one / other, left, right)


def remainder(left: Any, right: Any) -> Any:
    """`left % right` of whole numbers, with the sign of `left`; false when one is missing.

    Raises:
        EvaluationError: one is not a whole number, or the divisor is zero.
    """
    if left is UNKNOWN or right is UNKNOWN or left is None or right is None:
        return False
    one, other = map_key(left), map_key(right)
    if type(one) is not int or type(other) is not int:
        raise mismatch("%", left, right)
    return in_range(_truncated(one, other)[1])


def _truncated(left: int, right: int) -> tuple[int, int]:
    """Quotient and remainder, rounded towards zero as CEL does; Python rounds down."""
    if right == 0:
        raise EvaluationError("division_by_zero", "a whole number is divided by zero")
    quotient = abs(left) // abs(right)
    if (left < 0) is not (right < 0):
        quotient = -quotient
    return quotient, left - quotient * right


def negate(value: Any) -> Any:
    """`-value`; false when it is missing.

    Raises:
        EvaluationError: it is neither a number nor a duration.
    """
    if value is UNKNOWN or value is None:
        return False
    if type(value) is Duration:
        return Duration(-value.ns)
    if not is_number(value):
        raise mismatch("-", value)
    return in_range(-value)


def _calculated(name: str, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    try:
        return function(left, right)
    except OverflowError as error:  # A whole number that no float can hold.
        raise EvaluationError("out_of_range", f"the result of {name} is out of range") from error


def in_range(number: Any) -> Any:
    """A result, if it is a float or a whole number of 64 bits.

    Raises:
        EvaluationError: it does not fit.
    """
    if type(number) is int and not INT_MIN <= number <= INT_MAX:
        raise EvaluationError("out_of_range", "a whole number is larger than 64 bits can hold")
    return number


# ---- text and JSON --------------------------------------------------------------------------


def is_scalar(value: Any) -> bool:
    """Whether a value has one obvious spelling as text."""
    return type(value) in (str, int, float, bool, Timestamp, Duration)


def to_text(value: Any) -> str:
    """A scalar as text: numbers without needless zeros, times as RFC 3339, durations in seconds.

    Raises:
        EvaluationError: the value is no scalar.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            # Python refuses to print very long numbers with an error of its own.
            return str(value if abs(value) <= UINT_MAX else in_range(value))
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < _PLAIN_FLOAT_MAX else repr(value)
        case Timestamp():
            return format_timestamp(value)
        case Duration():
            return format_duration(value)
        case _:
            raise mismatch("string()", value)


def to_json(value: Any, frame: Frame, *, depth: int = 0) -> Any:
    """A result as JSON values: times become text, bytes become base64, a missing value null.

    Raises:
        EvaluationError: a number is infinite or not a number, or the result is too big to walk through.
    """
    if value is None or value is UNKNOWN:
        return None
    match value:
        case str() | bool() | int():
            return value
        case float():
            if value - value != 0:
                raise EvaluationError("out_of_range", "the result is not a finite number")
            return value
        case Timestamp() | Duration():
            return to_text(value)
        case TypeName():
            return value.name
        case bytes():
            return encode_bytes(value)
        case _:
            return _container_to_json(value, frame, depth)


def _container_to_json(value: Any, frame: Frame, depth: int) -> Any:
    # What an expression builds is no higher than its tree; below that are only parts of events.
    if depth > TREE_HEIGHT_MAX:
        return value
    frame.spend(len(value))
    if type(value) is list:
        return [to_json(item, frame, depth=depth + 1) for item in cast(list[Any], value)]
    entries = cast(dict[Any, Any], value)
    return {to_text(key): to_json(item, frame, depth=depth + 1) for key, item in entries.items()}


def encode_bytes(value: bytes) -> str:
    """Bytes as base64, the way JSON carries them."""
    return b64encode(value).decode("ascii")
