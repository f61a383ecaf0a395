"""Schedules: each slot of each cron fires at most once, because firing and moving on are one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inngest_server.apps.config import CronTrigger
from inngest_server.apps.records import CronRow
from inngest_server.engine import events
from inngest_server.engine.functions import Function
from inngest_server.events.system import TIMER, system_event, timer_body
from inngest_server.runs.placement import derived_ulid, shard_of
from inngest_server.scheduling.cron import (
    CatchUp,
    InvalidCronError,
    jitter_offset_ms,
    missed_slots,
    parse_cron,
)
from inngest_server.wire.hashing import derived_uuid
from inngest_server.wire.times import format_rfc3339

if TYPE_CHECKING:
    from inngest_server.engine.work import Work

CATCH_UP_SLOTS_MAX = 1000
"""Slots that `all` runs after an outage; older ones are given up."""


LATE_MS = 60_000
"""A slot whose moment passed less than this ago is late and not missed, while the server runs."""


def set_crons(work: Work, function: Function, now_ms: int) -> None:
    """Make the schedules of a function those of its configuration; unchanged ones keep their next slot."""
    triggers = {_cron_id(function.id, trigger.cron): trigger for trigger in function.config.cron_triggers}
    if not function.is_active:
        triggers = {}
    for row in [row for row in work.live.crons.values() if row.function_id == function.id]:
        if row.cron_id not in triggers:
            del work.live.crons[row.cron_id]
            work.held.release(row.cron_id)
            work.batch.remove(CronRow, row.cron_id, row.shard)
    for cron_id, trigger in triggers.items():
        if cron_id not in work.live.crons:
            _set_next(work, function, trigger, cron_id, last_slot_ms=now_ms)


def fire(work: Work, cron_id: str, now_ms: int) -> None:
    """Start the run of a slot whose moment came, and set the next slot."""
    row = work.live.crons.get(cron_id)
    if row is None or row.fires_at_ms > now_ms:
        return
    function = work.functions.get(row.function_id)
    trigger = _trigger_of(function, row)
    slot_ms = row.next_slot_ms
    scheduled_at = format_rfc3339(slot_ms)
    event = system_event(
        internal_id=derived_ulid(now_ms, row.cron_id, str(slot_ms)),
        event_id=scheduled_at,
        name=TIMER,
        ts_ms=row.fires_at_ms,
        now_ms=now_ms,
        body=timer_body(
            event_id=scheduled_at,
            cron=row.expression,
            scheduled_at=scheduled_at,
            fire_at=format_rfc3339(row.fires_at_ms),
            ts_ms=row.fires_at_ms,
        ),
    )
    events.start_on_timer(work, function, event, row.expression, now_ms)
    _set_next(work, function, trigger, cron_id, last_slot_ms=slot_ms)
    is_missed = work.live.crons[cron_id].fires_at_ms < now_ms - LATE_MS
    if is_missed and work.options.cron_catch_up != CatchUp.ALL:
        # The machine was suspended, say: the slot that came late stands for those that passed meanwhile.
        _set_next(work, function, trigger, cron_id, last_slot_ms=now_ms)


def resume(work: Work, now_ms: int, *, late_ms: int) -> None:
    """Set the timers of loaded schedules; what was missed meanwhile follows the server's policy.

    What is due since `late_ms` or less was not missed: its batch may have been the one that failed.
    """
    policy = CatchUp(work.options.cron_catch_up)
    for row in list(work.live.crons.values()):
        function = work.functions.find(row.function_id)
        if function is None:
            del work.live.crons[row.cron_id]  # The row stays, for the examination to find.
            continue
        if row.fires_at_ms <= now_ms - late_ms:
            try:
                cron = parse_cron(row.expression)
            except InvalidCronError as error:
                work.hold(row.cron_id, "cron", str(error), now_ms)
                continue
            missed = missed_slots(cron, row.last_slot_ms, now_ms, policy, CATCH_UP_SLOTS_MAX)
            slot_ms = missed[0] if missed else cron.next_after(now_ms)
            jitter_ms = _trigger_of(function, row).jitter_ms
            offset_ms = jitter_offset_ms(row.function_id, slot_ms, jitter_ms)
            row = row._replace(next_slot_ms=slot_ms, fires_at_ms=slot_ms + offset_ms)
            work.live.crons[row.cron_id] = row
        work.live.timers.set(row.fires_at_ms, "cron", "", row.cron_id)


def _set_next(
    work: Work, function: Function, trigger: CronTrigger, cron_id: str, *, last_slot_ms: int
) -> None:
    slot_ms = parse_cron(trigger.cron).next_after(last_slot_ms)
    row = CronRow(
        cron_id=cron_id,
        shard=shard_of(function.id, work.shard_count),
        function_id=function.id,
        expression=trigger.cron,
        last_slot_ms=last_slot_ms,
        next_slot_ms=slot_ms,
        fires_at_ms=slot_ms + jitter_offset_ms(function.id, slot_ms, trigger.jitter_ms),
    )
    work.live.crons[cron_id] = row
    work.put(row)
    work.live.timers.set(row.fires_at_ms, "cron", "", cron_id)


def _trigger_of(function: Function, row: CronRow) -> CronTrigger:
    for trigger in function.config.cron_triggers:
        if trigger.cron == row.expression:
            return trigger
    return CronTrigger(row.expression)


def _cron_id(function_id: str, expression: str) -> str:
    return derived_uuid("cron", function_id, expression)
