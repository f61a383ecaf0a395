"""Another run on the events of an older one: from its start, or with results of it that are taken over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inngest_server.engine import starts
from inngest_server.engine.facts import RunAgain
from inngest_server.events.event import Event
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.placement import derived_ulid

if TYPE_CHECKING:
    from inngest_server.engine.work import Work

KEY_LIFETIME_MS = 24 * 3_600_000
"""How long a client that asks again with the same key gets the same run."""


def run_again(work: Work, fact: RunAgain, now_ms: int) -> str | None:
    """Start the run, in one batch with all that it begins with; its id, None if the function is gone.

    It tells no parent: whoever invoked the first run has its result, or still waits for it.
    """
    function = work.functions.get(fact.function_id)
    if not function.is_active:
        return None
    for row in fact.events:
        work.put(row)  # Retention may have forgotten it since it was read.
    first, *further = map(event_of, fact.events)
    start = starts.Start(
        function,
        first,
        fact.origin,
        now_ms,
        starts.Cause.AGAIN,
        cron=fact.cron,
        original_run_id=fact.original_run_id,
        seed=fact.seed,
    )
    batch_id = derived_ulid(now_ms, fact.origin, "batch") if fact.is_batch else None
    run_id = starts.begin(work, start, now_ms, further=further, batch_id=batch_id)
    if run_id is not None and fact.mark:
        work.put(MarkRow(fact.mark, function.row.shard, run_id, now_ms + KEY_LIFETIME_MS))
    return run_id


def event_of(row: EventRow) -> Event:
    """An event that was stored, as one that starts something."""
    return Event(
        row.internal_id,
        row.event_id,
        row.name,
        row.ts_ms,
        row.received_at_ms,
        row.body or b"null",
        repeatable=False,
    )
