"""Which names a function body binds, and to what."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from inngest_server.lint.source import FunctionNode

COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
SCOPES = FunctionNode | ast.Lambda | ast.ClassDef


class How(Enum):
    """In which way a name is bound."""

    PARAMETER = auto()
    ASSIGNED = auto()
    UNPACKED = auto()
    """One of several that the value was taken apart into."""
    CHANGED = auto()
    """`x += value`"""
    ITERATED = auto()
    """The target of a loop over the value."""
    ENTERED = auto()
    """`with value as x`"""
    DEFINED = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Binding:
    """One place that binds a name."""

    how: How
    node: ast.AST
    value: ast.expr | None = None
    annotation: ast.expr | None = None


def bindings_of(scope: FunctionNode | ast.Lambda) -> dict[str, list[Binding]]:
    """All names that belong to a function, by name. Those of comprehensions count too: they do no harm."""
    found: dict[str, list[Binding]] = {}
    for name, annotation in parameters_of(scope):
        found.setdefault(name, []).append(Binding(How.PARAMETER, scope, None, annotation))
    body = scope.body if isinstance(scope.body, list) else [scope.body]
    elsewhere: set[str] = set()
    for node in (inner for statement in body for inner in walk_scope(statement)):
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        for name, binding in _bound_by(node):
            found.setdefault(name, []).append(binding)
    return {name: bindings for name, bindings in found.items() if name not in elsewhere}


def walk_scope(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that is executed with it: not the bodies of definitions and lambdas."""
    yield node
    if isinstance(node, SCOPES):
        return
    for child in ast.iter_child_nodes(node):
        yield from walk_scope(child)


def parameters_of(scope: FunctionNode | ast.Lambda) -> list[tuple[str, ast.expr | None]]:
    """Names and annotations, positional ones first."""
    arguments = scope.args
    ordered = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    ordered += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    return [(argument.arg, argument.annotation) for argument in ordered]


def names_in(node: ast.AST) -> set[str]:
    """Names that are read anywhere in an expression, those within lambdas too."""
    return {
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load)
    }


def target_names(target: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name)}


def _bound_by(node: ast.AST) -> Iterator[tuple[str, Binding]]:
    match node:
        case ast.Assign():
            for target in node.targets:
                yield from _assigned(target, node.value, node)
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name, Binding(How.ASSIGNED, node, node.value, node.annotation)
        case ast.AugAssign(target=ast.Name(id=name)):
            yield name, Binding(How.CHANGED, node, node.value)
        case ast.NamedExpr(target=ast.Name(id=name)):
            yield name, Binding(How.ASSIGNED, node, node.value)
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            for name in target_names(node.target):
                yield name, Binding(How.ITERATED, node, node.iter)
        case ast.withitem(optional_vars=ast.expr() as target):
            how = How.ENTERED if isinstance(target, ast.Name) else How.UNPACKED
            for name in target_names(target):
                yield name, Binding(how, node, node.context_expr)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name, Binding(How.DEFINED, node)
        case ast.ExceptHandler(name=str() as name):
            yield name, Binding(How.OTHER, node)
        case ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name):
            yield name, Binding(How.OTHER, node)
        case _:
            return


def _assigned(target: ast.expr, value: ast.expr, node: ast.AST) -> Iterator[tuple[str, Binding]]:
    if isinstance(target, ast.Name):
        yield target.id, Binding(How.ASSIGNED, node, value)
    elif isinstance(target, ast.Tuple | ast.List):
        parts = value.elts if isinstance(value, ast.Tuple | ast.List) else []
        same = len(parts) == len(target.elts) and not any(isinstance(one, ast.Starred) for one in target.elts)
        if same:
            for inner, part in zip(target.elts, parts, strict=True):
                yield from _assigned(inner, part, node)
            return
        for name in _plain_names(target):
            yield name, Binding(How.UNPACKED, node, value)


def _plain_names(target: ast.expr) -> Iterator[str]:
    """Names that are bound; in `a[i], b.c = ...` there are none."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Starred):
        yield from _plain_names(target.value)
    elif isinstance(target, ast.Tuple | ast.List):
        for inner in target.elts:
            yield from _plain_names(inner)
