"""One function body as the linter sees it: who is `ctx`, where the steps are, what is executed outside them.

A unit is the body of an Inngest function, or of a helper that it hands `ctx` or `step`. *Roles* say which
expressions are what: `ctx`, `step`, `group`, `ai`, a method such as `step.run`, or `client`.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from inngest_server.lint.names import Binding, How, bindings_of, parameters_of
from inngest_server.lint.project import ClassFound, Definition, Project, Symbol
from inngest_server.lint.source import FunctionNode, Module, methods_of

STEP_METHODS: Final = {
    "fetch",
    "invoke",
    "invoke_by_id",
    "run",
    "send_event",
    "send_signal",
    "sleep",
    "sleep_until",
    "wait_for_event",
    "wait_for_signal",
}
AI_METHODS: Final = {"infer", "wrap"}
PARALLEL: Final = {"parallel", "_experimental_parallel"}
EXECUTING: Final = {"run", "ai.wrap"}
"""Methods whose second argument is a function of the app."""
DECORATED: Final = "decorated"
"""Stands for the method of a step that is a call of a function with `@experimental.step`."""
STEP_DECORATORS: Final = {"inngest.experimental.step", "inngest.experimental.step_context.step"}
STEP_CONTEXTS: Final = {
    "inngest.experimental.get_step_context",
    "inngest.experimental.step_context.get_step_context",
}
ANNOTATIONS: Final = {
    "inngest.Context": "ctx",
    "inngest.ContextSync": "ctx",
    "inngest.Step": "step",
    "inngest.StepSync": "step",
    "inngest.SyncStep": "step",
    "inngest.Inngest": "client",
}
DEPTH_MAX: Final = 12
"""Names that stand for other names, one after the other."""


@dataclass(frozen=True, slots=True)
class StepCall:
    """A call of a step's method, or a `partial` of one."""

    node: ast.Call
    method: str
    """`run`, `sleep`, `ai.infer`, `parallel` ..."""
    arguments: tuple[ast.expr, ...]
    deferred: bool
    """It is a `partial`: nothing is executed, or to be awaited, here."""

    @property
    def id(self) -> ast.expr | None:
        return self._argument(0, "step_id") if self.method not in PARALLEL | {DECORATED} else None

    @property
    def handler(self) -> ast.expr | None:
        return self._argument(1, "handler") if self.method in EXECUTING else None

    @property
    def inputs(self) -> Iterator[ast.expr]:
        """What the step is given besides its id and function."""
        handler, step_id = self.handler, self.id
        for argument in (*self.arguments, *(keyword.value for keyword in self.node.keywords)):
            if argument is not handler and argument is not step_id:
                yield argument

    def _argument(self, position: int, keyword: str) -> ast.expr | None:
        if len(self.arguments) > position:
            found = self.arguments[position]
            return None if isinstance(found, ast.Starred) else found
        return next((one.value for one in self.node.keywords if one.arg == keyword), None)


