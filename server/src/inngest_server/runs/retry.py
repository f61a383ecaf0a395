"""When a failed try is repeated."""

from inngest_server.runs.facts import CallFailed
from inngest_server.runs.run import Moment

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS

RETRY_DELAYS_MS = (
    15 * SECOND_MS,
    30 * SECOND_MS,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    20 * MINUTE_MS,
    40 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
)
JITTER_MS = 30 * SECOND_MS
LOSSES_PER_ATTEMPT = 10
"""So many lost sends in a row count as one failed try. Source: design 3."""


def retry_delay_ms(attempt: int, jitter: float) -> int:
    """How long to wait before the try after zero-based `attempt`.

    Follows `RETRY_DELAYS_MS` and stays at its last entry; adds `jitter`, in [0, 1), times 30 seconds.
    Source: protocol 4.7.
    """
    return RETRY_DELAYS_MS[min(attempt, len(RETRY_DELAYS_MS) - 1)] + int(jitter * JITTER_MS)


def next_try_ms(attempt: int, failure: CallFailed, moment: Moment) -> int | None:
    """When to try again after `attempt` failed; None when that was the last try.

    `Retry-After` wins over the server's constant interval, and that over the delays.
    """
    if not failure.retriable or attempt + 1 >= moment.max_attempts:
        return None
    if failure.retry_after_ms is not None:
        return moment.now_ms + failure.retry_after_ms
    if moment.retry_interval_ms is not None:
        return moment.now_ms + moment.retry_interval_ms
    return moment.now_ms + retry_delay_ms(attempt, moment.jitter)
