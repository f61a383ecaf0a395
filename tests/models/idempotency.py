"""Idempotency: one run for each value of the expression in 24 hours (idempotency guide, protocol 5.15a).

This model does not go through the rate limit: it remembers when a value last had its run.
"""

from collections.abc import Mapping
from typing import Any

from tests.models.options import DAY_MS, key_of, value_of


class Idempotency:
    """One function's idempotency expression."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.ran_ms: dict[str, int] = {}

    def admits(self, data: Mapping[str, Any], now_ms: int) -> bool:
        """Whether an event may start the function now; if so, its value is used up for a day."""
        if value_of(self.expression, data) is False:
            return True
        value = key_of({"key": self.expression}, data)
        if value in self.ran_ms and now_ms < self.ran_ms[value] + DAY_MS:
            return False
        self.ran_ms[value] = now_ms
        return True
