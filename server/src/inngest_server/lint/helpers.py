"""Functions that an Inngest function hands its `ctx` or `step`, or that are defined in it and use them."""

import ast
from collections.abc import Iterator

from inngest_server.lint.names import COMPREHENSIONS, names_in, target_names
from inngest_server.lint.project import Definition
from inngest_server.lint.source import FunctionNode
from inngest_server.lint.unit import Unit


def helpers_of(unit: Unit) -> Iterator[Unit]:
    """The helpers that a body calls or hands on, each as a unit of its own."""
    called: set[FunctionNode] = set()
    for node in unit.own:
        if isinstance(node, ast.Call):
            helper = helper_called(unit, node)
            if helper is not None:
                called.add(helper.node)
                yield helper
    for nested in unit.nested:
        if nested not in called | unit.handlers and _is_used(unit, nested):
            yield Unit(unit.project, unit.module, nested, roles={}, parent=unit, client=unit.client)


def helper_called(unit: Unit, call: ast.Call) -> Unit | None:
    """The helper that a call calls, if that gets `ctx` or `step`, or has them around it."""
    # `partial(helper, ctx)` and `asyncio.to_thread(helper, ctx)` call it later, with the same arguments.
    func, arguments = call.func, list(call.args)
    found = unit.definition(func)
    if found is None and unit.is_partial(call) and arguments:
        func, arguments = arguments[0], arguments[1:]
        found = unit.definition(func)
    if found is None or found.node is unit.node or unit.step_call(call) is not None:
        return None
    around = unit.around(found.node)
    is_method = found.owner is not None
    parameters = [*found.node.args.posonlyargs, *found.node.args.args]
    names = [one.arg for one in parameters][1 if is_method else 0 :]
    given = dict(zip(names, arguments, strict=False))
    given.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
    roles = {
        name: role for name, value in given.items() if (role := unit.role(value)) in ("ctx", "step", "group")
    }
    has_own = is_method and _speaks_of_steps(found)
    if not roles and around is None and not has_own and not _reaches_steps(unit, found):
        return None
    return Unit(
        unit.project,
        found.module,
        found.node,
        roles=roles,
        parent=around,
        owner=found.owner,
        client=unit.client,
        repeats=_repeats(unit, call, given),
    )


def _reaches_steps(unit: Unit, found: Definition) -> bool:
    """Whether a function calls steps that it was not given: decorated ones, perhaps further down."""
    known = unit.project.reaching_steps
    if found.node not in known:
        known[found.node] = False  # A function that calls itself adds nothing.
        body = Unit(unit.project, found.module, found.node, roles={}, owner=found.owner)
        known[found.node] = bool(body.steps) or any(
            _reaches_steps(body, inner)
            for node in body.own
            if isinstance(node, ast.Call) and (inner := body.definition(node.func)) is not None
        )
    return known[found.node]


def _speaks_of_steps(found: Definition) -> bool:
    """A method that has steps from its object: `self.step.run(...)`."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in ("step", "ctx")
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        for node in ast.walk(found.node)
    )


def _is_used(unit: Unit, nested: FunctionNode) -> bool:
    """Whether a nested function is handed on by its name, as to `ctx.group.parallel`."""
    return any(
        isinstance(node, ast.Name) and node.id == nested.name and isinstance(node.ctx, ast.Load)
        for node in unit.own
    )


def _repeats(unit: Unit, call: ast.Call, given: dict[str, ast.expr]) -> frozenset[str] | None:
    """For a call in a loop the parameters that differ each time; None for one that happens once."""
    changing: set[str] = set()
    in_loop = False
    current: ast.AST = call
    for above in unit.ancestors(call):
        in_body = isinstance(above, ast.For | ast.AsyncFor | ast.While) and current in above.body
        if in_body or (isinstance(above, COMPREHENSIONS) and not isinstance(current, ast.comprehension)):
            in_loop = True
            changing |= _bound_in(above)
        current = above
    if not in_loop and unit.repeats is None:
        return None
    changing |= unit.repeats or set()
    # A closure sees the loop's variables too.
    return frozenset(changing | {name for name, value in given.items() if names_in(value) & changing})


def _bound_in(loop: ast.AST) -> set[str]:
    """Names that a loop binds, in its head or anywhere in its body."""
    found: set[str] = set()
    for node in ast.walk(loop):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.comprehension):
            found |= target_names(node.target)
    return found
