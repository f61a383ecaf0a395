"""Concurrency: how many requests or runs may be under way at once, and where they are counted.

The *bucket* of a limit is named for its level and scope, the text of its key and the value that this has
for a run. Functions share a bucket of an environment or account when their keys have the same text and
value, and each keeps to its own limit of the one counter. Source: protocol 5.15, features-2 section 5.
"""

from dataclasses import dataclass
from typing import Any

from inngest_server.apps.config import ConcurrencyLevel, ConcurrencyLimit, ConcurrencyScope
from inngest_server.events.expressions import Expression, compile_expression
from inngest_server.flow_control.keys import hash_of, key_value


@dataclass(frozen=True, slots=True)
class Counted:
    """A limit of a function, ready for use."""

    prefix: str
    """What the names of its buckets begin with: everything but the hash of the key's value."""
    limit: int
    key: Expression | None
    is_of_runs: bool
    """Whether a run holds its slot from its first request to its end, instead of a request for itself."""

    def bucket(self, event: dict[str, Any], now_ms: int) -> str:
        """Where a run on this event is counted."""
        return f"{self.prefix}/{key_value(self.key, event, now_ms).hash}"


def counted(function_id: str, limit: ConcurrencyLimit) -> Counted:
    """The limit of a function as it was configured, which is 1 or more."""
    is_of_runs = limit.level is ConcurrencyLevel.RUN
    match limit.scope:
        case ConcurrencyScope.FN:
            scope = f"r/{function_id}" if is_of_runs else function_id
        case ConcurrencyScope.ENV:
            scope = "e"
        case ConcurrencyScope.ACCOUNT:
            scope = "a"
    key = compile_expression(limit.key) if limit.key else None
    # The text as it was sent names the bucket: rows of older servers depend on it.
    return Counted(f"{scope}/{hash_of(limit.key or '')}", limit.limit, key, is_of_runs)


def is_full(limit: int | None, held: int) -> bool:
    """Whether nothing more gets a slot while `held` are held; without a limit there is always room."""
    return limit is not None and held >= limit
