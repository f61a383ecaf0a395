"""Steps whose order or number differs between calls: ING009 and ING014."""

import ast
from collections.abc import Iterator
from typing import Final

from inngest_server.lint.checks.found import Found, Look, quoted
from inngest_server.lint.names import COMPREHENSIONS, How, names_in, parameters_of, target_names
from inngest_server.lint.unit import Unit

SET_METHODS: Final = {"union", "intersection", "difference", "symmetric_difference"}
KEEPING_ORDER: Final = {"list", "tuple", "iter", "enumerate", "filter", "reversed", "map", "zip"}
SET_ANNOTATIONS: Final = {"set", "frozenset", "AbstractSet", "MutableSet", "Set", "FrozenSet"}


def check_order(look: Look) -> Iterator[Found]:
    """Steps in the order of a set, and steps in lambdas that all see the last value of a loop."""
    unit = look.unit
    for node in unit.own:
        if isinstance(node, ast.For | ast.AsyncFor):
            if any(unit.mentions_steps(statement) for statement in node.body):
                yield from _unordered(unit, node.iter)
                for statement in node.body:
                    yield from _late_bound(unit, statement, target_names(node.target))
        elif isinstance(node, COMPREHENSIONS):
            results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            if any(unit.mentions_steps(result) for result in results):
                for generator in node.generators:
                    yield from _unordered(unit, generator.iter)
                targets = set[str]().union(*(target_names(one.target) for one in node.generators))
                for result in results:
                    yield from _late_bound(unit, result, targets)


def _unordered(unit: Unit, iterated: ast.expr) -> Iterator[Found]:
    if is_unordered(unit, iterated):
        message = f"{quoted(iterated)} is a set: another process meets these steps in another order"
        yield Found(iterated, "ING009", message, f"iterate over sorted({_short(iterated)})")


def _short(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else "..."


def is_unordered(unit: Unit, node: ast.expr, seen: frozenset[str] = frozenset()) -> bool:
    """Whether an expression is a set, or has the order of one."""
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.BinOp(op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), left=left, right=right):
            return is_unordered(unit, left, seen) or is_unordered(unit, right, seen)
        case ast.Call(func=ast.Name(id=name), args=arguments) if unit.dotted(node.func) == name:
            if name in ("set", "frozenset"):
                return True
            return name in KEEPING_ORDER and any(is_unordered(unit, one, seen) for one in arguments)
        case ast.Call(func=ast.Attribute(attr=method, value=base)):
            return method in (SET_METHODS | {"copy"}) and is_unordered(unit, base, seen)
        case ast.ListComp(generators=generators) | ast.GeneratorExp(generators=generators):
            return any(is_unordered(unit, one.iter, seen) for one in generators)
        case ast.Name(id=name):
            return name not in seen and _is_unordered_name(unit, name, seen | {name})
        case _:
            return False


def _is_unordered_name(unit: Unit, name: str, seen: frozenset[str]) -> bool:
    bindings = unit.bindings(name)
    if not bindings:
        values = unit.module.variables.get(name, [])
        return bool(values) and all(is_unordered(unit, value, seen) for value in values)
    for binding in bindings:
        if binding.annotation is not None and _is_set_annotation(binding.annotation):
            continue
        if binding.how is How.CHANGED:
            continue
        if binding.how is How.UNPACKED and binding.value is not None and _is_wait(unit, binding.value):
            continue
        if binding.how is not How.ASSIGNED or binding.value is None:
            return False
        if not is_unordered(unit, binding.value, seen):
            return False
    return True


def _is_wait(unit: Unit, value: ast.expr) -> bool:
    """`done, pending = await asyncio.wait(...)`: two sets."""
    inner = value.value if isinstance(value, ast.Await) else value
    return isinstance(inner, ast.Call) and unit.dotted(inner.func) == "asyncio.wait"


def _is_set_annotation(annotation: ast.expr) -> bool:
    base = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
    return name in SET_ANNOTATIONS


def _late_bound(unit: Unit, node: ast.AST, targets: set[str]) -> Iterator[Found]:
    for inner in ast.walk(node):
        if not isinstance(inner, ast.Lambda) or not unit.mentions_steps(inner.body):
            continue
        parent = unit.module.parents.get(inner)
        if isinstance(parent, ast.Call) and parent.func is inner:
            continue  # Called on the spot.
        if _is_handler(unit, inner):
            continue
        late = sorted((names_in(inner.body) & targets) - {name for name, _ in parameters_of(inner)})
        if late:
            names = ", ".join(f"`{name}`" for name in late)
            fix = f"bind it: lambda {late[0]}={late[0]}: ..., or functools.partial({unit.step_text}.run, ...)"
            message = f"the lambda looks {names} up after the loop: each of these steps gets the last value"
            yield Found(inner, "ING014", message, fix.replace("(await ", "("))


def _is_handler(unit: Unit, node: ast.Lambda) -> bool:
    """A lambda that a step executes at once."""
    parent = unit.module.parents.get(node)
    step = unit.step_call(parent) if parent is not None else None
    return step is not None and step.handler is node
