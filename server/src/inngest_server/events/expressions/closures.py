"""Syntax tree to nested Python functions.

Each function takes the event, the other event (`async`, or a search's `output`) and the frame. For a
tree with `Captured` nodes the first argument is the tuple of captured values instead. The common forms
have closures of their own, because a call costs more than what most of them do: an expression over
three fields takes about half a microsecond.
"""

import operator
from collections.abc import Callable, Iterable
from typing import Any, assert_never, cast

from .errors import EvaluationError, WorkLimitError
from .functions import FUNCTIONS, METHODS, Function, matcher
from .limits import CHARS_PER_STEP, STEPS_PER_CALL
from .nodes import (
    Binary,
    Call,
    Captured,
    Conditional,
    Const,
    Has,
    Index,
    ListOf,
    Logical,
    Macro,
    MapOf,
    Node,
    Path,
    Segments,
    Unary,
    Variable,
    walk,
)
from .semantics import (
    ORDER_TESTS,
    add,
    arithmetic,
    contains,
    divide,
    equal,
    index,
    is_truthy,
    map_key,
    negate,
    ordered,
    remainder,
    subtract,
)
from .values import UNKNOWN, Frame, mismatch

Closure = Callable[[Any, Any, Frame], Any]

_INT_OPERATORS = frozenset(("+", "-", "*", "/", "%"))


def compile_node(node: Node) -> Closure:
    """A function that evaluates the tree; it raises `EvaluationError` and nothing else."""
    match node:
        case Const():
            value = node.value
            return lambda event, other, frame: value
        case Captured():
            slot = node.slot
            return lambda event, other, frame: event[slot]
        case Variable():
            slot = node.slot
            return lambda event, other, frame: frame.variables[slot]
        case Path():
            return _path(node)
        case Index():
            value, key = compile_node(node.value), compile_node(node.key)
            return lambda event, other, frame: index(value(event, other, frame), key(event, other, frame))
        case Has():
            # Null is there, and nothing that is there evaluates to UNKNOWN.
            operand = compile_node(node.operand)
            return lambda event, other, frame: operand(event, other, frame) is not UNKNOWN
        case Unary():
            return _unary(node)
        case Binary():
            return _binary(node)
        case Logical():
            return _logical(node)
        case Conditional():
            return _conditional(node)
        case ListOf():
            return _list(node)
        case MapOf():
            return _map(node)
        case Call():
            return _call(node)
        case Macro():
            return _macro(node)
        case _:
            assert_never(node)


# ---- fields ---------------------------------------------------------------------------------


def read(value: Any, segments: Segments) -> Any:
    """The value at the end of a path, `UNKNOWN` when any part of it is missing."""
    for segment in segments:
        if type(value) is dict:
            value = cast(dict[Any, Any], value).get(segment, UNKNOWN)
        elif type(segment) is int:
            value = index(value, segment)
        else:
            return UNKNOWN
    return value


def _path(node: Path) -> Closure:
    segments = node.segments
    if node.root == "vars":
        return lambda event, other, frame: UNKNOWN  # Nothing sets variables yet.
    if len(segments) == 2:
        return _two_fields(node.root == "event", *segments)
    if node.root == "event":
        return lambda event, other, frame: UNKNOWN if event is None else read(event, segments)
    return lambda event, other, frame: UNKNOWN if other is None else read(other, segments)


def _two_fields(of_event: bool, first: Any, second: Any) -> Closure:
    """`event.data.x` without a loop: nearly every path has this form."""
    if type(first) is int or type(second) is int:
        segments = (first, second)
        if of_event:
            return lambda event, other, frame: read(event, segments)
        return lambda event, other, frame: read(other, segments)

    def of_the_event(event: Any, other: Any, frame: Frame) -> Any:
        if type(event) is dict:
            inner = cast(Any, event).get(first)
            if type(inner) is dict:
                return cast(Any, inner).get(second, UNKNOWN)
        return UNKNOWN

    def of_the_other(event: Any, other: Any, frame: Frame) -> Any:
        if type(other) is dict:
            inner = cast(Any, other).get(first)
            if type(inner) is dict:
                return cast(Any, inner).get(second, UNKNOWN)
        return UNKNOWN

    return of_the_event if of_event else of_the_other


# ---- operators ------------------------------------------------------------------------------


def _unary(node: Unary) -> Closure:
    operand = compile_node(node.operand)
    if node.operator == "-":
        return lambda event, other, frame: negate(operand(event, other, frame))
    return lambda event, other, frame: not is_truthy(operand(event, other, frame))


