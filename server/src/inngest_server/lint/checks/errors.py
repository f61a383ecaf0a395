"""Steps and exceptions: ING017 and ING018."""

import ast
from collections.abc import Iterator

from inngest_server.lint.checks.found import Found, Look, quoted
from inngest_server.lint.names import walk_scope
from inngest_server.lint.unit import Unit

SWALLOWED = {"BaseException", "asyncio.CancelledError", "asyncio.exceptions.CancelledError"}
"""A request ends with one of these: the task is cancelled, or the stack unwound."""


def check_errors(look: Look) -> Iterator[Found]:
    """Handlers that swallow the end of a request, and steps that it would execute."""
    unit = look.unit
    for node in unit.own:
        if isinstance(node, ast.Try | ast.TryStar):
            if any(unit.mentions_steps(statement) for statement in node.body):
                yield from (
                    _swallowing(unit, handler) for handler in node.handlers if _swallows(unit, handler)
                )
            yield from _in_finally(unit, node)
        elif isinstance(node, ast.With | ast.AsyncWith):
            yield from _suppressing(unit, node)


def _swallows(unit: Unit, handler: ast.ExceptHandler) -> bool:
    if handler.type is not None:
        caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        if not any(unit.dotted(one) in SWALLOWED for one in caught):
            return False
    return not any(
        isinstance(inner, ast.Raise) for statement in handler.body for inner in walk_scope(statement)
    )


def _swallowing(unit: Unit, handler: ast.ExceptHandler) -> Found:
    shown = f"except {ast.unparse(handler.type)}" if handler.type is not None else "except:"
    message = f"`{shown}` around steps swallows the end of a request at a step"
    caught = f" as {handler.name}" if handler.name else ""
    return Found(handler, "ING017", message, f"except Exception{caught}:")


def _suppressing(unit: Unit, node: ast.With | ast.AsyncWith) -> Iterator[Found]:
    for item in node.items:
        call = item.context_expr
        if (
            isinstance(call, ast.Call)
            and unit.dotted(call.func) == "contextlib.suppress"
            and any(unit.dotted(argument) in SWALLOWED for argument in call.args)
            and any(unit.mentions_steps(statement) for statement in node.body)
        ):
            message = f"{quoted(call)} around steps swallows the end of a request at a step"
            yield Found(call, "ING017", message, "contextlib.suppress(Exception)")


def _in_finally(unit: Unit, node: ast.Try | ast.TryStar) -> Iterator[Found]:
    inside = {inner for statement in node.finalbody for inner in walk_scope(statement)}
    for step in unit.steps:
        if step.node in inside:
            message = "a step in `finally` is also met when a request ends at a step before it"
            fix = "call it after the `try`, and in `except Exception` before raising again"
            yield Found(step.node, "ING018", message, fix)
