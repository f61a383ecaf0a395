"""What is done outside steps and is therefore done again with every call: ING001 to ING008."""

import ast
from collections.abc import Iterator
from typing import Final

from inngest_server.lint.catalogue import CHANCE, CLOCK, TIME_LIMITS
from inngest_server.lint.checks.found import Found, Look, quoted
from inngest_server.lint.effects import Effect, is_harmless
from inngest_server.lint.helpers import helper_called
from inngest_server.lint.names import walk_scope
from inngest_server.lint.project import Definition
from inngest_server.lint.unit import Unit

WHAT: Final = {
    "ING001": "reads the clock",
    "ING002": "draws by chance",
    "ING003": "does I/O",
    "ING004": "asks the database",
    "ING005": "reads what belongs to this process",
    "ING007": "pauses",
}
SENDS: Final = {"send", "send_sync"}
WAITING: Final = frozenset(
    f"asyncio.{name}" for name in ["gather", "wait", "wait_for", "shield", "create_task", "ensure_future"]
)
"""They wait for what they are given, which is looked at instead."""
SYNCHRONISING: Final = frozenset(
    f"{module}.{name}"
    for module in ("asyncio", "anyio")
    for name in [
        "Barrier",
        "Condition",
        "Event",
        "Future",
        "Lock",
        "PriorityQueue",
        "Queue",
        "Semaphore",
        "Task",
        "TaskGroup",
        "timeout",
    ]
)
"""Waiting for one of these is waiting for another part of the same function."""


def check_outside(look: Look) -> Iterator[Found]:
    """Calls and awaits outside steps whose result differs, or whose effect is repeated."""
    found = list(_all(look))
    whole = {one.node for one in found if one.code not in (CLOCK, CHANCE)}
    for one in found:
        # What is drawn for a call that belongs into a step gets there with it.
        if one.code not in (CLOCK, CHANCE) or not whole & set(look.unit.ancestors(one.node)):
            yield one


def _all(look: Look) -> Iterator[Found]:
    unit = look.unit
    told: set[ast.AST] = set()
    for node in unit.own:
        if isinstance(node, ast.Call) and node not in told:
            found = _call(look, node)
            if found is not None:
                told.update(_chain(node))
                yield found
        elif isinstance(node, ast.Subscript | ast.Compare):
            yield from _environment(unit, node)
    for node in unit.own:
        if isinstance(node, ast.Await) and node.value not in told and isinstance(node.value, ast.Call):
            yield from _await(look, node.value)
        elif isinstance(node, ast.AsyncFor) and isinstance(node.iter, ast.Call) and node.iter not in told:
            yield from _await(look, node.iter)


def _chain(call: ast.Call) -> Iterator[ast.AST]:
    """The calls whose results a call is made on: one finding is enough for `session.query(...).all()`."""
    node: ast.expr = call
    while isinstance(node, ast.Call | ast.Attribute | ast.Await | ast.Subscript):
        yield node
        node = node.func if isinstance(node, ast.Call) else node.value


def _call(look: Look, call: ast.Call) -> Found | None:
    unit = look.unit
    if unit.step_call(call) is not None or _is_in_step_id(unit, call):
        return None
    limit = _time_limit(unit, call)
    if limit is not None:
        return limit
    if isinstance(call.func, ast.Attribute) and call.func.attr in SENDS and _is_client(unit, call.func.value):
        fix = f'{unit.step_text}.send_event("send", ...)'
        return Found(call, "ING008", f"{quoted(call.func)} sends its events again with every call", fix)
    effect = look.effects.of(unit, call)
    if effect is None or is_harmless(unit, call, effect.code):
        return None
    return Found(call, effect.code, _message(call, effect), _fix(unit, call, effect))


def _message(call: ast.Call, effect: Effect) -> str:
    what = WHAT[effect.code]
    if effect.through:
        return f"{quoted(call.func)} {what} outside a step: {effect.shown} in {effect.through}"
    return f"{quoted(call.func)} {what} outside a step"


def _fix(unit: Unit, call: ast.Call, effect: Effect) -> str:
    step = unit.step_text
    if effect.code == "ING007":
        seconds = ast.unparse(call.args[0]) if call.args and not effect.through else "..."
        return f'{step}.sleep("pause", datetime.timedelta(seconds={seconds}))'
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "do it")
    name = name.strip("_").replace("_", "-")
    if effect.code in ("ING003", "ING004") and not effect.through:
        # A file, a response or a cursor has no JSON form, so a lambda around the call alone would not do.
        return f'{step}.run("{name}", ...) with a function that does this and returns JSON'
    plain = ast.unparse(call)
    if len(plain) > 40 or "\n" in plain or "await" in plain:
        plain = f"{ast.unparse(call.func)}(...)" if len(ast.unparse(call.func)) <= 40 else "..."
    text = {"ING001": f"{plain}.isoformat()"}.get(effect.code, plain) if _is_datetime(call) else plain
    return f'{step}.run("{name}", lambda: {text})'