def _binary(node: Binary) -> Closure:
    left, right = compile_node(node.left), compile_node(node.right)
    match node.operator:
        case "==":
            return _equality(left, right)
        case "!=":
            same = _equality(left, right)
            return lambda event, other, frame: not same(event, other, frame)
        case "<" | "<=" | ">" | ">=":
            return _order(node.operator, left, right)
        case "in":
            return lambda event, other, frame: contains(
                left(event, other, frame), right(event, other, frame), frame
            )
        case "+":
            return lambda event, other, frame: add(
                left(event, other, frame), right(event, other, frame), frame
            )
        case "-":
            return lambda event, other, frame: subtract(left(event, other, frame), right(event, other, frame))
        case "*":
            return lambda event, other, frame: arithmetic(
                "*", operator.mul, left(event, other, frame), right(event, other, frame)
            )
        case "/":
            whole = _is_int(node.left) and _is_int(node.right)
            return lambda event, other, frame: divide(
                left(event, other, frame), right(event, other, frame), whole=whole
            )
        case "%":
            return lambda event, other, frame: remainder(
                left(event, other, frame), right(event, other, frame)
            )


def _equality(left: Closure, right: Closure) -> Closure:
    def run(event: Any, other: Any, frame: Frame) -> bool:
        one = left(event, other, frame)
        two = right(event, other, frame)
        if type(one) is str and type(two) is str and len(one) <= CHARS_PER_STEP:
            return one == two
        return equal(one, two, frame)

    return run


def _order(name: str, left: Closure, right: Closure) -> Closure:
    test = ORDER_TESTS[name]

    def run(event: Any, other: Any, frame: Frame) -> bool:
        one = left(event, other, frame)
        two = right(event, other, frame)
        if (type(one) is int or type(one) is float) and (type(two) is int or type(two) is float):
            return test(one, two)
        return ordered(name, test, one, two, frame)

    return run


def _is_int(node: Node) -> bool:
    """Whether a value is a whole number by how it is written, as CEL's types would say."""
    match node:
        case Const():
            return node.kind == "int"
        case Captured():
            return node.is_int
        case Call():
            return _function_of(node).gives_int
        case Unary(operator="-"):
            return _is_int(node.operand)
        case Conditional():
            return _is_int(node.then) and _is_int(node.otherwise)
        case Binary():
            return node.operator in _INT_OPERATORS and _is_int(node.left) and _is_int(node.right)
        case _:
            return False


def _logical(node: Logical) -> Closure:
    """The operand that settles it, as in JavaScript, not a boolean made of it.

    An error counts as false: `||` goes on to the next operand, and `&&` ends with the error.
    """
    operands = tuple(compile_node(operand) for operand in node.operands)
    if node.operator == "||":
        return _any_of(operands)
    if len(operands) == 2:
        return _both(*operands)

    def run(event: Any, other: Any, frame: Frame) -> Any:
        value: Any = True
        for operand in operands:
            value = operand(event, other, frame)
            if value is not True and not is_truthy(value):
                return value
        return value

    return run


def _both(left: Closure, right: Closure) -> Closure:
    def run(event: Any, other: Any, frame: Frame) -> Any:
        try:
            value = left(event, other, frame)
        except WorkLimitError:
            raise
        except EvaluationError:
            value = right(event, other, frame)
            if is_truthy(value):
                raise
            return value  # False whatever the left side is, as in CEL.
        if value is True or is_truthy(value):
            return right(event, other, frame)
        return value

    return run


def _any_of(operands: tuple[Closure, ...]) -> Closure:
    *before, last = operands

    def run(event: Any, other: Any, frame: Frame) -> Any:
        for operand in before:
            value = _or_false(operand, event, other, frame)
            if value is True or is_truthy(value):
                return value
        return last(event, other, frame)

    return run


def _or_false(closure: Closure, event: Any, other: Any, frame: Frame) -> Any:
    """The value, or false for an error; running out of work stays an error."""
    try:
        return closure(event, other, frame)
    except WorkLimitError:
        raise
    except EvaluationError:
        return False


def _conditional(node: Conditional) -> Closure:
    condition = compile_node(node.condition)
    then, otherwise = compile_node(node.then), compile_node(node.otherwise)

    def run(event: Any, other: Any, frame: Frame) -> Any:
        if is_truthy(_or_false(condition, event, other, frame)):
            return then(event, other, frame)
        return otherwise(event, other, frame)

    return run


# ---- lists and objects ----------------------------------------------------------------------


def _known(value: Any) -> Any:
    """Inside lists and objects a missing value is null, so that both hold only what JSON could."""
    return None if value is UNKNOWN else value


