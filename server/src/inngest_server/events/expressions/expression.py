"""A compiled expression: what the rest of the server uses."""

from functools import lru_cache
from typing import Any

from .closures import Closure, compile_node, read, variables_of
from .errors import EvaluationError
from .limits import EXPRESSIONS_KEPT
from .nodes import Binary, Call, Has, ListOf, Macro, MapOf, Node, Path, Unary, walk
from .parser import Dialect, parse
from .semantics import to_json
from .shape import IndexEntry, Shape, Slot, bind, shape_of, slots_of
from .values import UNKNOWN, Frame, kind

# What the restricted policy leaves of operators and functions.
_RESTRICTED_OPERATORS = frozenset(("==", "!=", "<", "<=", ">", ">=", "in"))
_RESTRICTED_FUNCTIONS = frozenset(("int", "uint", "double"))


class Expression:
    """An expression that has been parsed; get one from `compile_expression`.

    Immutable to its callers; parts are compiled when first needed. Evaluating is pure: the same arguments
    give the same result, in bounded work. Events are JSON values as a decoder gives them; they are not
    changed.
    """

    __slots__ = ("_builds", "_literals", "_node", "_run", "_shape", "_slots", "_variables", "text")

    def __init__(self, text: str, node: Node) -> None:
        self.text = text
        self._node = node
        self._slots: tuple[Slot, ...] = slots_of(node)
        self._variables = variables_of(node)
        # Only these make lists and objects that may hold what JSON does not have, such as dates.
        self._builds = any(isinstance(inner, ListOf | MapOf | Macro) for inner in walk(node))
        self._run: Closure | None = None
        self._shape: Shape | None = None
        self._literals: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    # ---- with an event --------------------------------------------------------------------------

    def evaluate(
        self, event: dict[str, Any] | None, async_event: Any = None, now_ms: int = 0, *, missing: Any = False
    ) -> Any:
        """The result as a JSON value; `missing` when it is a missing attribute.

        Dates become RFC 3339, durations seconds (`5400s`), bytes base64.

        Raises:
            EvaluationError: the expression does not fit these events.
        """
        frame = self._frame(now_ms)
        value = self._evaluate(event, async_event, frame)
        if value is UNKNOWN:
            return missing
        is_part_of_event = not self._builds and value.__class__ in (list, dict)
        return value if is_part_of_event else to_json(value, frame)

    def is_true(self, event: dict[str, Any] | None, async_event: Any = None, now_ms: int = 0) -> bool:
        """Whether the result is the boolean true; any other value, or an error, is not."""
        try:
            return self._evaluate(event, async_event, self._frame(now_ms)) is True
        except EvaluationError:
            return False

    def check_bool(self, event: dict[str, Any] | None, async_event: Any = None, now_ms: int = 0) -> bool:
        """The result, which has to be a boolean; false when it is a missing attribute.

        Raises:
            EvaluationError: it is something else (`not_boolean`), or the expression does not fit.
        """
        value = self._evaluate(event, async_event, self._frame(now_ms))
        if value is UNKNOWN:
            return False
        if type(value) is not bool:
            raise EvaluationError(
                "not_boolean", f"a condition must be true or false, but the result is {kind(value)}"
            )
        return value

    # ---- as a wait ------------------------------------------------------------------------------

    def capture(self, event: dict[str, Any]) -> tuple[Any, ...]:
        """What the expression uses of its own event, in a fixed order, so that a wait keeps nothing else.

        JSON values; null for what is missing, true or false for what is looked for with `has`. Parts of the
        event are shared with it, not copied. The order depends on the text alone, so that captured values
        can be stored beside it.
        """
        values = (read(event, slot.segments) for slot in self._slots)
        return tuple(
            value is not UNKNOWN if slot.is_presence else None if value is UNKNOWN else value
            for slot, value in zip(self._slots, values, strict=True)
        )

    def matches(self, captured: tuple[Any, ...], async_event: Any, now_ms: int = 0) -> bool:
        """`is_true`, with what `capture` kept in place of the event.

        What was missing is null here, which `<` and `>` treat as 0 or empty text.
        """
        return self.shape.is_true(self._values(captured), async_event, now_ms)

    def is_constant_false(self, captured: tuple[Any, ...]) -> bool:
        """Whether, with these captured values, no incoming event can ever match. When in doubt, false."""
        return self.shape.is_impossible(self._values(captured))

    def index_entry(self, captured: tuple[Any, ...]) -> IndexEntry | None:
        """Where to look for the events that can match; `None` when each has to be tried.

        An event that matches always has one of the entry's keys; one that has a key need not match.
        """
        return self.shape.index_entry(self._values(captured))

    @property
    def shape(self) -> Shape:
        """What this expression shares with all that differ only in literals.

        Its methods take `captured + literals`.
        """
        shape = self._shape
        if shape is None:
            node, self._literals = bind(self._node, self._slots)
            shape = self._shape = shape_of(node, len(self._slots))
        return shape

    @property
    def literals(self) -> tuple[Any, ...]:
        """The numbers and texts that are written in the expression, as far as `shape` lacks them."""
        if self._shape is None:
            _ = self.shape  # Making the shape is what finds the literals.
        return self._literals

    def check_captured(self, captured: tuple[Any, ...]) -> None:
        """Make sure that values, perhaps read from storage, are as many as this expression captures.

        Raises:
            ValueError: they were captured by another expression.
        """
        if len(captured) != len(self._slots):
            raise ValueError(
                f"{len(captured)} captured values for an expression with {len(self._slots)}: {self.text!r}"
            )

    def _values(self, captured: tuple[Any, ...]) -> tuple[Any, ...]:
        self.check_captured(captured)
        return captured + self.literals

    # ---- as configuration -----------------------------------------------------------------------

    @property
    def uses_async(self) -> bool:
        """Whether the expression looks at the incoming event, which only waits and cancellations have."""
        return any(isinstance(inner, Path) and inner.root == "async" for inner in walk(self._node))

    def restricted_problems(self) -> list[str]:
        """What the restricted policy of cancellations and waits does not allow, each once; empty if nothing.

        Allowed are comparisons, `in`, `&&`, `||`, `!`, `? :`, fields, indexes and the functions `int`,
        `uint` and `double`. Source: wire reference, 5.16.
        """
        problems = (_restricted_problem(inner) for inner in walk(self._node))
        return list(dict.fromkeys(problem for problem in problems if problem))

    # ---- inside ---------------------------------------------------------------------------------

    def _evaluate(self, event: Any, async_event: Any, frame: Frame) -> Any:
        run = self._run
        if run is None:
            run = self._run = compile_node(self._node)
        return run(event, async_event, frame)

    def _frame(self, now_ms: int) -> Frame:
        frame = Frame()
        frame.now_ms = now_ms
        if self._variables:
            frame.variables = [UNKNOWN] * self._variables
        return frame


