"""An expression with its own event and its literals taken out: what all waits of a function share.

A run that waits with `event.data.id == async.data.id && async.data.plan == 'pro'` keeps only the value of
`event.data.id`. The rest is a `Shape`, `#0 == async.data.id && async.data.plan == #1`, which is compiled
once. Literals are taken out too, because many applications write ids into the text of the expression:
100,000 such texts still have one shape.
"""

from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple, cast

from .closures import Closure, compile_node, read, variables_of
from .errors import EvaluationError
from .functions import FUNCTIONS, METHODS
from .limits import INDEX_KEYS_MAX, INDEX_PATHS_MAX, SHAPES_KEPT
from .nodes import (
    Binary,
    Call,
    Captured,
    Conditional,
    Const,
    Has,
    Index,
    ListOf,
    Logical,
    Macro,
    MapOf,
    Node,
    Path,
    Segments,
    Unary,
    Variable,
    children,
    walk,
)
from .semantics import is_truthy
from .values import UNKNOWN, Frame

# ---- keys of values -------------------------------------------------------------------------

NEVER: Hashable = object()
"""The key of a value that equals no JSON value, such as NaN."""

_TRUE: Hashable = ("bool", True)
_FALSE: Hashable = ("bool", False)


def index_key(value: Any) -> Hashable:
    """A key for a value, the same for all values that `==` may find equal.

    Numbers are their own keys, since Python too has 1 equal 1.0, and hashes both alike. Booleans need
    others, since to Python they are numbers. Missing is null. Of lists and objects only the length tells.
    """
    kind: type[Any] = value.__class__
    if kind is str or kind is int:
        return value
    if value is None or value is UNKNOWN:
        return None
    if kind is bool:
        return _TRUE if value else _FALSE
    if kind is float:
        return value if value == value else NEVER
    if kind is list or kind is dict:
        return (kind.__name__, len(value))
    return NEVER


class IndexEntry(NamedTuple):
    """Where to look for events that can make an expression true: those with one of `keys` at `paths`.

    Without keys, no event can.
    """

    paths: tuple[Segments, ...]
    keys: tuple[Hashable, ...]


def event_key(paths: tuple[Segments, ...], event: dict[str, Any]) -> Hashable:
    """The key of an event at `paths`, to compare with `IndexEntry.keys`; `NEVER` if none can be equal."""
    if len(paths) == 1:
        return index_key(read(event, paths[0]))
    keys = tuple(index_key(read(event, path)) for path in paths)
    return NEVER if NEVER in keys else keys


# ---- taking values out ----------------------------------------------------------------------


class Slot(NamedTuple):
    """A captured value: that of a path in the event, or whether the path is there (`has`)."""

    segments: Segments
    is_presence: bool


def slots_of(node: Node) -> tuple[Slot, ...]:
    """What the tree uses of `event`, each once, in the order of the text."""
    found: dict[Slot, None] = {}
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if isinstance(current, Path):
            if current.root == "event":
                found[Slot(current.segments, is_presence=False)] = None
        elif isinstance(current, Has) and isinstance(current.operand, Path):
            if current.operand.root == "event":
                found[Slot(current.operand.segments, is_presence=True)] = None
        else:
            waiting.extend(reversed(children(current)))
    return tuple(found)


def bind(node: Node, slots: tuple[Slot, ...]) -> tuple[Node, tuple[Any, ...]]:
    """The tree with `Captured` in place of slots and literals, and the literals, which follow the slots."""
    binder = _Binder(slots)
    return binder.bind(node), tuple(binder.literals)