def _list(node: ListOf) -> Closure:
    items = tuple(compile_node(item) for item in node.items)
    if all(isinstance(item, Const) for item in node.items):
        constant = [cast(Const, item).value for item in node.items]
        return lambda event, other, frame: constant
    return lambda event, other, frame: [_known(item(event, other, frame)) for item in items]


def _map(node: MapOf) -> Closure:
    entries = tuple((compile_node(key), compile_node(value)) for key, value in node.entries)

    def run(event: Any, other: Any, frame: Frame) -> Any:
        result: dict[Any, Any] = {}
        for key_of, value_of in entries:
            given = key_of(event, other, frame)
            key = map_key(given)
            if key is UNKNOWN:
                raise mismatch("a key of an object", given)
            if key in result:
                raise EvaluationError("bad_value", "an object has the same key twice")
            result[key] = _known(value_of(event, other, frame))
        return result

    return run


# ---- functions ------------------------------------------------------------------------------


def _function_of(node: Call) -> Function:
    return (METHODS if node.is_method else FUNCTIONS)[node.name]


def _call(node: Call) -> Closure:
    function = _function_of(node)
    run = function.run
    if function.takes_missing:
        only = compile_node(node.arguments[0])
        return lambda event, other, frame: run(frame, only(event, other, frame))
    arguments = tuple(compile_node(argument) for argument in node.arguments)
    of_missing = function.of_missing
    pattern = node.arguments[1] if node.name == "matches" else None
    if isinstance(pattern, Const) and pattern.kind == "text":
        arguments, run = arguments[:1], matcher(pattern.value)

    def call(event: Any, other: Any, frame: Frame) -> Any:
        values = [argument(event, other, frame) for argument in arguments]
        for value in values:
            if value is UNKNOWN or value is None:
                return of_missing
        return run(frame, *values)

    return call


# ---- macros ---------------------------------------------------------------------------------


def variables_of(node: Node) -> int:
    """How many macro variables a frame needs for the tree."""
    return max((inner.slot + 1 for inner in walk(node) if isinstance(inner, Macro)), default=0)


def _macro(node: Macro) -> Closure:
    items = compile_node(node.items)
    condition = compile_node(node.condition) if node.condition is not None else None
    result = compile_node(node.result) if node.result is not None else None
    slot = node.slot
    # Paid for each item: looking at it, and evaluating what is written about it.
    parts = [inner for part in (node.condition, node.result) if part is not None for inner in walk(part)]
    steps = 1 + sum(STEPS_PER_CALL if isinstance(part, Call) else 1 for part in parts)

    def items_of(event: Any, other: Any, frame: Frame) -> Iterable[Any] | None:
        value = items(event, other, frame)
        if value is UNKNOWN or value is None:
            return None
        if type(value) is list or type(value) is dict:
            return cast(Iterable[Any], value)  # Of an object, its keys.
        raise mismatch(f"{node.name}()", value)

    if node.name in ("map", "filter"):
        return _collecting(items_of, condition, result, slot, steps)
    assert condition is not None
    return _testing(node.name, items_of, condition, slot, steps)


ItemsOf = Callable[[Any, Any, Frame], Iterable[Any] | None]


def _collecting(
    items_of: ItemsOf, condition: Closure | None, result: Closure | None, slot: int, steps: int
) -> Closure:
    """`filter` and `map`: a list; of a missing list, nothing."""

    def run(event: Any, other: Any, frame: Frame) -> Any:
        items = items_of(event, other, frame)
        if items is None:
            return UNKNOWN
        collected: list[Any] = []
        for item in items:
            frame.spend(steps)
            frame.variables[slot] = item
            if condition is None or is_truthy(condition(event, other, frame)):
                collected.append(item if result is None else _known(result(event, other, frame)))
        return collected

    return run


def _testing(name: str, items_of: ItemsOf, condition: Closure, slot: int, steps: int) -> Closure:
    """`all`, `exists`, `exists_one`: a boolean; of a missing list, false.

    As in CEL, an error for one item does not matter when another item settles the answer, except
    to `exists_one`, which needs all of them.
    """
    settling = {"all": False, "exists": True}.get(name)

    def run(event: Any, other: Any, frame: Frame) -> bool:
        items = items_of(event, other, frame)
        if items is None:
            return False
        failure: EvaluationError | None = None
        true_count = 0
        for item in items:
            frame.spend(steps)
            frame.variables[slot] = item
            try:
                answer = is_truthy(condition(event, other, frame))
            except WorkLimitError:
                raise
            except EvaluationError as error:
                failure = failure or error
                continue
            if answer is settling:
                return answer
            true_count += answer
        if failure is not None:
            raise failure
        return true_count == 1 if settling is None else not settling

    return run
