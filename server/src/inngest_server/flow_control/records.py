"""Rows in which flow control remembers what binds a run, what is collected before one, and what is used up.

All of them are live: they exist while they are a reason to wait, and are gone when they say nothing that a
missing row would not say.
"""

from enum import StrEnum
from typing import NamedTuple


class TermsRow(NamedTuple):
    """What was settled when a run was made or started, until it ends. Key: `run_id`.

    Only runs of functions with such options have one.
    """

    run_id: str
    shard: int
    start_by_ms: int | None
    """When it is cancelled if nothing of it was sent before."""
    singleton: str
    """Name of the lock that it holds; empty without one."""
    slots: str
    """Names of the buckets of whole runs in which it holds a slot, one a line: from its first request on."""
    callers: str = ""
    """Of a debounced run: correlation ids of further invocations that get its result, one a line."""


class WindowKind(StrEnum):
    DEBOUNCE = "debounce"
    BATCH = "batch"


class WindowRow(NamedTuple):
    """Events of a function and key that are collected before a run is made of them. Key: `window_id`.

    The period and the size are those that were configured when it opened. A window that is due takes no more;
    until a run was made of it, there may be a second one of the same name: see `window_id`.
    """

    window_id: str
    """`<ULID>.<name>`; the name is a hash of function, kind and the key's value."""
    shard: int
    function_id: str
    kind: str
    key_value: str
    """The value of the key as text, for people; empty without a key."""
    opened_at_ms: int
    due_at_ms: int
    deadline_ms: int | None
    """Of a debounce with a timeout: when it closes although events still come."""
    period_ms: int
    max_size: int
    """Of a batch: how many events close it."""
    size_bytes: int
    """Of a batch: of its events together."""
    newest_ts_ms: int
    """Of a debounce: the largest `ts`, that of its event."""
    event_ids: str
    """Internal ids, one a line: of a batch in order of arrival, of a debounce the newest alone."""
    callers: str
    """Of a debounce: correlation ids of the invocations that get the run's result, one a line."""


class MeterRow(NamedTuple):
    """How far a throttle is used up. Key: `bucket`. Gone once `tat_ns` has passed."""

    bucket: str
    shard: int
    tat_ns: int
    """Theoretical arrival time, epoch nanoseconds."""


class PauseRow(NamedTuple):
    """A function that is paused; survives syncs. Key: `function_id`."""

    function_id: str
    shard: int
    paused_at_ms: int
    cancel_at_ms: int | None
    """When the runs that it had before are cancelled; None once that was begun, or if it never is."""


class RekeyRow(NamedTuple):
    """Limits that a function had before its keys changed, while runs still count by them. Key: `function_id`.

    Until it is gone, what wants a slot needs one in the old buckets and in the new ones.
    """

    function_id: str
    shard: int
    limits: bytes
    """JSON array: `concurrency` and `throttle` of each former configuration."""
