"""Conditions with the values put in, so that people see why they are true or not."""

import re
from typing import Any, NamedTuple

from inngest_server.events.expressions import CompileError, EvaluationError, Expression, compile_expression
from inngest_server.events.expressions.closures import read
from inngest_server.events.expressions.nodes import Path, Root, Segments, walk
from inngest_server.events.expressions.parser import parse
from inngest_server.events.expressions.values import UNKNOWN
from inngest_server.explain.words import shortened
from inngest_server.wire import json

VALUES_MAX = 20
"""Paths of one expression whose values are shown."""
VALUE_CHARS_MAX = 100
MISSING = "(missing)"

_ACCESS = re.compile(r"""\s*(?:\.\s*\w+|\[\s*(?:\d+|"[^"]*"|'[^']*')\s*\])""")


class Filled(NamedTuple):
    """A condition and what it comes to."""

    is_true: bool
    text: str
    """The expression with values in place of paths: `50 > 100`."""
    values: dict[str, str]
    """By path, `event.data.total`, as JSON; what is missing says so."""
    error: str
    """Why it cannot be evaluated; empty if it can."""


def filled(text: str, event: dict[str, Any], now_ms: int) -> Filled:
    """What the condition of a trigger comes to on an event, as the engine judges it."""
    try:
        expression = compile_expression(text)
        is_true, error = expression.is_true(event, None, now_ms), _error(expression, event, now_ms)
    except CompileError as problem:
        return Filled(False, text, {}, str(problem))
    return Filled(is_true, *put_in(text, {"event": event}), error)


def put_in(text: str, roots: dict[Root, dict[str, Any]]) -> tuple[str, dict[str, str]]:
    """An expression with the values that its paths below these roots have, and the values by path."""
    values: dict[str, str] = {}
    parts: list[str] = []
    at = 0
    for node in walk(parse(text, dialect="event")):
        if not isinstance(node, Path) or node.root not in roots or node.position < at:
            continue
        value = _value(roots[node.root], node.segments)
        if len(values) < VALUES_MAX:
            values[_name(node.root, node.segments)] = value
        parts += [text[at : node.position], value]
        at = _end(text, node)
    return "".join([*parts, text[at:]]), values


def _error(expression: Expression, event: dict[str, Any], now_ms: int) -> str:
    try:
        expression.evaluate(event, None, now_ms)
    except EvaluationError as problem:
        return str(problem)
    return ""


def _end(text: str, node: Path) -> int:
    """Where the text of a path ends, which begins at its position."""
    at = node.position + len(node.root)
    for _ in node.segments:
        access = _ACCESS.match(text, at)
        if access is None:
            break
        at = access.end()
    return at


def _name(root: str, segments: Segments) -> str:
    return root + "".join([f"[{one}]" if isinstance(one, int) else f".{one}" for one in segments])


def _value(root: Any, segments: Segments) -> str:
    value = read(root, segments)
    if value is UNKNOWN:
        return MISSING
    return shortened(json.dumps(value).decode("utf-8", "replace"), VALUE_CHARS_MAX)
