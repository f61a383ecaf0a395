"""Events as GraphQL shows them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from inngest_server.api.graphql.errors import QueryError
from inngest_server.api.graphql.event_group import EventGroup
from inngest_server.api.graphql.pages import Page, connection, page_size, read_place, write_place
from inngest_server.api.graphql.runs import show_run
from inngest_server.api.graphql.schema import payload
from inngest_server.api.graphql.search import EVERYTHING, compiled, count_found, search_events
from inngest_server.api.graphql.session import Session
from inngest_server.api.rest.shapes import ENVIRONMENT_ID
from inngest_server.events.records import EventRow
from inngest_server.storage.protocol import EventQuery

ORDER = "received down"
"""The one order of events, as cursors name it."""


def get_event(session: Session, *, id: str) -> dict[str, Any]:
    """One event.

    Raises:
        QueryError: `event_not_found`.
    """
    rows = session.wait(session.storage.get(EventRow, [id]))
    if not rows:
        raise QueryError(f"event {id} not found", code="event_not_found")
    return _show_events(session, rows)[0]


def list_events(
    session: Session,
    *,
    first: int,
    filter: dict[str, Any],
    after: str | None = None,
) -> dict[str, Any]:
    """A page of events, and the number of all that the same filter lets through."""
    names = filter.get("eventNames")
    query = EventQuery(
        limit=page_size(first),
        after=read_place(after, ORDER)[1] if after else None,
        from_ms=filter["from"],
        until_ms=filter.get("until"),
        names=frozenset(names) if names else None,
        include_internal=filter["includeInternalEvents"],
        with_bodies=False,
    )
    expression = compiled(filter.get("query"))
    searched = replace(query, limit=EVERYTHING, with_bodies=True)

    def load() -> Page[EventRow]:
        if expression is not None:
            found = search_events(session, searched, expression, wanted=query.limit)
            end = _place(found.last) if found.last is not None else None
            return Page(found.rows, not found.is_complete, end)
        rows = session.wait(session.storage.list_events(replace(query, limit=query.limit + 1)))
        page = rows[: query.limit]
        return Page(page, len(rows) > len(page), _place(page[-1]) if page else None)

    def count() -> int:
        if expression is not None:
            everything = replace(searched, after=None)
            return count_found(search_events(session, everything, expression, wanted=EVERYTHING))
        return session.wait(session.storage.count_events(query))

    def show(rows: Sequence[EventRow]) -> list[dict[str, Any]]:
        return _show_events(session, rows)

    return connection(load, show, _place, count, is_first=query.after is None)


def _place(row: EventRow) -> str:
    return write_place(ORDER, 0, row.internal_id)


def _show_events(session: Session, rows: Sequence[EventRow]) -> list[dict[str, Any]]:
    group = EventGroup(session, rows)
    return [_show_event(session, row, group) for row in rows]


def _show_event(session: Session, row: EventRow, group: EventGroup) -> dict[str, Any]:
    def raw() -> str:
        return payload(session.spend_bytes(group.body_of(row.internal_id)) or b"null")

    def runs() -> list[dict[str, Any]]:
        return [show_run(session, run, group.group_of_runs) for run in group.runs_of(row.internal_id)]

    return {
        "envID": ENVIRONMENT_ID,
        "id": row.internal_id,
        "idempotencyKey": row.event_id if row.event_id != row.internal_id else None,
        "name": row.name,
        "occurredAt": row.ts_ms,
        "raw": raw,
        "receivedAt": row.received_at_ms,
        "runs": runs,
        "version": lambda: group.version_of(row.internal_id),
    }