def _is_datetime(call: ast.Call) -> bool:
    """Results of steps are JSON: a moment has to become a text."""
    return isinstance(call.func, ast.Attribute) and call.func.attr in ("now", "utcnow", "today")


def _is_in_step_id(unit: Unit, node: ast.AST) -> bool:
    """What is wrong with an id is told by the rule for ids."""
    current = node
    for above in unit.ancestors(node):
        step = unit.step_call(above)
        if step is not None:
            return current is step.id or (isinstance(current, ast.keyword) and current.value is step.id)
        current = above
    return False


def _is_client(unit: Unit, node: ast.expr) -> bool:
    client = unit.client
    return unit.role(node) == "client" or (client is not None and ast.dump(client) == ast.dump(node))


def _time_limit(unit: Unit, call: ast.Call) -> Found | None:
    """`asyncio.timeout` and its like, if what they limit are steps."""
    if unit.dotted(call.func) not in TIME_LIMITS:
        return None
    parent = unit.module.parents.get(call)
    limited: list[ast.AST] = list(call.args[:1])
    if isinstance(parent, ast.withitem):
        statement = unit.module.parents[parent]
        limited = list(getattr(statement, "body", []))
    if not any(unit.mentions_steps(one) for one in limited):
        return None
    message = f"{quoted(call.func)} around steps limits one call of the function, not the steps"
    return Found(
        call, "ING007", message, "use the timeout of the step, or the option `timeouts` of the function"
    )


def _environment(unit: Unit, node: ast.Subscript | ast.Compare) -> Iterator[Found]:
    """`os.environ["X"]` and `"X" in os.environ`, which are no calls."""
    parts = [node.value] if isinstance(node, ast.Subscript) else node.comparators
    for part in parts:
        if unit.dotted(part) == "os.environ":
            message = f"{quoted(node)} reads the environment outside a step"
            yield Found(node, "ING005", message, "read it when the module is loaded")


# ---- awaits ---------------------------------------------------------------------------------------


def _await(look: Look, call: ast.Call) -> Iterator[Found]:
    unit = look.unit
    dotted = unit.dotted(call.func)
    if unit.step_call(call) is not None or dotted == "asyncio.sleep":
        return
    if dotted in WAITING:
        for argument in call.args:
            for inner in _awaited(argument):
                if look.effects.of(unit, inner) is None:
                    yield from _await(look, inner)
        return
    if unit.mentions_steps(call) or helper_called(unit, call) is not None or _is_own_work(look, call):
        return
    name = ast.unparse(call.func).rpartition(".")[2].strip("_").replace("_", "-")
    message = f"waits for {quoted(call.func)}, which is no step: it is executed again with every call"
    handler = ast.unparse(call.func)
    fix = f'{unit.step_text}.run("{name}", {handler if len(handler) <= 50 else "..."}, ...)'
    yield Found(call, "ING006", message, fix)


def _awaited(argument: ast.expr) -> Iterator[ast.Call]:
    """The calls that make what `gather` and its like are given."""
    match argument:
        case ast.Call():
            yield argument
        case ast.Starred(value=value) | ast.ListComp(elt=value) | ast.GeneratorExp(elt=value):
            yield from _awaited(value)
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            for element in elements:
                yield from _awaited(element)
        case _:
            return


def _is_own_work(look: Look, call: ast.Call) -> bool:
    """Whether waiting for a call is harmless: its steps are its own, or tasks of one function hand over."""
    unit, func = look.unit, call.func
    if isinstance(func, ast.Name) and unit.is_local(func.id) and unit.definition(func) is None:
        return True  # A parameter or variable: nobody knows what it is.
    if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
        made = [value.func for value in unit.values(func.value.id) if isinstance(value, ast.Call)]
        if made and all(unit.dotted(one) in SYNCHRONISING for one in made):
            return True
        if func.value.id in unit.pending:
            return True
    found = unit.definition(func)
    if found is None:
        return False
    return unit.around(found.node) is not None or _has_steps(found) or not _waits(found)


def _has_steps(found: Definition) -> bool:
    """A function that speaks of steps without having been given any: it has them from around it."""
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("step", "group") for node in ast.walk(found.node)
    ) or any(isinstance(node, ast.Name) and node.id in ("step", "ctx") for node in ast.walk(found.node))


def _waits(found: Definition) -> bool:
    """Whether a coroutine function ever waits; one that only computes gives the same result again."""
    return any(
        isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)
        for statement in found.node.body
        for node in walk_scope(statement)
    )
