"""Throttle: delays the starts of runs until the rate allows them. Source: protocol 5.13, decisions.md.

`burst` runs start at once, then one for each `period / limit`. What is used up is one number a bucket, the
theoretical arrival time of `gcra.py`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from inngest_server.apps.config import Throttle
from inngest_server.events.expressions import Expression, compile_expression
from inngest_server.flow_control import gcra
from inngest_server.flow_control.keys import hash_of, key_value


class Rate(NamedTuple):
    """How fast runs may start."""

    emission_ns: int
    tolerance_ns: int


def rate_of(throttle: Throttle) -> Rate:
    emission_ns = gcra.emission_ns(throttle.limit, throttle.period_ms)
    return Rate(emission_ns, emission_ns * max(throttle.burst, 1))


@dataclass(frozen=True, slots=True)
class Throttled:
    """The throttle of a function, ready for use."""

    prefix: str
    """What the names of its buckets begin with: everything but the hash of the key's value."""
    rate: Rate
    key: Expression | None

    def bucket(self, event: dict[str, Any], now_ms: int) -> str:
        """Which one the start of a run on this event uses."""
        return f"{self.prefix}/{key_value(self.key, event, now_ms).hash}"


def throttled(function_id: str, throttle: Throttle) -> Throttled:
    key = compile_expression(throttle.key) if throttle.key else None
    return Throttled(f"t/{function_id}/{hash_of(throttle.key or '')}", rate_of(throttle), key)


def opens_at_ms(rate: Rate, tat_ns: int, now_ms: int, granted: int = 0) -> int:
    """When a run may start: now, or the first millisecond that the rate allows.

    `granted` others may start and have not yet: that is counted as if they did now.
    """
    allowed, moment_ns = _take(rate, tat_ns, now_ms, granted)
    return now_ms if allowed else gcra.in_ms(moment_ns)


def start(rate: Rate, tat_ns: int, now_ms: int) -> int:
    """The theoretical arrival time after a start that the rate allows now."""
    allowed, new_tat_ns = _take(rate, tat_ns, now_ms)
    assert allowed, f"a start before its moment, {new_tat_ns} ns"
    return new_tat_ns


def _take(rate: Rate, tat_ns: int, now_ms: int, granted: int = 0) -> tuple[bool, int]:
    now_ns = now_ms * gcra.NS_PER_MS
    if tat_ns > now_ns + rate.tolerance_ns:
        # This rate cannot have led to it, but a slower one that was configured before; who raised it does not
        # want to wait for that. A bound that moves with the present would never be reached.
        tat_ns = 0
    if granted:
        tat_ns = max(now_ns, tat_ns) + granted * rate.emission_ns
    return gcra.take(tat_ns, now_ns, rate.emission_ns, rate.tolerance_ns)
