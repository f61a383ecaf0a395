"""Which functions are Inngest functions: those that `create_function` of a client is given, in any form."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from inngest_server.lint.project import Definition, Project, Variable
from inngest_server.lint.source import FunctionNode, Module

OPTIONS = {"fn_id", "id", "trigger", "name"}
"""Keywords by which a `create_function` is told from that of a database, which has none of them."""


class Entry(NamedTuple):
    """An Inngest function."""

    module: Module
    node: FunctionNode
    owner: ast.ClassDef | None
    name: str
    """Its id, or the name of the function where the id is not written out."""
    client: ast.expr | None
    """What `create_function` was called on."""


def find_entries(project: Project) -> list[Entry]:
    """Every Inngest function of the files, in the order of the files; each function once."""
    found: dict[FunctionNode, Entry] = {}
    for module in project.modules.values():
        for node in ast.walk(module.tree):
            for entry in _entries_at(project, module, node):
                found.setdefault(entry.node, entry)
    return list(found.values())


def _entries_at(project: Project, module: Module, node: ast.AST) -> Iterator[Entry]:
    if isinstance(node, FunctionNode):
        for decorator in node.decorator_list:
            call = _create_call(project, module, decorator)
            if call is not None:
                yield Entry(module, node, None, _id_of(decorator, node), call)
                yield from _failure_handlers(project, module, decorator)
    elif isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.func, ast.Call):
        call = _create_call(project, module, node.func)
        handler = _definition(project, module, node, node.args[0])
        if call is not None and handler is not None:
            entry_id = _id_of(node.func, handler.node)
            yield Entry(handler.module, handler.node, handler.owner, entry_id, call)
            yield from _failure_handlers(project, module, node.func)


def _failure_handlers(project: Project, module: Module, call: ast.expr) -> Iterator[Entry]:
    assert isinstance(call, ast.Call)
    for keyword in call.keywords:
        if keyword.arg == "on_failure":
            handler = _definition(project, module, call, keyword.value)
            if handler is not None:
                name = f"{_id_of(call, handler.node)}-failure"
                yield Entry(handler.module, handler.node, handler.owner, name, None)


def _create_call(project: Project, module: Module, node: ast.expr) -> ast.expr | None:
    """What `create_function` is called on, if the node is such a call with the options of a function."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Attribute) and node.func.attr == "create_function":
        given = {keyword.arg for keyword in node.keywords}
        return node.func.value if given & OPTIONS or None in given else None
    return _through_other_names(project, module, node.func)


def _through_other_names(project: Project, module: Module, func: ast.expr) -> ast.expr | None:
    """`durable(...)`: a `partial` of `create_function`, another name of it, or a function around it."""
    if not isinstance(func, ast.Name):
        return None
    found = project.symbol(module, func.id)
    match found:
        case Variable(values=[ast.Attribute(attr="create_function", value=client)]):
            return client
        case Variable(values=[ast.Call(args=[ast.Attribute(attr="create_function", value=client), *_])]):
            return client
        case Definition(node=node):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Call):
                    of = inner.value.func
                    if isinstance(of, ast.Attribute) and of.attr == "create_function":
                        return of.value
            return None
        case _:
            return None


def _id_of(call: ast.expr, node: FunctionNode) -> str:
    assert isinstance(call, ast.Call)
    for keyword in call.keywords:
        value = keyword.value
        if keyword.arg in ("fn_id", "id") and isinstance(value, ast.Constant):
            return str(value.value)
    return node.name


def _definition(project: Project, module: Module, near: ast.AST, node: ast.expr) -> Definition | None:
    """The function that an expression names at a place: of the module, a function around it, or a class."""
    if isinstance(node, ast.Name):
        for above in module.ancestors(near):
            if isinstance(above, FunctionNode):
                for statement in ast.walk(above):
                    if isinstance(statement, FunctionNode) and statement.name == node.id:
                        return Definition(module, statement)
        found = project.symbol(module, node.id)
        return found if isinstance(found, Definition) else None
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id in ("self", "cls"):
            owner = next((one for one in module.ancestors(near) if isinstance(one, ast.ClassDef)), None)
            for method in owner.body if owner is not None else ():
                if isinstance(method, FunctionNode) and method.name == node.attr:
                    return Definition(module, method, owner)
            return None
        found = project.member(project.symbol(module, node.value.id), [node.attr])
        return found if isinstance(found, Definition) else None
    return None
