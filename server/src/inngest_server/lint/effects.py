"""What a call does that is not repeatable, if it can be seen from the source."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from inngest_server.lint.catalogue import (
    CALLS,
    CHANCE,
    CLOCK,
    CONSTRUCTORS,
    DATABASE,
    DATABASE_NAMES,
    FACTORIES,
    IO,
    LOGGING,
    PATH_METHODS,
    PURE_METHODS,
    QUERYSET_METHODS,
    SESSION_CLASSES,
    STRIPE,
    WITHOUT_ARGUMENTS,
)
from inngest_server.lint.helpers import helper_called
from inngest_server.lint.names import How
from inngest_server.lint.project import Definition, Project, Variable
from inngest_server.lint.unit import DECORATED, EXECUTING, StepCall, Unit

CALLS_DEEP = 6
"""Helpers that call helpers: how far they are followed."""
KIND_DEPTH = 12
PATH, FACTORY = "path", "factory"
SEVERITY = ("ING004", "ING003", "ING007", "ING002", "ING001", "ING005")
"""Which effect of a helper is told where it has several; the gravest first."""


class Effect(NamedTuple):
    """The rule that a call falls under, what it is, and through which helper."""

    code: str
    shown: str
    """The call as it is written, without arguments: `requests.get()`."""
    through: str = ""
    """Where a helper does it: `app/db.py:12`; empty for a call that does it itself."""


class Effects:
    """Answers what calls do; what helpers do is worked out once."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._of_helpers: dict[ast.AST, Effect | None] = {}

    def of(self, unit: Unit, call: ast.Call) -> Effect | None:
        """What a call does, itself or through a function of the project.

        A helper that gets `ctx` is a unit of its own, where this is told.
        """
        direct = self.direct(unit, call)
        if direct is not None:
            return direct
        return self.of_helper(unit, call) if helper_called(unit, call) is None else None

    def direct(self, unit: Unit, call: ast.Call) -> Effect | None:
        dotted = unit.dotted(call.func)
        shown = f"{_shown(call.func)}()"
        if dotted:
            # Most sub-modules are also reached through their package: `np.random`, `redis.asyncio`.
            code = CALLS.get(dotted) or (WITHOUT_ARGUMENTS.get(dotted) if _is_bare(call) else None)
            if code is not None:
                return None if _is_pause_of_nothing(dotted, call) else Effect(code, shown)
            if dotted.startswith("stripe.") and STRIPE.fullmatch(dotted):
                return Effect(IO, shown)
        if not isinstance(call.func, ast.Attribute):
            return None
        method = call.func.attr
        kind = self.kind(unit, call.func.value)
        if kind == PATH:
            return Effect(IO, shown) if method in PATH_METHODS else None
        if kind in (None, FACTORY):
            return self._by_name(unit, call.func, shown)
        return Effect(kind, shown) if method not in PURE_METHODS and not method.startswith("_") else None

    def _by_name(self, unit: Unit, func: ast.Attribute, shown: str) -> Effect | None:
        """Things whose making is out of sight, known by the names that everybody gives them."""
        base = func.value
        name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
        if unit.symbol(func) is not None:
            return None  # A function of the project is followed instead.
        if func.attr in DATABASE_NAMES.get(name.lower().lstrip("_"), ()):
            return Effect(DATABASE, shown)
        if isinstance(base, ast.Attribute) and name == "objects" and func.attr in QUERYSET_METHODS:
            return Effect(DATABASE, shown) if _is_class_name(base.value) else None
        return None

    # ---- what an expression is --------------------------------------------------------------------

    def kind(self, unit: Unit, node: ast.expr, depth: int = 0) -> str | None:
        """The rule that methods of an object fall under, `path` or `factory`; None when it is not known."""
        if depth > KIND_DEPTH:
            return None
        match node:
            case ast.Await():
                return self.kind(unit, node.value, depth + 1)
            case ast.Name():
                return self._kind_of_name(unit, node.id, depth + 1)
            case ast.Call():
                return self._kind_of_call(unit, node, depth + 1)
            case ast.Attribute():
                return self._kind_of_attribute(unit, node, depth + 1)
            case ast.Subscript():
                return self.kind(unit, node.value, depth + 1)
            case ast.BinOp(op=ast.Div(), left=left):
                return PATH if self.kind(unit, left, depth + 1) == PATH else None
            case _:
                return None

    def _kind_of_call(self, unit: Unit, call: ast.Call, depth: int) -> str | None:
        dotted = unit.dotted(call.func)
        if dotted in CONSTRUCTORS:
            return CONSTRUCTORS[dotted]
        if dotted in FACTORIES:
            return FACTORY
        if dotted in ("pathlib.Path", "pathlib.Path.cwd", "pathlib.Path.home"):
            return PATH
        if CALLS.get(dotted) == DATABASE:
            return DATABASE
        if self.kind(unit, call.func, depth) == FACTORY:
            return DATABASE
        if not isinstance(call.func, ast.Attribute):
            return None
        # What a method of a database returns is still the database: cursors, queries, transactions.
        base = self.kind(unit, call.func.value, depth)
        return base if base == DATABASE else None

    def _kind_of_attribute(self, unit: Unit, node: ast.Attribute, depth: int) -> str | None:
        found = unit.symbol(node)
        if isinstance(found, Variable):
            return self._kind_of_variable(found, depth)
        base = self.kind(unit, node.value, depth)
        return PATH if base == PATH and node.attr == "parent" else None if base == PATH else base

    def _kind_of_name(self, unit: Unit, name: str, depth: int) -> str | None:
        bindings = unit.bindings(name)
        if not bindings:
            found = self._project.symbol(unit.module, name)
            return self._kind_of_variable(found, depth) if isinstance(found, Variable) else None
        kinds: set[str | None] = set()
        for binding in bindings:
            if binding.annotation is not None and unit.dotted(binding.annotation) in SESSION_CLASSES:
                kinds.add(CONSTRUCTORS[unit.dotted(binding.annotation)])
            elif binding.value is not None and binding.how in (How.ASSIGNED, How.ENTERED):
                kinds.add(self.kind(unit, binding.value, depth))
            else:
                kinds.add(None)
        return kinds.pop() if len(kinds) == 1 else None

    def _kind_of_variable(self, found: Variable, depth: int) -> str | None:
        unit = module_unit(self._project, found)
        kinds = {self.kind(unit, value, depth) for value in found.values}
        return kinds.pop() if len(kinds) == 1 else None

    # ---- helpers ----------------------------------------------------------------------------------

    def of_helper(self, unit: Unit, call: ast.Call, depth: int = 0) -> Effect | None:
        """The gravest thing that a function of the project does when it is called."""
        found = unit.definition(call.func)
        if found is None or depth > CALLS_DEEP or found.node is unit.node or unit.step_call(call):
            return None
        inner = self._of_definition(unit, found, depth)
        if inner is None or (_returns_later(found) and not _is_awaited(unit, call)):
            return None
        return inner

    def _of_definition(self, unit: Unit, found: Definition, depth: int) -> Effect | None:
        if found.node in self._of_helpers:
            return self._of_helpers[found.node]
        self._of_helpers[found.node] = None  # A function that calls itself adds nothing.
        body = Unit(
            self._project,
            found.module,
            found.node,
            roles={},
            owner=found.owner,
            parent=unit.around(found.node),
        )
        effects = list(self._inside(body, depth))
        gravest = min(effects, key=lambda effect: SEVERITY.index(effect.code), default=None)
        self._of_helpers[found.node] = gravest
        return gravest

    def _inside(self, body: Unit, depth: int) -> Iterator[Effect]:
        if body.steps:
            return  # It is looked at as a helper with steps.
        for node in body.own:
            if isinstance(node, ast.Call):
                direct = self.direct(body, node)
                if direct is not None:
                    if not is_harmless(body, node, direct.code):
                        yield direct._replace(through=f"{body.module.path}:{node.lineno}")
                else:
                    deeper = self.of_helper(body, node, depth + 1)
                    if deeper is not None:
                        yield deeper


