"""The birth of a run."""

from collections.abc import Sequence
from typing import NamedTuple

from inngest_server.apps.config import FunctionConfig
from inngest_server.events.event import Event
from inngest_server.events.expressions import compile_expression
from inngest_server.flow_control.priority import PRIORITY_MAX_S, priority_ms
from inngest_server.flow_control.records import TermsRow
from inngest_server.runs.records import (
    BatchedEventRow,
    ItemRow,
    ItemState,
    RunRow,
    RunStatus,
    WaitKind,
    WaitRow,
)
from inngest_server.runs.run import Content
from inngest_server.wire import json
from inngest_server.wire.durations import parse_deadline_ms
from inngest_server.wire.shared import shared

CANCEL_LIFETIME_MS = 365 * 24 * 3_600_000


class NewRun(NamedTuple):
    """Rows of a run that was just made, and its content."""

    row: RunRow
    first_item: ItemRow
    waits: tuple[WaitRow, ...]
    content: Content
    terms: TermsRow | None
    """None where nothing was settled."""
    further: tuple[BatchedEventRow, ...]
    """Its other events."""


def start_run(
    run_id: str,
    *,
    shard: int,
    function_id: str,
    version: int,
    config: FunctionConfig,
    event: Event,
    now_ms: int,
    parent: str | None = None,
    cron: str | None = None,
    singleton: str = "",
    priority_max_s: int = PRIORITY_MAX_S,
    shift_ms: int = 0,
    further: Sequence[Event] = (),
    batch_id: str | None = None,
    callers: Sequence[str] = (),
) -> NewRun:
    """A run of a function on an event; it starts at the event's own time where that lies ahead.

    `batch_id` makes it a run on a batch, which starts at once, with the `further` events. `callers` are
    correlation ids of invocations that get its result besides `parent`.

    `singleton` names the lock that it holds. `shift_ms` moves instants in the configuration, which are of the
    app's clock.
    """
    content = Content(event.body, tuple([one.body for one in further]))
    earlier_ms = 0
    if config.priority_key:
        earlier_ms = priority_ms(config.priority_key, content.event, now_ms, max_s=priority_max_s)
    row = RunRow(
        run_id=run_id,
        shard=shard,
        function_id=function_id,
        function_version=version,
        event_id=event.internal_id,
        event_name=shared(event.name),
        cron=cron,
        parent=parent,
        status=RunStatus.SCHEDULED.value,
        created_at_ms=now_ms,
        started_at_ms=None,
        ended_at_ms=None,
        output=None,
        batch_id=batch_id,
        priority_ms=earlier_ms,
    )
    item = ItemRow(
        item_id=f"{run_id}.0",
        shard=shard,
        run_id=run_id,
        kind="discovery",
        step_id="",
        stack_index=0,
        attempt=0,
        generation=0,
        losses=0,
        state=ItemState.QUEUED.value,
        queued_at_ms=now_ms,
        due_at_ms=now_ms if batch_id is not None else max(now_ms, event.ts_ms),
        sent_at_ms=0,
        slots="",
    )
    waits = _cancel_waits(row, config, content, now_ms, shift_ms) if config.cancel else ()
    terms = _terms(row, config, item.due_at_ms, singleton, callers)
    others = [BatchedEventRow(run_id, n, shard, one.internal_id) for n, one in enumerate(further, start=1)]
    return NewRun(row, item, waits, content, terms, tuple(others))


def _terms(
    row: RunRow, config: FunctionConfig, due_at_ms: int, singleton: str, callers: Sequence[str]
) -> TermsRow | None:
    """What is bound to the configuration of this moment; a start timeout runs from when it may start."""
    start_ms = config.timeouts.start_ms
    if start_ms is None and not singleton and not callers:
        return None
    start_by_ms = None if start_ms is None else due_at_ms + start_ms
    others = "\n".join(callers)
    return TermsRow(row.run_id, row.shard, start_by_ms, singleton, slots="", callers=others)


def _cancel_waits(
    row: RunRow, config: FunctionConfig, content: Content, now_ms: int, shift_ms: int
) -> tuple[WaitRow, ...]:
    """One wait per `cancelOn`, bound to the configuration of this moment. Source: protocol 5.7a."""
    waits: list[WaitRow] = []
    for index, cancel in enumerate(config.cancel):
        captured: tuple[object, ...] = ()
        if cancel.if_expression:
            expression = compile_expression(cancel.if_expression)
            captured = expression.capture(content.event)
            if expression.is_constant_false(captured):
                continue
        lifetime = cancel.timeout_text
        until_ms = parse_deadline_ms(lifetime, now_ms, shift_ms) if lifetime else now_ms + CANCEL_LIFETIME_MS
        waits.append(
            WaitRow(
                wait_id=f"{row.run_id}.cancel{index}",
                shard=row.shard,
                run_id=row.run_id,
                step_id="",
                kind=WaitKind.CANCEL.value,
                name=cancel.event,
                expression=cancel.if_expression or "",
                captured=json.dumps_kept(captured),
                opened_at_ms=now_ms,
                fires_at_ms=until_ms,
            )
        )
    return tuple(waits)
