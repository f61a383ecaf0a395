"""Timeouts: how long a run may wait for its first request, and how long it may take from there to its end.

A run that is over its time is cancelled; its start timeout means nothing any more once the first request
was sent (guide "cancel on timeouts", protocol 5.8).
"""

from collections.abc import Mapping
from typing import Any

from tests.models.options import duration_ms


def start_by_ms(options: Mapping[str, Any], created_ms: int, ts_ms: int | None) -> int | None:
    """Until when the first request must have been sent; an event of the future counts from its own moment."""
    limit = options.get("start")
    return max(created_ms, ts_ms or 0) + duration_ms(limit) if limit else None


def finish_by_ms(options: Mapping[str, Any], started_ms: int) -> int | None:
    """Until when a run must have ended whose first request was sent at `started_ms`."""
    limit = options.get("finish")
    return started_ms + duration_ms(limit) if limit else None