def module_unit(project: Project, found: Variable) -> Unit:
    """The scope of a module, as if it were a function without names of its own."""
    empty = ast.parse("def module(): pass").body[0]
    assert isinstance(empty, ast.FunctionDef)
    return Unit(project, found.module, empty, roles={})


# ---- where a value goes ---------------------------------------------------------------------------


def is_harmless(unit: Unit, node: ast.expr, code: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a value only goes where it decides nothing: into a log line, or into what a step is given.

    A variable is followed: it is harmless if every use of it is. The id of a step is never harmless, and
    what was drawn by chance is not for a step that the app executes: its next try would get another one.
    """
    if code not in (CLOCK, CHANCE):
        return False
    current: ast.AST = node
    for above in unit.ancestors(node):
        if isinstance(above, ast.Call) and current is not above.func:
            if is_logging(unit, above):
                return True
            step = unit.step_call(above)
            if step is not None:
                return not _is_id(current, step) and (
                    code == CLOCK or step.method not in EXECUTING | {DECORATED}
                )
        if isinstance(above, ast.stmt):
            return _is_in_handler(unit, node, code) or _goes_into_harmless_name(unit, above, code, seen)
        current = above
    return False


def _is_id(node: ast.AST, step: StepCall) -> bool:
    return node is step.id or (isinstance(node, ast.keyword) and node.arg == "step_id")


def _is_in_handler(unit: Unit, node: ast.AST, code: str) -> bool:
    """Within a function that is defined here and that a step executes: as good as an argument of it."""
    return code == CLOCK and any(above in unit.handlers for above in unit.ancestors(node))


def is_logging(unit: Unit, call: ast.Call) -> bool:
    """`ctx.logger.info(...)`, `log.debug(...)`, `print(...)`."""
    if unit.dotted(call.func) == "print":
        return True
    func = call.func
    return (
        isinstance(func, ast.Attribute) and func.attr in LOGGING and "log" in ast.unparse(func.value).lower()
    )


def _goes_into_harmless_name(unit: Unit, statement: ast.stmt, code: str, seen: frozenset[str]) -> bool:
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    if len(names) != 1 or len(targets) != 1 or names[0] not in unit.names:
        return False
    name = names[0]
    if name in seen:
        return True
    uses = unit.uses.get(name, ())
    return bool(uses) and all(is_harmless(unit, use, code, seen | {name}) for use in uses)


# ---- small questions ------------------------------------------------------------------------------


def _is_class_name(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name[:1].isupper()


def _is_bare(call: ast.Call) -> bool:
    return not call.args and not call.keywords


def _is_pause_of_nothing(dotted: str, call: ast.Call) -> bool:
    """`asyncio.sleep(0)` lets others go on and takes no time."""
    if not dotted.endswith(".sleep") or not call.args:
        return False
    return isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def _returns_later(found: Definition) -> bool:
    """A coroutine function: calling it does nothing yet."""
    return isinstance(found.node, ast.AsyncFunctionDef)


def _is_awaited(unit: Unit, call: ast.Call) -> bool:
    """Awaited here, or handed to something that will await it."""
    parent = unit.module.parents.get(call)
    return isinstance(parent, ast.Await | ast.Call | ast.Starred | ast.List | ast.Tuple | ast.ListComp)


def _shown(func: ast.expr) -> str:
    """A callee as it is written, shortened where it is long: `httpx.AsyncClient(...).get`."""
    match func:
        case ast.Name():
            return func.id
        case ast.Attribute():
            return f"{_shown(func.value)}.{func.attr}"
        case ast.Call():
            return f"{_shown(func.func)}({'...' if func.args or func.keywords else ''})"
        case ast.Subscript():
            return f"{_shown(func.value)}[...]"
        case ast.Await():
            return f"(await {_shown(func.value)})"
        case _:
            return "(...)"
