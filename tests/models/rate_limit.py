"""Rate limit and idempotency: events beyond the limit start nothing.

A bucket that holds `floor(limit / 10) + 1` and leaks `limit` each `period`, one for each function and key
(protocol 5.12). `idempotency` is a limit of 1 each 24 hours, and takes the place of a rate limit beside it
(5.15a).
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from tests.models.leaky_bucket import LeakyBucket
from tests.models.options import duration_ms, key_of, value_of


class RateLimit:
    """One function's rate limit."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.buckets: dict[str, LeakyBucket] = {}

    def admits(self, data: Mapping[str, Any], now_ms: int) -> bool:
        """Whether an event may start the function now; if so, it has been counted."""
        if self.options.get("key") and value_of(self.options["key"], data) is False:
            return True
        limit = max(self.options["limit"], 1)
        interval_ms = Fraction(duration_ms(self.options["period"]), limit)
        bucket = self.buckets.setdefault(
            key_of(self.options, data), LeakyBucket(limit // 10 + 1, interval_ms)
        )
        if not bucket.has_room(now_ms):
            return False
        bucket.fill(now_ms)
        return True
