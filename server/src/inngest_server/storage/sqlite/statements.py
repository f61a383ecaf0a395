"""SQL text for many rows at once, built once for each table and number of rows.

A statement of many rows runs in SQLite without the interpreter's lock. Row by row, the writer would ask for
that lock again after each, and wait for the event loop every time.

A statement is prepared once and kept, so rows are taken in chunks of few sizes: powers of two, largest first.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, TypeVar

from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.records import BatchedEventRow, RunRow
from inngest_server.storage.records import KEY_WIDTH, TABLES, Key, Row
from inngest_server.storage.sqlite.checks import PAYLOADS, with_checksums

CHUNK_MAX = 256
"""Rows of the largest statement; 14 columns of them are well below SQLite's 32,766 parameters."""

STATEMENTS_KEPT = 512
"""Prepared statements a connection keeps: more than there are, so that none is ever prepared twice."""

INDEXED: dict[type[Row], frozenset[str]] = {
    RunRow: frozenset({"function_id", "event_id"}),
    EventRow: frozenset({"name"}),
    MarkRow: frozenset(),
    BatchedEventRow: frozenset({"event_id"}),
}
"""Tables with indexes, and their indexed columns that never change while a row exists.

Replacing such a row would rewrite every index; updating the other columns does not.
"""

ThingT = TypeVar("ThingT")
Statement = tuple[str, Sequence[Any]]


def columns_of(kind: type[Row]) -> tuple[str, ...]:
    """The columns as they are stored, in order: the fields, and the checksum where there is one."""
    return (*kind._fields, "crc") if kind in PAYLOADS else kind._fields


def puts(kind: type[Row], rows: Sequence[Row]) -> Iterator[Statement]:
    """Statements that insert the rows or replace those with their keys."""
    for chunk in chunks(with_checksums(kind, rows)):
        yield put_sql(kind, len(chunk)), list(chain.from_iterable(chunk))


def removes(kind: type[Row], keys: Sequence[Key]) -> Iterator[Statement]:
    """Statements that remove the rows with these keys."""
    for chunk in chunks(keys):
        yield remove_sql(kind, len(chunk)), _key_parameters(kind, chunk)


def selects(kind: type[Row], keys: Sequence[Key]) -> Iterator[Statement]:
    """Statements that find the rows with these keys."""
    for chunk in chunks(keys):
        yield select_sql(kind, len(chunk)), _key_parameters(kind, chunk)


def chunks(things: Sequence[ThingT]) -> Iterator[Sequence[ThingT]]:
    """The things in order, in as few chunks as their sizes allow."""
    start, left = 0, len(things)
    while left:
        size = min(CHUNK_MAX, 1 << (left.bit_length() - 1))
        yield things[start : start + size]
        start, left = start + size, left - size


@cache
def put_sql(kind: type[Row], size: int) -> str:
    columns = columns_of(kind)
    row = f"({', '.join('?' * len(columns))})"
    into = f"INTO {TABLES[kind]} ({', '.join(columns)}) VALUES {', '.join([row] * size)}"
    if kind not in INDEXED:
        return f"INSERT OR REPLACE {into}"  # Without an index this overwrites in place.
    key = columns[: KEY_WIDTH.get(kind, 1)]
    changing = [name for name in columns if name not in key and name not in INDEXED[kind]]
    return (
        f"INSERT {into} ON CONFLICT ({', '.join(key)}) "
        f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in changing)}"
    )


@cache
def remove_sql(kind: type[Row], size: int) -> str:
    return f"DELETE FROM {TABLES[kind]} WHERE {_has_key(kind, size)}"


@cache
def select_sql(kind: type[Row], size: int) -> str:
    return f"SELECT {', '.join(columns_of(kind))} FROM {TABLES[kind]} WHERE {_has_key(kind, size)}"


@cache
def marks_for(size: int) -> str:
    """`(?, ?, ?)`."""
    return f"({', '.join('?' * size)})"


def _key_parameters(kind: type[Row], chunk: Sequence[Any]) -> Sequence[Any]:
    return chunk if KEY_WIDTH.get(kind, 1) == 1 else list(chain.from_iterable(chunk))


def _has_key(kind: type[Row], size: int) -> str:
    names = kind._fields[: KEY_WIDTH.get(kind, 1)]
    if len(names) == 1:
        return f"{names[0]} IN {marks_for(size)}"
    # Not `(a, b) IN (VALUES ...)`: that has no column's type, and SQLite would scan the table for it.
    one = " AND ".join(f"{name} = ?" for name in names)
    return " OR ".join([f"({one})"] * size)
