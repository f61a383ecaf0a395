"""What checks are given and what they yield."""

import ast
from typing import NamedTuple

from inngest_server.lint.effects import Effects
from inngest_server.lint.unit import Unit


class Found(NamedTuple):
    """A mistake at a node, before it has a path and an Inngest function."""

    node: ast.AST
    code: str
    message: str
    fix: str


class Look(NamedTuple):
    """One unit, and what is known of calls."""

    unit: Unit
    effects: Effects


def quoted(node: ast.AST, limit: int = 50) -> str:
    """Source of an expression in one line, in backticks, cut where it is long."""
    text = " ".join(ast.unparse(node).split())
    return f"`{text if len(text) <= limit else text[: limit - 3] + '...'}`"