class _Binder:
    def __init__(self, slots: tuple[Slot, ...]) -> None:
        self._slots = {slot: number for number, slot in enumerate(slots)}
        self.literals: list[Any] = []

    def bind(self, node: Node) -> Node:
        match node:
            case Const(kind="int" | "float" | "text"):
                self.literals.append(node.value)
                return Captured(len(self._slots) + len(self.literals) - 1, is_int=node.kind == "int")
            case Path(root="event"):
                return Captured(self._slots[Slot(node.segments, is_presence=False)])
            case Has(operand=Path(root="event", segments=segments)):
                return Captured(self._slots[Slot(segments, is_presence=True)])
            case Const() | Path() | Variable() | Captured():
                return node
            case Has():
                return node if isinstance(node.operand, Path) else Has(self.bind(node.operand))
            case Index():
                return Index(self.bind(node.value), self.bind(node.key))
            case Unary():
                return Unary(node.operator, self.bind(node.operand))
            case Binary():
                return Binary(node.operator, self.bind(node.left), self.bind(node.right))
            case Logical():
                return Logical(node.operator, self._all(node.operands))
            case Conditional():
                return Conditional(self.bind(node.condition), self.bind(node.then), self.bind(node.otherwise))
            case ListOf():
                return ListOf(self._all(node.items))
            case MapOf():
                return MapOf(tuple((self.bind(key), self.bind(value)) for key, value in node.entries))
            case Call():
                return Call(node.name, self._arguments(node), node.is_method)
            case Macro():
                items = self.bind(node.items)
                condition = self.bind(node.condition) if node.condition is not None else None
                result = self.bind(node.result) if node.result is not None else None
                return Macro(node.name, items, node.slot, condition, result)

    def _all(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(self.bind(node) for node in nodes)

    def _arguments(self, node: Call) -> tuple[Node, ...]:
        if node.name == "matches":  # A pattern stays: it is compiled with the shape.
            return (self.bind(node.arguments[0]), *node.arguments[1:2])
        return self._all(node.arguments)


# ---- the shape ------------------------------------------------------------------------------

Impossible = Callable[[tuple[Any, ...]], bool]


class _Term(NamedTuple):
    """A condition that must hold: the value at `path` equals `value`, or is in it."""

    path: Segments
    value: Closure
    is_list: bool
    is_constant: bool


class Shape:
    """A compiled expression without its own values.

    Its methods take those values as `values`: the captured ones, then the literals. Shapes are shared: ask
    `shape_of` for one.
    """

    __slots__ = ("_impossible", "_run", "_terms", "_variables")

    def __init__(self, node: Node, slot_count: int) -> None:
        self._run = compile_node(node)
        self._variables = variables_of(node)
        self._terms = _terms(node, slot_count)
        self._impossible = self._impossibility(node)

    def is_true(self, values: tuple[Any, ...], async_event: Any, now_ms: int) -> bool:
        """Whether the result is true; an error or any other value is not."""
        try:
            return self._run(values, async_event, self._frame(now_ms)) is True
        except EvaluationError:
            return False

    def is_impossible(self, values: tuple[Any, ...]) -> bool:
        """Whether no event at no time can make the result true; when in doubt, false."""
        return self._impossible(values)

    def index_entry(self, values: tuple[Any, ...]) -> IndexEntry | None:
        """Where to look for events that can make it true; `None` when every event has to be tried.

        Follows from the conditions `async.path == value` and `async.path in list` that are joined by `&&`.
        """
        chosen: dict[Segments, list[Hashable]] = {}
        count = 1
        for term in self._terms:
            if term.path in chosen or len(chosen) == INDEX_PATHS_MAX:
                continue
            keys = self._keys(term, values)
            if not keys:
                return IndexEntry((term.path,), ())
            if count * len(keys) <= INDEX_KEYS_MAX:
                chosen[term.path] = keys
                count *= len(keys)
        if not chosen:
            return None
        paths = tuple(sorted(chosen, key=repr))
        lists = [chosen[path] for path in paths]
        return IndexEntry(paths, tuple(lists[0]) if len(paths) == 1 else tuple(product(*lists)))

    def _keys(self, term: _Term, values: tuple[Any, ...]) -> list[Hashable]:
        """The keys of the values that satisfy a term; an error satisfies it for no event."""
        try:
            value = term.value(values, None, self._frame(0))
        except EvaluationError:
            return []
        if not term.is_list:
            key = index_key(value)
            return [] if key is NEVER else [key]
        if type(value) is not list and type(value) is not dict:
            return []
        keys = dict.fromkeys(index_key(item) for item in cast(Iterable[Any], value))
        keys.pop(NEVER, None)
        return list(keys)

    def _frame(self, now_ms: int) -> Frame:
        frame = Frame()
        frame.now_ms = now_ms
        if self._variables:
            frame.variables = [UNKNOWN] * self._variables
        return frame

    def _impossibility(self, node: Node) -> Impossible:
        """A test whether the whole cannot become exactly true."""
        if depends_on_event_or_time(node):
            return self._falsity(node)
        settled = self._settled(node)
        return lambda values: settled(values) is not True

    def _falsity(self, node: Node) -> Impossible:
        """A test whether a part cannot become truthy, which makes an `&&` around it fail."""
        if not depends_on_event_or_time(node):
            settled = self._settled(node)
            return lambda values: not is_truthy(settled(values))
        if isinstance(node, Logical):
            parts = [self._falsity(operand) for operand in node.operands]
            if node.operator == "&&":
                return lambda values: any(part(values) for part in parts)
            return lambda values: all(part(values) for part in parts)
        if isinstance(node, Conditional):
            return self._falsity_of_conditional(node)
        return lambda values: False

    def _falsity_of_conditional(self, node: Conditional) -> Impossible:
        then, otherwise = self._falsity(node.then), self._falsity(node.otherwise)
        if depends_on_event_or_time(node.condition):
            return lambda values: then(values) and otherwise(values)
        condition = self._settled(node.condition)
        return lambda values: then(values) if is_truthy(condition(values)) else otherwise(values)

    def _settled(self, node: Node) -> Callable[[tuple[Any, ...]], Any]:
        """The value of a part that needs no event; false for an error."""
        run = compile_node(node)

        def value(values: tuple[Any, ...]) -> Any:
            try:
                return run(values, None, self._frame(0))
            except EvaluationError:
                return False

        return value


@lru_cache(maxsize=SHAPES_KEPT)
def shape_of(node: Node, slot_count: int) -> Shape:
    """The shape of a bound tree; the same object for equal trees while it is among the recently used."""
    return Shape(node, slot_count)


def depends_on_event_or_time(node: Node) -> bool:
    """Whether the value may change with the incoming event or with the time."""
    return any(_is_variable_input(inner) for inner in walk(node))


def _is_variable_input(node: Node) -> bool:
    if isinstance(node, Path):
        return node.root == "async"
    return isinstance(node, Call) and (METHODS if node.is_method else FUNCTIONS)[node.name].reads_time


def _terms(node: Node, slot_count: int) -> tuple[_Term, ...]:
    """The equalities that must hold, those that differ between runs first: they select best."""
    parts = node.operands if isinstance(node, Logical) and node.operator == "&&" else (node,)
    found = [_term(part, slot_count) for part in parts]
    return tuple(sorted((term for term in found if term), key=lambda term: (term.is_constant, term.is_list)))


def _term(node: Node, slot_count: int) -> _Term | None:
    if not isinstance(node, Binary) or node.operator not in ("==", "in"):
        return None
    sides = [(node.left, node.right)]
    if node.operator == "==":
        sides.append((node.right, node.left))
    for path, value in sides:
        if isinstance(path, Path) and path.root == "async" and not depends_on_event_or_time(value):
            own = (part.slot < slot_count for part in walk(value) if isinstance(part, Captured))
            return _Term(path.segments, compile_node(value), node.operator == "in", not any(own))
    return None
