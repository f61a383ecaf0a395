"""Debounce: a run starts once nothing has come for a period, with the newest event. Source: protocol 5.11.

The first event of a function and key opens a *window*; each further one restarts its period. What the window
was opened with binds it: a sync that changes the period concerns later windows.
"""

from typing import NamedTuple, Protocol

from inngest_server.apps.options import Debounce


class Debouncing(Protocol):
    """An open window, as far as the rule goes; moments in epoch milliseconds."""

    @property
    def period_ms(self) -> int: ...
    @property
    def due_at_ms(self) -> int: ...
    @property
    def deadline_ms(self) -> int | None:
        """When it closes although events still come; None without a timeout."""
        ...

    @property
    def newest_ts_ms(self) -> int:
        """The largest `ts` so far, that of the event which the run gets."""
        ...


class Collected(NamedTuple):
    """What one event makes of its window."""

    due_at_ms: int
    """When the run starts if no other event comes."""
    deadline_ms: int | None
    is_newest: bool
    """Whether the run gets this event, as far as is known now."""


def collect(limit: Debounce, usage: Debouncing | None, ts_ms: int, now_ms: int) -> Collected:
    """Take in an event with the time `ts_ms` at `now_ms`; without `usage` it opens a window.

    An event whose own time is older never replaces a newer one, and still restarts the period; of two with
    the same time the later arrival is the newer one. `usage` must not be due.
    """
    if usage is None:
        deadline_ms = now_ms + limit.timeout_ms if limit.timeout_ms is not None else None
        return Collected(_due_ms(limit.period_ms, deadline_ms, now_ms), deadline_ms, True)
    assert not is_due(usage, now_ms), f"due at {usage.due_at_ms}, and it is {now_ms}"
    due_at_ms = _due_ms(usage.period_ms, usage.deadline_ms, now_ms)
    return Collected(due_at_ms, usage.deadline_ms, ts_ms >= usage.newest_ts_ms)


def is_due(usage: Debouncing, now_ms: int) -> bool:
    """Whether the window takes no more: an event of this moment opens another one."""
    return usage.due_at_ms <= now_ms


def _due_ms(period_ms: int, deadline_ms: int | None, now_ms: int) -> int:
    due_at_ms = now_ms + period_ms
    return due_at_ms if deadline_ms is None else min(due_at_ms, deadline_ms)