class Unit:
    """A function body, with what its names mean."""

    def __init__(
        self,
        project: Project,
        module: Module,
        node: FunctionNode,
        *,
        roles: Mapping[str, str],
        parent: "Unit | None" = None,
        owner: ast.ClassDef | None = None,
        client: ast.expr | None = None,
        repeats: frozenset[str] | None = None,
    ) -> None:
        """`roles` are those of parameters; `parent` is the unit that the function is defined in.

        `repeats` is set when the function is called in a loop: the parameters that differ each time.
        """
        self.project, self.module, self.node = project, module, node
        self.parent, self.owner, self.client, self.repeats = parent, owner, client, repeats
        self.names = bindings_of(node)
        self.parameter_roles = {**self._annotated_roles(), **roles}
        self._asked: dict[ast.AST, str | None] = {}
        self._step_calls: dict[ast.Call, StepCall | None] = {}

    # ---- what names mean --------------------------------------------------------------------------

    def bindings(self, name: str) -> list[Binding]:
        """Of the function itself or of those around it; empty for names of the module."""
        unit: Unit | None = self
        while unit is not None:
            if name in unit.names:
                return unit.names[name]
            unit = unit.parent
        return []

    def values(self, name: str) -> list[ast.expr]:
        """What is assigned to a local name."""
        return [one.value for one in self.bindings(name) if one.how is How.ASSIGNED and one.value is not None]

    @cached_property
    def uses(self) -> Mapping[str, Sequence[ast.Name]]:
        """Where names are read, in the function and in all that is defined in it."""
        found: dict[str, list[ast.Name]] = {}
        for node in ast.walk(self.node):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found.setdefault(node.id, []).append(node)
        return found

    def is_local(self, name: str) -> bool:
        return bool(self.bindings(name))

    def dotted(self, node: ast.expr) -> str:
        """`requests.get` as it was imported; empty for anything that is no name of a library or a builtin."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or self.is_local(node.id):
            return ""
        head = self.module.imports.get(node.id)
        if head is None:
            if self.project.symbol(self.module, node.id) is not None or names:
                return ""
            head = node.id
        return ".".join([head, *reversed(names)])

    def symbol(self, node: ast.expr) -> Symbol | None:
        """What an expression means in the project: a function, method, class or variable."""
        if isinstance(node, ast.Name):
            return self._symbol_of_name(node.id)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") and self.owner:
                method = methods_of(self.owner).get(node.attr)
                return Definition(self.module, method, self.owner) if method else None
            instance = self._class_of(node.value)
            base = instance or self.symbol(node.value)
            return self.project.member(base, [node.attr]) if base is not None else None
        return None

    def definition(self, node: ast.expr) -> Definition | None:
        found = self.symbol(node)
        return found if isinstance(found, Definition) else None

    def _symbol_of_name(self, name: str) -> Symbol | None:
        bound = self.bindings(name)
        if bound:
            last = bound[-1].node
            if len(bound) == 1 and isinstance(last, FunctionNode):
                return Definition(self.module, last)
            return None
        return self.project.symbol(self.module, name)

    def _class_of(self, node: ast.expr) -> ClassFound | None:
        """The project's class that a name is an instance of, where it is made in plain sight."""
        if not isinstance(node, ast.Name):
            return None
        values = self.values(node.id)
        if not values and not self.is_local(node.id):
            values = self.module.variables.get(node.id, [])
        if len(values) == 1 and isinstance(values[0], ast.Call) and isinstance(values[0].func, ast.Name):
            found = self.symbol(values[0].func)
            return found if isinstance(found, ClassFound) else None
        return None

    # ---- roles ------------------------------------------------------------------------------------

    def role(self, node: ast.expr | None) -> str | None:
        """What an expression is to the SDK: `ctx`, `step`, `step.run`, `client` ...; None for all else."""
        if node is None:
            return None
        if node not in self._asked:
            self._asked[node] = None  # A name that stands for itself has no role.
            self._asked[node] = self._role(node)
        return self._asked[node]

    def _role(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self._role_of_name(node.id)
        if isinstance(node, ast.Call):
            if self.dotted(node.func) in STEP_CONTEXTS:
                return "step"
            return "client" if _is_client(self, node) else None
        if not isinstance(node, ast.Attribute):
            return None
        base = self.role(node.value)
        match base, node.attr:
            case "ctx", "step" | "group":
                return node.attr
            case "step", "ai":
                return "ai"
            case "step", name if name in STEP_METHODS | PARALLEL:
                return f"step.{name}"
            case "ai", name if name in AI_METHODS:
                return f"step.ai.{name}"
            case "group", name if name in PARALLEL:
                return "step.parallel"
            case _:
                return self._role_of_attribute(node) if base is None else None

    def _role_of_attribute(self, node: ast.Attribute) -> str | None:
        """`self.step`, where a class keeps what it was given."""
        if isinstance(node.value, ast.Name) and node.value.id == "self" and self.owner is not None:
            return {"ctx": "ctx", "step": "step"}.get(node.attr)
        return None

    def _role_of_name(self, name: str) -> str | None:
        if name in self.parameter_roles:
            return self.parameter_roles[name]
        if name not in self.names:
            if self.parent is not None:
                return self.parent.role_of_name(name)
            values = self.module.variables.get(name, [])
            return "client" if any(_is_client(self, value) for value in values) else self._imported_role(name)
        values = self.values(name)
        roles = {self.role(value) for value in values}
        return roles.pop() if len(roles) == 1 and len(values) == len(self.names[name]) else None

    def role_of_name(self, name: str) -> str | None:
        return self._role_of_name(name)

    def _imported_role(self, name: str) -> str | None:
        found = self.project.symbol(self.module, name)
        values = getattr(found, "values", ())
        return "client" if any(_is_client(self, value) for value in values) else None

    def _annotated_roles(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, annotation in parameters_of(self.node):
            if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                dotted = annotation.value
                head, _, rest = dotted.partition(".")
                dotted = ".".join(filter(None, (self.module.imports.get(head, head), rest)))
            else:
                dotted = self.dotted(annotation) if annotation is not None else ""
            if dotted in ANNOTATIONS:
                found[name] = ANNOTATIONS[dotted]
        return found

    # ---- steps ------------------------------------------------------------------------------------

    def step_call(self, node: ast.AST) -> StepCall | None:
        """The step that a node calls, or is a `partial` of."""
        if not isinstance(node, ast.Call):
            return None
        if node not in self._step_calls:
            self._step_calls[node] = self._step_call(node)
        return self._step_calls[node]

    def _step_call(self, node: ast.Call) -> StepCall | None:
        role = self.role(node.func)
        if role is not None and role.startswith("step."):
            return StepCall(node, role.removeprefix("step."), tuple(node.args), deferred=False)
        if node.args and self.is_partial(node):
            role = self.role(node.args[0])
            if role is not None and role.startswith("step."):
                return StepCall(node, role.removeprefix("step."), tuple(node.args[1:]), deferred=True)
            return StepCall(node, DECORATED, (), deferred=True) if self._is_decorated(node.args[0]) else None
        return StepCall(node, DECORATED, (), deferred=False) if self._is_decorated(node.func) else None

    def _is_decorated(self, func: ast.expr) -> bool:
        """Whether a function makes a step of each call of it."""
        found = self.definition(func)
        if found is None or not found.node.decorator_list:
            return False
        outside = Unit(self.project, found.module, found.node, roles={})
        return any(
            isinstance(one, ast.Call) and outside.dotted(one.func) in STEP_DECORATORS
            for one in found.node.decorator_list
        )

    def is_partial(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and self.dotted(node.func) == "functools.partial"

    @cached_property
    def steps(self) -> list[StepCall]:
        """The steps of this body, in the order of the source, outside of functions that steps execute."""
        found = [step for node in self.own for step in [self.step_call(node)] if step is not None]
        return sorted(found, key=lambda step: (step.node.lineno, step.node.col_offset))

    @cached_property
    def own(self) -> list[ast.AST]:
        """Every node that is executed outside steps: nested definitions are units of their own."""
        found: list[ast.AST] = []
        for statement in self.node.body:
            self._collect(statement, found)
        return found

    def _collect(self, node: ast.AST, found: list[ast.AST]) -> None:
        if isinstance(node, FunctionNode | ast.ClassDef):
            return
        found.append(node)
        step = self.step_call(node)
        handler = step.handler if step is not None else None
        for child in ast.iter_child_nodes(node):
            if child is handler:
                self._collect_handler(child, found)
            else:
                self._collect(child, found)

    def _collect_handler(self, node: ast.AST, found: list[ast.AST]) -> None:
        """Of the function that a step executes, what is executed before: the arguments of a `partial`."""
        if isinstance(node, ast.Lambda | ast.Name | ast.Attribute):
            return
        if isinstance(node, ast.Call) and self.is_partial(node) and node.args:
            found.append(node)
            self._collect_handler(node.args[0], found)
            for child in (*node.args[1:], *node.keywords):
                self._collect(child, found)
            return
        self._collect(node, found)

    def handler_body(self, handler: ast.expr | None) -> ast.Lambda | Definition | None:
        """The function that a step executes, where its source is at hand."""
        if isinstance(handler, ast.Lambda):
            return handler
        if isinstance(handler, ast.Call) and self.is_partial(handler) and handler.args:
            return self.handler_body(handler.args[0])
        return self.definition(handler) if handler is not None else None

    @cached_property
    def handlers(self) -> set[FunctionNode]:
        """Functions with a name that the steps of this body execute."""
        bodies = (self.handler_body(step.handler) for step in self.steps)
        return {body.node for body in bodies if isinstance(body, Definition)}

    def mentions_steps(self, node: ast.AST) -> bool:
        """Whether an expression has to do with steps: `ctx` itself, a method, or what was made of them.

        `ctx.event` has not.
        """
        return any(
            self.step_call(inner) is not None
            or (isinstance(inner, ast.Name) and inner.id in self.pending)
            or (isinstance(inner, ast.expr) and self._is_handed_on(inner))
            for inner in ast.walk(node)
        )

    def _is_handed_on(self, node: ast.expr) -> bool:
        if self.role(node) in (None, "client"):
            return False
        above = self.module.parents.get(node)
        return not isinstance(above, ast.Attribute) or self.role(above) is not None

    @cached_property
    def pending(self) -> set[str]:
        """Local names that hold steps which were not waited for: tasks, coroutines, lists of them."""
        found: set[str] = set()
        if not self.is_async:
            return found  # Without coroutines a step has ended when its call returns.
        for name, bindings in self.names.items():
            if any(binding.value is not None and self._holds_steps(binding.value) for binding in bindings):
                found.add(name)
        for node in self.own:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                base = node.func.value
                if isinstance(base, ast.Name) and any(self._holds_steps(argument) for argument in node.args):
                    found.add(base.id)
        return found

    def _holds_steps(self, value: ast.expr) -> bool:
        if isinstance(value, ast.Await):
            return False
        return any(
            self.step_call(inner) is not None and not isinstance(self.module.parents.get(inner), ast.Await)
            for inner in ast.walk(value)
        ) or self._is_nested_call(value)

    def _is_nested_call(self, value: ast.expr) -> bool:
        """A call of a function that is defined in this one, or is given `ctx`: its coroutine may be steps."""
        return any(
            isinstance(inner, ast.Call)
            and (
                (isinstance(inner.func, ast.Name) and self._is_nested(inner.func.id))
                or any(self.role(argument) in ("ctx", "step") for argument in inner.args)
            )
            for inner in ast.walk(value)
        )

    def _is_nested(self, name: str) -> bool:
        return any(
            isinstance(binding.node, ast.AsyncFunctionDef) for binding in self.bindings(name)[-1:]
        ) and (self.bindings(name)[-1].how is How.DEFINED)

    # ---- where a node stands ----------------------------------------------------------------------

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, up to the function's own body."""
        for above in self.module.ancestors(node):
            if above is self.node:
                return
            yield above

    @property
    def step_text(self) -> str:
        """How steps are called here, for advice: `await ctx.step`."""
        unit: Unit | None = self
        while unit is not None:
            for name, role in unit.parameter_roles.items():
                if role in ("ctx", "step"):
                    text = f"{name}.step" if role == "ctx" else name
                    return f"await {text}" if self.is_async else text
            unit = unit.parent
        return "await ctx.step" if self.is_async else "ctx.step"

    @property
    def is_async(self) -> bool:
        return isinstance(self.node, ast.AsyncFunctionDef)

    def around(self, node: FunctionNode) -> "Unit | None":
        """The unit that a function is defined in: this one or one of those around it."""
        unit: Unit | None = self
        while unit is not None and node not in unit.nested:
            unit = unit.parent
        return unit

    @cached_property
    def nested(self) -> list[FunctionNode]:
        """Functions that are defined directly in this one."""
        return [
            binding.node
            for bindings in self.names.values()
            for binding in bindings
            if isinstance(binding.node, FunctionNode) and binding.how is How.DEFINED
        ]


def _is_client(unit: Unit, value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and unit.dotted(value.func) in (
        "inngest.Inngest",
        "inngest.mocked.Inngest",
    )
