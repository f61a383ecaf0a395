"""Runs as GraphQL shows them: lists, one run, and what started it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from inngest_server.api.graphql.catalogue import show_app, show_function
from inngest_server.api.graphql.errors import QueryError
from inngest_server.api.graphql.pages import (
    Page,
    checked_id,
    connection,
    page_size,
    read_place,
    write_place,
)
from inngest_server.api.graphql.run_group import (
    STATUSES,
    STORED_STATUSES,
    RunGroup,
    batch_opened_ms,
    read_histories,
)
from inngest_server.api.graphql.search import EVERYTHING, compiled, count_found, search_runs
from inngest_server.api.graphql.session import Session
from inngest_server.api.graphql.spans import show_trace, trace_id_of
from inngest_server.api.rest.system_events import bodies_of, events_of_run
from inngest_server.events.records import EventRow
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import RunCursor, RunOrder, RunQuery
from inngest_server.wire.ulid import timestamp_ms

ORDERS = {
    "QUEUED_AT": RunOrder.QUEUED,
    "STARTED_AT": RunOrder.STARTED,
    "ENDED_AT": RunOrder.ENDED,
}


# Lists


def list_runs(
    session: Session,
    *,
    first: int,
    orderBy: list[dict[str, Any]],
    filter: dict[str, Any],
    after: str | None = None,
    preview: bool | None = None,
) -> dict[str, Any]:
    """A page of runs, and the number of all that the same filter lets through."""
    order, ascending = _order(orderBy, filter["timeField"])
    kind = f"{order.value} {'up' if ascending else 'down'}"
    query = RunQuery(
        limit=page_size(first),
        order=order,
        ascending=ascending,
        after=RunCursor(*read_place(after, kind)) if after else None,
        from_ms=filter["from"],
        until_ms=filter.get("until"),
        statuses=_statuses(filter.get("status")),
        function_ids=_functions(session, filter),
        with_outputs=False,
    )
    expression = compiled(filter.get("query"))
    searched = replace(query, limit=EVERYTHING, with_outputs=True)

    def place(row: RunRow) -> str:
        return write_place(kind, *query.place_of(row))

    def load() -> Page[RunRow]:
        if expression is not None:
            found = search_runs(session, searched, expression, wanted=query.limit)
            end = place(found.last.run) if found.last is not None else None
            return Page([one.run for one in found.rows], not found.is_complete, end)
        rows = session.wait(session.storage.list_runs(replace(query, limit=query.limit + 1)))
        page = rows[: query.limit]
        return Page(page, len(rows) > len(page), place(page[-1]) if page else None)

    def count() -> int:
        if expression is not None:
            everything = replace(searched, after=None)
            return count_found(search_runs(session, everything, expression, wanted=EVERYTHING))
        return session.wait(session.storage.count_runs(query))

    def show(rows: Sequence[RunRow]) -> list[dict[str, Any]]:
        return show_runs(session, rows, have_outputs=expression is not None)

    return connection(load, show, place, count, is_first=query.after is None)


def _order(order_by: list[dict[str, Any]], time_field: str | None) -> tuple[RunOrder, bool]:
    """Field and direction.

    Raises:
        QueryError: `invalid_parameter`, more than one field, or `from` and `until` bound another one.
    """
    if len(order_by) > 1:
        raise QueryError("`orderBy` may name one field", code="invalid_parameter")
    field = order_by[0]["field"] if order_by else time_field or "QUEUED_AT"
    if time_field is not None and time_field != field:
        raise QueryError(
            f"`orderBy` names {field}, and `filter.timeField` {time_field}: give the same field to both",
            code="invalid_parameter",
        )
    return ORDERS[field], bool(order_by) and order_by[0]["direction"] == "ASC"


def _statuses(shown: list[str] | None) -> frozenset[str] | None:
    """An empty list narrows nothing: the interface sends one when no box is ticked."""
    return frozenset(STORED_STATUSES[status] for status in shown) if shown else None


def _functions(session: Session, filter: dict[str, Any]) -> frozenset[str] | None:
    if filter.get("isDeferred"):
        return frozenset()  # There are no deferred runs.
    wanted = frozenset[str](filter["functionIDs"]) if filter.get("functionIDs") else None
    if not filter.get("appIDs"):
        return wanted
    catalogue = session.catalogue
    of_apps = frozenset(one.id for app_id in filter["appIDs"] for one in catalogue.of_app(app_id))
    return of_apps if wanted is None else of_apps & wanted


# One run


def find_run(session: Session, *, runID: str) -> dict[str, Any] | None:
    """A run; its status, output and trace are of one moment."""
    run_id = checked_id(runID, "runID")
    read = read_histories(session, [run_id]).get(run_id)
    return show_run(session, read.history.run, RunGroup.of_one(session, read)) if read is not None else None


def show_runs(session: Session, rows: Sequence[RunRow], *, have_outputs: bool) -> list[dict[str, Any]]:
    group = RunGroup(session, rows, have_outputs=have_outputs)
    return [show_run(session, row, group) for row in rows]


def show_run(session: Session, row: RunRow, group: RunGroup) -> dict[str, Any]:
    function = session.function(row.function_id)

    def trace(preview: bool | None = None) -> dict[str, Any] | None:
        read = group.history_of(row.run_id)
        return show_trace(session, read) if read is not None else None

    return {
        "id": row.run_id,
        "appID": function.row.app_id,
        "app": lambda: show_app(session, session.catalogue.apps[function.row.app_id]),
        "functionID": row.function_id,
        "function": lambda: show_function(session, function),
        "traceID": trace_id_of(row.run_id),
        "queuedAt": row.created_at_ms,
        "startedAt": row.started_at_ms,
        "endedAt": row.ended_at_ms,
        "status": STATUSES[row.status],
        "sourceID": row.parent.partition(".")[0] if row.parent is not None else None,
        "triggerIDs": lambda: group.event_ids_of(row),
        "eventName": row.event_name if row.cron is None else None,
        "isBatch": row.batch_id is not None,
        "batchCreatedAt": batch_opened_ms(row),
        "cronSchedule": row.cron,
        "output": lambda: session.spend_bytes(group.output_of(row.run_id)),
        "trace": trace,
        "hasAI": lambda: group.has_ai(row.run_id),
        "defers": [],
        "siblingDefers": [],
        "deferredFrom": [],
        "isDeferred": False,
    }


def show_trigger(session: Session, *, runID: str) -> dict[str, Any]:
    """What started a run; without payload once retention has forgotten the event.

    Raises:
        QueryError: `run_not_found`, `invalid_id`.
    """
    run_id = checked_id(runID, "runID")

    async def read() -> tuple[list[RunRow], list[EventRow], list[bytes]]:
        runs = await session.storage.get(RunRow, [run_id])
        events = [event for run in runs for event in await events_of_run(session.storage, run)]
        return runs, events, await bodies_of(session.context, events)

    runs, events, bodies = session.wait(read())
    if not runs:
        raise QueryError(f"run {run_id} not found", code="run_not_found")
    [run] = runs
    return {
        "eventName": run.event_name if run.cron is None else None,
        "IDs": [event.internal_id for event in events] or [run.event_id],
        "payloads": [session.spend_bytes(body) for body in bodies],
        "timestamp": events[0].received_at_ms if events else timestamp_ms(run.event_id),
        "isBatch": run.batch_id is not None,
        "batchID": run.batch_id,
        "cron": run.cron,
    }
