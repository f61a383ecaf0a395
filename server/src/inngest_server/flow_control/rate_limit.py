"""Rate limits: starts beyond the limit are dropped. Source: protocol 5.12.

The state is one number for each value of the key, the theoretical arrival time (`gcra.py`). Nobody waits for
a rate limit, so nothing has to wake: the number is read before an event is decided, and is worth nothing once
it has passed.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from inngest_server.apps.config import FunctionConfig
from inngest_server.apps.options import RateLimit
from inngest_server.events.expressions import Expression, compile_expression
from inngest_server.flow_control import idempotency
from inngest_server.flow_control.gcra import NS_PER_MS, emission_ns, in_ms, take
from inngest_server.flow_control.keys import NO_KEY, KeyValue, evaluate, hash_of, value_of

BURST_SHARE = 10
"""A tenth of the limit may come at once, beside the one that always may. Source: protocol 5.12."""


class Allowed(NamedTuple):
    """The start goes on, and uses the limit up to here."""

    tat_ns: int

    @property
    def expires_at_ms(self) -> int:
        """From when on the number says what a missing one would."""
        return in_ms(self.tat_ns)


class Dropped(NamedTuple):
    """Nothing starts; from `until_ms` on one more may."""

    until_ms: int


Verdict = Allowed | Dropped


def judge(limit: RateLimit, tat_ns: int, now_ms: int) -> Verdict:
    """What becomes of a start now; `tat_ns` is 0 for a key that was never used.

    A number that this limit cannot have led to was left by a former configuration, and counts for nothing:
    whoever shortens a period does not wait for the end of the old one.
    """
    interval_ns = emission_ns(limit.limit, limit.period_ms)
    tolerance_ns = interval_ns * (limit.limit // BURST_SHARE + 1)
    now_ns = now_ms * NS_PER_MS
    known_ns = tat_ns if tat_ns <= now_ns + tolerance_ns else 0
    is_allowed, moment_ns = take(known_ns, now_ns, interval_ns, tolerance_ns)
    return Allowed(moment_ns) if is_allowed else Dropped(in_ms(moment_ns))


class Meter(NamedTuple):
    """What counts the starts of one value of the key."""

    name: str
    """Key of its mark."""
    key: KeyValue


@dataclass(frozen=True, slots=True)
class RateRule:
    """The rate limit of a function, ready for use."""

    name: str
    """What the names of its meters begin with."""
    limit: RateLimit
    key: Expression | None
    counts_runs: bool
    """Judged when the window of a debounce closes, and not when an event arrives."""
    is_idempotency: bool

    def meter_of(self, event: dict[str, Any], now_ms: int) -> Meter | None:
        """What an event is counted by; None if the value of its key is `false`, which is not limited."""
        if self.key is None:
            return Meter(f"{self.name}/", NO_KEY)
        value = evaluate(self.key, event, now_ms)
        if value is False:
            return None
        known = value_of(value)
        return Meter(f"{self.name}/{known.hash}", known)


def rate_rule(function_id: str, config: FunctionConfig) -> RateRule | None:
    """The rule by which a function's starts are dropped; None if none are."""
    limit = config.effective_rate_limit
    if limit is None:
        return None
    return RateRule(
        name=f"rate/{function_id}/{hash_of(limit.key or '')}",
        limit=limit,
        key=compile_expression(limit.key) if limit.key else None,
        counts_runs=idempotency.counts_runs(config),
        is_idempotency=config.idempotency is not None,
    )
