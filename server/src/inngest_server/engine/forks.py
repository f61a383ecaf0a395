"""Another run on the events of an older one: from its start, or with results of it that are taken over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inngest_server.engine import starts
from inngest_server.engine.facts import RunAgain
from inngest_server.events.event import stored_event
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.placement import derived_ulid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inngest_server.engine.functions import Function
    from inngest_server.engine.work import Work
    from inngest_server.runs.seed import Seed

KEY_LIFETIME_MS = 24 * 3_600_000
"""How long a client that asks again with the same key gets the same run."""


def run_again(work: Work, fact: RunAgain, now_ms: int) -> str | None:
    """Start the run, in one batch with all that it begins with; its id, None if the function is gone.

    It tells no parent: whoever invoked the first run has its result, or still waits for it.
    """
    function = work.functions.get(fact.function_id)
    if not function.is_active:
        return None
    run_id = begin_again(
        work,
        function,
        fact.events,
        is_batch=fact.is_batch,
        origin=fact.origin,
        caused_at_ms=now_ms,
        cron=fact.cron,
        original_run_id=fact.original_run_id,
        seed=fact.seed,
        now_ms=now_ms,
    )
    if run_id is not None and fact.mark:
        work.put(MarkRow(fact.mark, function.row.shard, run_id, now_ms + KEY_LIFETIME_MS))
    return run_id


def begin_again(
    work: Work,
    function: Function,
    events: Sequence[EventRow],
    *,
    is_batch: bool,
    origin: str,
    caused_at_ms: int,
    cron: str | None,
    original_run_id: str,
    now_ms: int,
    seed: Seed | None = None,
) -> str | None:
    """Start a function on stored events that it ran on before; the run's id, also of a skipped one.

    The id follows from `origin` and bears the moment of the cause.
    """
    for row in events:
        work.put(row)  # Retention may have forgotten it since it was read.
    first, *further = map(stored_event, events)
    start = starts.Start(
        function,
        first,
        origin,
        caused_at_ms,
        starts.Cause.AGAIN,
        cron=cron,
        original_run_id=original_run_id,
        seed=seed,
    )
    batch_id = derived_ulid(caused_at_ms, origin, "batch") if is_batch else None
    return starts.begin(work, start, now_ms, further=further, batch_id=batch_id)
