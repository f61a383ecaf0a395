"""How steps are called: ING015, ING016 and ING020."""

import ast
from collections.abc import Iterator

from inngest_server.lint.checks.found import Found, Look, quoted
from inngest_server.lint.helpers import helper_called
from inngest_server.lint.names import parameters_of
from inngest_server.lint.project import Definition
from inngest_server.lint.unit import StepCall, Unit

USING = (
    ast.Attribute
    | ast.Subscript
    | ast.Compare
    | ast.BinOp
    | ast.BoolOp
    | ast.UnaryOp
    | ast.FormattedValue
    | ast.If
    | ast.While
    | ast.Assert
)
"""What can be done with a result and not with a coroutine."""
TASKS = frozenset({"asyncio.create_task", "asyncio.ensure_future"})


def check_steps(look: Look) -> Iterator[Found]:
    """Steps without `await`, steps within steps, and steps that are given a result to execute."""
    unit = look.unit
    for step in unit.steps:
        if unit.is_async and not step.deferred:
            yield from _not_awaited(unit, step)
        yield from _nested(unit, step)
        yield from _handler_called(look, step)


def _not_awaited(unit: Unit, step: StepCall) -> Iterator[Found]:
    if any(isinstance(above, ast.Lambda) for above in unit.ancestors(step.node)):
        return  # `ctx.group.parallel` awaits what its lambdas return.
    parent = unit.module.parents[step.node]
    if isinstance(parent, ast.Call) and unit.dotted(parent.func) in TASKS:
        yield from _task_not_awaited(unit, step, parent)
    elif isinstance(parent, ast.Expr | ast.Return) or _is_used(parent, step.node):
        message = f"{quoted(step.node.func)} is not awaited: the step is not executed"
        yield Found(step.node, "ING015", message, f"await {ast.unparse(step.node.func)}(...)")
    elif isinstance(parent, ast.Assign | ast.AnnAssign | ast.NamedExpr):
        name = _only_name(parent)
        if name is not None and _is_never_awaited(unit, name):
            message = f"{quoted(step.node.func)} is not awaited: `{name}` is a coroutine, not the result"
            yield Found(step.node, "ING015", message, f"{name} = await {ast.unparse(step.node.func)}(...)")


def _task_not_awaited(unit: Unit, step: StepCall, task: ast.Call) -> Iterator[Found]:
    parent = unit.module.parents[task]
    name = _only_name(parent) if isinstance(parent, ast.Assign | ast.AnnAssign) else None
    if isinstance(parent, ast.Expr) or (name is not None and not unit.uses.get(name)):
        message = f"nothing waits for the task of {quoted(step.node.func)}: the function may end before it"
        yield Found(step.node, "ING015", message, f"await {ast.unparse(step.node.func)}(...)")


def _only_name(assignment: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> str | None:
    """The variable that is assigned to, if it is nothing but one."""
    targets = assignment.targets if isinstance(assignment, ast.Assign) else [assignment.target]
    (target, *others) = targets
    return target.id if isinstance(target, ast.Name) and not others else None


def _is_used(parent: ast.AST, child: ast.AST) -> bool:
    """Whether an expression is used as a result: a coroutine has nothing to be looked at."""
    if isinstance(parent, ast.Subscript):
        return parent.value is child
    if isinstance(parent, ast.If | ast.While | ast.Assert | ast.IfExp):
        return parent.test is child
    return isinstance(parent, USING)


def _is_never_awaited(unit: Unit, name: str) -> bool:
    """Whether every use of a variable, if there is any, is one of a result."""
    if len(unit.bindings(name)) != 1:
        return False
    return all(_is_used(unit.module.parents[use], use) for use in unit.uses.get(name, ()))


def _nested(unit: Unit, step: StepCall) -> Iterator[Found]:
    handler = unit.handler_body(step.handler)
    if handler is None:
        return
    inner = None if isinstance(handler, ast.Lambda) else _inner_unit(unit, step, handler)
    scope = inner or unit
    for node in ast.walk(handler) if isinstance(handler, ast.Lambda) else scope.own:
        called = _calls_a_step(scope, node) if isinstance(node, ast.Call) else ""
        if called:
            where = node if scope.module is unit.module else step.node
            message = f"{called} within the step {_name(step)}: steps cannot be nested"
            yield Found(where, "ING016", message, "call one step after the other, and hand on results")
            return


def _calls_a_step(scope: Unit, call: ast.Call) -> str:
    """How a call calls a step, itself or through a helper; empty if it does not."""
    found = scope.step_call(call)
    if found is not None:
        return "" if found.deferred else f"{quoted(call.func)} is called"
    helper = helper_called(scope, call)
    return f"{quoted(call.func)}, which calls steps, is called" if helper is not None and helper.steps else ""


def _inner_unit(unit: Unit, step: StepCall, handler: Definition) -> Unit:
    """The function that a step executes, with what the step gives it."""
    given = [one for one in step.inputs if not isinstance(one, ast.keyword)]
    names = [name for name, _ in parameters_of(handler.node)]
    if handler.owner is not None:
        names = names[1:]
    roles = {
        name: role
        for name, argument in zip(names, given, strict=False)
        if (role := unit.role(argument)) in ("ctx", "step")
    }
    parent = unit.around(handler.node)
    return Unit(unit.project, handler.module, handler.node, roles=roles, parent=parent, owner=handler.owner)


def _name(step: StepCall) -> str:
    return quoted(step.id) if step.id is not None else "around it"


def _handler_called(look: Look, step: StepCall) -> Iterator[Found]:
    unit, handler = look.unit, step.handler
    call = handler.value if isinstance(handler, ast.Await) else handler
    if not isinstance(call, ast.Call) or unit.is_partial(call):
        return
    found = unit.definition(call.func)
    known = look.effects.direct(unit, call) is not None
    if known or isinstance(handler, ast.Await) or (found is not None and not _returns_a_function(found)):
        arguments = [ast.unparse(argument) for argument in (*call.args, *call.keywords)]
        plain = ", ".join([ast.unparse(call.func), *arguments])
        advice = f"lambda: {ast.unparse(call)}" if call.keywords else plain
        text = advice if len(advice) <= 60 else f"{ast.unparse(call.func)}, ..."
        message = f"{quoted(call.func)} is called here, before the step: give the function, not its result"
        yield Found(call, "ING020", message, f"{unit.step_text}.run({_name(step).strip('`')}, {text})")


def _returns_a_function(found: Definition) -> bool:
    """Whether what a function returns might be one: one defined in it, a lambda, or nobody knows."""
    if isinstance(found.node, ast.AsyncFunctionDef):
        return False
    inner = {
        node.name for node in ast.walk(found.node) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for node in ast.walk(found.node):
        if isinstance(node, ast.Return) and node.value is not None:
            value = node.value
            if isinstance(value, ast.Lambda | ast.Call | ast.Attribute | ast.Subscript | ast.IfExp):
                return True
            if isinstance(value, ast.Name) and (
                value.id in inner or value.id in {n for n, _ in parameters_of(found.node)}
            ):
                return True
    return False
