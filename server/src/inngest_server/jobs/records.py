"""Rows of jobs."""

from enum import StrEnum
from typing import NamedTuple


class JobKind(StrEnum):
    CANCEL = "cancel"
    """Cancel unfinished runs."""
    REPLAY = "replay"
    """Start runs again that ended, or that were skipped."""


class JobStatus(StrEnum):
    RUNNING = "running"
    DONE = "done"
    DELETED = "deleted"
    """Stopped by somebody, between two slices."""


class JobRow(NamedTuple):
    """An action on many runs. Key: `job_id`, a ULID of the moment at which it was asked for.

    Each slice of its effects and the cursor behind that slice are one batch.
    """

    job_id: str
    shard: int
    kind: str
    name: str
    """For people."""
    function_id: str
    filter: bytes
    """JSON object: which runs; keys in `jobs/filter.py`."""
    until_ms: int
    """Runs that were made at this moment or later are never touched."""
    rate_per_s: int
    """Runs that are started in a second; 0 for as many as possible."""
    cursor: str
    """Id of the last run that was decided about; empty before the first."""
    status: str
    created_at_ms: int
    ended_at_ms: int | None
    seen: int
    """Runs that were looked at."""
    affected: int
    undecided: int
    """Runs about which nothing could be decided."""
    errors: bytes
    """JSON array of objects `run_id` and `error`: why, for the first of those."""
