"""Reading one JSON object of the register body by known names.

The rules are those of the reference server's decoder (protocol 2.3): names match whatever their case,
unknown names are ignored, null is absent, and so is the empty text wherever a text is optional. A mistake
is recorded in `Findings` and reading goes on with a stand-in, so that one sync shows all mistakes; the
values read are only good when `Findings.problems` is empty.
"""

from collections.abc import Mapping
from typing import TypeGuard, cast

from inngest_server.apps.problems import Findings, show
from inngest_server.events.expressions import CompileError, compile_expression
from inngest_server.wire.durations import InvalidDurationError, parse_duration_ms

__all__ = ["COUNT_MAX", "Fields", "duration_text", "is_object"]

COUNT_MAX = 2**53 - 1
"""The largest count taken: the last integer that every JSON reader keeps exact."""

_UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


class Fields:
    """A JSON object at a place called `path`, read by name."""

    __slots__ = ("_folded", "findings", "json", "path")

    def __init__(self, json: Mapping[str, object], findings: Findings, path: str = "") -> None:
        self.json = json
        self.findings = findings
        self.path = path
        self._folded = {name.lower(): value for name, value in json.items()}

    def get(self, name: str) -> object:
        """The value called `name`, None when absent; the exact spelling wins over any other case."""
        if name in self.json:
            return self.json[name]
        return self._folded.get(name.lower())

    def place(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def refuse(self, name: str, code: str, message: str) -> None:
        self.findings.refuse(self.place(name), code, message)

    def warn(self, name: str, code: str, message: str) -> None:
        self.findings.warn(self.place(name), code, message)

    def text(self, name: str) -> str | None:
        """A text; absent, null and "" are None."""
        value = self.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str):
            return value
        self.refuse(name, "wrong_type", f"{show(value)} is not a text")
        return None

    def required_text(self, name: str, hint: str) -> str:
        """A text that must be there; `hint` tells what to set."""
        value = self.get(name)
        if value is None or value == "":
            self.refuse(name, "missing", f"is missing; {hint}")
            return ""
        return self.text(name) or ""

    def count(self, name: str, *, minimum: int = 0) -> int | None:
        """A whole number from `minimum` to `COUNT_MAX`; 5.0 is 5. None when absent."""
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(name, "wrong_type", f"{show(value)} is not a whole number")
            return None
        if not minimum <= value <= COUNT_MAX:
            self.refuse(
                name, "out_of_range", f"{show(value)} is not allowed; use a whole number from {minimum} up"
            )
            return None
        return value

    def duration_ms(self, name: str, *, minimum_ms: int, maximum_ms: int) -> int | None:
        """A duration text within bounds, both included. None when absent, and after a mistake."""
        text = self.text(name)
        if text is None:
            return None
        try:
            value_ms = parse_duration_ms(text)
        except InvalidDurationError as error:
            self.refuse(name, "duration_invalid", str(error))
            return None
        if not minimum_ms <= value_ms <= maximum_ms:
            bounds = f"from {duration_text(minimum_ms)} to {duration_text(maximum_ms)}"
            self.refuse(name, "out_of_range", f"{show(text)} is out of range; use a duration {bounds}")
            return None
        return value_ms

    def required_duration_ms(self, name: str, *, minimum_ms: int, maximum_ms: int) -> int:
        """A duration that must be there."""
        if self.get(name) in (None, ""):
            bounds = f"from {duration_text(minimum_ms)} to {duration_text(maximum_ms)}"
            self.refuse(name, "missing", f"is missing; set a duration {bounds}")
            return minimum_ms
        return self.duration_ms(name, minimum_ms=minimum_ms, maximum_ms=maximum_ms) or minimum_ms

    def expression(self, name: str, *, restricted: bool = False) -> str | None:
        """The text of an expression; absent, null and "" are None, and one that does not compile is told.

        `restricted` also holds it to the policy of protocol 5.16 for cancellations.
        """
        text = self.text(name)
        if text is None:
            return None
        try:
            expression = compile_expression(text)
        except CompileError as error:
            reason = f"{error.problem} at character {error.position + 1}"
            hint = f". {error.hint}" if error.hint else ""
            self.refuse(name, "expression_invalid", f"{show(text)} does not compile: {reason}{hint}")
            return text
        if restricted:
            for problem in expression.restricted_problems():
                self.refuse(name, "expression_restricted", f"{show(text)} is not allowed here: {problem}")
        return text

    def child(self, name: str) -> "Fields | None":
        """The object called `name`; None when absent or null."""
        value = self.get(name)
        if value is None:
            return None
        if is_object(value):
            return Fields(value, self.findings, self.place(name))
        self.refuse(name, "wrong_type", f"{show(value)} is not an object")
        return None

    def children(self, name: str) -> list["Fields"]:
        """The objects of the list called `name`; none when it is absent or null."""
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(name, "wrong_type", f"{show(value)} is not a list")
            return []
        found: list[Fields] = []
        for index, entry in enumerate(cast("list[object]", value)):
            place = f"{name}[{index}]"
            if is_object(entry):
                found.append(Fields(entry, self.findings, self.place(place)))
            else:
                self.refuse(place, "wrong_type", f"{show(entry)} is not an object")
        return found


def duration_text(duration_ms: int) -> str:
    """A duration the way the official SDKs send it: one unit, the largest that is exact (`90s`, `1d`)."""
    for unit, unit_ms in _UNITS_MS:
        if duration_ms and duration_ms % unit_ms == 0:
            return f"{duration_ms // unit_ms}{unit}"
    return f"{duration_ms}ms"
