"""Pages of lists: their sizes, their places, and how they are shown."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

import orjson
from graphql import GraphQLError

from inngest_server.api.graphql.errors import QueryError
from inngest_server.api.graphql.schema import read_ulid
from inngest_server.wire.ulid import is_ulid

RowT = TypeVar("RowT")

PAGE_MAX = 400
PAGE_OTHERWISE = 40
"""The size of a page for which more than `PAGE_MAX`, or nothing, was asked."""
_MOMENT_END = 2**53


class Page(NamedTuple, Generic[RowT]):
    """Some rows of a list."""

    rows: Sequence[RowT]
    has_more: bool
    end: str | None
    """Where the list goes on: after the last row, or after the last one that a search has looked at."""


def page_size(asked_for: int) -> int:
    return asked_for if 1 <= asked_for <= PAGE_MAX else PAGE_OTHERWISE


def connection(
    load: Callable[[], Page[RowT]],
    show: Callable[[Sequence[RowT]], Sequence[dict[str, Any]]],
    place: Callable[[RowT], str],
    count: Callable[[], int],
    *,
    is_first: bool,
) -> dict[str, Any]:
    """A list as GraphQL shows it; the page is read once, and only if somebody looks at it."""
    loaded: list[Page[RowT]] = []

    def page() -> Page[RowT]:
        if not loaded:
            loaded.append(load())
        return loaded[0]

    def edges() -> list[dict[str, Any]]:
        rows = page().rows
        return [{"cursor": place(row), "node": node} for row, node in zip(rows, show(rows), strict=True)]

    def page_info() -> dict[str, Any]:
        rows = page().rows
        return {
            "hasNextPage": page().has_more,
            "hasPreviousPage": not is_first,
            "startCursor": place(rows[0]) if rows else None,
            "endCursor": page().end,
        }

    def total_count(preview: bool | None = None) -> int:
        return count()

    return {
        "edges": edges,
        "pageInfo": page_info,
        "totalCount": total_count,
    }


def write_place(kind: str, moment_ms: int, key: str) -> str:
    """A cursor. `kind` is the order in which it is a place."""
    return encode_opaque([kind, moment_ms, key])


def read_place(cursor: str, kind: str) -> tuple[int, str]:
    """Moment and id of a cursor.

    Raises:
        QueryError: `invalid_parameter`, it is no cursor of this order.
    """
    match decode_opaque(cursor):
        case [str(given), int(moment_ms), str(key)] if (
            given == kind and 0 <= moment_ms < _MOMENT_END and is_ulid(key)
        ):
            return moment_ms, key
        case _:
            raise QueryError(
                "`after` must be the cursor of an edge, or the endCursor, of a page in the same order",
                code="invalid_parameter",
            )


def encode_opaque(value: list[Any]) -> str:
    """A text that clients hand back as it is."""
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


def decode_opaque(text: str) -> object:
    """What was encoded; None for a text that was not made here."""
    try:
        return cast(
            "object", orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        )
    except (binascii.Error, ValueError):
        return None


def checked_id(text: str, what: str) -> str:
    """An id that came as a text.

    Raises:
        QueryError: `invalid_id`.
    """
    try:
        return read_ulid(text)
    except GraphQLError as error:
        raise QueryError(f"{what} must be a ULID, got {text[:60]!r}", code="invalid_id") from error
