"""Expression text to tokens."""

import re
from typing import Any, Final, Literal, NamedTuple, NoReturn

from .errors import CompileError
from .limits import INT_MAX, UINT_MAX

TokenKind = Literal["name", "text", "bytes", "int", "uint", "float", "operator", "end"]


class Token(NamedTuple):
    """A piece of the text; `value` is a name, an operator, or what a literal stands for."""

    kind: TokenKind
    value: Any
    position: int


# One token with the blanks before it. Operators and names are what they are; each of the other groups is
# the spelling of one kind of literal, or a break between lines.
_TOKEN: Final = re.compile(
    r"""
    [ \t]*
    (?:
      (?P<break>[\r\n\f]+|//[^\n]*|\Z)
    | (?P<raw>(?:[rR][bB]?|[bB][rR])
        (?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|"[^"\r\n]*"|'[^'\r\n]*'))
    | (?P<quoted>[bB]?
        (?:\"\"\"(?s:(?:\\.|[^\\])*?)\"\"\"|'''(?s:(?:\\.|[^\\])*?)'''
        |"(?:\\.|[^"\\\r\n])*"|'(?:\\.|[^'\\\r\n])*'))
    | (?P<hex>0[xX][0-9a-fA-F]+[uU]?)
    | (?P<float>[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)
    | (?P<int>[0-9]+[uU]?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<operator>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    )
    """,
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\'\"`?])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.?))",
    re.DOTALL,
)
_SIMPLE_ESCAPES: Final = dict(zip("abfnrtv\\'\"`?", "\a\b\f\n\r\t\v\\'\"`?", strict=True))

_CHARACTER_HINTS: Final = {
    "=": "To compare, write == (two equals signs).",
    "&": "To combine conditions, write &&.",
    "|": "To combine conditions, write ||.",
    "$": "Nothing was filled in for ${...}: the text around it must be a template (backticks in JavaScript).",
    "\u201c": "Use straight quotes: '...' or \"...\".",
    "\u201d": "Use straight quotes: '...' or \"...\".",
    "\u2018": "Use straight quotes: '...' or \"...\".",
    "\u2019": "Use straight quotes: '...' or \"...\".",
}
_QUOTE_HINT: Final = "If this is text, put it in quotes: 'like this'."

# After such a token an expression may be complete, and before such an operator it goes on.
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")
_CONTINUING: Final = frozenset([*"<>+-*/%?:.,)]}[", "&&", "||", "==", "!=", "<=", ">="])


def tokenize(text: str, *, newline_joins: bool = False) -> list[Token]:
    """The tokens of `text`, the last of them an `end`.

    With `newline_joins` a line break between two complete expressions is an `&&`, as in the search boxes.

    Raises:
        CompileError: some character, number or quoted text cannot be read.
    """
    tokens: list[Token] = []
    position = 0
    newline_at = -1
    brackets = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            _refuse_character(text, position)
        group = match.lastgroup or ""
        spelled = match.group(group)
        start = match.start(group)
        if group == "break":
            if "\n" in spelled:
                newline_at = start
        else:
            token = _token(group, spelled, text, start)
            if newline_joins and newline_at >= 0 and not brackets and tokens and _joins(tokens[-1], token):
                tokens.append(Token("operator", "&&", newline_at))
            newline_at = -1
            if token.kind == "operator":
                brackets += (token.value in _OPENING) - (token.value in _CLOSING)
            tokens.append(token)
        position = match.end()
    tokens.append(Token("end", "", len(text)))
    return tokens


def _token(group: str, spelled: str, text: str, position: int) -> Token:
    match group:
        case "name":
            return Token("name", spelled, position)
        case "operator":
            return Token("operator", spelled, position)
        case "raw" | "quoted":
            return _text_token(spelled, text, position, raw=group == "raw")
        case _:
            return _number_token(group, spelled, text, position)