def _restricted_problem(node: Node) -> str:
    match node:
        case Macro():
            return f"macros are not allowed here: {node.name}()"
        case Has():
            return "macros are not allowed here: has()"
        case Call() if node.name not in _RESTRICTED_FUNCTIONS:
            return f"functions are not allowed here: {node.name}()"
        case Binary() if node.operator not in _RESTRICTED_OPERATORS:
            return f"arithmetic is not allowed here: {node.operator}"
        case Unary(operator="-"):
            return "arithmetic is not allowed here: -"
        case _:
            return ""


@lru_cache(maxsize=EXPRESSIONS_KEPT)
def compile_expression(text: str) -> Expression:
    """The expression that `text` stands for; the same object for the same text while it is in recent use.

    Raises:
        CompileError: the text is not an expression.
    """
    return _compiled(text, "event")


@lru_cache(maxsize=EXPRESSIONS_KEPT)
def compile_search(text: str) -> Expression:
    """A search over events and runs: variables `event` and `output`, and a line break means `&&`.

    A run's output is passed to `evaluate` and its like as `async_event`.

    Raises:
        CompileError: the text is not an expression.
    """
    return _compiled(text, "search")


def _compiled(text: str, dialect: Dialect) -> Expression:
    return Expression(text, parse(text, dialect=dialect))
