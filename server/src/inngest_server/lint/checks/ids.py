"""Step ids: ING010 to ING013."""

import ast
from collections.abc import Iterator
from typing import Final, NamedTuple

from inngest_server.lint.catalogue import CHANCE, CLOCK, ENVIRONMENT
from inngest_server.lint.checks.found import Found, Look, quoted
from inngest_server.lint.names import COMPREHENSIONS, How, names_in, target_names, walk_scope
from inngest_server.lint.unit import StepCall, Unit

PER_PROCESS: Final = {"id", "hash", "object"}
"""Builtins whose result another process does not repeat."""
BRANCHES: Final = ast.If | ast.Match | ast.IfExp | ast.Try | ast.For | ast.AsyncFor | ast.While | ast.BoolOp
ENDING: Final = ast.Return | ast.Raise | ast.Continue | ast.Break


def check_ids(look: Look) -> Iterator[Found]:
    """Ids that repeat, or that the next call does not find again."""
    unit = look.unit
    in_loops: set[ast.AST] = set()
    for step in unit.steps:
        if step.id is None:
            continue
        unstable = _unstable(look, step.id)
        if unstable is not None:
            message = f"the step id {quoted(step.id)} differs with every call: {unstable}"
            yield Found(
                step.id, "ING013", message, "make it of what stays the same: event data, results of steps"
            )
            continue
        loop = _repeating_loop(unit, step)
        if loop is not None:
            in_loops.add(step.node)
            yield _in_loop(step.id, loop)
    yield from _twice(unit, [step for step in unit.steps if step.node not in in_loops])


# ---- loops ----------------------------------------------------------------------------------------


class Loop(NamedTuple):
    """Something that executes a step several times."""

    shown: str
    line: int
    variables: list[str]


def _in_loop(step_id: ast.expr, loop: Loop) -> Found:
    message = f"the step id {quoted(step_id)} is the same each time round {loop.shown} in line {loop.line}"
    example = (
        f'f"{_text_of(step_id)}-{{{loop.variables[0]}}}"' if loop.variables else "a number that counts up"
    )
    return Found(step_id, "ING010", message, f"put what differs into the id: {example}")


def _text_of(step_id: ast.expr) -> str:
    if isinstance(step_id, ast.Constant):
        return str(step_id.value)
    text = ast.unparse(step_id)
    return text[2:-1] if isinstance(step_id, ast.JoinedStr) else f"{{{text}}}"


def _repeating_loop(unit: Unit, step: StepCall) -> Loop | None:
    assert step.id is not None
    if _has_unknown_call(step.id):
        return None
    names = names_in(step.id)
    current: ast.AST = step.node
    once = False
    equal: set[str] = set()
    for above in unit.ancestors(step.node):
        if isinstance(above, ast.For | ast.AsyncFor | ast.While) and _is_in_body(above, current):
            # Where something that differs has to equal something, there is one round of that.
            differs = _differs(unit, names | equal, above)
            if not differs and not _leaves_at_once(above, current):
                return Loop("the loop", above.lineno, sorted(_targets(above)))
        elif isinstance(above, ast.If) and current in above.body:
            equal |= _compared_names(above.test)
        elif isinstance(above, COMPREHENSIONS) and not once and not _differs(unit, names, above):
            return Loop("the comprehension", above.lineno, sorted(_targets(above)))
        # What a comprehension iterates over first is computed once, before it.
        once = isinstance(above, ast.comprehension) and current is above.iter and _is_first(unit, above)
        current = above
    if unit.repeats is not None and not _depends_on(unit, names, unit.repeats, frozenset()):
        return Loop(
            f"the loop that calls `{unit.node.name}`, defined", unit.node.lineno, sorted(unit.repeats)
        )
    return None


def _compared_names(test: ast.expr) -> set[str]:
    """Names of which a test says that they equal something: `if day == 5`."""
    parts = test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
    return {
        name
        for part in parts
        if isinstance(part, ast.Compare) and isinstance(part.ops[0], ast.Eq | ast.Is)
        for name in names_in(part)
    }


def _has_unknown_call(node: ast.expr) -> bool:
    """`next(counter)`: nobody knows whether it repeats."""
    known = {"str", "int", "repr", "format", "len", "join", "lower", "upper", "strip", "replace"}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            func = inner.func
            name = (
                func.id
                if isinstance(func, ast.Name)
                else func.attr
                if isinstance(func, ast.Attribute)
                else ""
            )
            if name not in known:
                return True
    return False


