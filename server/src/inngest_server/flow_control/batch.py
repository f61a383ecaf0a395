"""Batching: one run for several events, in the order in which they came. Source: protocol 5.10.

The first event of a function and key opens a *window*. It closes when it is full, by number or by bytes, or
`timeout` after that first event. What the window was opened with binds it, as for a debounce.
"""

from typing import Any, NamedTuple, Protocol

from inngest_server.apps.options import Batch
from inngest_server.events.expressions import compile_expression

BATCH_BYTES_MAX = 10 * 1024 * 1024
"""Of its events together: with that much a batch is full. Source: protocol 5.10."""


class Batching(Protocol):
    """An open window, as far as the rule goes; moments in epoch milliseconds."""

    @property
    def due_at_ms(self) -> int: ...
    @property
    def max_size(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def count(self) -> int:
        """Of its events."""
        ...


class Collected(NamedTuple):
    """What one event makes of its window."""

    due_at_ms: int
    """When the run starts: now, if the window is full."""
    size_bytes: int


def takes(limit: Batch, event: dict[str, Any], now_ms: int) -> bool:
    """Whether an event is batched: where there is a condition it must be true, or the event runs alone.

    A condition that is no boolean, or cannot be evaluated, is not true. Source: features-2, 2-BAT-05.
    """
    condition = limit.if_expression
    return condition is None or compile_expression(condition).is_true(event, None, now_ms)


def collect(limit: Batch, usage: Batching | None, event_bytes: int, now_ms: int) -> Collected:
    """Take in an event of `event_bytes` at `now_ms`; without `usage` it opens a window.

    The event that fills a window belongs to it. `usage` must not be due.
    """
    if usage is None:
        size_bytes, count, max_size, due_at_ms = event_bytes, 1, limit.max_size, now_ms + limit.timeout_ms
    else:
        assert not is_due(usage, now_ms), f"due at {usage.due_at_ms}, and it is {now_ms}"
        size_bytes, count = usage.size_bytes + event_bytes, usage.count + 1
        max_size, due_at_ms = usage.max_size, usage.due_at_ms
    is_full = count >= max_size or size_bytes >= BATCH_BYTES_MAX
    return Collected(now_ms if is_full else due_at_ms, size_bytes)


def is_due(usage: Batching, now_ms: int) -> bool:
    """Whether the window takes no more: an event of this moment opens another one."""
    return usage.due_at_ms <= now_ms
