"""What can go wrong with an expression.

ExpressionError
├── CompileError       the text is not an expression; found when it is registered
└── EvaluationError    the expression does not fit this event; found when it is evaluated
    └── WorkLimitError evaluating took more work than one expression may use
"""

from typing import ClassVar

# Of a long line, the caret is shown with this many characters before and after it.
_SHOWN_BEFORE = 60
_SHOWN_AFTER = 40


class ExpressionError(Exception):
    """Anything a user can do wrong with an expression; `code` is stable, the message is for people."""

    code: str


class CompileError(ExpressionError):
    """The text is not an expression.

    The message has the problem, the line with a caret under the place, and what to try. `position` counts
    characters from the start of `text`. Codes: `empty`, `too_long`, `too_deep`, `unexpected_character`,
    `unterminated_text`, `bad_escape`, `bad_number`, `unexpected_token`, `unknown_variable`,
    `unknown_function`, `wrong_arguments`, `bad_macro`, `bad_pattern`.
    """

    def __init__(self, code: str, problem: str, *, text: str, position: int, hint: str = "") -> None:
        place = _place(text, position)
        super().__init__("\n".join(part for part in (f"{problem} {place}", hint) if part))
        self.code = code
        self.problem = problem
        self.text = text
        self.position = position
        self.hint = hint


class EvaluationError(ExpressionError):
    """The expression does not fit the values it met; it matches nothing and has no result.

    Names types, never values: payloads do not belong in logs. Codes: `type_mismatch`, `bad_value`,
    `out_of_range`, `division_by_zero`, `bad_pattern`, `not_boolean`, `work_limit`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class WorkLimitError(EvaluationError):
    """Evaluating took more steps than one expression may use, usually a macro over a long list."""

    default_code: ClassVar[str] = "work_limit"

    def __init__(self, steps_max: int) -> None:
        super().__init__(
            self.default_code,
            f"the expression needs more than {steps_max} steps for this event: compare fewer values",
        )


def _place(text: str, position: int) -> str:
    """`at line 1, column 7:` with the line and a caret under the column."""
    line_start = text.rfind("\n", 0, position) + 1
    line_end = text.find("\n", position)
    line = text[line_start : len(text) if line_end < 0 else line_end]
    column = position - line_start
    cut = max(column - _SHOWN_BEFORE, 0)
    shown = line[cut : column + _SHOWN_AFTER].replace("\t", " ").rstrip()
    line_number = text.count("\n", 0, line_start) + 1
    return f"at line {line_number}, column {column + 1}:\n  {shown}\n  {' ' * (column - cut)}^"