def _is_in_body(loop: ast.For | ast.AsyncFor | ast.While, child: ast.AST) -> bool:
    return child in loop.body or (isinstance(loop, ast.While) and child is loop.test)


def _is_first(unit: Unit, node: ast.comprehension) -> bool:
    generators = getattr(unit.module.parents[node], "generators", [])
    return bool(generators) and generators[0] is node


def _targets(loop: ast.AST) -> set[str]:
    if isinstance(loop, ast.For | ast.AsyncFor):
        return target_names(loop.target)
    return set[str]().union(*(target_names(one.target) for one in getattr(loop, "generators", [])))


def _leaves_at_once(loop: ast.For | ast.AsyncFor | ast.While, child: ast.AST) -> bool:
    """A loop whose body ends in `return` or `break` right behind the step goes round once for it."""
    if child not in loop.body:
        return False
    after = loop.body[[statement is child for statement in loop.body].index(True) :]
    return any(isinstance(statement, ast.Return | ast.Break | ast.Raise) for statement in after)


def _differs(unit: Unit, names: set[str], loop: ast.AST) -> bool:
    """Whether one of the names has another value each time round."""
    changing = _targets(loop)
    return any(name in changing or _changes(unit, name, loop, frozenset()) for name in names)


def _changes(unit: Unit, name: str, loop: ast.AST, seen: frozenset[str]) -> bool:
    """Whether a name is bound in the body of a loop to something that may differ from round to round."""
    if name in seen:
        return False
    inside = set(ast.walk(loop))
    for binding in unit.bindings(name):
        if binding.node is loop or binding.node not in inside:
            continue
        if binding.how in (How.CHANGED, How.OTHER, How.UNPACKED, How.ENTERED):
            return True
        value = binding.value
        if value is None:
            continue
        if binding.how is How.ASSIGNED and any(
            isinstance(one, ast.Call | ast.Await) for one in ast.walk(value)
        ):
            return True
        if binding.how is How.ITERATED and _has_unknown_iterable(value):
            return True
        if any(one == name or one in _targets(loop) for one in names_in(value)):
            return True
        if any(_changes(unit, one, loop, seen | {name}) for one in names_in(value)):
            return True
    return False


def _has_unknown_iterable(value: ast.expr) -> bool:
    known = {"range", "enumerate", "reversed", "zip", "sorted", "list", "len"}
    return any(
        isinstance(one, ast.Await) or (isinstance(one, ast.Call) and getattr(one.func, "id", "") not in known)
        for one in ast.walk(value)
    )


def _depends_on(unit: Unit, names: set[str], wanted: frozenset[str], seen: frozenset[str]) -> bool:
    """Whether names are made of some others, directly or through variables."""
    for name in names - seen:
        if name in wanted:
            return True
        for binding in unit.names.get(name, []):
            if binding.how is How.PARAMETER:
                continue
            if binding.value is None or _depends_on(unit, names_in(binding.value), wanted, seen | {name}):
                return True
    return False


# ---- twice ----------------------------------------------------------------------------------------


class Arm(NamedTuple):
    """One way that a branch may take."""

    branch: ast.AST
    way: str


class Use(NamedTuple):
    """A step with a written-out id, and the ways that lead to it, from the nearest outward."""

    id: ast.expr
    line: int
    arms: list[Arm]


def _twice(unit: Unit, steps: list[StepCall]) -> Iterator[Found]:
    """Two steps with one written-out id, which do not exclude each other."""
    by_id: dict[str, list[Use]] = {}
    for step in steps:
        if isinstance(step.id, ast.Constant) and isinstance(step.id.value, str):
            use = Use(step.id, step.node.lineno, _arms(unit, step.node))
            by_id.setdefault(step.id.value, []).append(use)
    for text, same in by_id.items():
        for number, use in enumerate(same):
            found = _compared(text, use, same[:number])
            if found is not None:
                yield found


