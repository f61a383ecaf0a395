"""What a step changes around it, which is lost in the next call: ING019."""

import ast
from collections.abc import Iterator
from typing import Final, NamedTuple

from inngest_server.lint.checks.found import Found, Look
from inngest_server.lint.names import How, bindings_of
from inngest_server.lint.source import FunctionNode
from inngest_server.lint.unit import StepCall, Unit

CHANGING: Final = frozenset(
    [
        "add",
        "append",
        "appendleft",
        "clear",
        "difference_update",
        "discard",
        "extend",
        "insert",
        "intersection_update",
        "pop",
        "popitem",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "symmetric_difference_update",
        "update",
    ]
)
"""Methods of Python's own containers that change them."""
CONTAINERS: Final = frozenset(["Counter", "OrderedDict", "defaultdict", "deque", "dict", "list", "set"])


class Change(NamedTuple):
    """A change of a variable of the function around a step's own."""

    node: ast.AST
    name: str


def check_changes(look: Look) -> Iterator[Found]:
    """Variables that a step changes and that are read again after it."""
    unit = look.unit
    for step in unit.steps:
        handler = unit.handler_body(step.handler)
        body = handler if isinstance(handler, ast.Lambda) else handler.node if handler is not None else None
        if body is None or not (isinstance(body, ast.Lambda) or body in unit.nested):
            continue
        told: set[str] = set()
        for change in _changes(unit, body):
            if change.name not in told and _is_read_later(unit, step, body, change.name):
                told.add(change.name)
                message = (
                    f"this step changes `{change.name}`, which is used later: in the next call the "
                    "step is not executed, and the change is missing"
                )
                fix = f"return the value: value = {unit.step_text}.run(...), and change `{change.name}` then"
                yield Found(change.node, "ING019", message, fix)


def _changes(unit: Unit, body: FunctionNode | ast.Lambda) -> Iterator[Change]:
    own = set(bindings_of(body))
    for node in ast.walk(body):
        for name in _changed(unit, node):
            if name not in own and name in unit.names:
                yield Change(node, name)


def _changed(unit: Unit, node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Nonlocal():
            yield from node.names
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            yield name
        case ast.Attribute(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name != "self":
            yield name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in CHANGING:
            if _is_container(unit, name):
                yield name
        case _:
            return


def _is_container(unit: Unit, name: str) -> bool:
    """Made as a list, dictionary or set: other things have methods of these names too."""
    bindings = [one for one in unit.bindings(name) if one.how is not How.CHANGED]
    return bool(bindings) and all(_is_container_value(binding.value) for binding in bindings)


def _is_container_value(value: ast.expr | None) -> bool:
    match value:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name in CONTAINERS
        case _:
            return False


def _is_read_later(unit: Unit, step: StepCall, body: ast.AST, name: str) -> bool:
    inside = set(ast.walk(body))
    loops = [one for one in unit.ancestors(step.node) if isinstance(one, ast.For | ast.AsyncFor | ast.While)]
    again = {inner for loop in loops for inner in ast.walk(loop)}
    end = (step.node.end_lineno or step.node.lineno, step.node.end_col_offset or 0)
    for node in unit.uses.get(name, ()):
        if node not in inside and ((node.lineno, node.col_offset) >= end or node in again):
            return True
    return False
