"""The syntax tree: small, immutable, comparable nodes.

Positions take no part in comparison, so that two texts with the same structure have equal trees.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Segments = tuple[str | int, ...]
Root = Literal["event", "async", "vars"]
UnaryOperator = Literal["!", "-"]
BinaryOperator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%"]
MacroName = Literal["all", "exists", "exists_one", "map", "filter"]


def _position() -> int:
    return field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Const:
    """A literal. `kind` tells `1`, `1.0` and `true` apart, which Python compares as equal."""

    value: Any
    kind: str
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Path:
    """A variable, or fields of it whose names are known: `event`, `event.data.items[0].id`."""

    root: Root
    segments: Segments
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Variable:
    """What a macro calls the item it looks at, by its place in the frame."""

    slot: int
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Captured:
    """In a shape: the value at this place of the captured tuple."""

    slot: int
    is_int: bool = False
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Index:
    """`value[key]`, and `value.field` where it is no path."""

    value: "Node"
    key: "Node"
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Has:
    """`has(value.field)`; the operand is a `Path` or an `Index`."""

    operand: "Node"
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Unary:
    operator: UnaryOperator
    operand: "Node"
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Binary:
    operator: BinaryOperator
    left: "Node"
    right: "Node"
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Logical:
    """A chain of `&&` or of `||`, as flat as it was written."""

    operator: Literal["&&", "||"]
    operands: "tuple[Node, ...]"
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Conditional:
    condition: "Node"
    then: "Node"
    otherwise: "Node"
    position: int = _position()


@dataclass(frozen=True, slots=True)
class ListOf:
    items: "tuple[Node, ...]"
    position: int = _position()


@dataclass(frozen=True, slots=True)
class MapOf:
    entries: "tuple[tuple[Node, Node], ...]"
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Call:
    """`name(arguments)`; of a method call the receiver is the first argument."""

    name: str
    arguments: "tuple[Node, ...]"
    is_method: bool
    position: int = _position()


@dataclass(frozen=True, slots=True)
class Macro:
    """`items.name(variable, condition)`; `map` has a `result` and maybe a condition."""

    name: MacroName
    items: "Node"
    slot: int
    condition: "Node | None"
    result: "Node | None"
    position: int = _position()


Node = (
    Const
    | Path
    | Variable
    | Captured
    | Index
    | Has
    | Unary
    | Binary
    | Logical
    | Conditional
    | ListOf
    | MapOf
    | Call
    | Macro
)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below, in the order of the text."""
    return _CHILDREN[type(node)](node)


# A table, because compiling looks at the children of each node several times and `match` tries one class
# after the other.
_CHILDREN: Final[dict[type[Any], Callable[[Any], tuple[Node, ...]]]] = {
    **dict.fromkeys((Const, Path, Variable, Captured), lambda node: ()),
    Index: lambda node: (node.value, node.key),
    Has: lambda node: (node.operand,),
    Unary: lambda node: (node.operand,),
    Binary: lambda node: (node.left, node.right),
    Logical: lambda node: node.operands,
    Conditional: lambda node: (node.condition, node.then, node.otherwise),
    ListOf: lambda node: node.items,
    MapOf: lambda node: tuple(part for entry in node.entries for part in entry),
    Call: lambda node: node.arguments,
    Macro: lambda node: tuple(part for part in (node.items, node.condition, node.result) if part is not None),
}


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, in the order of the text; without recursion, for trees of any height."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(children(current)))


def first_deeper_than(node: Node, height_max: int) -> Node | None:
    """Some node with more than `height_max` others above it."""
    waiting = [(node, 0)]
    while waiting:
        current, depth = waiting.pop()
        if depth > height_max:
            return current
        waiting.extend((child, depth + 1) for child in children(current))
    return None
