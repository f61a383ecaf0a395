"""By how much earlier or later than it was made a run takes its place among those that wait.

It only orders: a run that finds everything free starts at once, whatever its priority. Source: protocol 5.14.
"""

from typing import Any

from inngest_server.events.expressions import EvaluationError, compile_expression

PRIORITY_MAX_S = 600
"""Documented for users; larger results count as this."""
PRIORITY_LIMIT_S = 43_200
"""To which a server may raise it (decisions.md)."""


def priority_ms(run: str, event: dict[str, Any], now_ms: int, *, max_s: int = PRIORITY_MAX_S) -> int:
    """What the expression `run` gives for an event, in milliseconds: positive is earlier.

    The result counts in whole seconds and is kept within `max_s` on either side; an error, or anything else
    than a whole number, is 0.
    """
    try:
        value = compile_expression(run).evaluate(event, None, now_ms)
    except EvaluationError:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return 0  # NaN and the infinities are no whole numbers either.
    return int(min(max(value, -max_s), max_s)) * 1000
