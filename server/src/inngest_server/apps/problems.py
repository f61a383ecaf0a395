"""What is wrong with a registration, collected so that a user sees every mistake at once.

RegistrationInvalidError    config_invalid, carries every `Problem`
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["PROBLEMS_MAX", "Findings", "Problem", "RegistrationInvalidError", "show"]

PROBLEMS_MAX = 100
"""Problems that one answer lists. Nobody reads more, and a hostile body could hold a million."""

_ID_CHARS_MAX = 1_000
_FIELD_CHARS_MAX = 200
_MESSAGE_CHARS_MAX = 1_000
"""Bounds of one problem: with `PROBLEMS_MAX` an answer stays small, whatever was sent."""

_SHOWN_CHARS_MAX = 80
_SHOWN_INT_MAX = 10**18


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, or as a warning one thing that was accepted and may surprise."""

    function_id: str | None
    """Composite id of the function, None for a mistake in the app's own fields."""
    field: str
    """Where it is, in the register body's own spelling: `concurrency[1].scope`."""
    code: str
    """Stable and for programs: `out_of_range`."""
    message: str
    """One line for people: what is wrong, with which value, what to try."""

    @property
    def line(self) -> str:
        """The message with its place in front, always a single line."""
        places = [] if self.function_id is None else [f"function {show(self.function_id)}"]
        if self.field:
            places.append(self.field)
        text = ": ".join([*places, self.message])
        return "".join(char if char.isprintable() else " " for char in text)

    def to_json(self) -> dict[str, object]:
        """The object that `data.problems` of a failed registration lists."""
        return {
            "function_id": self.function_id,
            "field": self.field,
            "code": self.code,
            "message": self.message,
        }


class RegistrationInvalidError(Exception):
    """The register body cannot be accepted; nothing of it was stored.

    The text is one problem a line (decisions.md, "registration errors"). `problems` holds the first
    `PROBLEMS_MAX`, `problems_left_out` counts the rest.
    """

    code = "config_invalid"

    def __init__(self, problems: Iterable[Problem]) -> None:
        everything = tuple(problems)
        self.problems = everything[:PROBLEMS_MAX]
        self.problems_left_out = len(everything) - len(self.problems)
        lines = [problem.line for problem in self.problems]
        if self.problems_left_out:
            lines.append(f"... and {self.problems_left_out} more; mend these first and sync again")
        super().__init__("\n".join(lines))


@dataclass(slots=True)
class Findings:
    """Collects what is wrong while a registration is read; reading itself goes on.

    `about` makes a collector for one function that writes into the same two lists.
    """

    function_id: str | None = None
    problems: list[Problem] = field(default_factory=list[Problem])
    warnings: list[Problem] = field(default_factory=list[Problem])

    def about(self, function_id: str) -> "Findings":
        return Findings(function_id, self.problems, self.warnings)

    def refuse(self, field: str, code: str, message: str) -> None:
        self.problems.append(self._problem(field, code, message))

    def warn(self, field: str, code: str, message: str) -> None:
        self.warnings.append(self._problem(field, code, message))

    def _problem(self, field: str, code: str, message: str) -> Problem:
        return Problem(
            function_id=None if self.function_id is None else self.function_id[:_ID_CHARS_MAX],
            field=field[:_FIELD_CHARS_MAX],
            code=code,
            message=message[:_MESSAGE_CHARS_MAX],
        )


def show(value: object) -> str:
    """A JSON value as a message quotes it: short, and on one line whatever it holds."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() if abs(value) > _SHOWN_INT_MAX:
            return "a number of more than 18 digits"
        case int() | float():
            return repr(value)
        case str():
            cut = value if len(value) <= _SHOWN_CHARS_MAX else value[: _SHOWN_CHARS_MAX - 3] + "..."
            return '"' + "".join(char if char.isprintable() else ascii(char)[1:-1] for char in cut) + '"'
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"
