"""Lists narrowed by an expression: rows are read in slices, newest first, and looked at one by one.

A search has a time budget. When that is used up, the page is what was found so far, and its end is the last
row that was looked at, so that the next page goes on from there.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from inngest_server.api.graphql.errors import QueryError
from inngest_server.api.graphql.session import Session
from inngest_server.api.rest.system_events import bodies_of
from inngest_server.events.expressions import CompileError, Expression, compile_search
from inngest_server.events.records import EventRow
from inngest_server.storage.protocol import EventQuery, FoundRun, RunQuery
from inngest_server.wire import json

T = TypeVar("T")

BUDGET_S = 2.0
EVERYTHING = 2**31 - 1
"""The limit of a query that ends with the budget and not with a number of rows."""


class Found(NamedTuple, Generic[T]):
    rows: Sequence[T]
    last: T | None
    """The last row that was looked at; None if there was none."""
    is_complete: bool
    """Whether every row of the list was looked at."""


def compiled(text: str | None) -> Expression | None:
    """The expression of a search; None when nothing is searched for.

    Raises:
        QueryError: `expression_invalid`, with the place.
    """
    if text is None or not text.strip():
        return None
    try:
        return compile_search(text)
    except CompileError as error:
        raise QueryError(
            str(error), code="expression_invalid", position=error.position, reason=error.code
        ) from error


def search_runs(session: Session, query: RunQuery, expression: Expression, *, wanted: int) -> Found[FoundRun]:
    """The first runs of the list that match, as many as are wanted."""

    def matching(slice_: Sequence[FoundRun]) -> list[Callable[[], bool]]:
        return [lambda found=found: _run_matches(session, expression, found) for found in slice_]

    return _search(session, session.storage.scan_runs(query), matching, wanted)


def search_events(
    session: Session, query: EventQuery, expression: Expression, *, wanted: int
) -> Found[EventRow]:
    """The first events of the list that match, as many as are wanted."""

    def matching(slice_: Sequence[EventRow]) -> list[Callable[[], bool]]:
        bodies = session.wait(bodies_of(session.context, slice_))
        return [
            lambda body=body: expression.is_true(json.parse_kept(body), None, session.now_ms)
            for body in bodies
        ]

    return _search(session, session.storage.scan_events(query), matching, wanted)


def count_found(found: Found[T]) -> int:
    """How many rows match.

    Raises:
        QueryError: `search_incomplete`, the budget was used up before the end of the list.
    """
    if not found.is_complete:
        raise QueryError(
            f"the search found {len(found.rows)} within {BUDGET_S:.0f} s and was not at the end of the list; "
            "narrow `from` and `until`, or leave out totalCount",
            code="search_incomplete",
        )
    return len(found.rows)


def _run_matches(session: Session, expression: Expression, found: FoundRun) -> bool:
    body = found.event.body if found.event is not None else None
    event = json.parse_kept(body) if body is not None else None
    output = json.parse_kept(found.run.output) if found.run.output is not None else None
    return expression.is_true(event, output, session.now_ms)


def _search(
    session: Session,
    slices: AsyncIterator[Sequence[T]],
    matching: Callable[[Sequence[T]], Sequence[Callable[[], bool]]],
    wanted: int,
) -> Found[T]:
    clock = session.context.clock
    until_s = clock.monotonic_s() + BUDGET_S
    found: list[T] = []
    last: T | None = None
    try:
        while (rows := session.wait(_next(slices))) is not None:
            for row, matches in zip(rows, matching(rows), strict=True):
                if matches():
                    if len(found) == wanted:
                        return Found(found, last, is_complete=False)
                    found.append(row)
                last = row
                if clock.monotonic_s() > until_s:
                    return Found(found, last, is_complete=False)
        return Found(found, last, is_complete=True)
    finally:
        session.wait(_close(slices))


async def _next(slices: AsyncIterator[Sequence[T]]) -> Sequence[T] | None:
    return await anext(slices, None)


async def _close(slices: AsyncIterator[Sequence[T]]) -> None:
    if isinstance(slices, AsyncGenerator):
        await slices.aclose()
