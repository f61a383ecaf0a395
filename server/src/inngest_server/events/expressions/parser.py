"""Expression text to syntax tree, by precedence climbing.

From loose to tight: `? :`, `||`, `&&`, comparisons and `in`, `+ -`, `* / %`, `! -`, then fields,
indexes and calls. Everything is checked here that does not need an event: names of variables and
functions, numbers of arguments, patterns.
"""

from difflib import get_close_matches
from typing import Final, Literal, NoReturn, cast

from .errors import CompileError
from .functions import FUNCTIONS, METHODS, Function, check_pattern
from .lexer import Token, tokenize
from .limits import INT_MAX, INT_MIN, NESTING_MAX, TEXT_CHARS_MAX, TREE_HEIGHT_MAX
from .nodes import (
    Binary,
    BinaryOperator,
    Call,
    Conditional,
    Const,
    Has,
    Index,
    ListOf,
    Logical,
    Macro,
    MacroName,
    MapOf,
    Node,
    Path,
    Root,
    Unary,
    UnaryOperator,
    Variable,
    first_deeper_than,
)
from .values import TYPE_CONSTANTS

Dialect = Literal["event", "search"]

_ROOTS: Final[dict[Dialect, dict[str, Root]]] = {
    "event": {"event": "event", "async": "async", "vars": "vars"},
    # A search over runs looks at a run's output where a wait looks at the incoming event.
    "search": {"event": "event", "output": "async"},
}
_PRECEDENCE: Final = {
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 1),
    **dict.fromkeys(("+", "-"), 2),
    **dict.fromkeys(("*", "/", "%"), 3),
}
_MACRO_ARGUMENTS: Final = {"all": (2,), "exists": (2,), "exists_one": (2,), "filter": (2,), "map": (2, 3)}
_SHOWN_NAME_CHARS_MAX: Final = 60
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_WORD_HINTS: Final = {
    "and": "To combine conditions, write &&.",
    "or": "To combine conditions, write ||.",
    "not": "To negate, write !.",
    "is": "To compare, write ==.",
}


def parse(text: str, *, dialect: Dialect = "event") -> Node:
    """The syntax tree of an expression.

    In the dialect `search` the variables are `event` and `output`, and a line break means `&&`.

    Raises:
        CompileError: the text is no expression, or longer or deeper than the limits allow.
    """
    if len(text) > TEXT_CHARS_MAX:
        raise CompileError(
            "too_long",
            f"the expression has {len(text)} characters, {TEXT_CHARS_MAX} are allowed",
            text=text,
            position=TEXT_CHARS_MAX,
            hint="Put long lists of values into the event and compare with them there.",
        )
    if not text.strip():
        raise CompileError("empty", "the expression is empty", text=text, position=0)
    return _Parser(text, dialect).parse()


