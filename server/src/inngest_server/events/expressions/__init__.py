"""Expressions over events: a lenient dialect of CEL, compiled to Python functions.

`compile_expression(text)` is the way in. Pure: no clock, no chance, bounded work.
"""

from .errors import CompileError, EvaluationError, ExpressionError, WorkLimitError
from .expression import Expression, compile_expression, compile_search
from .nodes import Segments
from .shape import NEVER, IndexEntry, Shape, event_key

__all__ = [
    "NEVER",
    "CompileError",
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "IndexEntry",
    "Segments",
    "Shape",
    "WorkLimitError",
    "compile_expression",
    "compile_search",
    "event_key",
]