def _compared(text: str, use: Use, before: list[Use]) -> Found | None:
    meeting = [earlier for earlier in before if not _exclude(earlier, use)]
    for earlier in meeting:
        open_arms = [arm for arm in earlier.arms if arm not in use.arms and _is_conditional(arm)]
        if open_arms:
            line = getattr(open_arms[0].branch, "lineno", earlier.line)
            message = (
                f'the step id "{text}" is used before, in line {earlier.line}: whether this step is '
                f'"{text}" or "{text}:1" depends on the branch in line {line}'
            )
            return Found(use.id, "ING011", message, "give each step its own id")
    if meeting:
        number = f"{text}:{len(meeting)}"
        message = (
            f'the step id "{text}" is used before, in line {meeting[-1].line}: this step counts as "{number}"'
        )
        return Found(use.id, "ING012", message, "give each step its own id")
    return None


def _arms(unit: Unit, node: ast.AST) -> list[Arm]:
    """The ways that must be taken to get to a node, from the nearest outward."""
    found: list[Arm] = []
    current = node
    for above in unit.ancestors(node):
        if isinstance(above, ast.match_case):
            found.append(Arm(unit.module.parents[above], f"case {above.pattern.lineno}"))
        elif isinstance(above, ast.ExceptHandler):
            found.append(Arm(unit.module.parents[above], f"except {above.lineno}"))
        elif isinstance(above, ast.BoolOp):
            found.append(Arm(above, "first" if current is above.values[0] else "later"))
        elif isinstance(above, BRANCHES) and not isinstance(current, ast.ExceptHandler | ast.match_case):
            found.append(Arm(above, _way(above, current)))
        current = above
    return found


def _way(branch: ast.AST, child: ast.AST) -> str:
    for field, value in ast.iter_fields(branch):
        if value is child or (isinstance(value, list) and child in value):
            return field
    return ""


def _is_conditional(arm: Arm) -> bool:
    """Whether the way may also not be taken."""
    match arm.branch:
        case ast.If() | ast.IfExp() | ast.While():
            return arm.way != "test"
        case ast.For() | ast.AsyncFor():
            return arm.way == "body"
        case ast.Try():
            return arm.way.startswith("except") or arm.way == "orelse"
        case ast.BoolOp():
            return arm.way == "later"
        case ast.Match():
            return arm.way.startswith("case")
        case _:
            return False


def _exclude(earlier: Use, later: Use) -> bool:
    """Whether only one of two steps can be met in one run."""
    ways = {arm.branch: arm.way for arm in later.arms}
    for branch, way in earlier.arms:
        other = ways.get(branch)
        if other is not None and other != way:
            if isinstance(branch, ast.If | ast.IfExp | ast.Match):
                return True
            if isinstance(branch, ast.Try) and way.startswith("except") and other.startswith("except"):
                return True
        if other is None and _ends(branch, way):
            return True
    return False


def _ends(branch: ast.AST, way: str) -> bool:
    """Whether what stands behind a branch is not met by those who took this way."""
    bodies: list[list[ast.stmt]] = []
    match branch:
        case ast.If():
            bodies = [branch.body] if way == "body" else [branch.orelse]
        case ast.Match():
            bodies = [case.body for case in branch.cases if way == f"case {case.pattern.lineno}"]
        case ast.Try():
            bodies = [one.body for one in branch.handlers if way == f"except {one.lineno}"]
        case _:
            pass
    return any(body and isinstance(body[-1], ENDING) for body in bodies)


# ---- ids that change ------------------------------------------------------------------------------


def _unstable(look: Look, node: ast.expr, seen: frozenset[str] = frozenset()) -> str | None:
    """Why an id is another one in the next call; None if nothing speaks for that."""
    unit = look.unit
    for inner in walk_scope(node):
        if isinstance(inner, ast.Call):
            if unit.step_call(inner) is not None:
                return None  # The result of a step stays the same.
            effect = look.effects.of(unit, inner)
            if effect is not None and effect.code in (CLOCK, CHANCE, ENVIRONMENT):
                return f"{quoted(inner.func)} gives another result"
            if unit.dotted(inner.func) in PER_PROCESS:
                return f"{quoted(inner.func)} gives another result in another process"
        elif isinstance(inner, ast.Attribute) and inner.attr == "attempt" and unit.role(inner.value) == "ctx":
            return f"{quoted(inner)} counts the tries"
        elif isinstance(inner, ast.Name) and inner.id not in seen:
            for value in unit.values(inner.id):
                reason = _unstable(look, value, seen | {inner.id})
                if reason is not None:
                    return reason
    return None
