"""The birth of a run."""

from typing import NamedTuple

from inngest_server.apps.config import FunctionConfig
from inngest_server.events.event import Event
from inngest_server.events.expressions import compile_expression
from inngest_server.runs.records import ItemRow, ItemState, RunRow, RunStatus, WaitKind, WaitRow
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
) -> NewRun:
    """A run of a function on an event; it starts at the event's own time where that lies ahead."""
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
        due_at_ms=max(now_ms, event.ts_ms),
        sent_at_ms=0,
        slots="",
    )
    content = Content(event.body)
    waits = _cancel_waits(row, config, content, now_ms) if config.cancel else ()
    return NewRun(row, item, waits, content)


def _cancel_waits(row: RunRow, config: FunctionConfig, content: Content, now_ms: int) -> tuple[WaitRow, ...]:
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
                fires_at_ms=parse_deadline_ms(lifetime, now_ms) if lifetime else now_ms + CANCEL_LIFETIME_MS,
            )
        )
    return tuple(waits)
