"""One source file: its tree, what its names mean, and what it asks not to be told."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cached_property
from typing import Final

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

IGNORE: Final = re.compile(r"#\s*inngest:\s*(ignore-file|ignore)\b(?:\s*\[([^\]]*)\])?")
EVERYTHING: Final = frozenset({"*"})


class UnreadableError(Exception):
    """The text is no Python."""

    code = "unreadable_file"

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line, self.column = line, column


class Module:
    """A file that was parsed."""

    def __init__(self, path: str, text: str) -> None:
        """Raises: UnreadableError."""
        self.path = path
        self.text = text
        try:
            self.tree = ast.parse(text)
        except SyntaxError as error:
            raise UnreadableError(error.msg, error.lineno or 1, error.offset or 1) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise UnreadableError(str(error) or "it is nested too deeply", 1, 1) from error
        self.imports: dict[str, str] = {}
        """What a name was imported as, in full; relative imports begin with their dots."""
        self.functions: dict[str, FunctionNode] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        self.variables: dict[str, list[ast.expr]] = {}
        """What is assigned to names of the module."""
        self.parents: dict[ast.AST, ast.AST] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
            self._note_import(node)
        for node in statements(self.tree.body):
            self._note_definition(node)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def suppressed(self) -> dict[int, frozenset[str]]:
        """Codes by line; line 0 stands for the whole file. `*` is every code."""
        found: dict[int, frozenset[str]] = {}
        if "inngest:" not in self.text:
            return found
        for line, comment in _comments(self.text):
            match = IGNORE.search(comment)
            if match is None:
                continue
            codes = frozenset(code.strip().upper() for code in (match[2] or "").split(",") if code.strip())
            at = 0 if match[1] == "ignore-file" else line
            found[at] = found.get(at, frozenset()) | (codes or EVERYTHING)
        return found

    def is_suppressed(self, code: str, name: str, lines: tuple[int, ...]) -> bool:
        """Whether a comment on one of the lines, or for the whole file, names the rule."""
        wanted = {code, name.upper(), "*"}
        return any(wanted & self.suppressed.get(line, frozenset()) for line in (0, *lines))

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, from the nearest outward."""
        while (above := self.parents.get(node)) is not None:
            yield above
            node = above

    def statement_of(self, node: ast.AST) -> ast.AST:
        """The statement that a node is part of."""
        if isinstance(node, ast.stmt):
            return node
        return next((above for above in self.ancestors(node) if isinstance(above, ast.stmt)), node)

    def _note_import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    self.imports[alias.asname] = alias.name
                else:
                    head = alias.name.partition(".")[0]
                    self.imports[head] = head
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            for alias in node.names:
                joint = "" if origin.endswith(".") else "."
                self.imports[alias.asname or alias.name] = f"{origin}{joint}{alias.name}"

    def _note_definition(self, node: ast.stmt) -> None:
        if isinstance(node, FunctionNode):
            self.functions[node.name] = node
        elif isinstance(node, ast.ClassDef):
            self.classes[node.name] = node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self.variables.setdefault(target.id, []).append(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            self.variables.setdefault(node.target.id, []).append(node.value)


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, with those within `if`, `try` and `with`, but not of definitions."""
    for statement in body:
        yield statement
        if isinstance(statement, FunctionNode | ast.ClassDef):
            continue
        for name in ("body", "orelse", "finalbody"):
            yield from statements(getattr(statement, name, []))
        for handler in getattr(statement, "handlers", []):
            yield from statements(handler.body)


def methods_of(node: ast.ClassDef) -> dict[str, FunctionNode]:
    return {child.name: child for child in node.body if isinstance(child, FunctionNode)}


def _comments(text: str) -> Iterator[tuple[int, str]]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
    except (tokenize.TokenError, SyntaxError, IndentationError):
        return  # The parser has read it, so this is the tokenizer's own limit: what was found counts.
