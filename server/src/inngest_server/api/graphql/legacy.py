"""Runs and events in the older form, which the reference interface asks for no more and tools may."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from inngest_server.api.graphql.catalogue import show_function
from inngest_server.api.graphql.event_group import EventGroup
from inngest_server.api.graphql.pages import PAGE_OTHERWISE, checked_id, page_size
from inngest_server.api.graphql.run_group import (
    STATUSES,
    ReadHistory,
    RunGroup,
    batch_opened_ms,
    read_histories,
)
from inngest_server.api.graphql.schema import payload
from inngest_server.api.graphql.session import Session
from inngest_server.events.records import EventRow
from inngest_server.events.system import TIMER
from inngest_server.runs.records import RunRow, RunStatus, WaitKind
from inngest_server.storage.protocol import EventQuery
from inngest_server.wire.ulid import timestamp_ms

ENDED_BADLY = frozenset({RunStatus.FAILED, RunStatus.CANCELLED})

# Runs


def find_function_run(session: Session, *, query: dict[str, Any]) -> dict[str, Any] | None:
    run_id = checked_id(query["functionRunId"], "functionRunId")
    read = read_histories(session, [run_id]).get(run_id)
    return show_read_run(session, read) if read is not None else None


def show_read_run(session: Session, read: ReadHistory) -> dict[str, Any]:
    return show_function_run(session, read.history.run, RunGroup.of_one(session, read))


def show_function_run(session: Session, row: RunRow, group: RunGroup) -> dict[str, Any]:
    function = session.function(row.function_id)

    def event() -> dict[str, Any] | None:
        known = group.events.get(row.event_id)
        return show_events(session, [known])[0] if known is not None else None

    def pending_steps() -> int:
        read = group.history_of(row.run_id)
        if read is None:
            return 0
        waits = [wait for wait in read.history.waits if wait.kind != WaitKind.CANCEL]
        return len(read.history.items) + len(waits)

    def output() -> str | None:
        stored = session.spend_bytes(group.output_of(row.run_id))
        return payload(stored) if stored is not None else None

    return {
        "id": row.run_id,
        "functionID": row.function_id,
        "function": lambda: show_function(session, function),
        "eventID": row.event_id,
        "event": event,
        "batchID": row.batch_id,
        "batchCreatedAt": batch_opened_ms(row),
        "status": STATUSES[row.status],
        "waitingFor": lambda: _waiting_for(group.history_of(row.run_id)),
        "pendingSteps": pending_steps,
        "startedAt": row.started_at_ms,
        "finishedAt": row.ended_at_ms,
        "output": output,
        "cron": row.cron,
    }


def _waiting_for(read: ReadHistory | None) -> dict[str, Any] | None:
    if read is None:
        return None
    waits = [wait for wait in read.history.waits if wait.kind != WaitKind.CANCEL]
    if not waits:
        return None
    first = min(waits, key=lambda wait: (wait.opened_at_ms, wait.wait_id))
    return {
        "eventName": first.name or None,
        "expression": first.expression or None,
        "expiryTime": first.fires_at_ms,
    }


# Events


def find_event(session: Session, *, query: dict[str, Any]) -> dict[str, Any] | None:
    event_id = checked_id(query["eventId"], "eventId")
    return next(iter(show_events(session, session.wait(session.storage.get(EventRow, [event_id])))), None)


def list_events(session: Session, *, query: dict[str, Any]) -> list[dict[str, Any]]:
    """The newest events that users sent, or those older than `lastEventId`."""
    older_than = query.get("lastEventId")
    rows = session.wait(
        session.storage.list_events(
            EventQuery(
                limit=PAGE_OTHERWISE,
                after=checked_id(older_than, "lastEventId") if older_than else None,
                include_internal=False,
                with_bodies=False,
            )
        )
    )
    return show_events(session, rows)


def show_events(session: Session, rows: Sequence[EventRow]) -> list[dict[str, Any]]:
    group = EventGroup(session, rows)
    return [_show_event(session, row, group) for row in rows]


def _show_event(session: Session, row: EventRow, group: EventGroup) -> dict[str, Any]:
    def raw() -> str:
        return payload(session.spend_bytes(group.body_of(row.internal_id)) or b"null")

    def data() -> str:
        return payload(session.spend_bytes(group.data_of(row.internal_id)) or b"null")

    def function_runs() -> list[dict[str, Any]]:
        return [
            show_function_run(session, run, group.group_of_runs) for run in group.runs_of(row.internal_id)
        ]

    return {
        "id": row.internal_id,
        "externalID": row.event_id if row.event_id != row.internal_id else None,
        "name": row.name,
        "createdAt": row.received_at_ms,
        "payload": data,
        "status": lambda: _status(group.runs_of(row.internal_id)),
        "pendingRuns": lambda: sum(run.ended_at_ms is None for run in group.runs_of(row.internal_id)),
        "totalRuns": lambda: len(group.runs_of(row.internal_id)),
        "raw": raw,
        "functionRuns": function_runs,
    }


def _status(runs: Sequence[RunRow]) -> str:
    bad = sum(run.status in ENDED_BADLY for run in runs)
    if not runs:
        return "NO_FUNCTIONS"
    if any(run.ended_at_ms is None for run in runs):
        return "RUNNING"
    return "COMPLETED" if not bad else "FAILED" if bad == len(runs) else "PARTIALLY_FAILED"


# Both together


def list_stream(session: Session, *, query: dict[str, Any]) -> list[dict[str, Any]]:
    """The newest events with what they started: those of users, schedules, and if wanted all others."""
    limit = page_size(query["limit"])
    newer_than = checked_id(query["after"], "after") if query.get("after") else ""
    events = EventQuery(
        limit=limit,
        after=checked_id(query["before"], "before") if query.get("before") else None,
        from_ms=timestamp_ms(newer_than) if newer_than else None,
        include_internal=True,
        with_bodies=False,
    )
    with_internal = bool(query.get("includeInternalEvents"))
    rows = [
        row
        for row in session.wait(_stream_rows(session, events, with_internal=with_internal))
        if row.internal_id > newer_than
    ][:limit]
    group = EventGroup(session, rows)
    return [_show_item(session, row, group) for row in rows]


async def _stream_rows(session: Session, query: EventQuery, *, with_internal: bool) -> list[EventRow]:
    if with_internal:
        return await session.storage.list_events(query)
    sent = await session.storage.list_events(replace(query, include_internal=False))
    timers = await session.storage.list_events(replace(query, names=frozenset({TIMER})))
    return sorted([*sent, *timers], reverse=True)


def _show_item(session: Session, row: EventRow, group: EventGroup) -> dict[str, Any]:
    def runs() -> list[dict[str, Any]]:
        return [
            show_function_run(session, run, group.group_of_runs) for run in group.runs_of(row.internal_id)
        ]

    def trigger() -> str:
        crons = [run.cron for run in group.runs_of(row.internal_id) if run.cron] if row.name == TIMER else []
        return crons[0] if crons else row.name

    return {
        "id": row.internal_id,
        "trigger": trigger,
        "type": "CRON" if row.name == TIMER else "EVENT",
        "createdAt": row.received_at_ms,
        "runs": runs,
        "inBatch": lambda: any(run.batch_id is not None for run in group.runs_of(row.internal_id)),
    }