def _joins(before: Token, after: Token) -> bool:
    """Whether a line break between these tokens stands between two complete expressions."""
    ends = before.value in _CLOSING if before.kind == "operator" else before.value != "in"
    goes_on = after.value in _CONTINUING if after.kind == "operator" else after.value == "in"
    return ends and not goes_on


def _number_token(group: str, spelled: str, text: str, position: int) -> Token:
    end = position + len(spelled)
    if end < len(text) and (text[end].isalnum() or text[end] == "_"):
        raise CompileError(
            "bad_number", "a number is followed by letters", text=text, position=end, hint=_QUOTE_HINT
        )
    if group == "float":
        return Token("float", float(spelled), position)
    digits = spelled.rstrip("uU")
    unsigned = len(digits) < len(spelled)
    # Checked by length first: Python refuses to read very long numbers with an error of its own.
    number = int(digits, 16 if group == "hex" else 10) if len(digits) <= 40 else UINT_MAX + 1
    # One past the largest is left to the parser: it may follow a minus.
    if number > (UINT_MAX if unsigned else INT_MAX + 1):
        raise CompileError(
            "bad_number",
            "a whole number must fit into 64 bits",
            text=text,
            position=position,
            hint="Add .0 for an approximate number, or put it in quotes if it is an id.",
        )
    return Token("uint" if unsigned else "int", number, position)


def _text_token(spelled: str, text: str, position: int, *, raw: bool) -> Token:
    prefix_length = min(spelled.find("'") % len(spelled), spelled.find('"') % len(spelled))
    is_bytes = "b" in spelled[:prefix_length].lower()
    quoted = spelled[prefix_length:]
    quote_length = 3 if len(quoted) >= 6 and quoted[:3] in ("'''", '"""') else 1
    body = quoted[quote_length:-quote_length]
    body_at = position + prefix_length + quote_length
    if is_bytes:
        return Token("bytes", body.encode() if raw else _unescape_bytes(body, text, body_at), position)
    return Token("text", body if raw else _unescape(body, text, body_at), position)


def _unescape(body: str, text: str, body_at: int) -> str:
    if "\\" not in body:
        return body

    def character(match: re.Match[str]) -> str:
        simple, two, four, eight, octal, _ = match.groups()
        if simple:
            return _SIMPLE_ESCAPES[simple]
        digits = two or four or eight
        code = int(digits, 16) if digits else int(octal, 8) if octal else -1
        if 0 <= code < 0xD800 or 0xDFFF < code <= 0x10FFFF:
            return chr(code)
        _refuse_escape(match, text, body_at)

    return _ESCAPE.sub(character, body)


def _unescape_bytes(body: str, text: str, body_at: int) -> bytes:
    parts: list[bytes] = []
    end = 0
    for match in _ESCAPE.finditer(body):
        simple, two, _, _, octal, _ = match.groups()
        parts.append(body[end : match.start()].encode())
        if simple:
            parts.append(_SIMPLE_ESCAPES[simple].encode())
        elif two or octal:
            parts.append(bytes([int(two, 16) if two else int(octal, 8)]))
        else:
            _refuse_escape(match, text, body_at)
        end = match.end()
    return b"".join([*parts, body[end:].encode()])


def _refuse_escape(match: re.Match[str], text: str, body_at: int) -> NoReturn:
    raise CompileError(
        "bad_escape",
        f"{match.group()!r} means nothing inside of quotes",
        text=text,
        position=body_at + match.start(),
        hint=r"Write the backslash twice ('\\d'), or put r before the quotes (r'\d').",
    )


def _refuse_character(text: str, position: int) -> NoReturn:
    while text[position] in " \t":
        position += 1
    character = text[position]
    if character in "'\"":
        raise CompileError(
            "unterminated_text",
            "the text that starts here has no closing quote",
            text=text,
            position=position,
            hint="A quote inside of the text needs a backslash before it, or the other kind around.",
        )
    hint = _CHARACTER_HINTS.get(character, _QUOTE_HINT if character.isalpha() else "")
    raise CompileError(
        "unexpected_character", f"{character!r} has no meaning here", text=text, position=position, hint=hint
    )