class _Parser:
    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text = text
        self._tokens = tokenize(text, newline_joins=dialect == "search")
        self._at = 0
        self._nesting = 0
        self._roots = _ROOTS[dialect]
        # Macro variables in scope, outermost first; the place in the frame is the place in this list.
        self._scope: list[str] = []

    def parse(self) -> Node:
        node = self._expression()
        if self._token.kind != "end":
            self._refuse_token("the expression is complete here, but goes on")
        too_deep = first_deeper_than(node, TREE_HEIGHT_MAX)
        if too_deep is not None:
            self._refuse_depth(too_deep.position)
        return node

    # ---- operators --------------------------------------------------------------------------

    def _expression(self) -> Node:
        self._nesting += 1
        if self._nesting > NESTING_MAX:
            self._refuse_depth(self._token.position)
        node = self._or()
        position = self._token.position
        if self._accept("?"):
            then = self._expression()
            self._expect(":", "a conditional is written condition ? one : other")
            node = Conditional(node, then, self._expression(), position)
        self._nesting -= 1
        return node

    def _or(self) -> Node:
        position = self._token.position
        operands = [self._and()]
        while self._accept("||"):
            operands.append(self._and())
        return _chain("||", operands, position)

    def _and(self) -> Node:
        position = self._token.position
        operands = [self._binary(1)]
        while self._accept("&&"):
            operands.append(self._binary(1))
        return _chain("&&", operands, position)

    def _binary(self, precedence_min: int) -> Node:
        left = self._operand()
        while True:
            kind, operator, position = self._token
            # A text literal may have the value "in" or "+"; only words and signs are operators.
            precedence = _PRECEDENCE.get(operator, 0) if kind in ("operator", "name") else 0
            if precedence < precedence_min:
                return left
            self._at += 1
            right = self._binary(precedence + 1)
            left = Binary(cast(BinaryOperator, operator), left, right, position)

    def _operand(self) -> Node:
        prefixes: list[Token] = []
        while self._token.kind == "operator" and self._token.value in ("!", "-"):
            prefixes.append(self._token)
            self._at += 1
        is_negative = bool(prefixes) and prefixes[-1].value == "-"
        node = self._postfix(is_negative=is_negative)
        if is_negative and isinstance(node, Const) and node.kind in ("int", "float"):
            prefixes.pop()
            node = Const(-node.value, node.kind, node.position)
        for prefix in reversed(prefixes):
            node = Unary(cast(UnaryOperator, prefix.value), node, prefix.position)
        return node

    # ---- fields, indexes, calls -------------------------------------------------------------

    def _postfix(self, *, is_negative: bool) -> Node:
        node = self._primary(is_negative=is_negative)
        segments: list[str | int] = []
        while True:
            position = self._token.position
            if self._accept("."):
                name = self._expect_name("a field or a function must follow the dot")
                if self._token.kind == "operator" and self._token.value == "(":
                    node = self._method(self._with_segments(node, segments), name)
                    segments = []
                    continue
                step: str | int = name.value
            elif self._accept("["):
                key = self._expression()
                self._expect("]", "an index ends with ]")
                if not (isinstance(key, Const) and isinstance(node, Path) and _is_segment(key)):
                    node = Index(self._with_segments(node, segments), key, position)
                    segments = []
                    continue
                step = key.value
            else:
                return self._with_segments(node, segments)
            if isinstance(node, Path):
                segments.append(step)
            else:
                node = Index(node, Const(step, "text", position), position)

    def _with_segments(self, node: Node, segments: list[str | int]) -> Node:
        if not segments or not isinstance(node, Path):
            return node
        if len(segments) > TREE_HEIGHT_MAX:
            self._refuse_depth(node.position)
        return Path(node.root, (*node.segments, *segments), node.position)

    def _method(self, receiver: Node, name: Token) -> Node:
        if name.value in _MACRO_ARGUMENTS:
            return self._macro(receiver, name)
        function = METHODS.get(name.value)
        if function is None:
            self._refuse_function(name, METHODS, is_method=True)
        arguments = (receiver, *self._arguments())
        return self._call(function, name, arguments, is_method=True)

    def _macro(self, items: Node, name: Token) -> Node:
        self._expect("(", "")
        variable = self._token
        following = self._tokens[self._at + 1] if variable.kind == "name" else variable
        if following[:2] != ("operator", ",") or variable.value in _CONSTANTS:
            raise CompileError(
                "bad_macro",
                f"{name.value}() needs a name for the item and a condition",
                text=self._text,
                position=variable.position,
                hint=f"Write it like this: event.data.items.{name.value}(item, item == 'x').",
            )
        self._at += 2
        slot = len(self._scope)
        self._scope.append(variable.value)
        parts = [self._expression()]
        while self._accept(","):
            parts.append(self._expression())
        self._scope.pop()
        self._expect(")", f"{name.value}() ends with )")
        if len(parts) + 1 not in _MACRO_ARGUMENTS[name.value]:
            self._refuse_arguments(name, len(parts) + 1, _MACRO_ARGUMENTS[name.value])
        macro = cast(MacroName, name.value)
        if macro == "map":
            return Macro(macro, items, slot, parts[0] if len(parts) == 2 else None, parts[-1], name.position)
        return Macro(macro, items, slot, parts[0], None, name.position)

    def _call(self, function: Function, name: Token, arguments: tuple[Node, ...], *, is_method: bool) -> Node:
        if len(arguments) not in function.counts:
            # The receiver of a method is no argument for whoever reads the message.
            shift = 1 if is_method else 0
            self._refuse_arguments(name, len(arguments) - shift, tuple(n - shift for n in function.counts))
        if name.value == "matches":
            pattern = arguments[1]
            if isinstance(pattern, Const) and pattern.kind == "text":
                problem = check_pattern(pattern.value)
                if problem:
                    raise CompileError(
                        "bad_pattern",
                        f"the pattern cannot be used: {problem}",
                        text=self._text,
                        position=pattern.position,
                        hint="Patterns are RE2 regular expressions: no look-ahead and no back-references.",
                    )
        return Call(name.value, arguments, is_method, name.position)

    # ---- what stands alone ------------------------------------------------------------------

    def _primary(self, *, is_negative: bool) -> Node:
        token = self._token
        self._at += 1
        kind, value, position = token
        if kind == "name":
            return self._named(token)
        if kind == "operator":
            if value == "(":
                node = self._expression()
                self._expect(")", "a parenthesis is not closed")
                return node
            if value == "[":
                return ListOf(tuple(self._items("]")), position)
            if value == "{":
                return self._map(position)
        if kind in ("operator", "end"):
            self._at -= 1
            self._refuse_token("a value is missing")
        if kind == "int" and value > INT_MAX and not (is_negative and -value >= INT_MIN):
            raise CompileError(
                "bad_number", "a whole number must fit into 64 bits", text=self._text, position=position
            )
        return Const(value, "int" if kind == "uint" else kind, position)

    def _named(self, token: Token) -> Node:
        _, name, position = token
        if self._token.kind == "operator" and self._token.value == "(":
            return self._has(token) if name == "has" else self._function(token)
        if name in self._scope:
            # The innermost macro wins when two use the same name.
            slot = len(self._scope) - 1 - self._scope[::-1].index(name)
            return Variable(slot, position)
        if name in _CONSTANTS:
            return Const(_CONSTANTS[name], "null" if name == "null" else "bool", position)
        if name in self._roots:
            return Path(self._roots[name], (), position)
        if name in TYPE_CONSTANTS:
            return Const(TYPE_CONSTANTS[name], "type", position)
        return self._refuse_variable(token)

    def _has(self, name: Token) -> Node:
        arguments = self._arguments()
        operand = arguments[0] if len(arguments) == 1 else None
        if isinstance(operand, Index) or (isinstance(operand, Path) and operand.segments):
            return Has(operand, name.position)
        raise CompileError(
            "bad_macro",
            "has() needs one field to look for",
            text=self._text,
            position=name.position,
            hint="Write it like this: has(event.data.email).",
        )

    def _function(self, name: Token) -> Node:
        function = FUNCTIONS.get(name.value)
        if function is None:
            self._refuse_function(name, FUNCTIONS, is_method=False)
        return self._call(function, name, tuple(self._arguments()), is_method=False)

    def _arguments(self) -> list[Node]:
        self._expect("(", "")
        return self._items(")")

    def _items(self, closing: str) -> list[Node]:
        items: list[Node] = []
        while not self._accept(closing):
            items.append(self._expression())
            if not self._accept(","):
                self._expect(closing, f"a comma or {closing} must follow")
                break
        return items

    def _map(self, position: int) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self._accept("}"):
            key = self._expression()
            self._expect(":", "an entry is written key: value")
            entries.append((key, self._expression()))
            if not self._accept(","):
                self._expect("}", "a comma or } must follow")
                break
        return MapOf(tuple(entries), position)

    # ---- tokens -----------------------------------------------------------------------------

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _accept(self, operator: str) -> bool:
        token = self._tokens[self._at]
        if token.kind == "operator" and token.value == operator:
            self._at += 1
            return True
        return False

    def _expect(self, operator: str, problem: str) -> None:
        if not self._accept(operator):
            self._refuse_token(problem)

    def _expect_name(self, problem: str) -> Token:
        token = self._token
        if token.kind != "name":
            self._refuse_token(problem)
        self._at += 1
        return token

    # ---- refusals ---------------------------------------------------------------------------

    def _refuse_token(self, problem: str) -> NoReturn:
        kind, value, position = self._token
        hint = ""
        if kind == "name":
            hint = _WORD_HINTS.get(value.lower(), "If this is text, put all of it in quotes: 'like this'.")
        elif kind in ("text", "bytes"):
            hint = "To join texts, write + between them; to compare, write ==."
        elif kind == "end":
            problem = f"{problem}: the expression ends too early"
        raise CompileError("unexpected_token", problem, text=self._text, position=position, hint=hint)

    def _refuse_variable(self, token: Token) -> NoReturn:
        known: list[str] = [*self._roots, *self._scope]
        name: str = token.value[:_SHOWN_NAME_CHARS_MAX]
        close: list[str] = get_close_matches(name, known, 1)
        if token.value.lower() in _WORD_HINTS:
            hint = _WORD_HINTS[token.value.lower()]
        elif token.value in ("data", "user", "ts", "name", "id"):
            hint = f"Did you mean event.{token.value}?"
        elif close:
            hint = f"Did you mean {close[0]}?"
        else:
            hint = f"If it is text, put it in quotes: '{name}'. Variables here: {', '.join(known)}."
        raise CompileError(
            "unknown_variable",
            f"there is no variable {name!r}",
            text=self._text,
            position=token.position,
            hint=hint,
        )

    def _refuse_function(self, name: Token, known: dict[str, Function], *, is_method: bool) -> NoReturn:
        shown: str = name.value[:_SHOWN_NAME_CHARS_MAX]
        others = FUNCTIONS if is_method else {**METHODS, **dict.fromkeys(_MACRO_ARGUMENTS)}
        if name.value in others:
            spelled = f"{name.value}(value)" if is_method else f"value.{name.value}(...)"
            hint = f"It is written {spelled}."
        else:
            close = get_close_matches(shown, [*known, *(_MACRO_ARGUMENTS if is_method else ())], 1)
            hint = f"Did you mean {close[0]}?" if close else ""
        raise CompileError(
            "unknown_function",
            f"there is no function {shown!r}",
            text=self._text,
            position=name.position,
            hint=hint,
        )

    def _refuse_arguments(self, name: Token, given: int, wanted: tuple[int, ...]) -> NoReturn:
        counts = " or ".join(str(count) for count in wanted)
        raise CompileError(
            "wrong_arguments",
            f"{name.value}() takes {counts} argument{'' if wanted == (1,) else 's'}, not {given}",
            text=self._text,
            position=name.position,
        )

    def _refuse_depth(self, position: int) -> NoReturn:
        raise CompileError(
            "too_deep",
            "the expression has too many levels",
            text=self._text,
            position=position,
            hint="Use fewer parentheses inside each other, or compare with a list: value in ['a', 'b'].",
        )


def _chain(operator: Literal["&&", "||"], operands: list[Node], position: int) -> Node:
    """One flat node: parentheses around part of a chain change nothing."""
    if len(operands) == 1:
        return operands[0]
    flat: list[Node] = []
    for operand in operands:
        if isinstance(operand, Logical) and operand.operator == operator:
            flat.extend(operand.operands)
        else:
            flat.append(operand)
    return Logical(operator, tuple(flat), position)


def _is_segment(key: Const) -> bool:
    return key.kind == "text" or (key.kind == "int" and key.value >= 0)
