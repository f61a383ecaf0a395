"""Several source files: which of their definitions a name means."""

import ast
import posixpath
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from inngest_server.lint.source import FunctionNode, Module, methods_of

HOPS_MAX = 8
"""Names that stand for other names, one after the other: enough for packages that hand on their parts."""


class Definition(NamedTuple):
    """A function of the project; `owner` is the class of a method."""

    module: Module
    node: FunctionNode
    owner: ast.ClassDef | None = None


class Variable(NamedTuple):
    """A variable of a module, with all that is assigned to it."""

    module: Module
    name: str
    values: list[ast.expr]


class ClassFound(NamedTuple):
    module: Module
    node: ast.ClassDef


Symbol = Definition | Variable | ClassFound | Module


class Project:
    """The files that were given, by their path with forward slashes."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self.reaching_steps: dict[ast.AST, bool] = {}
        """Whether a function calls steps without being given any, as far as that was asked."""
        self.modules = {posixpath.normpath(module.path.replace("\\", "/")): module for module in modules}

    def symbol(self, module: Module, name: str, hops: int = 0) -> Symbol | None:
        """What a name of a module's own scope means, if that is in the project."""
        if name in module.functions:
            return Definition(module, module.functions[name])
        if name in module.classes:
            return ClassFound(module, module.classes[name])
        if name in module.imports:
            return self.imported(module, module.imports[name], hops)
        if name in module.variables:
            return Variable(module, name, module.variables[name])
        return None

    def imported(self, importer: Module, dotted: str, hops: int = 0) -> Symbol | None:
        """What a dotted name of an import statement means."""
        level = len(dotted) - len(dotted.lstrip("."))
        parts = [part for part in dotted[level:].split(".") if part]
        if hops > HOPS_MAX or not parts or (not level and parts[0] in sys.stdlib_module_names):
            return None
        for length in range(len(parts), -1 if level else 0, -1):
            found = self._module(importer, level, parts[:length])
            if found is None or found is importer:
                continue
            rest = parts[length:]
            return self.member(found, rest, hops + 1) if rest else found
        return None

    def member(self, start: Symbol | None, names: list[str], hops: int = 0) -> Symbol | None:
        """What `start.name.name` means."""
        for name in names:
            match start:
                case Module():
                    start = self.symbol(start, name, hops)
                case ClassFound():
                    method = methods_of(start.node).get(name)
                    start = Definition(start.module, method, start.node) if method else None
                case _:
                    return None
        return start

    def _module(self, importer: Module, level: int, parts: list[str]) -> Module | None:
        here = posixpath.dirname(posixpath.normpath(importer.path.replace("\\", "/")))
        for root in self._roots(here, level):
            base = posixpath.normpath(posixpath.join(root, *parts)) if parts else root
            for path in (f"{base}.py", posixpath.join(base, "__init__.py")):
                if path in self.modules:
                    return self.modules[path]
        return None

    @staticmethod
    def _roots(here: str, level: int) -> Iterator[str]:
        """Folders in which an imported name may begin: of a relative import one, else all above the file."""
        if level:
            for _ in range(level - 1):
                here = posixpath.dirname(here)
            yield here
            return
        while True:
            yield here
            yield posixpath.join(here, "src")
            above = posixpath.dirname(here)
            if above == here:
                return
            here = above
