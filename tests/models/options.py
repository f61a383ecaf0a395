"""What a function's options say, read without any of the server's code: durations and small expressions.

The models know only the expressions that their tests use: a path (`event.data.user.id`), a quoted text
(`"openai"`), an integer, `true` and `false`.
"""

import re
from collections.abc import Mapping
from typing import Any

UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
DAY_MS = UNIT_MS["d"]


def duration_ms(text: str) -> int:
    """The milliseconds of a duration such as `1m30s`."""
    parts = re.findall(r"(\d+)(ms|[smhdw])", text)
    assert "".join(number + unit for number, unit in parts) == text, f"no duration: {text!r}"
    return sum(int(number) * UNIT_MS[unit] for number, unit in parts)


def value_of(expression: str, data: Mapping[str, Any]) -> Any:
    """What an expression gives for an event with this `data`; a missing attribute is null."""
    text = expression.strip()
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    assert re.fullmatch(r"event\.data(\.\w+)+", text), f"the models cannot read {text!r}"
    found: Any = data
    for part in text.split(".")[2:]:
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def key_of(options: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The name of the queue, window or counter to which an event belongs; `""` where there is no key.

    Values that are no texts are compared as texts (protocol 5.15): `1` and `"1"` are one key.
    """
    expression = options.get("key") or ""
    if not expression:
        return ""
    value = value_of(expression, data)
    if isinstance(value, bool):
        value = "true" if value else "false"
    return f"{expression}={value}"
